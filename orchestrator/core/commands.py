"""What an operator asks of a run: ``accept`` answers with the events that it means, or refuses with a sentence.

A refusal says why, and what would work. Pure: who somebody is has been found out before.
"""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.core import backward, entry, rollback, triggers
from orchestrator.core.events import (
    Acknowledged,
    Advanced,
    ApprovalWithdrawn,
    Event,
    LegEntered,
    Paused,
    PinDecided,
    Resumed,
    RunEnded,
    StepReentered,
    StopRequested,
    TargetResolved,
    WaitingAnswered,
)
from orchestrator.core.gates import evidence_of, open_watch_phases, watched_seconds
from orchestrator.core.moment import Moment
from orchestrator.core.names import trigger_item
from orchestrator.core.phases import COMMANDS, GATE_HOLDS, CommandName, Leg, Phase, Reason
from orchestrator.core.returns import begun_no_return
from orchestrator.core.state import PERSON, Pin, State, Waiting
from orchestrator.core.watching import view_of
from orchestrator.errors import Forbidden, Refused
from stages.checks import is_one_of
from stages.criteria.base import Verdict
from stages.values import Part


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. Roles include those before them: viewer, operator, approver, admin."""

    name: str
    role: str = "operator"
    groups: tuple[str, ...] = ()


ROLES = ("viewer", "operator", "approver", "admin")
ROLE_NEEDED = {CommandName.ADVANCE: "approver"}


class Command(Part):
    """One command with its arguments; *key* makes repeating it harmless."""

    command: CommandName
    reason: str = ""
    item: str | None = None
    stage: str | None = None
    flag: str | None = None
    pin: str | None = None  # keep or release
    target: str | None = None
    taken_as: str = "as_is"  # as_is, done, not_done
    trigger: str | None = None
    with_schema: bool = False
    not_applicable: bool = False
    key: str | None = None


def accept(m: Moment, command: Command, actor: Actor) -> list[Event]:
    """The events that *command* means now. Raises ``Refused`` or ``Forbidden``."""
    if not has_role_for(command.command, actor):
        needed = ROLE_NEEDED.get(command.command, "operator")
        raise Forbidden(
            f"{command.command} needs the role {needed}; {actor.name} is {actor.role}: ask somebody who has it"
        )
    _check_phase(m.state, command)
    return _ACCEPT[command.command](m, command, actor)


def has_role_for(command: CommandName, actor: Actor) -> bool:
    return ROLES.index(actor.role) >= ROLES.index(ROLE_NEEDED.get(command, "operator"))


def _check_phase(state: State, command: Command) -> None:
    allowed = COMMANDS[state.phase]
    if command.command in allowed:
        return
    would_work = ", ".join(sorted(allowed))
    where = f"ended ({state.outcome})" if state.ended else str(state.phase)
    raise Refused(f"{state.run} is {where}, and {command.command} makes no sense there; what works: {would_work}")


# --- pause, resume, stop ----------------------------------------------------------------------------------------------


def _pause(m: Moment, command: Command, actor: Actor) -> list[Event]:
    if (Reason.PAUSED, "run") in m.state.holds:
        hold = m.state.holds[(Reason.PAUSED, "run")]
        raise Refused(f"{m.state.run} is paused already, by {hold.by}; resume goes on")
    return [Paused(by=actor.name, reason=command.reason)]


def _resume(m: Moment, command: Command, actor: Actor) -> list[Event]:
    if command.pin is not None:
        return _decide_pins(m, command, actor)
    asked = m.state.undecided_pins() if m.state.rollback is None else ()  # on the way back no pin is asked about
    undecided = [pin for pin in asked if _asks_now(m.state, pin)]
    if undecided:
        names = ", ".join(sorted({_flag_name(pin.flag) for pin in undecided}))
        raise Refused(
            f"{names} is pinned: resume with --keep (it stays as it is) or --release (the plan's value again)"
        )
    holding = any(fired.holding for fired in m.state.fired.values())
    failing = any(reason is Reason.FAILING for reason, _ in m.state.holds)
    if not m.is_paused and not holding and not failing:
        raise Refused(f"{m.state.run} is not paused{_why_it_stands(m.state)}")
    return [Resumed(by=actor.name, reason=command.reason)]


def _why_it_stands(state: State) -> str:
    return _what_holds(state) or "; nothing holds it, so it goes on by itself"


def _what_holds(state: State) -> str:
    """Of what a command does not end."""
    reasons = sorted({reason.value for reason, _ in state.holds})
    return f"; it holds ({', '.join(reasons)}): `rollout explain` says what ends that" if reasons else ""


def _asks_now(state: State, pin: Pin) -> bool:
    """Whether a plain resume would leave a pin open that stands in the way."""
    if pin.source == PERSON:
        return True
    name = pin.source.removeprefix("trigger ")
    fired = state.fired.get((pin.environment, name))
    return pin.cuts and ((fired is not None and fired.holding) or (Reason.TRIGGER, f"pin:{pin.flag}") in state.holds)


def undecided_flags(state: State) -> list[str]:
    return sorted({_flag_name(pin.flag) for pin in state.undecided_pins()})


def _flag_name(target: str) -> str:
    return target.partition("/")[2]


def _decide_pins(m: Moment, command: Command, actor: Actor) -> list[Event]:
    pins = [pin for pin in m.state.undecided_pins() if command.flag in (None, _flag_name(pin.flag), pin.flag)]
    if not pins:
        what = f"flag {command.flag}" if command.flag else "a flag"
        undecided = ", ".join(undecided_flags(m.state))
        raise Refused(f"no pin on {what} waits for a decision; those that do: {undecided or 'none'}")
    if len({pin.flag for pin in pins}) > 1:
        names = ", ".join(sorted({_flag_name(pin.flag) for pin in pins}))
        raise Refused(f"several flags are pinned: name one with --flag ({names})")
    if command.pin == "release":
        _check_releasable(m.state, pins[0])
    events: list[Event] = []
    if m.held:
        events.append(Resumed(by=actor.name, reason=command.reason))
    events += [_pin_decided(pin, command, actor) for pin in pins]
    if command.pin == "release":
        events += _reenter(m, pins[0], actor, command.reason)
    return events


def _pin_decided(pin: Pin, command: Command, actor: Actor) -> Event:
    decided = {"flag": pin.flag, "environment": pin.environment, "source": pin.source, "decision": command.pin}
    return PinDecided.model_validate({**decided, "by": actor.name, "reason": command.reason})


def _stage_index_of(state: State, flag: str) -> int | None:
    key = _flag_name(flag)
    stages = state.environment.stages
    return next((index for index, stage in enumerate(stages) if key in stage.exposure_flags), None)


def _check_releasable(state: State, pin: Pin) -> None:
    index = _stage_index_of(state, pin.flag)
    if index is None:
        return
    name = state.environment.stages[index].name
    if index < state.cursor.stage or state.phase is Phase.WATCHING or state.is_cut(pin.environment, name):
        flag = _flag_name(pin.flag)
        raise Refused(f"stage {name} of {flag} is behind the run and is not entered again: the pin can only be kept")


def _reenter(m: Moment, pin: Pin, actor: Actor, reason: str) -> list[Event]:
    """Releasing a pin of the current stage's flag leads back to the guards of its step, with the evidence anew."""
    state = m.state
    index = _stage_index_of(state, pin.flag)
    if state.phase is not Phase.RUNNING or index != state.cursor.stage or state.leg is Leg.ENTERING:
        return []
    what = f"{_flag_name(pin.flag)} released"
    entered = LegEntered(
        phase=Phase.RUNNING,
        leg=Leg.ENTERING,
        environment=state.cursor.environment,
        stage=state.cursor.stage,
        step=state.cursor.step,
        by=actor.name,
        reason=what,
    )
    return [StepReentered(what=what, by=actor.name, reason=reason), entered]


