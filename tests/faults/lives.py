"""Lives of a controller: real processes that run `rollout serve`, one after the other on the same state.

Where thousands are started, a life is forked off a process that has imported everything; where time is measured, it is
the command itself. Either is a process of its own with its own memory, threads and connections, and dies as one.
"""

import contextlib
import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.failpoints import VARIABLE
from tests.support.process import DEADLINE_SECONDS, ROOT, Child, command, wait_until

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any


class Life:
    """One controller's place: its state directory, its port, and the process that lives there now, if one does."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], arguments: tuple[str, ...] = (), token: str | None = None
    ) -> None:
        """*token*: one that all controllers of a store know; else the one that each leaves for its owner."""
        self.folder = folder
        self._environment = dict(environment)
        self._arguments = ["serve", *(arguments or ("--listen", "127.0.0.1:0"))]
        self._token = token
        self._lives: list[Child] = []
        self.starts = 0
        self.state_dir = Path(self._environment["XDG_STATE_HOME"]) / "staged-rollout"

    def start(self, failpoints: str = "", *, forked: bool = True) -> None:
        assert not self.running
        self.starts += 1
        environment = {**self._environment, **({VARIABLE: failpoints} if failpoints else {})}
        words = [str(command())]
        if not forked:  # the same code as that which runs here, wherever it was installed from
            words = [sys.executable, "-c", "from orchestrator.cli import main; raise SystemExit(main())"]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
        self._lives.append(Child([*words, *self._arguments], self.folder, environment=environment).start())

    @property
    def running(self) -> bool:
        return bool(self._lives) and self._lives[-1].running

    @property
    def exit_code(self) -> int | None:
        return self._lives[-1].exit_code if self._lives else None

    @property
    def pid(self) -> int:
        return self._lives[-1].pid

    @property
    def is_stopped(self) -> bool:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except OSError:
            return False

    @property
    def log(self) -> str:
        """What all lives have said, oldest first."""
        return "".join(life.output + life.errors for life in self._lives)

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to the controller alone, as the kernel's out-of-memory killer does it."""
        self.send(signal.SIGKILL)
        wait_until(lambda: not self.running, what="a killed process to be gone", every_seconds=0.005)

    def end(self) -> None:
        """With everything that it started; for the end of a test."""
        if self._lives:
            self.send(signal.SIGCONT)
            self._lives[-1].kill()

    # --- speaking to it -----------------------------------------------------------------------------------------------

    def note(self) -> Json | None:
        """What the process that lives now left for its owner; None as long as it has not."""
        try:
            found: Json = json.loads((self.state_dir / "controller.json").read_text())
        except (OSError, ValueError):
            return None
        return found if self.running and found["pid"] == self.pid else None

    def ask(
        self, method: str, path: str, body: object = None, key: str | None = None, timeout_seconds: float = 15.0
    ) -> Reply | None:
        """None if no whole answer came."""
        note = self.note()
        if note is None:
            return None
        headers = {"Authorization": f"Bearer {self._token or note['token']}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        place = note["url"].removeprefix("http://")
        connection = http.client.HTTPConnection(place, timeout=timeout_seconds)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            return Reply(answer.status, json.loads(text) if text else None)
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    @property
    def is_ready(self) -> bool:
        answer = self.ask("GET", "/readyz", timeout_seconds=3.0)
        return answer is not None and answer.status == 200

    def wait_until_ready(self, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        until = time.monotonic() + deadline_seconds
        while not self.is_ready:
            assert self.running, f"the controller ended with {self.exit_code}: {self.log[-3000:]}"
            assert time.monotonic() < until, f"the controller does not answer: {self.log[-3000:]}"
            time.sleep(0.02)
