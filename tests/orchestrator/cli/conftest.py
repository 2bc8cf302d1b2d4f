"""A controller that is not one: an HTTP server in this process that answers as the test says, and keeps what it got."""

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog

from orchestrator.cli import main
from orchestrator.cli.hosting import log_to

TOKEN = "a token of the test's"
PAGE = 3  # lines of a journal in one answer
Json = dict[str, Any]


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


def a_status(**changed: Any) -> Json:
    status: Json = {
        "run": "search-1a2b3c",
        "plan": "search",
        "digest": "0123456789abcdef",
        "phase": "running",
        "leg": "baking",
        "outcome": None,
        "environment": "production",
        "stage": "queue",
        "step": "25%",
        "started": "2026-03-01T12:00:00.000Z",
        "ended": None,
        "percentages": {"queueBasedProcessing": 25.0},
        "holds": [],
        "gate": {
            "name": "health",
            "verdict": "pass",
            "criteria": [{"name": "errors", "verdict": "pass", "value": 0.5, "sentence": "errors is 0.5, < 1 holds"}],
        },
        "next": {"what": "leave step 25% of queue", "at": "2026-03-01T12:10:00.000Z"},
        "waiting": [],
        "exceptions": [],
        "pins": [],
        "stages": [
            {"environment": "production", "name": "queue", "kind": "queue", "steps": ["5%", "25%"], "state": "current"}
        ],
        "progress": {"what": "bake", "passed_seconds": 60.0, "of_seconds": 600.0},
    }
    return status | changed


def an_entry(seq: int, kind: str, by: str = "controller", reason: str = "", **data: Any) -> Json:
    time = f"2026-03-01T12:00:{seq:02d}.000Z"
    return {"seq": seq, "time": time, "type": kind, "by": by, "reason": reason, "data": data, "hash": f"{seq:064x}"}


@dataclass
class FakeController:
    """``statuses`` are given out one after the other (the last one stays); ``answers`` by method and path win over all
    else: a status code and a body."""

    url: str = ""
    statuses: list[Json] = field(default_factory=lambda: [a_status()])
    entries: list[Json] = field(default_factory=lambda: [an_entry(1, "RunStarted", by="ada", run="search-1a2b3c")])
    offers: Json = field(default_factory=lambda: {"actor": {"name": "ada", "role": "admin"}, "commands": []})
    lines: list[str] = field(default_factory=list)
    """The journal, as it is exported."""
    answers: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def answer(self, request: Request) -> tuple[int, Any]:
        self.requests.append(request)
        known = self.answers.get((request.method, request.path))
        if known is not None:
            return known
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "Unauthorized", "message": "This token is not known to this server."}
        if request.path == "/api/v1/runs":
            return (
                (201, {"run": "search-1a2b3c", "started": True}) if request.method == "POST" else (200, self.statuses)
            )
        if request.path.endswith("/events"):
            after = int(request.query["after"])
            return 200, [entry for entry in self.entries if entry["seq"] > after]
        if request.path.endswith("/journal"):
            after = int(request.query["after"])
            return 200, "".join(f"{one}\n" for one in self.lines[after : after + PAGE]).encode()
        if request.path.endswith("/commands") and request.method == "GET":
            return 200, self.offers
        if request.path.endswith("/commands"):
            name = request.path.split("/")[4]
            return 200, {
                "run": name,
                "command": request.body["command"],
                "accepted": True,
                "seq": 7,
                "run_started": None,
            }
        if request.path.startswith("/api/v1/runs/"):
            return 200, self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return 404, {"error": "NotFound", "message": f"there is nothing at {request.path}"}

    @property
    def last(self) -> Request:
        return self.requests[-1]

    def sent_to(self, method: str, path: str) -> list[Request]:
        return [request for request in self.requests if (request.method, request.path) == (method, path)]


def _handler(controller: FakeController) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, parts.path, query, json.loads(raw) if raw else None, headers)
            status, body = controller.answer(request)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@pytest.fixture
def no_log() -> Iterator[None]:
    """As behind a real command, what a controller in this process says is no part of what the command prints."""
    log_to(io.StringIO())
    yield
    structlog.reset_defaults()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_log: None) -> Path:
    """A state directory of the test's own, and no settings of the user's."""
    for name in ("ROLLOUT_SERVER", "ROLLOUT_TOKEN", "ROLLOUT_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def controller(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeController]:
    fake = FakeController()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("ROLLOUT_SERVER", fake.url)
    monkeypatch.setenv("ROLLOUT_TOKEN", TOKEN)
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> Said:
        self._capsys.readouterr()
        try:
            code = main(list(words))
        except SystemExit as ended:  # argparse's own
            code = int(ended.code or 0)
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)


@pytest.fixture
def cli(state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command in this process, without a terminal: its exit code and what it said."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    return Cli(capsys)