def _stop(m: Moment, command: Command, actor: Actor) -> list[Event]:
    if m.state.stop_requested is not None:
        raise Refused(
            f"{m.state.run} is being stopped already, by {m.state.stop_requested}: "
            "it ends when what is under way has an outcome"
        )
    return [StopRequested(by=actor.name, reason=command.reason)]


# --- answers of people ------------------------------------------------------------------------------------------------


def _approve(m: Moment, command: Command, actor: Actor) -> list[Event]:
    item = _waiting_item(m.state, command)
    _check_may_answer(m.state, item, actor)
    if command.not_applicable:
        if not item.optional:
            raise Refused(f"{item.item} is not optional: it is approved or rejected")
        return [_answered(item, "not_applicable", actor, command.reason)]
    if item.kind in ("approval", "sign_off"):
        return [_answered(item, "approve", actor, command.reason, closes=False)]
    events: list[Event] = [_answered(item, "approve", actor, command.reason)]
    if item.item.startswith("trigger:"):
        events += _trigger_yes(m, item, actor, command.reason)
    return events


def _trigger_yes(m: Moment, item: Waiting, actor: Actor, reason: str) -> list[Event]:
    """Yes to a trigger's question rolls back."""
    for (environment, name), fired in m.state.fired.items():
        if trigger_item(environment, name, fired.count) == item.item:
            why = f"trigger {name}: {fired.detail}" + (f" ({reason})" if reason else "")
            return [rollback.plan(m.state, rollback.Why("trigger", why, actor.name))]
    return []


