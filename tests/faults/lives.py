"""Lives of a controller: real processes that run `rollout serve`, one after the other on the same state.

Most of the CPU time of a controller's start goes into importing. Where thousands are started, a life is forked off a
process that has imported everything and done nothing else (`FORKED`); where time is measured, it is the command
itself (`COMMAND`). Either is a process of its own with its own memory, threads and connections, and dies as one.
"""

import contextlib
import http.client
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from orchestrator.failpoints import VARIABLE
from tests.faults.living import live
from tests.support.process import DEADLINE_SECONDS, ROOT, Child, command, wait_until

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["tests.faults.preloaded"])
Json = dict[str, Any]


class Process(Protocol):
    """What a life needs of its process."""

    @property
    def pid(self) -> int: ...

    @property
    def running(self) -> bool: ...

    @property
    def exit_code(self) -> int | None: ...

    def kill(self) -> None: ...


class _Forked:
    def __init__(self, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        # a daemon is ended with this process
        self._process: BaseProcess = _FORKING.Process(
            target=live, args=(arguments, dict(environment), str(log)), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    @property
    def exit_code(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()


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
        self._process: Process | None = None
        self.starts = 0
        self.state_dir = Path(self._environment["XDG_STATE_HOME"]) / "staged-rollout"

    def start(self, failpoints: str = "", *, forked: bool = True) -> None:
        assert not self.running
        self.starts += 1
        environment = {**self._environment, **({VARIABLE: failpoints} if failpoints else {})}
        if forked:
            self._process = _Forked(self._arguments, environment, self.folder / "log")
            return
        # the same code as that which runs here, wherever it was installed from
        words = [sys.executable, "-c", "from orchestrator.cli import main; raise SystemExit(main())", *self._arguments]
        path = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
        assert command().exists()
        self._process = Child(words, self.folder, environment={**environment, "PYTHONPATH": path}).start()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def exit_code(self) -> int | None:
        return self._process.exit_code if self._process is not None else None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_stopped(self) -> bool:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except OSError:
            return False

    @property
    def log(self) -> str:
        path = self.folder / "log"
        said = path.read_text(errors="replace") if path.exists() else ""
        return said + (self._process.errors if isinstance(self._process, Child) else "")

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to the controller alone, as the kernel's out-of-memory killer does it."""
        self.send(signal.SIGKILL)
        wait_until(lambda: not self.running, what="a killed process to be gone", every_seconds=0.005)

    def end(self) -> None:
        """With everything that it started; for the end of a test."""
        if self._process is not None:
            self.send(signal.SIGCONT)
            self._process.kill()

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
