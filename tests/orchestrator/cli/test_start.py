"""`start` and `validate`: what becomes of a file, with a controller that runs already."""

import json
import signal
from pathlib import Path

import pytest

from orchestrator.cli import watching
from orchestrator.cli.watching import Signals
from tests.orchestrator.cli.conftest import Cli, FakeController, a_status

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: tiny}
spec:
  flags: {beta: {}}
  stages:
    - {name: raise, kind: monitoring, flag: beta, percentages: [5, "${LAST:-50}"], bake: 3s}
    - {name: tell, kind: steps, steps: [{command: [./tell.sh], undo: none}]}
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    (tmp_path / "tell.sh").write_text("#!/bin/sh\necho told\n")
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    return file


def test_start_hands_the_plan_to_the_controller_and_watches_it(
    cli: Cli, controller: FakeController, plan: Path
) -> None:
    controller.statuses = [a_status(), a_status(phase="ended", outcome="rolled_back")]
    said = cli("start", str(plan), "--reason", "release 7")
    assert said.code == 3
    (request,) = controller.sent_to("POST", "/api/v1/runs")
    assert request.body["plan"] == "tiny"
    assert request.body["reason"] == "release 7"
    assert request.body["directory"] == str(plan.parent)
    assert request.body["files"] == {"./tell.sh": "#!/bin/sh\necho told\n"}
    assert [document["environment"] for document in request.body["documents"]] == ["production"]


def test_what_start_sends_is_what_the_api_takes(cli: Cli, controller: FakeController, plan: Path) -> None:
    from orchestrator.api.bodies import SubmissionBody
    from stages.load import from_raw

    cli("start", str(plan), "--detach")
    body = SubmissionBody.model_validate(controller.last.body)
    assert from_raw([(one.environment, one.plan) for one in body.documents], body.files).digest == body.digest


def test_detaching_prints_the_name_of_the_run_and_nothing_else(
    cli: Cli, controller: FakeController, plan: Path
) -> None:
    said = cli("start", str(plan), "--detach")
    assert (said.code, said.out) == (0, "search-1a2b3c\n")
    assert "run search-1a2b3c started" in said.err


def test_starting_again_attaches(cli: Cli, controller: FakeController, plan: Path) -> None:
    controller.answers["POST", "/api/v1/runs"] = (200, {"run": "tiny-1", "started": False})
    assert "tiny-1 of this plan is under way already" in cli("start", str(plan), "--detach").err


def test_what_the_controller_warns_of_is_told_before_the_run(cli: Cli, controller: FakeController, plan: Path) -> None:
    warned = {"run": "tiny-1", "started": True, "warnings": ["production: stage schema: no IF NOT EXISTS"]}
    controller.answers["POST", "/api/v1/runs"] = (201, warned)
    said = cli("start", str(plan), "--detach")
    assert said.err.index("warning: production: stage schema: no IF NOT EXISTS") < said.err.index("run tiny-1 started")


