"""Workloads in a run: workers of a queue, scaling on load, versions, and somebody else's hand in between."""

from typing import Any

from orchestrator.core.effect import EffectState, Outcome
from stages.cluster import ScaleWorkload, SetVersion
from tests.orchestrator.core.drive import Drive

WORKERS = "replicas:production/deployment/workers"
VERSION = "version:production/deployment/api"


def queue(**stage: Any) -> dict[str, Any]:
    return {
        "flags": {"beta": {}},
        "gates": {"health": {"every": "15s", "criteria": [{"name": "errors", "query": "errors", "fail": "> 0.1"}]}},
        "stages": [
            {
                "name": "queue", "kind": "queue", "flag": "beta", "percentages": [5, 50], "gate": "health",
                "bake": "2m", "workload": "deployment/workers", "replicas": {"start": 3, "max": 8},
                "drain": {"query": "depth", "until": "== 0", "timeout": "10m"}, **stage,
            }
        ],
        "watch": "30m",
    }  # fmt: skip


def workers(drive: Drive) -> int:
    return int(drive.world[WORKERS]["replicas"])


def scales(drive: Drive) -> list[int]:
    return [one.operation.replicas for one in drive.performed if isinstance(one.operation, ScaleWorkload)]


def order(drive: Drive) -> list[str]:
    return [effect.operation.op for effect in drive.performed]


# --- a queue's workers ------------------------------------------------------------------------------------------------


def started(spec: dict[str, Any], replicas: int = 1) -> Drive:
    drive = Drive(spec)
    drive.world[WORKERS] = {"replicas": replicas}
    return drive


def test_workers_run_before_they_are_fed() -> None:
    drive = started(queue())
    drive.run_until(lambda: drive.percentage("beta") == 5)
    assert order(drive)[:2] == ["scale_workload", "set_flag"]
    assert workers(drive) == 3


def test_workers_that_run_already_are_not_taken_away() -> None:
    drive = started(queue(), replicas=5)
    drive.run_until(lambda: drive.percentage("beta") == 5)
    assert scales(drive) == []
    assert workers(drive) == 5


def test_on_the_way_back_feeding_ends_and_the_queue_drains_before_workers_go() -> None:
    drive = started(queue())
    drive.metrics["depth"] = lambda one: 0.0 if one.percentage("beta") == 0 and one.now - stopped[0] > 60 else 40.0
    stopped = [0.0]
    drive.run_until(lambda: drive.percentage("beta") == 50)
    drive.metrics["errors"] = 0.5
    drive.run_until(lambda: drive.percentage("beta") == 0)
    stopped[0] = drive.now
    assert workers(drive) == 3
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert workers(drive) == 1
    assert drive.now - stopped[0] > 60


def test_workers_that_do_not_start_take_back_what_was_done() -> None:
    drive = started(queue())
    unready = Outcome(state=EffectState.REFUSED, detail="1 of 3 pods is not ready", observed={"replicas": 3})
    drive.outcomes[WORKERS] = [unready]
    drive.world[WORKERS] = {"replicas": 1}
    drive.run_until(lambda: drive.state.rollback is not None)
    drive.world[WORKERS] = {"replicas": 3}  # as the refusal said
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert workers(drive) == 1
    assert drive.percentage("beta") == 0


# --- scaling on load --------------------------------------------------------------------------------------------------


def loaded(**more: Any) -> Drive:
    replicas = {"start": 2, "min": 2, "max": 8, "query": "load", "per_replica": 50, **more}
    drive = started(queue(replicas=replicas))
    drive.metrics["load"] = 90.0
    return drive


def test_workers_follow_the_load_and_keep_to_their_bounds() -> None:
    drive = loaded()
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.metrics["load"] = 290.0
    drive.run_until(lambda: workers(drive) == 6, limit_seconds=60)
    drive.metrics["load"] = 9000.0
    drive.run_until(lambda: workers(drive) == 8, limit_seconds=60)
    drive.advance(60)
    assert workers(drive) == 8


