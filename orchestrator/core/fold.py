"""``apply(state, event, at) -> state``: what each event means. The only way in which state changes.

Folding never decides: an old journal folds to the same state whatever the rules of today would have decided. One small
function an event, in a table by its class.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

from orchestrator.core import events as ev
from orchestrator.core.phases import Leg, Phase, Reason, is_allowed, name_of
from orchestrator.core.state import (
    PERSON,
    Answered,
    Cursor,
    Fired,
    GateRef,
    Hold,
    NodeState,
    NoReturn,
    NoticeState,
    Outstanding,
    Pin,
    Rollback,
    State,
    TargetState,
    Touch,
    Waiting,
    Walk,
    drop,
    put,
)
from stages.compile import compile_plan
from stages.effects import TargetKind
from stages.flag_spec import safer_value
from stages.plan import StagedRollout
from stages.step import Program


class BrokenJournal(Exception):
    """The journal holds an event that can't follow what came before."""


def program_of(started: ev.RunStarted) -> Program:
    documents = [(entry.environment, StagedRollout.model_validate(entry.plan)) for entry in started.documents]
    return compile_plan(documents, started.digest, started.files, started.directory)


def begin(started: ev.RunStarted, at: float, program: Program | None = None) -> State:
    """The state after a journal's first event. *program* saves compiling the plan again where it is at hand."""
    program = program or program_of(started)
    targets = {entry.id: _inherited(entry, order) for order, entry in enumerate(started.inherited)}
    return State(
        started=started,
        program=program,
        author=started.by,
        started_at=at,
        seq=1,
        at=at,
        phase=Phase.CHECKING,
        leg=None,
        cursor=Cursor(program.environments[0].name),
        entered_at=at,
        entered_seq=1,
        entry_at=at,
        targets=targets,
        first_effect_at=at if targets else None,
    )


def _inherited(entry: ev.InheritedTarget, order: int) -> TargetState:
    """A target of the run before: touched already, so that its way back is this run's too."""
    touch = Touch(entry.before, entry.undo, order - 1_000_000)  # before everything that this run touches itself
    return TargetState(
        id=entry.id,
        kind=entry.kind,
        title=entry.title,
        environment=entry.environment,
        stage=entry.stage,
        before=entry.before,
        existed=entry.existed,
        value=entry.value,
        touches={f"{entry.environment}/{entry.stage}": touch},
    )


def apply(state: State, event: ev.Event, at: float) -> State:
    handler = _HANDLERS.get(type(event))
    if handler is None:
        raise BrokenJournal(f"{event.type_name} can't stand after the first event")
    return replace(handler(state, event, at), seq=state.seq + 1, at=at)


def fold(entries: Iterable[tuple[ev.Event, float]], program: Program | None = None) -> State:
    """The state after all *entries*, pairs of an event and its time; the first is ``RunStarted``."""
    iterator = iter(entries)
    first, at = next(iterator)
    if not isinstance(first, ev.RunStarted):
        raise BrokenJournal(f"a journal begins with RunStarted, not with {first.type_name}")
    state = begin(first, at, program)
    for event, when in iterator:
        state = apply(state, event, when)
    return state


# --- where the run stands -----------------------------------------------------------------------------------------------


def _leg_entered(state: State, event: ev.LegEntered, at: float) -> State:
    target = (Phase(event.phase), Leg(event.leg) if event.leg else None)
    if not is_allowed(state.place, target):
        raise BrokenJournal(f"no way leads from {name_of(state.place)} to {name_of(target)}")
    cursor = Cursor(event.environment, event.stage, event.step)
    opens_entry = target[1] is Leg.ENTERING or target[0] is not state.phase
    moved = replace(
        state,
        phase=target[0],
        leg=target[1],
        cursor=cursor,
        entered_at=at,
        entered_seq=state.seq + 1,
        entry_at=at if opens_entry else state.entry_at,
        answers={} if opens_entry else state.answers,
        watch_credit_seconds=0.0 if target[0] is Phase.WATCHING else state.watch_credit_seconds,
        walked_at=at if target[0] is Phase.WATCHING else state.walked_at,
    )
    if target[1] is Leg.BAKING and _judges_here(moved):
        return replace(moved, gate_ref=GateRef(cursor, at, state.seq + 1))
    return moved


