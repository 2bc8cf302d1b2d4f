import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal.sqlite import SqliteStore
from tests.orchestrator.cli.conftest import Cli, FakeController

FLAG: dict[str, Any] = {
    "key": "beta", "environment": "production", "state": "enabled", "killed": True, "percentage": 12.5, "targets": {},
    "parameters": {}, "variants": {"on": True, "off": False}, "default_variant": "off", "version": "1.3", "run": None,
    "pinned": False,
}  # fmt: skip
SWITCH = "/feature-flags/disable-all"


def test_flags_are_listed_of_all_environments_or_of_one(cli: Cli, controller: FakeController) -> None:
    controller.answers["GET", "/api/v1/flags"] = (200, [FLAG])
    line = cli("flag", "list").out.splitlines()[1]
    assert line.split() == ["beta", "production", "enabled", "12.5", "%", "1.3", "-", "killed"]
    assert controller.last.query == {}
    cli("flag", "--environment", "staging", "list")
    assert controller.last.query == {"environment": "staging"}


def test_one_flag_is_of_production_unless_said_otherwise(cli: Cli, controller: FakeController) -> None:
    controller.answers["GET", "/api/v1/flags/beta"] = (200, FLAG)
    assert cli("flag", "get", "beta", "--output", "json").json == FLAG
    assert controller.last.query == {"environment": "production"}


def test_setting_a_flag_sends_what_is_to_be_set(cli: Cli, controller: FakeController) -> None:
    controller.answers["PATCH", "/api/v1/flags/beta"] = (200, FLAG)
    words = ["--percentage", "12.5", "--state", "enabled", "--parameter", "limit=3", "--parameter", "mode=fast"]
    said = cli("flag", "set", "beta", *words, "--target", "team=a,b", "--reason", "trial")
    assert said.code == 0
    assert controller.last.body == {
        "percentage": 12.5,
        "state": "enabled",
        "parameters": {"limit": 3, "mode": "fast"},
        "targets": {"team": ["a", "b"]},
        "reason": "trial",
    }


def test_setting_a_flag_of_a_run_says_what_becomes_of_the_run(cli: Cli, controller: FakeController) -> None:
    controller.answers["PATCH", "/api/v1/flags/beta"] = (200, FLAG | {"run": "search-1a2b3c"})
    assert (
        "search-1a2b3c uses this flag and holds" in cli("flag", "set", "beta", "--percentage", "1", "--reason", "x").err
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    (
        ([], "nothing to set"),
        (["--percentage", "101"], "0 to 100 is expected"),
        (["--percentage", "nan"], "0 to 100 is expected"),
        (["--parameter", "x"], "NAME=VALUE is expected"),
        (["--target", "=a"], "NAME=VALUE is expected"),
        (["--percentage", "5"], "--reason TEXT is needed to set beta"),
    ),
)
def test_nothing_is_sent_for_what_can_not_be_set(
    cli: Cli, controller: FakeController, words: list[str], sentence: str
) -> None:
    said = cli("flag", "set", "beta", *words)
    assert said.code == 2
    assert sentence in said.err
    assert controller.requests == []


def test_evaluating_asks_with_the_context_that_was_given(cli: Cli, controller: FakeController) -> None:
    answer = {"key": "beta", "value": True, "reason": "SPLIT", "variant": "on", "metadata": {}}
    controller.answers["POST", "/ofrep/v1/evaluate/flags/beta"] = (200, answer)
    said = cli("flag", "evaluate", "beta", "--targeting-key", "u1", "--context", "team=a=b", "-o", "json")
    assert said.json == answer
    assert controller.last.body == {"context": {"team": "a=b", "targetingKey": "u1"}}
    assert controller.last.query == {"environment": "production"}


def test_a_flag_that_is_not_there_can_not_be_evaluated(cli: Cli, controller: FakeController) -> None:
    refusal = {"key": "beta", "errorCode": "FLAG_NOT_FOUND", "errorDetails": "there is no flag 'beta'"}
    controller.answers["POST", "/ofrep/v1/evaluate/flags/beta"] = (404, refusal)
    said = cli("flag", "evaluate", "beta")
    assert (said.code, said.err) == (1, "rollout: there is no flag 'beta'\n")


def test_the_kill_switch_works_in_a_hurry(cli: Cli, controller: FakeController) -> None:
    controller.answers["POST", SWITCH] = (200, {"environment": "*", "by": "ada", "reason": "", "at": ""})
    assert "every flag of all environments answers its off variant" in cli("flag", "disable-all").out
    assert controller.last.body == {}
    cli("flag", "--environment", "staging", "disable-all", "--reason", "fire")
    assert controller.last.body == {"environment": "staging", "reason": "fire"}


