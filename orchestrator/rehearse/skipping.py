"""Time in which nothing happens is not walked: while all that is looked at stays as it is, a bake of two days looks
like its first minute and its last one.

What is left out is time that would have passed with every look passing. The checkpoint of evidence is moved on by it,
as those looks would have moved it; everything that a run decides is still decided by the core, at the looks that are
left.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.core import gates, timing, wanted
from orchestrator.core.evidence import Evidence, Look, Progress
from orchestrator.core.forward import bake_progress
from orchestrator.core.moment import Moment
from orchestrator.core.phases import GATE_HOLDS, Leg, Phase, Reason
from orchestrator.core.questions import due_at, is_settled, questions
from stages.criteria.base import Verdict

WALKED_SECONDS = 120.0  # at either end of what is skipped
SHORTEST_SECONDS = 60.0  # that are worth it
BEFORE_SECONDS = 20.0  # something that is due: it is walked from there
AFTER_SECONDS = 5.0  # it is written by then
STANDING = frozenset({Reason.PAUSED, Reason.APPROVAL, Reason.MANUAL, Reason.WINDOW, Reason.TRIGGER, Reason.FAILING})
"""Holds that go by what somebody does, or by the clock."""


@dataclass(frozen=True, slots=True)
class Around:
    """What people and the world do, by the run's time: *next_at* something, and *quiet_since* nothing. *is_away*: what
    can't be measured now stays so until then."""

    next_at: float
    quiet_since: float
    is_away: bool


def seconds_to_skip(m: Moment, around: Around) -> float:
    """How much of what lies ahead would bring nothing new; 0 if something may."""
    left = _held_seconds(m, around) if m.state.holds else _left_seconds(m)
    if left <= 0.0:
        return 0.0
    due = [around.next_at, *_asked_again(m), *_due_again(m)]
    left = min(left, min(due) - m.now - BEFORE_SECONDS)
    return left if SHORTEST_SECONDS <= left < math.inf else 0.0


def _due_again(m: Moment) -> list[float]:
    """What the run itself waits for. What was due just now is being written."""
    return [at for at in timing.due_times(m) if at > m.now - AFTER_SECONDS]


def _asked_again(m: Moment) -> Iterator[float]:
    """When checks that were answered well are asked again: of one that is being asked, a time that has passed."""
    for scope in wanted.scopes(m):
        for question in questions(scope):
            at = due_at(m, question) if is_settled(m, question) else None
            if at is not None:
                yield at


def _held_seconds(m: Moment, around: Around) -> float:
    """While a run stands still nothing changes but that people are told, and told again."""
    state = m.state
    stays = STANDING | GATE_HOLDS if around.is_away and not _counts_missing(m) else STANDING
    if state.outstanding or state.rollback is not None or any(reason not in stays for reason, _ in state.holds):
        return 0.0
    return math.inf if m.now - around.quiet_since >= max(SHORTEST_SECONDS, _longest_look(m)) else 0.0


def _counts_missing(m: Moment) -> bool:
    """Whether some criterion rolls back when it could not be measured for a time."""
    gates_here = m.state.environment.gates.values()
    criteria = [criterion for gate in gates_here for criterion in gate.criteria]
    return any(one.on_missing != "hold" for one in (*criteria, *m.state.environment.triggers))


def _left_seconds(m: Moment) -> float:
    state = m.state
    if state.outstanding or any(item.open for item in state.waiting.values()) or state.rollback is not None:
        return 0.0
    if not _all_pass(m) or not _all_answered(m):
        return 0.0
    if state.phase is Phase.RUNNING and state.leg is Leg.BAKING and state.step is not None:
        return _within(m, bake_progress(m), state.step.bake.min_seconds)
    if state.phase is Phase.WATCHING:
        return _within(m, m.evidence.watch, _next_part(m))
    return 0.0


def _all_pass(m: Moment) -> bool:
    """Of what is looked at these minutes; older looks are of other stages."""
    since = m.now - _longest_look(m)
    return all(look.verdict is Verdict.PASS for look in m.evidence.looks.values() if look.at >= since)


def _all_answered(m: Moment) -> bool:
    return all(is_settled(m, question) for scope in wanted.scopes(m) for question in questions(scope))


def _within(m: Moment, progress: Progress, end_seconds: float) -> float:
    passed = gates.watched_seconds(m.state, m.evidence) if m.state.phase is Phase.WATCHING else progress.seconds
    if not progress.counting or progress.seconds < _longest_look(m):
        return 0.0
    return end_seconds - passed - max(WALKED_SECONDS, 4 * _longest_look(m))


def _longest_look(m: Moment) -> float:
    """Time in which everything was looked at, twice."""
    every = [gate.every for gate in m.state.environment.gates.values()]
    every += [trigger.every for trigger in m.state.environment.triggers]
    return 2 * max([*every, 15.0])


def _next_part(m: Moment) -> float:
    """The next moment of the watch, in seconds after its begin, at which a phase of it begins or ends."""
    passed = gates.watched_seconds(m.state, m.evidence)
    edges = [edge for phase in m.state.environment.watch for edge in (phase.from_seconds, phase.to_seconds)]
    return min((edge for edge in edges if edge > passed), default=passed)


def skipped(m: Moment, evidence: Evidence, seconds: float) -> Evidence:
    """As it would be after so much more of the same. What was seen of targets is looked at again; a look that is not
    made any more stays where it is."""
    since = m.now - _longest_look(m)
    looks = {key: _later(look, seconds) if look.at >= since else look for key, look in evidence.looks.items()}
    bake, watch = (_longer(progress, m.now, seconds) for progress in (evidence.bake, evidence.watch))
    return replace(evidence, looks=looks, seen={}, bake=bake, watch=watch)


def _later(look: Look, seconds: float) -> Look:
    passed_at = look.passed_at + seconds if look.verdict is Verdict.PASS and look.passed_at is not None else None
    return replace(look, at=look.at + seconds, passed_at=passed_at if passed_at is not None else look.passed_at)


def _longer(progress: Progress, now: float, seconds: float) -> Progress:
    """With what has passed since it was last added up as well: a life that begins counts from its begin."""
    if progress.at is None:
        return progress
    gained = now - progress.at + seconds if progress.counting else 0.0
    return replace(progress, at=now + seconds, seconds=progress.seconds + gained)
