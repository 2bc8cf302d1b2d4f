"""The way back: what goes where, in which order, and what stays."""

from typing import Any

import pytest

from orchestrator.core.effect import EffectState, Outcome
from orchestrator.core.events import EffectRequested, InheritedTarget
from orchestrator.core.evidence import Jump, note_jump
from orchestrator.core.view import status
from orchestrator.errors import Refused
from stages.checks import Standing
from stages.effects import SetFlag
from stages.flag_spec import ABSENT
from tests.orchestrator.core.drive import Drive
from tests.orchestrator.core.test_forward import GATE

FILES = {"1.sql": "create table a (x)", "1.down.sql": "drop table a", "2.sql": "create table b (x)"}


def deploy(name: str, **fields: Any) -> dict[str, Any]:
    observed = {"observe": ["./version.sh"], "undo": ["./deploy.sh", "{before}"]}
    return {
        "name": name,
        "kind": "steps",
        "steps": [{"command": ["./deploy.sh", "v2"], "target": name, **observed, **fields}],
    }


def spec(**fields: Any) -> dict[str, Any]:
    stages = [
        {"name": "schema", "kind": "migration", "database": "sqlite:///x",
         "migrations": [{"up": "1.sql", "down": "1.down.sql"}]},
        deploy("backend"),
        deploy("workers"),
        {"name": "open", "kind": "queue", "flag": "beta", "percentages": [10, 100], "gate": "health", "bake": "1m",
         "settle": "20s", "drain": {"query": "depth", "timeout": "1m"}},
    ]  # fmt: skip
    return {"flags": {"beta": {}}, **GATE, "stages": stages, **fields}


def bad_at_ten(drive: Drive) -> Drive:
    drive.metrics["errors"] = lambda one: 0.5 if one.percentage("beta") >= 10 else 0.0
    return drive


def undone(drive: Drive) -> list[str]:
    return [effect.target for effect in drive.performed if effect.node is not None]


def test_exposure_goes_first_then_it_settles_and_drains_then_the_rest_last_first() -> None:
    drive = bad_at_ten(Drive(spec(), FILES))
    drive.metrics["depth"] = lambda one: 0.0 if one.percentage("beta") == 0 else 9.0
    drive.run_until(lambda: drive.state.rollback is not None)
    begun = drive.now
    drive.run_until(lambda: "command:production/workers" in undone(drive))
    assert drive.now - begun >= 20
    drive.run_until(lambda: drive.state.ended)
    assert undone(drive) == ["flag:production/beta", "command:production/workers", "command:production/backend"]
    assert drive.world["command:production/backend"] == {"text": "old"}


def test_a_clock_that_is_set_ahead_cuts_no_drain_short() -> None:
    drive = bad_at_ten(Drive(spec(), FILES))
    drive.metrics["depth"] = lambda one: 9.0
    drive.run_until(lambda: "drain:production/open" in _begun(drive))
    begun = drive.now
    drive.advance(5.0)
    drive.now += 40.0
    drive.evidence = note_jump(drive.evidence, Jump(drive.now, 40.0))
    drive.run_until(lambda: "command:production/workers" in undone(drive))
    assert drive.now - begun >= 100.0


def _begun(drive: Drive) -> set[str]:
    rollback = drive.state.rollback
    return set() if rollback is None else {key for key, node in rollback.nodes.items() if node.started_at is not None}


def test_the_schema_stays_unless_the_plan_opts_in_or_a_person_asks() -> None:
    drive = bad_at_ten(Drive(spec(), FILES))
    drive.run_until(lambda: drive.state.ended)
    assert drive.world["schema:production/1.sql"] == {"applied": True}
    assert any("1.sql in production stays" in entry for entry in drive.state.exceptions)


def test_a_person_can_ask_for_the_schema_while_the_rollback_runs() -> None:
    drive = bad_at_ten(Drive(spec(), FILES))
    drive.run_until(lambda: drive.state.rollback is not None)
    drive.command("rollback", with_schema=True, reason="the table too")
    drive.run_until(lambda: drive.state.ended)
    assert undone(drive)[-1] == "schema:production/1.sql"
    assert drive.world["schema:production/1.sql"] == {"applied": False}


def test_the_schema_goes_back_by_itself_where_the_plan_says_down() -> None:
    plan = spec()
    plan["stages"][0]["on_rollback"] = "down"
    drive = bad_at_ten(Drive(plan, FILES))
    drive.run_until(lambda: drive.state.ended)
    assert undone(drive)[-1] == "schema:production/1.sql"


