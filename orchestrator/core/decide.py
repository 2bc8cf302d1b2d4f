"""``decide(state, evidence, now) -> Decision(events, wake_at)``: what comes next. Pure.

A ladder of rules; the first that has something to say wins, and is asked again after its events are folded:

    ended          success, follow-ups, notes; no effect
    stopping       no new intent; the end once nothing is under way
    the world      the kill latch, drift
    rolling back   the next nodes of the graph
    triggers       those that breached, their actions, their questions
    the gate       the one last reached failed
    deadlines      an approval's or a hold's time is over
    cuts           a pinned flag ends its stage
    holds          why nothing moves forward is written down, or that it is over
    the leg        its own move, if nothing holds

Effects are never returned: a request for one is an event like any other, and what the shell performs is what the
folded state has outstanding.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.core import afterwards, backward, entry, forward, gates, notices, rollback, triggers, watching
from orchestrator.core.events import (
    EffectRequested,
    Event,
    HoldCleared,
    HoldSet,
    LegEntered,
    RunEnded,
    WaitingAnswered,
)
from orchestrator.core.evidence import Evidence, add_up
from orchestrator.core.moment import Moment
from orchestrator.core.phases import Leg, Phase, Reason
from orchestrator.core.questions import Scope, due_at, questions
from orchestrator.core.state import NodeState, State
from orchestrator.core.walk import observed, verify_scope
from stages.actions import Site
from stages.actions.flag import FlagAction
from stages.actions.passive import WaitAction
from stages.step import Act

TICK_SECONDS = 15.0
Holds = dict[tuple[Reason, str], str]


@dataclass(frozen=True, slots=True)
class Decision:
    """Events to append, in order; and, if there are none, when to decide again at the latest (None: when told)."""

    events: tuple[Event, ...]
    wake_at: float | None = None


def decide(state: State, evidence: Evidence, now: float) -> Decision:
    moment = Moment(state, evidence, now)
    for rule in _LADDER:
        events = rule(moment)
        if events:
            return Decision(_numbered(state, events))
    return Decision((), wake_at(moment))


def _numbered(state: State, events: list[Event]) -> tuple[Event, ...]:
    """Effects get the run's next numbers, in the order in which they are asked for."""
    numbered: list[Event] = []
    count = state.effect_count
    for event in events:
        if isinstance(event, EffectRequested):
            count += 1
            effect = event.effect.model_copy(update={"id": f"{state.run}-e{count}"})
            event = event.model_copy(update={"effect": effect})  # noqa: PLW2901 - the same event, with its number
        numbered.append(event)
    return tuple(numbered)


# --- the rules ----------------------------------------------------------------------------------------------------------


def _ended(m: Moment) -> list[Event]:
    return [*afterwards.events(m), *notices.events(m)] if m.state.ended else []


def _is_over(m: Moment) -> bool:
    return m.state.ended or m.state.stop_requested is not None


def _stopping(m: Moment) -> list[Event]:
    state = m.state
    if state.ended or state.stop_requested is None or state.outstanding:
        return []
    unknown = tuple(f"{target.title}: cut short" for target in state.targets.values() if target.cut_short)
    left = tuple(f"{target.title} stays as it is" for target in state.targets.values() if target.touched)
    return [RunEnded(outcome="stopped", exceptions=(*unknown, *left), by=state.stop_requested)]


def _world(m: Moment) -> list[Event]:
    return [] if _is_over(m) else triggers.world_rule(m)


def _reversing(m: Moment) -> list[Event]:
    """A reverse run begins with its way back."""
    state = m.state
    if _is_over(m) or state.started.reverses is None or state.rollback is not None:
        return []
    return [
        rollback.plan(
            state, cause="reverse", by=state.author, reason=state.started.reason, with_schema=state.started.with_schema
        )
    ]


def _rolling_back(m: Moment) -> list[Event]:
    if _is_over(m) or m.state.rollback is None:
        return []
    return [*triggers.act_rule(m), *backward.events(m)]


def _triggers(m: Moment) -> list[Event]:
    if _is_over(m) or not m.state.forward:
        return []
    return triggers.fire_rule(m) or triggers.act_rule(m) or triggers.ask_rule(m)


def _gate(m: Moment) -> list[Event]:
    return [] if _is_over(m) else forward.gate_rule(m)


