"""What the simulation found in the core about workloads, each as small as it could be made."""

from typing import Any

import pytest

from orchestrator.core.effect import EffectState, Outcome
from orchestrator.core.events import DriftFound, EffectRequested, InheritedTarget
from orchestrator.core.evidence import SeenAt, note_seen
from stages.checks import Standing
from stages.flag_spec import ABSENT
from tests.orchestrator.core.drive import Drive
from tests.orchestrator.core.test_workloads import BEFORE, VERSION, WORKERS, arms, queue, scales, started, workers

REFUSED = Outcome(state=EffectState.REFUSED, detail="it is forbidden")
BUSY = Outcome(state=EffectState.TEMPORARY, detail="the API server is away")


class Edited(list[Outcome]):
    """What comes of the next effect on a target that somebody changes beneath it: it is tried twice, and refused."""

    def __init__(self, drive: Drive, target: str, value: dict[str, Any]) -> None:
        super().__init__(
            [BUSY, Outcome(state=EffectState.REFUSED, detail="changed", observed=value, changed_by="kubectl")]
        )
        self.drive, self.target, self.value = drive, target, value

    def pop(self, index: Any = -1) -> Outcome:
        self.drive.world[self.target] = self.value
        return super().pop(index)


def edited_beneath(drive: Drive, target: str, value: dict[str, Any]) -> None:
    """Somebody changes *target* between the look at it and the next effect on it."""
    drive.outcomes[target] = Edited(drive, target, value)


def rolled_back(drive: Drive) -> None:
    drive.command("rollback", reason="enough")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"


# --- somebody else's edit in the moment of an effect ------------------------------------------------------------------


def test_an_edit_that_an_effect_meets_holds_the_run_and_is_not_overwritten() -> None:
    drive = started(queue())
    edited_beneath(drive, WORKERS, {"replicas": 2})
    drive.run_until(lambda: "changed_elsewhere" in drive.holds(), limit_seconds=60)
    drive.advance(120)
    assert workers(drive) == 2
    assert scales(drive) == []


def test_an_edit_that_an_undo_meets_is_left_listed_and_asked_about() -> None:
    drive = started(queue(drain=None))
    drive.run_until(lambda: drive.percentage("beta") == 5)
    edited_beneath(drive, WORKERS, {"replicas": 7})
    drive.command("rollback", reason="enough")
    drive.run_until(lambda: bool(drive.state.waiting), limit_seconds=300)
    assert workers(drive) == 7
    drive.command("reject", reason="we need them")
    drive.run_until(lambda: drive.state.ended)
    assert workers(drive) == 7
    assert any("changed by somebody else" in words for words in drive.state.exceptions)


def test_an_edit_that_shall_be_taken_back_after_all_is_written_over_as_it_was_seen() -> None:
    drive = started(queue(drain=None))
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.world[WORKERS] = {"replicas": 7}
    drive.advance(1)
    drive.command("rollback", reason="enough")
    drive.run_until(lambda: bool(drive.state.waiting), limit_seconds=300)
    drive.command("approve", reason="take it back")
    drive.run_until(lambda: drive.state.ended)
    assert workers(drive) == 1
    assert drive.performed[-1].before == {"replicas": 7}


def test_what_was_taken_back_after_all_is_not_listed() -> None:
    drive = started(queue(drain=None))
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.world[WORKERS] = {"replicas": 7}
    drive.advance(1)
    drive.command("rollback", reason="enough")
    drive.run_until(lambda: bool(drive.state.waiting), limit_seconds=300)
    drive.command("approve", reason="take it back")
    drive.run_until(lambda: drive.state.ended)
    assert not any("workers" in words for words in drive.state.exceptions)


def edited() -> Drive:
    drive = started(queue(drain=None))
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.world[WORKERS] = {"replicas": 7}
    drive.run_until(lambda: "changed_elsewhere" in drive.holds())
    return drive


