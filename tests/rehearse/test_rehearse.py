"""A plan walked in the rehearsed world: what happens, how long it takes, what comes back, who is told."""

import json
from dataclasses import replace

import pytest

from orchestrator.errors import UsageError
from orchestrator.rehearse import Result
from orchestrator.rehearse.scenarios import TABLE
from tests.rehearse.plans import EVERYTHING, SMALL, read, rehearsed, rows, without_untold

DAY = 86_400.0


@pytest.fixture(scope="module")
def small() -> Result:
    return rehearsed(read(SMALL))


def test_a_sound_plan_ends_as_promised_in_every_scenario(small: Result) -> None:
    assert [row.problems for row in small.all_rows if row.problems] == []
    assert small.is_fine


def test_the_way_forward_takes_what_the_plan_says(small: Result) -> None:
    assert small.forward.end == "promoted"
    assert 2 * DAY + 3600 < small.forward.seconds < 2 * DAY + 3600 + 300
    assert [(one.step, one.percentage) for one in small.milestones] == [("10%", 10.0), ("100%", 100.0), ("", None)]
    for step in small.milestones[:2]:
        assert 1800 <= step.left_seconds - step.reached_seconds < 1800 + 120


def test_a_person_brings_exposure_back_within_seconds_from_every_step(small: Result) -> None:
    back = rows(small, "back")
    assert [row.place for row in back] == ["open / 10%", "open / 100%", "watch"]
    for row in back:
        assert row.end == "rolled_back"
        assert row.exposure_back_seconds is not None
        assert row.exposure_back_seconds < 5
        assert any("was not there before" in words for words in row.stays)


def test_a_gate_that_fails_rolls_back_when_its_breach_has_lasted(small: Result) -> None:
    failing = rows(small, "gate")
    assert {row.end for row in failing} == {"rolled_back"}
    assert all(row.exposure_back_seconds is not None and 30 <= row.exposure_back_seconds < 60 for row in failing)


def test_while_prometheus_is_away_the_run_holds_and_goes_on_soon_after(small: Result) -> None:
    away = rows(small, "prometheus")
    assert {row.end for row in away} == {"goes on"}
    assert all(row.told == ("team",) for row in away if row.stage == "open")
    for row in away:
        assert row.lasted_seconds == 900
        assert row.seconds - row.lasted_seconds < 60


def test_a_killed_controller_goes_on(small: Result) -> None:
    for name in ("kill", "kill-before", "kill-after"):
        assert {row.end for row in rows(small, name)} == {"goes on"}


def test_a_stop_says_what_stays_as_it_is(small: Result) -> None:
    stopped = rows(small, "stop")
    assert {row.end for row in stopped} == {"stopped"}
    assert stopped[0].stays == ("flag checkout in production stays as it is",)


def test_the_same_seed_says_the_same_and_another_one_takes_other_times(small: Result) -> None:
    again, other = rehearsed(read(SMALL), ["back"]), rehearsed(read(SMALL), ["back"], seed=2)
    assert rows(again, "back") == rows(small, "back")
    assert rows(other, "back") != rows(small, "back")
    assert [row.end for row in other.rows] == [row.end for row in again.rows]


def test_nobody_told_is_told() -> None:
    silent = read(SMALL.replace("notify", "x-notify").replace("percentages", "approval: {any_of: [dba]}, percentages"))
    result = rehearsed(silent, ["reject"])
    assert not result.is_fine
    (problem,) = result.forward.problems
    assert problem == "it needs a person (approval), and nobody is told: the plan has no notify.channels"
    (rejected,) = rows(result, "reject")
    assert (rejected.end, rejected.problems) == ("waits for a person", (problem,))


def test_the_budget_cuts_and_says_what_was_not_walked() -> None:
    whole = rehearsed(read(SMALL), ["back", "stop"])
    cut = rehearsed(read(SMALL), ["back", "stop"], most=whole.steps // 2)
    assert len(cut.rows) + len(cut.cut) == len(whole.rows)
    assert cut.cut[-1] == "stop: production / watch"
    assert cut.is_fine


def test_unknown_names_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="there is no scenario sideways; there are forward, back, gate"):
        rehearsed(read(SMALL), ["sideways"])
    with pytest.raises(UsageError, match="the plan has no environment moon; it has production"):
        rehearsed(read(SMALL), environment="moon")


@pytest.fixture(scope="module")
def everything() -> Result:
    """Where all is quick."""
    quick = EVERYTHING.replace("    - {name: production, ", "    # ")
    return rehearsed(read(quick), ["trigger", "drain"])


def test_every_kind_of_stage_action_and_criterion_is_walked(everything: Result) -> None:
    assert everything.forward.end == "promoted"
    assert without_untold(everything) == []
    assert {one.environment for one in everything.rows} == {"staging"}


def test_each_trigger_fires_and_does_what_it_says(everything: Result) -> None:
    ends = {row.at: row.end for row in rows(everything, "trigger")}
    assert ends == {
        "burning, then rollback": "rolled_back",
        "noisy, then continue": "goes on",
        "by hand, then rollback": "rolled_back",
    }


def test_a_target_whose_way_back_is_refused_is_given_up_by_a_person_who_was_told(small: Result) -> None:
    (flag,) = rows(small, "stuck")
    assert (flag.at, flag.end) == ("flag checkout in production", "rollback_failed")
    assert [(need.hold, need.told) for need in flag.needs] == [("undo_failing", ("team",))]
    assert flag.needs[0].told_after_seconds is not None
    assert 30 <= flag.needs[0].told_after_seconds < 60
    assert any("flag checkout in production" in words for words in flag.stays)


def test_a_queue_that_never_drains_is_waited_for_and_no_longer(everything: Result) -> None:
    (row,) = rows(everything, "drain")
    assert row.end == "rolled_back"
    assert any("not drained in time" in words for words in row.stays)


def test_the_json_has_every_case_under_its_scenario(small: Result) -> None:
    found = json.loads(json.dumps(small.to_json()))
    assert found["as_promised"] is True
    assert [one["name"] for one in found["scenarios"]] == [one.name for one in TABLE]
    assert sum(len(one["cases"]) for one in found["scenarios"]) == len(small.rows)
    broken = replace(small, rows=(replace(small.rows[0], problems=("it is so",)), *small.rows[1:]))
    assert broken.to_json()["as_promised"] is False