def _deadlines(m: Moment) -> list[Event]:
    """Approvals and holds whose time is over, where the plan says that this rolls back; manual items' times end in no."""
    if _is_over(m) or m.state.rollback is not None:
        return []
    for item in m.state.waiting.values():
        if item.open and item.blocking and item.until is not None and m.now >= item.until and item.kind == "approval":
            if _approval_rolls_back(m.state, item.item):
                answered = WaitingAnswered(item=item.item, answer="timeout", reason="nobody approved in time")
                return [answered, *_back_or_over(m, "approval", f"{item.text}: nobody approved in time")]
    hold = m.state.holds.get((Reason.INCONCLUSIVE, m.reached_gate.name))
    if hold is not None and m.state.forward and m.reached_gate.name in m.state.environment.gates:
        terms = m.state.environment.gates[m.reached_gate.name].hold
        if terms.then == "rollback" and m.now - hold.since >= terms.deadline:
            return _back_or_over(m, "hold", f"gate {hold.item} was inconclusive too long: {hold.detail}")
    return []


def _approval_rolls_back(state: State, item: str) -> bool:
    guards = entry.guards(state)
    return any(
        guard.approval is not None and guard.approval.on_timeout == "rollback" and entry.item_of(state, guard) == item
        for guard in guards
    )


def _back_or_over(m: Moment, cause: rollback.Cause, reason: str) -> list[Event]:
    if m.state.phase is Phase.CHECKING:
        return [RunEnded(outcome="rolled_back", reason=reason)]
    return [rollback.plan(m.state, cause=cause, reason=reason)]


def _cuts(m: Moment) -> list[Event]:
    return [] if _is_over(m) else triggers.cut_rule(m)


def _holds(m: Moment) -> list[Event]:
    """The holds that follow from state and evidence, written down where they differ from those that stand."""
    if _is_over(m):
        return []
    wanted = derived_holds(m)
    events: list[Event] = []
    for (reason, item), detail in wanted.items():
        if (reason, item) not in m.state.holds:
            events.append(HoldSet(hold=reason, item=item, detail=detail))
    for reason, item in m.state.holds:
        if reason is not Reason.PAUSED and (reason, item) not in wanted:
            events.append(HoldCleared(hold=reason, item=item))
    return events


def derived_holds(m: Moment) -> Holds:
    state = m.state
    found = _effect_holds(m)
    if state.rollback is not None:
        return found | backward.holds(m)
    if state.forward:
        found |= triggers.hold_rule(m) | triggers.drift_holds(m)
        if state.cursor.environment in state.killed:
            found[(Reason.KILLED, state.cursor.environment)] = f"the kill switch is on in {state.cursor.environment}"
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
    environment, _, key = target.removeprefix("flag:").partition("/")
    return any(key in stage.exposure_flags for stage in state.program.environment(environment).stages)


def _effect_holds(m: Moment) -> Holds:
    found: Holds = {}
    for target, entry in m.state.outstanding.items():
        words = f"{entry.effect.label}: {entry.failing}"
        if entry.unknown and not entry.void:
            found[(Reason.UNKNOWN_OUTCOME, target)] = words
        elif entry.failing is not None and not entry.void:
            reason = Reason.UNDO_FAILING if entry.effect.node is not None else Reason.EFFECT_FAILING
            found[(reason, target)] = words
    return found


def unseen_flags(state: State) -> tuple[str, ...]:
    """Flags of the plan that were not observed yet in the environment where the run stands."""
    if state.rollback is not None or state.phase not in (Phase.CHECKING, Phase.RUNNING):
        return ()
    environment = state.cursor.environment
    wanted = (f"flag:{environment}/{key}" for key in state.environment.flags)
    return tuple(target for target in wanted if target not in state.targets)


def _observe_flags(m: Moment) -> list[Event]:
    """The run's first act in an environment: every flag of the plan is looked at, before anything is changed."""
    if _is_over(m):
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
    if _is_over(m) or state.rollback is not None:
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
    _observe_flags,
    _cuts,
    _holds,
    _leg,
    _notes,
)


# --- time ---------------------------------------------------------------------------------------------------------------


def accumulate(state: State, evidence: Evidence, now: float) -> Evidence:
    """Bake and watch as of *now*: passing time since the last call is added. To be called before every ``decide``."""
    m = Moment(state, evidence, now)
    longest = longest_gap_seconds(m)
    if state.phase is Phase.RUNNING and state.leg is Leg.BAKING:
        bake = add_up(evidence.bake, gates.bake_key(state), forward.bake_counts(m), now, longest)
        return replace(evidence, bake=bake)
    if state.phase is Phase.WATCHING:
        watch = add_up(evidence.watch, gates.watch_key(state), watching.counts(m), now, longest)
        return replace(evidence, watch=watch)
    return evidence


