"""What replays came to: per criterion, and per gate, which fails when the first of them does."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from orchestrator.backtest.proposals import Proposal
from orchestrator.backtest.replay import Bench, Hold, Replayed
from orchestrator.backtest.schedule import Reached, Schedule
from orchestrator.core.gates import log_mean
from orchestrator.core.times import iso
from stages.budget import Pool
from stages.criteria import kind_of
from stages.criteria.counted import LOG_HOLD

Json = Any
MOST_LISTED = 50  # failures, and holds, of one criterion


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """*replays* are those of the schedule's releases, in order."""

    bench: Bench
    replays: Sequence[Replayed]
    proposals: Sequence[Proposal] = ()

    @property
    def name(self) -> str:
        return self.bench.criterion.name

    @property
    def known(self) -> list[Replayed]:
        return [one for one in self.replays if one.measurable]


@dataclass(frozen=True, slots=True)
class NotReplayed:
    """A criterion whose past nobody has kept."""

    name: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class GateResult:
    schedule: Schedule
    pool: Pool
    criteria: Sequence[CriterionResult]
    not_replayed: Sequence[NotReplayed] = ()


@dataclass(frozen=True, slots=True)
class Result:
    plan: str
    environment: str
    begin: float
    end: float
    gates: Sequence[GateResult]

    def to_json(self) -> dict[str, Json]:
        """Times in ISO 8601 and UTC, spans in seconds."""
        return {
            "plan": self.plan,
            "environment": self.environment,
            "from": iso(self.begin),
            "to": iso(self.end),
            "gates": [_gate(one) for one in self.gates],
        }


@dataclass(frozen=True, slots=True)
class Failure:
    release: float
    at: float
    criterion: str
    sentence: str

    def to_json(self) -> Json:
        return {
            "release": iso(self.release),
            "at": iso(self.at),
            "criterion": self.criterion,
            "sentence": self.sentence,
        }


# --- a gate -----------------------------------------------------------------------------------------------------------


def failures_of(gate: GateResult) -> list[Failure]:
    """Of each release that failed, what failed first."""
    found = [first_failure(gate, index) for index in range(len(gate.schedule.begins))]
    return [one for one in found if one is not None]


def first_failure(gate: GateResult, index: int) -> Failure | None:
    alone = [_failure(one.name, one.replays[index]) for one in gate.criteria]
    found = [one for one in (*alone, _together(gate, index)) if one is not None]
    return min(found, key=lambda one: one.at, default=None)


def _failure(name: str, replayed: Replayed) -> Failure | None:
    if replayed.failed_at is None:
        return None
    return Failure(replayed.begin, replayed.failed_at, name, replayed.sentence)


def _together(gate: GateResult, index: int) -> Failure | None:
    """Where the mean of the evidence in the pool is enough, as ``orchestrator.core.gates`` has it."""
    tested = [(one.name, one.replays[index]) for one in gate.criteria if one.replays[index].log_evidence]
    others = max(len(gate.pool.keys) - len(tested), 0)
    if len(tested) + others < 2:
        return None
    looks: list[list[float]] = sorted((one.at for _, one in tested), key=len)
    for look, at in enumerate(looks[-1] if looks else []):
        logs = [one.log_evidence[min(look, len(one.log_evidence) - 1)] for _, one in tested]
        most = max(logs)
        if most >= LOG_HOLD and log_mean([*logs, *[0.0] * others]) >= -math.log(gate.pool.alpha):
            name, one = tested[logs.index(most)]
            words = f"the evidence of the run's {len(logs) + others} tests together is enough, most of it from {name}"
            return Failure(one.begin, at, name, words)
    return None


def holds_of(gate: GateResult, index: int) -> list[Hold]:
    """When the gate held before it failed: when any of its criteria did."""
    failure = first_failure(gate, index)
    end = failure.at if failure is not None else math.inf
    spans = [hold for one in gate.criteria for hold in one.replays[index].holds if hold.begin < end]
    return merged(spans)


def merged(holds: Sequence[Hold]) -> list[Hold]:
    found: list[Hold] = []
    for one in sorted(holds, key=lambda hold: hold.begin):
        if found and one.begin <= found[-1].end:
            found[-1] = Hold(found[-1].begin, max(found[-1].end, one.end), found[-1].sentence)
        else:
            found.append(one)
    return found


def _gate(gate: GateResult) -> Json:
    course, begins = gate.schedule.course, gate.schedule.begins
    measurable = [any(one.replays[index].measurable for one in gate.criteria) for index in range(len(begins))]
    failures = failures_of(gate)
    holds = [holds_of(gate, index) for index in range(len(begins))]
    return {
        "gate": course.name,
        "where": course.where,
        "flag": course.flag,
        "steps": [_step(step) for step in course.steps],
        "release_seconds": course.lasts_seconds,
        "spacing_seconds": gate.schedule.spacing_seconds,
        "overlap": gate.schedule.overlap,
        "replayed": sum(measurable),
        "failed": len(failures),
        "held": sum(1 for one in holds if one),
        "longest_hold_seconds": _longest(hold for one in holds for hold in one),
        "not_measurable": len(begins) - sum(measurable),
        "failures": [one.to_json() for one in failures[:MOST_LISTED]],
        "criteria": [_criterion(one) for one in gate.criteria],
        "not_replayed": [{"name": one.name, "kind": one.kind, "reason": one.reason} for one in gate.not_replayed],
    }


def _step(step: Reached) -> Json:
    return {"percentage": step.percentage, "seconds": step.lasts_seconds, "judged": step.judged}


# --- a criterion ------------------------------------------------------------------------------------------------------


def _criterion(result: CriterionResult) -> Json:
    known = result.known
    failed = [one for one in known if one.failed_at is not None]
    holds = [hold for one in known for hold in one.holds]
    return {
        "name": result.name,
        "kind": kind_of(result.bench.criterion),
        "replayed": len(known),
        "failed": len(failed),
        "held": sum(1 for one in known if one.holds),
        "longest_hold_seconds": _longest(holds),
        "not_measurable": len(result.replays) - len(known),
        "not_measurable_because": _reasons(result.replays),
        "gaps": sum(one.gaps for one in known),
        "values": _values(known),
        "failures": [one.to_json() for one in map(_failure, [result.name] * len(failed), failed[:MOST_LISTED]) if one],
        "holds": [_hold(one) for one in holds[:MOST_LISTED]],
        "proposals": [_proposal(one) for one in result.proposals],
    }


def _hold(hold: Hold) -> Json:
    return {"from": iso(hold.begin), "to": iso(hold.end), "sentence": hold.sentence}


def _proposal(proposal: Proposal) -> Json:
    return {
        "change": dict(proposal.change),
        "replayed": proposal.replayed,
        "failed": proposal.failed,
        "held": proposal.held,
    }


def _values(known: Sequence[Replayed]) -> Json:
    values = [value for one in known for value in one.values]
    if not values:
        return None
    return {"lowest": min(values), "median": median(values), "highest": max(values)}


def _reasons(replays: Sequence[Replayed]) -> Json:
    """Why releases could not be replayed, most frequent first."""
    reasons = Counter(one.skipped or one.unmeasured for one in replays if not one.measurable)
    return [{"reason": reason, "releases": count} for reason, count in reasons.most_common(5)]


def _longest(holds: Iterator[Hold] | Sequence[Hold]) -> float:
    return max((one.end - one.begin for one in holds), default=0.0)
