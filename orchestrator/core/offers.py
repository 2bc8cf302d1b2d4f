"""What somebody could ask of a run now: each command with its arguments, tried and not carried out.

``accept`` is pure, so the answer to "may I?" is the very one that the command would get: there is no second rule that
could say something else. What the role of a person never gives is left out; what is refused now is there, with why.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.core import reversing
from orchestrator.core.alarms import alarms
from orchestrator.core.commands import Actor, Command, accept, has_role_for, resolvable, undecided_flags
from orchestrator.core.moment import Moment
from orchestrator.core.phases import COMMANDS, CommandName, Phase
from orchestrator.core.returns import Return, schema_policy, schema_stays, targets_to_return, what_stays
from orchestrator.core.state import State
from orchestrator.errors import Forbidden, Refused
from stages.effects import TargetKind

HOLDS = "hold the run where it is; it is still looked at, and a failing gate still takes it back"
HOLDS_UNDOS = "hold the way back: no further target is taken back until somebody resumes"
STOPS = "end the run and leave the world as it is; nothing is taken back"


@dataclass(frozen=True, slots=True)
class Offer:
    """A command, in words what it does, and why it would be refused now (None: it would not).

    Of a rollback also what comes back (titles of targets, in the order in which they were touched) and what does not
    (sentences).
    """

    command: Command
    what: str
    refused: str | None
    returns: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Tried:
    command: CommandName
    what: str
    fields: dict[str, str | bool] = field(default_factory=dict)


def offers(m: Moment, actor: Actor) -> list[Offer]:
    """In the order in which a person on call thinks of them."""
    allowed = COMMANDS[m.state.phase]
    tried = (one for one in _candidates(m, actor) if one.command in allowed and has_role_for(one.command, actor))
    return [_offer(m, one, actor) for one in tried]


def _offer(m: Moment, tried: _Tried, actor: Actor) -> Offer:
    command = Command.model_validate({"command": tried.command, "reason": "", **tried.fields})
    refused = _refused(m, command, actor)
    if command.command is not CommandName.ROLLBACK or refused is not None:
        return Offer(command, tried.what, refused)
    returns, stays = way_back(m.state, command)
    return Offer(command, tried.what, None, returns, stays)


def _refused(m: Moment, command: Command, actor: Actor) -> str | None:
    try:
        if m.state.ended and command.command is CommandName.ROLLBACK:
            reversing.taken_back(m.state, command)
        else:
            accept(m, command, actor)
    except (Refused, Forbidden) as error:
        return str(error)
    return None


def way_back(state: State, command: Command) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a rollback brings back, and what stays and why."""
    seen, scope = reversing.reachable(state) if state.ended else state, command.stage or ""
    returns = targets_to_return(seen, scope)
    moving = (entry for entry in returns if _comes_back(seen, entry, with_schema=command.with_schema))
    titles = tuple(dict.fromkeys(entry.target.title for entry in moving))
    return titles, tuple(what_stays(seen, returns, scope, command.with_schema))


def _comes_back(state: State, entry: Return, *, with_schema: bool) -> bool:
    if entry.target.kind is TargetKind.SCHEMA:
        is_wanted = with_schema or schema_policy(state, entry) == "down"
        return is_wanted and schema_stays(state, entry) is None
    return entry.target.kind is TargetKind.FLAG or entry.touch.undo is not None


# --- what there is to ask for -----------------------------------------------------------------------------------------


def _candidates(m: Moment, actor: Actor) -> Iterator[_Tried]:
    state = m.state
    yield from _answers(state)
    yield from _withdrawals(state, actor)
    yield from _rollbacks(state)
    yield _Tried(CommandName.PAUSE, HOLDS_UNDOS if state.rollback is not None else HOLDS)
    yield _Tried(CommandName.RESUME, "go on: no person holds the run any more")
    for flag in undecided_flags(state):
        yield _Tried(CommandName.RESUME, f"go on, and leave flag {flag} as it is", {"flag": flag, "pin": "keep"})
        yield _Tried(CommandName.RESUME, f"go on with the plan's value of {flag}", {"flag": flag, "pin": "release"})
    yield _Tried(CommandName.ADVANCE, _advance(state))
    for target in resolvable(state):
        yield from _resolutions(state, target)
    if state.phase is not Phase.ENDED:
        for trigger in state.environment.triggers:
            yield _Tried(CommandName.FIRE, f"fire trigger {trigger.name} by hand", {"trigger": trigger.name})
    if any(not alarm.is_acknowledged(state) for alarm in alarms(state)):
        yield _Tried(CommandName.ACK, "end the escalation; whatever holds the run still does")
    yield _Tried(CommandName.STOP, STOPS)


def _answers(state: State) -> Iterator[_Tried]:
    for item in state.waiting.values():
        if not item.open:
            continue
        fields: dict[str, str | bool] = {"item": item.item}
        words = f"{item.item}: {item.text}" if item.text else item.item
        yes, no = ("yes to", "no to") if item.kind == "question" else ("approve", "reject")
        yield _Tried(CommandName.APPROVE, f"{yes} {words}", fields)
        yield _Tried(CommandName.REJECT, f"{no} {words}", fields)
        if item.optional:
            na = {**fields, "not_applicable": True}
            yield _Tried(CommandName.APPROVE, f"{words}: does not apply", na)


def _withdrawals(state: State, actor: Actor) -> Iterator[_Tried]:
    for item in state.waiting.values():
        if item.open and any(one.by == actor.name for one in item.given):
            yield _Tried(CommandName.WITHDRAW, f"take back your approval of {item.item}", {"item": item.item})


def _rollbacks(state: State) -> Iterator[_Tried]:
    is_back = state.phase is Phase.ROLLING_BACK or state.outcome == "rolled_back"
    if not is_back:
        yield _Tried(CommandName.ROLLBACK, "bring everything back to what was there before the run")
    if any(target.kind is TargetKind.SCHEMA and target.touched for target in state.targets.values()):
        what = "take the schema back too" if is_back else "bring everything back, the schema too"
        yield _Tried(CommandName.ROLLBACK, what, {"with_schema": True})
    if is_back or state.ended:
        return
    touched = {key for target in state.targets.values() for key in target.touches}
    stages = [one.name for one in state.environment.stages if f"{state.cursor.environment}/{one.name}" in touched]
    for name in stages[1:]:  # from the first one on, it is a rollback of everything
        what = f"bring back stage {name} and those after it, then hold"
        yield _Tried(CommandName.ROLLBACK, what, {"stage": name})


def _advance(state: State) -> str:
    if state.phase is Phase.WATCHING:
        return "end this phase of the watch now"
    return "take the next step without waiting for the rest of the bake; a failing gate still refuses it"


def _resolutions(state: State, target: str) -> Iterator[_Tried]:
    yield _Tried(CommandName.RESOLVE, f"take {target} as it is, and go on", {"target": target})
    effect = state.outstanding.get(target)
    if effect is None or not effect.unknown:
        return
    for taken_as, happened in (("done", "had happened"), ("not_done", "had not happened")):
        what = f"go on as if the change of {target} {happened}"
        yield _Tried(CommandName.RESOLVE, what, {"target": target, "taken_as": taken_as})
