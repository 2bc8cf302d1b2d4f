"""The arithmetic of counters, on their raw samples.

A counter only rises, and begins at 0 with the process that counts. A sample that is lower than the one before it comes
from a new process, and all of it was counted since. Each rise belongs to the time of the sample that shows it, so
intervals that follow one another add up to the interval that they make together.

Two things look like that and are something else. A store that mixes the samples of two replicas, scraped at different
moments, now and then hands out a value a little lower than the last; taken as a new beginning it would count a whole
life once more. So a fall of less than a twentieth is none. And a gauge rises and falls as it likes; it is told by its
falls, several of them and to more than half of what it was.
"""

import math
import operator
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise

from orchestrator.adapters.http_client import Reply
from orchestrator.adapters.prometheus.answers import Series, UnusableAnswer, read_series, text_of

REPLICA_LABELS = ("prometheus_replica", "__replica__")
"""Labels by which two servers that scrape the same are told apart, where nothing has merged them."""
SMALLEST_FALL = 0.05
GAUGE_FALLS = 2
GAUGE_SHARE = 0.25  # of all changes from sample to sample

Key = frozenset[tuple[str, str]]


def key_of(labels: Mapping[str, str]) -> Key:
    return frozenset(labels.items())


def read_counters(reply: Reply) -> list[Series]:
    """The counters of an answer, each once, without samples that are no numbers. Raises ``UnusableAnswer``."""
    counters = [_sound(one) for one in read_series(reply) if not _is_creation(one)]
    return _without_replicas([one for one in counters if one.values])


def increase(series: Series, from_: float, to: float, before: float) -> float:
    """By how much *series* rose over ``(from_, to]``. *before*: what it was at *from_*, unless a sample tells."""
    first, end = bisect_right(series.times, from_), bisect_right(series.times, to)
    if first:
        return risen(series.values[first - 1 : end])
    return risen([before, *series.values[:end]])


def risen(values: Sequence[float]) -> float:
    """By how much a counter with these *values*, oldest first, rose from the first to the last."""
    if len(values) < 2:
        return 0.0
    if _only_rises(values):
        return values[-1] - values[0]
    total, top = 0.0, values[0]
    for value in values[1:]:
        if value >= top:
            total += value - top
            top = value
        elif value < top * (1 - SMALLEST_FALL):
            total += value
            top = value
    return total


def looks_like_a_gauge(values: Sequence[float]) -> bool:
    changes = [(before, value) for before, value in pairwise(values) if before != value]
    falls = sum(1 for before, value in changes if before / 2 < value < before)
    return falls >= GAUGE_FALLS and falls >= GAUGE_SHARE * len(changes)


def _only_rises(values: Sequence[float]) -> bool:
    return all(map(operator.le, values, values[1:]))


def _is_creation(series: Series) -> bool:
    """``..._created`` holds when a counter began, and may be matched along with it."""
    return series.labels.get("__name__", "").endswith("_created")


def _sound(series: Series) -> Series:
    if not math.isfinite(sum(series.values)):
        series = _finite(series)
    values = series.values
    if not values or (values[0] >= 0 and _only_rises(values)):
        return series
    lowest = min(values)
    if lowest < 0:
        raise UnusableAnswer(
            f"has {lowest:g} for {_named(series)}, which looks like a gauge: counters are never below 0"
        )
    if looks_like_a_gauge(values):
        raise UnusableAnswer(f"has {_named(series)}, which looks like a gauge: it falls again and again")
    return series


def _finite(series: Series) -> Series:
    """Without NaN: one alone is how some stores hand out the mark that a series has ended."""
    if any(map(math.isinf, series.values)):
        raise UnusableAnswer(f"has {_named(series)} at infinity, which is no count")
    pairs = zip(series.times, series.values, strict=True)
    kept = [(at, value) for at, value in pairs if not math.isnan(value)]
    if not kept and len(series.values) > 1:
        raise UnusableAnswer(f"has only NaN for {_named(series)}, which is no count")
    return Series(series.labels, [at for at, _ in kept], [value for _, value in kept])


def _without_replicas(counters: list[Series]) -> list[Series]:
    """Of what several servers have scraped alike, the one with the most samples."""
    if not any(name in one.labels for one in counters for name in REPLICA_LABELS):
        return counters
    best: dict[Key, Series] = {}
    for one in counters:
        key = key_of({name: value for name, value in one.labels.items() if name not in REPLICA_LABELS})
        known = best.get(key)
        if known is None or len(one.times) > len(known.times):
            best[key] = one
    return list(best.values())


def _named(series: Series) -> str:
    return f"{series.labels.get('__name__', 'a series')}{text_of(series.labels)}"
