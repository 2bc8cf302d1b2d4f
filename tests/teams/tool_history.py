"""The team of the tool history: a developer's own machine and production, with a git repository between them."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg

from examples.git import git
from examples.tool_history.repository import make_repository
from tests.acceptance.worlds.counting import CountingServer
from tests.support.ports import free_port
from tests.support.process import ROOT, Child, wait_until
from tests.support.prometheus import Prometheus
from tests.teams.team import Answer, Incident, Json, Pattern, Person, Team, Tools

TABLE = "user_tool_history"
INDEX = "idx_user_tool_history_user_created"
WEEKLY = (
    "recording takes less than 10 ms",
    "queries take less than 100 ms",
    "decisions by history",
    "workflows in vain",
    "valid action cards",
    "router decisions within 300 ms",
)
WATCHED = ("health", "errors in the log", "history logs errors", "history is slow", "nothing is recorded")
# What goes wrong does so in production's watch, and takes its time; what the developer's machine is for, others show.
WATCH = (
    "environments.production.watch.first week.to=90s",
    "stages.application.checks=[]",
    *(f"stages.{name}.environments=[production]" for name in ("schema", "application", "function")),
)
HOLDING = ("errors in the log", "history logs errors", "nothing is recorded")
HISTORY = "Downgrade the database too?*"


@dataclass
class Machine:
    """Something that runs a backend, with a database of its own."""

    name: str
    folder: Path
    database: str
    backend: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    grpc: int = field(default_factory=free_port)
    cache: int = field(default_factory=free_port)

    def command(self) -> list[str | Path]:
        ports = ["--port", self.backend.rpartition(":")[2], "--grpc-port", str(self.grpc)]
        return [
            sys.executable, "-m", "examples.tool_history.host", self.folder, *ports, "--cache-port", str(self.cache),
        ]  # fmt: skip

    @property
    def wanted(self) -> Path:
        return self.folder / "wanted" / "backend"

    def answers(self) -> bool:
        try:
            return self.release() == self.wanted.read_text().strip()
        except (httpx.HTTPError, KeyError):
            return False

    def release(self) -> str:
        return str(httpx.get(f"http://{self.backend}/health", timeout=10.0).json()["release"])

    def turn(self, **knobs: object) -> None:
        """All other knobs stand as they do when nothing is wrong."""
        httpx.post(f"http://{self.backend}/knobs", json=knobs, timeout=30.0).raise_for_status()

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def schema(self) -> Json:
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        indexes = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        return {
            "revision": self.sql("SELECT version_num FROM alembic_version"),
            "tables": sorted(str(name) for (name,) in self.sql(tables)),
            "indexes": sorted(str(name) for (name,) in self.sql(indexes)),
        }


@dataclass
class World:
    folder: Path
    local: Machine
    production: Machine
    environment: Mapping[str, str]

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def standing(self) -> Json:
        git(self.work, "fetch", "--quiet", "origin", "main")
        found: Json = {"main": git(self.work, "rev-parse", "origin/main^{tree}")}
        for machine in (self.local, self.production):
            wait_until(machine.answers, what=f"the wanted release of {machine.name}")
            found |= {
                f"{machine.name} backend": git(self.work, "rev-parse", f"{machine.release()}^{{tree}}"),
                f"{machine.name} cache": (machine.folder / "wanted" / "cache").exists(),
                f"{machine.name} schema": machine.schema(),
            }
        return found

    def renew(self) -> None:
        """What passed its watch on the developer's machine stays, and so does what was recorded: both go now."""
        (self.local.folder / "wanted" / "cache").unlink(missing_ok=True)
        self.local.wanted.write_text(git(self.work, "rev-parse", "main"))
        for machine in (self.local, self.production):
            shutil.rmtree(machine.folder / "archive", ignore_errors=True)
            wait_until(machine.answers, what=f"the wanted release of {machine.name}")
            machine.sql(f"DROP TABLE IF EXISTS {TABLE}")
            machine.sql("UPDATE alembic_version SET version_num = 'p1_messages'")


_ours = {**os.environ, "PYTHONPATH": str(ROOT)}


def _start(stack: ExitStack, machine: Machine, folder: Path) -> None:
    """With the code that was there before, on the schema that was."""
    before = git(folder / "work", "rev-parse", "main")
    release = machine.folder / "releases" / before
    release.mkdir(parents=True)
    git(folder / "work", f"--work-tree={release}", "checkout", "--quiet", before, "--", ".")
    git(folder / "work", "reset", "--quiet", "--hard", "phase4")
    machine.wanted.parent.mkdir()
    machine.wanted.write_text(before)
    migrated = Child(
        [Path(sys.executable).with_name("alembic"), "upgrade", "p1_messages"],
        folder / "work" / "backend",
        environment=os.environ | {"DATABASE_URL": machine.database},
    )
    with migrated:
        assert migrated.wait() == 0, migrated.errors
    stack.enter_context(
        Child(machine.command(), folder, environment=_ours | {"DATABASE_URL": machine.database}),
    )
    wait_until(machine.answers, what=f"the backend of {machine.name}")


