"""Triggers, pins, drift, the kill latch: what happens beside the plan's own way."""

from typing import Any

import pytest

from orchestrator.core.evidence import note_killed
from orchestrator.errors import Refused
from tests.orchestrator.core.drive import Drive
from tests.orchestrator.core.test_backward import flag
from tests.orchestrator.core.test_forward import GATE


def spec(*triggers: dict[str, Any], **fields: Any) -> dict[str, Any]:
    stages = [
        {"name": "one", "kind": "monitoring", "flag": "alpha", "percentages": [50, 100], "gate": "health",
         "bake": "2m"},
        {"name": "two", "kind": "batch", "flag": "beta", "gate": "health", "bake": "2m",
         "steps": [{"percentage": 10, "parameters": {"size": 5}}, {"percentage": 100}]},
    ]  # fmt: skip
    flags = {"alpha": {}, "beta": {"profiles": {"slow": {"size": 1}}}}
    return {"flags": flags, **GATE, "stages": stages, "triggers": list(triggers), **fields}


def quota(**fields: Any) -> dict[str, Any]:
    return {"name": "quota", "query": "quota", "fail": "> 0.9", "every": "5s", **fields}


def test_a_trigger_that_rolls_back_does_so_whatever_the_gate_says() -> None:
    drive = Drive(spec(quota(action="rollback")))
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.metrics["quota"] = 1.0
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert drive.percentage("alpha") == 0


def test_a_trigger_waits_for_its_time_and_one_good_look_resets_it() -> None:
    drive = Drive(spec(quota(action="rollback", **{"for": "1m"})))
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.metrics["quota"] = 1.0
    drive.advance(40)
    drive.metrics["quota"] = 0.0
    drive.advance(10)
    drive.metrics["quota"] = 1.0
    drive.advance(40)
    assert drive.state.rollback is None
    drive.advance(40)
    assert drive.state.rollback is not None


def test_an_alert_fires_once_and_again_only_after_it_was_good_and_rearmed() -> None:
    drive = Drive(spec(quota(then="continue", rearm="1m")))
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.metrics["quota"] = 1.0
    drive.advance(300)
    assert drive.types().count("TriggerFired") == 1
    drive.metrics["quota"] = 0.0
    drive.advance(60)
    drive.metrics["quota"] = 1.0
    drive.advance(60)
    assert drive.types().count("TriggerFired") == 2


def test_a_trigger_that_disables_a_flag_pins_it_and_holds_until_somebody_decides() -> None:
    drive = Drive(spec(quota(actions=[{"disable": "alpha"}])))
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.metrics["quota"] = 1.0
    drive.advance(30)
    assert drive.world["flag:production/alpha"]["state"] == "disabled"
    assert drive.holds() == {"trigger"}
    drive.metrics["quota"] = 0.0
    with pytest.raises(Refused, match="--keep"):
        drive.command("resume", reason="go on")
    drive.command("resume", pin="keep", reason="leave it off")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "promoted"
    assert drive.percentage("alpha") == 0
    assert drive.percentage("beta") == 100
    assert any("one in production was cut short" in entry for entry in drive.state.exceptions)


def test_a_released_pin_leads_back_to_the_guards_of_its_step() -> None:
    drive = Drive(spec(quota(actions=[{"disable": "alpha"}])))
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.metrics["quota"] = 1.0
    drive.advance(30)
    drive.metrics["quota"] = 0.0
    drive.advance(30)
    drive.command("resume", pin="release", reason="it was a blip")
    drive.run_until(lambda: drive.percentage("alpha") == 50, limit_seconds=60)
    drive.run_until(lambda: drive.state.ended)
    assert drive.percentage("alpha") == 100


def test_under_continue_the_run_goes_on_without_the_rest_of_the_stage() -> None:
    drive = Drive(spec(quota(actions=[{"disable": "alpha"}], then="continue")))
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.metrics["quota"] = 1.0
    drive.run_until(lambda: drive.percentage("beta") == 10)
    assert drive.percentage("alpha") == 0
    drive.metrics["quota"] = 0.0
    drive.run_until(lambda: drive.state.phase == "watching" and bool(drive.holds()))
    assert drive.holds() == {"trigger"}
    with pytest.raises(Refused, match="only be kept"):
        drive.command("resume", pin="release", reason="too late")
    drive.command("resume", pin="keep", reason="stays off")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "promoted"


def test_a_pin_on_a_profile_lets_the_stage_go_on_beneath_it() -> None:
    drive = Drive(spec(quota(actions=[{"set": {"beta": {"profile": "slow"}}}], then="continue")))
    drive.run_until(lambda: drive.percentage("beta") == 10)
    drive.metrics["quota"] = 1.0
    drive.run_until(lambda: drive.percentage("beta") == 100)
    assert drive.world["flag:production/beta"]["profile"] == "slow"


def test_a_flag_pinned_before_its_stage_holds_the_entry_until_it_is_decided() -> None:
    drive = Drive(spec(quota(actions=[{"disable": "beta"}], then="continue")))
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.metrics["quota"] = 1.0
    drive.advance(900)
    assert drive.holds() == {"trigger"}
    assert drive.percentage("alpha") == 100
    drive.command("resume", pin="release", reason="quota is back")
    drive.metrics["quota"] = 0.0
    drive.run_until(lambda: drive.percentage("beta") == 10, limit_seconds=600)