def _judges_here(state: State) -> bool:
    """Whether entering the bake begins to judge a gate that no change of exposure has brought into force."""
    step = state.step
    if step is None or not step.gate:
        return False
    return state.gate_ref is None or state.gate_ref.cursor != state.cursor


def _stage_ended(state: State, event: ev.StageEnded, at: float) -> State:
    ended = replace(state, stages=put(state.stages, (event.environment, event.stage), event.how))
    ref = state.gate_ref
    if event.how == "cut" and ref is not None and ref.cursor.environment == event.environment:
        stages = state.program.environment(event.environment).stages
        if stages[ref.cursor.stage].name == event.stage:
            return replace(ended, gate_ref=None)  # the gate of a cut stage is judged no more
    return ended


def _environment_passed(state: State, event: ev.EnvironmentPassed, at: float) -> State:
    return replace(state, environments_passed=(*state.environments_passed, event.environment), gate_ref=None)


def _no_return(state: State, event: ev.PointOfNoReturnPassed, at: float) -> State:
    return replace(state, no_return=NoReturn(event.environment, event.stage, at, state.effect_count, event.values))


def _run_ended(state: State, event: ev.RunEnded, at: float) -> State:
    return replace(
        state,
        phase=Phase.ENDED,
        leg=None,
        outcome=event.outcome,
        ended_at=at,
        exceptions=event.exceptions,
        holds={},
        waiting={key: item for key, item in state.waiting.items() if not item.blocking or not item.open},
        outstanding={},
    )


# --- entries: checks, people, holds ---------------------------------------------------------------------------------


def _check_answered(state: State, event: ev.CheckAnswered, at: float) -> State:
    answer = Answered(event.standing, at, event.detail, event.by, event.required)
    return replace(state, answers=put(state.answers, f"{event.item}/{event.name}", answer))


def _waiting_opened(state: State, event: ev.WaitingOpened, at: float) -> State:
    item = Waiting(event.item, event.kind, event.text, event.who, at, event.until, event.optional, event.blocking)
    return replace(state, waiting=put(state.waiting, event.item, item))


def _waiting_answered(state: State, event: ev.WaitingAnswered, at: float) -> State:
    item = state.waiting[event.item]
    if event.answer == "approve" and item.kind in ("approval", "sign_off"):
        others = tuple(entry for entry in item.approvals if entry[0] != event.by)
        item = replace(item, approvals=(*others, (event.by, event.groups)))
    answer = event.answer if event.closes else None
    item = replace(item, answer=answer, note=event.reason, by=event.by)
    return replace(state, waiting=put(state.waiting, event.item, item), fired=_no_longer_asking(state, event))


def _no_longer_asking(state: State, event: ev.WaitingAnswered) -> Mapping[tuple[str, str], Fired]:
    """A trigger's question that is answered holds no more."""
    if not event.closes:
        return state.fired
    return {
        key: replace(fired, holding=False) if event.item == trigger_item(*key, fired.count) else fired
        for key, fired in state.fired.items()
    }


def trigger_item(environment: str, trigger: str, count: int) -> str:
    """Names one firing of a trigger: its question, and the walk of its actions."""
    return f"trigger:{environment}/{trigger}#{count}"


def _hold_set(state: State, event: ev.HoldSet, at: float) -> State:
    reason = Reason(event.hold)
    known = state.holds.get((reason, event.item))
    since = known.since if known else at
    hold = Hold(reason, event.item, since, event.by, event.detail or event.reason)
    return replace(state, holds=put(state.holds, (reason, event.item), hold))


def _hold_cleared(state: State, event: ev.HoldCleared, at: float) -> State:
    return replace(state, holds=drop(state.holds, (Reason(event.hold), event.item)))


def _paused(state: State, event: ev.Paused, at: float) -> State:
    hold = Hold(Reason.PAUSED, event.by, at, event.by, event.reason)
    return replace(state, holds=put(state.holds, (Reason.PAUSED, "run"), hold))


def _on_fail_paused(state: State, event: ev.OnFailPaused, at: float) -> State:
    hold = Hold(Reason.PAUSED, event.what, at, event.by, event.reason)
    return replace(state, holds=put(state.holds, (Reason.PAUSED, "on_fail"), hold))