def test_a_look_from_before_an_edit_was_found_says_nothing_of_it() -> None:
    """As it may stand in a checkpoint that is older than the newest events."""
    drive = edited()
    older = SeenAt(drive.now - 10, {"replicas": 3})
    drive.evidence = note_seen(drive.evidence, WORKERS, older)
    drive.advance(60)
    assert drive.types().count("DriftGone") == 0
    drive.command("resolve", target=WORKERS, reason="we need them")
    drive.evidence = note_seen(drive.evidence, WORKERS, older)
    drive.advance(60)
    assert drive.types().count("DriftFound") == 1


def test_an_edit_that_was_taken_as_it_is_is_listed_whatever_is_said_of_effects() -> None:
    drive = edited()
    drive.command("resolve", target=WORKERS, taken_as="not_done", reason="we need them")
    drive.run_until(lambda: drive.state.ended)
    assert any("we need them" in words for words in drive.state.exceptions)


def test_an_action_of_a_trigger_that_meets_an_edit_while_the_run_goes_back_is_tried_once() -> None:
    actions = [{"image": "deployment/workers", "to": "v2"}]
    trigger = {"name": "more", "query": "bad", "fail": "> 0.1", "then": "rollback", "actions": actions}
    drive = started({**queue(), "triggers": [trigger]})
    image = "image:production/deployment/workers"
    drive.world[image] = {"container": "app", "image": "v1"}
    drive.run_until(lambda: drive.percentage("beta") == 5)
    edited = Outcome(state=EffectState.REFUSED, detail="changed", observed={"image": "fix"}, changed_by="kubectl")
    drive.outcomes[image] = [edited] * 300
    drive.metrics["bad"] = 0.5
    drive.run_until(lambda: drive.state.rollback is not None)
    asked = [one for one in drive.events if isinstance(one, EffectRequested) and one.effect.target == image]
    assert len(asked) == 1


# --- the run's own work, cut short ------------------------------------------------------------------------------------


def test_an_undo_that_is_refused_after_an_effect_was_cut_short_finds_no_drift() -> None:
    drive = started(queue(drain=None))
    drive.outcomes[WORKERS] = [BUSY] * 3
    drive.run_until(lambda: "effect_failing" in drive.holds())
    drive.world[WORKERS] = {"replicas": 3}  # it was written, and nobody knows
    drive.outcomes[WORKERS] = [REFUSED, REFUSED]
    rolled_back(drive)
    assert drive.types().count("DriftFound") == 0
    assert workers(drive) == 1


def test_an_effect_that_a_person_resolved_may_have_happened_and_is_nobody_elses_edit() -> None:
    drive = started(queue(drain=None))
    drive.outcomes[WORKERS] = [BUSY] * 3
    drive.run_until(lambda: "effect_failing" in drive.holds())
    drive.world[WORKERS] = {"replicas": 3}  # it was written, and nobody knows
    drive.command("resolve", target=WORKERS, reason="fine as it is")
    drive.run_until(lambda: drive.percentage("beta") == 50)
    assert drive.types().count("DriftFound") == 0
    rolled_back(drive)
    assert workers(drive) == 1


def test_an_effect_that_was_tried_twice_and_refused_may_have_happened_and_is_nobody_elses_edit() -> None:
    drive = started(queue(drain=None, on_fail="pause"))
    drive.outcomes[WORKERS] = [BUSY, REFUSED]
    drive.run_until(lambda: "effect_failing" in drive.holds())
    drive.world[WORKERS] = {"replicas": 3}  # by the first try
    drive.run_until(lambda: "paused" in drive.holds())
    drive.advance(60)
    assert "changed_elsewhere" not in drive.holds()
    rolled_back(drive)
    assert workers(drive) == 1


