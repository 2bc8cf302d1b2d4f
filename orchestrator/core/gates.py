"""Which gates and triggers are watched now, and what their looks say together.

A look counts only if it is fresh (two ``every``) and lies after what it judges: after the exposure it speaks of came
into force and after the evidence was last started anew. A *pass* counts only if the whole window that its query looks
back over lies after that too.

Tested criteria share one error budget (``stages.budget``): a gate also fails when the mean of all evidence in its pool
is enough, though no single criterion's is.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from orchestrator.core.evidence import Evidence, Look
from orchestrator.core.phases import Leg, Phase, Reason
from orchestrator.core.setting import criterion_key
from orchestrator.core.state import State
from orchestrator.core.times import iso
from stages.criteria.base import SEVERITY, Criterion, Verdict, worst
from stages.criteria.counted import LOG_HOLD
from stages.criteria.threshold import Threshold
from stages.gates import Gate
from stages.lean import dataclass
from stages.step import WatchPhase
from stages.triggers import Trigger

LOOK_GRACE_SECONDS = 5.0  # a look may be late by the time its query takes
NEAREST_LOOK_SECONDS = 1.0  # after the one before, at least
FIRST_LOOKS_SECONDS = 5.0  # in which a new life looks at everything


@dataclass(frozen=True, slots=True)
class CriterionView:
    name: str
    verdict: Verdict
    value: float | None
    sentence: str
    at: float | None
    looked: bool  # whether a look that counts is there at all
    look: Look | None = None
    alpha: float | None = None  # its test's share of the error budget
    criterion: Criterion | None = None


@dataclass(frozen=True, slots=True)
class GateView:
    """What a gate says now. *complete*: every criterion has a look; *counts*: a pass may be counted as bake.

    *due_at*: when the first of its criteria is to be looked at again; None before that."""

    name: str
    verdict: Verdict
    criteria: tuple[CriterionView, ...]
    complete: bool
    counts: bool
    on_fail: str
    newest_at: float | None
    due_at: float | None = None

    @property
    def passing(self) -> bool:
        return self.verdict is Verdict.PASS and self.complete

    @property
    def inconclusive(self) -> bool:
        """Whether something was looked at and could not be called good: not merely that no look was taken yet."""
        return any(entry.looked and entry.verdict is Verdict.INCONCLUSIVE for entry in self.criteria)

    @property
    def enough(self) -> bool:
        """Whether every criterion has seen enough to advance before the bake is full."""
        return self.passing and all(entry.look is not None and entry.look.enough for entry in self.criteria)

    @property
    def reason(self) -> Reason:
        """Why an inconclusive gate holds."""
        unsure = [one for one in self.criteria if one.looked and one.verdict is Verdict.INCONCLUSIVE]
        is_share = bool(unsure) and all(one.look is not None and one.look.mismatch for one in unsure)
        return Reason.SHARE_MISMATCH if is_share else Reason.INCONCLUSIVE

    def sentence(self) -> str:
        entry = max(self.criteria, key=lambda one: SEVERITY[one.verdict], default=None)
        return entry.sentence if entry else f"gate {self.name} has no criteria here"


NO_GATE = GateView("", Verdict.PASS, (), True, True, "rollback", None)


def trigger_key(environment: str, trigger: Trigger) -> str:
    return f"trigger:{environment}/{trigger.name}"


def gates_named(state: State, names: tuple[str, ...]) -> Iterator[tuple[str, Gate]]:
    gates = state.environment.gates
    for name in names:
        yield name, gates[name]


def watched_gates(state: State, evidence: Evidence | None = None) -> tuple[str, ...]:
    """Names of the gates to be looked at now: the one last reached, a stage's before it begins, the watch's own."""
    names: list[str] = list(reached_gates(state))
    if state.leg is Leg.PREPARING and state.stage is not None:
        names += state.stage.gate
    if state.phase is Phase.WATCHING and state.rollback is None and evidence is not None:
        names += [name for phase in open_watch_phases(state, evidence) for name in phase.gate]
    return tuple(dict.fromkeys(names))


def reached_gates(state: State) -> tuple[str, ...]:
    """The gate of the step last reached, judged until the next change of exposure, across waits and stages."""
    ref = state.gate_ref
    if ref is None or not state.forward:
        return ()
    stage = state.program.environment(ref.cursor.environment).stages[ref.cursor.stage]
    if state.is_cut(ref.cursor.environment, stage.name):
        return ()
    return stage.steps[ref.cursor.step].gate


def watched_seconds(state: State, evidence: Evidence) -> float:
    """How much of the environment's watch has passed: what a person counted, and what was observed since."""
    seen = evidence.watch.seconds if evidence.watch.key == watch_key(state) else 0.0
    return state.watch_credit_seconds + seen


