"""Success: what was before, measured when it begins; judged when its window is full, which may be after the end."""

from typing import Literal

from orchestrator.core.events import Event, SuccessBaseline, SuccessJudged, WaitingOpened
from orchestrator.core.moment import Moment
from orchestrator.core.state import State
from orchestrator.core.telling import level_words
from stages.checks import Standing
from stages.criteria.base import History, MeasurementState
from stages.promql import lookback_seconds
from stages.statistics.window_mean import Interval, gain_between
from stages.success import Level, SuccessCriterion

GIVE_UP_SECONDS = 3600.0
MOST_VALUES = 480  # of a window: enough for its mean, little for a server
LEAST_STEP_SECONDS = 1.0


def follow_ups(m: Moment, when: Literal["promoted", "rolled_back"]) -> list[Event]:
    """What people have to do now that the run has ended so."""
    return [
        WaitingOpened(
            item=f"follow_up:{entry.name}",
            kind="follow_up",
            text=entry.manual,
            who=entry.by,
            until=m.now + entry.due if entry.due is not None else None,
            blocking=False,
        )
        for entry in m.state.program.follow_up
        if entry.when == when
    ]


def success_due_at(state: State, criterion: SuccessCriterion) -> float | None:
    """When a success criterion can be judged; None while the last stage is not behind us, or after a rollback."""
    if state.walked_at is None or state.rollback is not None or state.outcome not in (None, "promoted"):
        return None
    if state.cursor.environment != state.program.environments[-1].name:
        return None
    return state.walked_at + criterion.due_seconds


def open_success(state: State) -> tuple[SuccessCriterion, ...]:
    """Criteria that are not judged yet and still can be."""
    return tuple(
        entry
        for entry in state.program.success
        if entry.name not in state.success and success_due_at(state, entry) is not None
    )


def is_settled(state: State) -> bool:
    """Whether an ended run has nothing left to do: no success to judge, no notice to send, nobody to be answered."""
    if not state.ended:
        return False
    pending = any(not notice.settled for notice in state.notices.values())
    return not pending and not open_success(state)


def measure_key(criterion: SuccessCriterion, which: str) -> str:
    return f"success:{criterion.name}/{which}"


def window_of(criterion: SuccessCriterion, at: float) -> History | None:
    """What the criterion's query was all through the window that ends at *at*: from where on the whole range that the
    query looks back on lies within. None of one that looks back on the whole window by itself, or asks no Prometheus.
    """
    if criterion.query is None or criterion.window is None:
        return None
    length = criterion.window - lookback_seconds(criterion.query)
    if length < 2 * LEAST_STEP_SECONDS:
        return None
    return History("value", criterion.query, at - length, at, max(length / MOST_VALUES, LEAST_STEP_SECONDS))


def wanted_measurements(m: Moment) -> list[tuple[str, SuccessCriterion, float]]:
    """Key, criterion and time of each measurement that is due and not there yet.

    What was before is asked for as soon as the first effect is: who asks at the end finds that a server has forgotten
    it, or, of what has no past (SQL, a command), what is now.
    """
    state = m.state
    found = [(measure_key(one, "before"), one, state.first_effect_at or m.now) for one in _without_baseline(m)]
    for criterion in open_success(state) if state.ended else ():
        if _is_due(m, criterion) and criterion.manual is None:
            due = success_due_at(state, criterion) or m.now
            found.append((measure_key(criterion, "after"), criterion, due if criterion.window else m.now))
    return [entry for entry in found if _wants(m, entry[0])]


def _without_baseline(m: Moment) -> list[SuccessCriterion]:
    """Those that compare with what was before, which is not written down yet, while somebody waits for it."""
    state = m.state
    if state.rollback is not None or state.first_effect_at is None:
        return []
    lacking = (one for one in state.program.success if one.improves is not None and one.name not in state.baselines)
    return [one for one in lacking if not state.ended or _is_due(m, one)]


def _is_due(m: Moment, criterion: SuccessCriterion) -> bool:
    due = success_due_at(m.state, criterion)
    return due is not None and m.now >= due and criterion.name not in m.state.success


