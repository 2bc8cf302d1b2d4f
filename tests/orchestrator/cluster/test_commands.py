"""Commands as objects: read, answered once, and collected when they are old or many."""

from datetime import UTC, datetime

import pytest

from orchestrator.cluster import commands
from orchestrator.cluster_port import Identity
from orchestrator.core.commands import Actor
from orchestrator.errors import Refused, UsageError
from tests.orchestrator.cluster.wishes import command

ALICE = Identity("alice", ("system:authenticated", "developers"))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOON + seconds, UTC).isoformat()


def test_a_command_is_asked_in_the_name_of_who_made_it_and_its_uid_makes_it_harmless_to_ask_again() -> None:
    found = commands.asked(command("c1", "rollback", by="carol", arguments={"stage": "open", "withSchema": True}))
    assert (found.command.command, found.command.stage, found.command.with_schema) == ("rollback", "open", True)
    assert (found.command.reason, found.command.key) == ("a look", "uid-c1")
    assert found.actor == Actor("carol", "approver")


def test_a_spec_that_is_none_is_refused_at_its_place() -> None:
    with pytest.raises(Refused, match=r"spec\.command: Input should be 'pause', 'resume'"):
        commands.asked(command("c1", "explode"))


def test_a_command_that_was_given_before_the_run_began_was_not_meant_for_it() -> None:
    one = command("c1")
    commands.refuse_if_older(one, {"run": "demo-2", "started": at(1.0)})
    with pytest.raises(Refused, match="it was given before demo-2 began"):
        commands.refuse_if_older(one, {"run": "demo-2", "started": at(60.0)})


def test_answers_say_what_became_of_it_and_when() -> None:
    answer = {"run": "demo-1", "seq": 7, "run_started": None}
    accepted = commands.accepted(answer, NOON)
    (condition,) = accepted.pop("conditions")
    assert accepted == {
        "accepted": True,
        "message": "accepted",
        "at": "2026-03-01T12:00:00Z",
        "run": "demo-1",
        "seq": 7,
    }
    assert (condition["type"], condition["status"], condition["reason"]) == ("Accepted", "True", "Accepted")
    taken_back = commands.accepted({**answer, "seq": 0, "run_started": "demo-2"}, NOON)
    assert taken_back["message"] == "accepted; run demo-2 takes it back"
    refused = commands.refused("no " * 1000, None, NOON)
    assert refused["refused"] is True
    assert len(refused["message"]) == 1024
    assert [(one["status"], one["reason"]) for one in refused["conditions"]] == [("False", "Refused")]


def test_answered_commands_go_after_a_day_and_unanswered_ones_stay() -> None:
    found = [command("old", answered=at(0.0)), command("new", answered=at(3600.0)), command("open")]
    assert [one.name for one in commands.to_collect(found, NOON + 86_400.0)] == ["old"]


def test_no_more_than_two_hundred_answered_ones_are_kept_of_each_rollout() -> None:
    many = [command(f"c{number:03}", answered=at(number)) for number in range(203)]
    other = [command(f"d{number:03}", answered=at(number), rollout="other") for number in range(199)]
    collected = commands.to_collect([*many, *other], NOON + 300.0)
    assert sorted(one.name for one in collected) == ["c000", "c001", "c002"]


def test_the_command_line_writes_the_object_that_is_read_here() -> None:
    asked = {"command": "resume", "reason": "fine", "flag": "beta", "pin": "keep"}
    body = commands.command_body("demo", asked, ALICE)
    assert body["metadata"] == {"generateName": "demo-resume-"}
    assert body["spec"] == {
        "rollout": "demo",
        "command": "resume",
        "reason": "fine",
        "requestedBy": "alice",
        "arguments": {"flag": "beta", "pin": "keep"},
    }
    assert commands.command_body("demo", {"command": "pause", "reason": ""}, ALICE)["spec"]["reason"]
    with pytest.raises(UsageError, match="reason"):
        commands.command_body("demo", {"command": "pause", "reason": "x" * 2000}, ALICE)


def test_who_answers_for_a_group_says_which_ones_are_his() -> None:
    body = commands.command_body("demo", {"command": "approve", "reason": "fine"}, ALICE)
    assert body["spec"]["groups"] == ["developers"]
    taken_back = commands.command_body("demo", {"command": "withdraw", "item": "watch", "reason": "no"}, ALICE)
    assert taken_back["spec"]["arguments"] == {"item": "watch"}
    assert "groups" not in taken_back["spec"]
    found = commands.asked(command("c1", "approve", by="alice", groups=["developers"]))
    assert found.actor == Actor("alice", "approver", ("developers",))