def open_watch_phases(state: State, evidence: Evidence) -> tuple[WatchPhase, ...]:
    passed = watched_seconds(state, evidence)
    return tuple(phase for phase in state.environment.watch if phase.from_seconds <= passed < phase.to_seconds)


def watch_key(state: State) -> str:
    return f"{state.cursor.environment}/{state.watch_credit_seconds}"


def bake_key(state: State) -> str:
    cursor = state.cursor
    since = state.gate_ref.since if state.gate_ref is not None else state.entered_at
    return f"{cursor.environment}/{cursor.stage}/{cursor.step}/{since}/{state.evidence_from}"


def baseline(state: State) -> float:
    """The time after which a look must lie to say something of what is in force now."""
    since = state.gate_ref.since if state.gate_ref is not None else state.entered_at
    if state.leg is Leg.PREPARING:
        since = state.entered_at
    return max(since, state.evidence_from)


def judge_gates(state: State, evidence: Evidence, names: tuple[str, ...], now: float) -> GateView:
    """The verdict of several gates together: the worst counts."""
    views = [_judge_gate(state, evidence, name, gate, now) for name, gate in gates_named(state, names)]
    if not views:
        return NO_GATE
    chosen = max(views, key=lambda view: SEVERITY[view.verdict])
    return GateView(
        name=", ".join(view.name for view in views) if chosen.verdict is Verdict.PASS else chosen.name,
        verdict=chosen.verdict,
        criteria=tuple(entry for view in views for entry in view.criteria),
        complete=all(view.complete for view in views),
        counts=all(view.counts for view in views),
        on_fail=chosen.on_fail,
        newest_at=max((view.newest_at for view in views if view.newest_at is not None), default=None),
        due_at=min((view.due_at for view in views if view.due_at is not None), default=None),
    )


def _judge_gate(state: State, evidence: Evidence, name: str, gate: Gate, now: float) -> GateView:
    since = baseline(state)
    entries = [(one, evidence.looks.get(criterion_key(state, name, one))) for one in gate.criteria]
    views = tuple(_view(one, look, since, _outdated(one, look, gate, evidence, now)) for one, look in entries)
    views = _judged_together(state, evidence, name, views)
    counted = [(look, gate.warmup_seconds(criterion)) for criterion, look in entries if look is not None]
    return GateView(
        name=name,
        verdict=worst([view.verdict for view in views]),
        criteria=views,
        complete=all(view.looked for view in views),
        counts=all(
            look.at - look.lookback_seconds - warmup_seconds >= since and not look.settling
            for look, warmup_seconds in counted
        ),
        on_fail=gate.on_fail,
        newest_at=max((look.at for look, _ in counted), default=None),
        due_at=min(
            (next_look_at(look.at, gate.every, gate.beat, evidence.life_at) for look, _ in counted), default=None
        ),
    )


def _judged_together(
    state: State, evidence: Evidence, name: str, views: tuple[CriterionView, ...]
) -> tuple[CriterionView, ...]:
    """Several criteria that each have a part of the evidence: where their mean is enough, those that have it fail."""
    if not any(one.looked and one.look is not None and one.look.log_evidence is not None for one in views):
        return views
    pool = state.program.budget.pool(name)
    views = tuple(replace(one, alpha=pool.share) for one in views)
    mean = log_mean([_log_evidence(evidence.looks.get(key), state.evidence_from) for key in pool.keys])
    if mean < -math.log(pool.alpha):
        return views
    return tuple(_failed_together(one, mean, len(pool.keys)) for one in views)


def _log_evidence(look: Look | None, evidence_from: float) -> float:
    """0 of a test that has not begun, or whose evidence a person has dropped since."""
    if look is None or look.log_evidence is None or look.at <= evidence_from:
        return 0.0
    return look.log_evidence


def log_mean(logarithms: Sequence[float]) -> float:
    """The logarithm of the mean; of nothing, 0: a test that has not begun has the evidence 1."""
    if not logarithms:
        return 0.0
    highest = max(logarithms)
    return highest + math.log(math.fsum(math.exp(one - highest) for one in logarithms) / len(logarithms))


def _failed_together(view: CriterionView, mean: float, size: int) -> CriterionView:
    """*view*, failing if its own evidence is enough to hold: with less there is no ground to blame it."""
    is_part = view.look is not None and (view.look.log_evidence or 0.0) >= LOG_HOLD
    if not view.looked or not is_part or view.verdict is Verdict.FAIL:
        return view
    odds = math.exp(min(mean, 700.0))
    words = f"{view.sentence}; the evidence of the run's {size} tests together is {odds:,.0f} to 1"
    return replace(view, verdict=Verdict.FAIL, sentence=words)