def test_workers_go_only_after_five_steady_minutes() -> None:
    drive = loaded()
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.metrics["load"] = 290.0
    drive.run_until(lambda: workers(drive) == 6)
    drive.metrics["load"] = 10.0
    drive.advance(280)
    assert workers(drive) == 6
    drive.run_until(lambda: workers(drive) == 2, limit_seconds=120)


def test_scaling_goes_on_while_the_run_is_paused_and_while_it_is_watched() -> None:
    drive = loaded()
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.command("pause", reason="look")
    drive.metrics["load"] = 200.0
    drive.run_until(lambda: workers(drive) == 4, limit_seconds=60)
    drive.command("resume", reason="looked")
    drive.run_until(lambda: drive.state.phase == "watching")
    drive.metrics["load"] = 350.0
    drive.run_until(lambda: workers(drive) == 7, limit_seconds=60)


def test_a_load_that_is_not_known_changes_nothing() -> None:
    drive = loaded()
    drive.run_until(lambda: drive.percentage("beta") == 5)
    before = workers(drive)
    drive.metrics["load"] = None
    drive.advance(600)
    assert workers(drive) == before


def test_after_scaling_workers_go_back_to_what_was_there_before_the_run() -> None:
    drive = loaded()
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.metrics["load"] = 290.0
    drive.run_until(lambda: workers(drive) == 6)
    drive.metrics["errors"] = 0.5
    drive.run_until(lambda: drive.state.ended)
    assert workers(drive) == 1


def test_a_scaling_that_is_refused_is_tried_again_by_the_next_look_and_not_before() -> None:
    drive = loaded()
    drive.run_until(lambda: drive.percentage("beta") == 5)
    refused = Outcome(state=EffectState.REFUSED, detail="the quota is used up")
    drive.outcomes[WORKERS] = [refused, refused]
    drive.metrics["load"] = 290.0
    asked = drive.types().count("EffectRequested")
    drive.advance(20)
    assert drive.types().count("EffectRequested") - asked <= 2
    drive.run_until(lambda: workers(drive) == 6, limit_seconds=90)


# --- somebody else ----------------------------------------------------------------------------------------------------


def test_workers_that_somebody_scaled_hold_the_run_until_it_is_resolved() -> None:
    drive = started(queue())
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.world[WORKERS] = {"replicas": 7}
    drive.run_until(lambda: "changed_elsewhere" in drive.holds(), limit_seconds=60)
    drive.advance(300)
    assert drive.percentage("beta") == 5
    drive.command("resolve", target=WORKERS, reason="we need them")
    drive.run_until(lambda: drive.percentage("beta") == 50)
    assert workers(drive) == 7


def test_a_refusal_by_somebody_elses_edit_holds_and_does_not_roll_back() -> None:
    drive = started(queue())
    edited = Outcome(state=EffectState.REFUSED, detail="changed", observed={"replicas": 2}, changed_by="kubectl-scale")
    drive.outcomes[WORKERS] = [edited]
    drive.run_until(lambda: bool(drive.performed) or drive.state.rollback is not None or bool(drive.state.drift))
    assert drive.state.rollback is None


# --- versions ---------------------------------------------------------------------------------------------------------

BEFORE = {"stable": {"replicas": 10, "image": "v1"}, "canary": {"replicas": 0, "image": "v0"}}


def version(before: Any = BEFORE, **stage: Any) -> Drive:
    spec = {**queue(), "flags": {}}
    spec["stages"] = [
        {
            "name": "new", "kind": "version", "workload": "deployment/api",
            "image": "v2", "percentages": [10, 50, 100], "gate": "health", "bake": "2m", **stage,
        }
    ]  # fmt: skip
    drive = Drive(spec)
    drive.world[VERSION] = before
    return drive


def beside_a_canary() -> Drive:
    return version(canary="deployment/api-canary")


def arms(drive: Drive) -> tuple[tuple[int, str], tuple[int, str]]:
    value = drive.world[VERSION]
    return tuple((value[arm]["replicas"], value[arm]["image"]) for arm in ("stable", "canary"))  # type: ignore[return-value]


