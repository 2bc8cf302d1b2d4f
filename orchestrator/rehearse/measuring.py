"""What the rehearsed world answers when a criterion is measured: good, bad, or that nobody answers.

A plan says by itself what is good: its bounds. So every criterion can be answered as it would be by a healthy release
and by a bad one, each kind in the form in which it is measured. What that means is judged by the criterion itself.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from flags.exposure_names import BAND_ENDS, BANDS, CANARY, CONTROL, ERROR, OK
from stages.checks import Source
from stages.criteria import AnyCriterion, Compare, Latency, Ratio, Slo, Threshold
from stages.criteria.arm_counts import EXPOSED
from stages.criteria.base import Count, Counting, History, Measurement, MeasurementState, Past, SeriesValue, Wanted
from stages.criteria.latency import BUCKETS
from stages.promql import InvalidQuery, lookback_seconds
from stages.values import Bound

EVENTS_PER_SECOND = 200.0
GOOD_SHARE, BAD_SHARE = 0.001, 0.9  # of events that went wrong
LEVEL = 1.0  # of what has no bound of its own
TIMES_WORSE = 1000.0
EDGES = ("0.1", "1.0", "+Inf")
QUICK, SLOW = (0.6, 0.97, 1.0), (0.02, 0.1, 1.0)  # events up to these edges
_FLAG = re.compile(r'flag="((?:\\.|[^"\\])*)"')


class Mood(StrEnum):
    GOOD = "good"
    BAD = "bad"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Look:
    """*scrape_seconds* of the source that is asked; *level* of the flag whose arms are counted, in per cent."""

    at: float
    mood: Mood
    scrape_seconds: float
    level: float = 0.0

    @property
    def is_bad(self) -> bool:
        return self.mood is Mood.BAD


def measured(source: Source, wanted: Wanted, look: Look) -> Measurement:
    if look.mood is Mood.AWAY:
        return Measurement(MeasurementState.ERROR, look.at, detail="connection refused")
    if isinstance(source, Compare | Latency | Ratio | Slo):
        return _counted(source, wanted, look)
    values = (SeriesValue("", _value(source, look), look.at),)
    past = tuple(one for history in wanted.history for one in _level_before(history))
    return Measurement(MeasurementState.OK, look.at, values, lookback_seconds=_lookback(source, look), past=past)


def flag_of(wanted: Wanted) -> str | None:
    """The flag whose arms are counted; None if there is none."""
    selectors = wanted.counting.selectors.values() if wanted.counting is not None else ()
    found = next((match for text in selectors if (match := _FLAG.search(text))), None)
    return found[1] if found is not None else None


def _lookback(source: Source, look: Look) -> float:
    return _reach(source.query) + 2 * look.scrape_seconds if source.query else 0.0


@lru_cache(256)
def _reach(query: str) -> float:
    try:
        return lookback_seconds(query)
    except InvalidQuery:
        return 0.0


# --- a number ---------------------------------------------------------------------------------------------------------


def _value(source: Source, look: Look) -> float:
    if not isinstance(source, Threshold):
        return LEVEL * TIMES_WORSE if look.is_bad else LEVEL
    if source.expect is not None:
        return 0.0 if look.is_bad else 1.0
    return holding(source.failing if look.is_bad else source.passing)


def holding(bound: Bound) -> float:
    """A number that a bound holds for, half of its size away from it."""
    away = abs(bound.number) / 2 or 1.0
    match bound.op:
        case "<" | "<=":
            return bound.number - away
        case ">" | ">=" | "!=":
            return bound.number + away
        case "==":
            return bound.number


def _level_before(history: History) -> Iterator[Past]:
    at = history.from_
    while at <= history.to:
        yield Past(history.name, tuple("" for _ in history.by), at, LEVEL)
        at += history.step_seconds


# --- counters ---------------------------------------------------------------------------------------------------------


def _counted(criterion: AnyCriterion, wanted: Wanted, look: Look) -> Measurement:
    counting = wanted.counting
    if counting is None:  # nothing new could be counted yet, or nobody is left to compare with
        return Measurement(MeasurementState.OK, look.at, lookback_seconds=look.scrape_seconds)
    events = EVENTS_PER_SECOND * (counting.to - counting.from_)
    counts = tuple(_counts(criterion, counting, look, events))
    past = tuple(one for history in wanted.history for one in _buckets_before(criterion, history))
    back_seconds = look.at - counting.from_
    return Measurement(MeasurementState.OK, look.at, counts=counts, lookback_seconds=back_seconds, past=past)


def _counts(criterion: AnyCriterion, counting: Counting, look: Look, events: float) -> Iterator[Count]:
    names = set(counting.selectors)
    canary_share = BAD_SHARE if look.is_bad else GOOD_SHARE
    if EXPOSED in names:
        yield from _exposures(look.level, events, canary_share)
    elif BUCKETS in names:
        share = {CANARY: look.level / 100, CONTROL: 1 - look.level / 100}
        for arm in (CANARY, CONTROL):
            yield from _buckets(BUCKETS, (arm,), events * share[arm], _speed(look.is_bad and arm == CANARY))
    elif isinstance(criterion, Latency):
        for arm in (CANARY, CONTROL):
            yield from _buckets(arm, (), events, _speed(look.is_bad and arm == CANARY))
    elif isinstance(criterion, Compare):
        for arm, share_of_bad in ((CANARY, canary_share), (CONTROL, GOOD_SHARE)):
            yield from _pair(f"{arm}_bad", f"{arm}_total", (f"{arm}-1", "")[: len(counting.by)], events, share_of_bad)
    else:
        yield from _pair("bad", "total", (), events, BAD_SHARE if look.is_bad else 0.0)


def _pair(bad: str, total: str, labels: tuple[str, ...], events: float, share: float) -> Iterator[Count]:
    yield Count(bad, labels, events * share)
    yield Count(total, labels, events)


def _exposures(level: float, events: float, canary_share: float) -> Iterator[Count]:
    """Keys are equal: a band has as many events as it is wide, and what lies below the level has the flag."""
    begin = 0.0
    for band, end in zip(BANDS, BAND_ENDS, strict=True):
        with_flag = min(max(level, begin), end) - begin
        for arm, width, share in ((CANARY, with_flag, canary_share), (CONTROL, end - begin - with_flag, GOOD_SHARE)):
            if width > 0:
                yield Count(EXPOSED, (arm, band, ERROR), events * width / 100 * share)
                yield Count(EXPOSED, (arm, band, OK), events * width / 100 * (1 - share))
        begin = end


def _speed(is_slow: bool) -> tuple[float, ...]:
    return SLOW if is_slow else QUICK


def _buckets(name: str, labels: tuple[str, ...], events: float, up_to: tuple[float, ...]) -> Iterator[Count]:
    for edge, share in zip(EDGES, up_to, strict=True):
        yield Count(name, (*labels, edge), events * share)


def _buckets_before(criterion: AnyCriterion, history: History) -> Iterator[Past]:
    """What a histogram's control was in the hour before; of counters nothing is known from before."""
    if isinstance(criterion, Latency):
        events = EVENTS_PER_SECOND * history.step_seconds
        yield from (
            Past(history.name, (edge,), history.to, math.floor(events * share))
            for edge, share in zip(EDGES, QUICK, strict=True)
        )
