"""Time: how passing time adds up, and when waiting alone may change something."""

import math

from orchestrator.core import afterwards, backward, forward, gates, notices, rollback, triggers, watching
from orchestrator.core.evidence import Gap, add_up
from orchestrator.core.moment import Moment
from orchestrator.core.phases import GATE_HOLDS, Leg, Phase
from orchestrator.core.questions import due_at, questions
from orchestrator.core.state import NodeState
from orchestrator.core.wanted import scopes, walks_under_way
from stages.actions.passive import WaitAction

TICK_SECONDS = 15.0


def accumulate(m: Moment, passed_seconds: float = math.inf) -> Moment:
    """With bake and watch as of now: passing time since the last call is added, of which *passed_seconds* really went
    by.

    To be called before every ``decide``.
    """
    state, gap = m.state, Gap(longest_gap_seconds(m), passed_seconds)
    if state.phase is Phase.RUNNING and state.leg is Leg.BAKING:
        return m.progressed(bake=add_up(m.evidence.bake, gates.bake_key(state), forward.bake_counts(m), m.now, gap))
    if state.phase is Phase.WATCHING:
        return m.progressed(watch=add_up(m.evidence.watch, gates.watch_key(state), watching.counts(m), m.now, gap))
    return m


def longest_gap_seconds(m: Moment) -> float:
    """How much time between two moments counts as observed: two looks of the slowest gate, or two ticks."""
    names = gates.watched_gates(m.state, m.evidence)
    every = [gate.every for _, gate in gates.gates_named(m.state, names)]
    return 2 * max([*every, TICK_SECONDS]) + gates.LOOK_GRACE_SECONDS


def wake_at(m: Moment) -> float | None:
    """The next time at which waiting alone may change something. Answers and commands wake a run by themselves. No more
    than two ticks ahead, so that who decides at each, and comes late to one, knows what lies between."""
    state, times = m.state, due_times(m)
    if state.ended:
        times += [at for one in afterwards.open_success(state) if (at := afterwards.success_due_at(state, one))]
        return min((at for at in times if at > m.now), default=None)
    times += [at for scope in scopes(m) for one in questions(scope) if (at := due_at(m, one)) is not None]
    times.append(m.now + 2 * TICK_SECONDS)
    return min(at for at in times if at > m.now)


def due_times(m: Moment) -> list[float]:
    """When time alone changes something, but for questions that are asked again. Some may have passed."""
    times = [*notices.due_times(m), *_waiting_times(m), *_walk_times(m)]
    return times if m.state.ended else times + _leg_times(m)


def _waiting_times(m: Moment) -> list[float]:
    return [item.until for item in m.state.waiting.values() if item.open and item.until is not None]


def _walk_times(m: Moment) -> list[float]:
    """Ends of waits, of settling, and of back-offs."""
    state = m.state
    times: list[float] = []
    walks = walks_under_way(m)
    if state.rollback is not None:
        times += [at for node in backward.ready_nodes(state) for at in _node_times(m, node)]
    for key, acts in walks:
        walk = state.walk(key)
        if walk.started_at is not None and walk.done < len(acts) and isinstance(acts[walk.done].action, WaitAction):
            times.append(_passes_at(m, walk.started_at, acts[walk.done].action.wait))  # type: ignore[attr-defined]
    times += [fired.at + triggers.CONTINUE_LIMIT_SECONDS for fired in state.fired.values()]
    return times


def _passes_at(m: Moment, since: float, seconds: float) -> float:
    """When so much will really have passed."""
    return m.now + seconds - m.passed_since(since)


def _node_times(m: Moment, node: NodeState) -> list[float]:
    times = []
    if node.started_at is not None and node.node.seconds is not None:
        times.append(_passes_at(m, node.started_at, node.node.seconds))
    if node.started_at is not None and node.node.kind == "before":
        times.append(_passes_at(m, node.started_at, rollback.BEFORE_LIMIT_SECONDS))
    if node.failed_at is not None:
        times.append(node.failed_at + backward.backoff_seconds(node.failures))
    return times


def _leg_times(m: Moment) -> list[float]:
    state = m.state
    times: list[float] = []
    if state.leg in (Leg.SETTLING, Leg.FINISHING) and state.stage is not None:
        times.append(_passes_at(m, state.entered_at, state.stage.settle_seconds))
    if state.leg is Leg.BAKING and m.evidence.bake.counting and state.step is not None:
        progress = forward.bake_progress(m)
        bake = state.step.bake
        times += [m.now + full - progress.seconds for full in (bake.min_seconds, bake.max_seconds)]
    if state.phase is Phase.WATCHING and m.evidence.watch.counting:
        left = state.environment.watch_seconds - gates.watched_seconds(state, m.evidence)
        times.append(m.now + left)
    window = m.closed_window()
    if window is not None and (opens := window.opens_at(m.wall)) is not None:
        times.append(opens + m.evidence.ahead_seconds)
    times += [one.until + m.evidence.ahead_seconds for one in m.freezes() if one.until is not None]
    terms = state.environment.gates
    times += [
        hold.since + terms[hold.item].hold.deadline
        for hold in state.holds.values()
        if hold.reason in GATE_HOLDS and hold.item in terms
    ]
    return times
