"""Who may ask what, from outside: every route of a real server's OpenAPI, with every kind of token there is."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from orchestrator.api.tokens import hashed
from tests.orchestrator.api.matrix import MATRIX
from tests.support.process import DEADLINE_SECONDS, Rollout, rollout_in, wait_until

pytestmark = pytest.mark.acceptance
ROLES = ("viewer", "operator", "approver", "admin")
NO_GOOD = ("none", "unknown", "expired", "revoked")
EXPIRED = "it-was-good-once"


@dataclass
class Server:
    """*secrets*: by role, and of those that are no good any more."""

    rollout: Rollout
    url: str
    secrets: dict[str, str]

    def ask(self, method: str, path: str, body: Any, who: str, number: int = 0) -> int:
        """From an address of its own on loopback, for wrong tokens are counted by address."""
        sent = {"Authorization": f"Bearer {self.secrets[who]}"} if who != "none" else {}
        parts, here = urlsplit(self.url), f"127.0.1.{number + 1}"
        connection = HTTPConnection(str(parts.hostname), parts.port, DEADLINE_SECONDS, source_address=(here, 0))
        with contextlib.closing(connection):
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, sent | {"Content-Type": "application/json"})
            return connection.getresponse().status


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("access")
    file = folder / "tokens.json"
    expired = {"name": "old", "role": "admin", "sha256": hashed(EXPIRED), "expires": "2020-01-01T00:00:00Z"}
    file.write_text(json.dumps([expired]))
    with rollout_in(folder) as rollout:
        rollout.start("serve", "--listen", "127.0.0.1:0", "--token-file", file)
        note = wait_until(lambda: next(folder.rglob("controller.json"), None), what="the controller's note")
        assert note is not None
        secrets = {role: made(rollout, role, role) for role in ROLES}
        secrets |= {"expired": EXPIRED, "unknown": "rollout_of-nobody", "revoked": made(rollout, "leaver", "admin")}
        revoked = rollout.run("token", "revoke", "leaver", "--reason", "left the house")
        assert revoked.code == 0, revoked.errors
        yield Server(rollout, json.loads(note.read_text())["url"], secrets)


def made(rollout: Rollout, name: str, role: str) -> str:
    result = rollout.run("token", "create", name, "--role", role, "--expires", "1h")
    assert result.code == 0, result.errors
    return result.last_line


def test_every_route_of_the_server_is_in_the_table(server: Server) -> None:
    paths = httpx.get(f"{server.url}/openapi.json", trust_env=False).json()["paths"]
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert routes == {(method, path) for method, path, *_ in MATRIX}


def expected(needed: str, who: str) -> int | None:
    """The status of the refusal, None if the request is let in. A token that is sent must be right wherever one may
    be sent."""
    if needed == "open" or (needed == "local" and who == "none"):
        return None
    if who in NO_GOOD:
        return 401
    return 403 if needed in ROLES and ROLES.index(who) < ROLES.index(needed) else None


@pytest.mark.parametrize("who", (*NO_GOOD, *ROLES))
def test_each_route_lets_in_exactly_those_it_is_for(server: Server, who: str) -> None:
    wrong = []
    for number, (method, _, path, body, needed) in enumerate(MATRIX):
        status = server.ask(method, path, body, who, number)
        refusal = expected(needed, who)
        is_right = status == refusal if refusal else status not in (401, 403, 405, 429, 500)
        if not is_right:
            wrong.append((method, path, status, refusal))
    assert wrong == []


def test_what_was_made_revoked_and_refused_is_in_the_log(server: Server) -> None:
    server.ask("GET", "/api/v1/runs", None, "revoked", 200)
    listed = {one["name"]: one["state"] for one in server.rollout.json("token", "list", "--output", "json")}
    assert listed.items() >= {**dict.fromkeys(ROLES, "live"), "leaver": "revoked"}.items()

    def told() -> bool:
        entries = server.rollout.json("token", "log", "--limit", "1000", "--output", "json")
        kinds = {one["what"] for one in entries}
        peers = {one["detail"].get("peer") for one in entries}
        return kinds >= {"token.created", "token.revoked", "refused"} and "127.0.1.201" in peers

    wait_until(told, what="the refusal in the log")


def test_no_secret_is_in_the_store_or_in_what_the_server_says(server: Server) -> None:
    said = "".join(child.output + child.errors for child in server.rollout.children)
    kept = b"".join(file.read_bytes() for file in server.rollout.folder.rglob("rollout.db*"))
    assert kept
    for who in (*ROLES, "revoked"):
        secret = server.secrets[who]
        assert secret.encode() not in kept
        assert secret not in said.replace(f"{secret}\n", "", 1)  # it was printed once, when it was made
