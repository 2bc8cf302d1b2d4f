"""``threshold``: a measured number against a target (``pass``) and an alert level (``fail``).

With both bounds, what lies between them is inconclusive. With one, the other is its opposite. Of several series the
worst decides and is named. A breach is pending until it has lasted ``for``: one good look ends it, and it survives at
most two looks without a value.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self, assert_never

from pydantic import Field, model_validator

from stages.checks import Expect
from stages.criteria.base import (
    Criterion,
    Judgement,
    Measurement,
    MeasurementState,
    Memory,
    SeriesValue,
    Setting,
    Verdict,
)
from stages.criteria.unmeasured import because, judge_unmeasured, span_since
from stages.values import Bound, format_duration


class Threshold(Criterion):
    """A number with bounds, or (with ``expect``) a yes/no answer of any check source."""

    pass_: Bound | None = Field(default=None, alias="pass")
    fail: Bound | None = None
    expect: Expect | None = None

    @model_validator(mode="after")
    def _some_bound(self) -> Self:
        self.measures_one_thing()
        if self.expect is None and self.pass_ is None and self.fail is None:
            raise ValueError("a criterion needs pass, fail or expect, to say what is asked of the value")
        if self.expect is not None and (self.pass_ is not None or self.fail is not None):
            raise ValueError("expect asks for a yes or no; pass and fail are bounds for a number: use one of the two")
        return self

    @property
    def passing(self) -> Bound:
        """The bound that a good value holds (yes/no answers are measured as 1 and 0)."""
        if self.expect is not None:
            return Bound.model_validate("== 1")
        if self.pass_ is not None:
            return self.pass_
        assert self.fail is not None
        return self.fail.opposite

    @property
    def failing(self) -> Bound:
        return self.fail if self.fail is not None else self.passing.opposite


class _Standing(StrEnum):
    """What a look says of the looks before it."""

    MEASURED = "measured"
    NOTHING = "nothing"  # answered, but there is nothing to judge: 0/0, no events
    UNANSWERED = "unanswered"  # missing, stale or an error


@dataclass(frozen=True, slots=True)
class _Raw:
    """The verdict on one look, before ``for`` and the looks before are asked."""

    verdict: Verdict
    sentence: str
    value: float | None = None
    series: str = ""
    standing: _Standing = _Standing.MEASURED


def judge(criterion: Threshold, measurement: Measurement, memory: Memory, _setting: Setting | None = None) -> Judgement:
    raw = _judge_look(criterion, measurement)
    at = measurement.at
    if raw.standing is not _Standing.MEASURED:
        return _judge_unmeasured(criterion, raw, at, memory)
    if raw.verdict is not Verdict.FAIL:
        return Judgement(raw.verdict, raw.sentence, Memory(), raw.value, raw.series)
    return _pending(criterion, raw, at, replace(memory, missed_looks=0, missing_since=None))


def _pending(criterion: Threshold, raw: _Raw, at: float, memory: Memory) -> Judgement:
    since = span_since(memory.failing_since, at)
    kept = replace(memory, failing_since=since)
    lasted = at - since
    if lasted >= criterion.for_seconds:
        sentence = raw.sentence + (f", for {format_duration(round(lasted))}" if criterion.for_seconds else "")
        return Judgement(Verdict.FAIL, sentence, kept, raw.value, raw.series)
    waiting = f"{raw.sentence}; pending {format_duration(round(lasted))} of {format_duration(criterion.for_seconds)}"
    return Judgement(Verdict.INCONCLUSIVE, waiting, kept, raw.value, raw.series)


def _judge_unmeasured(criterion: Threshold, raw: _Raw, at: float, memory: Memory) -> Judgement:
    if criterion.expect is not None and criterion.no_answer == "fail" and raw.standing is _Standing.UNANSWERED:
        return _pending(criterion, replace(raw, verdict=Verdict.FAIL), at, replace(memory, missed_looks=0))
    return judge_unmeasured(criterion, raw.sentence, raw.standing is _Standing.UNANSWERED, at, memory)


def _judge_look(criterion: Threshold, measurement: Measurement) -> _Raw:
    match measurement.state:
        case MeasurementState.MISSING:
            return _judge_empty(criterion, measurement)
        case MeasurementState.OK:
            return _judge_series(criterion, measurement)
        case MeasurementState.STALE:
            return _judge_stale(criterion, measurement)
        case MeasurementState.ERROR:
            return _unmeasured(f"{criterion.name} could not be measured{because(measurement)}")
        case MeasurementState.INSUFFICIENT:
            return _unmeasured(f"{criterion.name} has nothing to judge yet{because(measurement)}", _Standing.NOTHING)
        case _:
            assert_never(measurement.state)


def _judge_series(criterion: Threshold, measurement: Measurement) -> _Raw:
    """NaN (0/0) beside other series leaves the look without a value, unless one of the others fails."""
    if not measurement.series:
        return _judge_empty(criterion, measurement)
    breach = _breach(criterion, measurement)
    if breach is not None:
        return breach
    nan = next((series for series in measurement.series if math.isnan(series.value)), None)
    if nan is not None:
        return _unmeasured(f"{criterion.name} is NaN{_where(nan.labels)}", _Standing.NOTHING)
    return _compare(criterion, measurement)


def _judge_stale(criterion: Threshold, measurement: Measurement) -> _Raw:
    """The series that are not stale may fail, but not pass: the stale ones could be worse."""
    breach = _breach(criterion, measurement)
    return breach or _unmeasured(f"{criterion.name} is stale{because(measurement)}")


def _judge_empty(criterion: Threshold, measurement: Measurement) -> _Raw:
    if criterion.empty == "pass":
        return _Raw(Verdict.PASS, f"{criterion.name} has no series; the plan counts that as a pass")
    if criterion.empty == 0:
        zero = replace(measurement, state=MeasurementState.OK, series=(SeriesValue("", 0.0, measurement.at),))
        return _judge_series(criterion, zero)
    return _unmeasured(f"{criterion.name} has no series{because(measurement)}")


def _unmeasured(sentence: str, standing: _Standing = _Standing.UNANSWERED) -> _Raw:
    return _Raw(Verdict.INCONCLUSIVE, sentence, standing=standing)


def _breach(criterion: Threshold, measurement: Measurement) -> _Raw | None:
    """The worst series that fails. NaN never does, though ``NaN != 0`` is true."""
    failing = criterion.failing
    failed = [entry for entry in measurement.series if not math.isnan(entry.value) and failing.holds(entry.value)]
    if not failed:
        return None
    entry = max(failed, key=lambda one: failing.severity(one.value))
    where = _where(entry.labels, len(measurement.series))
    if criterion.expect is not None:
        sentence = f"{criterion.name} is not as expected{where}{because(measurement)}"
    else:
        asked = (
            f"the alert level is {criterion.fail}" if criterion.fail is not None else f"{criterion.passing} is required"
        )
        sentence = f"{criterion.name} is {_number(entry.value, failing)}{where}, {asked}"
    return _Raw(Verdict.FAIL, sentence, entry.value, entry.labels)


def _compare(criterion: Threshold, measurement: Measurement) -> _Raw:
    """Pass, or inconclusive between the bounds; none of the series fails. Named is the one closest to failing."""
    passing = criterion.passing
    missed = [entry for entry in measurement.series if not passing.holds(entry.value)]
    entry = max(missed or measurement.series, key=lambda one: passing.opposite.severity(one.value))
    where = _where(entry.labels, len(measurement.series))
    if criterion.expect is not None:
        sentence = f"{criterion.name} is as expected{where}"
    elif missed:
        sentence = (
            f"{criterion.name} is {_number(entry.value, passing)}{where}, between the target {passing} "
            f"and the alert level {criterion.failing}"
        )
    else:
        sentence = f"{criterion.name} is {_number(entry.value, passing)}{where}, {passing} holds"
    return _Raw(Verdict.INCONCLUSIVE if missed else Verdict.PASS, sentence, entry.value, entry.labels)


def _number(value: float, bound: Bound) -> str:
    """Six digits, or all if six would make it look like the bound itself."""
    short = f"{value:g}"
    return repr(value) if float(short) == bound.number != value else short


def _where(labels: str, count: int = 1) -> str:
    return (f" at {labels}" if labels else "") + (f" (worst of {count} series)" if count > 1 else "")
