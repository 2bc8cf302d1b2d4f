"""The people of a rehearsal: somebody suitable answers what waits, five minutes after being asked, and says yes.

On the way back whoever is on call takes as it is what can't be taken back, once that holds for a person.
"""

from collections.abc import Iterator

from orchestrator.core.commands import Actor, Command
from orchestrator.core.moment import Moment
from orchestrator.core.phases import CommandName, Reason
from orchestrator.core.state import State, Waiting
from orchestrator.rehearse.trouble import Trouble
from stages.checks import Approval

ANSWER_SECONDS = 300.0
AUTHOR = Actor("author", "admin")
ON_CALL = Actor("on-call", "admin")
RESOLVED = (Reason.POINT_OF_NO_RETURN, Reason.UNDO_FAILING, Reason.UNKNOWN_OUTCOME, Reason.CHANGED_ELSEWHERE)
Asked = tuple[Command, Actor]


def due(m: Moment, trouble: Trouble) -> Iterator[Asked]:
    """What people would do now."""
    if not trouble.nobody_answers:
        for item in m.state.waiting.values():
            if item.open and item.kind != "follow_up" and m.now >= answered_at(item):
                yield from _answers(m.state, item, trouble)
    if m.state.rollback is not None and not m.state.ended:
        yield from _resolved(m)


def answered_at(item: Waiting) -> float:
    """After five minutes; where there is less time for it, after half of that."""
    given_seconds = item.until - item.since if item.until is not None else float("inf")
    return item.since + min(ANSWER_SECONDS, given_seconds / 2)


def _answers(state: State, item: Waiting, trouble: Trouble) -> Iterator[Asked]:
    if item.item == trouble.rejects:
        if not item.is_rejected:
            yield Command(command=CommandName.REJECT, item=item.item, reason="not now"), _people_for(item, None)[0]
        return
    given = {name for name, _ in item.approvals}
    for person in _people_for(item, approval_of(state, item)):
        if person.name not in given:
            yield Command(command=CommandName.APPROVE, item=item.item, reason="yes"), person


def _people_for(item: Waiting, approval: Approval | None) -> list[Actor]:
    """As many as it takes, each of a group that may."""
    if approval is not None and approval.all_of:
        return [_member(group, number) for number, group in enumerate(approval.all_of, 1)]
    group = item.who[0] if item.who else "anybody"
    return [_member(group, number) for number in range(1, (approval.count if approval is not None else 1) + 1)]


def _member(group: str, number: int) -> Actor:
    return Actor(f"somebody of {group} ({number})", "approver", (group,))


def approval_of(state: State, item: Waiting) -> Approval | None:
    if item.kind == "sign_off":
        return state.environment.sign_off
    kind, _, rest = item.item.partition(":")
    if kind != "approval":
        return None
    guards = [state.program.guard]
    for entry in state.program.environments:
        guards.append(entry.guard)
        guards += [guard for stage in entry.stages for guard in (stage.guard, *(step.guard for step in stage.steps))]
    named = [guard.approval for guard in guards if guard.approval is not None and rest.endswith(guard.item)]
    return named[0] if named else None


def _resolved(m: Moment) -> Iterator[Asked]:
    for hold in m.state.holds.values():
        if hold.reason in RESOLVED and m.now - hold.since >= ANSWER_SECONDS:
            yield Command(command=CommandName.RESOLVE, target=hold.item, reason="taken as it is"), ON_CALL
