"""``decide(Moment(state, evidence, now)) -> Decision(events, wake_at)``: what comes next. Pure.

A ladder of rules; the first that has something to say wins, and is asked again after its events are folded:

    ended          success, follow-ups, notes; no effect
    stopping       no new intent; the end once nothing is under way
    the world      the kill latch, drift
    rolling back   the next nodes of the graph
    triggers       those that breached, their actions, their questions
    the gate       the one last reached failed
    deadlines      an approval's or a hold's time is over
    success        what was before, as soon as it is measured
    cuts           a pinned flag ends its stage
    holds          why nothing moves forward is written down, or that it is over
    scaling        workers follow their load, whatever holds
    the leg        its own move, if nothing holds

Effects are never returned: a request for one is an event like any other, and what the shell performs is what the
folded state has outstanding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from orchestrator.core import afterwards, backward, entry, forward, notices, rollback, scaling, triggers, watching
from orchestrator.core.events import (
    EffectRequested,
    Event,
    HoldCleared,
    HoldSet,
    LegEntered,
    RunEnded,
    WaitingAnswered,
)
from orchestrator.core.fold import apply
from orchestrator.core.freeze import Freeze, is_freeze
from orchestrator.core.moment import Moment
from orchestrator.core.phases import GATE_HOLDS, Leg, Phase, Reason
from orchestrator.core.state import State, Waiting
from orchestrator.core.timing import accumulate, wake_at
from orchestrator.core.walk import observed
from orchestrator.core.wanted import is_over, unseen_flags
from orchestrator.errors import RolloutError
from stages.actions import Site
from stages.actions.flag import FlagAction
from stages.step import Act

Holds = dict[tuple[Reason, str], str]
MOST_ROUNDS = 1000  # as of one moment; more means that two rules undo each other


@dataclass(frozen=True, slots=True)
class Decision:
    """Events to append, in order; and, if there are none, when to decide again at the latest (None: when told)."""

    events: tuple[Event, ...]
    wake_at: float | None = None


def decide(moment: Moment) -> Decision:
    for rule in _LADDER:
        events = rule(moment)
        if events:
            return Decision(_numbered(moment.state, events))
    return Decision((), wake_at(moment))


def conclude(moment: Moment) -> Decision:
    """All that ``decide`` has to say as of one moment, each time after what it has said is folded.

    What belongs together is appended together: a gate that failed, the way back that follows and its first effects are
    one write, which a crash leaves whole or not at all. Raises RolloutError if it never ends.
    """
    spoken: tuple[Event, ...] = ()
    for _ in range(MOST_ROUNDS):
        decision = decide(moment)
        if not decision.events:
            return Decision(spoken, decision.wake_at)
        spoken += decision.events
        state = moment.state
        for event in decision.events:
            state = apply(state, event, moment.now)
        moment = accumulate(Moment(state, moment.evidence, moment.now), 0.0)
    raise RolloutError(f"{moment.state.run}: decisions chase each other; the last was {spoken[-1].type_name}")


def _numbered(state: State, events: list[Event]) -> tuple[Event, ...]:
    """Effects get the run's next numbers, in the order in which they are asked for."""
    numbers = count(state.effect_count + 1)
    return tuple(
        _with_id(event, f"{state.run}-e{next(numbers)}") if isinstance(event, EffectRequested) else event
        for event in events
    )


def _with_id(event: EffectRequested, effect_id: str) -> EffectRequested:
    return event.model_copy(update={"effect": event.effect.model_copy(update={"id": effect_id})})


# --- the rules --------------------------------------------------------------------------------------------------------


def _ended(m: Moment) -> list[Event]:
    return afterwards.baselines(m) or [*afterwards.events(m), *notices.events(m)] if m.state.ended else []


def _stopping(m: Moment) -> list[Event]:
    state = m.state
    if state.ended or state.stop_requested is None or state.outstanding:
        return []
    unknown = tuple(f"{target.title}: cut short" for target in state.targets.values() if target.cut_short)
    left = tuple(f"{target.title} stays as it is" for target in state.targets.values() if target.touched)
    return [RunEnded(outcome="stopped", exceptions=(*unknown, *left), by=state.stop_requested)]


def _world(m: Moment) -> list[Event]:
    return [] if is_over(m) else triggers.world_rule(m)