def _reject(m: Moment, command: Command, actor: Actor) -> list[Event]:
    item = _waiting_item(m.state, command)
    _check_may_answer(m.state, item, actor)
    closes = item.kind in ("question", "follow_up")
    return [_answered(item, "reject", actor, command.reason, closes=closes)]


def _answered(item: Waiting, answer: str, actor: Actor, reason: str, *, closes: bool = True) -> Event:
    return WaitingAnswered.model_validate(
        {
            "type": "WaitingAnswered",
            "item": item.item,
            "answer": answer,
            "groups": actor.groups,
            "closes": closes,
            "by": actor.name,
            "reason": reason,
        }
    )


_ANSWERED = {"approve": "approved", "reject": "rejected", "not_applicable": "said not to apply"}


def _no_such_item(state: State, name: str) -> str:
    """Who was slower than somebody else is told what that one said."""
    answered = [item for item in state.waiting.values() if not item.open and _is_named(item, name)]
    if answered:
        last = answered[-1]
        return f"{last.item} was {_ANSWERED.get(str(last.answer), last.answer)} already, by {last.by}"
    names = ", ".join(item.item for item in state.waiting.values() if item.open) or "nothing waits"
    return f"nothing named {name} waits for an answer; what waits: {names}"


def _waiting_item(state: State, command: Command) -> Waiting:
    open_items = [item for item in state.waiting.values() if item.open]
    if command.item is not None:
        found = [item for item in open_items if _is_named(item, command.item)]
        if not found:
            raise Refused(_no_such_item(state, command.item))
        return found[0]
    if not open_items:
        raise Refused(f"nothing of {state.run} waits for an answer{_what_holds(state)}")
    if len(open_items) > 1:
        names = ", ".join(item.item for item in open_items)
        raise Refused(f"several items wait: name one with --item ({names})")
    return open_items[0]


def _check_may_answer(state: State, item: Waiting, actor: Actor) -> None:
    if item.who and not is_one_of(item.who, (actor.name, actor.groups)):
        raise Forbidden(f"{item.item} is for {', '.join(item.who)}; {actor.name} is none of them")
    if item.kind in ("approval", "sign_off") and actor.name == state.author:
        approval = entry.approval_of(state, item)
        if approval is None or not approval.self_approval:
            raise Forbidden(
                f"{actor.name} started {state.run} and can't approve it (self_approval is not set); somebody else can"
            )


def _withdraw(m: Moment, command: Command, actor: Actor) -> list[Event]:
    """An approval is taken back by who gave it, while others are still missing: then nothing has come of it yet."""
    item = _approved_item(m.state, command, actor)
    if not item.open:
        raise Refused(
            f"{item.item} is closed ({item.answer} by {item.by}), and what was said there has taken effect: "
            "pause holds the run where it is, rollback takes back what it did"
        )
    given = ", ".join(one.by for one in item.given) or "nobody"
    if all(one.by != actor.name for one in item.given):
        raise Forbidden(f"an approval is withdrawn by who gave it: {item.item} is approved by {given} so far")
    return [ApprovalWithdrawn(item=item.item, by=actor.name, reason=command.reason)]


def _approved_item(state: State, command: Command, actor: Actor) -> Waiting:
    approvals = [item for item in state.waiting.values() if item.kind in ("approval", "sign_off")]
    if command.item is not None:
        found = [item for item in approvals if _is_named(item, command.item)]
        if not found:
            names = ", ".join(item.item for item in approvals if item.open) or "nothing"
            raise Refused(f"nothing named {command.item} is an approval; what waits for one: {names}")
        return found[0]
    mine = [item for item in approvals if any(one.by == actor.name for one in item.given)]
    is_open = [item for item in mine if item.open]
    if len(is_open) > 1:
        raise Refused(f"you approved several items: name one with --item ({', '.join(one.item for one in is_open)})")
    if not mine:
        raise Refused(f"{actor.name} has approved nothing of {state.run} that could be withdrawn")
    return is_open[0] if is_open else mine[-1]


