"""Commands against a controller: what they send, what they print, how they end."""

import io
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.cli.picture import Scene, Size, picture
from tests.orchestrator.cli.conftest import Cli, FakeController, Json, a_status, an_entry

COMMANDS = "/api/v1/runs/search/commands"


@pytest.mark.parametrize(
    ("words", "sent"),
    (
        (["pause", "search"], {"command": "pause", "reason": ""}),
        (["pause", "search", "--reason", "look"], {"command": "pause", "reason": "look"}),
        (
            ["resume", "search", "--flag", "beta", "--keep"],
            {"command": "resume", "reason": "", "flag": "beta", "pin": "keep"},
        ),
        (["resume", "search", "--release"], {"command": "resume", "reason": "", "pin": "release"}),
        (
            ["approve", "search", "--item", "go", "--not-applicable"],
            {"command": "approve", "reason": "", "item": "go", "not_applicable": True},
        ),
        (["reject", "search", "--reason", "no"], {"command": "reject", "reason": "no"}),
        (["withdraw", "search", "--item", "x", "--reason", "no"], {"command": "withdraw", "item": "x", "reason": "no"}),
        (["advance", "search", "--reason", "why"], {"command": "advance", "reason": "why"}),
        (
            ["rollback", "search", "--stage", "queue", "--with-schema", "--reason", "bad"],
            {"command": "rollback", "reason": "bad", "stage": "queue", "with_schema": True},
        ),
        (["stop", "search", "--reason", "x"], {"command": "stop", "reason": "x"}),
        (
            ["resolve", "search", "flag:p/x", "--as", "done", "--reason", "x"],
            {"command": "resolve", "reason": "x", "target": "flag:p/x", "taken_as": "done"},
        ),
        (
            ["resolve", "search", "--reason", "x"],
            {"command": "resolve", "reason": "x", "taken_as": "as_is"},
        ),
        (["fire", "search", "backlog", "--reason", "x"], {"command": "fire", "reason": "x", "trigger": "backlog"}),
        (["ack", "search"], {"command": "ack", "reason": ""}),
    ),
)
def test_a_command_sends_what_was_typed_and_no_more(
    cli: Cli, controller: FakeController, words: list[str], sent: dict[str, object]
) -> None:
    said = cli(*words)
    assert said.code == 0
    assert f"{words[0]} accepted for search" in said.out
    (request,) = controller.sent_to("POST", COMMANDS)
    assert request.body == sent
    assert len(request.headers["idempotency-key"]) == 32


def test_what_a_command_sends_is_what_the_core_takes(cli: Cli, controller: FakeController) -> None:
    from orchestrator.core.commands import Command

    cli("rollback", "search", "--stage", "queue", "--with-schema", "--reason", "bad")
    command = Command.model_validate(controller.last.body)
    assert (command.command, command.stage, command.with_schema) == ("rollback", "queue", True)


@pytest.mark.parametrize("command", ("advance", "rollback", "stop", "resolve"))
def test_a_command_that_wants_a_reason_is_not_sent_without_one(
    cli: Cli, controller: FakeController, command: str
) -> None:
    said = cli(command, "search")
    assert said.code == 2
    assert said.err == f"rollout: --reason TEXT is needed to {command}: it is kept in the journal\n"
    assert controller.requests == []


