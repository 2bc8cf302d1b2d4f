"""The gates of a plan put to Prometheus before the run: is there what they count, and what will they see of it.

For each counted criterion (compare, latency, ratio, slo, change) and each flag whose arms it would compare:

- how many series its selectors have: none, far too many, a canary or control without, series in both, no buckets;
- how old the newest sample is, and whether the server's clock runs ahead of this one;
- whether its counters go down as gauges do, and whether the arms look swapped;
- the last day in intervals of five minutes, of which ``stages.sight`` says what each step's bake can show.

Nothing is changed. What may be as it is until the run begins (a canary that is not deployed yet) is a warning at most.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn, assert_never

from flags.exposure_names import ARM, CANARY, CONTROL, ERROR, SECONDS, bands_below, selector
from orchestrator.errors import RolloutError
from orchestrator.findings import Finding, Level
from orchestrator.ports import Scene, World
from orchestrator.survey_asking import Asker, Counters, Luck, Unanswered
from stages import sight
from stages.checks import Source
from stages.criteria import AnyCriterion, Change, Compare, Latency, Ratio, Slo, Threshold
from stages.criteria.arms import Arms
from stages.criteria.base import Measurement
from stages.criteria.selectors import of_arm, with_suffix
from stages.effects import ObserveFlag
from stages.flag_spec import percentage_of
from stages.gates import Gate
from stages.statistics.power import Terms
from stages.step import EnvironmentProgram, Program, StageProgram
from stages.values import format_duration

MOST_AT_ONCE = 8
MANY_SERIES = 1_000  # of a query: nobody means so many
MOST_SERIES = 10_000  # of a selector: their samples are read at each look
STALE_SCRAPES = 2
RESETS_OF_A_GAUGE = 10.0
SWAPPED_SHARE = 0.5
SLOWER = (0.1, 0.01)  # the edges that are told of: about the p90 and the p99


def many_series(measured: Measurement) -> str | None:
    """A warning of a query that answers with more series than anybody can have meant."""
    if len(measured.series) <= MANY_SERIES:
        return None
    many = f"it answers with {len(measured.series):,} series, of which the worst alone decides"
    return f"{many}; add up or select what is meant (sum, max, matchers)"


async def survey_gates(program: Program, environment: EnvironmentProgram, world: World, scene: Scene) -> list[Finding]:
    """Bounded by the time limits of what is asked."""
    slots = asyncio.Semaphore(MOST_AT_ONCE)

    async def probed(use: _Use) -> list[Finding]:
        async with slots:
            return await _probe(program, environment, _asker(environment, world, scene, use.criterion), use)

    found = await asyncio.gather(*(probed(use) for use in _uses(environment)))
    return [finding for findings in found for finding in findings]


@dataclass(frozen=True, slots=True)
class _Use:
    """A criterion of a gate with the flag whose arms it compares, and the stages that are judged by it so."""

    gate_name: str
    gate: Gate
    criterion: AnyCriterion
    flag: str | None
    stages: tuple[StageProgram, ...]

    def levels(self, stage: StageProgram) -> list[sight.Level]:
        steps = [step for step in stage.steps if self.gate_name in step.gate and step.bake.max_seconds > 0]
        return list(dict.fromkeys(sight.Level(step.percentage, step.bake.max_seconds) for step in steps))

    @property
    def first_percentage(self) -> float | None:
        return next((level.percentage for stage in self.stages for level in self.levels(stage)), None)


def _uses(environment: EnvironmentProgram) -> Iterator[_Use]:
    for name, gate in environment.gates.items():
        judged = [one for one in environment.stages if any(name in step.gate for step in one.steps)]
        for criterion in gate.criteria:
            if isinstance(criterion, Threshold):
                continue
            by_flag: dict[str | None, list[StageProgram]] = {}
            for stage in judged:
                by_flag.setdefault(_subject(criterion, stage), []).append(stage)
            for flag, stages in (by_flag or {_subject(criterion, None): []}).items():
                yield _Use(name, gate, criterion, flag, tuple(stages))


def _subject(criterion: AnyCriterion, stage: StageProgram | None) -> str | None:
    return criterion.subject(next(iter(stage.exposure_flags), None) if stage is not None else None)


def _asker(environment: EnvironmentProgram, world: World, scene: Scene, criterion: AnyCriterion) -> Asker:
    source = Source(source=criterion.source, timeout=criterion.timeout)
    return Asker(world, scene, source, world.clock.now(), environment.scrape_seconds(criterion.source))


# --- one criterion ----------------------------------------------------------------------------------------------------


class _Hopeless(Exception):
    """What was found makes every further question pointless."""


@dataclass(frozen=True, slots=True)
class _Notes:
    """Collects findings of one use."""

    where: str
    found: list[Finding]

    def add(self, level: Level, sentence: str, where: str = "") -> None:
        self.found.append(Finding(level, where or self.where, sentence))

    def stop(self, level: Level, sentence: str) -> NoReturn:
        self.add(level, sentence)
        raise _Hopeless


async def _probe(program: Program, environment: EnvironmentProgram, asker: Asker, use: _Use) -> list[Finding]:
    notes = _Notes(f"{environment.name}: gate {use.gate_name}, {use.criterion.name}", [])
    terms = Terms(
        alpha=program.budget.pool(use.gate_name).share,
        every_seconds=use.gate.every,
        for_seconds=use.criterion.for_seconds,
        warmup_seconds=0.0,  # the bake counts from after it
        scrape_seconds=asker.scrape_seconds,
    )
    try:
        await _of_kind(environment, asker, use, terms, notes)
    except Unanswered as error:
        notes.add(Level.ERROR, f"it can't be measured: {error}")
    except _Hopeless:
        pass
    return notes.found


async def _of_kind(environment: EnvironmentProgram, asker: Asker, use: _Use, terms: Terms, notes: _Notes) -> None:
    criterion = use.criterion
    match criterion:
        case Compare():
            day, luck = await _compared(environment, asker, use, terms, notes)
            comparison = sight.Comparison(day, terms, criterion.compare.max_increase, luck)
            for stage in use.stages:
                _tell(notes, environment, stage, use, sight.compared(comparison, use.levels(stage)))
        case Latency():
            day, edges = await _latency(asker, criterion, use, notes)
            comparison = sight.Comparison(day, terms, criterion.latency.max_increase)
            for stage in use.stages:
                _tell(notes, environment, stage, use, sight.slower(comparison, use.levels(stage), edges))
        case Ratio():
            day = await _counted(asker, Counters(criterion.ratio.total, criterion.ratio.bad), notes)
            for stage in use.stages:
                told = sight.bounded(day, terms, use.levels(stage), criterion.ratio.at_most)
                _tell(notes, environment, stage, use, told)
        case Slo():
            day = await _counted(asker, Counters(criterion.slo.total, criterion.slo.bad), notes)
            _tell_burn(notes, day, criterion.slo.objective)
        case Change():
            await _changed(asker, criterion, notes)
        case Threshold():
            return
        case _:
            assert_never(criterion)


def _tell(
    notes: _Notes, environment: EnvironmentProgram, stage: StageProgram, use: _Use, told: Iterable[sight.Told]
) -> None:
    where = f"{environment.name}: stage {stage.name}, {use.criterion.name}"
    for one in told:
        notes.add(Level.WARNING if one.blind else Level.NOTE, one.sentence, where)


# --- are the counters there? ------------------------------------------------------------------------------------------


async def _counters(asker: Asker, notes: _Notes, text: str, words: str) -> int:
    """How many series *text* has. Told if there are none, or too many to be read at each look."""
    series = await asker.series(text)
    if series > MOST_SERIES:
        notes.stop(Level.ERROR, f"{words} {text} has {series:,} series, which every look would read; add matchers")
    if series == 0:
        notes.add(Level.WARNING, f"{words} {text} has no series now")
    return series


async def _counted(asker: Asker, counters: Counters, notes: _Notes) -> sight.Day:
    if not await _counters(asker, notes, counters.total, "the counter of all events"):
        raise _Hopeless
    await _bad_counters(asker, notes, counters.bad)
    await _quality(asker, notes, counters)
    return await asker.day({"all": counters})


async def _bad_counters(asker: Asker, notes: _Notes, text: str) -> None:
    """Without series nothing is bad, which may be so, or a misspelt label's value."""
    if not await asker.series(text):
        notes.add(Level.WARNING, f"{text} has no series, which counts as no bad event; is every label's value right?")


