"""The world of the enrichment pipeline: a backend and a database for staging and for production, and a Prometheus."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
from psycopg.conninfo import conninfo_to_dict

from examples.enrichment import repository
from examples.enrichment.repository import Repository, git
from examples.enrichment.service import USERS
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.process import ROOT, Child, isolated_environment, wait_until
from tests.support.prometheus import Prometheus
from tests.teams.team import Answer, Incident, Json, Person, Team, Tools

DATABASES = {"staging": "migration_db_staging", "production": "migration_db"}
TEMPLATE = "migration_db_at_093"
STANDARDS = "migration.engagement_architecture_standards (engagement_id, requirement_type, standard_name)"
STANDING_SQL = f"""
SELECT 'enum', enumlabel::text FROM pg_enum WHERE enumtypid = 'migration.patterntype'::regtype
UNION ALL SELECT 'constraints', conname FROM pg_constraint WHERE connamespace = 'migration'::regnamespace
UNION ALL SELECT 'indexes', indexname FROM pg_indexes WHERE schemaname = 'migration'
UNION ALL SELECT 'tables', tablename FROM pg_tables WHERE schemaname = 'migration'
UNION ALL SELECT 'revision', version_num FROM alembic_version
UNION ALL SELECT 'patterns', count(*)::text FROM migration.agent_discovered_patterns
          WHERE client_account_id <> '{USERS.client}'
UNION ALL SELECT 'standards', count(*)::text FROM migration.engagement_architecture_standards
          WHERE engagement_id <> '{USERS.engagement}'
