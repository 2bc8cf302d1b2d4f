"""``threshold``: a measured number against a target (``pass``) and an alert level (``fail``).

With both bounds, what lies between them is inconclusive. With one, the other is its opposite. Of several series the
worst decides and is named. A breach is pending until it has lasted ``for``: one good look ends it, and it survives at
most two looks that could not be measured.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

from pydantic import Field, model_validator

from stages.checks import Expect
from stages.criteria.base import Criterion, Judgement, Measurement, MeasurementState, Memory, SeriesValue, Verdict
from stages.values import Bound, format_duration

MISSED_LOOKS_ALLOWED = 2


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


@dataclass(frozen=True, slots=True)
class _Raw:
    """The verdict on one look, before ``for`` and the looks before are asked."""

    verdict: Verdict
    sentence: str
    value: float | None = None
    series: str = ""
    measured: bool = True


def judge(criterion: Threshold, measurement: Measurement, memory: Memory) -> Judgement:
    raw = _judge_look(criterion, measurement)
    at = measurement.at
    if not raw.measured:
        return _judge_missing(criterion, raw, at, memory)
    if raw.verdict is not Verdict.FAIL:
        return Judgement(raw.verdict, raw.sentence, Memory(), raw.value, raw.series)
    return _pending(criterion, raw, at, replace(memory, missed_looks=0, missing_since=None))


def _pending(criterion: Threshold, raw: _Raw, at: float, memory: Memory) -> Judgement:
    since = memory.failing_since if memory.failing_since is not None else at
    kept = replace(memory, failing_since=since)
    lasted = at - since
    if lasted >= criterion.for_seconds:
        sentence = raw.sentence + (f", for {format_duration(round(lasted))}" if criterion.for_seconds else "")
        return Judgement(Verdict.FAIL, sentence, kept, raw.value, raw.series)
    waiting = f"{raw.sentence}; pending {format_duration(round(lasted))} of {format_duration(criterion.for_seconds)}"
    return Judgement(Verdict.INCONCLUSIVE, waiting, kept, raw.value, raw.series)


def _judge_missing(criterion: Threshold, raw: _Raw, at: float, memory: Memory) -> Judgement:
    missing_since = memory.missing_since if memory.missing_since is not None else at
    missed = memory.missed_looks + 1
    failing_since = memory.failing_since if missed <= MISSED_LOOKS_ALLOWED else None
    kept = replace(memory, failing_since=failing_since, missed_looks=missed, missing_since=missing_since)
    if criterion.expect is not None and criterion.no_answer == "fail":
        return _pending(criterion, replace(raw, verdict=Verdict.FAIL), at, replace(kept, missed_looks=0))
    if not isinstance(criterion.on_missing, str) and at - missing_since >= criterion.on_missing.rollback_after:
        gone = format_duration(round(at - missing_since))
        return Judgement(Verdict.FAIL, f"{raw.sentence}, for {gone}; the plan rolls back on that", kept)
    return Judgement(Verdict.INCONCLUSIVE, raw.sentence, kept)


def _judge_look(criterion: Threshold, measurement: Measurement) -> _Raw:
    if measurement.state is MeasurementState.MISSING:
        return _judge_empty(criterion, measurement)
    if measurement.state is not MeasurementState.OK:
        words = {
            MeasurementState.ERROR: "could not be measured",
            MeasurementState.STALE: "is stale",
            MeasurementState.INSUFFICIENT: "has nothing to judge yet",
        }[measurement.state]
        return _unmeasured(f"{criterion.name} {words}: {measurement.detail}")
    finite = [series for series in measurement.series if not math.isnan(series.value)]
    if any(_fails(criterion, series) for series in finite):
        return _compare(criterion, finite)
    nan = next((series for series in measurement.series if math.isnan(series.value)), None)
    if nan is not None:
        return _unmeasured(f"{criterion.name} is NaN{_where(nan.labels)}")
    return _compare(criterion, finite)


def _judge_empty(criterion: Threshold, measurement: Measurement) -> _Raw:
    if criterion.empty == "pass":
        return _Raw(Verdict.PASS, f"{criterion.name} has no series; the plan counts that as a pass")
    if criterion.empty == 0:
        return _compare(criterion, [SeriesValue("", 0.0, measurement.at)])
    return _unmeasured(f"{criterion.name} has no series{': ' + measurement.detail if measurement.detail else ''}")


def _unmeasured(sentence: str) -> _Raw:
    return _Raw(Verdict.INCONCLUSIVE, sentence, measured=False)


def _fails(criterion: Threshold, series: SeriesValue) -> bool:
    return criterion.failing.holds(series.value)


def _compare(criterion: Threshold, series: list[SeriesValue]) -> _Raw:
    failed = [entry for entry in series if _fails(criterion, entry)]
    if failed:
        entry = max(failed, key=lambda one: criterion.failing.severity(one.value))
        return _raw(criterion, Verdict.FAIL, entry, len(series))
    between = [entry for entry in series if not criterion.passing.holds(entry.value)]
    if between:
        entry = max(between, key=lambda one: criterion.passing.opposite.severity(one.value))
        return _raw(criterion, Verdict.INCONCLUSIVE, entry, len(series))
    entry = max(series, key=lambda one: criterion.passing.opposite.severity(one.value))
    return _raw(criterion, Verdict.PASS, entry, len(series))


def _raw(criterion: Threshold, verdict: Verdict, entry: SeriesValue, count: int) -> _Raw:
    where = _where(entry.labels) + (f" (worst of {count} series)" if count > 1 else "")
    if criterion.expect is not None:
        sentence = f"{criterion.name} is {'as expected' if entry.value else 'not as expected'}{where}"
    elif verdict is Verdict.PASS:
        sentence = f"{criterion.name} is {entry.value:g}{where}, {criterion.passing} holds"
    elif verdict is Verdict.FAIL:
        sentence = f"{criterion.name} is {entry.value:g}{where}, {_breach(criterion)}"
    else:
        sentence = (
            f"{criterion.name} is {entry.value:g}{where}, between the target {criterion.passing} "
            f"and the alert level {criterion.failing}"
        )
    return _Raw(verdict, sentence, entry.value, entry.labels)


def _breach(criterion: Threshold) -> str:
    if criterion.fail is not None:
        return f"the alert level is {criterion.fail}"
    return f"{criterion.passing} is required"


def _where(labels: str) -> str:
    return f" at {labels}" if labels else ""
