"""What an expression was over a span of the past, as far as one answer may tell."""

import math
from collections import Counter

from orchestrator.adapters.prometheus.answers import Series, UnusableAnswer, read_series, short
from orchestrator.adapters.prometheus.api import Api, Question, Server, seconds_text
from stages.criteria.base import History, Past

MOST_POINTS = 11_000  # of one series: Prometheus refuses more
MOST_BYTES = 16 * 1024 * 1024


async def ask(api: Api, server: Server, history: History, second: float) -> list[Past]:
    """Series by series, each in the order of time; NaN is left out, and what was not there is absent.

    Raises as ``Api.ask`` does, and ``UnusableAnswer`` if it is too much for one answer or several series have the same
    labels of ``history.by``: only the expression can say how these become one.
    """
    points = (history.to - history.from_) / history.step_seconds + 1 if history.step_seconds > 0 else math.inf
    if points < 1:
        return []
    if points > MOST_POINTS:
        raise UnusableAnswer(f"can't be asked for more than {MOST_POINTS:,} values of {history.name} at once")
    form = (
        ("query", history.expression),
        ("start", seconds_text(history.from_)),
        ("end", seconds_text(history.to)),
        ("step", seconds_text(history.step_seconds)),
    )
    series = (await api.ask(server, Question("query_range", form, read_series, MOST_BYTES), second)).value
    _check_labels(history, series)
    return [past for one in series for past in _past(history, one)]


def _check_labels(history: History, series: list[Series]) -> None:
    times = Counter(_labels(history, one) for one in series)
    labels, most = max(times.items(), key=lambda item: item[1], default=((), 0))
    if most > 1:
        shown = ", ".join(f"{name}={value}" for name, value in zip(history.by, labels, strict=True))
        of = f" with {shown}" if shown else ""
        expression = short(history.expression)
        raise UnusableAnswer(f"has {most} series{of} for {expression}, where one is expected: aggregate them")


def _past(history: History, series: Series) -> list[Past]:
    labels, pairs = _labels(history, series), zip(series.times, series.values, strict=True)
    return [Past(history.name, labels, at, value) for at, value in pairs if not math.isnan(value)]


def _labels(history: History, series: Series) -> tuple[str, ...]:
    return tuple(series.labels.get(name, "") for name in history.by)