def _is_named(item: Waiting, name: str) -> bool:
    return name in (item.item, item.item.rpartition("/")[2])


# --- advance ----------------------------------------------------------------------------------------------------------


def _advance(m: Moment, command: Command, actor: Actor) -> list[Event]:
    state = m.state
    if state.rollback is not None:
        raise Refused(
            "a stage is being rolled back; nothing can be advanced until it is back, and a rollback takes all back"
        )
    if state.phase is Phase.WATCHING:
        return _advance_watch(m, command, actor)
    for freeze in m.freezes():
        raise Refused(f"{freeze.words}; nothing is advanced until then, or until an approver has unfrozen it")
    inconclusive = any(reason in GATE_HOLDS for reason, _ in state.holds)
    if state.leg is not Leg.BAKING and not inconclusive:
        raise Refused(
            f"{state.run} is {state.leg}: advance overrides a bake or an inconclusive gate, and there is none; "
            "it goes on when the step is done and nothing holds"
        )
    view = m.reached_gate
    if view.verdict is Verdict.FAIL:
        raise Refused(f"gate {view.name} fails, and nothing overrides that: {view.sentence()}")
    what = f"step {state.step.name}" if state.step is not None else "step"
    return [Advanced(what=what, evidence=evidence_of(view), by=actor.name, reason=command.reason)]


def _advance_watch(m: Moment, command: Command, actor: Actor) -> list[Event]:
    view = view_of(m)
    if view.verdict is Verdict.FAIL:
        raise Refused(f"gate {view.name} fails, and nothing overrides that: {view.sentence()}")
    phases = open_watch_phases(m.state, m.evidence)
    if not phases:
        passed = watched_seconds(m.state, m.evidence)
        later = [phase for phase in m.state.environment.watch if phase.from_seconds > passed]
        if not later:
            raise Refused(f"the watch is over, and what holds its end is not a phase of it{_what_holds(m.state)}")
        until = min(phase.from_seconds for phase in later)
        return [_watched(m, "the gap before the next phase", until, actor, command.reason)]
    until = min(phase.to_seconds for phase in phases)
    names = ", ".join(phase.name for phase in phases if phase.to_seconds == until)
    return [_watched(m, f"watch {names}", until, actor, command.reason)]


def _watched(m: Moment, what: str, until: float, actor: Actor, reason: str) -> Event:
    evidence = evidence_of(view_of(m))
    return Advanced(what=what, evidence=evidence, watched_seconds=until, by=actor.name, reason=reason)


# --- rollback, resolve ------------------------------------------------------------------------------------------------


def _rollback(m: Moment, command: Command, actor: Actor) -> list[Event]:
    state = m.state
    if state.ended:
        raise Refused(f"{state.run} has ended; its way back is a reverse run of its own")
    if state.phase is Phase.ROLLING_BACK:
        return _add_schema(m, command, actor)
    if command.stage is not None:
        return _rollback_stage(m, command, actor)
    if state.phase is Phase.CHECKING and not any(target.touched for target in state.targets.values()):
        return [RunEnded(outcome="rolled_back", by=actor.name, reason=command.reason)]
    return [rollback.plan(state, rollback.Why("command", command.reason, actor.name), with_schema=command.with_schema)]


def _add_schema(m: Moment, command: Command, actor: Actor) -> list[Event]:
    state = m.state
    assert state.rollback is not None
    if not command.with_schema:
        raise Refused(f"{state.run} is rolling back already; rollback --with-schema would take the schema back too")
    if state.rollback.with_schema:
        raise Refused("the schema is already on its way back; pause holds it, and stop leaves everything as it is")
    added = backward.with_schema_added(state)
    if not added.nodes:
        raise Refused("there is no schema that could go back; everything else is on its way already")
    return [added.model_copy(update={"by": actor.name, "reason": command.reason})]