def test_what_somebody_did_after_a_refusal_at_the_first_try_is_their_edit_and_stays() -> None:
    drive = started(queue(drain=None, on_fail="pause"))
    drive.outcomes[WORKERS] = [REFUSED]
    drive.run_until(lambda: "paused" in drive.holds())
    drive.world[WORKERS] = {"replicas": 3}  # by somebody: nothing of ours can arrive any more
    drive.run_until(lambda: "changed_elsewhere" in drive.holds(), limit_seconds=120)
    assert not drive.state.targets[WORKERS].cut_short
    drive.command("rollback", reason="enough")
    drive.run_until(lambda: "manual" in drive.holds())  # whether it is to go back
    assert (workers(drive), scales(drive)) == (3, [])


def test_what_was_cut_short_goes_back_by_an_effect_though_it_looks_as_it_was() -> None:
    """Something that was sent may still arrive: the adapter sees to it that it does not."""
    drive = started(queue(drain=None))
    drive.outcomes[WORKERS] = [BUSY] * 3
    drive.run_until(lambda: "effect_failing" in drive.holds())
    rolled_back(drive)
    assert scales(drive) == [1]


def test_what_may_have_happened_is_not_taken_for_what_is_wanted() -> None:
    back = {"scale": "deployment/workers", "replicas": 1}
    drive = started(queue(drain=None, after=[back]))
    drive.outcomes[WORKERS] = [BUSY] * 3
    drive.run_until(lambda: "effect_failing" in drive.holds())
    drive.world[WORKERS] = {"replicas": 3}  # it was written, and nobody knows: the last that is known is 1
    drive.command("resolve", target=WORKERS, reason="fine as it is")
    drive.run_until(lambda: drive.state.phase == "watching")
    assert workers(drive) == 1


# --- scaling on load --------------------------------------------------------------------------------------------------

FOLLOWING = {"start": 2, "min": 2, "max": 8, "query": "load", "per_replica": 50}


def two_stages(**queue_stage: Any) -> Drive:
    """Something scales the workers before their own stage begins."""
    spec = queue(replicas=FOLLOWING, drain=None, **queue_stage)
    steps = [{"scale": "deployment/workers", "replicas": 3}, {"manual": "look at them"}]
    spec["stages"] = [{"name": "earlier", "kind": "steps", "steps": steps}, *spec["stages"]]
    drive = started(spec)
    drive.metrics["load"] = 390.0
    return drive


def test_workers_follow_their_load_only_from_their_stage_on() -> None:
    drive = two_stages()
    drive.run_until(lambda: "manual" in drive.holds())
    drive.advance(120)
    assert workers(drive) == 3
    drive.command("approve")
    drive.run_until(lambda: workers(drive) == 8, limit_seconds=120)


def test_workers_of_a_stage_that_was_taken_back_follow_no_load() -> None:
    drive = two_stages()
    drive.run_until(lambda: "manual" in drive.holds())
    drive.command("approve")
    drive.run_until(lambda: workers(drive) == 8)
    drive.command("rollback", stage="queue", reason="not this")
    drive.run_until(lambda: drive.state.rollback is None)
    assert workers(drive) == 3
    drive.advance(120)
    assert workers(drive) == 3


def test_workers_whose_scaling_a_partial_rollback_cut_short_follow_their_load_again() -> None:
    spec = queue(replicas=FOLLOWING, drain=None)
    later = {"name": "later", "kind": "monitoring", "flag": "gamma", "percentages": [5], "bake": "1h"}
    spec |= {"flags": {"beta": {}, "gamma": {}}, "stages": [*spec["stages"], later]}
    drive = started(spec)
    drive.metrics["load"] = 90.0
    drive.run_until(lambda: drive.percentage("gamma") == 5)
    drive.outcomes[WORKERS] = [BUSY]
    drive.metrics["load"] = 190.0
    drive.run_until(lambda: WORKERS in drive.state.outstanding)
    drive.command("rollback", stage="later", reason="not this")
    drive.run_until(lambda: workers(drive) == 4, limit_seconds=180)


