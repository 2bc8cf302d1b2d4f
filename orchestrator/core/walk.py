"""Walking a list of acts: one after the other, each target observed before it is first touched.

A walk is named by a key and stands in the state: a step's acts, a stage's ``before`` and ``after``, a trigger's
actions, the lists of a rollback. ``next_events`` gives what comes next, or nothing while something is under way.
"""

from dataclasses import replace

from orchestrator.core.effect import Notice
from orchestrator.core.events import (
    ActFinished,
    ActRefused,
    ActStarted,
    Event,
    NoticeRequested,
    TargetObserved,
    WaitingOpened,
)
from orchestrator.core.moment import Moment, request
from orchestrator.core.phases import Reason
from orchestrator.core.questions import Scope, all_settled, holds_of, record_answers, refusal, waiting_words
from orchestrator.core.state import State, TargetState
from stages.actions.passive import ManualAction, NotifyAction, VerifyAction, WaitAction
from stages.effects import SetFlag, Target
from stages.flag_spec import ABSENT
from stages.step import Act
from stages.values import Json

VERIFY_AGAIN_SECONDS = 15.0


def is_walked(state: State, key: str, acts: tuple[Act, ...]) -> bool:
    return state.walk(key).done >= len(acts)


def current_act(state: State, key: str, acts: tuple[Act, ...]) -> Act | None:
    """The act that is next or under way; None if all are done or the walk stands still for good."""
    walk = state.walk(key)
    if walk.failed is not None or walk.done >= len(acts):
        return None
    return acts[walk.done]


def next_events(m: Moment, key: str, acts: tuple[Act, ...], node: str | None = None) -> list[Event]:
    act = current_act(m.state, key, acts)
    if act is None:
        return []
    index = m.state.walk(key).done
    match act.action:
        case WaitAction():
            return _wait(m, key, index, act.action)
        case ManualAction():
            return _manual(m, key, index, act.action)
        case VerifyAction():
            return _verify(m, key, act.site.environment, act.action, node)
        case NotifyAction():
            notice = Notice(
                key=f"act:{key}/{index}", channel=act.action.notify, title=m.state.run, text=act.action.message
            )
            return [NoticeRequested(notice=notice), ActFinished(walk=key, index=index, label=act.label)]
        case _:
            return _touch(m, key, act, node)


def verify_scope(state: State, key: str, acts: tuple[Act, ...]) -> Scope | None:
    """The checks of a walk that stands at verifying what it did."""
    act, walk = current_act(state, key, acts), state.walk(key)
    if act is None or not isinstance(act.action, VerifyAction) or walk.started_at is None:
        return None
    return _scope(key, walk.done, act.site.environment, act.action, walk.started_at)


def _scope(key: str, done: int, environment: str, action: VerifyAction, since: float) -> Scope:
    item = f"{key}#{done + 1}"
    return Scope(item, action.checks, since, again_seconds=VERIFY_AGAIN_SECONDS, environment=environment)


def _verify(m: Moment, key: str, environment: str, action: VerifyAction, node: str | None) -> list[Event]:
    """Forward, a clear no refuses the act; on the way back it is asked again for ever, as everything there."""
    walk = m.state.walk(key)
    if walk.skipped and action.unless_skipped:
        return [ActFinished(walk=key, index=walk.done, label=action.label, skipped=True)]
    if walk.started_at is None:
        return [ActStarted(walk=key, index=walk.done, label=action.label)]
    scope = _scope(key, walk.done, environment, action, walk.started_at)
    recorded = record_answers(m, scope)
    said_no = refusal(m, scope)
    if recorded:
        return recorded
    if said_no is not None and node is None:
        return [ActRefused(walk=key, index=walk.done, label=action.label, reason=said_no)]
    if all_settled(m, scope) and not m.held:
        return [ActFinished(walk=key, index=walk.done, label=action.label)]
    return []


def _wait(m: Moment, key: str, index: int, action: WaitAction) -> list[Event]:
    started = m.state.walk(key).started_at
    if started is None:
        return [ActStarted(walk=key, index=index, label=action.label)]
    if m.passed_since(started) >= action.wait:
        return [ActFinished(walk=key, index=index, label=action.label)]
    return []


