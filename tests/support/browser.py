"""The pages as a person sees them: a real controller, people with tokens, and one Chromium before it.

    with Desk(folder, chromium) as desk:
        run = desk.start(PLAN)
        with desk.looking("olga", f"/runs/{run}") as page:
            page.get_by_role("button", name="Pause").click()

What a page throws, and what its policy refuses, is noted and fails where it was looked at. `numbers` is what plans can
measure without a Prometheus: a URL a name, and the test says what is there.
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from orchestrator.api.tokens import hashed
from tests.faults.world import submission
from tests.support.ports import free_port
from tests.support.process import DEADLINE_SECONDS, ROOT, Child, Rollout, wait_until

Json = dict[str, Any]
BUILD = ROOT / ".ci" / "provide" / "page"
AXE = ROOT / "tests" / "browser"
WIDE, PHONE = (1280, 800), (390, 844)
PAGE_MS = DEADLINE_SECONDS * 1000 / 2
REASON = "because of the test"


def provided(*words: str | Path) -> list[str]:
    """What a script in .ci/provide says on standard output. RuntimeError with its last word if there is nothing to be
    had."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"{words[0]} ended without a word"])[-1])
    return done.stdout.strip().splitlines()


def provided_chromium() -> Path:
    """A real one, installed the first time, and the pages' script, built if it changed. Raises RuntimeError."""
    provided(BUILD)
    return Path(provided(ROOT / ".ci" / "provide" / "chromium")[-1])


def provided_axe() -> str:
    """The text of axe-core. Raises RuntimeError."""
    modules = Path(provided(ROOT / ".ci" / "provide" / "node", "--modules", AXE)[-2])
    return (modules / "axe-core" / "axe.min.js").read_text()


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    role: str
    groups: tuple[str, ...] = ()
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def entry(self) -> Json:
        """In a file of tokens."""
        return {"name": self.name, "role": self.role, "groups": list(self.groups), "sha256": hashed(self.token)}


PEOPLE = (
    Person("vera", "viewer"),
    Person("olga", "operator"),
    Person("anna", "approver", ("sre",)),
    Person("carl", "approver", ("sre",)),
    Person("ben", "approver", ("dba",)),
    Person("root", "admin"),
)


