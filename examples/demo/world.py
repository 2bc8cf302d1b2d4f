"""What a rollout needs around it: the service, its users, a real Prometheus, and a folder for everything they write."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from examples.demo.processes import ROOT, Processes, end, free_ports

READY_SECONDS = 30.0
PROMETHEUS_CONFIGURATION = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs: [{{job_name: embedding, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""

_open = build_opener(ProxyHandler({})).open  # loopback needs no proxy


class NotReady(Exception):
    """Something of the demonstration did not start; the message says what."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a rollback has to bring back, by name: flags in words (those that are off are left out), tables in SQL."""

    flags: dict[str, str]
    tables: dict[str, str]


class World:
    """Lives in `folder`. `start` it, then use `rollout` through it; `stop` ends every process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = folder / "documents.db"
        service, prometheus, self.controller_port = free_ports(3)
        self._service_port, self._prometheus_port = service, prometheus
        self.urls = {
            "APP_URL": f"http://127.0.0.1:{service}",
            "PROMETHEUS_URL": f"http://127.0.0.1:{prometheus}",
            "DATABASE_URL": f"sqlite:///{self._database}",
        }
        self.settings = {
            "XDG_STATE_HOME": str(folder / "state"),
            "ROLLOUT_STORE": f"sqlite:///{folder / 'rollout.db'}",
        }
        self.processes = Processes(folder, self._environment())

    def _environment(self) -> dict[str, str]:
        """The caller's environment, without settings of `rollout`: the user's own controller has no part in this."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ROLLOUT_")}
        return kept | self.urls | self.settings | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def start(self, prometheus: Path) -> None:
        """Until Prometheus has seen six seconds of traffic."""
        port, flags = str(self._service_port), f"http://127.0.0.1:{self.controller_port}"
        database = str(self._database)
        python = [sys.executable, "-m"]
        service = ["examples.demo.service", "--port", port, "--database", database, "--flags", flags]
        self.processes.start("service", [*python, *service])
        self._wait("service", lambda: self._answers(f"{self.urls['APP_URL']}/health"))
        self.processes.start("traffic", [*python, "examples.demo.traffic", "--port", port])
        self.processes.start("prometheus", self._prometheus(prometheus))
        self._wait("prometheus", self._scraped)

    def serve(self) -> None:
        """A controller that stays, instead of one inside each `rollout start`."""
        address = f"127.0.0.1:{self.controller_port}"
        self.processes.start("controller", self.rollout("serve", "--listen", address))
        self._wait("controller", lambda: self._answers(f"http://{address}/healthz"))

    def stop(self) -> None:
        self.processes.stop()

    def rollout(self, *arguments: str) -> list[str | Path]:
        """The `rollout` command of this environment, with arguments."""
        return [Path(sys.executable).with_name("rollout"), *arguments]

    def standing(self) -> Standing:
        found = json.loads(self.processes.run(self.rollout("flag", "list", "--output", "json")))
        return Standing({flag["key"]: words for flag in found if (words := in_words(flag))}, tables(self._database))

    def report(self, plan: str) -> str:
        """Of the plan's newest run, as Markdown."""
        return self.processes.run(self.rollout("report", plan, "--format", "md"))

    def measure(self, query: str) -> float | None:
        """One number from Prometheus; None if it has none."""
        url = f"{self.urls['PROMETHEUS_URL']}/api/v1/query?{urlencode({'query': query})}"
        with _open(url, timeout=5) as answer:
            series = json.load(answer)["data"]["result"]
        return float(series[0]["value"][1]) if series else None

    def _prometheus(self, binary: Path) -> list[str | Path]:
        configuration = self._folder / "prometheus.yml"
        configuration.write_text(PROMETHEUS_CONFIGURATION.format(port=self._service_port))
        return [
            binary,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={self._folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{self._prometheus_port}",
            "--log.level=warn",
        ]

    def _answers(self, url: str) -> bool:
        with _open(url, timeout=5) as answer:
            return bool(answer.status == 200)

    def _scraped(self) -> bool:
        return (self.measure("count_over_time(embedding_answer_seconds_count[30s])") or 0) >= 6

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            try:
                if ready():
                    return
            except (URLError, OSError):
                pass  # it does not listen yet
            time.sleep(0.2)
        said = self.processes.log(name).read_text()[-2000:]
        raise NotReady(f"the {name} was not ready within {READY_SECONDS:g} s. It said:\n{said}")


def in_words(flag: dict[str, object]) -> str:
    """What a flag gives its users; empty if it is off."""
    if flag["state"] != "enabled" or (not flag["percentage"] and not flag["targets"]):
        return ""
    parts = [f"on for {flag['percentage']:g} %"]
    parts += [f"{name} {json.dumps(flag[name])}" for name in ("targets", "parameters", "profile") if flag.get(name)]
    return ", ".join(parts)


def tables(database: Path) -> dict[str, str]:
    """The service's tables as they were created; what `rollout` notes about migrations is its own."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'rollout%'"
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        return dict(connection.execute(query).fetchall())
    finally:
        connection.close()


def find_prometheus() -> Path:
    """The binary, fetched or built if there is none. Its progress, or why there is none, goes to standard error."""
    command: list[str | Path] = [sys.executable, ROOT / ".ci" / "provide" / "prometheus"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        output, _ = process.communicate()
    finally:
        end(process)
    if process.returncode != 0:
        raise NotReady("it needs a Prometheus, and there is none to be had; the reason is above")
    return Path(output.strip().splitlines()[-1])
