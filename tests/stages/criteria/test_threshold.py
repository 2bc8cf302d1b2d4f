"""Thresholds: a number, its bounds, and what the looks before say of it."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.criteria.base import (
    Judgement,
    Measurement,
    MeasurementState,
    Memory,
    SeriesValue,
    Verdict,
    memory_after_gap,
)
from stages.criteria.threshold import Threshold, judge

UNMEASURED = [state for state in MeasurementState if state is not MeasurementState.OK]
UNANSWERED = [MeasurementState.MISSING, MeasurementState.STALE, MeasurementState.ERROR]


def threshold(**fields: Any) -> Threshold:
    return Threshold.model_validate({"name": "error rate", "query": "errors", **fields})


def ok(*values: float, at: float = 0.0, **labelled: float) -> Measurement:
    series = [SeriesValue("", value, at) for value in values]
    series += [SeriesValue(f'{{pod="{pod}"}}', value, at) for pod, value in labelled.items()]
    return Measurement(MeasurementState.OK, at, tuple(series))


def without_value(state: MeasurementState, at: float = 0.0, *fresh: float) -> Measurement:
    return Measurement(state, at, tuple(SeriesValue("", value, at) for value in fresh), "the server is away")


def look(criterion: Threshold, *measurements: Measurement) -> Judgement:
    """The judgement on the last of several looks."""
    judgement = Judgement(Verdict.PASS, "", Memory())
    for measurement in measurements:
        judgement = judge(criterion, measurement, judgement.memory)
    return judgement


# --- one look ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "value", "verdict"),
    (
        ({"fail": "> 10"}, 10, Verdict.PASS),
        ({"fail": "> 10"}, 10.1, Verdict.FAIL),
        ({"pass": ">= 95"}, 95, Verdict.PASS),
        ({"pass": ">= 95"}, 94.9, Verdict.FAIL),
        ({"pass": ">= 0.95", "fail": "< 0.90"}, 0.95, Verdict.PASS),
        ({"pass": ">= 0.95", "fail": "< 0.90"}, 0.92, Verdict.INCONCLUSIVE),
        ({"pass": ">= 0.95", "fail": "< 0.90"}, 0.90, Verdict.INCONCLUSIVE),
        ({"pass": ">= 0.95", "fail": "< 0.90"}, 0.89, Verdict.FAIL),
        ({"pass": "< 5%"}, 0.049, Verdict.PASS),
        ({"pass": "< 5%"}, 0.05, Verdict.FAIL),
        ({"pass": "== 0"}, 0, Verdict.PASS),
        ({"pass": "== 0"}, -1, Verdict.FAIL),
        ({"fail": "!= 3"}, 3, Verdict.PASS),
        ({"fail": "> 10"}, math.inf, Verdict.FAIL),
        ({"fail": "> 10"}, -math.inf, Verdict.PASS),
        ({"pass": "> 10"}, math.inf, Verdict.PASS),
        ({"pass": "> 10"}, -math.inf, Verdict.FAIL),
        ({"pass": ">= 0.9", "fail": "< 0.95"}, 0.92, Verdict.FAIL),
    ),
)
def test_a_value_is_held_against_both_bounds(bounds: dict[str, str], value: float, verdict: Verdict) -> None:
    judgement = look(threshold(**bounds), ok(value))
    assert judgement.verdict is verdict
    assert judgement.value == value


def test_the_sentence_says_value_and_bound() -> None:
    assert look(threshold(fail="> 10"), ok(12.5)).sentence == "error rate is 12.5, the alert level is > 10"
    assert look(threshold(**{"pass": "<= 10"}), ok(12.5)).sentence == "error rate is 12.5, <= 10 is required"
    assert look(threshold(fail="> 10"), ok(3)).sentence == "error rate is 3, <= 10 holds"


def test_the_sentence_between_the_bounds_names_both() -> None:
    judgement = look(threshold(**{"pass": ">= 0.95", "fail": "< 0.90"}), ok(0.92))
    assert judgement.sentence == "error rate is 0.92, between the target >= 0.95 and the alert level < 0.90"


def test_a_value_that_rounds_to_the_bound_is_written_out() -> None:
    assert "is 0.10000001," in look(threshold(fail="> 0.1"), ok(0.10000001)).sentence


def test_of_several_series_the_worst_decides_and_is_named() -> None:
    judgement = look(threshold(fail="> 10"), ok(a=11, b=50, c=2))
    assert judgement.verdict is Verdict.FAIL
    assert (judgement.series, judgement.value) == ('{pod="b"}', 50)
    assert 'error rate is 50 at {pod="b"} (worst of 3 series)' in judgement.sentence


def test_where_small_is_bad_the_smallest_is_the_worst() -> None:
    assert look(threshold(**{"pass": ">= 0.95"}), ok(a=0.5, b=0.2, c=1)).series == '{pod="b"}'


def test_a_series_between_the_bounds_keeps_the_others_from_passing() -> None:
    judgement = look(threshold(**{"pass": ">= 0.95", "fail": "< 0.90"}), ok(a=1, b=0.92))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.series == '{pod="b"}'


def test_the_worst_of_passing_series_is_the_one_closest_to_the_bound() -> None:
    assert look(threshold(fail="> 10"), ok(a=1, b=9, c=-3)).series == '{pod="b"}'


def test_nan_is_neither_pass_nor_fail() -> None:
    for bounds in ({"fail": "> 10"}, {"pass": "> 10"}, {"fail": "!= 0"}):
        judgement = look(threshold(**bounds), ok(math.nan))
        assert judgement.verdict is Verdict.INCONCLUSIVE
        assert judgement.sentence == "error rate is NaN"


def test_nan_beside_a_good_series_holds_and_beside_a_bad_one_fails() -> None:
    assert look(threshold(fail="> 10"), ok(a=1, b=math.nan)).verdict is Verdict.INCONCLUSIVE
    assert look(threshold(fail="> 10"), ok(a=11, b=math.nan)).verdict is Verdict.FAIL


@pytest.mark.parametrize("state", UNMEASURED)
def test_without_a_value_a_look_is_inconclusive_and_says_why(state: MeasurementState) -> None:
    judgement = look(threshold(fail="> 10"), without_value(state))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.sentence.startswith("error rate ")
    assert judgement.sentence.endswith(": the server is away")
    assert judgement.value is None


def test_fresh_series_beside_stale_ones_may_fail_and_never_pass() -> None:
    assert look(threshold(fail="> 10"), without_value(MeasurementState.STALE, 0, 11)).verdict is Verdict.FAIL
    assert look(threshold(fail="> 10"), without_value(MeasurementState.STALE, 0, 1)).verdict is Verdict.INCONCLUSIVE


def test_no_series_counts_as_what_the_plan_says() -> None:
    missing = without_value(MeasurementState.MISSING)
    assert look(threshold(fail="> 10", empty="pass"), missing).verdict is Verdict.PASS
    assert look(threshold(fail="> 10", empty=0), missing).verdict is Verdict.PASS
    assert look(threshold(fail="< 10", empty=0), missing).verdict is Verdict.FAIL
    assert look(threshold(fail="< 10", empty=0), missing).value == 0


@pytest.mark.parametrize("state", (MeasurementState.STALE, MeasurementState.ERROR, MeasurementState.INSUFFICIENT))
@pytest.mark.parametrize("empty", ("pass", 0))
def test_what_counts_for_no_series_does_not_count_for_no_answer(state: MeasurementState, empty: str | int) -> None:
    assert look(threshold(fail="> 10", empty=empty), without_value(state)).verdict is Verdict.INCONCLUSIVE


def test_an_ok_measurement_without_series_is_treated_as_missing() -> None:
    assert look(threshold(fail="> 10"), ok()).verdict is Verdict.INCONCLUSIVE
    assert look(threshold(fail="> 10", empty="pass"), ok()).verdict is Verdict.PASS


# --- for --------------------------------------------------------------------------------------------------------------


def test_a_breach_is_pending_until_it_has_lasted() -> None:
    criterion = threshold(fail="> 10", **{"for": "1m"})
    looks = [ok(11, at=at) for at in (100, 115, 130, 145, 160)]
    verdicts = [look(criterion, *looks[: n + 1]).verdict for n in range(5)]
    assert verdicts == [Verdict.INCONCLUSIVE] * 4 + [Verdict.FAIL]
    assert "pending 45s of 1m" in look(criterion, *looks[:4]).sentence
    assert look(criterion, *looks).sentence.endswith(", for 1m")


def test_without_for_one_look_decides() -> None:
    assert look(threshold(fail="> 10"), ok(11)).verdict is Verdict.FAIL


@pytest.mark.parametrize("good", (1, 10))
def test_one_good_look_ends_what_is_pending(good: float) -> None:
    criterion = threshold(**{"pass": "< 5", "fail": "> 10", "for": "1m"})
    judgement = look(criterion, ok(11, at=0), ok(good, at=30), ok(11, at=60))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.memory.failing_since == 60


@pytest.mark.parametrize("state", UNMEASURED)
@pytest.mark.parametrize(("missed", "verdict"), ((1, Verdict.FAIL), (2, Verdict.FAIL), (3, Verdict.INCONCLUSIVE)))
def test_what_is_pending_survives_two_looks_without_a_value(
    state: MeasurementState, missed: int, verdict: Verdict
) -> None:
    criterion = threshold(fail="> 10", **{"for": "1m"})
    gap = [without_value(state, at=15.0 * n) for n in range(1, missed + 1)]
    assert look(criterion, ok(11, at=0), *gap, ok(11, at=60)).verdict is verdict


def test_missed_looks_count_only_in_a_row() -> None:
    criterion = threshold(fail="> 10", **{"for": "2m"})
    away = MeasurementState.ERROR
    looks = [ok(11, at=0), without_value(away, 15), without_value(away, 30), ok(11, at=45)]
    looks += [without_value(away, 60), without_value(away, 75), ok(11, at=120)]
    assert look(criterion, *looks).verdict is Verdict.FAIL


def test_nan_is_such_a_look_too() -> None:
    criterion = threshold(fail="> 10", **{"for": "1m"})
    assert look(criterion, ok(11, at=0), ok(math.nan, at=30), ok(11, at=60)).verdict is Verdict.FAIL


def test_a_clock_that_was_set_back_starts_the_pending_time_anew() -> None:
    criterion = threshold(fail="> 10", **{"for": "1m"})
    judgement = look(criterion, ok(11, at=3600), ok(11, at=0))
    assert judgement.memory.failing_since == 0
    assert look(criterion, ok(11, at=3600), ok(11, at=0), ok(11, at=60)).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("away_seconds", "survives"), ((15, True), (45, True), (60, False), (3600, False), (-100, True))
)
def test_looks_that_were_not_made_count_as_missed(away_seconds: float, survives: bool) -> None:
    memory = memory_after_gap(Memory(failing_since=100), 100, 100 + away_seconds, 15)
    assert (memory.failing_since == 100) is survives


def test_looks_missed_before_and_during_a_gap_add_up() -> None:
    assert memory_after_gap(Memory(failing_since=0, missed_looks=1), 15, 45, 15).failing_since == 0
    assert memory_after_gap(Memory(failing_since=0, missed_looks=2), 30, 60, 15).failing_since is None


# --- what is missing for long -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", UNMEASURED)
def test_missing_data_alone_never_fails(state: MeasurementState) -> None:
    looks = [without_value(state, at=15.0 * n) for n in range(1000)]
    assert look(threshold(fail="> 10"), *looks).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("state", UNANSWERED)
def test_missing_data_fails_after_its_time_where_the_plan_says_so(state: MeasurementState) -> None:
    criterion = threshold(fail="> 10", on_missing={"rollback_after": "10m"})
    assert look(criterion, without_value(state, 0), without_value(state, 599)).verdict is Verdict.INCONCLUSIVE
    judgement = look(criterion, without_value(state, 0), without_value(state, 600))
    assert judgement.verdict is Verdict.FAIL
    assert judgement.sentence.endswith("for 10m; the plan rolls back on that")


def test_a_value_between_starts_that_time_anew() -> None:
    criterion = threshold(fail="> 10", on_missing={"rollback_after": "10m"})
    away = MeasurementState.ERROR
    looks = [without_value(away, 0), ok(1, at=300), without_value(away, 310), without_value(away, 700)]
    assert look(criterion, *looks).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("nothing", (ok(math.nan, at=600), without_value(MeasurementState.INSUFFICIENT, 600)))
def test_nothing_to_judge_is_not_missing(nothing: Measurement) -> None:
    criterion = threshold(fail="> 10", on_missing={"rollback_after": "10m"})
    judgement = look(criterion, without_value(MeasurementState.ERROR, 0), nothing)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.memory.missing_since is None


# --- yes or no --------------------------------------------------------------------------------------------------------


def question(**fields: Any) -> Threshold:
    return Threshold.model_validate({"name": "probe", "command": ["./probe"], "expect": {"exit": 0}, **fields})


def test_yes_passes_and_no_fails_with_what_was_found() -> None:
    assert look(question(), ok(1)).sentence == "probe is as expected"
    no = Measurement(MeasurementState.OK, 0, (SeriesValue("", 0.0, 0),), "expected exit code 0, found 2")
    assert look(question(), no).verdict is Verdict.FAIL
    assert look(question(), no).sentence == "probe is not as expected: expected exit code 0, found 2"


def test_no_answer_is_inconclusive_unless_the_plan_calls_it_a_failure() -> None:
    away = without_value(MeasurementState.ERROR)
    assert look(question(), away).verdict is Verdict.INCONCLUSIVE
    assert look(question(no_answer="fail"), away).verdict is Verdict.FAIL


def test_no_answer_that_fails_waits_for_its_time_too() -> None:
    criterion = question(no_answer="fail", **{"for": "1m"})
    looks = [without_value(MeasurementState.ERROR, at=15.0 * n) for n in range(5)]
    assert look(criterion, *looks[:4]).verdict is Verdict.INCONCLUSIVE
    assert look(criterion, *looks).verdict is Verdict.FAIL
    assert look(criterion, *looks[:4], ok(1, at=60)).verdict is Verdict.PASS


# --- what is no threshold ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    (
        ({}, "needs pass, fail or expect"),
        ({"fail": "> 1", "expect": {"exit": 0}}, "use one of the two"),
        ({"fail": "> 1", "sql": "SELECT 1"}, "found sql and query"),
        ({"fail": "10"}, "a bound such as"),
        ({"fail": "> 1", "for": 5}, "needs a unit"),
    ),
)
def test_a_criterion_that_asks_nothing_clear_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        threshold(**fields)


# --- properties -------------------------------------------------------------------------------------------------------

numbers = st.floats(allow_nan=False, width=32)
bounds = st.tuples(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.integers(-1000, 1000)).map(
    lambda pair: f"{pair[0]} {pair[1]}"
)
measurements = st.one_of(
    st.lists(st.floats(), min_size=0, max_size=4).map(lambda values: ok(*values)),
    st.sampled_from(UNMEASURED).map(without_value),
)


@given(bounds, numbers)
def test_one_bound_and_its_opposite_say_the_same(bound: str, value: float) -> None:
    failing = threshold(fail=bound)
    passing = threshold(**{"pass": str(failing.passing)})
    assert look(failing, ok(value)).verdict is look(passing, ok(value)).verdict
    assert look(failing, ok(value)).verdict is not Verdict.INCONCLUSIVE


@given(bounds, st.lists(numbers, min_size=1, max_size=6))
def test_several_series_are_as_bad_as_the_worst_of_them(bound: str, values: list[float]) -> None:
    criterion = threshold(fail=bound)
    together = look(criterion, ok(*values))
    alone = [look(criterion, ok(value)).verdict for value in values]
    assert together.verdict is (Verdict.FAIL if Verdict.FAIL in alone else Verdict.PASS)
    assert together.value in values


@given(bounds, bounds, st.lists(measurements, max_size=12), st.sampled_from([0, 30, 60]))
def test_a_verdict_never_comes_from_a_look_without_a_value(
    good: str, bad: str, seen: list[Measurement], for_seconds: int
) -> None:
    criterion = threshold(**{"pass": good, "fail": bad, "for": f"{for_seconds}s"})
    memory = Memory()
    for index, measurement in enumerate(seen):
        at = 15.0 * index
        placed = Measurement(measurement.state, at, measurement.series, measurement.detail)
        judgement = judge(criterion, placed, memory)
        if measurement.state is not MeasurementState.OK or not measurement.series:
            assert judgement.verdict is Verdict.INCONCLUSIVE
        if any(math.isnan(series.value) for series in measurement.series):
            assert judgement.verdict is not Verdict.PASS
        if judgement.verdict is Verdict.FAIL:
            assert judgement.memory.failing_since is not None
            assert at - judgement.memory.failing_since >= for_seconds
        memory = judgement.memory


@given(bounds, st.lists(measurements, max_size=8))
def test_judging_is_a_function_of_what_it_is_given(bound: str, seen: list[Measurement]) -> None:
    criterion = threshold(fail=bound, **{"for": "30s"})
    assert look(criterion, *seen) == look(criterion, *seen)