def _reversing(m: Moment) -> list[Event]:
    """A reverse run begins with its way back."""
    state = m.state
    if is_over(m) or state.started.reverses is None or state.rollback is not None:
        return []
    return [
        rollback.plan(
            state,
            rollback.Why("reverse", state.started.reason, state.author),
            with_schema=state.started.with_schema,
        )
    ]


def _rolling_back(m: Moment) -> list[Event]:
    if is_over(m) or m.state.rollback is None:
        return []
    return triggers.act_rule(m) or backward.events(m) or backward.finish(m, acting=triggers.are_acting(m))


def _triggers(m: Moment) -> list[Event]:
    if is_over(m) or not m.state.forward:
        return []
    return triggers.fire_rule(m) or triggers.act_rule(m) or triggers.ask_rule(m)


def _gate(m: Moment) -> list[Event]:
    return [] if is_over(m) else forward.gate_rule(m)


def _deadlines(m: Moment) -> list[Event]:
    """Approvals and holds whose time is over, where the plan says that this rolls back."""
    if is_over(m) or m.state.rollback is not None:
        return []
    for item in m.state.waiting.values():
        is_late = item.open and item.until is not None and m.now >= item.until
        if is_late and _approval_rolls_back(m.state, item):
            answered = WaitingAnswered(item=item.item, answer="timeout", reason="nobody approved in time")
            return [answered, *_back_or_over(m, "approval", f"{item.text}: nobody approved in time")]
    gate = m.state.environment.gates.get(m.reached_gate.name)
    if gate is None or not m.state.forward or gate.hold.then != "rollback":
        return []
    for hold in m.state.holds.values():
        is_gates = hold.reason in GATE_HOLDS and hold.item == m.reached_gate.name
        if is_gates and m.now - hold.since >= gate.hold.deadline:
            return _back_or_over(m, "hold", f"gate {hold.item} was inconclusive too long: {hold.detail}")
    return []


def _approval_rolls_back(state: State, item: Waiting) -> bool:
    approval = entry.approval_of(state, item)
    return approval is not None and approval.on_timeout == "rollback"


def _back_or_over(m: Moment, cause: rollback.Cause, reason: str) -> list[Event]:
    if m.state.phase is Phase.CHECKING:
        return [RunEnded(outcome="rolled_back", reason=reason)]
    return [rollback.plan(m.state, rollback.Why(cause, reason))]


def _cuts(m: Moment) -> list[Event]:
    return [] if is_over(m) else triggers.cut_rule(m)


def _holds(m: Moment) -> list[Event]:
    """The holds that follow from state and evidence, written down where they differ from those that stand."""
    if is_over(m):
        return []
    wanted = derived_holds(m)
    events: list[Event] = []
    for (reason, item), detail in wanted.items():
        known = m.state.holds.get((reason, item))
        is_told_anew = reason is Reason.APPROVAL or is_freeze(item)  # what others say of it changes seldom
        if known is None or (is_told_anew and known.detail != detail):
            events.append(HoldSet(hold=reason, item=item, detail=detail).model_copy(update=_said_by(m, item)))
    for reason, item in m.state.holds:
        if reason is not Reason.PAUSED and (reason, item) not in wanted:
            events.append(HoldCleared(hold=reason, item=item).model_copy(update=_ended_by(m, item)))
    return events


def _freeze_of(m: Moment, item: str) -> Freeze | None:
    return next((one for one in m.evidence.freezes if one.item == item), None)


def _said_by(m: Moment, item: str) -> dict[str, str]:
    """A freeze holds in the name of who set it."""
    freeze = _freeze_of(m, item)
    return {"by": freeze.by, "reason": freeze.reason} if freeze is not None else {}


def _ended_by(m: Moment, item: str) -> dict[str, str]:
    freeze = _freeze_of(m, item)
    if freeze is None or freeze.stands(m.wall):
        return {}
    if freeze.lifted is not None:
        return {"by": freeze.lifted.by, "reason": freeze.lifted.reason}
    return {"reason": "the time of the freeze is over"}