def _manual(m: Moment, key: str, index: int, action: ManualAction) -> list[Event]:
    item = manual_item(key, index)
    waiting = m.state.waiting.get(item)
    if waiting is None:
        return [WaitingOpened(item=item, kind="manual", text=action.manual, who=action.by, optional=action.optional)]
    if waiting.answer in ("approve", "not_applicable"):
        skipped = waiting.answer == "not_applicable"
        label, note = action.label, waiting.note
        return [ActFinished(walk=key, index=index, label=label, skipped=skipped, by=waiting.by, reason=note)]
    return []


def manual_item(key: str, index: int) -> str:
    return f"{key}#{index + 1}"


def _touch(m: Moment, key: str, act: Act, node: str | None) -> list[Event]:
    target = act.target
    assert target is not None
    if target.id in m.state.outstanding:
        return []
    known = m.state.targets.get(target.id)
    if known is None:
        return observed(m, act, target)
    return _request(m, key, act, target, known, node)


def observed(m: Moment, act: Act, target: Target) -> list[Event]:
    """The event that notes what was there before; nothing while it has not been seen yet."""
    site = act.site
    if act.observation is None:
        return [_first_seen(target, site.environment, site.stage, None, existed=True)]
    seen = m.seen(target.id)
    if seen is None:
        return []
    value = seen.value if seen.value is not None or seen.exists else ABSENT
    return [_first_seen(target, site.environment, site.stage, value, existed=seen.exists)]


def _first_seen(target: Target, environment: str, stage: str, value: Json, *, existed: bool) -> TargetObserved:
    return TargetObserved(
        target=target.id,
        kind=target.kind,
        title=target.title,
        environment=environment,
        stage=stage,
        value=value,
        existed=existed,
    )


def _request(m: Moment, key: str, act: Act, target: Target, known: TargetState, node: str | None) -> list[Event]:
    walk = m.state.walk(key)
    if known.is_inherited and act.observation is not None:
        seen = m.seen(known.id)
        if seen is None:
            return []
        known = replace(known, value=seen.value) if known.cut_short else known
    standing = known.value
    if key.startswith("trigger:"):
        standing = m.state.drift.get(target.id, standing)  # what it does does not wait until an edit is decided
    current = standing if known.existed or known.touched else None
    operation = act.forward(current)
    if isinstance(operation, SetFlag) and not key.startswith("trigger:"):
        operation = operation.model_copy(update={"value": beneath_pins(m.state, known, operation.value)})
    done = operation.value == current if isinstance(operation, SetFlag) else act.is_done(current)
    if done and not known.cut_short:
        return [ActFinished(walk=key, index=walk.done, label=act.label, skipped=True)]
    return [
        request(
            target,
            operation,
            act.label,
            undo=act.backward(known.value),
            before=standing,
            environment=act.site.environment,
            stage=act.site.stage,
            walk=key,
            node=node,
            attempt=walk.attempt,
        )
    ]


def beneath_pins(state: State, known: TargetState, wanted: dict[str, Json]) -> dict[str, Json]:
    """*wanted* with the keys that are pinned left as they stand."""
    pinned = {key for pin in state.pins.values() if pin.flag == known.id for key in pin.keys}
    standing = known.value if isinstance(known.value, dict) else {}
    return {key: standing.get(key, value) if key in pinned else value for key, value in wanted.items()}


def walk_holds(m: Moment, key: str, acts: tuple[Act, ...]) -> dict[tuple[Reason, str], str]:
    """Holds of the act under way: a person is asked, or what is there can't be seen."""
    act = current_act(m.state, key, acts)
    if act is None:
        return {}
    if isinstance(act.action, ManualAction):
        item = manual_item(key, m.state.walk(key).done)
        waiting = m.state.waiting.get(item)
        if waiting is not None and waiting.open:
            return {(Reason.MANUAL, item): waiting_words(waiting, act.action.manual)}
        return {}
    scope = verify_scope(m.state, key, acts)
    if scope is not None:
        return {} if refusal(m, scope) is not None else holds_of(m, scope, Reason.EFFECT_FAILING)
    target = act.target
    known = m.state.targets.get(target.id) if target is not None else None
    if target is None or (known is not None and not known.is_inherited):
        return {}
    seen = m.evidence.seen.get(target.id)
    if seen is not None and seen.failure is not None:
        return {(Reason.EFFECT_FAILING, target.id): f"{target.title} can't be looked at: {seen.failure}"}
    return {}