def test_settings_and_variables_change_what_is_sent(
    cli: Cli, controller: FakeController, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAST", "75")
    cli("start", str(plan), "--detach", "--set", "spec.stages.raise.bake=7s")
    document = json.dumps(controller.last.body["documents"][0]["plan"])
    assert "75" in document
    assert "7.0" in document or '"7s"' in document


def test_a_busy_target_is_refused_with_the_run_that_holds_it(cli: Cli, controller: FakeController, plan: Path) -> None:
    refusal = {"error": "TargetBusy", "message": "other-1 holds flag beta in production"}
    controller.answers["POST", "/api/v1/runs"] = (409, refusal)
    said = cli("start", str(plan))
    assert (said.code, said.err.splitlines()[-1]) == (1, "rollout: other-1 holds flag beta in production")


def test_superseding_names_the_run_that_ends(cli: Cli, controller: FakeController, plan: Path) -> None:
    controller.lines = ['{"data": {}}']
    cli("start", str(plan), "--detach", "--supersede", "tiny-0")
    assert controller.last.body["supersede"] == "tiny-0"


@pytest.mark.parametrize(
    ("text", "sentences"),
    (
        (PLAN.replace("bake: 3s", "bake: 3"), ["plan.yaml:7:", "a duration needs a unit"]),
        (PLAN.replace("flag: beta", "flagg: beta"), ["plan.yaml:7:", "flagg"]),
        (PLAN.replace('"${LAST:-50}"', '"${LAST_OF_ALL}"'), ["LAST_OF_ALL"]),
        (PLAN + "---\n" + PLAN, ["document"]),
        ("not: [yaml", ["plan.yaml:1:"]),
        ("", ["plan.yaml"]),
    ),
)
@pytest.mark.parametrize("command", (["start"], ["validate", "--offline"]))
def test_an_invalid_plan_says_where_and_starts_nothing(
    cli: Cli, controller: FakeController, plan: Path, text: str, sentences: list[str], command: list[str]
) -> None:
    plan.write_text(text)
    said = cli(*command, str(plan))
    assert said.code == 2
    for sentence in sentences:
        assert sentence in said.err
    assert said.err.splitlines()[-1].startswith("rollout: ")
    assert controller.requests == []


def test_a_file_that_is_no_plan_is_refused_in_one_line(cli: Cli, controller: FakeController, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"#" * (10 << 20))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, sentence in (
        ("missing", "can't be read: no such file or directory"),
        (".", "can't be read: is a directory"),
        ("large", "more than 1 MiB"),
        ("binary", "byte 1 is not UTF-8"),
    ):
        said = cli("start", str(tmp_path / name))
        assert said.code == 2
        assert sentence in said.err
        assert len(said.err.splitlines()) == 1
    assert controller.requests == []


def test_a_valid_plan_is_shown_as_it_was_understood(cli: Cli, plan: Path) -> None:
    said = cli("validate", str(plan), "--offline", "--output", "json")
    assert said.code == 0
    assert said.json["valid"] is True
    assert said.json["environments"][0]["stages"][0] == {"name": "raise", "kind": "monitoring", "steps": ["5%", "50%"]}
    assert "raise (monitoring): 5%, 50%" in cli("validate", str(plan), "--offline").out


def test_a_plan_is_held_against_the_world_without_changing_it(cli: Cli, plan: Path, free_port: int) -> None:
    said = cli("validate", str(plan), "--output", "json")
    assert said.code == 0, said.err
    assert any("beta" in one["where"] and "does not exist yet" in one["sentence"] for one in said.json["findings"])
    gate = f"""\
  prometheus: {{url: "http://127.0.0.1:{free_port}", timeout: 1s}}
  gates: {{ok: {{criteria: [{{name: errors, query: errors, pass: "< 1", for: 5s}}]}}}}
"""
    plan.write_text(PLAN.replace("bake: 3s", "bake: 3s, gate: ok") + gate)
    said = cli("validate", str(plan))
    assert said.code == (1 if "error: " in said.out else 0)
    assert "errors" in said.out
    assert cli("validate", str(plan), "--offline").code == 0


def test_the_schema_is_json_schema(cli: Cli) -> None:
    schema = cli("schema").json
    assert schema["type"] == "object"
    assert "$schema" in schema


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


def follower(controller: FakeController, signals: Signals) -> watching.Follower:
    from orchestrator.cli.client import Client
    from orchestrator.cli.settings import find_controller

    address = find_controller()
    assert address is not None
    return watching.Follower(Client(address), "search-1a2b3c", signals)


def test_a_signal_to_end_ends_the_watching_without_a_question(controller: FakeController) -> None:
    signals = Signals()
    signals.note(signal.SIGTERM)
    assert watching.watch_and_ask(follower(controller, signals), signals, "it goes on") == "end"
    assert signals.told_to_end == signal.SIGTERM


def test_ctrl_c_without_a_terminal_ends_the_watching(controller: FakeController) -> None:
    signals = Signals()
    signals.note(signal.SIGINT)
    assert watching.watch_and_ask(follower(controller, signals), signals, "it goes on") == "end"


@pytest.mark.parametrize(("key", "command"), (("p", "pause"), ("r", "rollback")))
def test_ctrl_c_on_a_terminal_can_pause_or_roll_back_and_then_goes_on_watching(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch, key: str, command: str
) -> None:
    monkeypatch.setattr("orchestrator.cli.ask.on_terminal", lambda: True)
    monkeypatch.setattr(watching, "ask_what_next", lambda *_: key)
    controller.statuses = [a_status(phase="ended", outcome="promoted")]
    signals = Signals()
    signals.note(signal.SIGINT)
    end = watching.watch_and_ask(follower(controller, signals), signals, "it goes on")
    assert isinstance(end, dict)
    (sent,) = controller.sent_to("POST", "/api/v1/runs/search-1a2b3c/commands")
    assert sent.body["command"] == command


def test_ctrl_c_on_a_terminal_can_detach(controller: FakeController, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.cli.ask.on_terminal", lambda: True)
    monkeypatch.setattr(watching, "ask_what_next", lambda *_: "d")
    signals = Signals()
    signals.note(signal.SIGINT)
    assert watching.watch_and_ask(follower(controller, signals), signals, "it goes on") == "detach"
