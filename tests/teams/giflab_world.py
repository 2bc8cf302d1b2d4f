"""The world of a tool for the command line: two installations, who uses it, a Prometheus, and what takes messages."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from examples.giflab import repository
from examples.giflab.repository import Repository
from examples.git import git
from tests.acceptance.worlds.counting import CountingServer
from tests.support.ports import free_port
from tests.support.process import ROOT, Child, isolated_environment, wait_until
from tests.support.prometheus import Prometheus
from tests.teams.team import Json, Tools

HERE = Path(repository.__file__).parent
GIFS = 6
RANGE = "4s"
FAILED = f'sum(increase(giflab_cli_runs_total{{outcome!="ok"}}[{RANGE}]))'
MAKE_GIF = """
import sys
from pathlib import Path
from giflab import frames, gif
for number in range({count}):
    greys = [bytes((row * column // 4 + 9 * number) % 128 for column in range(24)) for row in range(24)]
    gif.write(Path(sys.argv[1]) / f"{{number}}.gif", [frames.Frame(tuple(greys)), frames.Frame(tuple(greys[::-1]))])
"""


@dataclass
class GifLab:
    home: Path
    made: Repository
    production: Path
    staging: Path
    address: str
    prometheus: Prometheus
    users: Child
    environment: Mapping[str, str]

    def ask(self, path: str) -> Any:
        answer = httpx.get(f"http://{self.address}{path}", timeout=10.0, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def uses(self, version: str) -> bool:
        try:
            health = self.ask("/health")
        except httpx.HTTPError:
            assert self.users.running, self.users.errors
            return False
        return bool(health["status"] == "ok" and health["version"] == version)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.home / "results.db", timeout=10.0)) as connection, connection:
            return connection.execute(statement).fetchall()

    def turns(self, **knobs: float) -> None:
        """What goes wrong from now on; nothing, if nothing is named."""
        self._write("knobs.json", json.dumps(knobs))

    def fills_memory(self, percent: int) -> None:
        self._write("meminfo", f"MemTotal: {16 << 20} kB\nMemAvailable: {(100 - percent) * (16 << 20) // 100} kB\n")

    def _write(self, name: str, text: str) -> None:
        draft = self.home / f"{name}.draft"
        draft.write_text(text)
        draft.replace(self.home / name)

    def loses(self, module: str) -> None:
        """A file of what is installed in production is gone."""
        file = (self.production / ".venv" / "lib").resolve() / "giflab" / module
        file.rename(file.with_suffix(".lost"))

    def finds(self) -> None:
        for lost in self.production.glob(".venv/releases/*/giflab/*.lost"):
            lost.rename(lost.with_suffix(".py"))

    def installs(self, checkout: Path, revision: str) -> None:
        script = HERE / "scripts" / "release.sh"
        own = {**os.environ, "PATH": self.environment["PATH"]}
        subprocess.run([script, "install", revision], cwd=checkout, env=own, check=True)

    def fails_nothing(self) -> bool:
        """And has not for as long as anybody looks back."""
        found = self.prometheus.query(FAILED)
        return bool(found) and float(found[0]["value"][1]) == 0

    def standing(self) -> Json:
        return {
            "results": self.sql("SELECT * FROM results ORDER BY gif"),
            "failures": self.sql("SELECT * FROM failures ORDER BY gif"),
            "settings": (self.home / "config.json").read_text(),
            **{
                f"{name} {what}": git(checkout, *words)
                for name, checkout in (("production", self.production), ("staging", self.staging))
                for what, words in (
                    ("code", ("rev-parse", "HEAD")),
                    ("changed files", ("status", "--porcelain")),
                    ("tags", ("tag", "--list")),
                )
            },
            "production installed": installed(self.production),
            "staging installed": installed(self.staging),
            "used": {name: self.ask("/health")[name] for name in ("status", "version", "monitoring")},
        }

    def renew(self) -> None:
        """The backup and the check of dependencies stay after a walk, by design; and errors are remembered a while."""
        self.turns()
        shutil.rmtree(self.home / "backup", ignore_errors=True)
        (self.production / "production_deps_check.json").unlink(missing_ok=True)
        wait_until(lambda: self.uses(repository.BEFORE), what="what ran before the release")
        wait_until(self.fails_nothing, what="errors to be forgotten")
        wait_until(lambda: bool(self.prometheus.query("max(giflab_cli_seconds) < 5")), what="each command to be quick")


def installed(checkout: Path) -> list[str]:
    """Name, version, commit. With which groups is the release's own affair."""
    return (checkout / ".venv" / "lib" / "installed").read_text().split()[:3]


@contextmanager
def packages(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Where packages are fetched; nothing is, for the tool's are there."""
    (folder / "simple").mkdir(parents=True)
    port = free_port()
    words = ["-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder), str(port)]
    server = Child([sys.executable, *words], folder, environment=environment)
    url = f"http://127.0.0.1:{port}/simple/"
    server.start()
    try:
        wait_until(lambda: answers(url), what="an index of packages")
        yield url
    finally:
        server.kill()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10.0, trust_env=False).is_success
    except httpx.TransportError:
        return False


def make_home(home: Path, checkout: Path, environment: Mapping[str, str]) -> None:
    """An inbox of GIFs, settings, and the results of what ran before."""
    for name in ("inbox", "collector"):
        (home / name).mkdir(parents=True)
    (home / "config.json").write_text(json.dumps({"quality": 75}))
    (home / "baseline.json").write_text(json.dumps({"processing_seconds": 0.8, "cli_seconds": 0.4}))
    own = {**environment, "GIFLAB_HOME": str(home)}
    for words in (
        ("-c", MAKE_GIF.format(count=GIFS), str(home / "inbox")),
        ("-m", "giflab", "run"),
        ("-m", "giflab", "tag"),
    ):
        subprocess.run(["poetry", "run", "python", *words], cwd=checkout, env=own, check=True, capture_output=True)


@contextmanager
def world(folder: Path, tools: Tools) -> Iterator[GifLab]:
    folder.mkdir(parents=True)
    made = repository.make(folder / "origin")
    homes = {name: folder / f"{name}-home" for name in ("production", "staging")}
    path = os.pathsep.join([str(HERE / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    home, meminfo = homes["production"], homes["production"] / "meminfo"
    own = {
        **isolated_environment(folder / "user"),
        "PATH": path,
        "GIFLAB_HOME": str(home),
        "GIFLAB_MEMINFO": str(meminfo),
    }
    for name, one in homes.items():
        repository.clone(made, folder / name)
        subprocess.run(["poetry", "install"], cwd=folder / name, env=own, check=True)
        make_home(one, folder / name, own)
    port = free_port()
    words = ["--home", str(home), "--installation", str(folder / "production"), "--port", str(port)]
    used = own | {"PYTHONPATH": str(ROOT), "FLAGS_URL": tools.controller, "FLAGS_TOKEN": "known-to-app-alone"}
    users = Child([sys.executable, "-m", "examples.giflab.service", *words], folder, environment=used)
    with ExitStack() as stack:
        address = f"127.0.0.1:{port}"
        prometheus = Prometheus(tools.prometheus, folder, [address])
        variables = {
            "PATH": path,
            "PROMETHEUS_URL": prometheus.url,
            "SCRAPE_INTERVAL": "200ms",
            "RANGE": RANGE,
            "LOOK_EVERY": "500ms",
            "SOON": "1s",
            "CONSISTENTLY": "3s",
            "SETTLE": "500ms",
            "TESTS_WITHIN_SECONDS": "120",
            "GIFLAB": address,
            "GIFLAB_HOME": str(home),
            "MEMINFO": str(meminfo),
            "PRODUCTION": str(folder / "production"),
            "STAGING": str(folder / "staging"),
            "STAGING_HOME": str(homes["staging"]),
            "ALERTS_URL": stack.enter_context(CountingServer()).url,
            "PACKAGE_INDEX": stack.enter_context(packages(folder / "packages", own)),
        }
        made_world = GifLab(
            home, made, folder / "production", folder / "staging", address, prometheus, users, variables
        )
        made_world.fills_memory(40)
        stack.callback(ended, users)
        users.start()
        stack.enter_context(prometheus)
        wait_until(lambda: made_world.uses(repository.BEFORE), what="the tool's users")
        wait_until(made_world.fails_nothing, what="a Prometheus that knows how the tool fares")
        yield made_world


def ended(users: Child) -> None:
    users.send(signal.SIGTERM)
    users.wait()
