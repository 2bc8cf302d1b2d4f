"""After the end: success judged when its window is full, and whether anything is left to do for a run."""

from orchestrator.core.events import Event, SuccessJudged, WaitingOpened
from orchestrator.core.moment import Moment
from orchestrator.core.state import State
from stages.checks import Standing
from stages.criteria.base import Measurement, MeasurementState
from stages.success import SuccessCriterion


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


def wanted_measurements(m: Moment) -> list[tuple[str, SuccessCriterion, float]]:
    """Key, criterion and time of each measurement that is due and not there yet."""
    found: list[tuple[str, SuccessCriterion, float]] = []
    for criterion in open_success(m.state):
        due = success_due_at(m.state, criterion)
        if due is None or m.now < due or criterion.manual is not None:
            continue
        if criterion.improves is not None and m.state.first_effect_at is not None:
            found.append((measure_key(criterion, "before"), criterion, m.state.first_effect_at))
        found.append((measure_key(criterion, "after"), criterion, due if criterion.window else m.now))
    return [entry for entry in found if _wants(m, entry[0])]


def _wants(m: Moment, key: str) -> bool:
    known = m.evidence.measured.get(key)
    return known is None or (known.state is not MeasurementState.OK and m.now - known.at >= 60.0)


def events(m: Moment) -> list[Event]:
    found: list[Event] = []
    for criterion in open_success(m.state):
        due = success_due_at(m.state, criterion)
        if due is None or m.now < due:
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


def _number(measurement: Measurement | None) -> float | None:
    if measurement is None or measurement.state is not MeasurementState.OK or not measurement.series:
        return None
    return measurement.series[0].value


GIVE_UP_SECONDS = 3600.0


def _judge(m: Moment, criterion: SuccessCriterion) -> list[Event]:
    after = m.evidence.measured.get(measure_key(criterion, "after"))
    before = m.evidence.measured.get(measure_key(criterion, "before"))
    value = _number(after)
    due = success_due_at(m.state, criterion) or m.now
    if value is None or (criterion.improves is not None and _number(before) is None):
        if after is None or m.now - due < GIVE_UP_SECONDS:
            return []
        failed = before if _number(before) is None and value is not None and before is not None else after
        detail = f"{criterion.name} could not be measured: {failed.detail or failed.state}"
        return [SuccessJudged(name=criterion.name, standing=Standing.UNKNOWN, detail=detail)]
    if criterion.is_ is not None:
        holds = criterion.is_.holds(value)
        detail = f"{criterion.name} is {value:g}, {criterion.is_} was wanted"
    else:
        holds, detail = _improved(criterion, _number(before) or 0.0, value)
    standing = Standing.YES if holds else Standing.NO
    return [SuccessJudged(name=criterion.name, standing=standing, detail=detail, value=value)]


def _improved(criterion: SuccessCriterion, before: float, after: float) -> tuple[bool, str]:
    """By what share *after* is better than *before*."""
    assert criterion.improves is not None
    if before == 0.0:
        return False, f"{criterion.name} went from 0 to {after:g}; a share of nothing can't be told"
    gain = (before - after if criterion.better == "lower" else after - before) / abs(before)
    words = f"{criterion.name} went from {before:g} to {after:g}, better by {gain:.1%}; {criterion.improves} was wanted"
    return criterion.improves.holds(gain), words