def longest_gap_seconds(m: Moment) -> float:
    """How much time between two moments counts as observed: two looks of the slowest gate, or two ticks."""
    names = gates.watched_gates(m.state, m.evidence)
    every = [gate.every for _, gate in gates.gates_named(m.state, names)]
    return 2 * max([*every, TICK_SECONDS]) + gates.LOOK_GRACE_SECONDS


def walks_under_way(m: Moment) -> list[tuple[str, tuple[Act, ...]]]:
    """Every list of acts that is being walked now, with its key."""
    state = m.state
    current = forward.walk_of_leg(state) if state.forward else None
    found = [current] if current is not None else []
    found += [(key, acts) for key, acts, _ in triggers.walks(state)]
    if state.rollback is not None:
        found += [
            (node.node.id, rollback.acts_of_node(state, node.node))
            for node in backward.ready_nodes(state)
            if node.node.kind in backward.ACT_KINDS
        ]
    return found


def scopes(m: Moment) -> list[Scope]:
    """All checks that are to be asked now."""
    if _is_over(m):
        return []
    verifying = [verify_scope(m.state, key, acts) for key, acts in walks_under_way(m)]
    return [scope for scope in verifying if scope is not None] + _scopes_of_place(m)


def _scopes_of_place(m: Moment) -> list[Scope]:
    state = m.state
    if state.rollback is not None:
        return backward.scopes(m)
    if state.phase is Phase.CHECKING:
        return entry.active_scopes(m)
    if state.phase is Phase.WATCHING:
        return watching.scopes(m)
    return forward.scopes(m)


def wake_at(m: Moment) -> float | None:
    """The next time at which waiting alone may change something. Answers and commands wake a run by themselves."""
    state = m.state
    times = [*notices.due_times(m), *_waiting_times(m), *_walk_times(m)]
    if state.ended:
        times += [at for one in afterwards.open_success(state) if (at := afterwards.success_due_at(state, one))]
        return min((at for at in times if at > m.now), default=None)
    times += [at for scope in scopes(m) for one in questions(scope) if (at := due_at(m, one)) is not None]
    times += _leg_times(m)
    times.append(m.now + TICK_SECONDS)
    return min(at for at in times if at > m.now)


def _waiting_times(m: Moment) -> list[float]:
    return [item.until for item in m.state.waiting.values() if item.open and item.until is not None]


def _walk_times(m: Moment) -> list[float]:
    """Ends of waits, of settling, and of back-offs."""
    state = m.state
    times: list[float] = []
    walks = walks_under_way(m)
    if state.rollback is not None:
        times += [at for node in backward.ready_nodes(state) for at in _node_times(node)]
    for key, acts in walks:
        walk = state.walk(key)
        if walk.started_at is not None and walk.done < len(acts) and isinstance(acts[walk.done].action, WaitAction):
            times.append(walk.started_at + acts[walk.done].action.wait)  # type: ignore[attr-defined]
    times += [fired.at + triggers.CONTINUE_LIMIT_SECONDS for fired in state.fired.values()]
    return times


def _node_times(node: NodeState) -> list[float]:
    times = []
    if node.started_at is not None and node.node.seconds is not None:
        times.append(node.started_at + node.node.seconds)
    if node.started_at is not None and node.node.kind == "before":
        times.append(node.started_at + rollback.BEFORE_LIMIT_SECONDS)
    if node.failed_at is not None:
        times.append(node.failed_at + backward.backoff_seconds(node.failures))
    return times


def _leg_times(m: Moment) -> list[float]:
    state = m.state
    times: list[float] = []
    if state.leg in (Leg.SETTLING, Leg.FINISHING) and state.stage is not None:
        times.append(state.entered_at + state.stage.settle_seconds)
    if state.leg is Leg.BAKING and m.evidence.bake.counting and state.step is not None:
        progress = forward.bake_progress(m)
        times.append(m.now + max(state.step.bake.min_seconds - progress.seconds, 0.0))
    if state.phase is Phase.WATCHING and m.evidence.watch.counting:
        left = state.environment.watch_seconds - gates.watched_seconds(state, m.evidence)
        times.append(m.now + max(left, 0.0))
    window = m.closed_window()
    if window is not None and (opens := window.opens_at(m.now)) is not None:
        times.append(opens)
    for hold in state.holds.values():
        if hold.reason is Reason.INCONCLUSIVE and hold.item in state.environment.gates:
            times.append(hold.since + state.environment.gates[hold.item].hold.deadline)
    return times