def _resumed(state: State, event: ev.Resumed, at: float) -> State:
    """Paused and trigger holds end; what failed is tried anew, and after ``on_fail: pause`` evidence starts anew."""
    after_failure = (Reason.PAUSED, "on_fail") in state.holds
    walks = {
        key: replace(walk, failed=None, attempt=walk.attempt + 1) if walk.failed else walk
        for key, walk in state.walks.items()
    }
    return replace(
        state,
        holds={key: hold for key, hold in state.holds.items() if key[0] is not Reason.PAUSED},
        fired={key: replace(entry, holding=False) for key, entry in state.fired.items()},
        walks=walks,
        evidence_from=at if after_failure else state.evidence_from,
        reask_after=at,
        answers=_without_refusals(state) if after_failure else state.answers,
    )


def _without_refusals(state: State) -> dict[str, Answered]:
    return {key: answer for key, answer in state.answers.items() if answer.standing == "yes"}


def _step_reentered(state: State, event: ev.StepReentered, at: float) -> State:
    return replace(state, evidence_from=at, walks=drop(state.walks, *_walks_of_step(state)))


def _walks_of_step(state: State) -> tuple[str, ...]:
    cursor = state.cursor
    stage = state.environment.stages[cursor.stage]
    return (step_walk(cursor.environment, stage.name, cursor.step),)


def step_walk(environment: str, stage: str, step: int) -> str:
    return f"step:{environment}/{stage}/{step}"


def _advanced(state: State, event: ev.Advanced, at: float) -> State:
    if event.watched_seconds is not None:
        return replace(state, watch_credit_seconds=event.watched_seconds)
    return replace(state, advanced_seq=state.seq + 1)


# --- targets and effects ----------------------------------------------------------------------------------------------


def _target_observed(state: State, event: ev.TargetObserved, at: float) -> State:
    target = TargetState(
        id=event.target,
        kind=event.kind,
        title=event.title,
        environment=event.environment,
        stage=event.stage,
        before=event.value,
        existed=event.existed,
        value=event.value,
    )
    changed_at = put(state.changed_at, event.target, at)
    return replace(state, targets=put(state.targets, event.target, target), changed_at=changed_at)


def _effect_requested(state: State, event: ev.EffectRequested, at: float) -> State:
    effect = event.effect
    count = state.effect_count + 1
    target = state.targets[effect.target]
    key = f"{effect.environment}/{effect.stage}"
    if effect.node is None and key not in target.touches:
        target = replace(target, touches=put(target.touches, key, Touch(target.value, effect.undo, count)))
    elif effect.node is None:
        target = replace(target, touches=put(target.touches, key, replace(target.touches[key], order=count)))
    nodes = state.rollback
    if effect.node is not None and nodes is not None:
        node = replace(nodes.nodes[effect.node], effect=effect.id, started_at=nodes.nodes[effect.node].started_at or at)
        nodes = replace(nodes, nodes=put(nodes.nodes, effect.node, node))
    return replace(
        state,
        effect_count=count,
        targets=put(state.targets, effect.target, target),
        outstanding=put(state.outstanding, effect.target, Outstanding(effect, at)),
        first_effect_at=state.first_effect_at if state.first_effect_at is not None else at,
        rollback=nodes,
    )


def _effect_failed(state: State, event: ev.EffectFailed, at: float) -> State:
    entry = state.outstanding[event.target]
    entry = replace(
        entry,
        failing=event.detail,
        failing_since=entry.failing_since if entry.failing_since is not None else at,
        unknown=event.state == "unknown",
    )
    return replace(state, outstanding=put(state.outstanding, event.target, entry))


def _effect_finished(state: State, event: ev.EffectFinished, at: float) -> State:
    entry = state.outstanding[event.target]
    state = replace(state, outstanding=drop(state.outstanding, event.target))
    target = state.targets[event.target]
    if event.observed is not None and event.state != "refused":
        target = replace(target, value=event.observed)
    target = replace(target, cut_short=event.state == "cancelled")
    state = replace(
        state,
        targets=put(state.targets, event.target, target),
        changed_at=put(state.changed_at, event.target, at),
        restores=drop(state.restores, event.target),
    )
    if entry.effect.node is not None:
        return _node_effect_finished(state, entry, event, at)
    if entry.effect.walk is None or entry.void:
        return state
    if event.state == "cancelled":
        return state  # nothing was changed by it; the act is decided anew
    walk = state.walk(entry.effect.walk)
    if event.state == "done":
        state = _exposure_changed(state, entry, at)
        return replace(state, walks=put(state.walks, entry.effect.walk, _next_act(walk)))
    failed = replace(walk, failed=f"{entry.effect.label}: {event.detail}")
    return replace(state, walks=put(state.walks, entry.effect.walk, failed))


