"""Values of a few series before and after a change, in few numbers: what ``change`` remembers.

Of each series: its baseline (from history, or from looks that were made before), and the looks since, the newest each
for itself and older ones put together, twenty of them to a window.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from stages.criteria.base import Measurement, Memory, Past, SeriesValue, Setting
from stages.criteria.counting import begins_at, number, remembered, settled_at
from stages.statistics.baseline import Baseline, Moments, baseline_of, baseline_of_blocks
from stages.values import Json

MOST_SERIES = 10
MOST_POINTS = 40
SINGLE_POINTS = 8  # the newest
BLOCKS = 20  # that a window is cut into, unless a value reaches back farther than such a block
_LABEL = re.compile(r'([^\s{},="]+)=("(?:\\.|[^"\\])*")')

Names = tuple[str, ...]


def labels_of(text: str) -> dict[str, str]:
    """Of ``{a="b"}``, as series of a measurement are labelled."""
    return {name: json.loads(value) for name, value in _LABEL.findall(text)}


def text_of(labels: Mapping[str, str]) -> str:
    """The inverse, in the order of names; a label that is empty is none."""
    shown = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(labels.items()) if value]
    return "{" + ",".join(shown) + "}" if shown else ""


def usable(measurement: Measurement) -> dict[str, SeriesValue]:
    """The series that have a number, by their labels."""
    return {text_of(labels_of(one.labels)): one for one in measurement.series if math.isfinite(one.value)}


@dataclass(frozen=True, slots=True)
class Point:
    """Looks in a row, of what was in ``(from_, to]``. *is_after*: all of it lies after the step that came at *step*."""

    from_: float
    to: float
    moments: Moments
    step: float
    is_after: bool

    def slot(self, block_seconds: float) -> tuple[float, float, bool]:
        return math.floor(self.to / block_seconds), self.step, self.is_after

    def to_json(self) -> Json:
        moments = self.moments
        return [self.from_, self.to, moments.count, moments.mean, moments.squares, self.step, int(self.is_after)]

    @classmethod
    def from_json(cls, value: Any) -> Self | None:
        parts = _numbers(value, 7)
        if parts is None or parts[2] < 1 or parts[4] < 0:
            return None
        return cls(parts[0], parts[1], Moments(*parts[2:5]), parts[5], bool(parts[6]))


@dataclass(frozen=True, slots=True)
class Level:
    """One series. *before* is the end of the window that its baseline was looked for in, None while it was not.

    The baseline is a *known* one, or the *few* values that there were (*is_of_looks*: each by itself, not of history);
    neither if there were none.
    """

    points: tuple[Point, ...] = ()
    before: float | None = None
    known: Baseline | None = None
    few: Moments | None = None
    is_of_looks: bool = False

    def to_json(self) -> Json:
        known, few = self.known, self.few
        return {
            "points": [one.to_json() for one in self.points],
            "before": self.before,
            "known": None
            if known is None
            else [float(known.mean), float(known.between), float(known.within), known.blocks, known.values],
            "few": None if few is None else [few.count, few.mean, few.squares],
            "is_of_looks": self.is_of_looks,
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        if not isinstance(value, dict):
            return cls()
        listed = value.get("points")
        points = [Point.from_json(one) for one in listed[:MOST_POINTS]] if isinstance(listed, list) else []
        known, few = _numbers(value.get("known"), 5), _numbers(value.get("few"), 3)
        return cls(
            points=tuple(one for one in points if one is not None),
            before=number(value.get("before")),
            known=None if known is None else _baseline(known),
            few=None if few is None else Moments(*few),
            is_of_looks=value.get("is_of_looks") is True,
        )

    def since_step(self, setting: Setting, seconds: float) -> Moments | None:
        """Of the newest *seconds* of looks that lie wholly after the step."""
        step = begins_at(setting)
        here = [one for one in self.points if one.is_after and one.step == step]
        return _joined(one for one in here if one.to > here[-1].to - seconds)

    def with_look(self, point: Point, window_seconds: float, kept_seconds: float) -> "Level":
        points = [one for one in self.points if point.to - kept_seconds < one.to < point.to]
        return replace(self, points=_fewer([*points, point], window_seconds / BLOCKS))

    def with_past(
        self, before: float, times: Sequence[float], values: Sequence[float], block_seconds: float
    ) -> "Level":
        """With the baseline that these values are; *times* rise."""
        known = baseline_of(np.array(times), np.array(values), block_seconds)
        few = Moments.of(np.array(values)) if values and known is None else None
        return replace(self, before=before, known=known, few=few)

    def with_looks_before(self, before: float, window_seconds: float) -> "Level":
        """With a baseline of the looks that were made before, if there were some."""
        looks = [one for one in self.points if before - window_seconds < one.to <= before]
        if not looks:
            return replace(self, before=None, known=None, few=None)
        known = baseline_of_blocks([block.moments for block in _blocks(looks, window_seconds / BLOCKS)])
        few = _joined(looks) if known is None else None
        return replace(self, before=before, known=known, few=few, is_of_looks=True)


@dataclass(frozen=True, slots=True)
class Levels:
    """All series by their labels, and which labels they have; None before the first look."""

    series: Mapping[str, Level] = field(default_factory=dict)
    names: Names | None = None

    @classmethod
    def of(cls, memory: Memory) -> Self:
        extra = remembered(memory)
        series, names = extra.get("series"), extra.get("names")
        if not isinstance(series, dict) or not isinstance(names, list) or len(series) > MOST_SERIES:
            return cls()
        return cls({key: Level.from_json(one) for key, one in series.items()}, tuple(map(str, names)))

    def to_json(self) -> dict[str, Json]:
        names = None if self.names is None else list(self.names)
        return {"series": {key: one.to_json() for key, one in self.series.items()}, "names": names}

    def lacks_history(self, setting: Setting) -> bool:
        """Whether what was before this change is to be asked for."""
        return self.names is not None and any(one.before != setting.before for one in self.series.values())

    def with_history(self, past: Iterable[Past], setting: Setting, block_seconds: float) -> "Levels":
        """With the answer to what ``lacks_history`` asked for, labelled by *names*; what is not in it was not there."""
        found: dict[str, list[Past]] = {}
        for one in past:
            if math.isfinite(one.value):
                found.setdefault(text_of(dict(zip(self.names or (), one.labels, strict=False))), []).append(one)
        series = {}
        for key, level in self.series.items():
            values = sorted(found.get(key, ()), key=lambda one: one.at)
            series[key] = level.with_past(
                setting.before, [one.at for one in values], [one.value for one in values], block_seconds
            )
        return replace(self, series=series)

    def with_look(
        self, values: Mapping[str, SeriesValue], measurement: Measurement, setting: Setting, window_seconds: float
    ) -> "Levels":
        """At most ``MOST_SERIES`` *values*. Others that were there before are kept while there is room."""
        from_ = measurement.at - measurement.lookback_seconds
        is_after = from_ >= settled_at(setting)
        kept_seconds = window_seconds + setting.warmup_seconds + measurement.lookback_seconds
        series = {}
        for key, value in values.items():
            point = Point(from_, measurement.at, Moments(1.0, value.value, 0.0), begins_at(setting), is_after)
            series[key] = self.series.get(key, Level()).with_look(point, window_seconds, kept_seconds)
        others = [key for key in self.series if key not in values][: MOST_SERIES - len(series)]
        names = {name for key in values for name in labels_of(key)} | set(self.names or ())
        return Levels({**series, **{key: self.series[key] for key in others}}, tuple(sorted(names)))

    def with_looks_before(self, setting: Setting, window_seconds: float) -> "Levels":
        """Of sources without a past: the baseline of this change, where it is not known yet."""
        series = {
            key: one if one.before == setting.before else one.with_looks_before(setting.before, window_seconds)
            for key, one in self.series.items()
        }
        return replace(self, series=series)


def _fewer(points: Sequence[Point], block_seconds: float) -> tuple[Point, ...]:
    """Points of a block are one, but for the newest."""
    blocks = _blocks(points[:-SINGLE_POINTS], block_seconds)
    return (*blocks, *points[-SINGLE_POINTS:])[-MOST_POINTS:]


def _blocks(points: Iterable[Point], block_seconds: float) -> list[Point]:
    """Those that end in the same block and are of the same step and side, put together."""
    blocks: list[Point] = []
    for one in points:
        last = blocks[-1] if blocks else None
        if last is not None and last.slot(block_seconds) == one.slot(block_seconds):
            blocks[-1] = Point(last.from_, one.to, last.moments.joined(one.moments), one.step, one.is_after)
        else:
            blocks.append(one)
    return blocks


def _joined(points: Iterable[Point]) -> Moments | None:
    found: Moments | None = None
    for one in points:
        found = one.moments if found is None else found.joined(one.moments)
    return found


def _baseline(parts: Sequence[float]) -> Baseline:
    mean, between, within = (np.array(one) for one in parts[:3])
    return Baseline(mean, between, within, int(parts[3]), int(parts[4]))


def _numbers(value: Any, length: int) -> list[float] | None:
    if not isinstance(value, list) or len(value) != length:
        return None
    parts = [number(one) for one in value]
    return [one for one in parts if one is not None] if None not in parts else None
