"""Folding the way back."""

from dataclasses import replace
from typing import Any

from orchestrator.core import events as ev
from orchestrator.core.fold.effects import with_node
from orchestrator.core.fold.handler import Handler
from orchestrator.core.phases import Phase, Reason
from orchestrator.core.state import (
    Hold,
    NodeState,
    NoReturn,
    Rollback,
    State,
    TargetState,
    drop,
    put,
)


def _rollback_started(state: State, event: ev.RollbackStarted, at: float) -> State:
    rollback = Rollback(
        cause=event.cause,
        by=event.by,
        reason=event.reason,
        since=at,
        scope=event.scope,
        nodes={node.id: NodeState(node) for node in event.nodes},
        with_schema=event.with_schema,
    )
    voided = {
        target: replace(entry, void=True) if entry.effect.node is None else entry
        for target, entry in state.outstanding.items()
    }
    holds = {key: hold for key, hold in state.holds.items() if key[0] is Reason.UNKNOWN_OUTCOME}
    waiting = {key: item for key, item in state.waiting.items() if not (item.open and item.blocking)}
    started = state.with_changes(rollback=rollback, outstanding=voided, holds=holds, waiting=waiting)
    if event.scope:
        return started
    if event.no_return is not None:
        stage, order = event.no_return
        started = started.with_changes(no_return=NoReturn(state.cursor.environment, stage, at, order, {}))
    return started.with_changes(phase=Phase.ROLLING_BACK, leg=None, entered_at=at, entry_at=at, answers={})


def _nodes_added(state: State, event: ev.NodesAdded, at: float) -> State:
    """More nodes; what was verified before them is verified once more."""
    assert state.rollback is not None
    added = {node.id: NodeState(node) for node in event.nodes}
    with_schema = state.rollback.with_schema or event.with_schema
    rollback = replace(state.rollback, nodes={**state.rollback.nodes, **added}, with_schema=with_schema)
    return state.with_changes(rollback=rollback)


def _node_started(state: State, event: ev.NodeStarted, at: float) -> State:
    return _with_node(state, event.node, started_at=at)


def _node_finished(state: State, event: ev.NodeFinished, at: float) -> State:
    return _with_node(state, event.node, result=event.result, detail=event.detail, effect=None)


def _with_node(state: State, node: str, **changes: Any) -> State:
    assert state.rollback is not None
    return with_node(state, replace(state.rollback.nodes[node], **changes))


def _rollback_finished(state: State, event: ev.RollbackFinished, at: float) -> State:
    """A partial rollback is through. Its stages' touches are forgotten where the target went back (or was taken as it
    is); what stays, such as a schema that nobody asked for, is still the run's to take back and to list."""
    assert state.rollback is not None
    stages = [stage.name for stage in state.environment.stages]
    undone = {f"{state.cursor.environment}/{name}" for name in stages[stages.index(event.scope) :]}
    returned = {node.node.target for node in state.rollback.nodes.values()}
    targets = {
        key: _without_touches(target, undone) if key in returned else target for key, target in state.targets.items()
    }
    hold = Hold(Reason.PAUSED, event.scope, at, event.by, f"stage {event.scope} and all after it were rolled back")
    return state.with_changes(
        rollback=None,
        targets=targets,
        evidence_from=at,
        holds=put(state.holds, (Reason.PAUSED, "run"), hold),
    )


def _without_touches(target: TargetState, undone: set[str]) -> TargetState:
    gone = [touch for key, touch in target.touches.items() if key in undone]
    first = min(gone, key=lambda touch: touch.order, default=None)
    return replace(target, touches=drop(target.touches, *undone), taken_back=target.taken_back or first)


HANDLERS: dict[type[ev.Event], Handler] = {
    ev.RollbackStarted: _rollback_started,
    ev.NodesAdded: _nodes_added,
    ev.NodeStarted: _node_started,
    ev.NodeFinished: _node_finished,
    ev.RollbackFinished: _rollback_finished,
}