@contextmanager
def world(folder: Path, tools: Tools) -> Iterator[World]:
    folder.mkdir(parents=True)
    make_repository(folder)
    path = ":".join((str(tools.postgres.programs), str(Path(sys.executable).parent), "/usr/local/bin:/usr/bin:/bin"))
    with ExitStack() as stack:
        made = [
            Machine(name, folder / name, stack.enter_context(tools.postgres.database()))
            for name in ("local", "production")
        ]
        for machine in made:
            _start(stack, machine, folder)
        addresses = [f"http://{machine.backend}" for machine in made]
        users = [sys.executable, "-m", "examples.tool_history.users", *addresses]
        stack.enter_context(Child(users, folder, environment=_ours))
        prometheus = Prometheus(tools.prometheus, folder, [machine.backend for machine in made])
        stack.enter_context(prometheus)
        local, production = made
        environment = {
            "PATH": path,
            "REPO": str(folder / "work"),
            "PROMETHEUS_URL": prometheus.url,
            "ALERTS_URL": stack.enter_context(CountingServer()).url + "/operations",
            "LOCAL_DATABASE_URL": local.database,
            "DATABASE_URL": production.database,
            "SCRAPE": "200ms",
            "RANGE": "3s",
            "DAY": "2s",
            "PATIENCE": "1s",
            "HEALTH_PATIENCE": "2s",
            "ALERT_PATIENCE": "500ms",
            "SILENCE": "4",
        }
        for machine in made:
            name = machine.name.upper()
            environment |= {
                f"{name}_HOST": str(machine.folder),
                f"{name}_ADDRESS": machine.backend,
                f"{name}_GRPC": f"127.0.0.1:{machine.grpc}",
                f"{name}_CACHE": str(machine.cache),
            }
        yield World(folder, local, production, environment)


def lose_index(world: World) -> None:
    world.production.sql(f"DROP INDEX {INDEX}")


def mend_index(world: World) -> None:
    if world.production.sql(f"SELECT 1 FROM pg_tables WHERE tablename = '{TABLE}'"):
        world.production.sql(f"CREATE INDEX IF NOT EXISTS {INDEX} ON {TABLE} (user_id, created_at)")


def refuse(world: World) -> None:
    world.production.turn(errors=0.5)
    world.production.sql(f"ALTER TABLE {TABLE} ADD CONSTRAINT broken CHECK (false) NOT VALID")


def accept(world: World) -> None:
    world.production.turn()
    world.production.sql(f"ALTER TABLE {TABLE} DROP CONSTRAINT broken")


def knob(**knobs: object) -> Callable[[World], None]:
    return lambda world: world.production.turn(**knobs)


def fired(trigger: str) -> Pattern:
    return {"TriggerFired": {"trigger": trigger}}


BACK: Pattern = {"EffectRequested": {"effect": {"node": "undo:command:production/backend"}}}
KEPT: Pattern = {"CheckAnswered": {"name": "the history is kept", "standing": "yes"}}

INCIDENTS: tuple[Incident[World], ...] = (
    Incident(
        "the health is bad",
        at="production/watch",
        breaks=knob(healthy=False),
        mends=knob(),
        shows=(fired("health"), BACK, KEPT),
        fires=("health",),
        ends="rolled_back",
        sets=WATCH,
    ),
    Incident(
        "queries are slow",
        at="production/watch",
        breaks=knob(slow_seconds=0.2),
        mends=knob(),
        shows=(fired("history is slow"), {"GateFailed": {"environment": "production", "gate": "performance"}}, BACK),
        fires=("history is slow",),
        ends="rolled_back",
        sets=WATCH,
    ),
    Incident(
        "messages are not answered, and executions can't be written",
        at="production/watch",
        breaks=refuse,
        mends=accept,
        shows=(*(fired(trigger) for trigger in HOLDING), {"HoldSet": {"hold": "trigger"}}),
        fires=HOLDING,
        sets=WATCH,
    ),
    Incident(
        "an index is lost",
        at="production/watch",
        breaks=lose_index,
        mends=mend_index,
        shows=({"CheckAnswered": {"name": "table and indexes are there", "standing": "no"}}, BACK),
        ends="rolled_back",
        sets=WATCH,
    ),
    Incident(
        "somebody sees an issue, and the schema goes too",
        at="production/watch",
        breaks=lambda world: None,
        mends=lambda world: None,
        shows=(fired("issue in production"), BACK),
        fires=("issue in production",),
        by_hand="issue in production",
        ends="rolled_back",
        answers={HISTORY: Answer("approve", "nobody wants it")},
        sets=WATCH,
    ),
)

TEAM: Team[World] = Team(
    name="tool_history",
    people=(
        Person("ines", ("developers",)),
        Person("omar", ("operators",)),
        Person("dana", ("dba",)),
    ),
    world=world,
    quick=(
        "gates.performance.every=500ms",
        "environments.production.watch.first week.to=3s",
        "environments.production.watch.first week.every=1s",
        *(f"success.{name}.window=2s" for name in WEEKLY),
        *(f"triggers.{name}.every=500ms" for name in WATCHED),
    ),
    answers={HISTORY: Answer("reject", "the history is wanted later")},
    incidents=INCIDENTS,
    changes={
        "local *": "the developer's machine has passed its watch, and keeps what was tested on it",
        "production schema": "the table stays with what was recorded, unless somebody asks for the downgrade",
    },
    stays={
        "production/schema": ("revision p2_add_user_tool_history of * in production stays: *",),
        "production/monitoring": ("archive in production stays: the plan declares no way back",),
        # not of every run: what has passed its watch, or is taken back with it
        "at last": ("* in local stays: local had passed its watch", "revision * in local stays: the schema stays *"),
    },
    renew=World.renew,
    schedule="ops.yaml",
)