async def _quality(asker: Asker, notes: _Notes, counters: Counters) -> None:
    newest = await asker.newest(counters.total)
    scrape = format_duration(asker.scrape_seconds)
    if newest is not None and newest > asker.scrape_seconds:
        words = f"samples come from {format_duration(round(newest))} ahead of this clock, or more"
        notes.add(
            Level.WARNING, f"{words}: one of the two clocks is wrong, and counts of the wrong time would be judged"
        )
    elif newest is not None and -newest > STALE_SCRAPES * asker.scrape_seconds:
        words = f"the newest sample is {format_duration(round(-newest))} old, more than two scrapes of {scrape}"
        notes.add(Level.WARNING, f"{words}: is it scraped less often (scrape_interval), or is a clock wrong?")
    for text in dict.fromkeys((counters.total, counters.bad)):
        resets = await asker.resets(text)
        if resets > RESETS_OF_A_GAUGE:
            words = f"{text} went down {resets:.0f} times within the hour, but counters only rise"
            notes.add(Level.WARNING, f"{words}: is it a gauge?")


# --- arms -------------------------------------------------------------------------------------------------------------


async def _compared(
    environment: EnvironmentProgram, asker: Asker, use: _Use, terms: Terms, notes: _Notes
) -> tuple[sight.Day, Luck | None]:
    assert isinstance(use.criterion, Compare)
    given = use.criterion.compare
    if use.flag is not None:
        return await _of_flag(environment, asker, use.flag, terms, notes)
    if given.bad is None or given.total is None or given.arms is None:
        notes.stop(Level.ERROR, "it names neither a flag nor bad, total and arms, so there is nothing to compare")
    return await _of_arms(asker, Counters(given.total, given.bad), given.arms, use, notes), None


