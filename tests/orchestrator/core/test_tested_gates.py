"""Gates whose criteria are tests: one error budget for all of them, advance on evidence, shares that do not arrive."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core import evidence as ev
from orchestrator.core.events import InheritedTarget, LegEntered
from orchestrator.core.gates import log_mean, next_look_at
from orchestrator.core.trail import MOST_POINTS, Point, Trail
from orchestrator.core.view import status
from stages.criteria.base import Judgement, Measurement, MeasurementState, Memory, Setting, Verdict
from stages.flag_spec import ABSENT
from stages.gates import Gate
from tests.orchestrator.core.drive import BEGIN, Drive

FLAG: dict[str, Any] = {"beta": {}}


def plan(**gate: Any) -> dict[str, Any]:
    criteria = gate.pop("criteria", [compare("errors")])
    return {
        "flags": FLAG,
        "gates": {"health": {"every": "15s", "warmup": "0s", "criteria": criteria, **gate}},
        "stages": [
            {"name": "up", "kind": "batch", "flag": "beta", "percentages": [5, 25], "gate": "health", "bake": "10m"}
        ],
    }


def compare(name: str) -> dict[str, Any]:
    return {"name": name, "compare": {}}


def says(verdict: Verdict = Verdict.PASS, log_evidence: float = 0.0, **more: Any) -> Callable[[Drive], Judgement]:
    return lambda drive: Judgement(verdict, f"errors at {drive.now:.0f}", Memory(), 1.0, "", log_evidence, **more)


def baking(drive: Drive) -> Drive:
    drive.run_until(lambda: drive.state.leg == "baking")
    return drive


def holds(drive: Drive) -> set[str]:
    return {reason.value for reason, _ in drive.state.holds}


# --- the budget -------------------------------------------------------------------------------------------------------


def test_one_test_alone_has_the_whole_budget() -> None:
    pool = Drive(plan()).state.program.budget.pool("health")
    assert (pool.alpha, len(pool.keys), pool.share) == (0.01, 1, 0.01)


def test_every_tested_criterion_of_a_run_takes_a_share_and_thresholds_take_none() -> None:
    spec = plan(criteria=[compare("a"), compare("b"), {"name": "plain", "query": "up", "fail": "== 0"}])
    spec["environments"] = [{"name": "staging"}, {"name": "production"}]
    pool = Drive(spec).state.program.budget.pool("health")
    assert len(pool.keys) == 4
    assert pool.share == pytest.approx(0.01 / 4)


def test_two_stages_with_flags_of_their_own_are_two_tests() -> None:
    spec = plan()
    spec["flags"] = {"beta": {}, "gamma": {}}
    spec["stages"].append({**spec["stages"][0], "name": "next", "flag": "gamma"})
    assert len(Drive(spec).state.program.budget.pool("health").keys) == 2


def test_a_gate_with_an_alpha_of_its_own_spends_that() -> None:
    spec = plan(alpha=0.2)
    spec["gates"]["other"] = {"criteria": [compare("errors")]}
    spec["stages"].append({**spec["stages"][0], "name": "next", "gate": "other"})
    budget = Drive(spec).state.program.budget
    assert budget.pool("health").alpha == 0.2
    assert budget.pool("other").alpha == 0.01
    assert len(budget.pool("other").keys) == 1


def test_evidence_of_several_criteria_together_fails_what_none_fails_alone() -> None:
    drive = Drive(plan(criteria=[compare("a"), compare("b")]))
    drive.judgements = {name: says() for name in "ab"}
    baking(drive)
    drive.judgements = {name: says(Verdict.INCONCLUSIVE, math.log(101)) for name in "ab"}
    drive.run_until(lambda: drive.state.rollback is not None)
    event = next(one for one in drive.events if one.type_name == "GateFailed")
    assert "2 tests together is 101 to 1" in event.reason


def test_evidence_below_the_mean_that_is_needed_only_holds() -> None:
    drive = Drive(plan(criteria=[compare("a"), compare("b")]))
    drive.judgements = {"a": says(Verdict.INCONCLUSIVE, math.log(190)), "b": says(log_evidence=math.log(0.5))}
    baking(drive).advance(60)
    assert drive.state.rollback is None
    assert holds(drive) == {"inconclusive"}


def test_evidence_that_a_person_dropped_counts_no_more() -> None:
    drive = Drive(plan(criteria=[compare("a"), compare("b")], on_fail="pause"))
    drive.judgements = {name: says() for name in "ab"}
    baking(drive)
    drive.judgements = {name: says(Verdict.FAIL, math.log(1000)) for name in "ab"}
    drive.run_until(lambda: "paused" in holds(drive))
    drive.judgements = {"a": says(), "b": says(Verdict.INCONCLUSIVE, math.log(30))}
    drive.command("resume", reason="it was the test's own fault")
    drive.advance(30)
    assert "paused" not in holds(drive)
    assert drive.state.rollback is None


@pytest.mark.parametrize(
    ("logarithms", "mean"),
    (((), 0.0), ((0.0,), 0.0), ((0.0, math.log(3)), math.log(2)), ((2000.0, -2000.0), 1999.3069)),
)
def test_the_mean_of_evidence_is_taken_of_the_values_and_not_of_their_logarithms(
    logarithms: tuple[float, ...], mean: float
) -> None:
    assert log_mean(logarithms) == pytest.approx(mean)


# --- advance on evidence ----------------------------------------------------------------------------------------------


def between(drive: Drive) -> list[float]:
    """Seconds that each step of the stage was baked."""
    return [
        entered.evidence["baked_seconds"]
        for entered in drive.events
        if isinstance(entered, LegEntered) and entered.leg in ("entering", "finishing") and entered.evidence
    ]


@pytest.mark.parametrize(("enough", "seconds"), ((True, 120.0), (False, 600.0)))
def test_a_step_is_left_after_its_minimum_only_if_the_evidence_suffices(enough: bool, seconds: float) -> None:
    spec = plan()
    spec["stages"][0]["bake"] = {"min": "2m", "max": "10m"}
    drive = Drive(spec)
    drive.judgements = {"errors": says(enough=enough, log_excluded=3.0)}
    drive.run_until(lambda: drive.state.phase == "watching" or drive.state.ended)
    assert between(drive) == [pytest.approx(seconds, abs=2)] * 2


def test_a_plain_bake_is_baked_whole_whatever_the_evidence() -> None:
    drive = Drive(plan())
    drive.judgements = {"errors": says(enough=True)}
    drive.run_until(lambda: drive.state.phase == "watching" or drive.state.ended)
    assert between(drive) == [pytest.approx(600, abs=2)] * 2


def test_a_look_that_is_due_when_the_bake_is_full_is_waited_for() -> None:
    begun = baking(Drive(plan())).now
    full_at = next_look_at(begun + 600, 15, Gate.model_validate(plan()["gates"]["health"]).beat)
    spec = plan()
    spec["stages"][0]["bake"] = f"{full_at - begun:.0f}s"
    drive = Drive(spec)
    drive.judgements = {"errors": lambda one: says(Verdict.FAIL if one.now >= full_at else Verdict.PASS)(one)}
    drive.run_until(lambda: drive.state.rollback is not None or drive.state.cursor.step > 0)
    assert drive.state.rollback is not None


def test_the_journal_says_that_a_step_was_left_on_evidence_and_on_how_much() -> None:
    spec = plan()
    spec["stages"][0]["bake"] = {"min": "2m", "max": "10m"}
    drive = Drive(spec)
    drive.judgements = {"errors": says(enough=True, log_excluded=math.log(25))}
    drive.run_until(lambda: drive.state.cursor.step == 1)
    left = next(one for one in drive.events if isinstance(one, LegEntered) and one.evidence)
    assert left.evidence is not None
    assert left.evidence["on_evidence"] is True
    assert left.evidence["criteria"][0]["evidence"]["excluded"] == 25


# --- shares -----------------------------------------------------------------------------------------------------------


def test_a_share_that_does_not_arrive_holds_by_that_name_until_it_does() -> None:
    drive = Drive(plan())
    drive.judgements = {"errors": says(Verdict.INCONCLUSIVE, mismatch=True)}
    baking(drive).advance(30)
    assert holds(drive) == {"share_mismatch"}
    drive.judgements = {"errors": says()}
    drive.advance(30)
    assert holds(drive) == set()


def test_a_person_may_advance_over_a_share_that_does_not_arrive() -> None:
    drive = Drive(plan())
    drive.judgements = {"errors": says(Verdict.INCONCLUSIVE, mismatch=True)}
    baking(drive).advance(30)
    drive.command("advance", reason="the other half is on holiday")
    drive.advance(30)
    assert drive.state.cursor.step == 1


def test_a_mismatch_beside_another_doubt_is_told_as_inconclusive() -> None:
    drive = Drive(plan(criteria=[compare("a"), compare("b")]))
    drive.judgements = {"a": says(Verdict.INCONCLUSIVE, mismatch=True), "b": says(Verdict.INCONCLUSIVE)}
    baking(drive).advance(30)
    assert holds(drive) == {"inconclusive"}


# --- the setting of a look --------------------------------------------------------------------------------------------


def test_a_look_knows_the_flag_where_it_stands_and_since_when() -> None:
    drive = Drive(plan(warmup="45s"))
    settings: list[Setting] = []

    def noting(drive: Drive) -> Judgement:
        assert drive.setting is not None
        settings.append(drive.setting)
        return says()(drive)

    drive.judgements = {"errors": noting}
    drive.run_until(lambda: drive.state.phase == "watching" or drive.state.ended)
    first, last = next(one for one in settings if one.percentage == 5), settings[-1]
    assert (first.flag, first.warmup_seconds, first.alpha) == ("beta", 45, 0.01)
    assert last.percentage == 25
    assert last.since > first.since
    assert last.before == first.before <= first.since


def test_history_ends_where_a_run_that_was_taken_over_from_began() -> None:
    target: dict[str, Any] = {"id": "flag:production/beta", "kind": "flag", "title": "flag beta"}
    target |= {"environment": "production", "stage": "up", "before": ABSENT, "value": ABSENT, "existed": False}
    drive = Drive(plan(), inherited=(InheritedTarget.model_validate({**target, "touched_at": BEGIN - 7200}),))
    drive.judgements = {"errors": says()}
    baking(drive).advance(30)
    assert drive.setting is not None
    assert drive.setting.before == BEGIN - 7200


# --- how it grew ------------------------------------------------------------------------------------------------------


def test_the_trail_of_a_long_bake_stays_short_and_spans_it() -> None:
    evidence = ev.Evidence()
    for look in range(5000):
        at = 15.0 * look
        judgement = Judgement(Verdict.PASS, "", Memory(), float(look), "", look / 1000, look / 500)
        evidence = ev.note_look(evidence, "k", Measurement(MeasurementState.OK, at), judgement)
    trail = tuple(evidence.looks["k"].trail)
    assert len(trail) <= MOST_POINTS + 1
    assert (trail[0].at, trail[-1].at) == (0.0, 15.0 * 4999)
    assert ev.from_text(ev.to_text(evidence)) == evidence
    assert len(ev.to_text(evidence)) < 6000


def test_the_status_shows_evidence_against_its_bounds_and_how_it_grew() -> None:
    drive = Drive(plan())
    drive.judgements = {"errors": says(log_evidence=math.log(4), log_excluded=math.log(2))}
    baking(drive).advance(60)
    criterion = status(drive.state, drive.evidence, drive.now)["gate"]["criteria"][0]
    assert criterion["evidence"] == {
        "against": 4.0,
        "holds_at": 20,
        "fails_at": 100.0,
        "excluded": 2.0,
        "excludes_at": 20,
    }
    assert criterion["trail"][-1]["against"] == pytest.approx(4, rel=0.01)
    json.dumps(criterion)


def test_a_checkpoint_leaves_out_how_a_plain_value_came_to_be_what_it_is() -> None:
    known = Point(1.0, 0.01)
    plain = ev.Look(1.0, Verdict.PASS, "errors is 0.01", Memory(), True, 60.0, 0.01, trail=Trail([known]))
    tested = replace(plain, log_evidence=0.5, trail=Trail([replace(known, log_evidence=0.5)]))
    kept = ev.from_text(ev.to_text(ev.Evidence(looks={"plain": plain, "tested": tested})))
    assert kept == ev.Evidence(looks={"plain": replace(plain, trail=Trail()), "tested": tested})
    many = {f"gate:production/health/criterion-{n}": replace(plain, trail=Trail([known] * 40)) for n in range(10)}
    assert len(ev.to_text(ev.Evidence(looks=many))) < 3000
