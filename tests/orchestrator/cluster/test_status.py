"""The status of an object: a bounded projection of its run, with conditions as others read them."""

from typing import Any

import pytest

from orchestrator.cluster.reconcile import Refusal
from orchestrator.cluster.status import is_shown, merge_patch, project
from tests.orchestrator.cluster.wishes import rollout, row
from tests.orchestrator.core.drive import Drive

NOW = 1_770_000_000.0
STAGE = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [50, 100], "bake": "1h", "settle": "0s"}
SPEC: dict[str, Any] = {"flags": {"beta": {}}, "stages": [STAGE]}


def run_of(drive: Drive, generation: int = 1) -> dict[str, Any]:
    """What a controller shows of a run of the object's."""
    from orchestrator.core.view import status

    return {**status(drive.state, drive.evidence, drive.now), "origin": {"generation": generation, "bundle": None}}


def baking() -> Drive:
    drive = Drive(SPEC)
    drive.run_until(lambda: drive.state.leg == "baking")
    return drive


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


def message(status: dict[str, Any]) -> str:
    (found,) = {one["message"] for one in status["conditions"]}
    return str(found)


def test_a_run_that_moves_is_progressing_and_says_where() -> None:
    shown = project(rollout(), run_of(baking()), None, NOW)
    assert conditions(shown) == {
        "Ready": ("False", "Running"),
        "Progressing": ("True", "Running"),
        "Stalled": ("False", "Running"),
    }
    assert message(shown) == "running production open 50% (baking)"
    assert (shown["phase"], shown["leg"], shown["stage"], shown["step"]) == ("running", "baking", "open", "50%")
    assert shown["percentages"] == {"beta": 50.0}
    assert shown["observedGeneration"] == 1
    assert "outcome" not in shown


def test_a_hold_is_no_progress_and_no_failure_and_its_reason_is_the_conditions() -> None:
    drive = baking()
    drive.command("pause", reason="lunch")
    shown = project(rollout(), run_of(drive), None, NOW)
    assert conditions(shown) == {
        "Ready": ("False", "Paused"),
        "Progressing": ("False", "Paused"),
        "Stalled": ("False", "Paused"),
    }
    assert message(shown) == "holds, paused: lunch"
    assert [hold["reason"] for hold in shown["holds"]] == ["paused"]


def test_only_a_run_that_was_promoted_is_ready() -> None:
    drive = Drive({**SPEC, "stages": [{**STAGE, "bake": "1s"}]})
    drive.run_until(lambda: drive.state.ended)
    shown = project(rollout(), run_of(drive), None, NOW)
    assert conditions(shown) == {
        "Ready": ("True", "Promoted"),
        "Progressing": ("False", "Promoted"),
        "Stalled": ("False", "Promoted"),
    }
    assert (shown["phase"], shown["outcome"]) == ("ended", "promoted")
    assert "holds" not in shown
    assert "next" not in shown


@pytest.mark.parametrize(
    ("command", "reason", "words"),
    (
        ("rollback", "RolledBack", "rolled back (command by bob): too many complaints"),
        ("stop", "Stopped", "stopped: the world stays as it is"),
    ),
)
def test_every_other_end_is_stalled_and_says_why(command: str, reason: str, words: str) -> None:
    drive = baking()
    drive.command(command, reason="too many complaints")
    drive.run_until(lambda: drive.state.ended)
    shown = project(rollout(), run_of(drive), None, NOW)
    assert conditions(shown)["Ready"] == ("False", reason)
    assert conditions(shown)["Stalled"] == ("True", reason)
    assert message(shown).startswith(words)


def test_a_failing_gate_is_the_message_of_the_rollback() -> None:
    gate = {"criteria": [{"name": "errors", "query": "e", "fail": "> 1%"}], "every": "1s"}
    drive = Drive({**SPEC, "gates": {"health": gate}, "stages": [{**STAGE, "gate": "health"}]})
    drive.metrics["e"] = 0.0
    drive.run_until(lambda: drive.state.leg == "baking")
    drive.metrics["e"] = 0.5
    drive.run_until(lambda: drive.state.ended)
    shown = message(project(rollout(), run_of(drive), None, NOW))
    assert shown.startswith("rolled back (gate): ")
    assert "errors" in shown