def test_a_reason_is_asked_for_on_a_terminal(
    cli: Cli, controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.ask.on_terminal", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("errors everywhere\n"))
    said = cli("rollback", "search")
    assert said.code == 0
    assert "Why rollback? " in said.err
    assert controller.last.body["reason"] == "errors everywhere"


def test_a_rollback_of_an_ended_run_names_the_run_that_takes_it_back(cli: Cli, controller: FakeController) -> None:
    answer = {"run": "search-1", "command": "rollback", "accepted": True, "seq": 0, "run_started": "search-2"}
    controller.answers["POST", COMMANDS] = (200, answer)
    assert "run search-2 takes it back" in cli("rollback", "search", "--reason", "x").out


@pytest.mark.parametrize(
    ("status", "body", "code", "sentence"),
    (
        (409, {"error": "Refused", "message": "search is paused already"}, 1, "rollout: search is paused already"),
        (404, {"error": "NotFound", "message": "there is no run search"}, 1, "rollout: there is no run search"),
        (403, {"error": "Forbidden", "message": "needs the role operator"}, 1, "rollout: needs the role operator"),
        (401, {"error": "Unauthorized", "message": "This token is not known"}, 1, "ROLLOUT_TOKEN"),
        (500, {"error": "InternalError", "message": "Something went wrong"}, 1, "rollout: Something went wrong"),
        (422, {"error": "InvalidRequest", "message": "not valid"}, 2, "rollout: not valid"),
        (200, b"<html>", 1, "is no controller of rollout (HTTP 200)"),
        (502, b"<html>", 1, "is no controller of rollout (HTTP 502)"),
    ),
)
def test_a_refusal_is_one_sentence_and_an_exit_code(
    cli: Cli, controller: FakeController, status: int, body: object, code: int, sentence: str
) -> None:
    controller.answers["POST", COMMANDS] = (status, body)
    said = cli("pause", "search")
    assert said.code == code
    assert sentence in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


def test_without_a_controller_a_changing_command_says_how_to_start_one(cli: Cli) -> None:
    for words in (["pause", "x"], ["flag", "set", "x", "--percentage", "5"], ["flag", "lift"]):
        said = cli(*words)
        assert said.code == 1
        assert "no controller runs: `rollout serve` starts one" in said.err


def test_a_server_that_does_not_answer_is_named(cli: Cli, free_port: int) -> None:
    said = cli("pause", "x", "--server", f"http://127.0.0.1:{free_port}")
    assert said.code == 1
    assert said.err == f"rollout: no controller answers at http://127.0.0.1:{free_port} (connection refused)\n"


# --- reading ----------------------------------------------------------------------------------------------------------


def test_status_tells_people_where_a_run_stands_and_why_nothing_moves(cli: Cli, controller: FakeController) -> None:
    hold = {"reason": "paused", "item": "ada", "since": "2026-03-01T12:01:00.000Z", "by": "ada", "detail": "lunch"}
    item = {"item": "stage:queue", "kind": "approval", "text": "Go?", "by": ["on-call"], "until": None}
    controller.statuses = [a_status(holds=[hold], waiting=[item])]
    out = cli("status", "search").out
    assert out.splitlines()[0] == "search-1a2b3c  running, production queue 25% (baking)"
    assert "queueBasedProcessing 25 %" in out
    assert "pass  errors: errors is 0.5, < 1 holds" in out
    assert "holds       paused since 2026-03-01 12:01:00 UTC by ada: lunch" in out
    assert "waits       stage:queue (approval) from on-call: Go?" in out


def drawn(status: Json) -> str:
    lines = picture(Scene(status, now=1_772_366_460.0), Size(100, 30))
    return "\n".join("".join(text for text, _ in line) for line in lines)


def test_a_backfill_is_told_in_rows_by_status_and_by_the_live_line(cli: Cli, controller: FakeController) -> None:
    ends = "2026-03-01T12:10:00.000Z"
    rows = {"what": "backfill", "rows": 200_000, "of_rows": 5_000_000, "rows_per_second": 8000.4, "ends": ends}
    told = "200,000 of 5,000,000 rows, 8,000 a second, through at about 2026-03-01 12:10:00 UTC"
    controller.statuses = [a_status(progress=rows)]
    assert f"  backfill    {told}" in cli("status", "search").out.splitlines()
    begun = a_status(progress={**rows, "rows": 0, "of_rows": None, "rows_per_second": 0.0, "ends": None})
    assert told in drawn(a_status(progress=rows))
    assert "0 rows, 0 a second" in drawn(begun)


def test_every_output_has_all_that_the_controller_said(cli: Cli, controller: FakeController) -> None:
    from ruamel.yaml import YAML

    assert cli("status", "search", "--output", "json").json == a_status()
    assert YAML(typ="safe").load(cli("status", "search", "-o", "yaml").out) == a_status()
    assert cli("list", "-o", "json").json == [a_status()]
    assert cli("history", "search", "-o", "json").json == controller.entries


def test_list_asks_for_active_runs_only_if_told_to(cli: Cli, controller: FakeController) -> None:
    assert "search-1a2b3c" in cli("list").out
    assert controller.last.query == {}
    cli("list", "--active")
    assert controller.last.query == {"active": "true"}


def test_history_has_a_sentence_for_each_entry_that_has_one(cli: Cli, controller: FakeController) -> None:
    controller.entries.append(an_entry(2, "Paused", by="ada", reason="lunch"))
    out = cli("history", "search").out
    assert out.splitlines()[2].split(maxsplit=4)[3:] == ["Paused", "paused (by ada: lunch)"]


@pytest.mark.parametrize("answer", ((404, {"error": "NotFound"}), (405, {"detail": "Method Not Allowed"})))
def test_an_older_controller_is_explained_without_what_may_be_done(
    cli: Cli, controller: FakeController, answer: tuple[int, Json]
) -> None:
    controller.answers["GET", "/api/v1/runs/search-1a2b3c/commands"] = answer
    said = cli("explain", "search")
    assert (said.code, said.err) == (0, "")
    assert "Step 25% of stage queue bakes: 1m of 10m have passed" in said.out
    assert "may now" not in said.out


def test_history_follows_to_the_end_without_missing_anything(cli: Cli, controller: FakeController) -> None:
    controller.statuses = [a_status(), a_status(), a_status(phase="ended", outcome="promoted")]
    controller.entries.append(an_entry(2, "RunEnded", outcome="promoted"))
    said = cli("history", "search", "--follow", "--output", "json")
    assert said.code == 0
    assert len(said.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("outcome", "code"), (("promoted", 0), ("rolled_back", 3), ("stopped", 4), ("rollback_failed", 5))
)
def test_watch_ends_with_the_code_of_the_outcome(cli: Cli, controller: FakeController, outcome: str, code: int) -> None:
    controller.statuses = [a_status(), a_status(), a_status(phase="ended", outcome=outcome)]
    controller.entries.append(an_entry(2, "RunEnded", outcome=outcome))
    said = cli("watch", "search")
    assert said.code == code
    assert said.out.splitlines()[-1].startswith(f"2026-03-01 12:00:02Z  {outcome.replace('_', ' ')}")
    assert "rollout report search-1a2b3c" in said.err


def test_report_is_written_in_three_forms(cli: Cli, controller: FakeController) -> None:
    assert cli("report", "search").out.startswith("# search-1a2b3c\n")
    assert cli("report", "search", "--format", "html").out.startswith("<!doctype html>")
    assert cli("report", "search", "--format", "json").json["chain"] == {"entries": 1, "head": f"{1:064x}"}


def test_what_others_wrote_can_do_nothing_to_the_terminal(cli: Cli, controller: FakeController) -> None:
    hold = {"reason": "paused", "item": "x", "since": None, "by": "x", "detail": "a\x1b[2Jb\nc"}
    controller.statuses = [a_status(holds=[hold])]
    out = cli("status", "search").out
    assert "\x1b" not in out
    assert "a\ufffd[2Jb c" in out


def test_an_unexpected_error_is_one_sentence_and_its_traceback_is_kept(
    cli: Cli, controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr("orchestrator.cli.standing.status", fail)
    said = cli("status", "search")
    assert said.code == 1
    assert "something unexpected happened: ZeroDivisionError: by nought" in said.err
    assert len(said.err.splitlines()) == 1
    kept = said.err.strip().rpartition(" ")[2]
    assert "Traceback" in Path(kept).read_text()


def test_ctrl_c_ends_a_command_without_a_traceback(
    cli: Cli, controller: FakeController, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.cli.standing.status", press)
    assert main(["status", "search"]) == 130
    assert capsys.readouterr().err == "rollout: interrupted\n"
