"""What the simulation found in the core, each as small as it could be made."""

import pytest

from orchestrator.core.effect import EffectState, Outcome
from orchestrator.core.events import HoldSet, OnFailPaused, RollbackStarted
from orchestrator.errors import Refused
from stages.checks import Standing
from stages.effects import RunCommand
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


def test_what_a_trigger_touches_while_it_rolls_back_goes_back_too() -> None:
    back = {"observe": ["./page.sh"], "undo": ["./page.sh", "{before}"]}
    tell = {"command": ["./page.sh", "on"], "target": "page", **back}
    trigger = {"name": "errors", "query": "bad", "fail": "> 0.1", "then": "rollback", "actions": [tell]}
    drive = Drive({"flags": {"beta": {}}, "stages": [_open()], "triggers": [trigger]})
    drive.metrics["bad"] = lambda one: 0.5 if one.percentage("beta") >= 10 else 0.0
    drive.run_until(lambda: drive.state.ended)
    calls = [effect.operation for effect in drive.performed if effect.target == "command:production/page"]
    assert [call.argv[1] for call in calls if isinstance(call, RunCommand)] == [
        "on",
        "old",
    ]


def test_what_a_trigger_touched_goes_back_after_exposure_as_everything_does() -> None:
    """Though it belongs to no stage of the plan, and so to none whose exposure it came before."""
    back = {"observe": ["./page.sh"], "undo": ["./page.sh", "{before}"]}
    tell = {"command": ["./page.sh", "on"], "target": "page", **back}
    trigger = {"name": "tell", "by_hand": True, "then": "continue", "actions": [tell]}
    drive = Drive({"flags": {"beta": {}}, "stages": [_open()], "triggers": [trigger]})
    drive.run_until(lambda: drive.percentage("beta") == 10)
    drive.command("fire", trigger="tell")
    drive.run_until(lambda: drive.percentage("beta") == 100)
    drive.command("rollback")
    drive.run_until(lambda: drive.state.ended)
    targets = [effect.target for effect in drive.performed if effect.node is not None]
    assert targets == ["flag:production/beta", "command:production/page"]
    (started,) = [event for event in drive.events if isinstance(event, RollbackStarted)]
    after = {node.id: node.after for node in started.nodes}
    (settle,) = after["undo:command:production/page"]
    assert after[settle] == ("exposure:flag:production/beta",)


def test_what_a_trigger_touches_for_good_while_it_rolls_back_is_listed() -> None:
    tell = {"command": ["./page.sh", "on"], "target": "page", "undo": "none"}
    trigger = {"name": "errors", "query": "bad", "fail": "> 0.1", "then": "rollback", "actions": [tell]}
    drive = Drive({"flags": {"beta": {}}, "stages": [_open()], "triggers": [trigger]})
    drive.metrics["bad"] = lambda one: 0.5 if one.percentage("beta") >= 10 else 0.0
    drive.run_until(lambda: drive.state.ended)
    assert any("page in production stays" in entry for entry in drive.state.exceptions)


def test_a_resume_asks_a_failed_verify_anew_before_it_can_fail_again() -> None:
    check = {"name": "works", "command": ["./works.sh"]}
    drive = Drive({"stages": [{**deploy("backend"), "verify": [check], "on_fail": "pause"}]})
    drive.checks["works"] = Standing.NO
    drive.run_until(lambda: "paused" in drive.holds())
    drive.advance(1)
    drive.checks["works"] = Standing.YES
    drive.command("resume")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "promoted"
    assert sum(isinstance(event, OnFailPaused) for event in drive.events) == 1


def test_a_check_that_keeps_saying_no_holds_without_a_break() -> None:
    drive = Drive({"checks": [{"name": "ready", "command": ["./ready.sh"]}], "stages": [deploy("backend")]})
    drive.checks["ready"] = Standing.NO
    drive.advance(3600)
    assert sum(isinstance(event, HoldSet) for event in drive.events) == 1
    assert drive.holds() == {"failing"}


def test_what_a_rollback_does_before_is_not_taken_for_what_its_stage_did_before() -> None:
    def act(name: str) -> dict[str, object]:
        return {"command": [f"./{name}.sh"], "target": name, "undo": "none"}

    back = {"before": [act("announce")], "after": [act("tidy")]}
    stage = {**_open(), "before": [act("prepare")], "after": [act("finish")], "rollback": back}
    drive = Drive({"flags": {"beta": {}}, "stages": [stage], "watch": "1h"})
    drive.run_until(lambda: drive.state.phase == "watching")
    drive.command("rollback")
    drive.run_until(lambda: drive.state.ended)
    targets = [effect.target.rpartition("/")[2] for effect in drive.performed if effect.target_kind == "command"]
    assert targets == ["prepare", "finish", "announce", "tidy"]


def begun_to_drop() -> Drive:
    """A run whose point of no return has begun, and is not over."""
    steps = [{"command": ["./drop.sh"], "target": "old", "undo": "none"}]
    drop = {"name": "drop", "kind": "steps", "point_of_no_return": True, "steps": steps}
    drive = Drive({"flags": {}, "stages": [deploy("backend"), drop]})
    drive.outcomes["command:production/old"] = [Outcome(state=EffectState.TEMPORARY, detail="it is busy")] * 3
    drive.run_until(lambda: "effect_failing" in drive.holds())
    return drive


def test_what_lies_behind_a_point_of_no_return_that_has_only_begun_stays_to_the_end() -> None:
    drive = begun_to_drop()
    drive.command("rollback")
    drive.run_until(lambda: "point_of_no_return" in drive.holds())
    drive.command("resolve", target="no_return", reason="known")
    drive.run_until(lambda: drive.state.ended)
    assert drive.world["command:production/backend"] == {"text": "v2"}
    assert any("backend in production stays: it lies behind" in words for words in drive.state.exceptions)


def test_a_partial_rollback_does_not_lead_across_a_point_of_no_return_that_has_only_begun() -> None:
    with pytest.raises(Refused, match="stage drop is a point of no return"):
        begun_to_drop().command("rollback", stage="backend")


def test_an_advance_does_not_outlast_a_gate_that_fails_after_it() -> None:
    gate = {"every": "10s", "on_fail": "pause", "criteria": [{"name": "errors", "query": "errors", "fail": "> 0.1"}]}
    first = {"name": "first", "kind": "monitoring", "flag": "alpha", "percentages": [100], "bake": "5m", "gate": "ok"}
    ready = {"name": "ready", "command": ["./ready.sh"]}
    stages = [first, {**_open(), "checks": [ready]}]
    drive = Drive({"flags": {"alpha": {}, "beta": {}}, "gates": {"ok": gate}, "stages": stages})
    drive.checks["ready"] = Standing.NO
    drive.run_until(lambda: drive.percentage("alpha") == 100)
    drive.advance(30)
    drive.command("advance")
    drive.metrics["errors"] = 0.5
    drive.run_until(lambda: "paused" in drive.holds())
    drive.checks["ready"] = Standing.YES
    drive.command("resume")
    drive.run_until(lambda: "paused" in drive.holds())
    assert drive.percentage("beta") == 0
