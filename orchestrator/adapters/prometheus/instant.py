"""Instant queries as measurements, and what of their answers is old.

An instant query answers with the time of evaluation, not of the sample, and for five minutes it goes on answering
with the last sample of a series that is no longer written. So for a plain selector ``timestamp(...)`` is asked with it,
in one query whose series are told apart by a label, and those whose newest sample is older than two scrapes are left
out as stale. Within ranges and functions old samples can't be seen; there staleness shows when the range runs empty.
"""

import math
import re
from collections.abc import Sequence

from orchestrator.adapters.http_client import Reply
from orchestrator.adapters.prometheus.answers import UnusableAnswer, read_points, read_values, short, text_of
from orchestrator.adapters.prometheus.api import USUAL_BYTES, Api, Server, instant
from stages.criteria.base import Measurement, MeasurementState, SeriesValue
from stages.promql import lookback_seconds
from stages.values import format_duration

STALE_AFTER_SCRAPES = 2
NAMED_SERIES = 3
SAMPLED = "staged_rollout_sampled"  # the label of what says when a series was sampled
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
    is_dated = is_plain_selector(query)
    question = instant(dated(query), at, _read_dated, 2 * USUAL_BYTES) if is_dated else instant(query, at, read_values)
    series = (await api.ask(server, question, at)).value
    if not series:
        return Measurement(MeasurementState.MISSING, at, detail=f"{server.name} has none for {short(query)}")
    try:
        lookback_seconds(query)
    except ValueError as error:
        raise UnusableAnswer(f"answers the query, but how far back it looks can't be told: {error}") from error
    return _fresh(server, at, series) if is_dated else Measurement(MeasurementState.OK, at, tuple(series))


def dated(selector: str) -> str:
    """Asks for the series of a plain *selector*, and for each once more with the time of its newest sample."""
    return f'{selector} or label_replace(timestamp({selector}), "{SAMPLED}", "at", "__name__", ".*")'


def _read_dated(reply: Reply) -> list[SeriesValue]:
    """What ``dated`` asks for. A series of which nobody says when it was sampled was sampled long ago."""
    points = read_points(reply, times=2)
    sampled = {
        text_of({name: value for name, value in point.labels.items() if name != SAMPLED}): point.value
        for point in points
        if SAMPLED in point.labels
    }
    series = ((text_of(point.labels), point.value) for point in points if SAMPLED not in point.labels)
    return [SeriesValue(labels, value, sampled.get(labels, -math.inf)) for labels, value in series]


def lookback_of(server: Server, query: str) -> float:
    """How far before its evaluation a *query*'s value reaches."""
    try:
        reach_seconds: float = lookback_seconds(query)
    except ValueError:
        reach_seconds = 0.0  # the measurement is an error then
    return reach_seconds + STALE_AFTER_SCRAPES * server.scrape_seconds


def _fresh(server: Server, at: float, series: Sequence[SeriesValue]) -> Measurement:
    """OK with all *series*, or STALE with those that are not."""
    longest_seconds = STALE_AFTER_SCRAPES * server.scrape_seconds
    stale = [entry for entry in series if at - entry.sampled_at > longest_seconds]
    if not stale:
        return Measurement(MeasurementState.OK, at, tuple(series))
    oldest = min(stale, key=lambda entry: entry.sampled_at)
    age = f"{at - oldest.sampled_at:.0f}s old" if math.isfinite(oldest.sampled_at) else "of unknown age"
    names = ", ".join(entry.labels or "{}" for entry in stale[:NAMED_SERIES])
    more = f" and {len(stale) - NAMED_SERIES} more" if len(stale) > NAMED_SERIES else ""
    detail = (
        f"the newest sample of {names}{more} is up to {age} at {server.name}, more than two scrapes of "
        f"{format_duration(server.scrape_seconds)} (scrape_interval, if it is scraped less often)"
    )
    fresh = tuple(entry for entry in series if entry not in stale)
    return Measurement(MeasurementState.STALE, at, fresh, detail)