@pytest.mark.parametrize("is_over", (False, True))
def test_workers_that_are_fed_behind_a_point_of_no_return_stay_also_if_they_were_scaled_after_it(
    is_over: bool,
) -> None:
    spec = queue(replicas=FOLLOWING, drain=None)
    steps = [{"command": ["./drop.sh"], "target": "old", "undo": "none"}, {"manual": "look at it"}]
    drop = {"name": "drop", "kind": "steps", "steps": steps, "point_of_no_return": True}
    drive = started({**spec, "stages": [*spec["stages"], drop]})
    drive.metrics["load"] = 90.0
    drive.run_until(lambda: "manual" in drive.holds())
    if is_over:
        drive.command("approve")
        drive.run_until(lambda: drive.state.phase == "watching")
    drive.metrics["load"] = 390.0
    drive.run_until(lambda: workers(drive) == 8)
    drive.command("rollback", reason="enough")
    drive.run_until(lambda: "point_of_no_return" in drive.holds())
    drive.advance(60)
    assert drive.percentage("beta") == 50
    assert workers(drive) == 8


# --- what workers wait for on the way back ----------------------------------------------------------------------------


def test_workers_wait_for_their_queue_also_where_something_else_set_the_flag_first() -> None:
    spec = queue(settle="40s")
    early = {"flag": "beta", "state": "enabled", "percentage": 1}
    spec["stages"] = [{"name": "early", "kind": "steps", "settle": "5s", "steps": [early]}, *spec["stages"]]
    drive = started(spec)
    drive.metrics["depth"] = 40.0
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.command("rollback", reason="enough")
    drive.run_until(lambda: drive.percentage("beta") == 0)
    drive.advance(300)
    assert workers(drive) == 3
    drive.metrics["depth"] = 0.0
    drive.run_until(lambda: drive.state.ended)
    assert workers(drive) == 1


def test_workers_wait_for_their_queue_also_where_a_trigger_scaled_them_first() -> None:
    trigger = {"name": "more", "by_hand": True, "then": "continue"}
    trigger["actions"] = [{"scale": "deployment/workers", "replicas": 4}]
    spec = {**queue(checks=[{"name": "ready", "command": ["./ready.sh"]}]), "triggers": [trigger]}
    drive = started(spec)
    drive.checks["ready"] = Standing.NO
    drive.metrics["depth"] = 40.0
    drive.run_until(lambda: drive.state.phase == "running")
    drive.command("fire", trigger="more", reason="soon")
    drive.checks["ready"] = Standing.YES
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.command("rollback", reason="enough")
    drive.advance(300)
    assert workers(drive) == 4
    drive.metrics["depth"] = 0.0
    drive.run_until(lambda: drive.state.ended)
    assert workers(drive) == 1


def taken_over(**more: Any) -> InheritedTarget:
    target = {"id": WORKERS, "kind": "workload", "title": "workers", "existed": True, "environment": "production"}
    undo = {"op": "scale_workload", "workload": "deployment/workers", "replicas": 1}
    values = {"before": {"replicas": 1}, "value": {"replicas": 3}, "stage": "queue", "undo": undo}
    return InheritedTarget.model_validate({**target, **values, **more})


def test_a_reverse_run_knows_every_stage_that_had_touched_a_flag() -> None:
    spec = queue()
    spec["stages"] = [{"name": "early", "kind": "steps", "steps": [{"flag": "beta", "percentage": 1}]}, *spec["stages"]]
    raised = {**ABSENT, "state": "enabled", "percentage": 50.0}
    flag = {"id": "flag:production/beta", "kind": "flag", "title": "beta", "existed": True, "undo": None}
    flag |= {"before": dict(ABSENT), "value": raised, "stage": "early", "also": ("queue",)}
    drive = Drive(spec, inherited=(taken_over(), taken_over(**flag)), reverses="change-0", beta=raised)
    drive.world[WORKERS] = {"replicas": 3}
    drive.metrics["depth"] = 40.0
    drive.run_until(lambda: drive.percentage("beta") == 0)
    drive.advance(300)
    assert workers(drive) == 3


