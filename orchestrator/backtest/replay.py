"""One criterion, replayed over one release: look by look, by the same code that judges a live run.

The times of looks lie on a grid, and each step of a release lasts as long as its bake: a hold does not prolong it here,
as it would a run, and a verdict that would end the run ends the replay. What a look measures is answered from the past.
"""

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from orchestrator.backtest.counts import StepCounts
from orchestrator.backtest.ledger import Ledger
from orchestrator.backtest.placebo import (
    FLAG_ARMS,
    USUAL_SHARE,
    AsItWas,
    BandSplit,
    Impossible,
    Split,
    TargetSplit,
    while_released,
)
from orchestrator.backtest.schedule import Course, Reached
from stages.criteria import AnyCriterion, Compare, Latency, Threshold
from stages.criteria.arms import Arms
from stages.criteria.base import (
    Judgement,
    Measurement,
    MeasurementState,
    Memory,
    Setting,
    Verdict,
    Wanted,
    memory_after_gap,
)
from stages.criteria.judging import judge, wanted
from stages.promql import lookback_seconds

STALE_AFTER_SCRAPES = 2


@dataclass(slots=True)
class Hold:
    begin: float
    end: float
    sentence: str


@dataclass(slots=True)
class Replayed:
    """What came of one release. *skipped*: why it could not be replayed; nothing else is meant then.

    *at* are the times of looks; *log_evidence* has one number for each, of a tested kind. *times* and *values* are of
    the looks that had a value.
    """

    begin: float
    skipped: str = ""
    failed_at: float | None = None
    sentence: str = ""
    holds: list[Hold] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    log_evidence: list[float] = field(default_factory=list)
    measured: int = 0
    gaps: int = 0  # stretches of looks without a value
    unmeasured: str = ""  # what the first such look said
    times: "array[float]" = field(default_factory=lambda: array("d"))
    values: "array[float]" = field(default_factory=lambda: array("d"))

    @property
    def measurable(self) -> bool:
        return not self.skipped and self.measured > 0

    @property
    def quiet(self) -> bool:
        return self.failed_at is None and not self.holds


@dataclass(frozen=True, slots=True)
class Bench:
    """A criterion with all that its replays need. *flag*: whose arms it compares; *alpha*: its share of the budget."""

    criterion: AnyCriterion
    course: Course
    ledger: Ledger
    scrape_seconds: float
    alpha: float
    flag: str | None
    warmup_seconds: float

    async def release(self, begin: float) -> Replayed:
        walk = _Walk(self, Replayed(begin))
        try:
            for step in self.course.steps:
                if step.judged and not await self._step(walk, step):
                    break
        except Impossible as why:
            return Replayed(begin, skipped=str(why))
        return walk.replayed

    async def _step(self, walk: "_Walk", step: Reached) -> bool:
        """Whether the release goes on after *step*."""
        begin = walk.replayed.begin
        since = begin + step.begins_seconds
        end = since + step.lasts_seconds
        split = self.split(step, begin)
        if self.flag is not None:
            await self._refuse_real_releases(self.flag, since, end)
        counts = StepCounts(self.ledger, split, math.floor(since), math.ceil(end), self.scrape_seconds)
        setting = self.setting(step, split, begin)
        for at in self._looks(since, end):
            if not await walk.look(counts, setting, at):
                return False
        return True

    def _looks(self, since: float, end: float) -> Iterator[float]:
        every_seconds, first = self.course.gate.every, self.ledger.begin
        place = math.floor((since - first) / every_seconds + 1e-6) + 1
        while first + place * every_seconds <= min(end, self.ledger.end) + 1e-6:
            yield first + place * every_seconds
            place += 1

    def split(self, step: Reached, begin: float) -> Split:
        """*begin* seeds the draw: a release keeps its canary from step to step, and the next one has another."""
        arms = _arms(self.criterion, self.flag)
        if arms is not None:
            share = USUAL_SHARE if step.percentage is None else step.percentage / 100
            return TargetSplit(arms, share, f"{begin:.0f}")
        if isinstance(self.criterion, Compare) and self.flag is not None:
            return BandSplit(100.0 if step.percentage is None else step.percentage)
        return AsItWas()

    def setting(self, step: Reached, split: Split, begin: float) -> Setting:
        return Setting(
            since=begin + step.begins_seconds,
            before=begin,
            warmup_seconds=self.warmup_seconds,
            every_seconds=self.course.gate.every,
            scrape_seconds=self.scrape_seconds,
            alpha=self.alpha,
            flag=self.flag,
            percentage=split.percentage if isinstance(split, BandSplit) else step.percentage,
        )

    async def _refuse_real_releases(self, flag: str, since: float, end: float) -> None:
        async for block in self.ledger.rises(while_released(flag), since, end):
            for series in block:
                if series.values[(series.times > since) & (series.times <= end)].any():
                    raise Impossible(f"the flag {flag} was on then, so it was a release, and no past without one")

    async def measure(self, counts: StepCounts, want: Wanted, at: float) -> Measurement:
        """What a look at *at* would have measured."""
        query = self.criterion.asked.query
        reach_seconds = STALE_AFTER_SCRAPES * self.scrape_seconds + (_reach_seconds(query) if query else 0.0)
        series = await self.ledger.values(query, at, self.course.gate.every) if query else ()
        state = MeasurementState.MISSING if query and not series else MeasurementState.OK
        detail = "" if series or not query else "there was none at that time"
        if state is MeasurementState.OK and want.counting is not None:
            state, counted = await counts.answer(want.counting)
        else:
            counted = ()
        if state is not MeasurementState.OK:
            return Measurement(state, at, detail=detail, lookback_seconds=reach_seconds)
        past = [one for history in want.history for one in await self.ledger.history(history)]
        return Measurement(state, at, series, detail, reach_seconds, counted, tuple(past))


