"""The way forward: entries, steps, gates, bakes, the watch."""

from typing import Any

import pytest

from orchestrator.core.effect import EffectState, Outcome
from orchestrator.errors import Refused
from stages.checks import Standing
from tests.orchestrator.core.drive import Drive

FLAG: dict[str, Any] = {"flags": {"beta": {}}}
GATE = {"gates": {"health": {"every": "5s", "criteria": [{"name": "errors", "query": "errors", "fail": "> 0.1"}]}}}


def exposure(**fields: Any) -> dict[str, Any]:
    stage = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [5, 50, 100], "bake": "1m", **fields}
    return {**FLAG, **GATE, "stages": [{"gate": "health", **stage}]}


def test_a_healthy_change_goes_from_nothing_to_everybody_and_is_promoted() -> None:
    drive = Drive({**exposure(), "watch": "2m"})
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "promoted"
    assert drive.percentage("beta") == 100
    raised = [effect.operation.value["percentage"] for effect in drive.performed]  # type: ignore[union-attr]
    assert raised == [5, 50, 100]


def test_each_step_bakes_for_the_time_that_the_plan_asks() -> None:
    drive = Drive(exposure())
    drive.run_until(lambda: drive.percentage("beta") == 5)
    begun = drive.now
    drive.run_until(lambda: drive.percentage("beta") == 50)
    assert drive.now - begun >= 60


def test_every_flag_is_looked_at_before_anything_is_changed() -> None:
    drive = Drive(exposure())
    drive.run_until(lambda: "EffectRequested" in drive.types())
    types = drive.types()
    assert types.index("TargetObserved") < types.index("EffectRequested")


def test_a_failing_gate_takes_the_flag_back_to_what_was_there() -> None:
    before = {
        "state": "enabled", "variants": {"on": True, "off": False}, "default_variant": "off", "on_variant": "on",
        "targets": {"team": ["qa"]}, "percentage": 1.0, "parameters": {"x": 1}, "profiles": {}, "profile": None,
        "permanent": False,
    }  # fmt: skip
    drive = Drive(exposure(), beta=before)
    drive.metrics["errors"] = lambda one: 0.5 if one.percentage("beta") >= 50 else 0.0
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert drive.world["flag:production/beta"] == before


def test_missing_data_holds_and_moves_nothing_until_it_is_back() -> None:
    drive = Drive(exposure())
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.metrics["errors"] = None
    drive.advance(3600, step=5)
    assert drive.percentage("beta") == 5
    assert drive.holds() == {"inconclusive"}
    drive.metrics["errors"] = 0.0
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "promoted"


def test_advance_overrides_an_inconclusive_gate_but_not_a_failing_one() -> None:
    drive = Drive({**exposure(), "gates": {"health": {
        "every": "5s", "on_fail": "pause",
        "criteria": [{"name": "errors", "query": "errors", "fail": "> 0.1"}]}}})  # fmt: skip
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.metrics["errors"] = None
    drive.advance(30)
    drive.command("advance", reason="seen by eye")
    drive.run_until(lambda: drive.percentage("beta") == 50, limit_seconds=30)
    drive.metrics["errors"] = 0.5
    drive.advance(30)
    assert "paused" in drive.holds()
    with pytest.raises(Refused, match="nothing overrides"):
        drive.command("advance", reason="no")


def test_a_check_that_fails_holds_the_entry_and_is_asked_again_every_minute() -> None:
    drive = Drive({**exposure(), "checks": [{"name": "backup", "command": ["./backup-age.sh"]}]})
    drive.checks["backup"] = Standing.NO
    drive.advance(300)
    assert drive.holds() == {"failing"}
    assert drive.state.phase == "checking"
    drive.checks["backup"] = Standing.YES
    drive.run_until(lambda: drive.state.phase == "running", limit_seconds=61)