def test_a_pinned_flag_goes_back_to_the_safer_of_the_two_and_its_parameters_last() -> None:
    drive = Drive(spec(quota(actions=[{"disable": "beta"}], then="continue")), beta=flag(percentage=5.0))
    drive.run_until(lambda: drive.percentage("beta") == 10)
    drive.metrics["quota"] = 1.0
    drive.advance(20)
    drive.command("rollback", reason="all of it")
    drive.run_until(lambda: drive.state.ended)
    value = drive.world["flag:production/beta"]
    assert (value["state"], value["percentage"], value["parameters"]) == ("disabled", 5.0, {})


def test_a_breach_that_is_over_does_not_fire_again_because_a_checkpoint_was_lost() -> None:
    drive = Drive(spec(quota(then="continue", rearm="1m")))
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.metrics["quota"] = 1.0
    drive.advance(120)
    lost = drive.evidence
    drive.metrics["quota"] = 0.0
    drive.run_until(lambda: "TriggerRearmed" in drive.types())
    drive.evidence = lost
    drive.advance(60)
    assert drive.types().count("TriggerFired") == 1


def test_a_pinned_flag_that_somebody_raised_while_it_settled_is_not_left_raised_with_its_parameters() -> None:
    plan = spec(quota(actions=[{"disable": "beta"}], then="continue"))
    plan["stages"][1]["settle"] = "20s"
    drive = Drive(plan, beta=flag(percentage=5.0))
    drive.run_until(lambda: drive.percentage("beta") == 10)
    drive.metrics["quota"] = 1.0
    drive.advance(20)
    drive.command("rollback", reason="all of it")
    drive.run_until(lambda: drive.world["flag:production/beta"]["percentage"] == 5)
    drive.somebody_sets("beta", state="enabled", percentage=60.0)
    drive.run_until(lambda: drive.state.ended)
    value = drive.world["flag:production/beta"]
    assert (value["percentage"], value["parameters"]) == (5.0, {})


def test_a_trigger_may_ask_before_it_rolls_back_and_no_goes_on() -> None:
    ask = {"question": "Roll back?", "by": ["on-call"]}
    drive = Drive(spec(quota(then="rollback", ask=ask)))
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.metrics["quota"] = 1.0
    drive.advance(30)
    assert drive.holds() == {"trigger"}
    drive.command("reject", reason="known peak")
    drive.advance(30)
    assert drive.holds() == set()
    drive.metrics["quota"] = 0.0
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "promoted"


def test_yes_to_the_question_of_a_trigger_rolls_back() -> None:
    drive = Drive(spec(quota(then="rollback", ask={"question": "Roll back?", "by": ["on-call"]})))
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.metrics["quota"] = 1.0
    drive.advance(30)
    drive.command("approve", reason="yes")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"


def test_a_trigger_fired_by_hand_does_what_it_says() -> None:
    drive = Drive(spec({"name": "panic", "by_hand": True, "then": "rollback"}))
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.command("fire", trigger="panic", reason="customers call")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"


def test_somebody_elses_edit_is_never_overwritten_and_holds_until_it_is_decided() -> None:
    drive = Drive(spec())
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.advance(5)
    drive.somebody_sets("alpha", percentage=80.0)
    drive.advance(600)
    assert drive.holds() == {"changed_elsewhere"}
    assert drive.percentage("alpha") == 80
    drive.command("resume", pin="release", reason="the plan is right")
    drive.advance(5)
    assert drive.percentage("alpha") == 50
    drive.run_until(lambda: drive.state.ended)
    assert drive.percentage("alpha") == 100


def test_a_kept_edit_ends_the_stage_of_its_flag() -> None:
    drive = Drive(spec())
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.advance(5)
    drive.somebody_sets("alpha", percentage=20.0)
    drive.advance(30)
    drive.command("resume", pin="keep", reason="20 is enough")
    drive.run_until(lambda: drive.state.ended)
    assert drive.percentage("alpha") == 20
    assert drive.percentage("beta") == 100
    assert drive.state.outcome == "promoted"


def test_the_kill_switch_holds_every_run_and_evidence_starts_anew_when_it_is_lifted() -> None:
    drive = Drive(spec())
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.advance(100)
    drive.evidence = note_killed(drive.evidence, frozenset({"production"}))
    drive.advance(600)
    assert drive.holds() == {"killed"}
    drive.evidence = note_killed(drive.evidence, frozenset())
    lifted = drive.now
    drive.run_until(lambda: drive.percentage("alpha") == 100)
    assert drive.now - lifted >= 120


def test_an_armed_trigger_that_cannot_be_measured_holds() -> None:
    drive = Drive(spec(quota(action="rollback")))
    drive.run_until(lambda: drive.percentage("alpha") == 50)
    drive.advance(10)
    drive.metrics["quota"] = None
    drive.advance(600)
    assert drive.holds() == {"inconclusive"}
    assert drive.percentage("alpha") == 50


def test_a_trigger_whose_series_was_never_seen_is_not_armed_and_holds_nothing() -> None:
    drive = Drive(spec(quota(action="rollback")))
    drive.metrics["quota"] = None
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "promoted"
