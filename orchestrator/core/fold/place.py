"""Folding where a run stands, and what comes after its end."""

from dataclasses import replace

from orchestrator.core import events as ev
from orchestrator.core.fold.handler import BrokenJournal, Handler
from orchestrator.core.phases import Leg, Phase, is_allowed, name_of
from orchestrator.core.state import (
    Cursor,
    FailingChannel,
    GateRef,
    NoReturn,
    NoticeState,
    State,
    put,
)


def _leg_entered(state: State, event: ev.LegEntered, at: float) -> State:
    target = (Phase(event.phase), Leg(event.leg) if event.leg else None)
    if not is_allowed(state.place, target):
        raise BrokenJournal(f"no way leads from {name_of(state.place)} to {name_of(target)}")
    cursor = Cursor(event.environment, event.stage, event.step)
    opens_entry = target[1] is Leg.ENTERING or target[0] is not state.phase
    moved = state.with_changes(
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
    if _judges_here(moved):
        return moved.with_changes(gate_ref=GateRef(cursor, at, state.seq + 1))
    return moved


def _judges_here(state: State) -> bool:
    """Whether this leg begins to judge a gate that no change of exposure has brought into force."""
    step = state.step
    if step is None or not step.gate:
        return False
    if state.leg is not Leg.BAKING and not (state.leg is Leg.ACTING and step.gate_from_start):
        return False
    return state.gate_ref is None or state.gate_ref.cursor != state.cursor


def _stage_ended(state: State, event: ev.StageEnded, at: float) -> State:
    ended = state.with_changes(stages=put(state.stages, (event.environment, event.stage), event.how))
    ref = state.gate_ref
    if event.how == "cut" and ref is not None and ref.cursor.environment == event.environment:
        stages = state.program.environment(event.environment).stages
        if stages[ref.cursor.stage].name == event.stage:
            return ended.with_changes(gate_ref=None)  # the gate of a cut stage is judged no more
    return ended


def _environment_passed(state: State, event: ev.EnvironmentPassed, at: float) -> State:
    return state.with_changes(environments_passed=(*state.environments_passed, event.environment), gate_ref=None)


def _no_return(state: State, event: ev.PointOfNoReturnPassed, at: float) -> State:
    return state.with_changes(no_return=NoReturn(event.environment, event.stage, at, state.effect_count, event.values))


def _run_ended(state: State, event: ev.RunEnded, at: float) -> State:
    return state.with_changes(
        phase=Phase.ENDED,
        leg=None,
        outcome=event.outcome,
        ended_at=at,
        exceptions=event.exceptions,
        holds={},
        waiting={key: item for key, item in state.waiting.items() if not item.blocking or not item.open},
        outstanding={},
    )


def _stop_requested(state: State, event: ev.StopRequested, at: float) -> State:
    voided = {target: replace(entry, void=True) for target, entry in state.outstanding.items()}
    return state.with_changes(stop_requested=event.by, outstanding=voided)


def _success_baseline(state: State, event: ev.SuccessBaseline, at: float) -> State:
    return state.with_changes(baselines=put(state.baselines, event.name, event.level))


def _success_judged(state: State, event: ev.SuccessJudged, at: float) -> State:
    entry = {"standing": event.standing, "detail": event.detail, "value": event.value, "at": at}
    return state.with_changes(success=put(state.success, event.name, entry))


def _notice_requested(state: State, event: ev.NoticeRequested, at: float) -> State:
    return state.with_changes(notices=put(state.notices, event.notice.key, NoticeState(event.notice, at)))


def _notice_delivered(state: State, event: ev.NoticeDelivered, at: float) -> State:
    """A channel that takes something is well again; one that gives a notice up for good is not."""
    known = state.notices[event.key]
    channel = known.notice.channel
    failing = {name: one for name, one in state.failing_channels.items() if name != channel}
    if not event.delivered:
        failing[channel] = state.failing_channels.get(channel, FailingChannel(at, event.key, event.detail))
    notices = put(state.notices, event.key, replace(known, settled=True))
    return state.with_changes(notices=notices, failing_channels=failing)


def _channel_failing(state: State, event: ev.ChannelFailing, at: float) -> State:
    failing = state.failing_channels.get(event.channel, FailingChannel(at, event.key, event.detail))
    return state.with_changes(failing_channels=put(state.failing_channels, event.channel, failing))


def _acknowledged(state: State, event: ev.Acknowledged, at: float) -> State:
    return state.with_changes(acknowledged_at=at, acknowledged_by=event.by)


def _gate_failed(state: State, event: ev.GateFailed, at: float) -> State:
    """Nothing overrides a failing gate: what a person overrode before was another matter."""
    return state.with_changes(advanced_seq=0)


HANDLERS: dict[type[ev.Event], Handler] = {
    ev.LegEntered: _leg_entered,
    ev.StageEnded: _stage_ended,
    ev.PointOfNoReturnPassed: _no_return,
    ev.GateFailed: _gate_failed,
    ev.Acknowledged: _acknowledged,
    ev.EnvironmentPassed: _environment_passed,
    ev.RunEnded: _run_ended,
    ev.StopRequested: _stop_requested,
    ev.SuccessBaseline: _success_baseline,
    ev.SuccessJudged: _success_judged,
    ev.NoticeRequested: _notice_requested,
    ev.ChannelFailing: _channel_failing,
    ev.NoticeDelivered: _notice_delivered,
}
