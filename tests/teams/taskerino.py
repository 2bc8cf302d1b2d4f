"""The world of the desktop application: its launcher, a git repository, a user's folder, and a Prometheus."""

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

from examples.git import git
from examples.taskerino import data, npm, repository
from examples.taskerino.repository import Repository
from tests.acceptance.worlds.counting import CountingServer
from tests.support.ports import free_port
from tests.support.process import ROOT, Child, isolated_environment, wait_until
from tests.support.prometheus import Prometheus
from tests.teams.team import Answer, Incident, Json, Person, Team, Tools

SETTINGS = {
    "ENRICHMENT_CACHE_MAX_SIZE": "10000",
    "ENRICHMENT_CACHE_TTL": "2592000000",
    "MAX_PARALLEL_ENRICHMENTS": "5",
    "MAX_JOBS_PER_MINUTE": "30",
    "MAX_WORKERS": "5",
    "HEALTH_CHECK_INTERVAL": "60000",
    "DAILY_COST_LIMIT": "100",
    "MONTHLY_COST_LIMIT": "1000",
}
CACHES = "Are caches perhaps corrupt?*"
DATA = "*backup*"
GARBAGE = "not what was written"


@dataclass
class Taskerino:
    home: Path
    made: Repository
    app: str
    launcher: Child
    environment: Mapping[str, str]

    def ask(self, path: str) -> Any:
        answer = httpx.get(f"http://{self.app}{path}", timeout=10.0, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def serves(self, commit: str) -> bool:
        try:
            return bool(self.ask("/health")["commit"] == commit)
        except httpx.HTTPError:
            assert self.launcher.running, self.launcher.errors
            return False

    def sql(self, statement: str, file: str = "data/sessions.db") -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.home / file, timeout=10.0)) as connection, connection:
            return connection.execute(statement).fetchall()

    def turns(self, **knobs: object) -> None:
        """What goes wrong from now on; nothing, if nothing is named."""
        draft = self.home / "knobs.draft"
        draft.write_text(json.dumps(knobs))
        draft.replace(self.home / "knobs.json")

    def standing(self) -> Json:
        queue, health = self.ask("/queue"), self.ask("/health")
        return {
            "data": self.sql("SELECT * FROM sessions ORDER BY name"),
            "schema": self.sql("SELECT sql FROM sqlite_master UNION SELECT user_version FROM pragma_user_version"),
            "config": (self.home / "config.json").read_text(),
            "code": git(self.made.checkout, "rev-parse", "HEAD"),
            "changed files": git(self.made.checkout, "status", "--porcelain"),
            "tags": git(self.made.checkout, "tag", "--list"),
            "built": json.loads((self.made.checkout / "dist" / "release.json").read_text()),
            "bundle": (self.made.checkout / "dist" / "app.js").read_text(),
            "served": health,
            "queue": {name: queue[name] for name in ("accepting", "workers", "enabled")},
        }

    def renew(self) -> None:
        """Backups and what caches know stay after a walk, by design."""
        self.turns()
        shutil.rmtree(self.home / "data.backup", ignore_errors=True)
        (self.home / "config.json.backup").unlink(missing_ok=True)
        wait_until(lambda: self.serves(self.made.before), what="what ran before the release")
        httpx.post(f"http://{self.app}/caches/clear", timeout=10.0, trust_env=False).raise_for_status()


def build(checkout: Path, environment: dict[str, str]) -> None:
    """What runs before the release."""
    for script in ("install", "build"):
        subprocess.run([sys.executable, "-m", npm.__name__, script], cwd=checkout, env=environment, check=True)


@contextmanager
def world(folder: Path, tools: Tools) -> Iterator[Taskerino]:
    folder.mkdir(parents=True)
    made, home, port = repository.make(folder), folder / "home", free_port()
    data.make(home)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {**isolated_environment(folder / "user"), "PATH": path, "PYTHONPATH": str(ROOT), **SETTINGS}
    own |= {"CLAUDE_API_KEY": "known-to-the-app", "FLAGS_URL": tools.controller, "FLAGS_TOKEN": "known-to-app-alone"}
    build(made.checkout, own)
    words = ["--home", str(home), "--dist", str(made.checkout / "dist"), "--port", str(port)]
    launcher = Child([sys.executable, "-m", "examples.taskerino.launcher", *words], folder, environment=own)
    with ExitStack() as stack:
        stack.callback(ended, launcher)
        launcher.start()
        app = f"127.0.0.1:{port}"
        prometheus = stack.enter_context(Prometheus(tools.prometheus, folder, [app]))
        variables = {
            **SETTINGS,
            "PROMETHEUS_URL": prometheus.url,
            "SCRAPE_INTERVAL": "200ms",
            "RANGE": "2s",
            "ALERT_FOR": "2s",
            "LOOK_EVERY": "500ms",
            "SETTLE": "500ms",
            "APP": app,
            "TASKERINO_HOME": str(home),
            "REPOSITORY": str(made.checkout),
            "RELEASE": str(made.origin),
            "STAND_IN": str(ROOT),
            "ALERTS_URL": stack.enter_context(CountingServer()).url,
            "PATH": path,
        }
        made_world = Taskerino(home, made, app, launcher, variables)
        wait_until(lambda: made_world.serves(made.before), what="the app")
        prometheus.wait_for("up == 1")
        yield made_world


def ended(launcher: Child) -> None:
    """The app ends with its launcher only if that is told."""
    launcher.send(signal.SIGTERM)
    launcher.wait()


def corrupt_data(world: Taskerino) -> None:
    world.sql(f"UPDATE sessions SET notes = '{GARBAGE}' WHERE name = 'session-7'")