def test_the_schema_waits_for_an_answer_where_the_plan_asks() -> None:
    plan = spec()
    plan["stages"][0]["on_rollback"] = {"ask": "Drop the table?", "by": ["dba"]}
    drive = bad_at_ten(Drive(plan, FILES))
    drive.run_until(lambda: "manual" in drive.holds())
    assert drive.world["command:production/backend"] == {"text": "old"} or not drive.state.ended
    left = status(drive.state, drive.evidence, drive.now)["rollback"]["left"]
    assert any("1.sql in production stays" in one for one in left)
    drive.command("approve", reason="yes")
    drive.run_until(lambda: drive.state.ended)
    assert undone(drive)[-1] == "schema:production/1.sql"


def test_once_somebody_asked_for_the_schema_it_is_not_said_to_stay() -> None:
    plan = spec()
    plan["stages"][0]["on_rollback"] = {"ask": "Drop the table?", "by": ["dba"]}
    drive = Drive(plan, FILES)
    drive.run_until(lambda: ("production", plan["stages"][0]["name"]) in drive.state.stages)
    drive.command("rollback", reason="not wanted")
    drive.run_until(lambda: "manual" in drive.holds())
    drive.command("approve", reason="yes")
    drive.run_until(lambda: drive.state.ended)
    assert drive.world["schema:production/1.sql"] == {"applied": False}
    said = status(drive.state, drive.evidence, drive.now)
    assert (said["exceptions"], said["rollback"]["left"]) == ([], [])


def test_a_failing_undo_is_tried_again_for_ever_and_blocks_only_what_depends_on_it() -> None:
    drive = bad_at_ten(Drive(spec(), FILES))
    drive.outcomes["command:production/workers"] = [Outcome(state=EffectState.DONE, observed={"text": "v2"})]
    drive.run_until(lambda: drive.state.rollback is not None)
    drive.world["command:production/workers"] = {"text": "v2"}
    drive.outcomes["command:production/workers"] = [
        Outcome(state=EffectState.REFUSED, detail="exit code 1") for _ in range(30)
    ]
    drive.advance(600)
    assert drive.world["command:production/backend"] == {"text": "old"}
    assert "undo_failing" in drive.holds()
    drive.command("resolve", target="command:production/workers", reason="done by hand")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rollback_failed"


@pytest.mark.parametrize(("taken_as", "runs"), (("not_done", 2), ("done", 1)))
def test_an_undo_that_nobody_can_look_at_is_tried_again_only_if_it_was_not_done(taken_as: str, runs: int) -> None:
    drive = bad_at_ten(Drive(spec(), FILES))
    target = "command:production/workers"
    drive.run_until(lambda: drive.state.rollback is not None)
    drive.outcomes[target] = [Outcome(state=EffectState.UNKNOWN, detail="timed out")]
    drive.run_until(lambda: "unknown_outcome" in drive.holds())
    drive.command("resolve", target=target, taken_as=taken_as, reason="looked at it")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    asked = [event.effect for event in drive.events if isinstance(event, EffectRequested) and event.effect.node]
    assert [effect.target for effect in asked].count(target) == runs


def test_pause_stops_new_undos_and_resume_goes_on() -> None:
    drive = bad_at_ten(Drive(spec(), FILES))
    drive.run_until(lambda: "flag:production/beta" in undone(drive))
    drive.command("pause", reason="look first")
    drive.advance(600)
    assert undone(drive) == ["flag:production/beta"]
    drive.command("resume", reason="go on")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"


def test_a_flag_that_somebody_changed_meanwhile_goes_to_the_safer_of_the_two() -> None:
    drive = Drive(spec(), FILES, beta=flag(percentage=5.0))
    drive.run_until(lambda: drive.percentage("beta") == 10)
    drive.somebody_sets("beta", percentage=2.0)
    drive.command("rollback", reason="errors")
    drive.run_until(lambda: drive.state.ended)
    assert drive.percentage("beta") == 2


def flag(**fields: Any) -> dict[str, Any]:
    return {
        "state": "enabled", "variants": {"on": True, "off": False}, "default_variant": "off", "on_variant": "on",
        "targets": {}, "percentage": 0.0, "parameters": {}, "profiles": {}, "profile": None, "permanent": False,
        **fields,
    }  # fmt: skip


def test_a_target_that_drifted_is_left_listed_and_asked_about() -> None:
    drive = bad_at_ten(Drive(spec(), FILES))
    drive.run_until(lambda: drive.percentage("beta") == 10)
    drive.world["command:production/backend"] = {"text": "v3"}
    drive.run_until(lambda: "manual" in drive.holds())
    assert "command:production/workers" in undone(drive)
    assert "command:production/backend" not in undone(drive)
    drive.command("reject", reason="v3 is a hot fix")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert drive.world["command:production/backend"] == {"text": "v3"}
    assert any("changed by somebody else" in entry for entry in drive.state.exceptions)


