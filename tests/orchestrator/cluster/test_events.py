"""What people find with `kubectl describe`: what happened, once, in words."""

from typing import Any

from orchestrator.cluster.events import Telling, Told, refused
from orchestrator.core.times import iso
from orchestrator.core.view import stages
from orchestrator.ports import Recorded
from orchestrator.reading import shown
from tests.orchestrator.cluster.wishes import rollout
from tests.orchestrator.core.drive import BEGIN, Drive

STAGE = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [50, 100], "bake": "10s", "settle": "0s"}
END = "rolled back (gate): errors are at 50 %"


def history(drive: Drive) -> list[dict[str, Any]]:
    return [shown(Recorded("change-1", seq, BEGIN + seq, event, "")) for seq, event in enumerate(drive.events, 1)]


def told(drive: Drive, not_before: float = 0.0) -> list[Told]:
    return Telling("change-1", stages(drive.state)).read(history(drive), not_before, END)


def test_a_run_to_the_end_is_told_step_by_step() -> None:
    drive = Drive({"flags": {"beta": {}}, "stages": [STAGE]})
    drive.run_until(lambda: drive.state.ended)
    found = told(drive)
    assert [(one.reason, one.is_warning) for one in found] == [
        ("Started", False),
        ("StepRaised", False),
        ("StepRaised", False),
        ("Promoted", False),
    ]
    assert [one.message for one in found[1:3]] == ["open is at 50%", "open is at 100%"]


def test_a_failing_gate_and_what_comes_of_it_are_warnings_with_the_reason() -> None:
    gate = {"criteria": [{"name": "errors", "query": "e", "fail": "> 1%"}], "every": "1s"}
    drive = Drive({"flags": {"beta": {}}, "gates": {"health": gate}, "stages": [{**STAGE, "gate": "health"}]})
    drive.metrics["e"] = lambda drive: 0.5 if drive.state.leg == "baking" else 0.0
    drive.run_until(lambda: drive.state.ended)
    found = {one.reason: one for one in told(drive) if one.is_warning}
    assert found.keys() == {"GateFailed", "RollingBack", "RolledBack"}
    assert "errors" in found["GateFailed"].message
    assert found["RolledBack"].message == END


def test_each_has_a_name_of_its_own_that_follows_from_its_place_in_the_journal() -> None:
    drive = Drive({"flags": {"beta": {}}, "stages": [STAGE]})
    drive.run_until(lambda: drive.state.ended)
    names = [one.name_of(rollout()) for one in told(drive)]
    assert len(set(names)) == len(names)
    assert names == [one.name_of(rollout()) for one in told(drive)]
    assert not set(names) & {one.name_of(rollout(uid="another")) for one in told(drive)}


def test_a_hold_that_comes_back_is_one_event_with_a_count() -> None:
    gate = {"criteria": [{"name": "errors", "query": "e", "fail": "> 1%"}], "every": "1s"}
    drive = Drive({"flags": {"beta": {}}, "gates": {"health": gate}, "stages": [{**STAGE, "gate": "health"}]})
    drive.metrics["e"] = None
    drive.run_until(lambda: bool(drive.state.holds))
    drive.metrics["e"] = 0.0
    drive.run_until(lambda: not drive.state.holds)
    drive.metrics["e"] = None
    drive.run_until(lambda: bool(drive.state.holds))
    held = [one for one in told(drive) if one.reason == "Held"]
    assert len(held) == 2
    assert len({one.name_of(rollout()) for one in held}) == 1
    assert all(one.repeats for one in held)


def test_more_entries_are_told_where_the_last_ones_ended() -> None:
    drive = Drive({"flags": {"beta": {}}, "stages": [STAGE]})
    drive.run_until(lambda: drive.state.ended)
    telling = Telling("change-1", stages(drive.state))
    entries = history(drive)
    first = telling.read(entries[:10], 0.0, "")
    rest = telling.read(entries[telling.after :], 0.0, END)
    assert [one.message for one in (*first, *rest)] == [
        *(one.message for one in told(drive)[:-1]),
        END,
    ]


def test_what_happened_too_long_ago_is_read_and_not_told() -> None:
    drive = Drive({"flags": {"beta": {}}, "stages": [STAGE]})
    drive.run_until(lambda: drive.state.ended)
    late = told(drive, not_before=BEGIN + len(drive.events))
    assert [one.reason for one in late] == ["Promoted"]


def test_a_body_says_which_object_it_is_about_and_is_no_longer_than_events_are() -> None:
    one = refused("InvalidPlan", "x" * 3000, (1, None), str(iso(BEGIN)))
    body = one.body(rollout())
    assert body["involvedObject"] == {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "namespace": "shop",
        "name": "demo",
        "uid": "uid-demo",
    }
    assert (body["type"], body["reason"], len(body["message"])) == ("Warning", "InvalidPlan", 1024)
    assert one.repeats