def _view(criterion: Criterion, look: Look | None, since: float, outdated: str | None) -> CriterionView:
    """*outdated*: why the look says nothing of now any more."""
    if look is None or look.at <= since:
        sentence = f"{criterion.name} has not been looked at yet"
        return CriterionView(
            criterion.name, Verdict.INCONCLUSIVE, None, sentence, None, looked=False, criterion=criterion
        )
    looked, verdict, sentence = True, look.verdict, look.sentence
    if outdated is not None:
        looked, verdict, sentence = False, Verdict.INCONCLUSIVE, outdated
    return CriterionView(
        criterion.name, verdict, look.value, sentence, look.at, looked=looked, look=look, criterion=criterion
    )


def _outdated(criterion: Criterion, look: Look | None, gate: Gate, evidence: Evidence, now: float) -> str | None:
    if look is None:
        return None
    if look.at <= evidence.unsure_until:
        return f"{criterion.name} was last looked at before the clock was set back, and nobody knows how long ago"
    if not is_fresh(look, gate.every, now):
        return f"{criterion.name} was last looked at {now - look.at:.0f} s ago"
    return None


def next_look_at(at: float, every_seconds: float, beat: int, life_at: float = 0.0) -> float:
    """When the look after one *at* is due: on a beat, so that all runs that ask the same ask in the same second, and a
    server is asked once for them all. The first look after a change comes at once, and what follows is nearer by up to
    one interval. What a life of the controller, since *life_at*, has not looked at yet it looks at within seconds, on a
    quicker beat: nobody knows what became of it meanwhile."""
    due_at = _on_beat(at + min(NEAREST_LOOK_SECONDS, every_seconds / 2), every_seconds, beat)
    if at >= life_at:
        return due_at
    return min(due_at, _on_beat(life_at, min(FIRST_LOOKS_SECONDS, every_seconds), beat))


def _on_beat(soonest: float, every_seconds: float, beat: int) -> float:
    offset = beat % every_seconds
    return offset + every_seconds * math.ceil((soonest - offset) / every_seconds)


def is_fresh(look: Look, every_seconds: float, now: float) -> bool:
    return now - look.at <= 2 * every_seconds + LOOK_GRACE_SECONDS


def evidence_of(view: GateView) -> dict[str, object]:
    """A gate's evidence as it goes into the event that it decides."""
    return {
        "gate": view.name,
        "verdict": view.verdict,
        "criteria": [
            {
                "name": entry.name,
                "verdict": entry.verdict,
                "value": entry.value,
                "sentence": entry.sentence,
                **tested(entry),
                **({"trail": trail(entry)} if entry.look is not None and entry.look.log_evidence is not None else {}),
            }
            for entry in view.criteria
        ],
    }


def tested(entry: CriterionView) -> dict[str, object]:
    """The evidence of a test as e-values with their bounds; nothing of a criterion that has none."""
    look = entry.look
    if look is None or look.log_evidence is None:
        return {}
    return {
        "evidence": {
            "against": e_value(look.log_evidence),
            "holds_at": round(math.exp(LOG_HOLD)),
            "fails_at": round(1.0 / entry.alpha, 1) if entry.alpha else None,
            "excluded": e_value(look.log_excluded),
            "excludes_at": round(math.exp(LOG_HOLD)),
        }
    }


def bounded(entry: CriterionView) -> dict[str, object]:
    """Where a value would pass and where it would fail, for those who draw it. A yes or no, and a test of evidence,
    have no such bounds."""
    criterion = entry.criterion
    if not isinstance(criterion, Threshold) or criterion.expect is not None:
        return {}
    passes, fails = criterion.passing, criterion.failing
    return {"bounds": {"passes": {"op": passes.op, "at": passes.number}, "fails": {"op": fails.op, "at": fails.number}}}


def trail(entry: CriterionView) -> list[dict[str, object]]:
    """How a criterion's value, and the evidence of its test, came to be what they are."""
    return [
        {
            "at": iso(point.at),
            "value": point.value,
            "against": e_value(point.log_evidence),
            "excluded": e_value(point.log_excluded),
        }
        for point in (entry.look.trail if entry.look is not None else ())
    ]


def e_value(logarithm: float | None) -> float | None:
    """As a number that JSON can hold, to four digits."""
    return None if logarithm is None else float(f"{math.exp(min(max(logarithm, -700.0), 700.0)):.4g}")


def watched_triggers(state: State) -> tuple[Trigger, ...]:
    """Triggers that are measured now: from the first effect, or their stage, to the end of the watch."""
    if not state.forward or state.first_effect_at is None:
        return ()
    return tuple(entry for entry in state.environment.triggers if not entry.by_hand and _is_armed_here(state, entry))


def _is_armed_here(state: State, trigger: Trigger) -> bool:
    if trigger.arm_from is None or state.phase is Phase.WATCHING:
        return True
    names = [stage.name for stage in state.environment.stages]
    return trigger.arm_from not in names or state.cursor.stage >= names.index(trigger.arm_from)
