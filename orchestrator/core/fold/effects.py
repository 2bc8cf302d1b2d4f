"""Folding targets, effects and the walks through lists of acts."""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.core import events as ev
from orchestrator.core.fold.handler import Handler
from orchestrator.core.names import step_walk
from orchestrator.core.phases import Leg
from orchestrator.core.state import (
    GateRef,
    NodeState,
    Outstanding,
    State,
    TargetState,
    Touch,
    Walk,
    drop,
    put,
)
from stages.effects import TargetKind, is_partial
from stages.values import Json

PARTLY = frozenset({TargetKind.SCHEMA, TargetKind.WORKLOAD, TargetKind.OBJECT})
"""What may be refused in the midst of a change: it then stands as it was observed, and is still to be undone."""


def walks_of_step(state: State) -> tuple[str, ...]:
    cursor = state.cursor
    stage = state.environment.stages[cursor.stage]
    return (step_walk(cursor.environment, stage.name, cursor.step),)


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
    return state.with_changes(targets=put(state.targets, event.target, target), changed_at=changed_at)


def _effect_requested(state: State, event: ev.EffectRequested, at: float) -> State:
    effect = event.effect
    count = state.effect_count + 1
    target = state.targets[effect.target]
    key = f"{effect.environment}/{effect.stage}"
    is_scaling = effect.walk is None and effect.target_kind is TargetKind.WORKLOAD  # which keeps its stage's place
    if effect.node is None and key not in target.touches:
        target = replace(target, touches=put(target.touches, key, Touch(target.value, effect.undo, count, at)))
    elif effect.node is None and not is_scaling:
        target = replace(target, touches=put(target.touches, key, replace(target.touches[key], order=count)))
    nodes = state.rollback
    if effect.node is not None and nodes is not None:
        node = replace(nodes.nodes[effect.node], effect=effect.id, started_at=nodes.nodes[effect.node].started_at or at)
        nodes = replace(nodes, nodes=put(nodes.nodes, effect.node, node))
    return state.with_changes(
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
    return state.with_changes(outstanding=put(state.outstanding, event.target, entry))


def _effect_finished(state: State, event: ev.EffectFinished, at: float) -> State:
    entry = state.outstanding[event.target]
    state = state.with_changes(outstanding=drop(state.outstanding, event.target))
    target = state.targets[event.target]
    is_seen = event.state != "refused" or entry.effect.target_kind in PARTLY
    if event.observed is not None and is_seen:
        target = replace(target, value=event.observed)
    drift = state.drift
    if event.target in drift and event.state == "done" and str(entry.effect.walk).startswith("trigger:"):
        target, drift = _changed_beneath(state, event)
    target = replace(target, cut_short=_is_cut_short(target, entry, event))
    is_beside = entry.effect.walk is None and entry.effect.node is None  # scaling: decided anew by a look after this
    is_changed = event.state == "done" or entry.void or event.observed is not None or is_beside  # else nothing was
    state = state.with_changes(
        targets=put(state.targets, event.target, target),
        changed_at=put(state.changed_at, event.target, at) if is_changed else state.changed_at,
        drift=drift,
        restores=drop(state.restores, event.target),
    )
    if entry.effect.node is not None:
        return _node_effect_finished(state, entry, event, at)
    if entry.effect.walk is None or entry.void:
        return state
    if event.state == "cancelled":
        return state  # nothing was changed by it; the act is decided anew
    walk = state.walk(entry.effect.walk)
    if event.state == "done" and is_partial(entry.effect.operation, event.observed):
        return state  # the act has more to do, and asks for it
    if event.state == "done":
        state = exposure_changed(state, entry, at)
        return state.with_changes(walks=put(state.walks, entry.effect.walk, next_act(walk)))
    failed = replace(walk, failed=f"{entry.effect.label}: {event.detail}")
    return state.with_changes(walks=put(state.walks, entry.effect.walk, failed))


def _is_cut_short(target: TargetState, entry: Outstanding, event: ev.EffectFinished) -> bool:
    """Whether the target may stand anywhere between, unless the effect is done or met somebody else's change."""
    if event.state == "done" or event.changed_by is not None:
        return False
    if entry.effect.target_kind in (TargetKind.WORKLOAD, TargetKind.OBJECT) and not event.at_once:
        return True  # a try before the one that was refused, in an earlier life even, may change it yet
    partly = event.state == "refused" and entry.effect.target_kind in PARTLY and event.observed is not None
    return target.cut_short or entry.void or partly


def _changed_beneath(state: State, event: ev.EffectFinished) -> tuple[TargetState, Mapping[str, Json]]:
    """A trigger changed a flag that somebody had changed: its keys are the run's, the others wait to be decided."""
    target, found, now = state.targets[event.target], state.drift[event.target], event.observed or {}
    changed = {key: value for key, value in now.items() if value != found.get(key)}
    target = replace(target, value={**target.value, **changed})
    return target, put(state.drift, event.target, now)


def exposure_changed(state: State, entry: Outstanding, at: float) -> State:
    """A raise that is done brings its own step's gate into force, from now on."""
    step = state.step
    if step is None or not step.is_exposure or state.leg is not Leg.ACTING:
        return state
    if entry.effect.walk != walks_of_step(state)[0]:
        return state
    return state.with_changes(gate_ref=GateRef(state.cursor, at, state.seq + 1))


def next_act(walk: Walk, *, skipped: bool = False) -> Walk:
    return replace(walk, done=walk.done + 1, started_at=None, failed=None, skipped=skipped)


def _node_effect_finished(state: State, entry: Outstanding, event: ev.EffectFinished, at: float) -> State:
    node = node_of(state, entry)
    is_act_done = entry.effect.walk is not None and event.state == "done"
    if entry.effect.walk is not None and is_act_done:
        state = state.with_changes(walks=put(state.walks, entry.effect.walk, next_act(state.walk(entry.effect.walk))))
    if node is None:
        return state
    if is_act_done:
        node = replace(node, effect=None, failures=0, failed_at=None)
    elif event.state == "done":
        node = replace(node, result="done", effect=None, detail=event.detail)
    else:
        node = replace(node, effect=None, failures=node.failures + 1, failed_at=at, detail=event.detail)
    return with_node(state, node)


def node_of(state: State, entry: Outstanding) -> NodeState | None:
    """The node of the way back that an effect is for. A wider way back that was begun meanwhile may not have it."""
    nodes = state.rollback.nodes if state.rollback is not None else {}
    return nodes.get(entry.effect.node or "")


def with_node(state: State, node: NodeState) -> State:
    assert state.rollback is not None
    nodes = put(state.rollback.nodes, node.node.id, node)
    return state.with_changes(rollback=replace(state.rollback, nodes=nodes))


def _act_refused(state: State, event: ev.ActRefused, at: float) -> State:
    failed = replace(state.walk(event.walk), failed=f"{event.label}: {event.reason}")
    return state.with_changes(walks=put(state.walks, event.walk, failed))


def _act_started(state: State, event: ev.ActStarted, at: float) -> State:
    return state.with_changes(walks=put(state.walks, event.walk, replace(state.walk(event.walk), started_at=at)))


def _act_finished(state: State, event: ev.ActFinished, at: float) -> State:
    walk = next_act(state.walk(event.walk), skipped=event.skipped)
    state = state.with_changes(walks=put(state.walks, event.walk, walk))
    step = state.step
    if step is None or not step.is_exposure or state.leg is not Leg.ACTING or event.walk != walks_of_step(state)[0]:
        return state
    return state.with_changes(gate_ref=GateRef(state.cursor, at, state.seq + 1))


def _backup_outdated(state: State, event: ev.BackupOutdated, at: float) -> State:
    again = Walk(attempt=state.walk(event.walk).attempt + 1)
    answers = {key: answer for key, answer in state.answers.items() if not key.startswith(f"{event.walk}#")}
    return state.with_changes(walks=put(state.walks, event.walk, again), answers=answers)


HANDLERS: dict[type[ev.Event], Handler] = {
    ev.TargetObserved: _target_observed,
    ev.EffectRequested: _effect_requested,
    ev.EffectFailed: _effect_failed,
    ev.EffectFinished: _effect_finished,
    ev.BackupOutdated: _backup_outdated,
    ev.ActStarted: _act_started,
    ev.ActFinished: _act_finished,
    ev.ActRefused: _act_refused,
}
