"""One real server for all hostile requests, with a token for every role and one run to speak of."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from orchestrator.api.tokens import hashed
from stages.load import load_plan
from tests.hostile.shapes import Request
from tests.stages.plans import STEPS
from tests.support.process import Child, rollout_in, wait_until

ROLES = ("viewer", "operator", "approver", "admin")
SECRETS = {role: f"planted-{role}-4f0c1b7d9e" for role in ROLES}
ANSWER_SECONDS = 20.0
WAITING = STEPS + '        - {manual: "May it go on?"}\n'


@dataclass(frozen=True, slots=True)
class Answer:
    """*status* is 0 where the connection was ended without one."""

    status: int
    text: str
    head: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    child: Child
    state: Path

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    def ask(self, request: Request) -> Answer:
        content = request.sent(SECRETS.get(request.role) if request.role is not None else None)
        with socket.create_connection(self.address, ANSWER_SECONDS) as connection:
            with contextlib.suppress(ConnectionError):  # one that is refused early is not read to its end
                connection.sendall(content)
            return _read(connection)

    def lives(self) -> bool:
        return httpx.get(self.url + "/healthz", trust_env=False).status_code == 200

    def said(self) -> str:
        """Its log, and whatever it kept of a crash."""
        kept = self.state / "errors.log"
        return self.child.errors + self.child.output + (kept.read_text() if kept.exists() else "")


def _read(connection: socket.socket) -> Answer:
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            received += piece
            if _is_whole(received):
                break
    head, _, body = received.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    return Answer(status, body.decode(errors="replace"), head.decode("latin-1"))


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return bool(end) and len(body) >= int(line.partition(b":")[2])
    return False


@contextlib.contextmanager
def served(folder: Path, allow: str = "", often: str = "", **environment: str) -> Iterator[Served]:
    """*allow* is what is in the file of that name; without it there is none. *often*: how many requests a second are
    taken of one token."""
    tokens = [{"name": role, "role": role, "sha256": hashed(secret)} for role, secret in SECRETS.items()]
    (folder / "tokens.json").write_text(json.dumps(tokens))
    with rollout_in(folder, **environment) as rollout:
        more: list[str | Path] = ["--allow", _written(folder / "allow.yaml", allow)] if allow else []
        more += ["--requests-per-second", often] if often else []
        child = rollout.start("serve", "--listen", "127.0.0.1:0", "--token-file", folder / "tokens.json", *more)
        state = rollout.state / "staged-rollout"
        found = wait_until(lambda: _left(state, child), what="the address of the controller")
        here = Served(found["url"], child, state)
        start(here, WAITING)
        assert _admin(here, "PATCH", "/api/v1/flags/beta", {"percentage": 5, "reason": "to have one"}).is_success
        yield here


def _written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def _left(state: Path, child: Child) -> dict[str, Any]:
    assert child.running, child.errors
    try:
        found: dict[str, Any] = json.loads((state / "controller.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def submission(text: str) -> dict[str, Any]:
    plan = load_plan(text, "plan.yaml", {}, (), read_file=lambda path: Path(path).read_bytes())
    documents = [{"environment": environment, "plan": document} for environment, document in plan.raw]
    return {"plan": plan.name, "digest": plan.digest, "documents": documents, "files": dict(plan.files)}


def start(here: Served, text: str) -> str:
    answer = _admin(here, "POST", "/api/v1/runs", submission(text))
    assert answer.is_success, answer.text
    return str(answer.json()["run"])


def _admin(here: Served, method: str, path: str, body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {SECRETS['admin']}"}
    return httpx.request(method, here.url + path, json=body, headers=headers, trust_env=False, timeout=ANSWER_SECONDS)