def test_nothing_behind_a_point_of_no_return_is_undone_and_a_person_takes_it_as_it_is() -> None:
    plan = spec()
    plan["stages"][1]["point_of_no_return"] = True
    drive = bad_at_ten(Drive(plan, FILES))
    drive.run_until(lambda: "point_of_no_return" in drive.holds())
    drive.advance(300)
    assert undone(drive) == ["flag:production/beta", "command:production/workers"]
    drive.command("resolve", target="no_return", reason="known")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"


def test_what_goes_back_only_to_a_point_of_no_return_is_named() -> None:
    later = {"name": "later", "kind": "steps", "steps": [{"flag": "beta", "percentage": 60}]}
    first = {"name": "first", "kind": "monitoring", "flag": "beta", "percentages": [30], "bake": "1m"}
    wall = {**deploy("backend"), "point_of_no_return": True}
    drive = Drive({"flags": {"beta": {}}, "stages": [first, wall, later], "watch": "10m"}, FILES)
    drive.run_until(lambda: drive.percentage("beta") == 60)
    drive.command("rollback", reason="enough")
    drive.run_until(lambda: "point_of_no_return" in drive.holds())
    drive.command("resolve", target="no_return", reason="known")
    drive.run_until(lambda: drive.state.ended)
    assert drive.percentage("beta") == 30
    assert "flag beta in production goes back only to what it was at the point of no return" in drive.state.exceptions


def test_rollback_of_a_stage_takes_it_and_all_after_it_back_and_then_is_paused() -> None:
    drive = Drive(spec(), FILES)
    drive.run_until(lambda: drive.percentage("beta") == 10)
    drive.command("rollback", stage="workers", reason="workers misbehave")
    drive.run_until(lambda: drive.state.rollback is None)
    assert undone(drive) == ["flag:production/beta", "command:production/workers"]
    assert drive.holds() == {"paused"}
    assert drive.state.phase == "running"
    drive.command("resume", reason="go on without")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "promoted"
    assert drive.percentage("beta") == 0


def test_rollback_of_a_stage_does_not_lead_across_a_point_of_no_return() -> None:
    plan = spec()
    plan["stages"][2]["point_of_no_return"] = True
    drive = Drive(plan, FILES)
    drive.run_until(lambda: drive.percentage("beta") == 10)
    with pytest.raises(Refused, match="point of no return"):
        drive.command("rollback", stage="backend", reason="no")


def test_before_after_and_verify_of_the_rollback_are_done_in_their_order() -> None:
    sections = {
        "before": [{"command": ["./stop-intake.sh"], "undo": "none"}],
        "after": [{"command": ["./start-intake.sh"], "undo": "none"}],
        "verify": [{"name": "answers", "command": ["./verify.sh"]}],
    }
    drive = bad_at_ten(Drive(spec(rollback=sections), FILES))
    drive.checks["answers"] = Standing.NO
    drive.advance(1200)
    names = [effect.label for effect in drive.performed if effect.node is not None]
    assert names.index("run ./stop-intake.sh") < names.index("workers in production back")
    assert names[-1] == "run ./start-intake.sh"
    assert "undo_failing" in drive.holds()
    drive.checks["answers"] = Standing.YES
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"


def test_a_yes_to_a_question_does_its_actions_and_verifies_once_more() -> None:
    ask = {"question": "Clear the cache?", "by": ["dba"], "actions": [{"command": ["./clear.sh"], "undo": "none"}]}
    verify = [{"name": "answers", "command": ["./verify.sh"]}]
    drive = bad_at_ten(Drive(spec(rollback={"ask": [ask], "verify": verify}), FILES))
    drive.run_until(lambda: "manual" in drive.holds())
    drive.command("approve", reason="corrupt")
    drive.run_until(lambda: drive.state.ended)
    assert [effect.label for effect in drive.performed][-1] == "run ./clear.sh"
    assert drive.state.outcome == "rolled_back"