def corrupt_caches(world: Taskerino) -> None:
    world.sql(f"UPDATE results SET value = '{GARBAGE}'", "cache/results.db")
    world.sql(
        f"CREATE TRIGGER broken AFTER INSERT ON results BEGIN UPDATE results SET value = '{GARBAGE}'; END",
        "cache/results.db",
    )


def mend_caches(world: Taskerino) -> None:
    world.sql("DROP TRIGGER IF EXISTS broken", "cache/results.db")
    world.sql("DELETE FROM results", "cache/results.db")


def knob(name: str, what: Json, at: str = "production/watch", **more: Any) -> Incident[Taskerino]:
    return Incident(
        name=name, at=at, breaks=lambda world: world.turns(**what), mends=lambda world: world.turns(), **more
    )


def fired(trigger: str) -> Json:
    return {"TriggerFired": {"trigger": trigger}}


def failing(criterion: str) -> Json:
    return {"GateFailed": {"gate": "enrichment", "evidence": {"criteria": {"name": criterion, "verdict": "fail"}}}}


def nothing(_: Taskerino) -> None:
    """It is the plan that meets something else."""


LONG = ("watch.immediate.to=500ms", "watch.short term.from=500ms", "watch.short term.to=1s", "watch.long term.from=1s")
INCIDENTS: tuple[Incident[Taskerino], ...] = (
    Incident(
        "there are no migrations",
        at="production/deploy",
        breaks=nothing,
        mends=nothing,
        sets=("stages.migrations.when.there are migrations.vars.MIGRATIONS=services",),
        shows=({"StageEnded": {"stage": "migrations"}},),
    ),
    knob(
        "most sessions are new",
        {"fresh_share": 0.75, "price_factor": 0.35},
        sets=LONG,
        shows=(fired("cache hit rate"), failing("cache hit rate")),
        fires=("cache hit rate",),
    ),
    knob(
        "hit rate between target and alert",
        {"fresh_share": 0.55, "price_factor": 0.5},
        sets=LONG,
        shows=({"HoldSet": {"hold": "inconclusive"}},),
    ),
    knob(
        "enrichments fail",
        {"fail_share": 0.3},
        shows=(
            fired("error rate"),
            {"WaitingAnswered": {"answer": "approve", "item": "trigger:*", "groups": "engineering"}},
            {"RollbackStarted": {"cause": "trigger"}},
        ),
        fires=("error rate",),
        ends="rolled_back",
    ),
    knob("enrichments are slow", {"seconds": 150}, shows=(fired("slow"),), fires=("slow",)),
    knob(
        "enrichments are very slow",
        {"seconds": 200},
        sets=LONG,
        shows=(fired("very slow"), failing("processing time")),
        fires=("very slow",),
    ),
    knob(
        "memory leaks",
        {"ballast_megabytes": 300},
        sets=LONG,
        shows=(
            fired("memory"),
            {"OnFailPaused": {"reason": "*memory*"}},
        ),  # by the gate or by the window's check, whichever is first
        fires=("memory",),
    ),
    knob(
        "the model is dear",
        {"price_factor": 3.0},
        sets=LONG,
        shows=(fired("cost reduction"), failing("cost reduction")),
        fires=("cost reduction",),
    ),
    knob(
        "much is spent",
        {"spent_dollars": 85.0},
        shows=(fired("a limit of costs is near"),),
        fires=("a limit of costs is near",),
    ),
    Incident(
        "data are corrupt",
        at="production/watch",
        breaks=corrupt_data,
        mends=nothing,
        by_hand="critical issue",
        shows=(
            {"NodeFinished": {"node": "question:*/restore#answer", "result": "done"}},
            {"WaitingAnswered": {"answer": "approve", "reason": "session-7 can't be read"}},
        ),
        answers={"question:*/restore": Answer(note="session-7 can't be read")},
        ends="rolled_back",
    ),
    Incident(
        "caches are corrupt",
        at="production/watch",
        breaks=corrupt_caches,
        mends=mend_caches,
        shows=(
            fired("error rate"),
            {"RollbackStarted": {"cause": "trigger"}},
            {"WaitingAnswered": {"answer": "approve", "reason": "results can't be read"}},
            {"NodeFinished": {"node": "question:*/plan/1#answer", "result": "done"}},
        ),
        answers={"question:*/plan/1": Answer(note="results can't be read")},
        ends="rolled_back",
    ),
    Incident(
        "something critical",
        at="production/watch",
        breaks=nothing,
        mends=nothing,
        by_hand="critical issue",
        shows=(fired("critical issue"), {"RollbackStarted": {"cause": "trigger"}}),
        fires=("critical issue",),
        ends="rolled_back",
    ),
)

TEAM: Team[Taskerino] = Team(
    name="taskerino",
    people=(
        Person("dana", ("engineering",)),
        Person("eli", ("engineering",)),
        Person("quinn", ("qa",)),
        Person("priya", ("product",)),
        Person("app", ()),
    ),
    world=world,
    renew=Taskerino.renew,
    quick=(
        "watch.immediate.to=1s",
        "watch.immediate.every=500ms",
        "watch.short term.from=1s",
        "watch.short term.to=2s",
        "watch.short term.every=500ms",
        "watch.long term.from=2s",
        "watch.long term.to=5s",
        "watch.long term.every=1s",
        *(f"success.{name}.window=2s" for name in ("cache hit rate", "cost reduction", "error rate", "memory")),
        "success.no complaints about costs.after=2s",
        "success.no critical issue.after=1s",
    ),
    answers={
        "*load test*": Answer("not_applicable", "few users at first"),
        CACHES: Answer("reject", "nothing looks like it"),
        DATA: Answer("reject", "data are whole"),
    },
    incidents=INCIDENTS,
    stays={"production/restart": ("restart stays: the plan declares no way back",)},
)
