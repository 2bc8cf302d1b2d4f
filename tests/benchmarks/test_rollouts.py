"""What the benchmark of live rollouts makes of a journal and of its load's notes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from benchmarks import rollouts
from benchmarks._rollouts.outcome import Notes, Outcome, Story, outcome_of, story_of
from benchmarks._rollouts.trial import Conditions

RUN_AT = 1_800_000_000.0  # 08:00:00Z


def event(second: int, kind: str, **data: Any) -> dict[str, Any]:
    return {"time": f"2027-01-15T08:{second // 60:02}:{second % 60:02}.000Z", "type": kind, "data": data}


def flag_at(second: int, percentage: float) -> dict[str, Any]:
    return event(second, "EffectFinished", state="done", observed={"percentage": percentage})


def evidence(verdict: str, sentence: str) -> dict[str, Any]:
    return {"criteria": [{"name": "errors", "verdict": verdict, "sentence": sentence}]}


ROLLED_BACK = [
    event(0, "RunStarted"),
    flag_at(1, 25.0),
    event(40, "HoldSet", hold="inconclusive", item="g", detail="1 to 30"),
    event(50, "HoldCleared", hold="inconclusive", item="g"),
    event(95, "LegEntered", evidence=evidence("pass", "as many errors as the control")),
    flag_at(96, 50.0),
    event(110, "HoldSet", hold="inconclusive", item="g", detail="1 to 90"),
    event(120, "GateFailed", evidence=evidence("fail", "twice the errors")),
    flag_at(121, 0.0),
    event(124, "RunEnded", outcome="rolled_back"),
]


def second(at: float, **counts: int) -> Mapping[str, float]:
    return {"at": RUN_AT + at, **counts}


def outcome(*, regressed: bool, ended: str, lowest_rate: float = 195.0, breach_seconds: float | None = None) -> Outcome:
    return Outcome(
        name="one",
        regressed=regressed,
        ended=ended,
        percentage=25.0,
        breach_seconds=breach_seconds,
        zero_seconds=breach_seconds,
        last_canary_seconds=breach_seconds,
        end_seconds=190.0,
        sentence="so it is",
        holds={},
        open_holds=[],
        rate=200.0,
        lowest_rate=lowest_rate,
        missed=0,
        ratio=2.0,
        counted=1.0,
    )


def test_a_journal_tells_when_the_flag_was_raised_when_its_gate_failed_and_when_it_was_back() -> None:
    story = story_of(ROLLED_BACK)
    assert [(at - RUN_AT, percentage) for at, percentage in story.raises] == [(1.0, 25.0), (96.0, 50.0)]
    assert story.failed_percentage == 50.0
    assert (story.failed_at, story.zero_at, story.ended_at) == (RUN_AT + 120, RUN_AT + 121, RUN_AT + 124)
    assert (story.outcome, story.sentence) == ("rolled_back", "twice the errors")


def test_holds_are_summed_and_the_end_of_the_run_closes_them() -> None:
    assert story_of(ROLLED_BACK).holds == {"inconclusive": 24.0}


def test_a_run_without_an_end_is_held_and_tells_by_what() -> None:
    story = story_of(ROLLED_BACK[:3])
    told = outcome_of("one", False, story, Notes([second(3, off=200)]), counted=200.0)
    assert (told.ended, told.open_holds, told.is_right) == ("held", ["inconclusive g: 1 to 30"], False)


def test_times_are_since_the_first_raise() -> None:
    told = outcome_of("one", True, story_of(ROLLED_BACK), Notes([second(122, on=9, off=191)]), counted=200.0)
    assert (told.breach_seconds, told.zero_seconds, told.last_canary_seconds, told.end_seconds) == (119, 120, 121, 123)


def test_a_refused_change_of_the_flag_is_no_raise() -> None:
    refused = event(1, "EffectFinished", state="refused", observed={"percentage": 25.0})
    assert story_of([event(0, "RunStarted"), refused]).raises == []


def test_the_lowest_rate_is_that_of_the_worst_ten_seconds() -> None:
    notes = Notes(second(at, off=20 if 40 <= at < 50 else 200) for at in range(1, 101))
    rates = notes.rates(RUN_AT, RUN_AT + 100)
    assert (rates.mean, rates.lowest) == (182.0, 20.0)


def test_a_second_that_was_not_noted_had_no_answers() -> None:
    notes = Notes(second(at, off=200) for at in range(1, 101) if at not in range(40, 50))
    assert notes.rates(RUN_AT, RUN_AT + 100).lowest == 0.0


def test_two_notes_of_one_second_are_added() -> None:
    notes = Notes([second(0.9999, off=100), second(1.0001, off=50, off_errors=50)])
    assert notes.rates(RUN_AT, RUN_AT + 1).mean == 200.0


def test_the_ratio_of_the_error_rates_is_that_of_the_answers_after_the_raise() -> None:
    notes = Notes([second(1, off=50, off_errors=50), second(2, on=45, on_errors=5, off=142, off_errors=8)])
    assert notes.ratio(RUN_AT + 1) == pytest.approx(0.1 / (8 / 150))


def test_a_rollout_with_too_little_load_is_listed_and_not_counted() -> None:
    found = rollouts.summary(
        [outcome(regressed=False, ended="rolled_back", lowest_rate=179.0), outcome(regressed=False, ended="promoted")],
        Conditions(),
    )
    assert found["healthy"] == {"made": 2, "right": 1, "wrong": 0, "held": 0, "refused": 1}
    assert [one["is_counted"] for one in found["rollouts"]] == [False, True]


def test_each_outcome_is_right_wrong_or_held() -> None:
    made = [
        *(outcome(regressed=True, ended=ended) for ended in ("rolled_back", "rolled_back", "promoted", "held")),
        *(outcome(regressed=False, ended=ended) for ended in ("promoted", "rolled_back", "stopped", "held")),
    ]
    found = rollouts.summary(made, Conditions())
    assert found["regressed"] == {"made": 4, "right": 2, "wrong": 1, "held": 1, "refused": 0}
    assert found["healthy"] == {"made": 4, "right": 1, "wrong": 2, "held": 1, "refused": 0}


def test_the_times_are_those_of_regressed_rollouts_that_count() -> None:
    made = [
        outcome(regressed=True, ended="rolled_back", breach_seconds=seconds, lowest_rate=lowest)
        for seconds, lowest in ((70.0, 195.0), (80.0, 195.0), (120.0, 195.0), (999.0, 100.0))
    ]
    assert rollouts.summary(made, Conditions())["seconds_since_raise"]["breach"] == {
        "median": 80.0,
        "least": 70.0,
        "most": 120.0,
    }


def test_it_is_told_how_far_a_regressed_rollout_had_come() -> None:
    late = replace(outcome(regressed=True, ended="rolled_back"), percentage=50.0)
    early, missed = outcome(regressed=True, ended="rolled_back"), outcome(regressed=True, ended="promoted")
    assert rollouts.summary([late, early, early, missed], Conditions())["rolled_back_at"] == {"25": 2, "50": 1}


def test_an_unfinished_story_has_no_percentage() -> None:
    assert Story(RUN_AT).percentage == 0.0
