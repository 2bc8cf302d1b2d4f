"""What a terminal asks before something is done, and what it shows first; scripts are asked nothing."""

import io
import json
from pathlib import Path

import pytest

from orchestrator.cli.superseding import difference
from tests.orchestrator.cli.conftest import Cli, FakeController, Json, a_status
from tests.orchestrator.cli.test_picture import offer

COMMANDS = "/api/v1/runs/search/commands"
PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: tiny}
spec:
  flags: {beta: {}}
  stages:
    - {name: raise, kind: monitoring, flag: beta, percentages: [5, 50], bake: BAKE}
"""
ENDED = {"phase": "ended", "outcome": "promoted", "ended": "2026-03-01T13:00:00.000Z", "leg": None}


class Person:
    """At a terminal, typing what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        monkeypatch.setattr("orchestrator.cli.ask.on_terminal", lambda: True)

    def types(self, *lines: str) -> None:
        self._monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    return Person(monkeypatch)


def asked(controller: FakeController) -> list[Json]:
    return [request.body for request in controller.sent_to("POST", COMMANDS)]


# --- reasons ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ("pause", "resume", "approve", "reject", "ack"))
def test_a_reason_that_need_not_be_there_is_asked_for_and_may_be_left_out(
    cli: Cli, controller: FakeController, person: Person, command: str
) -> None:
    person.types("")
    said = cli(command, "search")
    assert (said.code, said.err) == (0, f"Why {command}? (Enter for none) ")
    person.types("lunch")
    cli(command, "search")
    assert [body["reason"] for body in asked(controller)] == ["", "lunch"]


@pytest.mark.parametrize("words", (["pause", "search", "--yes"], ["ack", "search", "--reason", "seen"]))
def test_nothing_is_asked_of_whoever_said_it_or_says_yes(
    cli: Cli, controller: FakeController, person: Person, words: list[str]
) -> None:
    assert cli(*words).err == ""


def test_a_reason_that_is_wanted_is_never_left_out(cli: Cli, controller: FakeController, person: Person) -> None:
    person.types("")
    said = cli("stop", "search")
    assert (said.code, asked(controller)) == (2, [])
    assert "--reason TEXT is needed to stop" in said.err
    assert cli("stop", "search", "--yes").code == 2


# --- a run that has ended is taken back -------------------------------------------------------------------------------


@pytest.fixture
def promoted(controller: FakeController) -> FakeController:
    controller.statuses = [a_status(**ENDED)]
    kept = offer(
        "rollback", returns=["flag queueBasedProcessing in production"], stays=["the table stays: no way back"]
    )
    controller.offers["commands"] = [kept]
    flag = {"key": "queueBasedProcessing", "state": "enabled", "percentage": 60.0, "by": "eve", "run": "next-1"}
    controller.answers["GET", "/api/v1/flags"] = (200, [flag])
    return controller


def test_what_comes_back_what_does_not_and_who_changed_what_is_shown_first(
    cli: Cli, promoted: FakeController, person: Person
) -> None:
    person.types("n")
    said = cli("rollback", "search", "--reason", "complaints")
    assert (said.code, asked(promoted)) == (1, [])
    lines = said.err.splitlines()
    assert lines[0].startswith("search-1a2b3c: promoted, ended 2026-03-01 13:00:00 UTC (")
    assert lines[1:] == [
        "  comes back, in a run of its own:",
        "    flag queueBasedProcessing in production",
        "  does not come back:",
        "    the table stays: no way back",
        "  was changed since; of two values a flag takes the safer one:",
        "    flag queueBasedProcessing stands at 60 %, and was left at 25 %, by eve",
        "    flag queueBasedProcessing is moved by next-1 now, which has to end first",
        "Workloads and the rest are looked at when it begins: what somebody changed is left, listed and asked about.",
        "Take it back? [y/N] nothing was changed",
    ]


def test_with_a_yes_it_is_taken_back(cli: Cli, promoted: FakeController, person: Person) -> None:
    person.types("y", "complaints")
    assert cli("rollback", "search").code == 0
    assert asked(promoted) == [{"command": "rollback", "reason": "complaints"}]


def test_scripts_and_runs_under_way_are_not_asked(cli: Cli, controller: FakeController, person: Person) -> None:
    assert cli("rollback", "search", "--reason", "bad").err == ""
    controller.statuses = [a_status(**ENDED)]
    assert cli("rollback", "search", "--reason", "bad", "--yes").err == ""
    assert len(asked(controller)) == 2


def test_a_rollback_that_would_be_refused_is_refused_by_the_controller(
    cli: Cli, promoted: FakeController, person: Person
) -> None:
    promoted.offers["commands"] = [offer("rollback", refused="nothing is left")]
    promoted.answers["POST", COMMANDS] = (409, {"error": "Refused", "message": "nothing is left"})
    assert cli("rollback", "search", "--reason", "bad").err == "rollout: nothing is left\n"


# --- a plan takes another one's place ---------------------------------------------------------------------------------


@pytest.fixture
def old(controller: FakeController, tmp_path: Path) -> FakeController:
    from orchestrator.cli import plans

    before = tmp_path / "before.yaml"
    before.write_text(PLAN.replace("BAKE", "1m"))
    submission = plans.submission(plans.load(str(before), []), str(before), None, "")
    data = {"documents": submission["documents"], "files": {"a.sql": "SELECT 1"}}
    controller.lines = [json.dumps({"seq": 1, "data": data}, sort_keys=True)]
    controller.offers["commands"] = [offer("rollback", returns=["flag beta in production"], stays=[])]
    return controller


@pytest.fixture
def plan(tmp_path: Path) -> str:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN.replace("BAKE", "5m"))
    return str(file)


def test_superseding_shows_what_differs_and_what_is_taken_over_and_asks(
    cli: Cli, old: FakeController, person: Person, plan: str
) -> None:
    person.types("n")
    said = cli("start", plan, "--supersede", "search")
    assert said.code == 1
    assert old.sent_to("POST", "/api/v1/runs") == []
    lines = said.err.splitlines()
    begin = lines.index("search-1a2b3c ends, and this plan takes over what it touched:")
    assert lines[begin + 1] == "  flag beta in production, with what was there before"
    assert lines[begin + 3 : begin + 6] == ["in production:", "--- search-1a2b3c", "+++ tiny"]
    changed = [line.replace(" ", "") for line in lines[begin + 6 :] if line[:1] in ("+", "-")]
    assert [line[:6] for line in changed] == ["-bake:", "+bake:"]
    assert "file a.sql is gone" in lines
    assert lines[-1] == "Supersede it? [y/N] nothing was started"


def test_scripts_see_the_difference_and_are_not_asked(cli: Cli, old: FakeController, plan: str) -> None:
    said = cli("start", plan, "--supersede", "search", "--detach")
    assert said.code == 0
    assert "in production:" in said.err
    assert old.sent_to("POST", "/api/v1/runs")[0].body["supersede"] == "search"


def test_environments_that_differ_alike_are_told_once_and_those_alike_not_at_all() -> None:
    before = {name: {"spec": {"bake": 1}} for name in ("dev", "staging", "production")}
    after = {**before, "dev": {"spec": {"bake": 2}}, "staging": {"spec": {"bake": 2}}}
    lines = list(difference(before, after, "old", "new"))
    assert lines[0] == "in dev, staging:"
    assert [line for line in lines if line.startswith("in ")] == ["in dev, staging:"]
    assert list(difference(before, before, "old", "new")) == []
    assert "-spec:" in list(difference(before, {}, "old", "new"))
