"""Secrets that are planted where plans use them, a careless server that repeats them, every channel to look into."""

from __future__ import annotations

import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx

from tests.hostile.saying import say
from tests.hostile.served import SECRETS, Served, submission
from tests.hostile.shapes import Command

PLANTED = {
    "PLANTED_HEADER": "planted/header+8f3b=",
    "PLANTED_COMMAND": "planted&command d02e/?",
    "PLANTED_HOOK": 'planted"hook\\5a6f<>',
}
IN_THE_OPEN = "nobodys-secret-3c9d"
HEAD = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {{name: {name}}}
spec:
  description: {open}
  {spec}
  commands: {{vars: {{TOKEN: {{env: PLANTED_COMMAND}}}}}}
  notify:
    channels: {{team: {{webhook: {{url: "{url}/hook", headers: {{Authorization: {{env: PLANTED_HOOK}}}}}}}}}}
    news: [{{when: [started, promoted, rolled_back, stopped], channels: [team]}}]
  stages:
    - {{name: go, kind: steps, steps: [{step}]}}
"""
OURS = ("PATH", "HOME", "LANG", "TZ")
"""What a command has of the controller's environment."""


def forms(secret: str) -> set[str]:
    """How a secret may look where it comes out again. In base64 what stands before it shifts it."""
    content = secret.encode()
    found = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}
    for before in range(3):
        encoded = b64encode(b"u" * before + content).decode()
        inner = encoded[4 if before else 0 : (before + len(content)) // 3 * 4]
        found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return found


def both_ways(text: bytes) -> bytes:
    """As it is, and encoded in the usual ways."""
    return b"\n".join((text, b64encode(text), urlsafe_b64encode(text), quote(text, safe="").encode()))


class Echo(ThreadingHTTPServer):
    """Answers everything with 500 and what it was sent, as careless servers do, each header also encoded; takes what
    is for its hook."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.daemon_threads = True
        self.hooked: list[str] = []
        self.sent: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Echo)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_hook = self.path.startswith("/hook")
        if is_hook:
            server.hooked.append(body.decode())
        server.sent += self.headers.values()
        values = [value for name, value in self.headers.items() if name.lower() in ("x-a", "authorization")]
        content = b"I do not like " + b"\n".join(both_ways(value.encode()) for value in values) + body
        self.send_response(200 if is_hook else 500)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def echoing() -> Iterator[Echo]:
    server = Echo()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def get(here: Served, path: str, role: str = "admin") -> httpx.Response:
    headers = {"Authorization": f"Bearer {SECRETS[role]}"}
    return httpx.get(here.url + path, headers=headers, trust_env=False, timeout=20)


def walk(here: Served, echo: Echo, name: str, step: str, spec: str = "x-nothing: {}") -> str:
    """Starts one run, and says its name."""
    text = HEAD.format(name=name, open=IN_THE_OPEN, url=echo.url, step=step.replace("URL", echo.url), spec=spec)
    headers = {"Authorization": f"Bearer {SECRETS['operator']}"}
    answer = httpx.post(here.url + "/api/v1/runs", json=submission(text), headers=headers, trust_env=False, timeout=20)
    assert answer.is_success, answer.text
    return str(answer.json()["run"])


def tried(here: Served, run: str, kinds: Sequence[str] = ("EffectFinished", "EffectFailed")) -> bool:
    return any(entry["type"] in kinds for entry in get(here, f"/api/v1/runs/{run}/events").json())


def channels(here: Served, echo: Echo, folder: Path, runs: list[str]) -> dict[str, str]:
    """Everything that can be read of a server and its runs, by where it was read."""
    asked = (
        "/",
        "/metrics",
        "/api/v1/runs",
        "/api/v1/audit",
        "/api/v1/flags",
        "/api/v1/flags/beta",
        "/api/v1/flag-history/beta",
    )
    found = {path: get(here, path).text for path in asked}
    found |= _flags(here)
    for run in runs:
        for path in ("", "/events", "/journal", "/report"):
            found[f"{run}{path}"] = get(here, f"/api/v1/runs/{run}{path}").text
        found[f"page of {run}"] = get(here, f"/runs/{run}").text
        found[f"stream of {run}"] = _streamed(here, f"/api/v1/runs/{run}/events")
        for words in (
            ("status", run),
            ("history", run),
            ("export", run),
            *(("report", run, "--format", one) for one in ("md", "html", "json")),
        ):
            found[" ".join(words)] = _said(here, folder, words)
    found["notifications"] = "\n".join(echo.hooked)
    found["log"] = here.said()
    for file in here.state.rglob("*"):
        if file.is_file() and file.name != "controller.json":
            found[f"file {file.name}"] = file.read_bytes().decode("latin-1")
    return found | processes()


def _said(here: Served, folder: Path, words: tuple[str, ...]) -> str:
    own = {"ROLLOUT_SERVER": here.url, "ROLLOUT_TOKEN": SECRETS["admin"]}
    said = say(Command("", words, 0, "", environment=own), folder)
    assert said.code == 0, said.err
    return said.out + said.err


def _flags(here: Served) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {SECRETS['viewer']}"}
    path = "/ofrep/v1/evaluate/flags"
    asked = {"context": {"targetingKey": "somebody"}}
    found = {path: httpx.post(here.url + path, json=asked, headers=headers, trust_env=False, timeout=20).text}
    found["flagd"] = get(here, "/flagd/v1/flags.json", "viewer").text
    found["stream of flags"] = _streamed(here, "/flags/v1/stream")
    return found


def _streamed(here: Served, path: str) -> str:
    """What a stream says at once: until it is silent for a moment."""
    headers = {"Authorization": f"Bearer {SECRETS['viewer']}", "Accept": "text/event-stream"}
    said = ""
    timeout = httpx.Timeout(20, read=0.5)
    with (
        suppress(httpx.ReadTimeout),
        httpx.stream("GET", here.url + path, headers=headers, trust_env=False, timeout=timeout) as answer,
    ):
        for piece in answer.iter_text():
            said += piece
    return said


def processes() -> dict[str, str]:
    """The command lines of every process of this machine."""
    found = {}
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            found[str(process)] = process.read_bytes().decode("latin-1")
    return found


def children_of(process: int) -> dict[int, dict[str, str]]:
    """Each process below it, with the environment that it was begun with."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    below = {process}
    while more := {one for one, parent in parents.items() if parent in below} - below:
        below |= more
    found = {}
    for one in below - {process}:
        with suppress(OSError):
            pairs = Path(f"/proc/{one}/environ").read_bytes().decode("latin-1").split("\0")
            found[one] = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return found
