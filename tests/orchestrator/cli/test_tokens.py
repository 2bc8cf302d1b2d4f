"""`rollout token ...` towards a controller: what is sent, and what is said."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.cli.tokens import expiry
from orchestrator.errors import UsageError
from tests.orchestrator.cli.conftest import Cli, FakeController

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KIM: dict[str, Any] = {
    "id": "0a1b", "name": "kim", "role": "approver", "groups": ["sre", "dba"], "environment": None,
    "created": "2026-03-01T12:00:00.000Z", "by": "ann", "expires": "2026-05-30T12:00:00.000Z", "state": "live",
    "revoked": None,
}  # fmt: skip
LEAKED = {"at": "2026-03-02T12:00:00.000Z", "by": "lee", "reason": "it leaked"}


def test_the_secret_is_the_last_line_and_the_only_one_of_the_output(cli: Cli, controller: FakeController) -> None:
    controller.answers["POST", "/api/v1/tokens"] = (201, {**KIM, "secret": "rollout_s"})
    words = ["--role", "approver", "--group", "sre", "--group", "dba", "--environment", "staging"]
    said = cli("token", "create", "kim", *words, "--expires", "2099-01-31")
    assert (said.code, said.out) == (0, "rollout_s\n")
    assert "token 0a1b of kim, approver, until 2026-05-30 12:00:00 UTC; it is shown this once" in said.err
    assert controller.last.body == {
        "name": "kim",
        "role": "approver",
        "groups": ["sre", "dba"],
        "environment": "staging",
        "expires": "2099-01-31T00:00:00+00:00",
    }


def test_without_a_word_about_it_a_token_holds_for_ninety_days(cli: Cli, controller: FakeController) -> None:
    controller.answers["POST", "/api/v1/tokens"] = (201, {**KIM, "secret": "rollout_s"})
    cli("token", "create", "kim", "--role", "viewer")
    left = datetime.fromisoformat(controller.last.body["expires"]) - datetime.now(UTC)
    assert timedelta(days=89) < left <= timedelta(days=90)


def test_one_that_never_expires_has_to_be_asked_for(cli: Cli, controller: FakeController) -> None:
    controller.answers["POST", "/api/v1/tokens"] = (201, {**KIM, "expires": None, "secret": "rollout_s"})
    said = cli("token", "create", "kim", "--role", "viewer", "--expires", "never")
    assert controller.last.body == {"name": "kim", "role": "viewer", "groups": []}
    assert "until it is revoked" in said.err


@pytest.mark.parametrize(
    ("text", "expected"),
    (
        ("90d", NOW + timedelta(days=90)),
        ("12h", NOW + timedelta(hours=12)),
        ("2026-03-02", datetime(2026, 3, 2, tzinfo=UTC)),
        ("2026-03-02T08:00:00+02:00", datetime(2026, 3, 2, 6, tzinfo=UTC)),
        ("2026-03-02T08:00:00Z", datetime(2026, 3, 2, 8, tzinfo=UTC)),
        ("never", None),
    ),
)
def test_when_a_token_expires_is_said_in_several_ways(text: str, expected: datetime | None) -> None:
    assert expiry(text, NOW) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    (
        ("soon", "a time from now such as 90d, a date such as 2027-01-31, or never is expected"),
        ("999999999999d", "is expected"),
        ("2026-02-28", "that is over already"),
        ("2026-03-02T08:00:00", "which zone"),
    ),
)
def test_what_is_no_time_to_come_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        expiry(text, NOW)


def test_tokens_are_listed_with_what_became_of_them(cli: Cli, controller: FakeController) -> None:
    revoked = {**KIM, "id": "0c", "groups": [], "state": "revoked", "expires": None, "revoked": LEAKED}
    controller.answers["GET", "/api/v1/tokens"] = (200, [KIM, revoked])
    lines = cli("token", "list").out.splitlines()
    assert lines[1].split()[:6] == ["0a1b", "kim", "approver", "sre,", "dba", "live"]
    assert lines[2].endswith("never                by lee: it leaked")
    assert cli("token", "list", "-o", "json").json == [KIM, revoked]


def test_revoking_says_why_and_may_name_anybody(cli: Cli, controller: FakeController) -> None:
    controller.answers["DELETE", "/api/v1/tokens/kim%2Fci"] = (200, {**KIM, "state": "revoked", "revoked": LEAKED})
    said = cli("token", "revoke", "kim/ci", "--reason", "it leaked")
    assert (said.code, controller.last.body) == (0, {"reason": "it leaked"})
    assert "token 0a1b of kim is revoked" in said.out
    assert "--reason TEXT is needed" in cli("token", "revoke", "kim").err


def test_the_log_shows_who_was_refused_what(cli: Cli, controller: FakeController) -> None:
    detail = {"method": "GET", "path": "/api/v1/runs", "status": 401, "peer": "192.0.2.1", "why": "Unknown."}
    entry = {"seq": 7, "time": "2026-03-01T12:00:00.000Z", "what": "refused", "by": "nobody", "detail": detail}
    controller.answers["GET", "/api/v1/audit"] = (200, [entry])
    line = cli("token", "log", "--limit", "5").out.splitlines()[1]
    assert line.startswith("2026-03-01 12:00:00  refused  nobody  method=GET path=/api/v1/runs peer=192.0.2.1")
    assert controller.last.query == {"limit": "5"}


def test_without_a_controller_it_is_said_how_to_start_one(cli: Cli) -> None:
    said = cli("token", "list")
    assert said.code == 1
    assert "no controller runs: `rollout serve` starts one" in said.err
    assert cli("token").code == 2
