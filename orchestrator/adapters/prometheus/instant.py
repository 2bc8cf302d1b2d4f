"""Instant queries as measurements, and what of their answers is old.

An instant query answers with the time of evaluation, not of the sample, and for five minutes it goes on answering
with the last sample of a series that is no longer written. So for a plain selector ``timestamp(...)`` is asked as well,
and series whose newest sample is older than two scrapes are left out as stale. Within ranges and functions old samples
can't be seen; there staleness shows when the range runs empty.
"""

import math
import re
from collections.abc import Mapping, Sequence

from orchestrator.adapters.prometheus.answers import UnusableAnswer, read_values, short
from orchestrator.adapters.prometheus.api import Api, Server, instant
from stages.criteria.base import Measurement, MeasurementState, SeriesValue
from stages.promql import lookback_seconds
from stages.values import format_duration

STALE_AFTER_SCRAPES = 2
NAMED_SERIES = 3
_QUOTED = r"""'(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | `[^`]*`"""
_PLAIN_SELECTOR = re.compile(
    rf"""\s* ([a-zA-Z_:][a-zA-Z0-9_:]*) \s* (?: \{{ (?: [^"'`{{}}] | {_QUOTED} )* \}} \s* )?""", re.VERBOSE
)


def is_plain_selector(query: str) -> bool:
    """Whether *query* is a metric's name, with matchers or without, and nothing else."""
    match = _PLAIN_SELECTOR.fullmatch(query)
    return match is not None and match.group(1).lower() not in ("nan", "inf")


async def measure_query(api: Api, server: Server, query: str, at: float) -> Measurement:
    """What *query* is at the whole second *at*. Raises as ``Api.ask`` does."""
    series = (await api.ask(server, instant(query, at, read_values), at)).value
    if not series:
        return Measurement(MeasurementState.MISSING, at, detail=f"{server.name} has none for {short(query)}")
    try:
        lookback_seconds(query)
    except ValueError as error:
        raise UnusableAnswer(f"answers the query, but how far back it looks can't be told: {error}") from error
    if not is_plain_selector(query):
        return Measurement(MeasurementState.OK, at, tuple(series))
    sampled = (await api.ask(server, instant(f"timestamp({query})", at, read_values), at)).value
    return _fresh(server, at, series, {entry.labels: entry.value for entry in sampled})


def lookback_of(server: Server, query: str) -> float:
    """How far before its evaluation a *query*'s value reaches."""
    try:
        reach_seconds: float = lookback_seconds(query)
    except ValueError:
        reach_seconds = 0.0  # the measurement is an error then
    return reach_seconds + STALE_AFTER_SCRAPES * server.scrape_seconds


def _fresh(server: Server, at: float, series: Sequence[SeriesValue], sampled: Mapping[str, float]) -> Measurement:
    """OK with all *series*, or STALE with those that are not. *sampled* maps labels to the newest sample's time."""
    longest_seconds = STALE_AFTER_SCRAPES * server.scrape_seconds
    dated = [SeriesValue(entry.labels, entry.value, sampled.get(entry.labels, -math.inf)) for entry in series]
    stale = [entry for entry in dated if at - entry.sampled_at > longest_seconds]
    if not stale:
        return Measurement(MeasurementState.OK, at, tuple(dated))
    oldest = min(stale, key=lambda entry: entry.sampled_at)
    age = f"{at - oldest.sampled_at:.0f}s old" if math.isfinite(oldest.sampled_at) else "of unknown age"
    names = ", ".join(entry.labels or "{}" for entry in stale[:NAMED_SERIES])
    more = f" and {len(stale) - NAMED_SERIES} more" if len(stale) > NAMED_SERIES else ""
    detail = (
        f"the newest sample of {names}{more} is up to {age} at {server.name}, more than two scrapes of "
        f"{format_duration(server.scrape_seconds)} (scrape_interval, if it is scraped less often)"
    )
    fresh = tuple(entry for entry in dated if entry not in stale)
    return Measurement(MeasurementState.STALE, at, fresh, detail)
