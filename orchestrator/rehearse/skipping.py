"""Time in which nothing happens is not walked: while all that is looked at stays as it is, a bake of two days looks
like its first minute and its last one.

What is left out is time that would have passed with every look passing. The checkpoint of evidence is moved on by it,
as those looks would have moved it; everything that a run decides is still decided by the core, at the looks that are
left.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.core import gates, scaling, timing, wanted
from orchestrator.core.evidence import Evidence, Look, Progress
from orchestrator.core.forward import bake_progress
from orchestrator.core.moment import Moment
from orchestrator.core.phases import GATE_HOLDS, Leg, Phase, Reason
from orchestrator.core.questions import Question, due_at, is_settled, questions
from orchestrator.core.setting import criterion_key
from stages.criteria.base import Verdict

WALKED_SECONDS = 60.0  # at the end of what is skipped
QUIET_SECONDS = 20.0  # in which what was written is acted upon
SHORTEST_SECONDS = 60.0  # that are worth it
BEFORE_SECONDS = 20.0  # something that is due: it is walked from there
AFTER_SECONDS = 5.0  # it is written by then
STANDING = frozenset({Reason.PAUSED, Reason.APPROVAL, Reason.MANUAL, Reason.WINDOW, Reason.TRIGGER, Reason.FAILING})
"""Holds that go by what somebody does, or by the clock."""


@dataclass(frozen=True, slots=True)
class Around:
    """What people and the world do, by the run's time: *next_at* something, *quiet_since* nothing, and *same_since*
    nothing but that holds and notices were written. *is_away*: what can't be measured now stays so until then."""

    next_at: float
    quiet_since: float
    same_since: float
    is_away: bool


def seconds_to_skip(m: Moment, around: Around) -> float:
    """How much of what lies ahead would bring nothing new; 0 if something may."""
    if m.now - around.quiet_since < QUIET_SECONDS:
        return 0.0
    left = _held_seconds(m, around) if m.state.holds else _left_seconds(m, around)
    if left <= 0.0:
        return 0.0
    left = min(left, min([around.next_at, *_due(m), *_asked(m, around)]) - m.now - BEFORE_SECONDS)
    return left if SHORTEST_SECONDS <= left < math.inf else 0.0


def _due(m: Moment) -> list[float]:
    """What the run itself waits for. What was due just now is being written."""
    return [at for at in timing.due_times(m) if at > m.now - AFTER_SECONDS]


def _asked(m: Moment, around: Around) -> Iterator[float]:
    """When a check that was answered well may be answered otherwise: not while all stays as it was then."""
    for question in _asked_again(m):
        asked, at = m.evidence.asked.get(question.key), due_at(m, question)
        is_known = asked is not None and asked.at > around.same_since and not around.is_away
        if at is not None and (at <= m.now or not is_known):
            yield at


def _asked_again(m: Moment) -> Iterator[Question]:
    """Checks that were answered well, and are asked again and again all the same."""
    for scope in wanted.scopes(m):
        if scope.every_seconds is not None:
            yield from (question for question in questions(scope) if is_settled(m, question))


def _held_seconds(m: Moment, around: Around) -> float:
    """While a run stands still nothing changes but that people are told, and told again."""
    state, is_away = m.state, around.is_away and not _counts_missing(m)
    stays = STANDING | GATE_HOLDS if is_away else STANDING
    if state.outstanding or state.rollback is not None or any(reason not in stays for reason, _ in state.holds):
        return 0.0
    return math.inf if all(_stays(look, around.same_since, is_away) for look in _looks(m)) else 0.0


def _stays(look: Look | None, since: float, is_away: bool) -> bool:
    """Whether it says for good what it says: a breach that has not lasted yet is one later."""
    if look is None or look.at <= since:
        return False
    return look.verdict is not Verdict.INCONCLUSIVE or (is_away and not look.measured)


def _counts_missing(m: Moment) -> bool:
    """Whether some criterion rolls back when it could not be measured for a time."""
    gates_here = m.state.environment.gates.values()
    criteria = [criterion for gate in gates_here for criterion in gate.criteria]
    return any(one.on_missing != "hold" for one in (*criteria, *m.state.environment.triggers))


def _left_seconds(m: Moment, around: Around) -> float:
    state = m.state
    if state.outstanding or any(item.open for item in state.waiting.values()) or state.rollback is not None:
        return 0.0
    if not _all_pass(m, around.same_since) or not _all_answered(m):
        return 0.0
    if state.phase is Phase.RUNNING and state.leg is Leg.BAKING and state.step is not None:
        progress = bake_progress(m)
        return state.step.bake.min_seconds - progress.seconds - WALKED_SECONDS if progress.counting else 0.0
    if state.phase is Phase.WATCHING and m.evidence.watch.counting:
        return _seconds_of_this_part(m) - WALKED_SECONDS
    return 0.0


def _all_pass(m: Moment, since: float) -> bool:
    """Whether all that is looked at was looked at since then, and passes."""
    return all(look is not None and look.at > since and look.verdict is Verdict.PASS for look in _looks(m))


def _looks(m: Moment) -> list[Look | None]:
    return [m.evidence.looks.get(key) for key in _looked_at(m)]


def _looked_at(m: Moment) -> Iterator[str]:
    """Keys of all that is measured now."""
    state = m.state
    for name, gate in gates.gates_named(state, gates.watched_gates(state, m.evidence)):
        yield from (criterion_key(state, name, criterion) for criterion in gate.criteria)
    yield from (gates.trigger_key(state.cursor.environment, one) for one in gates.watched_triggers(state))
    yield from (one.key for one in scaling.scaled(state))


def _all_answered(m: Moment) -> bool:
    return all(is_settled(m, question) for scope in wanted.scopes(m) for question in questions(scope))


def _seconds_of_this_part(m: Moment) -> float:
    """Until a phase of the watch begins or ends."""
    passed = gates.watched_seconds(m.state, m.evidence)
    edges = [edge for phase in m.state.environment.watch for edge in (phase.from_seconds, phase.to_seconds)]
    return min((edge for edge in edges if edge > passed), default=passed) - passed


def skipped(m: Moment, evidence: Evidence, seconds: float) -> Evidence:
    """As it would be after so much more of the same. What was seen of targets is looked at again; a look that is not
    made any more stays where it is."""
    made, asked = frozenset(_looked_at(m)), frozenset(question.key for question in _asked_again(m))
    bake, watch = (_longer(progress, m.now, seconds) for progress in (evidence.bake, evidence.watch))
    return replace(
        evidence,
        looks={key: _later(look, seconds) if key in made else look for key, look in evidence.looks.items()},
        asked={key: replace(one, at=one.at + seconds) if key in asked else one for key, one in evidence.asked.items()},
        seen={},
        bake=bake,
        watch=watch,
    )


def _later(look: Look, seconds: float) -> Look:
    passed_at = look.passed_at + seconds if look.verdict is Verdict.PASS and look.passed_at is not None else None
    return replace(look, at=look.at + seconds, passed_at=passed_at if passed_at is not None else look.passed_at)


def _longer(progress: Progress, now: float, seconds: float) -> Progress:
    """With what has passed since it was last added up as well: a life that begins counts from its begin."""
    if progress.at is None:
        return progress
    gained = now - progress.at + seconds if progress.counting else 0.0
    return replace(progress, at=now + seconds, seconds=progress.seconds + gained)
