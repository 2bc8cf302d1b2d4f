"""What people are told, and when: news, holds that last, undos that fail, deadlines. Quiet progress, loud trouble.

Each notice has a key, so it is asked for once. Delivery is a lane of its own and never delays a run.
"""

from collections.abc import Iterator

from orchestrator.core.effect import Notice, NoticeSeverity
from orchestrator.core.events import Event, NoticeRequested
from orchestrator.core.moment import Moment
from orchestrator.core.phases import GATE_HOLDS, Phase, Reason
from orchestrator.core.state import Hold, State

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


def events(m: Moment) -> list[Event]:
    """Notices that are due and were not asked for yet."""
    if not m.state.program.notify.channels:
        return []
    wanted = [*_news(m.state), *_triggers(m.state), *_hold_notices(m), *_within(m)]
    return [NoticeRequested(notice=notice) for notice in wanted]


def due_times(m: Moment) -> Iterator[float]:
    """When the next notices are due, as far as it is known."""
    if not m.state.program.notify.channels:
        return
    for hold in m.state.holds.values():
        yield from (at for at, _ in _hold_times(m.state, hold, m.now) if at > m.now)


def _news(state: State) -> Iterator[Notice]:
    happened = {"started": "started"}
    if state.rollback is not None and not state.rollback.scope:
        happened["rollback_started"] = f"rolls back: {state.rollback.reason}"
    if state.outcome is not None:
        happened[state.outcome] = f"ended {state.outcome.replace('_', ' ')}"
    for (environment, stage), how in state.stages.items():
        happened[f"stage:{environment}/{stage}"] = f"stage {stage} in {environment} is {how}"
    for entry in state.program.notify.news:
        for key, words in happened.items():
            if key in entry.when or key.partition(":")[0] in entry.when:
                yield from _to(state, entry.channels, f"news:{key}", NoticeSeverity.NEWS, words)


def _to(state: State, channels: tuple[str, ...], key: str, severity: NoticeSeverity, words: str) -> Iterator[Notice]:
    """What was not asked for yet."""
    for channel in channels:
        whole = f"{key}@{channel}"
        if whole not in state.notices:
            title = f"{state.run}: {words}"
            yield Notice(key=whole, channel=channel, severity=severity, title=title, text=words)


def channels_for(state: State, severity: NoticeSeverity) -> tuple[str, ...]:
    """The channels of a severity; without any, those of the first step of the escalation, else all."""
    notify = state.program.notify
    if severity is not NoticeSeverity.NEWS and severity.value in notify.severity:
        return notify.severity[severity.value]
    if notify.escalation:
        return notify.escalation[0].channels
    return tuple(notify.channels)


def _triggers(state: State) -> Iterator[Notice]:
    for (environment, name), fired in state.fired.items():
        triggers = state.program.environment(environment).triggers
        trigger = next((one for one in triggers if one.name == name), None)
        if trigger is None:
            continue
        severity = NoticeSeverity(trigger.severity)
        channels = trigger.notify or channels_for(state, severity)
        words = f"trigger {name} fired: {fired.detail}" + (f" (runbook: {trigger.runbook})" if trigger.runbook else "")
        yield from _to(state, channels, f"trigger:{environment}/{name}#{fired.count}", severity, words)


def _hold_times(state: State, hold: Hold, now: float) -> Iterator[tuple[float, tuple[str, ...]]]:
    """When a hold is told of, and to whom: at first, then as the plan's escalation says, until it is acknowledged."""
    severity = SEVERITY.get(hold.reason, NoticeSeverity.LOW)
    if hold.reason in QUIET:
        return
    if hold.reason is Reason.UNDO_FAILING:
        yield from ((hold.since + after, channels_for(state, severity)) for after in UNDO_TOLD_AFTER_SECONDS)
        later = hold.since + UNDO_TOLD_EVERY_SECONDS
        rounds = max(1, int((now - hold.since) // UNDO_TOLD_EVERY_SECONDS) + 1)
        yield from (
            (later + index * UNDO_TOLD_EVERY_SECONDS, tuple(state.program.notify.channels)) for index in range(rounds)
        )
        return
    first = INCONCLUSIVE_AFTER_SECONDS if hold.reason in GATE_HOLDS else 0.0
    yield hold.since + first, channels_for(state, severity)
    acknowledged = state.acknowledged_at is not None and state.acknowledged_at >= hold.since
    if acknowledged or hold.reason is Reason.PAUSED:
        return
    for step in state.program.notify.escalation:
        yield hold.since + first + step.after, step.channels
        if step.repeat:
            passed = now - (hold.since + first + step.after)
            rounds = max(0, int(passed // step.repeat)) + 1
            yield from (
                (hold.since + first + step.after + step.repeat * n, step.channels) for n in range(1, rounds + 1)
            )
    gate = state.environment.gates.get(hold.item) if hold.reason in GATE_HOLDS else None
    deadline = gate.hold.deadline if gate is not None else HOLD_DEADLINE_SECONDS
    yield hold.since + deadline, tuple(state.program.notify.channels)


def _hold_notices(m: Moment) -> Iterator[Notice]:
    for hold in m.state.holds.values():
        severity = SEVERITY.get(hold.reason, NoticeSeverity.LOW)
        for at, channels in _hold_times(m.state, hold, m.now):
            if at <= m.now:
                key = f"hold:{hold.reason}/{hold.item}/{hold.since:.3f}+{at - hold.since:.0f}"
                words = f"holds ({hold.reason.value.replace('_', ' ')}): {hold.detail}"
                yield from _to(m.state, channels, key, severity, words)


def _within(m: Moment) -> Iterator[Notice]:
    """``rollback.within`` only escalates."""
    rollback = m.state.rollback
    if rollback is None or rollback.scope or m.state.phase is not Phase.ROLLING_BACK:
        return
    within = m.state.environment.rollback.within_seconds
    if within is not None and m.now - rollback.since >= within:
        words = f"the rollback is not through after {within:g} s"
        yield from _to(m.state, tuple(m.state.program.notify.channels), "within", NoticeSeverity.CRITICAL, words)