@pytest.mark.parametrize("state", (EffectState.UNKNOWN, EffectState.TEMPORARY))
def test_what_an_answer_does_may_come_to_its_end_after_a_wider_way_back_was_begun(state: EffectState) -> None:
    ask = {"question": "Clear?", "by": ["dba"], "actions": [{"command": ["./clear.sh"], "target": "c", "undo": "none"}]}
    plan = spec()
    plan["stages"][2]["rollback"] = {"ask": [ask]}
    drive = Drive(plan, FILES)
    drive.run_until(lambda: drive.percentage("beta") == 10)
    drive.command("rollback", stage="workers", reason="workers misbehave")
    drive.run_until(lambda: "manual" in drive.holds())
    drive.outcomes["command:production/c"] = [Outcome(state=state, detail="no answer")] * 3
    drive.command("approve", reason="corrupt")
    assert "command:production/c" in drive.state.outstanding
    drive.command("rollback", reason="all of it")
    if state is EffectState.UNKNOWN:
        drive.command("resolve", target="command:production/c", taken_as="done", reason="looked at it")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert drive.world["command:production/backend"] == {"text": "old"}


def test_an_unanswered_question_counts_as_no_after_a_day() -> None:
    ask = {"question": "Clear the cache?", "actions": [{"command": ["./clear.sh"], "undo": "none"}]}
    drive = bad_at_ten(Drive(spec(rollback={"ask": [ask]}), FILES))
    drive.run_until(lambda: drive.state.ended, limit_seconds=100_000, step=60)
    assert all("clear" not in effect.label for effect in drive.performed)


def test_stop_leaves_the_world_as_it_is() -> None:
    drive = Drive(spec(), FILES)
    drive.run_until(lambda: drive.percentage("beta") == 10)
    drive.command("stop", reason="enough")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "stopped"
    assert drive.percentage("beta") == 10


def test_rollback_before_anything_was_touched_ends_the_run_at_once() -> None:
    drive = Drive(spec(checks=[{"name": "never", "command": ["./no.sh"]}]), FILES)
    drive.checks["never"] = Standing.NO
    drive.advance(10)
    drive.command("rollback", reason="not today")
    assert drive.state.outcome == "rolled_back"
    assert drive.performed == []


def test_a_person_can_take_back_a_change_without_prometheus_and_while_it_is_killed() -> None:
    drive = Drive(spec(), FILES)
    drive.run_until(lambda: drive.percentage("beta") == 10)
    drive.metrics = {"errors": None, "depth": None}
    drive.command("rollback", reason="a feeling")
    drive.run_until(lambda: drive.state.ended)
    assert drive.percentage("beta") == 0
    assert isinstance(drive.performed[-1].operation, object)
    assert not isinstance(drive.performed[-1].operation, SetFlag)


def test_nothing_is_waited_for_where_nothing_follows_the_exposure() -> None:
    stage = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [100], "settle": "10m", "bake": "1h"}
    drive = Drive({"flags": {"beta": {}}, "stages": [stage]})
    drive.run_until(lambda: drive.percentage("beta") == 100)
    drive.advance(5)
    drive.command("rollback", reason="no")
    drive.run_until(lambda: drive.state.ended, limit_seconds=5)


def test_a_way_back_through_two_environments_asks_in_each_ones_place() -> None:
    check = {"name": "answers", "command": ["./verify.sh"]}
    declared = {"observe": ["./show.sh"], "undo": ["./set.sh", "{before}"]}
    back = {"op": "run_command", "argv": ["./set.sh", "old"]}
    stage = {
        "name": "open", "kind": "queue", "flag": "beta", "percentages": [50],
        "drain": {"query": "sum(queue_depth)", "until": "== 0", "timeout": "1m"}, "rollback": {"verify": [check]},
        "before": [{"command": ["./set.sh"], "target": "app", **declared}],
    }  # fmt: skip
    spec = {"flags": {"beta": {}}, "environments": [{"name": "staging"}, {"name": "production"}], "stages": [stage]}
    there = [
        {"id": f"{kind}:{environment}/{name}", "kind": kind, "title": name, "environment": environment,
         "stage": "open", "before": before, "value": value, "existed": True,
         "undo": back if kind == "command" else None}
        for environment in ("staging", "production")
        for kind, name, before, value in (
            ("flag", "beta", ABSENT, {**ABSENT, "state": "enabled", "percentage": 50.0}),
            ("command", "app", {"text": "old"}, {"text": "new"}),
        )
    ]  # fmt: skip
    drive = Drive(spec, inherited=tuple(map(InheritedTarget.model_validate, there)), reverses="change-0")
    drive.run_until(lambda: drive.state.ended)
    for environment in ("staging", "production"):
        found = {key: where for key, where in drive.asked_in.items() if f":{environment}/" in key}
        assert set(found.values()) == {environment}
        for begin in ("drain:", "rollback:verify:", "observe:command:", "observe:flag:"):
            assert any(key.startswith(begin) for key in found), (begin, sorted(drive.asked_in))
