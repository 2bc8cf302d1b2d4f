"""What the archive told, for as long as releases need it: blocks of hours, the newest few of each selector.

Releases are replayed in the order of time, so what lies behind is not needed again, and memory stays the same however
long the past is that is replayed.
"""

import json
import math
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.backtest.matching import NAME
from orchestrator.backtest.placebo import Labels
from orchestrator.ports import Archive, PastSeries
from stages.criteria.base import History, Past, SeriesValue

BLOCK_SECONDS = 7200.0
BLOCK_STEPS = 4000  # together whole seconds, whatever the distance of looks is in milliseconds
KEPT_BLOCKS = 3  # of one selector or expression
KEPT_HISTORIES = 64

K = TypeVar("K")
V = TypeVar("V")


class _Newest(OrderedDict[K, V], Generic[K, V]):
    """Keeps the *most* newest."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        while len(self) > self._most:
            self.popitem(last=False)


class Ledger:
    """The past of one Prometheus from *begin* to *end*, which are whole seconds."""

    def __init__(self, archive: Archive, begin: float, end: float) -> None:
        self.begin, self.end = begin, end
        self.archive = archive
        self._rises: dict[str, _Newest[int, list[PastSeries]]] = {}
        self._values: dict[tuple[str, float], _Newest[int, _Block]] = {}
        self._histories: _Newest[tuple[str, float, float, float], list[PastSeries]] = _Newest(KEPT_HISTORIES)

    async def rises(self, selector: str, from_: float, to: float) -> AsyncIterator[list[PastSeries]]:
        """Block by block; what is told reaches beyond ``(from_, to]``."""
        for index in range(math.floor(from_ / BLOCK_SECONDS), math.ceil(to / BLOCK_SECONDS)):
            blocks = self._rises.setdefault(selector, _Newest(KEPT_BLOCKS))
            if index not in blocks:
                begin = max(index * BLOCK_SECONDS, self.begin)
                end = min((index + 1) * BLOCK_SECONDS, self.end)
                blocks[index] = await self.archive.rises(selector, begin, end)
            yield blocks[index]

    async def values(self, expression: str, at: float, every_seconds: float) -> tuple[SeriesValue, ...]:
        """What *expression* was at *at*, a point of the grid that starts at *begin*."""
        place = round((at - self.begin) / every_seconds)
        index = place // BLOCK_STEPS
        blocks = self._values.setdefault((expression, every_seconds), _Newest(KEPT_BLOCKS))
        if index not in blocks:
            begin = self.begin + index * BLOCK_STEPS * every_seconds
            last = min(begin + (BLOCK_STEPS - 1) * every_seconds, self.end)
            series = await self.archive.values(expression, begin, last, every_seconds)
            blocks[index] = _Block(series, begin, every_seconds)
        return blocks[index].at(place % BLOCK_STEPS, at)

    async def history(self, wanted: History) -> list[Past]:
        key = (wanted.expression, wanted.from_, wanted.to, wanted.step_seconds)
        if key not in self._histories:
            self._histories[key] = await self.archive.values(*key)
        return [
            Past(wanted.name, tuple(series.labels.get(label, "") for label in wanted.by), at, value)
            for series in self._histories[key]
            for at, value in zip(series.times.tolist(), series.values.tolist(), strict=True)
            if not math.isnan(value)
        ]


class _Block:
    """Values of an expression at *BLOCK_STEPS* points."""

    def __init__(self, series: list[PastSeries], begin: float, every_seconds: float) -> None:
        self._labels = [shown(one.labels) for one in series]
        self._values = np.zeros((BLOCK_STEPS, len(series)))
        self._there: NDArray[np.bool_] = np.zeros((BLOCK_STEPS, len(series)), bool)
        for column, one in enumerate(series):
            places = np.rint((one.times - begin) / every_seconds).astype(int)
            self._values[places, column] = one.values
            self._there[places, column] = True

    def at(self, place: int, at: float) -> tuple[SeriesValue, ...]:
        values = self._values[place]
        there = np.flatnonzero(self._there[place]).tolist()
        return tuple(SeriesValue(self._labels[column], float(values[column]), at) for column in there)


def shown(labels: Labels) -> str:
    """``{a="b",c="d"}`` without the metric's own name; nothing if there are no others."""
    pairs = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(labels.items())]
    kept = [pair for pair in pairs if not pair.startswith(f"{NAME}=")]
    return "{" + ",".join(kept) + "}" if kept else ""
