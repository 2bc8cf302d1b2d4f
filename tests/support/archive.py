"""A past that a test wrote, for backtests: implements ``Archive`` without a Prometheus.

past = WrittenPast(every_seconds=15)
past.counter("errors_total", lambda at: 0.1, pod="a")        # what it rises by at each sample
past.expression("queue", lambda at: 5.0)                     # None: it was not there
"""

import math
from collections.abc import Callable

import numpy as np

from orchestrator.backtest.matching import hold, matchers_of
from orchestrator.ports import PastSeries

ValueAt = Callable[[float], float | None]


class WrittenPast:
    def __init__(self, every_seconds: float = 15.0) -> None:
        self.every_seconds = every_seconds
        self.asked: list[tuple[str, float, float]] = []  # selector or expression, from, to
        self._counters: list[tuple[dict[str, str], ValueAt]] = []
        self._expressions: dict[str, list[tuple[dict[str, str], ValueAt]]] = {}

    def counter(self, name: str, rise: ValueAt, **labels: str) -> None:
        self._counters.append(({"__name__": name, **labels}, rise))

    def expression(self, text: str, value: ValueAt, **labels: str) -> None:
        self._expressions.setdefault(text, []).append((labels, value))

    async def rises(self, selector: str, from_: float, to: float) -> list[PastSeries]:
        self.asked.append((selector, from_, to))
        wanted = matchers_of(selector)
        first = math.floor(from_ / self.every_seconds) + 1
        times = [place * self.every_seconds for place in range(first, math.floor(to / self.every_seconds) + 1)]
        series = [_series(labels, times, rise) for labels, rise in self._counters if hold(wanted, labels)]
        return [one for one in series if len(one.times)]

    async def values(self, expression: str, from_: float, to: float, step_seconds: float) -> list[PastSeries]:
        self.asked.append((expression, from_, to))
        times = [from_ + place * step_seconds for place in range(math.floor((to - from_) / step_seconds + 1e-9) + 1)]
        if expression.startswith("count("):
            found = await self.rises(expression.removeprefix("count(").removesuffix(")"), from_, to)
            return [PastSeries({}, one.times, one.values) for one in found[:1]]
        series = [_series(labels, times, value) for labels, value in self._expressions.get(expression, ())]
        return [one for one in series if len(one.times)]


def _series(labels: dict[str, str], times: list[float], value: ValueAt) -> PastSeries:
    pairs = [(at, found) for at in times if (found := value(at)) is not None]
    return PastSeries(labels, np.array([at for at, _ in pairs]), np.array([found for _, found in pairs]))
