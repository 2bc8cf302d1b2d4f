"""Folding entries: checks, what people answer and ask for, holds."""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.core import events as ev
from orchestrator.core.fold.effects import walks_of_step
from orchestrator.core.fold.handler import Handler
from orchestrator.core.names import trigger_item
from orchestrator.core.phases import Reason
from orchestrator.core.state import (
    Answered,
    Fired,
    Given,
    Hold,
    State,
    Waiting,
    drop,
    put,
)


def _check_answered(state: State, event: ev.CheckAnswered, at: float) -> State:
    answer = Answered(event.standing, at, event.detail, event.by, event.required)
    return state.with_changes(answers=put(state.answers, f"{event.item}/{event.name}", answer))


def _waiting_opened(state: State, event: ev.WaitingOpened, at: float) -> State:
    item = Waiting(event.item, event.kind, event.text, event.who, at, event.until, event.optional, event.blocking)
    return state.with_changes(waiting=put(state.waiting, event.item, item))


def _waiting_answered(state: State, event: ev.WaitingAnswered, at: float) -> State:
    item = state.waiting[event.item]
    if not event.closes:
        others = tuple(one for one in item.given if one.by != event.by)
        given = (*others, Given(event.by, event.groups, at, event.reason)) if event.answer == "approve" else others
        item = replace(item, given=given)
    answer, is_rejected = (event.answer, False) if event.closes else (None, event.answer == "reject")
    item = replace(item, answer=answer, note=event.reason, by=event.by, is_rejected=is_rejected)
    return state.with_changes(waiting=put(state.waiting, event.item, item), fired=_no_longer_asking(state, event))


def _approval_withdrawn(state: State, event: ev.ApprovalWithdrawn, at: float) -> State:
    item = state.waiting[event.item]
    item = replace(item, given=tuple(one for one in item.given if one.by != event.by))
    return state.with_changes(waiting=put(state.waiting, event.item, item))


def _no_longer_asking(state: State, event: ev.WaitingAnswered) -> Mapping[tuple[str, str], Fired]:
    """A trigger's question that is answered holds no more."""
    if not event.closes:
        return state.fired
    return {
        key: replace(fired, holding=False) if event.item == trigger_item(*key, fired.count) else fired
        for key, fired in state.fired.items()
    }


def _hold_set(state: State, event: ev.HoldSet, at: float) -> State:
    reason = Reason(event.hold)
    known = state.holds.get((reason, event.item))
    since = known.since if known else at
    hold = Hold(reason, event.item, since, event.by, event.detail or event.reason)
    return state.with_changes(holds=put(state.holds, (reason, event.item), hold))


def _hold_cleared(state: State, event: ev.HoldCleared, at: float) -> State:
    return state.with_changes(holds=drop(state.holds, (Reason(event.hold), event.item)))


def _paused(state: State, event: ev.Paused, at: float) -> State:
    hold = Hold(Reason.PAUSED, event.by, at, event.by, event.reason)
    return state.with_changes(holds=put(state.holds, (Reason.PAUSED, "run"), hold))


def _on_fail_paused(state: State, event: ev.OnFailPaused, at: float) -> State:
    hold = Hold(Reason.PAUSED, event.what, at, event.by, event.reason)
    return state.with_changes(holds=put(state.holds, (Reason.PAUSED, "on_fail"), hold))


def _resumed(state: State, event: ev.Resumed, at: float) -> State:
    """Paused and trigger holds end; what failed is tried anew, and after ``on_fail: pause`` evidence starts anew."""
    after_failure = (Reason.PAUSED, "on_fail") in state.holds
    walks = {
        key: replace(walk, failed=None, attempt=walk.attempt + 1) if walk.failed else walk
        for key, walk in state.walks.items()
    }
    return state.with_changes(
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
    return state.with_changes(evidence_from=at, walks=drop(state.walks, *walks_of_step(state)))


def _advanced(state: State, event: ev.Advanced, at: float) -> State:
    if event.watched_seconds is not None:
        return state.with_changes(watch_credit_seconds=event.watched_seconds)
    return state.with_changes(advanced_seq=state.seq + 1)


HANDLERS: dict[type[ev.Event], Handler] = {
    ev.CheckAnswered: _check_answered,
    ev.WaitingOpened: _waiting_opened,
    ev.WaitingAnswered: _waiting_answered,
    ev.ApprovalWithdrawn: _approval_withdrawn,
    ev.HoldSet: _hold_set,
    ev.HoldCleared: _hold_cleared,
    ev.OnFailPaused: _on_fail_paused,
    ev.Paused: _paused,
    ev.Resumed: _resumed,
    ev.StepReentered: _step_reentered,
    ev.Advanced: _advanced,
}
