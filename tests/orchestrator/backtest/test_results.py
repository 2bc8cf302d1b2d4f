"""What replays of several criteria come to together, and how they are drawn."""

import math
from array import array
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from orchestrator.backtest import plot
from orchestrator.backtest.replay import Bench, Hold, Replayed
from orchestrator.backtest.results import CriterionResult, GateResult, Result, failures_of, holds_of
from orchestrator.backtest.schedule import Course, Reached, Schedule
from stages.budget import Pool
from stages.criteria import Threshold
from stages.gates import Gate

BEGIN = 1_790_000_000.0
ALPHA = 0.01


def criterion(name: str) -> dict[str, Any]:
    return {"name": name, "query": name, "pass": "< 5%", "fail": "> 10%"}


def course() -> Course:
    gate = Gate.model_validate({"criteria": [criterion("one")]})
    return Course("health", gate, "stage open", "beta", (Reached(0.0, 600.0, 5.0, judged=True),))


def result_of(name: str, *replays: Replayed) -> CriterionResult:
    any_ledger: Any = SimpleNamespace()
    bench = Bench(Threshold.model_validate(criterion(name)), course(), any_ledger, 15.0, ALPHA, None, 0.0)
    return CriterionResult(bench, replays)


def replayed(
    *log_evidence: float, failed_at: float | None = None, holds: tuple[tuple[float, float], ...] = ()
) -> Replayed:
    """Looks every 15 s; times are seconds after the begin."""
    at = [BEGIN + 15 * (place + 1) for place in range(40)]
    return Replayed(
        BEGIN,
        failed_at=None if failed_at is None else BEGIN + failed_at,
        sentence="too many" if failed_at is not None else "",
        holds=[Hold(BEGIN + begin, BEGIN + end, "it waits") for begin, end in holds],
        at=at[: len(log_evidence)] if log_evidence else at,
        log_evidence=list(log_evidence),
        measured=40,
        times=array("d", at),
        values=array("d", [0.01 * (place % 7) for place in range(40)]),
    )


def gate_of(*results: CriterionResult, tests: int = 2) -> GateResult:
    schedule = Schedule(course(), (BEGIN,), 600.0)
    return GateResult(schedule, Pool(ALPHA, tuple(map(str, range(tests)))), results)


def e(*values: float) -> list[float]:
    return [math.log(value) for value in values]


def test_a_gate_fails_when_the_first_of_its_criteria_does() -> None:
    gate = gate_of(result_of("late", replayed(failed_at=300)), result_of("soon", replayed(failed_at=200)))
    (failure,) = failures_of(gate)
    assert (failure.criterion, failure.at - BEGIN) == ("soon", 200)


def test_it_also_fails_when_the_mean_of_the_evidence_is_enough_though_no_test_fails_alone() -> None:
    gate = gate_of(result_of("a", replayed(*e(1, 90, 90))), result_of("b", replayed(*e(1, 50, 120))))
    (failure,) = failures_of(gate)
    assert failure.at == BEGIN + 45
    assert "2 tests together" in failure.sentence
    assert failure.criterion == "b"


@pytest.mark.parametrize(("most", "tests", "fails"), ((190, 2, False), (210, 2, True), (390, 4, False), (410, 4, True)))
def test_tests_of_the_pool_that_have_not_begun_count_with_an_evidence_of_one(
    most: float, tests: int, fails: bool
) -> None:
    gate = gate_of(result_of("a", replayed(*e(most))), result_of("b", replayed(*e(1))), tests=tests)
    assert bool(failures_of(gate)) is fails


def test_what_holds_at_the_same_time_is_one_hold_and_none_comes_after_the_failure() -> None:
    gate = gate_of(
        result_of("a", replayed(holds=((30, 60), (500, 560)))),
        result_of("b", replayed(holds=((45, 120),), failed_at=400)),
    )
    assert [(one.begin - BEGIN, one.end - BEGIN) for one in holds_of(gate, 0)] == [(30, 120)]


# --- the picture ------------------------------------------------------------------------------------------------------


def picture(*gates: GateResult) -> tuple[str, ET.Element]:
    text = plot.svg(Result("shop", "production", BEGIN, BEGIN + 600, gates))
    root = ET.fromstring(text)
    return " ".join("".join(root.itertext()).split()), root


def test_the_picture_has_a_row_a_criterion_with_its_bounds_in_words() -> None:
    words, _ = picture(gate_of(result_of("queue", replayed(failed_at=300)), result_of("errors", replayed())))
    assert "Backtest of shop in production" in words
    assert "health, stage open: queue: 1 failed and 0 held, of 1 releases" in words
    assert "health, stage open: errors: 0 failed and 0 held, of 1 releases" in words
    assert words.count("fail > 10%") == words.count("pass < 5%") == 2
    assert "UTC" in words


def test_a_criterion_of_which_nothing_was_measured_says_so() -> None:
    words, _ = picture(gate_of(result_of("queue", Replayed(BEGIN, skipped="the flag was on"))))
    assert "nothing was measured" in words


def test_of_very_many_criteria_those_are_drawn_that_were_not_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "MOST_ROWS", 2)
    results = [result_of("a", replayed()), result_of("b", replayed()), result_of("c", replayed(failed_at=300))]
    words, _ = picture(gate_of(*results))
    assert "2 of 3 criteria" in words
    assert "health, stage open: c:" in words


def test_a_long_past_is_thinned_and_keeps_its_extremes() -> None:
    one = replayed()
    one.times = array("d", [BEGIN + place * 0.01 for place in range(60_000)])
    one.values = array("d", [0.02] * 60_000)
    one.values[31_234] = 0.5
    text = plot.svg(Result("shop", "production", BEGIN, BEGIN + 600, [gate_of(result_of("queue", one))]))
    assert len(text) < 400_000
    top = plot._points(plot._Row(gate_of(), result_of("queue", one)))[1]
    assert len(top) <= plot.MOST_POINTS
    assert max(top) == 0.5


def test_the_same_result_is_drawn_as_the_same_picture() -> None:
    gate = gate_of(result_of("queue", replayed(failed_at=300)))
    result = Result("shop", "production", BEGIN, BEGIN + 600, [gate])
    assert plot.svg(result) == plot.svg(result)
