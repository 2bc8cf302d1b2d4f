"""What a survey asks of a Prometheus about the counters that gates count: how many, how old, of what kind, how fast.

Asked through the measurer that runs use. Raises ``Unanswered`` where the server does not answer.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flags.exposure_names import BAND, CANARY, CONTROL, ERROR, selector
from orchestrator.ports import Scene, World
from stages import sight
from stages.checks import Source
from stages.criteria import before
from stages.criteria.base import Counting, History, Measurement, MeasurementState, SeriesValue, Setting, Wanted
from stages.criteria.evidence import Keys
from stages.sight import Day
from stages.statistics.dispersion import of_history

BAD, TOTAL = "bad", "total"
DAY_SECONDS = 86_400.0
INTERVAL_SECONDS = 300.0
RECENT_SECONDS = 300.0
FEWEST_INTERVALS = 3
AHEAD_SECONDS = 240.0  # a server looks back for 300: so far ahead of now it still sees the samples of now
Luck = Callable[[float], Keys]
"""Of a percentage: what its keys may have of the bad events by luck alone."""
_LE = re.compile(r'\ble="([^"]*)"')


class Unanswered(Exception):
    """A question had no answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters of one part (a band, an arm, or all): selectors of its events and of those that are bad."""

    total: str
    bad: str

    @property
    def named(self) -> tuple[tuple[str, str], ...]:
        return (TOTAL, self.total), (BAD, self.bad)


@dataclass(frozen=True, slots=True)
class Asker:
    """Puts questions to one source at one time."""

    world: World
    scene: Scene
    source: Source  # without a question: which server, and how long it may take
    at: float
    scrape_seconds: float

    async def measure(self, query: str, at: float | None = None) -> Measurement:
        asked = self.source.model_copy(update={"query": query})
        measured = await self.world.measurer.measure(asked, self.scene, self.at if at is None else at)
        if measured.state is MeasurementState.ERROR:
            raise Unanswered(measured.detail)
        return measured

    async def number(self, query: str, at: float | None = None) -> float | None:
        """None if there is no series, or no number."""
        series = (await self.measure(query, at)).series
        return series[0].value if series and math.isfinite(series[0].value) else None

    async def series(self, selector: str) -> int:
        return int(await self.number(f"count({selector})") or 0)

    async def newest(self, selector: str) -> float | None:
        """How many seconds ahead of this clock the newest sample is; negative if it is behind, as samples are.

        Asked for ahead of time, a server whose clock is ahead shows samples that this clock has not reached yet.
        """
        query = f"max(timestamp({selector}))"
        found = await self.number(query, self.at + AHEAD_SECONDS)
        if found is None:
            found = await self.number(query)
        return None if found is None else found - self.at

    async def resets(self, selector: str) -> float:
        """How often the most restless series went down within the hour."""
        return await self.number(f"max(resets({selector}[1h]))") or 0.0

    async def edges(self, bucket_selector: str) -> dict[float, float]:
        """Edge of a bucket -> share of the hour's events that are slower. Empty without events or buckets."""
        measured = await self.measure(f"sum by (le) (increase({bucket_selector}[1h]))")
        counts = {float(edge): one.value for one in measured.series if (edge := _edge(one)) is not None}
        all_events = counts.get(math.inf, 0.0)
        if all_events <= 0:
            return {}
        return {edge: max(1 - value / all_events, 0.0) for edge, value in sorted(counts.items()) if math.isfinite(edge)}

    async def recent(self, selectors: Mapping[str, str]) -> dict[str, float]:
        """By how much counters rose within the last minutes, counted as a look counts; 0 without series."""
        to = float(math.floor(self.at - self.scrape_seconds))
        measured = await self._wanted(Wanted(Counting(selectors, to - RECENT_SECONDS, to)))
        return {name: math.fsum(one.value for one in measured.counts if one.name == name) for name in selectors}

    async def _wanted(self, wanted: Wanted) -> Measurement:
        measured = await self.world.measurer.measure(self.source, self.scene, self.at, wanted)
        if measured.state is MeasurementState.ERROR:
            raise Unanswered(measured.detail)
        return measured

    async def day(self, parts: Mapping[str, Counters]) -> Day:
        """The last day of *parts* in intervals; of what is too young for that, the last minutes."""
        to = math.floor(self.at - self.scrape_seconds)
        selectors = {f"{part}/{kind}": text for part, one in parts.items() for kind, text in one.named}
        histories = tuple(
            History(
                name,
                f"sum(increase({text}[{INTERVAL_SECONDS:.0f}s]))",
                to - DAY_SECONDS + INTERVAL_SECONDS,
                float(to),
                INTERVAL_SECONDS,
            )
            for name, text in selectors.items()
        )
        past = (await self._wanted(Wanted(history=histories))).past
        times = {at: row for row, at in enumerate(sorted({one.at for one in past if one.name.endswith(TOTAL)}))}
        if len(times) < FEWEST_INTERVALS:
            counted = [(*_part(name), 0, value) for name, value in (await self.recent(selectors)).items()]
            return _table(counted, tuple(parts), 1, RECENT_SECONDS)
        values = [(*_part(one.name), times[one.at], one.value) for one in past if one.at in times]
        return _table(values, tuple(parts), len(times), INTERVAL_SECONDS)

    async def day_of_flag(self, flag: str, alpha: float) -> tuple[Day, Luck | None]:
        """The last day of a flag's uses by where their keys lie, and what luck a draw of keys may have then; None where
        it is too young for that."""
        to = float(math.floor(self.at - self.scrape_seconds))
        setting = Setting(since=self.at, before=to, scrape_seconds=self.scrape_seconds, alpha=alpha, flag=flag)
        drawn = (CANARY, CONTROL)
        counting = Counting(
            {TOTAL: selector(flag, drawn), BAD: selector(flag, drawn, outcome=ERROR)}, to - RECENT_SECONDS, to, (BAND,)
        )
        measured = await self._wanted(Wanted(counting, before.flag_histories(setting)))
        day = sight.day_of_flag(measured.past)
        if day.total.sum() > 0:
            return day, lambda percentage: sight.luck_of(measured.past, setting, percentage)
        counted = [(one.labels[0], one.name, 0, one.value) for one in measured.counts]
        return _table(counted, sight.FLAG_PARTS, 1, RECENT_SECONDS), None


def _part(name: str) -> tuple[str, str]:
    part, _, kind = name.rpartition("/")
    return part, kind


def _table(values: Sequence[tuple[str, str, int, float]], parts: tuple[str, ...], rows: int, seconds: float) -> Day:
    """Of values by part, kind (``total`` or ``bad``) and row."""
    tables = {kind: np.zeros((rows, len(parts))) for kind in (BAD, TOTAL)}
    for part, kind, row, value in values:
        if part in parts and math.isfinite(value):
            tables[kind][row, parts.index(part)] += value
    bad, total = np.minimum(tables[BAD], tables[TOTAL]), tables[TOTAL]
    dispersion = float(of_history(bad, total).phi) if rows > 1 and len(parts) > 1 else 1.0
    return Day(parts, bad, total, seconds, dispersion)


def _edge(series: SeriesValue) -> str | None:
    found = _LE.search(series.labels)
    return found.group(1) if found is not None else None
