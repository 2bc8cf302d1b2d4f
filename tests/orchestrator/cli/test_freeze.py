from typing import Any

import pytest

from tests.orchestrator.cli.conftest import Cli, FakeController, a_status

PATH = "/api/v1/freeze"
ONE: dict[str, Any] = {
    "environment": "production", "by": "kim", "reason": "quarter end", "at": "2026-03-01T12:00:00.000Z",
    "until": "2026-03-02T08:00:00.000Z",
}  # fmt: skip
ALL = {**ONE, "environment": "*", "until": None}


def test_freezing_sends_what_was_typed_and_says_what_it_holds(cli: Cli, controller: FakeController) -> None:
    controller.answers["POST", PATH] = (200, {**ONE, "runs": ["search-1a2b3c"], "frozen": [ONE]})
    said = cli("freeze", "--environment", "production", "--until", "20h", "--reason", "quarter end")
    assert said.code == 0
    assert controller.last.body == {"environment": "production", "until": "20h", "reason": "quarter end"}
    assert "production is frozen until 2026-03-02 08:00:00 UTC: holds search-1a2b3c" in said.out
    assert "`rollout unfreeze --environment production` ends it before" in said.out


def test_a_freeze_of_everything_needs_a_reason_and_no_more(cli: Cli, controller: FakeController) -> None:
    said = cli("freeze")
    assert (said.code, controller.requests) == (2, [])
    assert "--reason TEXT is needed to freeze all environments" in said.err
    controller.answers["POST", PATH] = (200, {**ALL, "runs": [], "frozen": [ALL]})
    assert (
        "every environment is frozen until somebody unfreezes it: no active run" in cli("freeze", "--reason", "x").out
    )
    assert controller.last.body == {"reason": "x"}


def test_unfreezing_says_what_is_still_frozen(cli: Cli, controller: FakeController) -> None:
    controller.answers["DELETE", PATH] = (200, {**ALL, "frozen": [ONE]})
    said = cli("unfreeze", "--reason", "fine").out
    assert controller.last.body == {"reason": "fine"}
    assert said.splitlines() == [
        "every environment is not frozen any more",
        "  production is frozen until 2026-03-02 08:00:00 UTC by kim: quarter end",
    ]


@pytest.mark.parametrize(("words", "shown"), (([], [ALL, ONE]), (["--environment", "staging"], [ALL])))
def test_what_is_frozen_is_shown(
    cli: Cli, controller: FakeController, words: list[str], shown: list[dict[str, Any]]
) -> None:
    controller.answers["GET", PATH] = (200, [ALL, ONE])
    assert cli("freeze", "--status", *words, "--output", "json").json == shown
    assert "quarter end" in cli("freeze", "--status", *words).out
    controller.answers["GET", PATH] = (200, [])
    assert cli("freeze", "--status", *words).out.strip() == "nothing is frozen"


def test_looking_does_not_freeze_by_accident(cli: Cli, controller: FakeController) -> None:
    said = cli("freeze", "--status", "--reason", "x")
    assert (said.code, controller.requests) == (2, [])
    assert "--status only looks" in said.err


def test_lists_of_runs_begin_with_what_is_frozen(cli: Cli, controller: FakeController) -> None:
    runs = [a_status(frozen=[ONE]), a_status(run="other-1", frozen=[ONE, ALL])]
    controller.answers["GET", "/api/v1/runs"] = (200, runs)
    said = cli("list")
    assert said.err.splitlines() == [
        "production is frozen until 2026-03-02 08:00:00 UTC by kim: quarter end",
        "every environment is frozen until somebody unfreezes it by kim: quarter end",
    ]
    assert cli("list", "--output", "json").json == runs


def test_while_no_controller_runs_reading_reads_the_store_and_the_rest_says_how_to_start_one(cli: Cli) -> None:
    assert cli("freeze", "--status").out.strip() == "nothing is frozen"
    said = cli("freeze", "--reason", "x")
    assert said.code == 1
    assert "no controller runs: `rollout serve` starts one" in said.err
