"""The tool's users, and what is known of how it fares: runs one of its commands after the other, all the time.

    python -m examples.giflab.service --home FOLDER --installation CHECKOUT --port 8000

There are GET /health, /status (what `deps status` said last) and /metrics. How long commands and GIFs take is counted
in the time of a usual machine, not measured on this one.
"""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from examples.answering import Answering
from flags.client import FlagClient

FLAG = "memoryMonitoring"
EVERY_SECONDS = 0.1
COMMAND_SECONDS, PROCESSING_SECONDS = 0.4, 0.8
OUTCOMES = ("ok", "error", "import_error")
USUAL_LOOK = ("--help", "deps status --json", "validate")  # asked for in between, so that each is never long ago
NEEDS_MODULES = ("metrics", "run")
log = logging.getLogger("giflab")


class Metrics:
    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.runs = Counter("giflab_cli_runs", "Commands that ended", ["command", "outcome"], registry=own)
        self.seconds = Gauge("giflab_cli_seconds", "What a command took", ["command"], registry=own)
        self.processing = Gauge("giflab_processing_seconds", "What a GIF takes", registry=own)
        self.baseline = Gauge("giflab_baseline_processing_seconds", "What it took before the release", registry=own)
        self.memory = Gauge("giflab_memory_used_share", "Of the system's memory", registry=own)
        self.monitoring = Gauge("giflab_memory_monitoring", "Whether the tool watches memory", registry=own)
        self.overhead = Gauge("giflab_monitoring_overhead_share", "Of time, spent on watching memory", registry=own)
        self.unreported = Gauge("giflab_unreported", "Whether the collector took no report of memory", registry=own)
        self.caching = Gauge("giflab_caching", "Whether frames are cached", registry=own)
        self.spoilt = Gauge("giflab_results_spoilt", "Results that are not what was written", registry=own)


