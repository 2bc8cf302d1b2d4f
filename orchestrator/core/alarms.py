"""What a person is to look at, who is told of it and when: as the plan escalates, until somebody acknowledges.

An alarm is a hold that a person or time must end, or a trigger that fired and lets the run go on. Its times are counted
from its begin and told by their own keys, so that each is asked for once. Of rounds that nobody was there for, as after
a controller's night, only the newest is told.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.core.effect import NoticeSeverity
from orchestrator.core.phases import GATE_HOLDS, Phase, Reason
from orchestrator.core.state import Hold, State
from stages.notify import EscalationStep, Notify
from stages.triggers import Trigger

INCONCLUSIVE_AFTER_SECONDS = 300.0
UNDO_TOLD_AFTER_SECONDS = (30.0, 120.0)
UNDO_TOLD_EVERY_SECONDS = 900.0
HOLD_DEADLINE_SECONDS = 86400.0  # no hold is for ever: everybody is told after this, unless its gate says otherwise

QUIET = frozenset({Reason.WINDOW})
SEVERITY = {
    Reason.UNDO_FAILING: NoticeSeverity.CRITICAL,
    Reason.POINT_OF_NO_RETURN: NoticeSeverity.CRITICAL,
    Reason.UNKNOWN_OUTCOME: NoticeSeverity.HIGH,
    Reason.KILLED: NoticeSeverity.HIGH,
    Reason.EFFECT_FAILING: NoticeSeverity.MEDIUM,
    Reason.INCONCLUSIVE: NoticeSeverity.MEDIUM,
    Reason.SHARE_MISMATCH: NoticeSeverity.MEDIUM,
    Reason.CHANGED_ELSEWHERE: NoticeSeverity.MEDIUM,
}
Told = tuple[float, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Alarm:
    """*subject* names it in keys; *since*: when it began. *first*: how many seconds later it is told, and to whom;
    *steps* count from then on. *rounds*: the same for what the product itself repeats. *deadline*: after how many
    seconds everybody is told, acknowledged or not."""

    subject: str
    since: float
    severity: NoticeSeverity
    words: str
    first: tuple[float, tuple[str, ...]] | None = None
    steps: tuple[EscalationStep, ...] = ()
    more: tuple[float, ...] = ()
    everybody_every: float | None = None
    deadline: float | None = None

    def is_acknowledged(self, state: State) -> bool:
        return state.acknowledged_at is not None and state.acknowledged_at >= self.since


def alarms(state: State) -> Iterator[Alarm]:
    """All that stand now."""
    for hold in state.holds.values():
        if hold.reason not in QUIET:
            yield _of_hold(state, hold)
    if state.phase in (Phase.ROLLING_BACK, Phase.ENDED):
        return
    for (environment, name), fired in state.fired.items():
        trigger = trigger_of(state, environment, name)
        if trigger is not None and fired.then == "continue" and fired.rearmed_at is None:
            words = f"trigger {name} fired: {fired.detail}" + runbook(trigger)
            subject = f"trigger:{environment}/{name}#{fired.count}"
            severity = NoticeSeverity(trigger.severity)
            yield Alarm(subject, fired.at, severity, words, (0.0, ()), _steps(state, trigger))


def told_at(state: State, alarm: Alarm, now: float) -> Iterator[Told]:
    """When it is told, and to whom: of what repeats, the newest round that is due and the one after it."""
    everybody = tuple(state.program.notify.channels)
    if alarm.first is not None and alarm.first[1]:
        yield alarm.since + alarm.first[0], alarm.first[1]
    if alarm.deadline is not None:
        yield alarm.since + alarm.deadline, everybody
    yield from _until(state, alarm, _escalation(state, alarm, now, everybody))


def next_told(state: State, alarm: Alarm, now: float) -> Told | None:
    """None if nobody is told of it any more."""
    return min((one for one in told_at(state, alarm, now) if one[0] > now), default=None)


def _until(state: State, alarm: Alarm, times: Iterator[Told]) -> Iterator[Told]:
    """Only what was due before somebody acknowledged."""
    until = state.acknowledged_at if alarm.is_acknowledged(state) else None
    return (one for one in times if until is None or one[0] <= until)


def _escalation(state: State, alarm: Alarm, now: float, everybody: tuple[str, ...]) -> Iterator[Told]:
    begin = alarm.since + (alarm.first[0] if alarm.first is not None else 0.0)
    for after in alarm.more:
        yield alarm.since + after, channels_for(state, alarm.severity)
    if alarm.everybody_every is not None:
        every = alarm.everybody_every
        yield from ((at, everybody) for at in _rounds(alarm.since + every, every, now))
    for step in alarm.steps:
        at = begin + step.after
        times = _rounds(at, step.repeat, now) if step.repeat else (at,)
        yield from ((one, step.channels) for one in times)


def _rounds(begin: float, every: float, now: float) -> tuple[float, ...]:
    if now < begin:
        return (begin,)
    passed = int((now - begin) // every)
    return (begin + passed * every, begin + (passed + 1) * every)


def _of_hold(state: State, hold: Hold) -> Alarm:
    severity = SEVERITY.get(hold.reason, NoticeSeverity.LOW)
    subject = f"hold:{hold.reason}/{hold.item}/{hold.since:.3f}"
    words = f"holds ({hold.reason.value.replace('_', ' ')}): {hold.detail}"
    if hold.reason is Reason.UNDO_FAILING:
        rounds = UNDO_TOLD_EVERY_SECONDS
        return Alarm(
            subject, hold.since, severity, words, more=UNDO_TOLD_AFTER_SECONDS, everybody_every=rounds
        )  # fmt: skip
    if (
        hold.reason is Reason.TRIGGER
        and (trigger := trigger_of(state, state.cursor.environment, hold.item)) is not None
    ):
        severity = NoticeSeverity(trigger.severity)
        first = (0.0, trigger.notify or channels_for(state, severity))
        words += runbook(trigger)
        return Alarm(
            subject, hold.since, severity, words, first, _steps(state, trigger), deadline=HOLD_DEADLINE_SECONDS
        )
    first = (INCONCLUSIVE_AFTER_SECONDS if hold.reason in GATE_HOLDS else 0.0, channels_for(state, severity))
    if hold.reason is Reason.PAUSED:
        return Alarm(subject, hold.since, severity, words, first)
    gate = state.environment.gates.get(hold.item) if hold.reason in GATE_HOLDS else None
    deadline = gate.hold.deadline if gate is not None else HOLD_DEADLINE_SECONDS
    steps = state.program.notify.escalation
    return Alarm(subject, hold.since, severity, words, first, steps, deadline=deadline)


def _steps(state: State, trigger: Trigger) -> tuple[EscalationStep, ...]:
    return trigger.escalation or state.program.notify.escalation


def runbook(trigger: Trigger) -> str:
    return f" (runbook: {trigger.runbook})" if trigger.runbook else ""


def trigger_of(state: State, environment: str, name: str) -> Trigger | None:
    return next((one for one in state.program.environment(environment).triggers if one.name == name), None)


def channels_for(state: State, severity: NoticeSeverity) -> tuple[str, ...]:
    """The channels of a severity; without any, those of the first step of the escalation, else all."""
    return channels_of(state.program.notify, severity)


def channels_of(notify: Notify, severity: NoticeSeverity) -> tuple[str, ...]:
    if severity is not NoticeSeverity.NEWS and severity.value in notify.severity:
        return notify.severity[severity.value]
    if notify.escalation:
        return notify.escalation[0].channels
    return tuple(notify.channels)
