"""What the shell should find out now: measurements, checks, looks at targets. Reads only; they change nothing.

Each ask has a key; the shell has at most one of a key under way. What comes back goes into the evidence. Each names the
environment in whose place it is asked: a way back leads through others than the one where the run stands.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from operator import itemgetter

from orchestrator.core import afterwards, backward, gates, scaling
from orchestrator.core.evidence import Evidence, Look
from orchestrator.core.moment import OBSERVATION_LASTS_SECONDS, Moment
from orchestrator.core.questions import is_due, questions
from orchestrator.core.setting import criterion_key, setting_of
from orchestrator.core.state import NodeState, State, TargetState
from orchestrator.core.walk import current_act
from orchestrator.core.wanted import scopes, unseen_flags, walks_under_way
from stages.checks import Check
from stages.criteria import AnyCriterion
from stages.criteria.base import History, Memory, Setting, memory_after_gap
from stages.effects import WATCHED, Observation, ObserveFlag, TargetKind, flag_of
from stages.gates import beat_of
from stages.lean import dataclass
from stages.scaling import LOOK_SECONDS
from stages.step import Act
from stages.success import SuccessCriterion
from stages.triggers import Trigger

DRAIN_EVERY_SECONDS = 5.0
SOONEST_SECONDS = 0.001  # a look must lie after what it judges
LOOK_AGAIN_EVERY_SECONDS = 15.0  # at a target that somebody else might change
LOOK_AGAIN_SECONDS = 5.0
JUST_NOW_SECONDS = 1.0
LATE_TOGETHER_SECONDS = 2.0
MOST_CATCH_UP_LOOKS = 120


@dataclass(frozen=True, slots=True)
class MeasureAsk:
    """Measure *criterion*, and what its kind wants beside, as of *at*: in the past for a trigger that catches up."""

    key: str
    criterion: AnyCriterion
    at: float
    setting: Setting
    environment: str


@dataclass(frozen=True, slots=True)
class CheckAsk:
    """Ask *check*; *since* is when its entry opened."""

    key: str
    check: Check
    since: float
    environment: str


@dataclass(frozen=True, slots=True)
class ObserveAsk:
    key: str
    target: str
    observation: Observation
    environment: str


@dataclass(frozen=True, slots=True)
class SuccessAsk:
    """*window* is None where one number is all there is."""

    key: str
    criterion: SuccessCriterion
    at: float
    environment: str
    window: History | None


Ask = MeasureAsk | CheckAsk | ObserveAsk | SuccessAsk


@dataclass(frozen=True, slots=True)
class Due:
    """*now*: all that is to be asked. *next_at*: when more will be, as far as time alone decides; None if never.
    *next_beat*: the same for all who ask the same then; None if that is no look at a gate or a trigger."""

    now: Sequence[Ask]
    next_at: float | None
    next_beat: int | None = None


def due(m: Moment, is_under_way: Callable[[str], bool]) -> Due:
    """*is_under_way*: what is asked (by key) and not answered yet, which wakes a run by itself."""
    watched = [(one, _due_at(m, one)) for one in _criteria(m) if not is_under_way(one.key)]
    begun: dict[str, Ask] = {}
    for ask in _asks(m, watched):
        if not is_under_way(ask.key):
            begun.setdefault(ask.key, ask)
    times: list[tuple[float, int | None]] = [(at, one.beat) for one, at in watched if one.key not in begun]
    times += [(at, None) for at in _next_observations(m, lambda key: key in begun or is_under_way(key))]
    soonest = min((one for one in times if one[0] > m.now), key=itemgetter(0), default=(None, None))
    return Due(tuple(begun.values()), *soonest)


def _asks(m: Moment, watched: Sequence[tuple["_Watched", float]]) -> list[Ask]:
    if m.state.ended:
        return _success(m)
    if m.state.stop_requested is not None:
        return []
    looks = [_measure(m, one, due_at) for one, due_at in watched if due_at <= m.now]
    return [*looks, *_checks(m), *_observations(m, _until_next(looks)), *_success(m)]


def _until_next(looks: Sequence[MeasureAsk]) -> float:
    """Seconds until the first of these is looked at again; 0 if there is none."""
    return min((one.setting.every_seconds for one in looks), default=0.0)


def is_news(state: State, ask: Ask, before: Evidence, after: Evidence) -> bool:
    """Whether what came back may change what is decided. What says the same as the look before can wait a moment for
    the others that were asked together with it; on the way back everything is waited for."""
    if not state.forward:
        return True
    match ask:
        case MeasureAsk():
            said, says = before.looks.get(ask.key), after.looks[ask.key]
            if said is None or said.at <= ask.setting.since:
                return True
            return says.log_evidence is not None or _decisive(said) != _decisive(says)
        case ObserveAsk():
            seen, sees = before.seen.get(ask.target), after.seen[ask.target]
            return seen is None or replace(seen, at=sees.at) != sees
        case _:
            return True


def _decisive(look: Look) -> tuple[object, ...]:
    return look.verdict, look.enough, look.mismatch, look.settling


def _success(m: Moment) -> list[Ask]:
    last = m.state.program.environments[-1].name
    return [
        SuccessAsk(key, criterion, at, last, afterwards.window_of(criterion, at))
        for key, criterion, at in afterwards.wanted_measurements(m)
    ]


# --- looks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Watched:
    """A criterion, the distance of its looks, and the time before which a look says nothing."""

    key: str
    criterion: AnyCriterion
    every_seconds: float
    since: float
    environment: str
    beat: int  # see ``beat_of``
    gate: str = ""  # the gate that it belongs to, if it is one's


def _criteria(m: Moment) -> Iterator[_Watched]:
    state, here = m.state, m.state.cursor.environment
    since = gates.baseline(state)
    for name, gate in gates.gates_named(state, gates.watched_gates(state, m.evidence)):
        for criterion in gate.criteria:
            key = criterion_key(state, name, criterion)
            yield _Watched(key, criterion, gate.every, since, here, gate.beat, name)
    for trigger in gates.watched_triggers(state):
        key = gates.trigger_key(here, trigger)
        yield _Watched(key, trigger, trigger.every, 0.0, here, beat_of((trigger,)))
    for scaled in scaling.scaled(state):
        beat = beat_of((scaled.criterion,))
        yield _Watched(scaled.key, scaled.criterion, LOOK_SECONDS, 0.0, scaled.environment, beat)
    if state.rollback is not None:
        for node in backward.ready_nodes(state):
            if node.node.kind == "drain" and node.started_at is not None:
                criterion = backward.drain_criterion(state, node.node)
                began, where = node.started_at, node.node.environment
                yield _Watched(node.node.id, criterion, DRAIN_EVERY_SECONDS, began, where, beat_of((criterion,)))


def _due_at(m: Moment, watched: _Watched) -> float:
    look, since = m.evidence.looks.get(watched.key), watched.since
    if look is None or look.at > m.now + watched.every_seconds:  # the last: the clock was set back
        return m.now
    if look.at <= since:
        return max(since + SOONEST_SECONDS, m.now if m.now > since else 0.0)
    return gates.next_look_at(look.at, watched.every_seconds, watched.beat, m.evidence.life_at)


def _measure(m: Moment, watched: _Watched, due_at: float) -> MeasureAsk:
    at = _look_time(m, watched, due_at)
    setting = Setting(since=watched.since, before=watched.since, every_seconds=watched.every_seconds)
    if watched.gate:
        gate = m.state.environment.gates[watched.gate]
        setting = setting_of(m.state, watched.gate, gate, watched.criterion, watched.since)
    return MeasureAsk(watched.key, watched.criterion, at, setting, watched.environment)


def memory_at(evidence: Evidence, ask: MeasureAsk) -> Memory:
    """What is remembered at a look of the looks before."""
    look = evidence.looks.get(ask.key)
    return Memory() if look is None else memory_after_gap(look.memory, look.at, ask.at, ask.setting.every_seconds)


def _look_time(m: Moment, watched: _Watched, due_at: float) -> float:
    """When it was due, if that is not long ago: of many runs that ask the same the last comes a little later, and has
    the answer of the first. Else now; but a trigger that was not watched for a while first looks back over that time,
    step by step."""
    look = m.evidence.looks.get(watched.key)
    if look is None:
        return m.now
    if isinstance(watched.criterion, Trigger) and watched.criterion.query is not None:
        at = _catch_up(look, m.now, watched.every_seconds)
        if at < m.now:
            return at
    is_on_beat = look.at > watched.since and due_at > look.at
    longest_seconds = min(LATE_TOGETHER_SECONDS, watched.every_seconds / 2)
    return due_at if is_on_beat and m.now - due_at <= longest_seconds else m.now


def _catch_up(look: Look, now: float, every: float) -> float:
    gap = now - look.at
    if gap <= 2 * every + gates.LOOK_GRACE_SECONDS:
        return now
    return look.at + max(every, gap / MOST_CATCH_UP_LOOKS)


# --- checks -----------------------------------------------------------------------------------------------------------


def _checks(m: Moment) -> Iterator[CheckAsk]:
    for scope in scopes(m):
        for question in questions(scope):
            if is_due(m, question):
                environment = scope.environment or m.state.cursor.environment
                yield CheckAsk(question.key, question.check, scope.since, environment)


# --- looks at targets -------------------------------------------------------------------------------------------------


def _observations(m: Moment, until_next_seconds: float) -> list[ObserveAsk]:
    """*until_next_seconds*: something is looked at anyway, and then not for so long. What somebody else might change is
    looked at together with it if it would be due before then, so that a run is not woken twice."""
    found: dict[str, ObserveAsk] = {}
    every = max(LOOK_AGAIN_EVERY_SECONDS - until_next_seconds, JUST_NOW_SECONDS)
    for target, observation, oldest, environment in _wanted_observations(m, every):
        seen = m.evidence.seen.get(target)
        fresh_from = oldest if seen is None or seen.failure is None else max(oldest, m.now - LOOK_AGAIN_SECONDS)
        if seen is None or seen.at < fresh_from or (seen.at <= m.changed_at(target) < m.now):
            found.setdefault(target, ObserveAsk(_observing(target), target, observation, environment))
    return list(found.values())


def _next_observations(m: Moment, is_under_way: Callable[[str], bool]) -> list[float]:
    seen = {target: one for target, one in m.evidence.seen.items() if not is_under_way(_observing(target))}
    watched = (seen.get(target.id) for target in _watched(m))
    times = [one.at + LOOK_AGAIN_EVERY_SECONDS for one in watched if one is not None]
    if any(at >= m.now for at in m.state.changed_at.values()):
        times.append(m.now + SOONEST_SECONDS)
    return times + [one.at + LOOK_AGAIN_SECONDS for one in seen.values() if one.failure is not None]


def _observing(target: str) -> str:
    return f"observe:{target}"


def _wanted_observations(m: Moment, every_seconds: float) -> Iterator[tuple[str, Observation, float, str]]:
    """Target, how to look at it, the oldest look that would still do, and where. *every_seconds*: how often at what
    somebody else might change."""
    state, here = m.state, m.state.cursor.environment
    recent = m.now - OBSERVATION_LASTS_SECONDS
    for target in unseen_flags(state):
        yield target, _flag(target), recent, here
    for act in _acts_under_way(m):
        target_of_act = act.target
        known = state.targets.get(target_of_act.id) if target_of_act is not None else None
        is_to_be_seen = known is None or known.is_inherited
        if target_of_act is not None and is_to_be_seen and act.observation is not None:
            yield target_of_act.id, act.observation, recent, act.site.environment
    for watched in _watched(m):
        observation = _flag(watched.id) if watched.kind is TargetKind.FLAG else backward.observation_of(state, watched)
        if observation is not None:
            yield watched.id, observation, m.now - every_seconds, here
    if state.rollback is not None:
        for node in backward.ready_nodes(state):
            yield from _node_observation(m, node)


@lru_cache(1024)  # asked at every turn, and never another
def _flag(target: str) -> ObserveFlag:
    flag = flag_of(target)
    assert flag is not None, f"{target} is no flag"
    environment, key = flag
    return ObserveFlag(environment=environment, key=key)


def _watched(m: Moment) -> list[TargetState]:
    """Targets that somebody else might change, while the run goes forward: flags, and workloads that it has touched."""
    if not m.state.forward:
        return []
    return [
        target
        for target in m.state.targets.values()
        if target.kind in WATCHED
        and target.environment == m.state.cursor.environment
        and (target.touched or target.kind is TargetKind.FLAG)
    ]


def _acts_under_way(m: Moment) -> Iterator[Act]:
    for key, acts in walks_under_way(m):
        act = current_act(m.state, key, acts)
        if act is not None:
            yield act


def _node_observation(m: Moment, node: NodeState) -> Iterator[tuple[str, Observation, float, str]]:
    if node.node.kind not in ("exposure", "parameters", "undo", "schema") or node.node.target is None:
        return
    observation = backward.observation_of(m.state, m.state.targets[node.node.target])
    under_way = m.state.rollback
    if observation is None or under_way is None:
        return
    since = max(
        under_way.since, node.failed_at or 0.0, node.started_at or 0.0 if node.node.kind == "parameters" else 0.0
    )
    yield node.node.target, observation, since, m.state.targets[node.node.target].environment
