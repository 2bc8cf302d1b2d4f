"""What a status says so that people and programs know what to do: bounds, targets to resolve, when a window opens."""

from typing import Any

from orchestrator.core.effect import EffectState, Outcome
from orchestrator.core.times import iso
from orchestrator.core.view import stages
from tests.orchestrator.core.drive import BEGIN, Drive

GATE = {"every": "10s", "criteria": [{"name": "errors", "query": "errors", "pass": "< 5%", "fail": "> 10%"}]}
STAGE = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [5, 50], "bake": "1m"}
FLAG: dict[str, Any] = {"flags": {"beta": {}}}


def test_a_criterion_says_where_its_number_would_pass_and_fail() -> None:
    drive = Drive({**FLAG, "gates": {"health": GATE}, "stages": [{**STAGE, "gate": "health"}]})
    drive.metrics["errors"] = 0.07
    drive.run_until(lambda: "inconclusive" in drive.holds())
    (criterion,) = drive.where()["gate"]["criteria"]
    assert criterion["value"] == 0.07
    assert criterion["bounds"] == {"passes": {"op": "<", "at": 0.05}, "fails": {"op": ">", "at": 0.1}}


def test_a_hold_names_the_target_that_a_person_can_resolve_and_only_then() -> None:
    drive = Drive({**FLAG, "stages": [STAGE]})
    drive.outcomes["flag:production/beta"] = [Outcome(state=EffectState.TEMPORARY, detail="no answer")] * 3
    drive.run_until(lambda: "effect_failing" in drive.holds())
    drive.command("pause", reason="look")
    targets = {hold["reason"]: hold["target"] for hold in drive.where()["holds"]}
    assert targets == {"effect_failing": "flag:production/beta", "paused": None}
    drive.command("resolve", target=targets["effect_failing"], reason="as it is")
    assert "effect_failing" not in drive.holds()


def test_a_closed_window_says_when_it_opens_unless_something_else_holds_too() -> None:
    closed = {"deny": [{"from": "2023-11-14T00:00:00Z", "to": "2023-11-14T23:00:00Z"}]}
    drive = Drive({**FLAG, "stages": [{**STAGE, "window": closed}]})
    drive.run_until(lambda: drive.holds() == {"window"})
    assert iso(BEGIN) < drive.where()["next"]["at"] == "2023-11-14T23:00:00.000Z"
    drive.command("pause", reason="look")
    assert drive.where()["next"]["at"] is None


def test_a_stage_that_had_begun_when_the_run_turned_back_was_cut_and_is_not_still_to_do() -> None:
    first, then = {**STAGE, "percentages": [5], "bake": "0s"}, {**STAGE, "name": "more", "percentages": [50]}
    never = {**STAGE, "name": "all", "percentages": [100]}
    drive = Drive({**FLAG, "stages": [first, then, never]})
    drive.run_until(lambda: (drive.where()["stage"], drive.where()["leg"]) == ("more", "baking"))
    assert [one["state"] for one in stages(drive.state)] == ["done", "current", "todo"]
    drive.command("rollback", reason="look")
    drive.run_until(lambda: drive.state.outcome == "rolled_back")
    assert [one["state"] for one in stages(drive.state)] == ["done", "cut", "todo"]
