"""What keeps the journal of a finished run whole."""

from typing import Any

import pytest

from orchestrator.core.keeping import why_whole
from orchestrator.core.state import State
from tests.orchestrator.core.drive import Drive
from tests.orchestrator.core.test_backward import FILES, bad_at_ten, spec

OPEN = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [50], "bake": "1m", "settle": "0s"}
OFF = {"name": "off", "by_hand": True, "then": "continue", "actions": [{"disable": "beta"}]}


def drive_of(**spec: Any) -> Drive:
    return Drive({"flags": {"beta": {}}, "stages": [OPEN], **spec})


def ended(drive: Drive) -> State:
    drive.run_until(lambda: drive.state.ended)
    return drive.state


def baking(drive: Drive) -> Drive:
    drive.run_until(lambda: drive.state.leg == "baking")
    return drive


def why(state: State, *, is_taken_on: bool = False) -> str | None:
    return why_whole(state, is_taken_on=is_taken_on)


def test_of_a_run_that_was_promoted_nothing_more_than_its_report_is_needed() -> None:
    assert why(ended(drive_of())) is None


def test_nor_of_one_that_was_rolled_back() -> None:
    drive = baking(drive_of())
    drive.command("rollback", reason="enough")
    assert why(ended(drive)) is None
    assert drive.state.outcome == "rolled_back"


def test_a_run_that_has_not_ended_stays_whole_whatever_took_it_on() -> None:
    assert why(baking(drive_of()).state, is_taken_on=True) == "it has not ended"


@pytest.mark.parametrize("is_taken_on", (False, True))
def test_a_follow_up_keeps_it_until_somebody_has_answered(is_taken_on: bool) -> None:
    drive = drive_of(follow_up=[{"name": "clean", "manual": "Take the flag out of the code", "due": "1h"}])
    assert why(ended(drive), is_taken_on=is_taken_on) == "follow_up:clean waits for an answer"
    drive.command("approve", item="follow_up:clean", reason="done")
    assert why(drive.state, is_taken_on=is_taken_on) is None


def test_success_that_is_still_to_be_judged_keeps_it() -> None:
    drive = drive_of(success=[{"name": "fewer", "query": "errors", "is": "< 1", "after": "1h"}])
    assert why(ended(drive)) == "something of it is still to be judged or told"
    drive.advance(2 * 3600.0, step=60.0)
    assert why(drive.state) is None


def test_a_flag_that_stays_pinned_keeps_it_until_another_run_takes_it_on() -> None:
    drive = baking(drive_of(triggers=[OFF]))
    drive.command("fire", trigger="off", reason="it smells")
    drive.command("resume", pin="keep", reason="leave it off")
    assert why(ended(drive)) == "flag:production/beta stays pinned by trigger off"
    assert why(drive.state, is_taken_on=True) is None


def test_a_pin_does_not_keep_a_run_whose_flag_went_back() -> None:
    drive = baking(drive_of(triggers=[OFF]))
    drive.command("fire", trigger="off", reason="it smells")
    drive.command("rollback", reason="it does")
    assert why(ended(drive)) is None


def test_what_a_stopped_run_left_as_it_is_keeps_it_until_another_run_takes_it_on() -> None:
    drive = baking(drive_of())
    drive.command("stop", reason="later")
    assert str(why(ended(drive))).endswith("stays as it is")
    assert why(drive.state, is_taken_on=True) is None


def test_a_run_that_was_stopped_before_it_touched_anything_is_not_kept() -> None:
    drive = drive_of(checks=[{"name": "go", "manual": "Go?"}])
    drive.settle()
    drive.command("stop", reason="not today")
    assert why(ended(drive)) is None


def drifted() -> Drive:
    """On its way back, which meets a version of the backend that somebody else deployed meanwhile."""
    drive = bad_at_ten(Drive(spec(), FILES))
    drive.run_until(lambda: drive.percentage("beta") == 10)
    drive.world["command:production/backend"] = {"text": "v3"}
    drive.run_until(lambda: "manual" in drive.holds())
    return drive


def test_a_target_that_somebody_else_changed_and_nobody_decided_about_keeps_it() -> None:
    drive = drifted()
    drive.run_until(lambda: drive.state.ended, limit_seconds=2 * 86400.0, step=600.0)
    assert str(why(drive.state)).startswith("command:production/backend did not come back")
    assert why(drive.state, is_taken_on=True) is None


@pytest.mark.parametrize("answer", ("approve", "reject"))
def test_one_that_a_person_left_or_took_back_after_all_does_not(answer: str) -> None:
    drive = drifted()
    drive.command(answer, reason="it is known")
    assert why(ended(drive)) is None
