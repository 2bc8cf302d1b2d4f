"""Checks, approvals and manual items: what is asked at an entry or an exit, and whether it is answered well.

A *scope* is a set of checks that belongs to one place in a run: an entry's guards, a verify, a phase of the watch. The
newest answers live in the evidence; those that matter become events, and only those count.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.core.events import CheckAnswered, Event, WaitingAnswered, WaitingOpened
from orchestrator.core.moment import Moment
from orchestrator.core.phases import Reason
from orchestrator.core.state import Answered, Given, Waiting
from stages.checks import Approval, Check, Standing
from stages.step import Guard

ASK_AGAIN_SECONDS = 60.0
UNKNOWN_AGAIN_SECONDS = 15.0
ANSWER_LASTS_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Scope:
    """Checks with the *item* they belong to. Answers from before *since* do not count. *every_seconds*: asked again
    and again though answered well (watch). *again_seconds*: how soon one that was answered badly is asked again.
    *environment*: where they are asked, unless it is where the run stands: a way back leads through others."""

    item: str
    checks: tuple[Check, ...]
    since: float
    again_seconds: float = ASK_AGAIN_SECONDS
    every_seconds: float | None = None
    lasts_seconds: float | None = None
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One check of a scope."""

    scope: Scope
    check: Check

    @property
    def key(self) -> str:
        return f"{self.scope.item}/{self.check.name}"


def questions(scope: Scope) -> Iterator[Question]:
    return (Question(scope, check) for check in scope.checks)


def answer_of(m: Moment, question: Question) -> Answered | None:
    answer = m.state.answers.get(question.key)
    if answer is None or answer.at < question.scope.since:
        return None
    lasts = question.scope.lasts_seconds
    if lasts is None or question.check.manual is not None or answer.standing is not Standing.YES:
        return answer  # what says no does so until it is answered otherwise: it is asked again all the time
    is_stale = m.now - answer.at > lasts
    return None if is_stale else answer


def is_settled(m: Moment, question: Question) -> bool:
    """Answered well, or answered at all where the check only reports."""
    answer = answer_of(m, question)
    return answer is not None and (answer.standing is Standing.YES or not question.check.required)


def is_due(m: Moment, question: Question) -> bool:
    """Whether the question is to be asked of the world now (manual ones are put to people instead)."""
    if question.check.manual is not None:
        return False
    asked = m.evidence.asked.get(question.key)
    settled = is_settled(m, question)
    if asked is None or asked.at < question.scope.since:
        return not settled
    if settled:
        every = question.scope.every_seconds
        return every is not None and m.now - asked.at >= every
    return asked.at < m.state.reask_after or m.now - asked.at >= _again_seconds(question, asked.standing)


def _again_seconds(question: Question, standing: Standing) -> float:
    if question.check.retries is not None:
        return question.check.retries.every
    if standing is Standing.UNKNOWN:
        return min(UNKNOWN_AGAIN_SECONDS, question.scope.again_seconds)
    return question.scope.again_seconds


def due_at(m: Moment, question: Question) -> float | None:
    """When an unsettled question will be asked again."""
    asked = m.evidence.asked.get(question.key)
    if question.check.manual is not None or asked is None:
        return None
    if is_settled(m, question):
        every = question.scope.every_seconds
        return asked.at + every if every is not None else None
    return asked.at + _again_seconds(question, asked.standing)


def record_answers(m: Moment, scope: Scope) -> list[Event]:
    """Events for the answers that say something new."""
    events: list[Event] = []
    for question in questions(scope):
        if question.check.manual is not None:
            events += _record_manual(m, question)
            continue
        asked = m.evidence.asked.get(question.key)
        if asked is None or asked.at < scope.since or _still_retrying(m, question):
            continue
        if asked.standing is not Standing.YES and asked.at < m.state.reask_after:
            continue  # a person resumed since: it is asked again
        stored = m.state.answers.get(question.key)
        if stored is not None and stored.at >= asked.at:
            continue
        known = answer_of(m, question)
        says_the_same = known is not None and known.standing is asked.standing
        if says_the_same and (asked.standing is Standing.YES or (known and known.detail == asked.detail)):
            continue
        events.append(
            CheckAnswered(
                item=scope.item,
                name=question.check.name,
                standing=asked.standing,
                detail=asked.detail,
                required=question.check.required,
            )
        )
    return events


