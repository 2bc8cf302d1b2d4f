"""A real `rollout serve` for benchmarks of flags, whose event loop notes how late it is."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FLAG = "measured"
DEADLINE_SECONDS = 120.0

# `rollout serve` with a timer that notes, every 5 ms, the moment and how late it came
LATENESS = """
import asyncio, sys, time
from orchestrator.cli import main
NOTES = open(sys.argv.pop(1), "w", buffering=65536)
EVERY = 0.005

class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        loop = super().new_event_loop()
        loop.call_soon(tick, loop, time.monotonic(), 0)
        return loop

def tick(loop, due, count):
    now = time.monotonic()
    NOTES.write(f"{now:.6f} {max(now - due, 0.0):.6f}\\n")
    if count % 50 == 0:
        NOTES.flush()
    loop.call_at(now + EVERY, tick, loop, now + EVERY, count + 1)

asyncio.set_event_loop_policy(Policy())
sys.exit(main())
"""


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def lateness_in(notes: Sequence[tuple[float, float]], spans: Sequence[tuple[float, float]]) -> dict[str, float]:
    late = sorted(late * 1000 for at, late in notes if any(began <= at <= ended for began, ended in spans)) or [0.0]
    return {
        "p50": round(percentile(late, 0.5), 2),
        "p99": round(percentile(late, 0.99), 2),
        "most": round(late[-1], 2),
    }


def rest(seconds: float) -> tuple[float, float]:
    """From when to when (monotonic)."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def more_files(wanted: int) -> int:
    """Files that this process and its children may have open, raised as far as is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


class Server:
    def __init__(self, process: "subprocess.Popen[bytes]", note: dict[str, Any], lateness: Path) -> None:
        self._process = process
        self._lateness = lateness
        self._token = note["token"]
        self.port = urlsplit(note["url"]).port or 0

    def put(self, percentage: float) -> None:
        self._ask("PATCH", f"/api/v1/flags/{FLAG}", {"percentage": percentage, "state": "enabled"})

    def kill(self) -> None:
        self._ask("POST", "/feature-flags/disable-all", {})

    def lift(self) -> None:
        self._ask("DELETE", "/feature-flags/disable-all", {"confirm": True})

    def _ask(self, method: str, path: str, body: dict[str, Any]) -> None:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps({**body, "reason": "measured"}), headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(f"{method} {path} was refused: {answer.status} {answer.read()!r}")

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def share_of_a_core(self, seconds: float) -> float:
        began, used = time.monotonic(), self.cpu_seconds()
        rest(seconds)
        return round((self.cpu_seconds() - used) / (time.monotonic() - began), 4)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE_SECONDS)

    def lateness(self) -> list[tuple[float, float]]:
        lines = (line.split() for line in self._lateness.read_text().splitlines())
        return [(float(line[0]), float(line[1])) for line in lines if len(line) == 2]


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Server]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROLLOUT_")}
    environment = {**kept, "ROLLOUT_STATE_DIR": str(folder / "state")}
    lateness, errors = folder / "lateness", folder / "errors"
    command: list[str | Path] = [sys.executable, "-c", LATENESS, lateness, "serve", "--listen", "127.0.0.1:0"]
    with errors.open("wb") as stream:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=stream)
    try:
        yield Server(process, _note(folder / "state" / "controller.json", process, errors), lateness)
    finally:
        process.kill()
        process.wait()


def _note(path: Path, process: "subprocess.Popen[bytes]", errors: Path) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"rollout serve did not start: {errors.read_text()[-2000:]}")
        time.sleep(0.05)
    note: dict[str, Any] = json.loads(path.read_text())
    return note