def test_an_approval_needs_somebody_else_than_the_author() -> None:
    spec = exposure(approval={"any_of": ["on-call"]})
    drive = Drive(spec)
    drive.advance(60)
    assert drive.holds() == {"approval"}
    drive.command("reject", reason="not on a Friday")
    drive.advance(60)
    assert drive.holds() == {"approval"}
    drive.command("approve", reason="fine")
    drive.run_until(lambda: drive.percentage("beta") == 5, limit_seconds=60)


def test_a_window_that_is_closed_holds_every_forward_effect() -> None:
    drive = Drive(exposure(window={"deny": [{"from": "2023-11-14T00:00:00Z", "to": "2023-11-14T23:00:00Z"}]}))
    drive.advance(1200, step=30)
    assert drive.holds() == {"window"}
    drive.run_until(lambda: drive.percentage("beta") == 5, step=30)


def test_a_span_that_is_denied_is_told_with_its_reason() -> None:
    span = {"from": "2023-11-14T00:00:00Z", "to": "2023-11-14T23:00:00Z", "reason": "stocktaking"}
    drive = Drive(exposure(window={"deny": [span]}))
    drive.settle()
    assert [hold.detail for hold in drive.state.holds.values()] == ["outside the window (UTC): stocktaking"]


def test_pause_stops_forward_moves_and_a_failing_gate_rolls_back_all_the_same() -> None:
    drive = Drive(exposure())
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.command("pause", reason="lunch")
    drive.advance(600)
    assert drive.percentage("beta") == 5
    drive.metrics["errors"] = 0.5
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"


def test_a_flag_action_refused_for_good_rolls_back_or_pauses_as_the_stage_says() -> None:
    stage = {
        "name": "deploy", "kind": "steps", "on_fail": "pause",
        "steps": [{"command": ["./deploy.sh", "v2"], "undo": ["./deploy.sh", "v1"]}],
    }  # fmt: skip
    drive = Drive({"stages": [stage]})
    target = "command:production/deploy/run ./deploy.sh v2"
    drive.outcomes[target] = [Outcome(state=EffectState.REFUSED, detail="exit code 1")]
    drive.advance(30)
    assert drive.holds() == {"paused"}
    drive.command("resume", reason="fixed the script")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "promoted"
    assert [effect.attempt for effect in drive.performed] == [2]


def test_an_effect_that_can_be_neither_repeated_nor_probed_waits_for_a_person() -> None:
    stage = {"name": "deploy", "kind": "steps", "steps": [{"command": ["./deploy.sh"], "undo": "none"}]}
    drive = Drive({"stages": [stage]})
    target = "command:production/deploy/run ./deploy.sh"
    drive.outcomes[target] = [Outcome(state=EffectState.UNKNOWN, detail="timed out")]
    drive.advance(600)
    assert drive.holds() == {"unknown_outcome"}
    assert drive.performed == []
    drive.command("resolve", target=target, taken_as="done", reason="looked at it")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "promoted"


def test_a_stage_whose_when_says_no_is_skipped() -> None:
    stages = [
        {"name": "cache", "kind": "steps", "when": [{"name": "corrupt", "command": ["./corrupt.sh"]}],
         "steps": [{"command": ["./clear.sh"], "undo": "none"}]},
        *exposure()["stages"],
    ]  # fmt: skip
    drive = Drive({**exposure(), "stages": stages})
    drive.checks["corrupt"] = Standing.NO
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "promoted"
    assert drive.state.stages[("production", "cache")] == "skipped"
    assert all(effect.target_kind == "flag" for effect in drive.performed)


def test_while_it_is_paused_no_stage_is_skipped() -> None:
    stages = [
        {"name": "cache", "kind": "steps", "when": [{"name": "corrupt", "command": ["./corrupt.sh"]}],
         "steps": [{"command": ["./clear.sh"], "undo": "none"}]},
        *exposure()["stages"],
    ]  # fmt: skip
    drive = Drive({**exposure(), "stages": stages})
    drive.checks["corrupt"] = Standing.UNKNOWN
    drive.advance(5.0)
    drive.command("pause", reason="look")
    drive.checks["corrupt"] = Standing.NO
    drive.advance(120.0)
    assert drive.state.stages == {}
    drive.command("resume", reason="on")
    drive.run_until(lambda: drive.state.stages == {("production", "cache"): "skipped"})


