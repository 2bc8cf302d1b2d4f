"""Secrets of commands, requests and notifications, runs that go well and badly, and no channel that shows one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.hostile.saying import say
from tests.hostile.served import SECRETS, Served, served, submission
from tests.hostile.shapes import Command
from tests.support.process import wait_until

PLANTED = {
    "PLANTED_HEADER": "planted-header-8f3b",
    "PLANTED_COMMAND": "planted-command-d02e",
    "PLANTED_HOOK": "planted-hook-5a6f",
}
WORDS = (*PLANTED.values(), *SECRETS.values())
IN_THE_OPEN = "nobodys-secret-3c9d"
HEAD = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {{name: {name}}}
spec:
  description: {open}
  commands: {{vars: {{TOKEN: {{env: PLANTED_COMMAND}}}}}}
  notify:
    channels: {{team: {{webhook: {{url: "{url}/hook", headers: {{Authorization: {{env: PLANTED_HOOK}}}}}}}}}}
    news: [{{when: [started, promoted, rolled_back, stopped], channels: [team]}}]
  stages:
    - {{name: go, kind: steps, steps: [{step}]}}
"""
SPOKEN = 'echo "out $TOKEN"; echo "err $TOKEN" >&2; '
STEPS = {
    "succeeds": f"{{command: [sh, -c, '{SPOKEN} exit 0'], undo: none}}",
    "fails": f"{{command: [sh, -c, '{SPOKEN} exit 3'], undo: none}}",
    "takes-long": f"{{command: [sh, -c, '{SPOKEN} sleep 20'], timeout: 1s, undo: none}}",
    "echoed": '{http: {url: "URL/echo", method: POST, headers: {X-A: {env: PLANTED_HEADER}}}, undo: none}',
    "refused": '{http: {url: "http://127.0.0.1:1/", method: POST, headers: {X-A: {env: PLANTED_HEADER}}}, undo: none}',
}


class Echo(ThreadingHTTPServer):
    """Answers everything with 500 and what it was sent, as careless servers do; takes what is for its hook."""

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
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        head = "\n".join(f"{name}: {value}" for name, value in self.headers.items())
        is_hook = self.path.startswith("/hook")
        if is_hook:
            server.hooked.append(body)
        server.sent.append(head)
        content = f"I do not like {head}\n{body}".encode()
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


def get(here: Served, path: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {SECRETS['admin']}"}
    return httpx.get(here.url + path, headers=headers, trust_env=False, timeout=20)


def walk(here: Served, echo: Echo, name: str) -> str:
    """Starts one run, and says its name."""
    step = STEPS[name].replace("URL", echo.url)
    text = HEAD.format(name=name, open=IN_THE_OPEN, url=echo.url, step=step)
    headers = {"Authorization": f"Bearer {SECRETS['operator']}"}
    answer = httpx.post(here.url + "/api/v1/runs", json=submission(text), headers=headers, trust_env=False, timeout=20)
    assert answer.is_success, answer.text
    return str(answer.json()["run"])


def tried(here: Served, run: str) -> bool:
    return any(
        entry["type"] in ("EffectFinished", "EffectFailed") for entry in get(here, f"/api/v1/runs/{run}/events").json()
    )


def channels(here: Served, echo: Echo, folder: Path, runs: list[str]) -> dict[str, str]:
    found = {path: get(here, path).text for path in ("/", "/metrics", "/api/v1/runs", "/api/v1/audit", "/api/v1/flags")}
    for run in runs:
        for path in ("", "/events", "/journal", "/report"):
            found[f"{run}{path}"] = get(here, f"/api/v1/runs/{run}{path}").text
        found[f"page of {run}"] = get(here, f"/runs/{run}").text
        for words in (
            ("status", run),
            ("history", run),
            ("export", run),
            *(("report", run, "--format", one) for one in ("md", "html", "json")),
        ):
            own = {"ROLLOUT_SERVER": here.url, "ROLLOUT_TOKEN": SECRETS["admin"]}
            said = say(Command("", words, 0, "", environment=own), folder)
            assert said.code == 0, said.err
            found[" ".join(words)] = said.out + said.err
    found["notifications"] = "\n".join(echo.hooked)
    found["log"] = here.said()
    for file in here.state.rglob("*"):
        if file.is_file():
            found[f"file {file.name}"] = file.read_bytes().decode("latin-1")
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[str(process)] = process.read_bytes().decode("latin-1")
        except OSError:
            continue  # it has ended
    return found


def test_no_channel_shows_a_planted_secret(tmp_path: Path) -> None:
    with echoing() as echo, served(tmp_path, **PLANTED) as here:
        runs = [walk(here, echo, name) for name in STEPS]
        for run in runs:
            wait_until(lambda run=run: tried(here, run), what=f"{run} to be tried")  # type: ignore[misc]
        wait_until(lambda: echo.hooked, what="a notification")
        found = channels(here, echo, tmp_path, runs)
    sent = "\n".join(echo.sent)
    assert "planted-header-8f3b" in sent, "the secrets were not in use"
    assert "planted-hook-5a6f" in sent
    shown = {(where, word) for where, text in found.items() for word in WORDS if word in text}
    assert not shown
    assert "err ***" in found[f"export {runs[1]}"], "what the command said was not kept"
    open_ = {where for where, text in found.items() if IN_THE_OPEN in text}
    assert any(where.endswith("/journal") for where in open_), "the search finds nothing at all"
    assert any(where.startswith("file rollout.db") for where in open_)