@lru_cache(256)
def _reach_seconds(query: str) -> float:
    reach_seconds: float = lookback_seconds(query)
    return reach_seconds


def _arms(criterion: AnyCriterion, flag: str | None) -> Arms | None:
    """The arms that are told apart by labels."""
    match criterion:
        case Compare():
            return criterion.compare.arms
        case Latency():
            return criterion.latency.arms or (FLAG_ARMS if flag is not None else None)
        case _:
            return None


def selectors_of(bench: Bench) -> list[str]:
    """Which counters a release reads, of the past as it is split for its first step."""
    step = next(step for step in bench.course.steps if step.judged)
    begin, split = bench.ledger.begin, bench.split(step, bench.ledger.begin)
    setting = bench.setting(step, split, begin)
    found = wanted(bench.criterion, setting, Memory(), begin + step.begins_seconds + step.lasts_seconds + 86400.0)
    selectors = found.counting.selectors.values() if found.counting is not None else ()
    return list(dict.fromkeys(map(split.asked, selectors)))


@dataclass(slots=True)
class _Walk:
    """From look to look."""

    bench: Bench
    replayed: Replayed
    memory: Memory = field(default_factory=Memory)
    in_gap: bool = False

    async def look(self, counts: StepCounts, setting: Setting, at: float) -> bool:
        """Whether there is more to see: after a failure there is only for thresholds, whose values are of use."""
        bench, before = self.bench, self.replayed.at
        memory = memory_after_gap(self.memory, before[-1], at, setting.every_seconds) if before else self.memory
        want = wanted(bench.criterion, setting, memory, at)
        measurement = await bench.measure(counts, want, at)
        judgement = judge(bench.criterion, measurement, memory, setting)
        self.memory = judgement.memory
        if self.replayed.failed_at is None:
            self._note(measurement, judgement)
        if judgement.value is not None and math.isfinite(judgement.value):
            self.replayed.times.append(at)
            self.replayed.values.append(judgement.value)
        return self.replayed.failed_at is None or isinstance(bench.criterion, Threshold)

    def _note(self, measurement: Measurement, judgement: Judgement) -> None:
        into, at = self.replayed, measurement.at
        into.at.append(at)
        if judgement.log_evidence is not None:
            into.log_evidence.append(judgement.log_evidence)
        has_value = measurement.state is MeasurementState.OK and judgement.value is not None
        measured = has_value or judgement.verdict is not Verdict.INCONCLUSIVE
        into.measured += measured
        if not measured and not self.in_gap:
            into.gaps += 1
            into.unmeasured = into.unmeasured or judgement.sentence
        self.in_gap = not measured
        if judgement.verdict is Verdict.FAIL:
            into.failed_at, into.sentence = at, judgement.sentence
        elif judgement.verdict is Verdict.INCONCLUSIVE and measured:
            self._hold(at, judgement.sentence)

    def _hold(self, at: float, sentence: str) -> None:
        holds, every_seconds = self.replayed.holds, self.bench.course.gate.every
        if holds and at <= holds[-1].end + 1e-6:
            holds[-1].end = at + every_seconds
        else:
            holds.append(Hold(at, at + every_seconds, sentence))