def test_a_migration_runs_its_files_in_order_and_what_was_applied_before_is_skipped() -> None:
    stage = {"name": "schema", "kind": "migration", "database": "sqlite:///x",
             "migrations": [{"up": "1.sql", "down": "1.down.sql"},
                            {"up": "2.sql", "irreversible": "enum"}]}  # fmt: skip
    files = {"1.sql": "create table a (x)", "1.down.sql": "drop table a", "2.sql": "create table b (x)"}
    drive = Drive({"stages": [stage]}, files)
    drive.world["schema:production/1.sql"] = {"applied": True}
    drive.run_until(lambda: drive.state.ended)
    assert [effect.target for effect in drive.performed] == ["schema:production/2.sql"]


def test_the_watch_counts_only_time_in_which_all_that_is_due_passes() -> None:
    drive = Drive({**exposure(), "watch": "10m"})
    drive.run_until(lambda: drive.state.phase == "watching")
    begun = drive.now
    drive.metrics["errors"] = None
    drive.advance(600, step=5)
    drive.metrics["errors"] = 0.0
    drive.run_until(lambda: drive.state.ended, step=5)
    assert drive.now - begun >= 1190
    assert drive.state.outcome == "promoted"


def test_environments_come_one_after_the_other_each_with_its_own_flags() -> None:
    environments = [{"name": "staging", "percentages": [100], "bake": "1m", "watch": "2m"}, {"name": "production"}]
    drive = Drive({**exposure(), "environments": environments})
    drive.run_until(lambda: drive.state.cursor.environment == "production")
    assert drive.world["flag:staging/beta"]["percentage"] == 100
    assert drive.percentage("beta") == 0
    drive.metrics["errors"] = lambda one: 0.5 if one.percentage("beta") >= 50 else 0.0
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert drive.world["flag:staging/beta"]["percentage"] == 100
    assert any("staging had passed its watch" in entry for entry in drive.state.exceptions)


def test_success_is_judged_after_the_end_and_leaves_the_outcome_as_it_is() -> None:
    success = [{"name": "time", "query": "time", "window": "1h", "improves": "> 10%", "better": "lower"}]
    drive = Drive({**exposure(), "success": success})
    drive.metrics["time"] = lambda one: 10.0 if one.percentage("beta") == 0 else 7.0
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.success == {}
    drive.metrics["time"] = 7.0
    drive.run_until(lambda: bool(drive.state.success), step=60)
    assert drive.state.outcome == "promoted"
    assert drive.state.success["time"]["standing"] == "no"


def test_an_action_is_verified_before_the_next_one_and_a_clear_no_is_on_fail() -> None:
    verify = [{"name": "answers", "command": ["./answers.sh"]}]
    before = [{"command": ["./one.sh"], "undo": ["./one-back.sh"], "verify": verify}]
    stage = {"name": "deploy", "kind": "steps", "before": before,
             "steps": [{"command": ["./two.sh"], "undo": "none"}]}  # fmt: skip
    drive = Drive({"stages": [stage]})
    drive.checks["answers"] = Standing.UNKNOWN
    drive.advance(120)
    assert drive.holds() == {"effect_failing"}
    assert [effect.label for effect in drive.performed] == ["run ./one.sh"]
    drive.checks["answers"] = Standing.NO
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert [effect.label for effect in drive.performed] == ["run ./one.sh", "run ./one.sh back"]