def _still_retrying(m: Moment, question: Question) -> bool:
    """A bad answer within the check's own ``retries`` is not an answer yet."""
    asked = m.evidence.asked[question.key]
    retries = question.check.retries
    if retries is None or asked.standing is Standing.YES:
        return False
    first = max(asked.first_at, question.scope.since)
    return asked.at - first < retries.for_


def _record_manual(m: Moment, question: Question) -> list[Event]:
    item = m.state.waiting.get(question.key)
    check = question.check
    if item is None or item.since < question.scope.since:
        until = m.now + check.timeout if check.timeout is not None else None
        return [
            WaitingOpened(
                item=question.key, kind="manual", text=str(check.manual), who=check.by, until=until,
                optional=check.optional, reason=question.scope.item,
            )
        ]  # fmt: skip
    if item.answer not in ("approve", "not_applicable") or answer_of(m, question) is not None:
        return []
    detail = "not applicable" if item.answer == "not_applicable" else "yes"
    note = f"{detail}: {item.note}" if item.note else detail
    return [
        CheckAnswered(
            item=question.scope.item, name=check.name, standing=Standing.YES, detail=note, required=check.required,
            by=item.by,
        )
    ]  # fmt: skip


def all_settled(m: Moment, scope: Scope) -> bool:
    return all(is_settled(m, question) for question in questions(scope))


def refusal(m: Moment, scope: Scope) -> str | None:
    """The first required check that was answered with a clear no, in words."""
    for question in questions(scope):
        answer = answer_of(m, question)
        if answer is not None and question.check.required and answer.standing is Standing.NO:
            return f"{question.check.name}: {answer.detail}"
    return None


def holds_of(m: Moment, scope: Scope, reason: Reason = Reason.FAILING) -> dict[tuple[Reason, str], str]:
    """A hold for each question that was answered badly or waits for a person."""
    found: dict[tuple[Reason, str], str] = {}
    for question in questions(scope):
        if is_settled(m, question):
            continue
        if question.check.manual is not None:
            found[(Reason.MANUAL, question.key)] = waiting_words(
                m.state.waiting.get(question.key), question.check.manual
            )
            continue
        answer = answer_of(m, question)
        if answer is not None:
            found[(reason, question.key)] = f"{question.check.name}: {answer.detail}"
    return found


def waiting_words(item: Waiting | None, text: str) -> str:
    if item is not None and item.open and item.is_rejected:
        return f"{text} (rejected by {item.by}{': ' + item.note if item.note else ''}; an approval is still possible)"
    return text


# --- approvals --------------------------------------------------------------------------------------------------------


def approval_item(guard: Guard) -> str:
    return f"approval:{guard.item}"


def who_may(approval: Approval) -> tuple[str, ...]:
    return approval.any_of + approval.all_of


def approval_words(approval: Approval, item: Waiting, text: str) -> str:
    """Who has approved, as what and with which words, and whose yes is missing."""
    roles = approval.roles(item.approvals)
    given = ", ".join(_given_words(one, role) for one, role in zip(item.given, roles, strict=True))
    said = f"; approved by {given}; missing: {', '.join(approval.missing(item.approvals))}" if given else ""
    return waiting_words(item, f"{text}, by {', '.join(item.who)}{said}")


def _given_words(one: Given, role: str | None) -> str:
    return one.by + (f" ({role})" if role else "") + (f": {one.reason}" if one.reason else "")


def approval_is_given(m: Moment, item: str, since: float) -> bool:
    waiting = m.state.waiting.get(item)
    return waiting is not None and waiting.since >= since and waiting.answer == "approve"


def open_approval(m: Moment, approval: Approval, item: str, kind: str, since: float) -> list[Event]:
    """Events that put an approval to people, or close it once enough of them have said yes."""
    waiting = m.state.waiting.get(item)
    if waiting is None or waiting.since < since:
        until = m.now + approval.timeout if approval.timeout is not None else None
        text = f"approval of {item.partition(':')[2]}"
        return [WaitingOpened(item=item, kind=kind, text=text, who=who_may(approval), until=until)]
    if waiting.open and approval.satisfied(waiting.approvals):
        names = ", ".join(name for name, _ in waiting.approvals)
        return [WaitingAnswered(item=item, answer="approve", by=names, reason=waiting.note)]
    return []