class Numbers:
    """Serves each number of *values* at a path of its name, as JSON."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        numbers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                value = numbers.values.get(self.path.strip("/"))
                content = json.dumps({"value": value}).encode()
                self.send_response(200 if value is not None else 404)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Desk:
    """See the head of this file. The controller's port stays the same, so that it may be started again."""

    def __init__(self, folder: Path, chromium: Path) -> None:
        self.folder = folder
        self._chromium = chromium
        self._stack = contextlib.ExitStack()
        self.people = {one.name: one for one in PEOPLE}
        tokens = folder / "tokens.json"
        tokens.write_text(json.dumps([one.entry for one in PEOPLE]))
        self.rollout = Rollout(folder)
        self.url = f"http://127.0.0.1:{free_port()}"
        listen = self.url.removeprefix("http://")
        self.controller: Child = self.rollout.child("serve", "--listen", listen, "--token-file", tokens)
        self.faults: list[str] = []
        self._browser: Browser | None = None
        self._cookies: dict[str, list[Any]] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.numbers = Numbers()
            stack.callback(self.numbers.close)
            stack.callback(self.rollout.kill_all)
            self._http = stack.enter_context(httpx.Client(base_url=self.url, trust_env=False, timeout=DEADLINE_SECONDS))
            self.start_controller()
            playwright = stack.enter_context(sync_playwright())
            options = ["--no-sandbox"] if os.geteuid() == 0 else []
            self._browser = playwright.chromium.launch(
                executable_path=self._chromium, args=[*options, "--disable-dev-shm-usage", "--disable-gpu"]
            )
            stack.callback(self._browser.close)
            expect.set_options(timeout=PAGE_MS)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # --- the controller -----------------------------------------------------------------------------------------------

    def start_controller(self) -> None:
        self.controller.start()
        wait_until(self._is_ready, what="the controller to serve")

    def stop_controller(self) -> None:
        """As a machine does it that goes away."""
        self.controller.kill()

    def _is_ready(self) -> bool:
        assert self.controller.running, f"it ended with {self.controller.exit_code}: {self.controller.errors}"
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, method: str, path: str, body: Any = None, who: str = "root") -> Any:
        """What the API answers; AssertionError with its sentence if it refuses."""
        headers = {"Authorization": f"Bearer {self.people[who].token}"}
        answer = self._http.request(method, path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    def start(self, text: str, who: str = "root") -> str:
        """The name of a new run of a plan."""
        return str(self.ask("POST", "/api/v1/runs", submission(text, self.folder), who)["run"])

    def command(self, run: str, command: str, who: str = "root", **more: Any) -> None:
        self.ask("POST", f"/api/v1/runs/{run}/commands", {"command": command, "reason": REASON, **more}, who)

    def status(self, run: str) -> Json:
        found: Json = self.ask("GET", f"/api/v1/runs/{run}")
        return found

    def wait_for(self, run: str, **wanted: Any) -> Json:
        """The status once all *wanted* are so; ``hold="paused"`` means that this is among what holds."""
        hold = wanted.pop("hold", None)

        def look() -> Json:
            found = self.status(run)
            holds = {one["reason"] for one in found["holds"]}
            is_so = all(found[name] == value for name, value in wanted.items()) and hold in (None, *holds)
            return found if is_so else {}

        return wait_until(look, what=f"{run} to be {wanted} {hold or ''}")

    def journal(self, run: str) -> list[Json]:
        found: list[Json] = self.ask("GET", f"/api/v1/runs/{run}/events")
        return found

    def end(self, run: str) -> None:
        """Nobody has to look after it any more."""
        if self.status(run)["outcome"] is None:
            self.command(run, "stop")
            self.wait_for(run, phase="ended")

    # --- the browser --------------------------------------------------------------------------------------------------

    @property
    def browser_version(self) -> str:
        assert self._browser is not None
        return self._browser.version

    @contextlib.contextmanager
    def looking(self, who: str | None, path: str = "/", **options: Any) -> Iterator[Page]:
        """A page of somebody's, signed in unless *who* is None, in a browser of his own. *options*: of the context."""
        with self.context(who, **options) as context:
            page, before = self.opened(context), len(self.faults)
            page.goto(f"{self.url}{path}")
            yield page
            assert self.faults[before:] == []

    @contextlib.contextmanager
    def context(self, who: str | None, **options: Any) -> Iterator[BrowserContext]:
        assert self._browser is not None
        width, height = options.pop("size", WIDE)
        context = self._browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PAGE_MS)
        try:
            if who is not None:
                self.sign_in(context, self.people[who])
            yield context
        finally:
            context.close()

    @contextlib.contextmanager
    def signed_in_with(self, token: str) -> Iterator[BrowserContext]:
        """A browser of somebody who has a token that was made meanwhile."""
        with self.context(None) as context:
            self.sign_in(context, Person("somebody", "", token=token))
            yield context

    def opened(self, context: BrowserContext) -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._note)
        return page

    def sign_in(self, context: BrowserContext, person: Person) -> None:
        """By the form, the first time; then with what it gave."""
        if person.token not in self._cookies:
            page = context.new_page()
            page.goto(f"{self.url}/sign-in?page={quote('/', safe='')}")
            page.get_by_label("Token").fill(person.token)
            page.get_by_role("button", name="Sign in", exact=True).click()
            page.wait_for_url(f"{self.url}/")
            page.close()
            self._cookies[person.token] = context.cookies()
        context.add_cookies(self._cookies[person.token])

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(message.text)