async def _of_arms(asker: Asker, counters: Counters, arms: Arms, use: _Use, notes: _Notes) -> sight.Day:
    parts = {
        name: Counters(of_arm(counters.total, matchers), of_arm(counters.bad, matchers))
        for name, matchers in ((CANARY, arms.canary), (CONTROL, arms.control))
    }
    await _both_arms(asker, notes, counters.total, arms, {name: one.total for name, one in parts.items()})
    await _bad_counters(asker, notes, counters.bad)
    await _quality(asker, notes, counters)
    day = await asker.day(parts)
    _swapped(notes, day, use.first_percentage)
    return day


async def _both_arms(asker: Asker, notes: _Notes, total: str, arms: Arms, by_arm: Mapping[str, str]) -> None:
    series = {name: await asker.series(text) for name, text in by_arm.items()}
    many = sum(series.values())
    if many > MOST_SERIES:
        notes.stop(Level.ERROR, f"both arms of {total} have {many:,} series, which every look would read; add matchers")
    if not many:
        words = "neither arm has a series" if await asker.series(total) else "there is no series at all"
        notes.stop(Level.WARNING, f"of {total} {words} now ({arms.canary}, {arms.control})")
    if not series[CANARY]:
        words = f"the canary {by_arm[CANARY]} has no series now"
        notes.add(Level.WARNING, f"{words}: well, if it comes with this rollout; else the label is not as written")
    if not series[CONTROL]:
        words = f"the control {by_arm[CONTROL]} has no series now"
        notes.add(Level.WARNING, f"{words}: there would be nothing to compare with, and the gate would hold")
    shared = await asker.series(of_arm(by_arm[CANARY], arms.control))
    if shared:
        notes.add(Level.WARNING, f"{shared:,} series are in both arms, so a difference between them is hidden")


def _swapped(notes: _Notes, day: sight.Day, first_percentage: float | None) -> None:
    canary, control = day.total.sum(axis=0)
    if canary > 0 and control > 0 and day.share(None) > SWAPPED_SHARE and (first_percentage or 0.0) <= 50:
        words = f"the canary has {day.share(None):.0%} of the events now and the control the rest"
        notes.add(Level.WARNING, f"{words}: are the arms swapped?")


async def _of_flag(
    environment: EnvironmentProgram, asker: Asker, flag: str, terms: Terms, notes: _Notes
) -> tuple[sight.Day, Luck | None]:
    drawn = (CANARY, CONTROL)
    try:
        counters = Counters(selector(flag, drawn), selector(flag, drawn, outcome=ERROR))
    except ValueError as error:
        notes.stop(Level.ERROR, str(error))
    if not await asker.series(counters.total):
        words = f"no use of the flag {flag} is counted now ({counters.total} has no series)"
        notes.stop(Level.WARNING, f"{words}: put an exposure block around the code, and let it be scraped")
    await _quality(asker, notes, counters)
    day, luck = await asker.day_of_flag(flag, terms.alpha)
    if day.events_per_second > 0 and not day.is_banded:
        words = f"where the keys of {flag} lie is not recorded (band), so a canary's share is taken for its percentage"
        notes.add(Level.NOTE, words)
    await _has_arrived(environment, asker, flag, notes)
    return day, luck


