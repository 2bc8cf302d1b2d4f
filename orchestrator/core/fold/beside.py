"""Folding what happens beside the plan: triggers, pins, drift, the kill latch, what a person resolved."""

from dataclasses import replace
from typing import Any

from orchestrator.core import events as ev
from orchestrator.core.fold.effects import exposure_changed, next_act, node_of, with_node
from orchestrator.core.fold.handler import Handler
from orchestrator.core.state import (
    PERSON,
    Fired,
    Pin,
    State,
    drop,
    put,
)
from stages.effects import TargetKind
from stages.flag_spec import safer_value


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
    return state.with_changes(fired=put(state.fired, key, fired), pins=pins)


def _trigger_rearmed(state: State, event: ev.TriggerRearmed, at: float) -> State:
    key = (event.environment, event.trigger)
    return state.with_changes(fired=put(state.fired, key, replace(state.fired[key], rearmed_at=at)))


def _pin_decided(state: State, event: ev.PinDecided, at: float) -> State:
    key = (event.source, event.flag)
    drift = drop(state.drift, event.flag)
    targets = dict(state.targets)
    if event.decision == "release":
        released = state.with_changes(pins=drop(state.pins, key), drift=drift)
        return _released(released, event.flag, state.drift[event.flag]) if event.flag in state.drift else released
    if event.flag in state.drift:
        targets[event.flag] = replace(targets[event.flag], value=state.drift[event.flag])
    return state.with_changes(
        pins=put(state.pins, key, replace(state.pins[key], kept=True)), drift=drift, targets=targets
    )


def _released(state: State, flag: str, found: Any) -> State:
    """Somebody's edit is given up: the safer of it and ours stands until the step is reached anew by its guards."""
    target = state.targets[flag]
    wanted = safer_value(found, target.value, target.value)
    if wanted == found:
        return state.with_changes(targets=put(state.targets, flag, replace(target, value=found)))
    return state.with_changes(restores=put(state.restores, flag, wanted))


def _looked_at(state: State, target: str, at: float) -> State:
    """What was seen before it was said how a target stands counts no more, such as a look in an older checkpoint."""
    return state.with_changes(changed_at=put(state.changed_at, target, at))


def _drift_found(state: State, event: ev.DriftFound, at: float) -> State:
    state = _looked_at(state, event.target, at).with_changes(drift=put(state.drift, event.target, event.found))
    target = state.targets[event.target]
    if target.kind is not TargetKind.FLAG or not isinstance(event.found, dict) or not isinstance(event.expected, dict):
        return state
    keys = frozenset(key for key in event.found if event.found[key] != event.expected.get(key))
    pin = Pin(PERSON, event.target, target.environment, keys, at)
    return state.with_changes(pins=put(state.pins, (PERSON, event.target), pin))


def _drift_gone(state: State, event: ev.DriftGone, at: float) -> State:
    return _looked_at(state, event.target, at).with_changes(
        drift=drop(state.drift, event.target),
        pins={key: pin for key, pin in state.pins.items() if key != (PERSON, event.target) or pin.kept},
    )


def _kill_switched(state: State, event: ev.KillSwitched, at: float) -> State:
    if event.on:
        return state.with_changes(killed=state.killed | {event.environment})
    ref = state.gate_ref
    return state.with_changes(
        killed=state.killed - {event.environment},
        evidence_from=at,
        gate_ref=replace(ref, since=at, seq=state.seq + 1) if ref is not None else None,  # bake and warm-up start again
    )


def _target_resolved(state: State, event: ev.TargetResolved, at: float) -> State:
    target, entry = state.targets[event.target], state.outstanding.get(event.target)
    if event.taken_as != "not_done" or entry is None:  # what was under way may have happened
        cut_short = target.cut_short or entry is not None
        target = replace(target, resolved=event.reason or "resolved", cut_short=cut_short)
    if event.target in state.drift:
        target = replace(target, value=state.drift[event.target])
    state = _looked_at(state, event.target, at).with_changes(
        drift=drop(state.drift, event.target),
        outstanding=drop(state.outstanding, event.target),
        targets=put(state.targets, event.target, target),
        pins=drop(state.pins, (PERSON, event.target)),
    )
    node = node_of(state, entry) if entry is not None else None
    if node is not None:
        return with_node(state, replace(node, effect=None))  # asked for again unless it is finished
    if entry is None or entry.effect.walk is None:
        return state
    walk = state.walk(entry.effect.walk)
    walk = next_act(walk) if event.taken_as != "not_done" else replace(walk, failed=None, attempt=walk.attempt + 1)
    if event.taken_as != "not_done":
        state = exposure_changed(state, entry, at)
    return state.with_changes(walks=put(state.walks, entry.effect.walk, walk))


HANDLERS: dict[type[ev.Event], Handler] = {
    ev.TriggerFired: _trigger_fired,
    ev.TriggerRearmed: _trigger_rearmed,
    ev.PinDecided: _pin_decided,
    ev.DriftFound: _drift_found,
    ev.DriftGone: _drift_gone,
    ev.KillSwitched: _kill_switched,
    ev.TargetResolved: _target_resolved,
}
