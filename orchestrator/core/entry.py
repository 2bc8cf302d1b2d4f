"""Entries: what must be answered before the plan, an environment, a stage or a step may begin.

In this order: ``when`` (may skip the stage), checks, approvals (which need the checks' results), every window above,
and the gate last reached. All of it is asked again until it holds; nothing of it ever rolls back by itself.
"""

from orchestrator.core.events import Event
from orchestrator.core.moment import Moment
from orchestrator.core.phases import Leg, Phase, Reason
from orchestrator.core.questions import (
    ANSWER_LASTS_SECONDS,
    Scope,
    all_settled,
    approval_is_given,
    approval_item,
    approval_words,
    holds_of,
    open_approval,
    record_answers,
    refusal,
)
from orchestrator.core.state import Pin, State, Waiting
from stages.checks import Approval
from stages.criteria.base import Verdict
from stages.step import Guard


def guards(state: State) -> tuple[Guard, ...]:
    """The guards of the entry at which the run stands, outermost first."""
    if state.phase is Phase.CHECKING:
        return (state.program.guard,)
    stage, step = state.stage, state.step
    if state.leg is not Leg.ENTERING or stage is None:
        return ()
    found: tuple[Guard, ...] = ()
    if state.cursor.step == 0:
        found += (state.environment.guard,) if state.cursor.stage == 0 else ()
        found += (stage.guard,)
    return found + ((step.guard,) if step is not None else ())


def when_scope(state: State) -> Scope | None:
    stage = state.stage
    if state.leg is not Leg.ENTERING or stage is None or not stage.when or state.cursor.step > 0:
        return None
    return Scope(f"when:{state.cursor.environment}/{stage.name}", stage.when, state.entry_at)


def guard_scope(state: State, guard: Guard) -> Scope:
    environment = "" if guard.item == "plan" else f"{state.cursor.environment}/"
    return Scope(f"{environment}{guard.item}", guard.checks, state.entry_at, lasts_seconds=ANSWER_LASTS_SECONDS)


def scopes(state: State) -> list[Scope]:
    """The checks to be asked at this entry: ``when`` first and alone, then those of every guard."""
    when = when_scope(state)
    found = [when] if when is not None else []
    return found + [guard_scope(state, guard) for guard in guards(state)]


def active_scopes(m: Moment) -> list[Scope]:
    """Of :func:`scopes`, those whose turn it is: while ``when`` is open nothing else is asked."""
    when = when_scope(m.state)
    if when is not None and not all_settled(m, when):
        return [when]
    return [guard_scope(m.state, guard) for guard in guards(m.state)]


def is_skipped(m: Moment) -> bool:
    when = when_scope(m.state)
    return when is not None and refusal(m, when) is not None


def undecided_pin(state: State) -> Pin | None:
    """A pin that must be decided before the stage whose flag it fixes may begin."""
    stage = state.stage
    if stage is None or state.leg is not Leg.ENTERING or state.cursor.step > 0:
        return None
    flags = stage.exposure_targets(state.cursor.environment)
    return next((pin for pin in state.undecided_pins() if pin.cuts and pin.flag in flags), None)


def events(m: Moment) -> list[Event]:
    """What is to be written down at this entry: answers, and approvals that open or close."""
    found = [event for scope in active_scopes(m) for event in record_answers(m, scope)]
    if found or is_skipped(m) or not _checks_settled(m):
        return found
    for guard in guards(m.state):
        if guard.approval is not None:
            item = item_of(m.state, guard)
            found += open_approval(m, guard.approval, item, "approval", m.state.entry_at)
    return found


def item_of(state: State, guard: Guard) -> str:
    prefix = "" if guard.item == "plan" or guard.item.startswith("environment:") else f"{state.cursor.environment}/"
    return approval_item(guard).replace("approval:", f"approval:{prefix}", 1)


def _checks_settled(m: Moment) -> bool:
    return all(all_settled(m, scope) for scope in active_scopes(m))


def _approvals_given(m: Moment) -> bool:
    return all(
        approval_is_given(m, item_of(m.state, guard), m.state.entry_at)
        for guard in guards(m.state)
        if guard.approval is not None
    )


def is_open(m: Moment) -> bool:
    """Whether everything that guards this entry holds now."""
    return (
        _checks_settled(m)
        and _approvals_given(m)
        and undecided_pin(m.state) is None
        and m.closed_window() is None
        and (m.state.phase is Phase.CHECKING or m.may_raise)
    )


def holds(m: Moment) -> dict[tuple[Reason, str], str]:
    """Why this entry is not open, as far as it is known: what was not asked yet holds nothing."""
    found: dict[tuple[Reason, str], str] = {}
    if is_skipped(m):
        return found
    for scope in active_scopes(m):
        found |= holds_of(m, scope)
    found |= _approval_holds(m)
    pin = undecided_pin(m.state)
    if pin is not None:
        found[(Reason.TRIGGER, f"pin:{pin.flag}")] = f"{pin.source} pinned {pin.flag}: resume with --keep or --release"
    if found or not _checks_settled(m):
        return found
    return window_and_gate_holds(m)


def _approval_holds(m: Moment) -> dict[tuple[Reason, str], str]:
    found = {}
    for guard in guards(m.state):
        item = item_of(m.state, guard)
        waiting = m.state.waiting.get(item)
        if guard.approval is not None and waiting is not None and waiting.open and waiting.since >= m.state.entry_at:
            found[(Reason.APPROVAL, item)] = approval_words(guard.approval, waiting, waiting.text)
    return found


def approval_of(state: State, item: Waiting) -> Approval | None:
    """What an item wants that waits where the run stands; None if it is no approval."""
    if item.kind == "sign_off":
        return state.environment.sign_off
    for guard in guards(state):
        if guard.approval is not None and item_of(state, guard) == item.item:
            return guard.approval
    return None


def freeze_holds(m: Moment) -> dict[tuple[Reason, str], str]:
    return {(Reason.WINDOW, one.item): one.words for one in m.freezes()}


def window_and_gate_holds(m: Moment) -> dict[tuple[Reason, str], str]:
    """Holds that are asked again before every forward effect."""
    found: dict[tuple[Reason, str], str] = {}
    window = m.closed_window()
    if window is not None:
        why = window.why_denied(m.now)
        found[(Reason.WINDOW, "window")] = f"outside the window ({window.timezone})" + (f": {why}" if why else "")
    view = m.reached_gate
    if (
        m.state.phase is not Phase.CHECKING
        and not m.may_raise
        and view.verdict is not Verdict.FAIL
        and view.inconclusive
    ):
        found[(view.reason, view.name)] = view.sentence()
    return found
