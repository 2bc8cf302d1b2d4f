"""The replays of a plan's gates, one gate after the other, each in the order of time."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.backtest.ledger import Ledger
from orchestrator.backtest.proposals import proposals
from orchestrator.backtest.replay import Bench, Replayed, selectors_of
from orchestrator.backtest.results import CriterionResult, GateResult, NotReplayed, Result
from orchestrator.backtest.schedule import Course, Schedule, courses, schedule
from orchestrator.errors import NotFound, UsageError
from orchestrator.ports import Archive
from stages.criteria import AnyCriterion, Threshold, kind_of
from stages.step import EnvironmentProgram, Program
from stages.values import format_duration

PROBES = 200  # of the span, to see where the past begins
SHORTEST_PROBE_SECONDS = 60.0

Progress = Callable[[int, int, str], None]
"""Replays done, of how many, and what is under way in words."""


@dataclass(frozen=True, slots=True)
class Span:
    """Whole seconds since the epoch."""

    begin: float
    end: float

    @classmethod
    def last(cls, seconds: float, now: float) -> "Span":
        """What is newer than a few scrapes may still be on its way."""
        end = math.floor(now / 60.0) * 60.0
        return cls(end - math.floor(seconds), end)

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class _Gate:
    """A gate with what can be replayed of it."""

    schedule: Schedule
    benches: Sequence[Bench]
    not_replayed: Sequence[NotReplayed]


async def backtest(
    program: Program,
    environment: EnvironmentProgram,
    archives: Mapping[str, Archive],
    span: Span,
    progress: Progress,
    only: str | None = None,
) -> Result:
    """*archives* by the name of their source, as in ``environment.prometheus``; *only*: the name of one gate.

    Raises ``UsageError`` if there is nothing to replay, ``NotFound`` if the past does not reach so far back, and what
    archives raise.
    """
    ledgers = {name: Ledger(archive, span.begin, span.end) for name, archive in archives.items()}
    gates = [_gate(program, environment, course, ledgers, span) for course in courses(program, environment, only)]
    benches = [bench for gate in gates for bench in gate.benches]
    if not benches:
        reasons = "; ".join(f"{one.name}: {one.reason}" for gate in gates for one in gate.not_replayed)
        raise UsageError(f"no criterion of the gates can be replayed ({reasons})")
    await _refuse_short_past(benches, span)
    counter = _Counter(sum(len(gate.schedule.begins) * len(gate.benches) for gate in gates), progress)
    found = [await _replayed(program, gate, counter) for gate in gates]
    return Result(program.name, environment.name, span.begin, span.end, found)


@dataclass(slots=True)
class _Counter:
    total: int
    progress: Progress
    done: int = 0

    def tell(self, words: str, more: int = 0) -> None:
        self.done += more
        self.progress(self.done, self.total, words)


def _gate(
    program: Program, environment: EnvironmentProgram, course: Course, ledgers: Mapping[str, Ledger], span: Span
) -> _Gate:
    benches: list[Bench] = []
    left: list[NotReplayed] = []
    for criterion in course.gate.criteria:
        reason = _unreplayable(criterion)
        if reason:
            left.append(NotReplayed(criterion.name, kind_of(criterion), reason))
            continue
        benches.append(_bench(program, environment, course, ledgers, criterion))
    return _Gate(schedule(course, span.begin, span.end), benches, left)


def _unreplayable(criterion: AnyCriterion) -> str:
    kind = criterion.asked.kind
    if kind not in ("", "query"):
        return f"it is measured by {kind}, of which there is no past; only what Prometheus has kept can be replayed"
    if isinstance(criterion, Threshold) and criterion.expect is not None:
        return "it asks for a yes or no (expect); written with pass and fail it could be replayed"
    return ""


def _bench(
    program: Program,
    environment: EnvironmentProgram,
    course: Course,
    ledgers: Mapping[str, Ledger],
    criterion: AnyCriterion,
) -> Bench:
    source = criterion.asked.source or ""
    if source not in ledgers:
        remedy = f"spec.sources.{source}.prometheus" if source else "spec.prometheus"
        raise UsageError(
            f"the plan does not say which Prometheus knows the past of {criterion.name}; write its url under {remedy}"
        )
    return Bench(
        criterion=criterion,
        course=course,
        ledger=ledgers[source],
        scrape_seconds=environment.scrape_seconds(source),
        alpha=program.budget.pool(course.name).share,
        flag=criterion.subject(course.flag),
        warmup_seconds=course.gate.warmup_seconds(criterion),
    )


async def _replayed(program: Program, gate: _Gate, counter: _Counter) -> GateResult:
    course = gate.schedule.course
    replays: list[list[Replayed]] = [[] for _ in gate.benches]
    for begin in gate.schedule.begins:
        for bench, into in zip(gate.benches, replays, strict=True):
            into.append(await bench.release(begin))
            counter.tell(f"{course.name}, {course.where}: release of {_day(begin)}", more=1)
    results = []
    for bench, found in zip(gate.benches, replays, strict=True):
        counter.tell(f"{course.name}, {course.where}: trying other bounds for {bench.criterion.name}")
        results.append(CriterionResult(bench, found, await proposals(bench, found)))
    return GateResult(gate.schedule, program.budget.pool(course.name), results, gate.not_replayed)


# --- whether there is a past ------------------------------------------------------------------------------------------


async def _refuse_short_past(benches: Sequence[Bench], span: Span) -> None:
    """If some begins where it was asked for to begin, the others' shorter ones are told with the results."""
    probe_seconds = max(math.ceil(span.seconds / PROBES), SHORTEST_PROBE_SECONDS)
    first = math.inf
    expressions = dict.fromkeys((bench.ledger, one) for bench in benches for one in _expressions(bench))
    for ledger, expression in expressions:
        found = await ledger.archive.values(expression, span.begin, span.end, probe_seconds)
        first = min([first, *(float(one.times[0]) for one in found if len(one.times))])
        if first <= span.begin + 2 * probe_seconds:
            return
    longest = format_duration(span.seconds)
    if first == math.inf:
        asked = "; ".join(expression for _, expression in expressions)
        raise NotFound(
            f"Prometheus has no past of what the gates measure in the last {longest} ({asked}); "
            "are the names right, and is it scraped?"
        )
    known = math.floor((span.end - first) / 3600.0) * 3600.0 or math.floor((span.end - first) / 60.0) * 60.0
    raise NotFound(
        f"Prometheus has no past of what the gates measure before {_day(first)}: it may keep no more (its retention), "
        f"or have begun then; use --last {format_duration(known)}"
    )


def _expressions(bench: Bench) -> list[str]:
    query = bench.criterion.asked.query
    return [query] if query else [f"count({selector})" for selector in selectors_of(bench)]


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