ORDER BY 1, 2
"""  # of users' data, which come and go, nothing
WATCHED = ("agents fail", "batches are slow", "batches are very slow", "memory", "new types of patterns")


class Site:
    """One environment."""

    def __init__(self, name: str, folder: Path, made: Repository, tools: Tools, environment: Mapping[str, str]) -> None:
        self.name, self.folder, self.port = name, folder, free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.database = DATABASES[name]
        self.dsn = tools.postgres.dsn(self.database)
        self._made, self._postgres = made, tools.postgres
        folder.mkdir(parents=True)
        repository.clone(made, folder / "repository")
        words = ["-m", "examples.enrichment.compose", "--site", str(folder), "--name", name, "--port", str(self.port)]
        own = {**environment, "DATABASE_URL": self.dsn, "PYTHONPATH": str(ROOT)}
        self.compose = Child([sys.executable, *words], folder, environment=own)
        self._http = httpx.Client(base_url=f"http://{self.address}", trust_env=False, timeout=10.0)

    def start(self) -> None:
        self.compose.start()
        wait_until(lambda: self.serves(self._made.before), what=f"the backend of {self.name}")

    def end(self) -> None:
        self._http.close()
        self.compose.kill()

    def serves(self, commit: str) -> bool:
        try:
            health = self._http.get("/health")
        except httpx.TransportError:
            assert self.compose.running, self.compose.errors
            return False
        return health.is_success and health.json()["commit"] == commit

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        return self._postgres.execute(statement, self.database)

    def turns(self, **knobs: object) -> None:
        """What goes wrong from now on; nothing, if nothing is named."""
        draft = self.folder / "knobs.draft"
        draft.write_text(json.dumps(knobs))
        draft.replace(self.folder / "knobs.json")

    def standing(self) -> Json:
        found: Json = {}
        for name, value in self.sql(STANDING_SQL):
            found.setdefault(name, []).append(value)
        health = self._http.get("/health").json()
        return {
            **found,
            "code": git(self.folder / "repository", "rev-parse", "HEAD^{tree}"),
            "served": git(self.folder / "repository", "rev-parse", f"{health['commit']}^{{tree}}"),
            "settings": self._http.get("/settings").json(),
        }

    def renew(self) -> None:
        """As it was on the first day."""
        self.turns()
        (self.folder / "before").unlink(missing_ok=True)
        checkout = self.folder / "repository"
        if git(checkout, "rev-parse", "HEAD") != self._made.before:
            git(checkout, "checkout", "--quiet", "--detach", self._made.before)
            self.compose.send(signal.SIGHUP)
        wait_until(lambda: self.serves(self._made.before), what=f"what ran before in {self.name}")
        create(self._postgres, self.database)


def create(server: PostgresServer, database: str) -> None:
    """Anew, at the revision at which it stands before the release."""
    server.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    server.execute(f"CREATE DATABASE {database} TEMPLATE {TEMPLATE}")


@dataclass
class Enrichment:
    sites: dict[str, Site]
    made: Repository
    environment: Mapping[str, str]
    first: Json = field(default_factory=dict)

    @property
    def staging(self) -> Site:
        return self.sites["staging"]

    @property
    def production(self) -> Site:
        return self.sites["production"]

    def standing(self) -> Json:
        return {f"{name} {what}": value for name, site in self.sites.items() for what, value in site.standing().items()}

    def renew(self) -> None:
        """What stays by design is put back. Staging keeps the release only once a run has come to production."""
        reached = self.production.folder / "replica.log"
        if self.first and not reached.exists():
            kept = {name for name in self.first if name.split()[1] in KEPT}
            now = self.standing()
            wrong = {name: now[name] for name, was in self.first.items() if name not in kept and now[name] != was}
            assert not wrong, f"this did not come back: {wrong}"
        reached.unlink(missing_ok=True)
        for site in self.sites.values():
            site.renew()
        self.first = self.standing()


@contextmanager
def alerts() -> Iterator[str]:
    """Where notifications are sent; the controller's journal says whether they arrived."""

    class Taken(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Taken) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def build(tools: Tools, environment: Mapping[str, str], stack: ExitStack) -> None:
    """The databases, at the revision before the release."""
    server = tools.postgres
    for database in (TEMPLATE, *DATABASES.values()):
        server.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        stack.callback(server.execute, f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    server.execute(f"CREATE DATABASE {TEMPLATE}")
    subprocess.run(
        ["alembic", "upgrade", "093"],
        cwd=repository.BACKEND,
        env={**environment, "DATABASE_URL": server.dsn(TEMPLATE)},
        check=True,
        capture_output=True,
    )
    for database in DATABASES.values():
        create(server, database)


@contextmanager
def world(folder: Path, tools: Tools) -> Iterator[Enrichment]:
    with ExitStack() as stack:
        folder.mkdir(parents=True)
        made = repository.make(folder / "origin")
        path = os.pathsep.join([str(Path(sys.executable).parent), str(tools.postgres.programs), os.environ["PATH"]])
        home = {**isolated_environment(folder / "home"), "PATH": path}
        build(tools, home, stack)
        sites = {name: Site(name, folder / name, made, tools, home) for name in DATABASES}
        for site in sites.values():
            stack.callback(site.end)
            site.start()
        addresses = [site.address for site in sites.values()]
        prometheus = stack.enter_context(Prometheus(tools.prometheus, folder, addresses))
        prometheus.wait_for("count(up == 1) == 2")
        variables = {
            "PROMETHEUS_URL": prometheus.url,
            "SCRAPE_INTERVAL": "200ms",
            "RANGE": "2s",
            "SITES": str(folder),
            "STAGING_BACKEND": sites["staging"].address,
            "PRODUCTION_BACKEND": sites["production"].address,
            "STAGING_DATABASE_URL": sites["staging"].dsn,
            "PRODUCTION_DATABASE_URL": sites["production"].dsn,
            "DATABASE_HOST": "127.0.0.1",
            "DATABASE_PORT": str(tools.postgres.port),
            "PGPASSWORD": str(conninfo_to_dict(sites["staging"].dsn)["password"]),
            "REPOSITORY": str(made.folder),
            "STAND_IN": str(ROOT),
            "BEFORE": made.before,
            "COMMIT": made.release,
            "ALERTS_URL": stack.enter_context(alerts()),
            "PATH": path,
        }
        yield Enrichment(sites, made, variables)


def twice(world: Enrichment) -> None:
    world.production.sql(f"INSERT INTO {STANDARDS} SELECT 'e', 'r', 's' FROM generate_series(1, 2)")


def once(world: Enrichment) -> None:
    world.production.sql(f"DELETE FROM {STANDARDS.split(maxsplit=1)[0]} WHERE engagement_id = 'e'")


def hides_the_type(world: Enrichment) -> None:
    world.staging.sql("ALTER TYPE migration.patterntype RENAME TO patterntype_moved")


def shows_the_type(world: Enrichment) -> None:
    world.staging.sql("ALTER TYPE migration.patterntype_moved RENAME TO patterntype")


LONG_WATCH = "environments.staging.watch=30s"  # what goes wrong in it takes its time to show


def knob(name: str, what: str, site: str, at: str, **more: Any) -> Incident[Enrichment]:
    """An incident by the knobs of a site: *what* is ``knob=value``."""
    key, _, value = what.partition("=")
    return Incident(
        name=name,
        at=at,
        breaks=lambda world: world.sites[site].turns(**{key: json.loads(value)}),
        mends=lambda world: world.sites[site].turns(),
        **{"sets": (LONG_WATCH,), **more},
    )


def fired(trigger: str) -> Json:
    return {"TriggerFired": {"trigger": trigger}}


INCIDENTS: tuple[Incident[Enrichment], ...] = (
    Incident(
        "a standard is there twice",
        at="staging/backend",
        breaks=twice,
        mends=once,
        shows=(
            {"CheckAnswered": {"name": "the migration works on a copy of production", "standing": "no"}},
            {"CheckAnswered": {"name": "no standard is there twice", "standing": "no"}},
            {"HoldSet": {"hold": "failing"}},
        ),
    ),
    Incident(
        "the migration fails",
        at="staging/schema",
        breaks=hides_the_type,
        mends=shows_the_type,
        shows=({"EffectFinished": {"state": "refused", "detail": "*patterntype*"}}, {"OnFailPaused": {}}),
        resumes=(
            {"Resumed": {}},
            {"EffectFinished": {"state": "done", "detail": "*to revision 096"}},
            {"StageEnded": {"environment": "staging", "stage": "schema", "how": "done"}},
        ),
    ),
    knob(
        "agents fail",
        "fail_share=0.4",
        "staging",
        "staging/watch",
        shows=(
            fired("agents fail"),
            {"WaitingAnswered": {"answer": "approve", "item": "trigger:*"}},
            {"RollbackStarted": {}},
        ),
        fires=("agents fail",),
        ends="rolled_back",
    ),
    knob(
        "patterns are not stored",
        "storage_fails=true",
        "staging",
        "staging/watch",
        shows=({"GateFailed": {"gate": "enrichment", "on_fail": "rollback"}}, {"RollbackStarted": {"cause": "gate"}}),
        ends="rolled_back",
    ),
    knob(
        "batches are slow",
        "seconds_per_asset=3.5",
        "staging",
        "staging/watch",
        shows=(fired("batches are slow"), {"EffectFinished": {"target": "*five assets a batch", "state": "done"}}),
        fires=("batches are slow",),
    ),
    knob(
        "batches are very slow",
        "seconds_per_asset=10",
        "staging",
        "staging/watch",
        shows=(
            fired("batches are very slow"),
            {"NoticeDelivered": {"key": "trigger:staging/batches are very slow*@engineering"}},
            {"GateFailed": {"gate": "enrichment", "evidence": {"criteria": {"name": "batch time", "verdict": "fail"}}}},
        ),
        fires=("batches are very slow",),
        ends="rolled_back",
    ),
    knob(
        "a hundred assets take too long",
        "seconds_per_asset=10",
        "staging",
        "staging/backend",
        shows=(
            {"CheckAnswered": {"name": "a hundred took less than ten minutes", "standing": "no"}},
            {"RollbackStarted": {"cause": "on_fail"}},
        ),
        ends="rolled_back",
    ),
    knob(
        "memory runs out",
        "ballast_megabytes=100",
        "staging",
        "staging/watch",
        shows=(fired("memory"),),
        fires=("memory",),
    ),
    Incident(
        "new types of patterns",
        at="staging/backend",
        breaks=lambda _: None,
        mends=lambda _: None,
        shows=(fired("new types of patterns"),),
        fires=("new types of patterns",),
    ),
    Incident(
        "outside of the hours",
        at="staging/enrichment",
        breaks=lambda _: None,
        mends=lambda _: None,
        sets=("environments.production.window.deny=[{from: 2000-01-01, to: 2999-12-31, reason: closed}]",),
        shows=({"HoldSet": {"hold": "window"}},),
    ),
    knob(
        "errors in the log of production",
        "fail_share=0.04",
        "production",
        "production/watch",
        sets=(),
        shows=({"CheckAnswered": {"name": "no errors in the log", "standing": "no"}}, {"OnFailPaused": {}}),
    ),
    Incident(
        "all else fails",
        at="production/watch",
        breaks=lambda _: None,
        mends=lambda _: None,
        by_hand="emergency",
        shows=(fired("emergency"), {"RollbackStarted": {"cause": "trigger"}}),
        fires=("emergency",),
        ends="rolled_back",
    ),
)

STAYS = "revision 09? of * in {} stays: *"
KEPT = ("enum", "constraints", "indexes", "revision")

TEAM: Team[Enrichment] = Team(
    name="enrichment",
    people=(
        Person("dana", ("engineering",)),
        Person("eli", ("engineering", "engineering-lead", "senior-engineers")),
        Person("omar", ("devops", "devops-lead")),
        Person("priya", ("product", "product-owner")),
        Person("quinn", ("qa",)),
        Person("sam", ("security",)),
    ),
    world=world,
    renew=Enrichment.renew,
    quick=(
        "environments.staging.watch=2s",
        "environments.production.watch.first day.to=3s",
        "environments.production.watch.first day.every=1s",
        "stages.enrichment.bake=1s",
        "gates.enrichment.every=500ms",
        "gates.enrichment.criteria.batch time.for=5s",
        "gates.enrichment.criteria.agents succeed.for=10s",
        "gates.enrichment.criteria.patterns are stored.for=1s",
        *(f"triggers.{name}.every=500ms" for name in WATCHED),
        *(f"triggers.{name}.for=500ms" for name in WATCHED),
        *(
            f"success.{name}=1s"
            for name in ("a hundred assets.window", "a hundred assets as fast as in the tests.window")
        ),
        *(f"success.{name}.after=1s" for name in ("no errors for a day", "usage of LLMs is visible")),
    ),
    answers={
        "*security*": Answer("not_applicable", "nothing of it meets the world outside"),
    },
    incidents=INCIDENTS,
    stays={
        "staging/schema": (
            STAYS.format("staging").replace("09?", "094"),
            STAYS.format("staging").replace("09?", "096"),
        ),
        "production/schema": (
            STAYS.format("production").replace("09?", "094"),
            STAYS.format("production").replace("09?", "096"),
        ),
        "production/watch": (
            "* stays: staging had passed its watch",
        ),  # known, but not so of a run that went back whole
    },
    changes={
        **{f"* {what}": "the database keeps 094 and 096; only code is reverted" for what in KEPT},
        "staging *": "staging has passed its watch when production begins, and keeps the release; see Enrichment.renew",
    },
)