def _wants(m: Moment, key: str) -> bool:
    known = m.evidence.measured.get(key)
    return known is None or (known.state is not MeasurementState.OK and m.now - known.at >= 60.0)


def baselines(m: Moment) -> list[Event]:
    """What was measured of the time before, while it is not written down."""
    known = ((one, _level(m, one, "before")) for one in _without_baseline(m))
    return [SuccessBaseline(name=one.name, level=level) for one, level in known if level is not None]


def events(m: Moment) -> list[Event]:
    found: list[Event] = []
    for criterion in open_success(m.state):
        if not _is_due(m, criterion):
            continue
        found += _judge_manual(m, criterion) if criterion.manual is not None else _judge(m, criterion)
    return found


def _judge_manual(m: Moment, criterion: SuccessCriterion) -> list[Event]:
    item = f"success:{criterion.name}"
    waiting = m.state.waiting.get(item)
    if waiting is None:
        text = str(criterion.manual)
        return [WaitingOpened(item=item, kind="follow_up", text=text, who=criterion.by, blocking=False)]
    if waiting.answer is None:
        return []
    standing = Standing.YES if waiting.answer == "approve" else Standing.NO
    return [SuccessJudged(name=criterion.name, standing=standing, detail=waiting.note, by=waiting.by)]


def _judge(m: Moment, criterion: SuccessCriterion) -> list[Event]:
    if criterion.improves is not None and m.state.first_effect_at is None:
        detail = f"{criterion.name}: nothing was changed, so there is no before and after"
        return [SuccessJudged(name=criterion.name, standing=Standing.UNKNOWN, detail=detail)]
    after, before = _level(m, criterion, "after"), m.state.baselines.get(criterion.name)
    if after is None or (criterion.improves is not None and before is None):
        return _given_up(m, criterion, "after" if after is None else "before")
    if before is None or criterion.improves is None:
        assert criterion.is_ is not None, "validated with the plan"
        detail = f"{criterion.name} is {level_words(after)}, {criterion.is_} was wanted"
        return [_judged(criterion, criterion.is_.holds(after.value), detail, after)]
    holds, detail, gain = _improved(criterion, before, after)
    return [_judged(criterion, holds, detail, after).model_copy(update={"before": before, "gain": gain})]


def _level(m: Moment, criterion: SuccessCriterion, which: str) -> Level | None:
    asked = m.evidence.measured.get(measure_key(criterion, which))
    return asked.level if asked is not None else None


def _given_up(m: Moment, criterion: SuccessCriterion, which: str) -> list[Event]:
    """Once it could not be measured for so long that nobody waits for it any more."""
    asked = m.evidence.measured.get(measure_key(criterion, which))
    due = success_due_at(m.state, criterion) or m.now
    if asked is None or m.now - due < GIVE_UP_SECONDS:
        return []
    detail = f"{criterion.name} could not be measured: {asked.detail or asked.state}"
    return [SuccessJudged(name=criterion.name, standing=Standing.UNKNOWN, detail=detail)]


def _judged(criterion: SuccessCriterion, holds: bool, detail: str, after: Level) -> SuccessJudged:
    standing = Standing.YES if holds else Standing.NO
    return SuccessJudged(name=criterion.name, standing=standing, detail=detail, value=after.value, after=after)


def _improved(criterion: SuccessCriterion, before: Level, after: Level) -> tuple[bool, str, Interval | None]:
    """By what share *after* is better than *before*, and whether that is enough."""
    assert criterion.improves is not None
    is_lower = criterion.better == "lower"
    words = f"{criterion.name} went from {level_words(before)} to {level_words(after)}"
    if before.value == 0.0:
        return False, f"{words}; a share of nothing can't be told", None
    gain = (before.value - after.value if is_lower else after.value - before.value) / abs(before.value)
    holds = criterion.improves.holds(gain)
    within = gain_between(before.mean, after.mean, lower_is_better=is_lower)
    words += f", better by {gain:.1%}" + (f" ({within[0]:.1%} to {within[1]:.1%})" if within else "")
    words += f"; {criterion.improves} was wanted"
    if within is not None and any(criterion.improves.holds(end) != holds for end in within):
        words += ", and the difference to that may be chance"
    return holds, words, within
