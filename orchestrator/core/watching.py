"""The watch of an environment: time adds up while everything that is due is measured and passing; then the next one.

What holds its end: gates and checks of its phases, a sign-off, pins that nobody has decided.
"""

from orchestrator.core import afterwards, forward, gates, rollback
from orchestrator.core.events import EnvironmentPassed, Event, LegEntered, OnFailPaused, RunEnded
from orchestrator.core.gates import GateView
from orchestrator.core.moment import Moment
from orchestrator.core.phases import Leg, Phase, Reason
from orchestrator.core.questions import Scope, approval_words, holds_of, open_approval, record_answers, refusal
from orchestrator.core.state import State
from stages.criteria.base import Verdict
from stages.step import WatchPhase

Holds = dict[tuple[Reason, str], str]
CHECK_EVERY_SECONDS = 3600.0


def due_gates(m: Moment) -> tuple[str, ...]:
    """The gate last reached, and those of the phases that are open."""
    names = list(gates.reached_gates(m.state))
    names += [name for phase in gates.open_watch_phases(m.state, m.evidence) for name in phase.gate]
    return tuple(dict.fromkeys(names))


def view_of(m: Moment) -> GateView:
    return m.judged(due_gates(m))


def counts(m: Moment) -> bool:
    """Whether watched time adds up now."""
    state = m.state
    if state.phase is not Phase.WATCHING or not state.forward or state.cursor.environment in state.killed:
        return False
    return view_of(m).passing and not _triggers_unmeasured(m) and not m.unreadable_flags()


def _triggers_unmeasured(m: Moment) -> bool:
    looks = m.evidence.looks
    keys = [gates.trigger_key(m.state.cursor.environment, one) for one in gates.watched_triggers(m.state)]
    return any(key in looks and looks[key].seen and not looks[key].measured for key in keys)


def scope_of(state: State, phase: WatchPhase) -> Scope:
    item = f"watch:{state.cursor.environment}/{phase.name}"
    return Scope(item, phase.checks, state.entered_at, every_seconds=phase.every_seconds or CHECK_EVERY_SECONDS)


def scopes(m: Moment) -> list[Scope]:
    return [scope_of(m.state, phase) for phase in gates.open_watch_phases(m.state, m.evidence) if phase.checks]


def events(m: Moment) -> list[Event]:
    found = [event for scope in scopes(m) for event in record_answers(m, scope)]
    return found or _failed_check(m) or _failed_gate(m) or _end(m)


def _failed_check(m: Moment) -> list[Event]:
    if (Reason.PAUSED, "on_fail") in m.state.holds:
        return []
    for phase in gates.open_watch_phases(m.state, m.evidence):
        said_no = refusal(m, scope_of(m.state, phase))
        if said_no is None:
            continue
        reason = f"watch {phase.name}: {said_no}"
        if phase.on_fail == "pause":
            return [OnFailPaused(what=f"watch {phase.name}", reason=reason)]
        return [rollback.plan(m.state, rollback.Why("on_fail", reason))]
    return []


def _failed_gate(m: Moment) -> list[Event]:
    """A phase's own gate; the gate last reached has been judged before."""
    if (Reason.PAUSED, "on_fail") in m.state.holds or m.state.cursor.environment in m.state.killed:
        return []
    view = view_of(m)
    return forward.gate_failed(m, view) if view.verdict is Verdict.FAIL else []


def is_full(m: Moment) -> bool:
    return gates.watched_seconds(m.state, m.evidence) >= m.state.environment.watch_seconds


def sign_off_item(state: State) -> str:
    return f"sign_off:{state.cursor.environment}"


def _end(m: Moment) -> list[Event]:
    if not is_full(m):
        return []
    approval = m.state.environment.sign_off
    if approval is not None:
        opened = open_approval(m, approval, sign_off_item(m.state), "sign_off", m.state.entered_at)
        if opened:
            return opened
        waiting = m.state.waiting.get(sign_off_item(m.state))
        if waiting is None or waiting.answer != "approve":
            return []
    if m.held or undecided(m.state) or m.state.outstanding or not view_of(m).passing:
        return []
    return [EnvironmentPassed(environment=m.state.cursor.environment), *_onwards(m)]


def undecided(state: State) -> bool:
    return any(pin.environment == state.cursor.environment for pin in state.undecided_pins())


def _onwards(m: Moment) -> list[Event]:
    names = [entry.name for entry in m.state.program.environments]
    following = names.index(m.state.cursor.environment) + 1
    if following < len(names):
        return [LegEntered(phase=Phase.RUNNING, leg=Leg.ENTERING, environment=names[following])]
    opened = afterwards.follow_ups(m, "promoted")
    return [RunEnded(outcome="promoted", exceptions=promoted_exceptions(m.state)), *opened]


def promoted_exceptions(state: State) -> tuple[str, ...]:
    cut = [
        f"stage {stage} in {environment} was cut short"
        for (environment, stage), how in state.stages.items()
        if how == "cut"
    ]
    kept = [f"{pin.flag} stays pinned by {pin.source}" for pin in state.pins.values() if pin.kept]
    resolved = [
        f"{target.title}: taken as it is: {target.resolved}" for target in state.targets.values() if target.resolved
    ]
    return tuple(cut + kept + resolved)


def holds(m: Moment) -> Holds:
    found: Holds = {}
    for scope in scopes(m):
        if refusal(m, scope) is None:
            found |= holds_of(m, scope, Reason.INCONCLUSIVE)
    view = view_of(m)
    if view.verdict is Verdict.INCONCLUSIVE and view.inconclusive:
        found[(view.reason, view.name)] = view.sentence()
    if not is_full(m):
        return found
    item = sign_off_item(m.state)
    waiting = m.state.waiting.get(item)
    approval = m.state.environment.sign_off
    if approval is not None and waiting is not None and waiting.open:
        found[(Reason.APPROVAL, item)] = approval_words(approval, waiting, "sign-off")
    for pin in m.state.undecided_pins():
        if pin.environment == m.state.cursor.environment:
            words = f"{pin.source} pinned {pin.flag}: resume with --keep"
            found[(Reason.TRIGGER, f"pin:{pin.flag}")] = words
    return found
