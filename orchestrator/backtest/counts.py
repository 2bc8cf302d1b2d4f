"""How much counters rose in one step of a release, at any bounds.

Rises are summed over series into one number for each second, as soon as it is known which arm a series is in: the count
of an interval is then the difference of two sums. So it adds up exactly over intervals, as the rises themselves do.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from orchestrator.backtest.ledger import Ledger
from orchestrator.backtest.placebo import Labels, Split
from orchestrator.ports import PastSeries
from stages.criteria.base import Count, Counting, MeasurementState

STALE_AFTER_SCRAPES = 2
_NEVER = -(10**9)


@dataclass(slots=True)
class _Group:
    """Series of one name and one set of labels. Index 0 is the step's begin, then one each second."""

    sums: NDArray[np.float64]
    spans: dict[tuple[tuple[str, str], ...], tuple[int, int]] = field(default_factory=dict)
    """Of each series, by its labels, the first and the last sample."""


@dataclass(slots=True)
class _Name:
    """What is counted under one name: groups by their labels, and the second of the newest sample up to each second."""

    groups: dict[tuple[str, ...], _Group]
    newest: NDArray[np.int64]


class StepCounts:
    """Counts over ``(begin, end]``, whole seconds, of the past as *split* sees it."""

    def __init__(self, ledger: Ledger, split: Split, begin: float, end: float, scrape_seconds: float) -> None:
        self._ledger, self._split = ledger, split
        self._begin, self._end = begin, end
        self._length = math.ceil(end - begin) + 1
        self._stale_seconds = STALE_AFTER_SCRAPES * scrape_seconds
        self._known: dict[tuple[tuple[tuple[str, str], ...], tuple[str, ...]], dict[str, _Name]] = {}

    async def answer(self, counting: Counting) -> tuple[MeasurementState, tuple[Count, ...]]:
        """Raises ``Impossible`` if the past can't be split for this."""
        key = (tuple(sorted(counting.selectors.items())), counting.by)
        if key not in self._known:
            self._known[key] = await self._read(counting.selectors, counting.by)
        names = self._known[key]
        bounds = round(counting.from_ - self._begin), round(counting.to - self._begin)
        fresh = {name: one for name, one in names.items() if one.newest[bounds[1]] >= bounds[1] - self._stale_seconds}
        if not fresh:
            was_there = any(one.newest[bounds[1]] >= 0 for one in names.values())
            return (MeasurementState.STALE if was_there else MeasurementState.MISSING), ()
        return MeasurementState.OK, tuple(
            Count(name, labels, float(group.sums[bounds[1]] - group.sums[bounds[0]]), series)
            for name, one in fresh.items()
            for labels, group in one.groups.items()
            if (series := _there(group, bounds, self._stale_seconds))
        )

    async def _read(self, selectors: Mapping[str, str], by: tuple[str, ...]) -> dict[str, _Name]:
        asked: dict[str, list[str]] = {}
        for name, selector in selectors.items():
            asked.setdefault(self._split.asked(selector), []).append(name)
        self._split.begin(selectors.values(), await self._labels(asked))
        found = {name: _Name({}, np.full(self._length, _NEVER)) for name in selectors}
        for past, names in asked.items():
            async for block in self._ledger.rises(past, self._begin, self._end):
                for series in block:
                    for name in names:
                        self._add(found[name], selectors[name], by, series)
        for one in found.values():
            np.maximum.accumulate(one.newest, out=one.newest)
            for group in one.groups.values():
                np.cumsum(group.sums, out=group.sums)
        return found

    async def _labels(self, asked: Mapping[str, object]) -> list[Labels]:
        """Of the series that have samples when the step begins: in the first block in which any has."""
        found: list[Labels] = []
        for past in asked:
            async for block in self._ledger.rises(past, self._begin, self._end):
                there = [series.labels for series in block if self._within(series).any()]
                found += there
                if there:
                    break
        return found

    def _within(self, series: PastSeries) -> NDArray[np.bool_]:
        within: NDArray[np.bool_] = (series.times > self._begin) & (series.times <= self._end)
        return within

    def _add(self, name: _Name, selector: str, by: tuple[str, ...], series: PastSeries) -> None:
        within = self._within(series)
        labels = self._split.placed(selector, series.labels) if within.any() else None
        if labels is None:
            return
        group_key = tuple(labels.get(label, "") for label in by)
        group = name.groups.setdefault(group_key, _Group(np.zeros(self._length)))
        seconds = np.ceil(series.times[within] - self._begin).astype(np.int64)
        np.add.at(group.sums, seconds, series.values[within])
        name.newest[seconds] = np.maximum(name.newest[seconds], seconds)
        key = tuple(sorted(series.labels.items()))
        first, _ = group.spans.get(key, (int(seconds[0]), 0))
        group.spans[key] = (first, int(seconds[-1]))


def _there(group: _Group, bounds: tuple[int, int], stale_seconds: float) -> int:
    """How many of its series were there: had a sample in the interval, or have one that is still fresh at its end."""
    oldest = min(bounds[0] + 1, bounds[1] - stale_seconds)
    return sum(1 for first, last in group.spans.values() if first <= bounds[1] and last >= oldest)
