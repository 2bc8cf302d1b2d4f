"""Counts of the last hours in few numbers: by the minute, and in five minutes at a time where they are older.

An interval that was counted stays whole: how its events lie within it nobody knows. So a window holds the intervals
that lie wholly within it, and after a gap they may be less than it is long.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from stages.criteria.counting import Events, Interval, number
from stages.values import Json

FINE_SECONDS = 60.0
COARSE_SECONDS = 300.0
FINE_FOR_SECONDS = 3600.0
LONGEST_WINDOW_SECONDS = 6 * 3600.0
MOST_BINS = 150


@dataclass(frozen=True, slots=True)
class Bin:
    """*bad* of *total* events in ``(from_, to]``, of which *seconds* were counted."""

    from_: float
    to: float
    seconds: float
    bad: float
    total: float

    @property
    def share(self) -> float:
        return self.bad / self.total if self.total > 0 else 0.0


Bins = tuple[Bin, ...]


def with_interval(
    bins: Sequence[Bin], interval: Interval, events: Events, kept_seconds: float = LONGEST_WINDOW_SECONDS
) -> Bins:
    """With what was counted last, and without what is older than *kept_seconds*."""
    newest = Bin(interval.from_, interval.to, interval.seconds, events.bad, events.total)
    kept = [one for one in bins if one.to > interval.to - kept_seconds and one.to <= interval.from_]
    merged: list[Bin] = []
    for one in (*kept, newest):
        if merged and _slot(merged[-1], interval.to) == _slot(one, interval.to):
            merged[-1] = _sum((merged[-1], one))
        else:
            merged.append(one)
    return tuple(merged[-MOST_BINS:])


def within(bins: Sequence[Bin], window_seconds: float) -> Bin | None:
    """What was counted in the *window_seconds* before the newest count, or up to a minute more; the newest interval at
    least, however long. None if nothing was counted."""
    if not bins:
        return None
    begin = min(bins[-1].to - window_seconds - FINE_SECONDS, bins[-1].from_)
    return _sum(one for one in bins if one.from_ >= begin)


def after(bins: Sequence[Bin], from_: float) -> Bins:
    """Without what began before *from_*."""
    return tuple(one for one in bins if one.from_ >= from_)


def to_json(bins: Sequence[Bin]) -> Json:
    """Whole numbers, which all but a few are, without their ``.0``."""
    rows = ((one.from_, one.to, one.seconds, one.bad, one.total) for one in bins)
    return [[int(value) if value.is_integer() else value for value in row] for row in rows]


def from_json(value: Any) -> Bins:
    """No bins for what :func:`to_json` never wrote."""
    if not isinstance(value, list) or len(value) > MOST_BINS:
        return ()
    bins: list[Bin] = []
    for entry in value:
        numbers = [number(one) for one in entry] if isinstance(entry, list) and len(entry) == 5 else [None]
        if any(one is None or one < 0 for one in numbers):
            return ()
        bins.append(Bin(*(one for one in numbers if one is not None)))
    ordered = all(one.from_ < one.to and one.bad <= one.total for one in bins)
    return tuple(bins) if ordered and all(one.to <= later.from_ for one, later in pairwise(bins)) else ()


def _slot(one: Bin, newest: float) -> tuple[float, float]:
    """Bins of one slot are kept as one."""
    width = FINE_SECONDS if one.from_ >= newest - FINE_FOR_SECONDS - COARSE_SECONDS else COARSE_SECONDS
    return width, math.floor(one.from_ / width)


def _sum(bins: Iterable[Bin]) -> Bin:
    parts = tuple(bins)
    return Bin(
        from_=parts[0].from_,
        to=parts[-1].to,
        seconds=math.fsum(one.seconds for one in parts),
        bad=math.fsum(one.bad for one in parts),
        total=math.fsum(one.total for one in parts),
    )