class Lab:
    """*home* has the inbox, results, settings and the log; *installation* is what is used."""

    def __init__(self, home: Path, installation: Path, flags: FlagClient) -> None:
        self._home, self._installation, self._flags = home, installation, flags
        self._site, self._installed = Path(), ""
        self.metrics = Metrics()
        self.status: dict[str, Any] = {}
        self.commands: tuple[str, ...] = ()
        self.starts = False

    def use(self, ended: threading.Event) -> None:
        for words in self._rounds():
            if ended.wait(EVERY_SECONDS):
                return
            if self._is_another():
                self._run("--help")  # before anybody calls a command by a name that it has no more
            self._look()
            if words.split()[0] in {"--help", *self.commands}:
                self._run(words)

    def _is_another(self) -> bool:
        """Whether something else is installed than what was used last; that is used from now on."""
        site = (self._installation / ".venv" / "lib").resolve()
        if site == self._site:
            return False
        self._site = site
        installed = (site / "installed").read_text().strip()
        if installed != self._installed:
            self._installed = installed
            log.info("now %s", installed)
        return True

    def _rounds(self) -> Iterator[str]:
        at = 0
        while True:
            for usual in USUAL_LOOK:
                if usual == "--help" or usual.split()[0] in self.commands:
                    yield usual
            others = [one for one in self.commands if one not in {"deps", "validate"}]
            yield from (name for name in NEEDS_MODULES if name in others)
            rest = [one for one in others if one not in NEEDS_MODULES]
            if rest:
                at = (at + 1) % len(rest)
                yield rest[at]

    def _run(self, words: str) -> None:
        is_on = self._flags.is_on(FLAG, {"targetingKey": "giflab"})
        done = subprocess.run(
            [sys.executable, "-m", "giflab", *words.split()],
            cwd=self._installation,
            env={**os.environ, "PYTHONPATH": str(self._site), "GIFLAB_MONITORING": "on" if is_on else "off"},
            capture_output=True,
            text=True,
            timeout=60.0,
            check=False,
        )
        command = words.split(maxsplit=1)[0]
        self._count(command, done)
        if words == "--help":
            self._take_help(done)
        elif command == "validate":
            self.metrics.spoilt.set(_number(done.stdout))
        elif command == "deps" and done.returncode == 0:
            self._take_status(json.loads(done.stdout))

    def _count(self, command: str, done: "subprocess.CompletedProcess[str]") -> None:
        outcome = "ok"
        if done.returncode != 0:
            outcome = "import_error" if "ImportError" in done.stderr or "ModuleNotFound" in done.stderr else "error"
            log.error("%s %s: %s", command, outcome, (done.stderr or done.stdout).strip().rpartition("\n")[-1])
        self.metrics.runs.labels(command, outcome).inc()
        self.metrics.seconds.labels(command).set(COMMAND_SECONDS + self._knobs().get("cli_seconds", 0.0))

    def _take_help(self, done: "subprocess.CompletedProcess[str]") -> None:
        self.starts = done.returncode == 0
        if self.starts:
            listed = done.stdout.partition("COMMAND\n")[2].partition("\n\n")[0].splitlines()
            before = self.commands
            self.commands = tuple(line.split()[0] for line in listed if line.startswith("    ") and line[4] != " ")
            for gone in {*before} - {*self.commands}:
                self.metrics.seconds.remove(gone)  # nobody will measure it again
            for command in ("--help", *self.commands):
                for outcome in OUTCOMES:
                    self.metrics.runs.labels(command, outcome)  # counted from 0 on
        if "deps" not in self.commands:
            self._take_status({})

    def _take_status(self, status: dict[str, Any]) -> None:
        self.status = status
        memory = status.get("memory") or {}
        self.metrics.monitoring.set(bool(memory))
        self.metrics.unreported.set(bool(memory) and not memory["reported"])
        extra = self._knobs().get("overhead_share", 0.0) if memory else 0.0
        self.metrics.overhead.set(memory.get("overhead_share", 0.0) + extra)
        self.metrics.caching.set(bool(status.get("caching")))

    def _look(self) -> None:
        """What the tool does not tell by itself."""
        total, left = _memory(Path(os.environ.get("GIFLAB_MEMINFO", "/proc/meminfo")))
        self.metrics.memory.set(1 - left / total)
        self.metrics.processing.set(PROCESSING_SECONDS * self._knobs().get("slower", 1.0))
        self.metrics.baseline.set(json.loads((self._home / "baseline.json").read_text())["processing_seconds"])

    def _knobs(self) -> dict[str, float]:
        """What goes wrong on purpose."""
        file = self._home / "knobs.json"
        found: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
        return found

    def health(self) -> dict[str, object]:
        return {
            "status": "ok" if self.starts else "failing",
            "installed": self._installed,
            "version": self._installed.split()[1] if self._installed else "",
            "commands": self.commands,
            "monitoring": bool(self.status.get("memory")),
        }


def _number(told: str) -> int:
    first = told.partition(" ")[0]
    return int(first) if first.isdecimal() else 0


def _memory(file: Path) -> tuple[int, int]:
    amounts = {name: int(amount.split()[0]) for name, _, amount in (line.partition(":") for line in file.open())}
    return amounts["MemTotal"], amounts["MemAvailable"]


class Handler(Answering, BaseHTTPRequestHandler):
    lab: Lab

    def do_GET(self) -> None:
        match self.path:
            case "/metrics":
                self._send(200, generate_latest(self.lab.metrics.registry), "text/plain; version=0.0.4")
            case "/health":
                self._send(200, json.dumps(self.lab.health()).encode())
            case "/status":
                self._send(200, json.dumps(self.lab.status).encode())
            case _:
                self._send(404, json.dumps({"error": f"there is no {self.path}"}).encode())


def serve(home: Path, installation: Path, port: int) -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    parent = os.getppid()
    (home / "logs").mkdir(exist_ok=True)
    handler = logging.FileHandler(home / "logs" / "giflab.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    with (
        FlagClient(os.environ["FLAGS_URL"], token=os.environ["FLAGS_TOKEN"], cache=home / "flags.json") as flags,
        ThreadingHTTPServer(("127.0.0.1", port), Handler) as server,
    ):
        Handler.lab = lab = Lab(home, installation, flags)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        threading.Thread(target=lab.use, args=(ended,), daemon=True).start()
        while not ended.wait(0.5) and os.getppid() == parent:  # it ends with who started it
            pass
        server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.giflab.service", description="Uses the tool.")
    parser.add_argument("--home", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--installation", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    serve(given.home, given.installation, given.port)


if __name__ == "__main__":
    main()