def _exposure_changed(state: State, entry: Outstanding, at: float) -> State:
    """A raise that is done brings its own step's gate into force, from now on."""
    step = state.step
    if step is None or step.exposure_flag is None or state.leg is not Leg.ACTING:
        return state
    if entry.effect.walk != _walks_of_step(state)[0]:
        return state
    return replace(state, gate_ref=GateRef(state.cursor, at, state.seq + 1))


def _next_act(walk: Walk, *, skipped: bool = False) -> Walk:
    return replace(walk, done=walk.done + 1, started_at=None, failed=None, skipped=skipped)


def _node_effect_finished(state: State, entry: Outstanding, event: ev.EffectFinished, at: float) -> State:
    rollback = state.rollback
    assert rollback is not None and entry.effect.node is not None
    node = rollback.nodes[entry.effect.node]
    if entry.effect.walk is not None and event.state == "done":
        state = replace(state, walks=put(state.walks, entry.effect.walk, _next_act(state.walk(entry.effect.walk))))
        node = replace(node, effect=None, failures=0, failed_at=None)
    elif event.state == "done":
        node = replace(node, result="done", effect=None, detail=event.detail)
    else:
        node = replace(node, effect=None, failures=node.failures + 1, failed_at=at, detail=event.detail)
    return replace(state, rollback=replace(rollback, nodes=put(rollback.nodes, entry.effect.node, node)))


def _act_refused(state: State, event: ev.ActRefused, at: float) -> State:
    failed = replace(state.walk(event.walk), failed=f"{event.label}: {event.reason}")
    return replace(state, walks=put(state.walks, event.walk, failed))


def _act_started(state: State, event: ev.ActStarted, at: float) -> State:
    return replace(state, walks=put(state.walks, event.walk, replace(state.walk(event.walk), started_at=at)))


def _act_finished(state: State, event: ev.ActFinished, at: float) -> State:
    walk = _next_act(state.walk(event.walk), skipped=event.skipped)
    state = replace(state, walks=put(state.walks, event.walk, walk))
    step = state.step
    if (
        step is None
        or step.exposure_flag is None
        or state.leg is not Leg.ACTING
        or event.walk != _walks_of_step(state)[0]
    ):
        return state
    return replace(state, gate_ref=GateRef(state.cursor, at, state.seq + 1))


# --- triggers, pins, drift, kill ----------------------------------------------------------------------------------------


def _trigger_fired(state: State, event: ev.TriggerFired, at: float) -> State:
    key = (event.environment, event.trigger)
    known = state.fired.get(key)
    fired = Fired(
        at=at,
        count=known.count + 1 if known else 1,
        then=event.then,
        by=event.by,
        detail=event.reason,
        holding=event.then == "hold",
    )
    pins = dict(state.pins)
    for flag, keys in event.pins.items():
        pin = Pin(f"trigger {event.trigger}", flag, event.environment, frozenset(keys), at)
        pins[(pin.source, flag)] = pin
    return replace(state, fired=put(state.fired, key, fired), pins=pins)


def _trigger_rearmed(state: State, event: ev.TriggerRearmed, at: float) -> State:
    key = (event.environment, event.trigger)
    return replace(state, fired=put(state.fired, key, replace(state.fired[key], rearmed=True)))


def _pin_decided(state: State, event: ev.PinDecided, at: float) -> State:
    key = (event.source, event.flag)
    drift = drop(state.drift, event.flag)
    targets = dict(state.targets)
    if event.decision == "release":
        released = replace(state, pins=drop(state.pins, key), drift=drift)
        return _released(released, event.flag, state.drift[event.flag]) if event.flag in state.drift else released
    if event.flag in state.drift:
        targets[event.flag] = replace(targets[event.flag], value=state.drift[event.flag])
    return replace(state, pins=put(state.pins, key, replace(state.pins[key], kept=True)), drift=drift, targets=targets)


