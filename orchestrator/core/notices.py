"""What people are told: news, alarms as they escalate, channels that fail. Quiet progress, loud trouble.

Each notice has a key, so it is asked for once. Delivery is a lane of its own and never delays a run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.core.alarms import alarms, channels_for, runbook, told_at, trigger_of
from orchestrator.core.effect import Notice, NoticeSeverity
from orchestrator.core.events import Event, NoticeRequested
from orchestrator.core.moment import Moment
from orchestrator.core.phases import Leg, Phase
from orchestrator.core.state import State
from orchestrator.core.view import percentages
from stages.notify import News

PAGERS = ("pagerduty", "opsgenie")  # each message there is something to do
ENDING = ("pagerduty",)  # services whose incidents can be ended from here


def events(m: Moment) -> list[Event]:
    """Notices that are due and were not asked for yet."""
    if not m.state.program.notify.channels:
        return []
    state = m.state
    wanted = [*_news(state), *_triggers(state), *_alarms(m), *_within(m), *_acknowledged(state), *_failing(state)]
    wanted += _over(state)
    once = {notice.key: notice for notice in reversed(wanted)}  # a channel of a severity may be one of a step, too
    return [NoticeRequested(notice=notice) for notice in reversed(once.values())]


def due_times(m: Moment) -> Iterator[float]:
    """When notices are due, as far as it is known. Some have passed."""
    if not m.state.program.notify.channels:
        return
    for alarm in alarms(m.state):
        yield from (at for at, _ in told_at(m.state, alarm, m.now))


def _news(state: State) -> Iterator[Notice]:
    happened = {"started": "started"}
    if state.rollback is not None and not state.rollback.scope:
        happened["rollback_started"] = f"rolls back: {state.rollback.reason}"
    if state.outcome is not None:
        happened[state.outcome] = f"ended {state.outcome.replace('_', ' ')}"
    for (environment, stage), how in state.stages.items():
        happened[f"stage:{environment}/{stage}"] = f"stage {stage} in {environment} is {how}"
    happened |= _step_reached(state)
    for entry in state.program.notify.news:
        for key, words in happened.items():
            if _is_wanted(entry, key):
                text = f"{entry.message}\n{words}" if entry.message else words
                yield from _to(state, entry.channels, _About(f"news:{key}", NoticeSeverity.NEWS, words, text=text))


def _step_reached(state: State) -> dict[str, str]:
    """The step whose change has been made; it stands there for at least one look."""
    if state.phase is not Phase.RUNNING or state.leg not in (Leg.SETTLING, Leg.BAKING):
        return {}
    stage, step, environment = state.stage, state.step, state.cursor.environment
    if stage is None or step is None:
        return {}
    shares = ", ".join(f"{flag} {share:g} %" for flag, share in percentages(state).items() if share)
    words = f"{stage.name} in {environment} is at {step.name}" + (f" ({shares})" if shares else "")
    return {f"step:{environment}/{stage.name}#{state.cursor.step + 1}": words}


def _is_wanted(entry: News, key: str) -> bool:
    kind, _, place = key.partition(":")
    if kind not in entry.when or not entry.stages:
        return kind in entry.when
    stage = place.partition("/")[2]
    return kind not in ("step", "stage") or (stage.rpartition("#")[0] if kind == "step" else stage) in entry.stages


@dataclass(frozen=True, slots=True)
class _About:
    """*key* without the channel; *subject* and *text* if they are not key and words."""

    key: str
    severity: NoticeSeverity
    words: str
    subject: str = ""
    text: str = ""


def _to(state: State, channels: tuple[str, ...], about: _About) -> Iterator[Notice]:
    """What was not asked for yet."""
    for channel in channels:
        whole = f"{about.key}@{channel}"
        if whole not in state.notices:
            yield Notice(
                key=whole,
                channel=channel,
                severity=about.severity,
                title=f"{state.run}: {about.words}",
                text=about.text or about.words,
                subject=about.subject or about.key,
            )


def _triggers(state: State) -> Iterator[Notice]:
    for (environment, name), fired in state.fired.items():
        trigger = trigger_of(state, environment, name)
        if trigger is None or fired.then == "hold":  # of which the hold tells
            continue
        severity = NoticeSeverity(trigger.severity)
        channels = trigger.notify or channels_for(state, severity)
        words = f"trigger {name} fired: {fired.detail}" + runbook(trigger)
        yield from _to(state, channels, _About(f"trigger:{environment}/{name}#{fired.count}", severity, words))


def _alarms(m: Moment) -> Iterator[Notice]:
    for alarm in alarms(m.state):
        for at, channels in told_at(m.state, alarm, m.now):
            if at <= m.now:
                passed = at - alarm.since
                is_first = passed == 0 and alarm.subject.startswith("trigger:")  # which is told of by itself
                key = alarm.subject if is_first else f"{alarm.subject}+{passed:.0f}"
                yield from _to(m.state, channels, _About(key, alarm.severity, alarm.words, alarm.subject))


def _within(m: Moment) -> Iterator[Notice]:
    """``rollback.within`` only escalates."""
    rollback = m.state.rollback
    if rollback is None or rollback.scope or m.state.phase is not Phase.ROLLING_BACK:
        return
    within = m.state.environment.rollback.within_seconds
    if within is not None and m.now - rollback.since >= within:
        words = f"the rollback is not through after {within:g} s"
        about = _About("within", NoticeSeverity.CRITICAL, words)
        yield from _to(m.state, tuple(m.state.program.notify.channels), about)


def _acknowledged(state: State) -> Iterator[Notice]:
    """Whoever was told of an alarm hears that somebody looks after it; pagers have buttons of their own for that."""
    if state.acknowledged_at is None or state.ended:
        return
    acknowledged = {alarm.subject for alarm in alarms(state) if alarm.is_acknowledged(state)}
    told = {one.notice.channel for one in state.notices.values() if one.notice.subject in acknowledged}
    known = state.program.notify.channels
    channels = tuple(name for name in known if name in told and known[name].service not in PAGERS)
    words = f"acknowledged by {state.acknowledged_by}"
    yield from _to(state, channels, _About(f"ack:{state.acknowledged_at:.3f}", NoticeSeverity.NEWS, words))


def _over(state: State) -> Iterator[Notice]:
    """A pager's incident ends with what it was about, so that nobody looks after what is over."""
    known = state.program.notify.channels
    incidents = {
        (one.notice.channel, one.notice.subject)
        for one in state.notices.values()
        if one.notice.severity is not NoticeSeverity.NEWS and known[one.notice.channel].service in ENDING
    }
    standing = {alarm.subject for alarm in alarms(state)} if incidents else set()
    for channel, subject in sorted(incidents):
        if _is_over(state, subject, standing):
            about = _About(f"over:{subject}", NoticeSeverity.LOW, f"over: {subject}", subject)
            yield from (one.model_copy(update={"ends": True}) for one in _to(state, (channel,), about))


def _is_over(state: State, subject: str, standing: set[str]) -> bool:
    """Of a hold, when it is gone; of a trigger that lets the run go on, when it is armed again; of all else, such as a
    trigger that rolled back, with the run."""
    if subject in standing or subject.startswith("channel:"):
        return False
    is_continued = any(
        fired.then == "continue" and subject == f"trigger:{environment}/{name}#{fired.count}"
        for (environment, name), fired in state.fired.items()
    )
    return state.ended or subject.startswith("hold:") or is_continued


def _failing(state: State) -> Iterator[Notice]:
    """The other channels are told what one could not be told."""
    for name, failing in state.failing_channels.items():
        others = tuple(one for one in state.program.notify.channels if one not in state.failing_channels)
        lost = state.notices[failing.key].notice
        words = f"the channel {name} can't be told: {failing.detail}"
        key = f"channel:{name}/{failing.since:.3f}"
        text = f"{words}\nwhat it was not told: {lost.title}"
        yield from _to(state, others, _About(key, NoticeSeverity.MEDIUM, words, text=text))