async def _has_arrived(environment: EnvironmentProgram, asker: Asker, flag: str, notes: _Notes) -> None:
    """Of a flag that is up already: does everybody who should have it have it?"""
    try:
        observer = asker.world.observers["observe_flag"]
        seen = await observer.observe(ObserveFlag(environment=environment.name, key=flag), asker.scene)
    except RolloutError:
        return  # told where flags are looked at
    percentage = percentage_of(seen.value) if seen.exists else 0.0
    below = bands_below(percentage)
    if not below:
        return
    texts = {"late": selector(flag, (CONTROL,), below), "all": selector(flag, (CANARY, CONTROL), below)}
    counted = await asker.recent(texts)
    late, uses = counted.get("late", 0.0), counted.get("all", 0.0)
    if late > 0:
        words = f"the flag stands at {percentage:g} %, but {late:,.0f} of {uses:,.0f} uses of the last minutes"
        notes.add(
            Level.WARNING, f"{words} by keys that have it did not get it: some processes don't know of the change"
        )


# --- durations, burn rates, before and after --------------------------------------------------------------------------


async def _latency(asker: Asker, criterion: Latency, use: _Use, notes: _Notes) -> tuple[sight.Day, dict[float, float]]:
    histogram, arms = criterion.latency.histogram, criterion.latency.arms
    if histogram is None or arms is None:
        if use.flag is None:
            notes.stop(Level.ERROR, "it names neither a flag nor histogram and arms, so there is nothing to compare")
        histogram = selector(use.flag, (CANARY, CONTROL), metric=SECONDS)
        arms = Arms(canary=f'{{{ARM}="{CANARY}"}}', control=f'{{{ARM}="{CONTROL}"}}')
    buckets, count = with_suffix(histogram, "_bucket"), with_suffix(histogram, "_count")
    if not await asker.series(buckets):
        notes.stop(Level.ERROR, await _no_buckets(asker, histogram, buckets, count))
    await _counters(asker, notes, buckets, "the histogram's buckets")
    day = await _of_arms(asker, Counters(count, count), arms, use, notes)
    edges = await asker.edges(of_arm(buckets, arms.control)) or await asker.edges(buckets)
    chosen = dict(_nearest(edges, share) for share in SLOWER if any(0 < one < 0.5 for one in edges.values()))
    if day.events_per_second > 0 and not chosen:
        words = "within the hour all events fell into one bucket, so slow and fast can't be told apart"
        notes.add(Level.WARNING, f"{words}; it needs edges near the durations that there are")
    return day, chosen


async def _no_buckets(asker: Asker, histogram: str, buckets: str, count: str) -> str:
    if await asker.series(count):
        return f"{buckets} has no series, though {count} has: a summary, or buckets that are dropped; edges are needed"
    if await asker.series(histogram):
        return f"{histogram} is a native histogram, or no histogram: classic buckets (le) are needed"
    return f"{buckets} has no series now"


def _nearest(edges: Mapping[float, float], share: float) -> tuple[float, float]:
    """The edge that about *share* of the events are slower than."""
    usable = {edge: slower for edge, slower in edges.items() if 0 < slower < 0.5}
    edge = min(usable, key=lambda one: abs(usable[one] - share) / (usable[one] + share))
    return edge, usable[edge]


def _tell_burn(notes: _Notes, day: sight.Day, objective: float) -> None:
    allowed = 1 - objective
    if day.events_per_second <= 0 or allowed <= 0:
        return
    burn = day.bad_per_second / day.events_per_second / allowed
    level = Level.WARNING if burn > 1 else Level.NOTE
    notes.add(
        level,
        f"over the last {format_duration(day.seconds)} the error budget burnt {burn:.2g} times as fast as it may",
    )


async def _changed(asker: Asker, criterion: Change, notes: _Notes) -> None:
    if criterion.change.query is None:
        return  # SQL, HTTP and commands are asked by runs alone
    measured = await asker.measure(criterion.change.query)
    if not measured.series:
        notes.add(Level.WARNING, f"its query has no series now{': ' + measured.detail if measured.detail else ''}")
        return
    if (warning := many_series(measured)) is not None:
        notes.add(Level.WARNING, warning)
    before = await asker.measure(criterion.change.query, asker.at - criterion.change.window)
    if not before.series:
        window = format_duration(criterion.change.window)
        notes.add(
            Level.WARNING, f"its query had no series {window} ago, so the time before the step would be cut short"
        )
    else:
        notes.add(Level.NOTE, f"it is {measured.series[0].value:.4g} now")