def _released(state: State, flag: str, found: Any) -> State:
    """Somebody's edit is given up: the safer of it and ours stands until the step is reached anew by its guards."""
    target = state.targets[flag]
    wanted = safer_value(found, target.value, target.value)
    if wanted == found:
        return replace(state, targets=put(state.targets, flag, replace(target, value=found)))
    return replace(state, restores=put(state.restores, flag, wanted))


def _drift_found(state: State, event: ev.DriftFound, at: float) -> State:
    state = replace(state, drift=put(state.drift, event.target, event.found))
    target = state.targets[event.target]
    if target.kind is not TargetKind.FLAG or not isinstance(event.found, dict) or not isinstance(event.expected, dict):
        return state
    keys = frozenset(key for key in event.found if event.found[key] != event.expected.get(key))
    pin = Pin(PERSON, event.target, target.environment, keys, at)
    return replace(state, pins=put(state.pins, (PERSON, event.target), pin))


def _drift_gone(state: State, event: ev.DriftGone, at: float) -> State:
    return replace(
        state,
        drift=drop(state.drift, event.target),
        pins={key: pin for key, pin in state.pins.items() if key != (PERSON, event.target) or pin.kept},
    )


def _kill_switched(state: State, event: ev.KillSwitched, at: float) -> State:
    if event.on:
        return replace(state, killed=state.killed | {event.environment})
    ref = state.gate_ref
    return replace(
        state,
        killed=state.killed - {event.environment},
        evidence_from=at,
        gate_ref=replace(ref, since=at, seq=state.seq + 1) if ref is not None else None,  # bake and warm-up start again
    )


def _target_resolved(state: State, event: ev.TargetResolved, at: float) -> State:
    target = replace(state.targets[event.target], resolved=event.reason or "resolved")
    if event.target in state.drift:
        target = replace(target, value=state.drift[event.target])
    entry = state.outstanding.get(event.target)
    state = replace(
        state,
        drift=drop(state.drift, event.target),
        outstanding=drop(state.outstanding, event.target),
        targets=put(state.targets, event.target, target),
        pins=drop(state.pins, (PERSON, event.target)),
    )
    if entry is None or entry.effect.node is not None or entry.effect.walk is None:
        return state  # of a node, the NodeFinished beside this event says what became
    walk = state.walk(entry.effect.walk)
    walk = _next_act(walk) if event.taken_as != "not_done" else replace(walk, failed=None, attempt=walk.attempt + 1)
    if event.taken_as != "not_done":
        state = _exposure_changed(state, entry, at)
    return replace(state, walks=put(state.walks, entry.effect.walk, walk))


# --- the way back -------------------------------------------------------------------------------------------------------


def _rollback_started(state: State, event: ev.RollbackStarted, at: float) -> State:
    rollback = Rollback(
        cause=event.cause,
        by=event.by,
        reason=event.reason,
        since=at,
        scope=event.scope,
        nodes={node.id: NodeState(node) for node in event.nodes},
        left=event.left,
        with_schema=event.with_schema,
    )
    voided = {
        target: replace(entry, void=True) if entry.effect.node is None else entry
        for target, entry in state.outstanding.items()
    }
    holds = {key: hold for key, hold in state.holds.items() if key[0] is Reason.UNKNOWN_OUTCOME}
    waiting = {key: item for key, item in state.waiting.items() if not (item.open and item.blocking)}
    started = replace(state, rollback=rollback, outstanding=voided, holds=holds, waiting=waiting)
    if event.scope:
        return started
    return replace(started, phase=Phase.ROLLING_BACK, leg=None, entered_at=at, entry_at=at, answers={})


def _nodes_added(state: State, event: ev.NodesAdded, at: float) -> State:
    """More nodes; what was verified before them is verified once more."""
    assert state.rollback is not None
    added = {node.id: NodeState(node) for node in event.nodes}
    with_schema = state.rollback.with_schema or event.with_schema
    rollback = replace(state.rollback, nodes={**state.rollback.nodes, **added}, with_schema=with_schema)
    return replace(state, rollback=rollback)


def _node_started(state: State, event: ev.NodeStarted, at: float) -> State:
    return _with_node(state, event.node, started_at=at)


def _node_finished(state: State, event: ev.NodeFinished, at: float) -> State:
    return _with_node(state, event.node, result=event.result, detail=event.detail, effect=None)