def test_the_verify_of_a_file_that_was_applied_before_is_asked_only_where_the_plan_says_always() -> None:
    asked = {"name": "empty", "sql": "select count(*) from a", "expect": {"number": "== 0"}}
    stage = {"name": "schema", "kind": "migration", "database": "sqlite:///x",
             "migrations": [{"up": "1.sql", "irreversible": "data", "verify": [asked]}]}  # fmt: skip
    drive = Drive({"stages": [stage]}, {"1.sql": "create table a (x)"})
    drive.world["schema:production/1.sql"] = {"applied": True}
    drive.checks["empty"] = Standing.NO
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "promoted"
    stage["migrations"][0]["verify_always"] = True  # type: ignore[index]
    drive = Drive({"stages": [stage]}, {"1.sql": "create table a (x)"})
    drive.world["schema:production/1.sql"] = {"applied": True}
    drive.checks["empty"] = Standing.NO
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"


def test_a_backfill_goes_on_slice_by_slice_while_its_gate_passes() -> None:
    stage = {
        "name": "fill",
        "kind": "backfill",
        "database": "sqlite:///x",
        "update": "fill.sql",
        "key": "id",
        "gate": "health",
    }
    files = {"fill.sql": "UPDATE a SET x = 1 WHERE id BETWEEN :from AND :to"}
    drive = Drive({**GATE, "stages": [stage]}, files)
    target = "schema:production/fill.sql"
    drive.world[target] = {"done": False, "position": None, "rows": 0, "of": 300}
    done = [{"done": count == 3, "position": count * 100, "rows": count * 100, "of": 300} for count in (1, 2, 3)]
    drive.outcomes[target] = [Outcome(state=EffectState.DONE, observed=value) for value in done[:1]]
    drive.metrics["errors"] = None
    drive.advance(60)
    assert drive.types().count("EffectRequested") == 0
    assert drive.holds() == {"inconclusive"}
    drive.outcomes[target] = [Outcome(state=EffectState.DONE, observed=value) for value in done]
    drive.metrics["errors"] = 0.0
    drive.run_until(lambda: drive.state.ended)
    assert drive.types().count("EffectRequested") == 3
    assert drive.state.outcome == "promoted"


def test_a_failing_gate_stops_a_backfill_and_what_was_filled_stays() -> None:
    stage = {
        "name": "fill",
        "kind": "backfill",
        "database": "sqlite:///x",
        "update": "fill.sql",
        "key": "id",
        "gate": "health",
    }
    files = {"fill.sql": "UPDATE a SET x = 1 WHERE id BETWEEN :from AND :to"}
    drive = Drive({**GATE, "stages": [stage]}, files)
    target = "schema:production/fill.sql"
    part = {"done": False, "position": 1, "rows": 1, "of": 1000}
    drive.outcomes[target] = [Outcome(state=EffectState.DONE, observed=part) for _ in range(20)]
    drive.metrics["errors"] = lambda one: 0.5 if one.types().count("EffectFinished") >= 3 else 0.0
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert any("rows that were filled stay filled" in entry for entry in drive.state.exceptions)


def test_a_flag_that_can_not_be_read_any_more_holds_the_bake_until_it_can() -> None:
    drive = Drive(exposure())
    drive.run_until(lambda: drive.percentage("beta") == 5 and drive.state.leg == "baking")
    drive.unreadable["flag:production/beta"] = "503 Service Unavailable"
    drive.advance(600)
    assert drive.percentage("beta") == 5
    hold = next(hold for (_, item), hold in drive.state.holds.items() if item == "flag:production/beta")
    assert hold.reason == "inconclusive"
    assert "503" in hold.detail
    drive.unreadable.clear()
    begun = drive.now
    drive.run_until(lambda: drive.percentage("beta") == 50)
    assert drive.now - begun >= 30  # what passed unseen is no bake


def test_a_flag_that_can_not_be_read_any_more_stops_the_time_of_the_watch() -> None:
    drive = Drive({**exposure(), "watch": "2m"})
    drive.run_until(lambda: drive.state.phase == "watching")
    drive.unreadable["flag:production/beta"] = "503 Service Unavailable"
    drive.advance(600)
    assert drive.state.phase == "watching"
    drive.unreadable.clear()
    drive.run_until(lambda: drive.state.ended, limit_seconds=300)
