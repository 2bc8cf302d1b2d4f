"""A percentage never rises while a gate is not passing, on whatever way it would."""

import copy
from dataclasses import replace

from orchestrator.core import evidence as ev
from stages.flag_spec import ABSENT
from tests.orchestrator.core.drive import Drive
from tests.orchestrator.core.test_forward import exposure

ON_FOR_ALL = {"flag": "other", "state": "enabled", "percentage": 100}


def with_steps(*steps: dict[str, object], **fields: object) -> Drive:
    plan = exposure(percentages=[100])
    plan["flags"] = {"beta": {}, "other": {}}
    plan["stages"].append({"name": "more", "kind": "steps", "steps": list(steps), **fields})
    return Drive(plan, other=dict(ABSENT))


def test_an_action_that_raises_a_flag_waits_for_a_gate_that_can_no_longer_be_measured() -> None:
    drive = with_steps(ON_FOR_ALL, before=[{"wait": "5m"}])
    drive.run_until(lambda: drive.where()["stage"] == "more")
    drive.metrics["errors"] = None
    drive.advance(400)
    assert drive.percentage("other") == 0
    assert drive.holds() == {"inconclusive"}
    drive.metrics["errors"] = 0.0
    drive.run_until(lambda: drive.percentage("other") == 100)


def test_an_action_that_lowers_a_flag_waits_for_nothing() -> None:
    lowered = {"flag": "other", "percentage": 10}
    drive = with_steps({"manual": "ready?", "by": ["bob"]}, before=[ON_FOR_ALL, {"wait": "5m"}, lowered])
    drive.run_until(lambda: drive.percentage("other") == 100)
    drive.advance(60)
    drive.metrics["errors"] = None
    drive.run_until(lambda: drive.percentage("other") == 10, limit_seconds=600)


def test_what_somebody_gives_back_to_the_plan_rises_on_what_was_seen_since() -> None:
    plan = copy.deepcopy(exposure(percentages=[50, 100]))  # the gates are shared with other tests
    plan["gates"]["health"]["warmup"] = "2m"
    drive = Drive(plan)
    drive.run_until(lambda: drive.percentage("beta") == 50)
    drive.somebody_sets("beta", percentage=10)
    drive.run_until(lambda: "changed_elsewhere" in drive.holds())
    drive.command("resume", flag="beta", pin="release", reason="back to the plan")
    drive.advance(100)
    assert drive.percentage("beta") == 10
    drive.run_until(lambda: drive.percentage("beta") == 50, limit_seconds=60)


def test_looks_from_before_a_clock_that_was_set_back_between_two_lives_do_not_count() -> None:
    drive = Drive(exposure())
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.advance(40)
    drive.evidence = ev.note_life(drive.evidence, drive.now, ahead_seconds=300.0)
    drive.evidence = replace(drive.evidence, bake=replace(drive.evidence.bake, seconds=60.0))
    drive.metrics["errors"] = None
    drive.advance(120)
    assert drive.percentage("beta") == 5
    again = ev.note_life(drive.evidence, drive.now, ahead_seconds=0.0)
    assert again.unsure_until == drive.evidence.unsure_until


def test_an_override_from_before_a_failure_raises_nothing_before_there_was_a_look() -> None:
    plan = copy.deepcopy(exposure())
    plan["gates"]["health"]["on_fail"] = "pause"
    drive = Drive(plan)
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.metrics["errors"] = 0.9
    drive.run_until(lambda: "paused" in drive.holds())
    drive.metrics["errors"] = None
    drive.advance(120)
    drive.command("advance", reason="Prometheus is away")
    drive.metrics["errors"] = 0.9
    drive.advance(120)
    drive.command("resume", reason="go on")
    drive.advance(120)
    assert drive.percentage("beta") == 5
    assert "paused" in drive.holds()