def test_what_the_run_before_cut_short_is_nobody_elses_edit() -> None:
    cut = taken_over(value={"replicas": 1}, before={"replicas": 0}, cut_short=True)
    drive = Drive(queue(), inherited=(cut,), reverses="change-0")
    drive.world[WORKERS] = {"replicas": 3}
    drive.run_until(lambda: drive.state.ended)
    assert drive.types().count("DriftFound") == 0
    assert drive.performed[-1].before == {"replicas": 3}


def test_a_queue_is_not_fed_on_the_word_of_the_run_before() -> None:
    drive = Drive(queue(gate=()), inherited=(taken_over(value={"replicas": 5}),))
    drive.world[WORKERS] = {"replicas": 0}  # by somebody, since
    drive.run_until(lambda: "changed_elsewhere" in drive.holds(), limit_seconds=60)
    drive.advance(60)
    assert drive.percentage("beta") == 0


def test_what_the_run_before_cut_short_is_looked_at_before_it_is_changed() -> None:
    more = [{"scale": "deployment/workers", "replicas": 5}]
    cut = taken_over(value={"replicas": 1}, before={"replicas": 0}, cut_short=True)
    for spec, reverses in ((queue(before=more), None), ({**queue(), "rollback": {"before": more}}, "change-0")):
        drive = Drive(spec, inherited=(cut,), reverses=reverses)
        drive.world[WORKERS] = {"replicas": 3}
        drive.run_until(lambda one=drive: bool(scales(one)))  # type: ignore[misc]
        first = next(effect for effect in drive.performed if effect.target == WORKERS)
        assert first.before == {"replicas": 3}


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_version_is_not_raised_while_the_gate_that_was_reached_last_is_not_passing() -> None:
    spec = queue()
    prepared = [{"name": "prepare", "command": ["./prepare.sh"], "target": "place", "undo": "none"}]
    new = {
        "name": "new", "kind": "version", "workload": "deployment/api", "canary": "deployment/api-canary",
        "image": "v2", "percentages": [50, 100], "before": prepared, "bake": "2m",
    }  # fmt: skip
    spec["stages"] = [*spec["stages"], new]
    drive = started(spec)
    drive.world[VERSION] = BEFORE
    drive.outcomes["command:production/place"] = [BUSY] * 1000
    drive.run_until(lambda: "command:production/place" in drive.state.outstanding)
    drive.metrics["errors"] = None
    drive.advance(90)
    drive.outcomes["command:production/place"] = []
    drive.advance(90)
    assert "inconclusive" in drive.holds()
    assert drive.world[VERSION] == BEFORE
    drive.metrics["errors"] = 0.0
    drive.run_until(lambda: arms(drive) == ((5, "v1"), (5, "v2")), limit_seconds=60)


def test_a_late_write_of_our_own_is_not_taken_for_somebody_elses() -> None:
    image = {"image": "deployment/api", "container": "app", "to": "v2"}
    plan = {"kubernetes": {"namespace": "shop"}, "stages": [{"name": "go", "kind": "steps", "steps": [image]}],
            "watch": "10m"}  # fmt: skip
    drive = Drive(plan)
    (target,) = drive.state.program.environments[0].targets()
    drive.world[target] = {"container": "app", "image": "v1"}
    drive.run_until(lambda: drive.state.phase == "watching")
    late = {"container": "app", "image": "v2"}
    drive.outcomes[target] = [
        Outcome(state=EffectState.REFUSED, detail="image was changed", observed=late, changed_by="stagedrollout.io")
    ]
    drive.command("rollback", reason="enough")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert drive.world[target] == {"container": "app", "image": "v1"}
    assert not any(isinstance(event, DriftFound) for event in drive.events)