def test_a_version_moves_by_the_replicas_of_two_deployments() -> None:
    drive = beside_a_canary()
    drive.run_until(lambda: drive.state.phase == "watching")
    steps = [one.operation for one in drive.performed if isinstance(one.operation, SetVersion)]
    assert [(one.stable.replicas, one.canary.replicas) for one in steps if one.canary] == [(9, 1), (5, 5), (10, 0)]
    assert arms(drive) == ((10, "v2"), (0, "v2"))


def test_each_share_of_a_version_is_baked_and_a_failing_gate_brings_the_old_one_back() -> None:
    drive = beside_a_canary()
    drive.run_until(lambda: arms(drive)[1][0] == 1)
    begun = drive.now
    drive.run_until(lambda: arms(drive)[1][0] == 5)
    assert drive.now - begun >= 120
    drive.metrics["errors"] = 0.5
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert drive.world[VERSION] == BEFORE


def test_a_gate_of_a_version_knows_its_share_and_that_at_the_end_nobody_is_left_to_compare_with() -> None:
    drive = beside_a_canary()
    drive.run_until(lambda: arms(drive)[1][0] == 5)
    drive.advance(60)
    assert drive.setting is not None
    assert drive.setting.percentage == 50
    drive.run_until(lambda: drive.state.phase == "watching")
    drive.advance(60)
    assert drive.setting.percentage == 100


ALONE = {"stable": {"replicas": 10, "image": "v1"}}


def test_a_version_without_a_canary_ends_without_its_copy() -> None:
    drive = version(ALONE)
    drive.run_until(lambda: drive.state.phase == "watching")
    steps = [one.operation for one in drive.performed if isinstance(one.operation, SetVersion)]
    assert [one.canary.replicas if one.canary else None for one in steps] == [1, 5, None]
    assert drive.world[VERSION] == {"stable": {"replicas": 10, "image": "v2"}}


def test_a_version_without_a_canary_goes_back_to_where_there_was_no_copy() -> None:
    drive = version(ALONE)
    drive.run_until(lambda: "canary" in drive.world[VERSION])
    drive.metrics["errors"] = 0.5
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert drive.world[VERSION] == ALONE


def test_one_pod_is_one_again_when_its_version_is_everywhere() -> None:
    drive = version({"stable": {"replicas": 1, "image": "v1"}})
    drive.run_until(lambda: drive.state.phase == "watching")
    assert drive.world[VERSION] == {"stable": {"replicas": 1, "image": "v2"}}


# --- the way back moves what is back ----------------------------------------------------------------------------------


def stopped_first(**queue_fields: Any) -> dict[str, Any]:
    """Whoever rolls this back stops the workers before all else."""
    return {
        **queue(drain=None, **queue_fields),
        "rollback": {"before": [{"scale": "deployment/workers", "replicas": 0}]},
    }


def test_workers_that_the_way_back_stops_run_again_as_before() -> None:
    drive = started(stopped_first(), replicas=2)
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.command("rollback", reason="wrong")
    drive.run_until(lambda: drive.state.ended)
    assert scales(drive) == [3, 0, 2]


def test_they_do_so_where_the_rollback_of_their_stage_had_brought_them_back_already() -> None:
    drive = started(stopped_first(), replicas=2)
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.command("rollback", stage="queue", reason="not yet")
    drive.run_until(lambda: drive.state.rollback is None)
    assert scales(drive) == [3, 2]
    drive.command("rollback", reason="never")
    drive.run_until(lambda: drive.state.ended)
    assert scales(drive) == [3, 2, 0, 2]


def test_what_only_the_way_back_touched_stays_as_it_leaves_it() -> None:
    drive = Drive({**queue(drain=None), "rollback": {"before": [{"scale": "deployment/intake", "replicas": 0}]}})
    drive.world[WORKERS] = {"replicas": 2}
    drive.world["replicas:production/deployment/intake"] = {"replicas": 4}
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.command("rollback", reason="wrong")
    drive.run_until(lambda: drive.state.ended)
    assert drive.world["replicas:production/deployment/intake"] == {"replicas": 0}