def _rollback_stage(m: Moment, command: Command, actor: Actor) -> list[Event]:
    state = m.state
    if state.rollback is not None:
        raise Refused(f"stage {state.rollback.scope} is being rolled back; wait for it, or roll back the whole run")
    if state.phase is Phase.CHECKING:
        raise Refused("no stage has been touched yet; a rollback without --stage ends the run")
    names = [stage.name for stage in state.environment.stages]
    if command.stage not in names:
        raise Refused(f"there is no stage {command.stage}; the stages are {', '.join(names)}")
    touched = {key for target in state.targets.values() for key in target.touches}
    suffix = names[names.index(command.stage) :]
    if not any(f"{state.cursor.environment}/{name}" in touched for name in suffix):
        began = ", ".join(name for name in names if f"{state.cursor.environment}/{name}" in touched) or "none"
        raise Refused(f"stage {command.stage} and those after it have touched nothing; stages that have: {began}")
    passed, begun = state.no_return, begun_no_return(state)
    walls = [passed.stage] if passed is not None and passed.environment == state.cursor.environment else []
    walls += [begun[0]] if begun is not None else []
    for stage in walls:
        if stage in suffix:
            raise Refused(
                f"stage {stage} is a point of no return, and no rollback leads across it; one without --stage takes "
                "back what may go back"
            )
    return [rollback.plan(state, rollback.Why("command", command.reason, actor.name), scope=command.stage)]


def _resolve(m: Moment, command: Command, actor: Actor) -> list[Event]:
    state = m.state
    candidates = resolvable(state)
    target = command.target
    if target is None and len(candidates) == 1:
        target = candidates[0]
    if target is None or target not in candidates:
        names = ", ".join(candidates) or "nothing"
        raise Refused(f"{target or 'no target'} can't be resolved; what waits for a person: {names}")
    if state.rollback is not None:
        return backward.resolve(state, target, command.taken_as, actor.name, command.reason)
    return [_resolved(target, command, actor)]


def _resolved(target: str, command: Command, actor: Actor) -> Event:
    return TargetResolved.model_validate(
        {
            "type": "TargetResolved",
            "target": target,
            "what": f"{target} taken {command.taken_as.replace('_', ' ')}",
            "taken_as": command.taken_as,
            "by": actor.name,
            "reason": command.reason,
        }
    )


def resolvable(state: State) -> list[str]:
    """Targets that wait for a person: failing or unknown effects, drift, failing undos, the point of no return."""
    found = [target for target, entry in state.outstanding.items() if entry.failing is not None or entry.unknown]
    found += list(state.drift)
    if state.rollback is not None:
        for node in backward.ready_nodes(state):
            if node.failures or node.node.kind in ("no_return", "verify", *backward.ACT_KINDS):
                found.append(node.node.target or node.node.id)
    return list(dict.fromkeys(found))


# --- fire, ack --------------------------------------------------------------------------------------------------------


def _fire(m: Moment, command: Command, actor: Actor) -> list[Event]:
    state = m.state
    if state.rollback is not None:
        raise Refused("the run is on its way back; triggers are over: pause holds it, stop leaves everything as it is")
    known = {trigger.name: trigger for trigger in state.environment.triggers}
    if command.trigger not in known:
        raise Refused(f"there is no trigger {command.trigger}; the triggers are {', '.join(known) or 'none'}")
    trigger = known[command.trigger]
    by_hand = {"verdict": Verdict.FAIL, "sentence": f"fired by hand: {command.reason}"}
    events: list[Event] = [triggers.fired_event(state, trigger, by_hand, by=actor.name, reason=command.reason)]
    if trigger.then == "rollback" and trigger.ask is None:
        why = f"trigger {trigger.name}, fired by hand: {command.reason}"
        events.append(rollback.plan(state, rollback.Why("trigger", why, actor.name), flags_of_triggers=(trigger.name,)))
    return events


def _ack(m: Moment, command: Command, actor: Actor) -> list[Event]:
    return [Acknowledged(by=actor.name, reason=command.reason)]


_ACCEPT: dict[CommandName, Callable[[Moment, Command, Actor], list[Event]]] = {
    CommandName.PAUSE: _pause,
    CommandName.RESUME: _resume,
    CommandName.APPROVE: _approve,
    CommandName.REJECT: _reject,
    CommandName.WITHDRAW: _withdraw,
    CommandName.ADVANCE: _advance,
    CommandName.ROLLBACK: _rollback,
    CommandName.STOP: _stop,
    CommandName.RESOLVE: _resolve,
    CommandName.FIRE: _fire,
    CommandName.ACK: _ack,
}