def test_lifting_shows_what_returns_before_anything_is_lifted(cli: Cli, controller: FakeController) -> None:
    controller.answers["DELETE", SWITCH] = (200, {"lifted": False, "would_return": {"production/beta": 25.0}})
    said = cli("flag", "lift", "--flag", "beta", "--reason", "over")
    assert said.code == 2
    assert "production/beta returns to 25 %" in said.err
    assert "needs --yes" in said.err
    assert [request.body["confirm"] for request in controller.requests] == [False]


def test_lifting_with_yes_lifts(cli: Cli, controller: FakeController) -> None:
    controller.answers["DELETE", SWITCH] = (200, {"lifted": True, "would_return": {"production/beta": 25.0}})
    said = cli("flag", "lift", "--flag", "beta", "--reason", "over", "--yes")
    assert said.code == 0
    assert "the kill switch is lifted for beta in all environments" in said.out
    assert [request.body for request in controller.requests] == [
        {"reason": "over", "confirm": False, "key": "beta"},
        {"reason": "over", "confirm": True, "key": "beta"},
    ]


@pytest.mark.parametrize(("typed", "code", "asked"), (("y\n", 0, [False, True]), ("\n", 1, [False])))
def test_lifting_asks_on_a_terminal(
    cli: Cli, controller: FakeController, monkeypatch: pytest.MonkeyPatch, typed: str, code: int, asked: list[bool]
) -> None:
    controller.answers["DELETE", SWITCH] = (200, {"lifted": True, "would_return": {}})
    monkeypatch.setattr("orchestrator.cli.ask.on_terminal", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert cli("flag", "lift", "--reason", "over").code == code
    assert [request.body["confirm"] for request in controller.requests] == asked


def test_without_a_store_there_are_no_flags_and_no_runs(cli: Cli) -> None:
    assert cli("flag", "list").out == "no flags\n"
    assert cli("list", "--output", "json").json == []


def test_the_kill_switch_can_be_thrown_while_no_controller_runs(cli: Cli, state: Path) -> None:
    async def make_store() -> None:
        await SqliteStore(state / "rollout.db").close()

    state.mkdir()
    asyncio.run(make_store())
    said = cli("flag", "disable-all", "--reason", "fire")
    assert said.code == 0, said.err
    assert "no controller runs now" in said.err
    assert "fire" in (state / "kill-switch.json").read_text()


# --- housekeeping -----------------------------------------------------------------------------------------------------


def test_flags_that_everybody_has_had_for_long_are_listed_with_the_places_that_name_them(
    cli: Cli, controller: FakeController, tmp_path: Path
) -> None:
    full = FLAG | {"percentage": 100, "full_since": "2026-01-01T12:00:00.000Z", "by": "run search-1"}
    controller.answers["GET", "/api/v1/flags"] = (200, [full])
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "app.py").write_text('x = 1\nif flags.is_on("beta", context):\n    betamax()\n')
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "log").write_text("beta\n")
    (tmp_path / "picture").write_bytes(b"beta \xff\xfe")
    said = cli("flag", "list", "--full-for", "30d", "--search", str(tmp_path))
    assert controller.last.query == {"full_for_seconds": "2592000.0"}
    assert said.out.splitlines() == [
        "beta (production)  at 100 % since 2026-01-01 12:00:00 UTC, by run search-1",
        '  src/app.py:2: if flags.is_on("beta", context):',
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    (
        (["--full-for", "30"], "--full-for: a duration such as 30s, 5m or 48h is expected"),
        (["--search", "."], "--search looks for the flags of --full-for TIME"),
        (["--full-for", "1d", "--search", "/nowhere/at/all"], "there is no such folder"),
    ),
)
def test_a_list_that_makes_no_sense_is_refused(
    cli: Cli, controller: FakeController, words: list[str], sentence: str
) -> None:
    controller.answers["GET", "/api/v1/flags"] = (200, [])
    said = cli("flag", "list", *words)
    assert (said.code, sentence in said.err) == (2, True)


def test_a_flags_history_says_who_changed_what_and_why(cli: Cli, controller: FakeController) -> None:
    change = {"version": "1.3", "at": "2026-01-01T12:00:00.000Z", "by": "ann", "reason": "a look", "run": None}
    controller.answers["GET", "/api/v1/flag-history/team%2Fbeta"] = (200, [change | {"changed": {"percentage": 5.0}}])
    line = cli("flag", "history", "team/beta").out.splitlines()[1]
    assert line.split("  ")[0] == "1.3"
    assert "percentage 5.0" in line
    assert line.endswith("a look")