def _with_node(state: State, node: str, **changes: Any) -> State:
    assert state.rollback is not None
    changed = replace(state.rollback.nodes[node], **changes)
    return replace(state, rollback=replace(state.rollback, nodes=put(state.rollback.nodes, node, changed)))


def _rollback_finished(state: State, event: ev.RollbackFinished, at: float) -> State:
    """A partial rollback is through: its stages' touches are forgotten, for their targets stand as before them."""
    assert state.rollback is not None
    stages = [stage.name for stage in state.environment.stages]
    undone = {f"{state.cursor.environment}/{name}" for name in stages[stages.index(event.scope) :]}
    targets = {
        key: replace(target, touches={k: v for k, v in target.touches.items() if k not in undone})
        for key, target in state.targets.items()
    }
    hold = Hold(Reason.PAUSED, event.scope, at, event.by, f"stage {event.scope} and all after it were rolled back")
    return replace(
        state,
        rollback=None,
        targets=targets,
        evidence_from=at,
        holds=put(state.holds, (Reason.PAUSED, "run"), hold),
    )


# --- afterwards ---------------------------------------------------------------------------------------------------------


def _stop_requested(state: State, event: ev.StopRequested, at: float) -> State:
    voided = {target: replace(entry, void=True) for target, entry in state.outstanding.items()}
    return replace(state, stop_requested=event.by, outstanding=voided)


def _success_judged(state: State, event: ev.SuccessJudged, at: float) -> State:
    entry = {"standing": event.standing, "detail": event.detail, "value": event.value, "at": at}
    return replace(state, success=put(state.success, event.name, entry))


def _notice_requested(state: State, event: ev.NoticeRequested, at: float) -> State:
    return replace(state, notices=put(state.notices, event.notice.key, NoticeState(event.notice, at)))


def _notice_delivered(state: State, event: ev.NoticeDelivered, at: float) -> State:
    known = state.notices[event.key]
    return replace(state, notices=put(state.notices, event.key, replace(known, settled=True)))


def _acknowledged(state: State, event: ev.Acknowledged, at: float) -> State:
    return replace(state, acknowledged_at=at)


def _gate_failed(state: State, event: ev.GateFailed, at: float) -> State:
    return state


Handler = Callable[[State, Any, float], State]
_HANDLERS: dict[type[ev.Event], Handler] = cast(
    "dict[type[ev.Event], Handler]",
    {
        ev.LegEntered: _leg_entered,
        ev.CheckAnswered: _check_answered,
        ev.WaitingOpened: _waiting_opened,
        ev.WaitingAnswered: _waiting_answered,
        ev.HoldSet: _hold_set,
        ev.HoldCleared: _hold_cleared,
        ev.TargetObserved: _target_observed,
        ev.EffectRequested: _effect_requested,
        ev.EffectFailed: _effect_failed,
        ev.EffectFinished: _effect_finished,
        ev.ActStarted: _act_started,
        ev.ActFinished: _act_finished,
        ev.ActRefused: _act_refused,
        ev.StageEnded: _stage_ended,
        ev.PointOfNoReturnPassed: _no_return,
        ev.GateFailed: _gate_failed,
        ev.OnFailPaused: _on_fail_paused,
        ev.TriggerFired: _trigger_fired,
        ev.TriggerRearmed: _trigger_rearmed,
        ev.PinDecided: _pin_decided,
        ev.DriftFound: _drift_found,
        ev.DriftGone: _drift_gone,
        ev.KillSwitched: _kill_switched,
        ev.Paused: _paused,
        ev.Resumed: _resumed,
        ev.StepReentered: _step_reentered,
        ev.Advanced: _advanced,
        ev.TargetResolved: _target_resolved,
        ev.Acknowledged: _acknowledged,
        ev.RollbackStarted: _rollback_started,
        ev.NodesAdded: _nodes_added,
        ev.NodeStarted: _node_started,
        ev.NodeFinished: _node_finished,
        ev.RollbackFinished: _rollback_finished,
        ev.EnvironmentPassed: _environment_passed,
        ev.RunEnded: _run_ended,
        ev.StopRequested: _stop_requested,
        ev.SuccessJudged: _success_judged,
        ev.NoticeRequested: _notice_requested,
        ev.NoticeDelivered: _notice_delivered,
    },
)
