"""What the simulation found in the core, each as small as it could be made."""

from tests.orchestrator.core.drive import Drive
from tests.orchestrator.core.test_backward import FILES, deploy, spec


def test_what_stays_at_a_partial_rollback_is_still_listed_when_the_whole_run_goes_back() -> None:
    drive = Drive(spec(watch="1h"), FILES)
    drive.metrics |= {"errors": 0.0, "depth": 0.0}
    drive.run_until(lambda: drive.state.phase == "watching")
    drive.command("rollback", stage="schema")
    drive.run_until(lambda: drive.state.rollback is None)
    drive.command("rollback")
    drive.run_until(lambda: drive.state.ended)
    assert drive.world["schema:production/1.sql"] == {"applied": True}
    assert any("1.sql in production stays" in entry for entry in drive.state.exceptions)


def test_a_schema_that_stayed_at_a_partial_rollback_can_still_be_taken_back() -> None:
    drive = Drive(spec(watch="1h"), FILES)
    drive.metrics |= {"errors": 0.0, "depth": 0.0}
    drive.run_until(lambda: drive.state.phase == "watching")
    drive.command("rollback", stage="schema")
    drive.run_until(lambda: drive.state.rollback is None)
    drive.command("rollback", with_schema=True)
    drive.run_until(lambda: drive.state.ended)
    assert drive.world["schema:production/1.sql"] == {"applied": False}


def test_a_paused_way_back_is_resumed_without_a_word_about_pins() -> None:
    trigger = {"name": "off", "by_hand": True, "then": "hold", "actions": [{"disable": "beta"}]}
    drive = Drive({"flags": {"beta": {}}, "stages": [deploy("backend"), _open()], "triggers": [trigger]})
    drive.run_until(lambda: drive.percentage("beta") == 10)
    drive.command("fire", trigger="off")
    drive.settle()
    drive.command("rollback")
    drive.command("pause")
    drive.command("resume")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"


def _open() -> dict[str, object]:
    return {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [10, 100], "bake": "5m"}