def derived_holds(m: Moment) -> Holds:
    state = m.state
    found = _effect_holds(m)
    if state.rollback is not None:
        return found | backward.holds(m)
    if state.forward:
        found |= triggers.hold_rule(m) | triggers.drift_holds(m)
        for target, failure in m.unreadable_flags().items():
            found[(Reason.INCONCLUSIVE, target)] = f"{state.targets[target].title} can't be looked at: {failure}"
        if state.cursor.environment in state.killed:
            found[(Reason.KILLED, state.cursor.environment)] = f"the kill switch is on in {state.cursor.environment}"
    if state.phase in (Phase.CHECKING, Phase.RUNNING):  # a watch changes nothing, and goes on
        found |= entry.freeze_holds(m)
    match state.phase:
        case Phase.CHECKING:
            return found | entry.holds(m) | _flag_holds(m)
        case Phase.RUNNING if state.stage is not None and state.is_cut(state.cursor.environment, state.stage.name):
            return found
        case Phase.RUNNING if state.leg is not None:
            return found | forward.HOLDS[state.leg](m) | _flag_holds(m)
        case Phase.WATCHING:
            return found | watching.holds(m)
        case _:
            return found


def _flag_holds(m: Moment) -> Holds:
    """Flags that could not be looked at before the first change."""
    found: Holds = {}
    for target in unseen_flags(m.state):
        seen = m.evidence.seen.get(target)
        if seen is not None and seen.failure is not None:
            found[(Reason.FAILING, target)] = f"{target} can't be looked at: {seen.failure}"
        elif seen is not None and not seen.exists and not _is_raised(m.state, target):
            found[(Reason.FAILING, target)] = f"{target} does not exist, and no stage of the plan raises it"
    return found


def _is_raised(state: State, target: str) -> bool:
    here = state.environment
    return any(target in stage.exposure_targets(here.name) for stage in here.stages)


def _effect_holds(m: Moment) -> Holds:
    found: Holds = {}
    for target, one in m.state.outstanding.items():
        words = f"{one.effect.label}: {one.failing}"
        if one.unknown and not one.void:
            found[(Reason.UNKNOWN_OUTCOME, target)] = words
        elif one.failing is not None and not one.void:
            reason = Reason.UNDO_FAILING if one.effect.node is not None else Reason.EFFECT_FAILING
            found[(reason, target)] = words
    return found


def _scaling(m: Moment) -> list[Event]:
    return [] if is_over(m) else scaling.rule(m)


def _success(m: Moment) -> list[Event]:
    return [] if is_over(m) else afterwards.baselines(m)


def _observe_flags(m: Moment) -> list[Event]:
    """The run's first act in an environment: every flag of the plan is looked at, before anything is changed."""
    if is_over(m):
        return []
    found: list[Event] = []
    for target in unseen_flags(m.state):
        key = target.partition("/")[2]
        act = Act(FlagAction(flag=key), Site(environment=m.state.cursor.environment, stage="flags"))
        seen = m.seen(target)
        if act.target is not None and seen is not None and (seen.exists or _is_raised(m.state, target)):
            found += observed(m, act, act.target)
    return found


def _leg(m: Moment) -> list[Event]:
    state = m.state
    if is_over(m) or state.rollback is not None:
        return []
    if state.phase is Phase.CHECKING:
        return _checking(m)
    if state.phase is Phase.WATCHING:
        return watching.events(m)
    if state.leg is Leg.ENTERING:
        recorded = entry.events(m)
        if recorded:
            return recorded
    if unseen_flags(state) or state.leg is None:
        return []
    return forward.LEGS[state.leg](m)


def _checking(m: Moment) -> list[Event]:
    recorded = entry.events(m)
    if recorded or m.held or not entry.is_open(m) or unseen_flags(m.state):
        return recorded
    if not m.state.environment.stages:
        return []
    return [LegEntered(phase=Phase.RUNNING, leg=Leg.ENTERING, environment=m.state.cursor.environment)]


def _notes(m: Moment) -> list[Event]:
    return [] if m.state.ended else notices.events(m)


_LADDER: tuple[Callable[[Moment], list[Event]], ...] = (
    _ended,
    _stopping,
    _world,
    _reversing,
    _rolling_back,
    _triggers,
    _gate,
    _deadlines,
    _success,
    _observe_flags,
    _cuts,
    _holds,
    _scaling,
    _leg,
    _notes,
)