def test_why_nothing_was_started_is_said_without_a_phase_so_that_the_spec_may_be_mended() -> None:
    shown = project(rollout(), None, Refusal("InvalidPlan", "spec.stages: at least one"), NOW)
    assert conditions(shown)["Stalled"] == ("True", "InvalidPlan")
    assert message(shown) == "spec.stages: at least one"
    assert shown.keys() == {"observedGeneration", "conditions"}


def test_a_target_in_other_hands_is_waited_for() -> None:
    shown = project(rollout(), None, Refusal("TargetBusy", "x holds beta", needs_a_person=False), NOW)
    assert conditions(shown)["Stalled"] == ("False", "TargetBusy")


def test_a_run_that_our_journal_does_not_know_stays_as_it_is_told() -> None:
    there = {"run": "demo-9", "phase": "running", "percentages": {"beta": 50.0}}
    shown = project(rollout(status=there), None, Refusal("RunUnknown", "elsewhere"), NOW)
    assert {name: shown[name] for name in there} == there
    assert conditions(shown)["Stalled"] == ("True", "RunUnknown")


def test_an_edit_while_the_run_is_under_way_is_not_observed_yet_and_is_told() -> None:
    shown = project(rollout(generation=2), run_of(baking()), None, NOW)
    assert shown["observedGeneration"] == 1
    assert message(shown).endswith("; the object was edited since, which counts when this run has ended")


def test_the_time_of_a_condition_is_that_of_its_last_change() -> None:
    first = project(rollout(), run_of(baking()), None, NOW)
    again = project(rollout(status=first), run_of(baking()), None, NOW + 60.0)
    assert again["conditions"] == first["conditions"]
    drive = baking()
    drive.command("pause")
    times = {
        one["type"]: one["lastTransitionTime"]
        for one in project(rollout(status=first), run_of(drive), None, NOW + 90.0)["conditions"]
    }
    assert times["Ready"] == "2026-02-02T02:40:00Z"
    assert times["Progressing"] == "2026-02-02T02:41:30Z"


def test_nothing_is_longer_than_a_status_may_be() -> None:
    run = run_of(baking())
    run["holds"] = [
        {"reason": "failing", "item": "i" * 2000, "since": None, "by": "b" * 300, "detail": "d" * 5000}
    ] * 100
    run["percentages"] = {f"flag-{number}": 1.0 for number in range(1000)}
    run["waiting"] = [
        {"item": "i", "kind": "approval", "text": "t" * 3000, "by": ["w" * 300] * 100, "until": None}
    ] * 100
    shown = project(rollout(), run, None, NOW)
    assert (len(shown["holds"]), len(shown["waiting"]), len(shown["percentages"])) == (32, 32, 200)
    assert len(shown["holds"][0]["detail"]) == 1024
    assert all(len(one["message"]) <= 1024 for one in shown["conditions"])


def test_what_comes_next_moves_in_coarse_steps_only() -> None:
    """It is estimated anew at each look; the object is not written for that."""
    drive = baking()
    first = project(rollout(), run_of(drive), None, NOW)
    drive.advance(1.0, step=0.3)
    assert project(rollout(), run_of(drive), None, NOW)["next"] == first["next"]


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    (
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"p": {"x": 1, "y": 2}}, {"p": {"y": 3}}, {"p": {"x": None, "y": 3}}),
        ({"l": [1]}, {"l": [1, 2]}, {"l": [1, 2]}),
        ({}, {"p": {"x": 1}}, {"p": {"x": 1}}),
    ),
)
def test_a_merge_patch_says_what_differs_and_what_goes(old: Any, new: Any, patch: Any) -> None:
    assert merge_patch(old, new) == patch


def test_the_end_of_a_run_that_is_shown_already_is_known_by_its_row() -> None:
    drive = Drive({**SPEC, "stages": [{**STAGE, "bake": "1s"}]})
    drive.run_until(lambda: drive.state.ended)
    run = {**run_of(drive), "run": "demo-1"}
    shown = project(rollout(), run, None, NOW)
    assert is_shown(rollout(status=shown), row("ended", "promoted"))
    assert not is_shown(rollout(status=shown), row("ended", "rolled_back"))
    assert not is_shown(rollout(status=shown, generation=2), row("ended", "promoted"))
    assert not is_shown(rollout(), row("ended", "promoted"))
