"""The world of the enrichment pipeline: a backend and a database for staging and for production, and a Prometheus."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from psycopg.conninfo import conninfo_to_dict

from examples.enrichment import repository
from examples.enrichment.repository import Repository
from examples.enrichment.service import USERS
from examples.git import git
from tests.acceptance.worlds.counting import CountingServer
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.process import ROOT, Child, isolated_environment, wait_until
from tests.support.prometheus import Prometheus
from tests.teams.team import Json, Tools

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
KEPT = ("enum", "constraints", "indexes", "revision")  # in the database, whatever goes back


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
            wrong = {
                name: now.get(name) for name, was in self.first.items() if name not in kept and now.get(name) != was
            }
            assert not wrong, f"this did not come back: {wrong}"
        reached.unlink(missing_ok=True)
        for site in self.sites.values():
            site.renew()
        self.first = self.standing()


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
            "ALERTS_URL": stack.enter_context(CountingServer()).url,
            "PATH": path,
        }
        yield Enrichment(sites, made, variables)
