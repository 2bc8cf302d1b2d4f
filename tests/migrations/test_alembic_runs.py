"""Whole runs over Alembic projects, by the real command: forward, back, forward again, and killed in the middle."""

import contextlib
import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.worlds.host import Host, host_in
from tests.migrations.alembic_world import ALEMBIC, Project
from tests.orchestrator.core.drive import plan_of
from tests.support.process import DEADLINE_SECONDS, wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
LONG_SECONDS = 4 * DEADLINE_SECONDS  # each question to Alembic is a process of a second or two
REASON = ("--reason", "because of the test")
SIGN_OFF = {"name": "sign off", "kind": "steps", "steps": [{"manual": "Everything is up"}]}
DUPLICATES = "SELECT email FROM accounts GROUP BY email HAVING count(*) > 1"
LABELS = "SELECT count(*) FROM pg_enum WHERE enumlabel IN ('suspended', 'closed')"


@pytest.fixture
def enum(tmp_path: Path) -> Project:
    return Project("alembic_enum", tmp_path)


@pytest.fixture
def table(tmp_path: Path) -> Project:
    return Project("alembic_table", tmp_path)


@pytest.fixture
def on_postgres(tmp_path: Path, postgres_dsn: str) -> Iterator[Host]:
    with host_in(tmp_path, DATABASE_URL=postgres_dsn) as host:
        yield host


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/app.db") as host:
        yield host


def plan(host: Host, *stages: dict[str, Any], **fields: Any) -> Path:
    spec = {"database": {"env": "DATABASE_URL"}, "stages": [*stages, SIGN_OFF], "watch": "0s", **fields}
    document = plan_of(spec)
    del document["spec"]["prometheus"]
    return host.write("plan.json", json.dumps(document))


def upgraded(project: Project, url: str, revision: str) -> None:
    environment = {**os.environ, "DATABASE_URL": url}
    subprocess.run([*ALEMBIC, "upgrade", revision], cwd=project.folder, env=environment, check=True, timeout=60)


def accepted(*rules: str) -> dict[str, Any]:
    return {"accept": [{"rule": rule, "reason": "the table is small"} for rule in rules]}


def waits(host: Host, run: str, hold: str = "manual") -> None:
    host.wait_for(run, LONG_SECONDS, hold=hold)


def query(dsn: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def tables(host: Host) -> set[str]:
    with contextlib.closing(sqlite3.connect(host.folder / "app.db")) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}


def test_enum_values_and_a_constraint_go_forward_stay_at_a_rollback_and_go_forward_again(
    on_postgres: Host, enum: Project, postgres_dsn: str
) -> None:
    host = on_postgres
    upgraded(enum, postgres_dsn, "093")
    query(postgres_dsn, "INSERT INTO accounts (email) VALUES ('a@x'), ('a@x')")
    revisions = {
        "094": {
            "keep": "bug fix",
            "verify": [{"name": "no duplicates left", "sql": DUPLICATES, "expect": {"rows": 0}}],
        },
        "096": {
            "irreversible": "enum values cannot be removed",
            "verify": [{"name": "both values", "sql": LABELS, "expect": {"number": "== 2"}}],
        },
    }
    stage = {
        "name": "schema",
        "kind": "migration",
        "checks": [{"name": "no duplicates", "sql": DUPLICATES, "expect": {"rows": 0}}],
        "alembic": enum.alembic(expect_current="093", revisions=revisions),
        "lint": accepted("disallowed-unique-constraint", "require-concurrent-index-creation"),
    }
    file = plan(host, stage)
    child, run = host.started(file)
    waits(host, run, "failing")
    assert query(postgres_dsn, "SELECT version_num FROM alembic_version") == [("093",)]
    query(postgres_dsn, "DELETE FROM accounts WHERE id = 2")
    host.ok("resume", run, *REASON)
    waits(host, run)
    stays = host.json("status", run)["stays_on_rollback"]
    assert any("revision 094" in one and "bug fix" in one for one in stays)
    assert any("revision 096" in one and "enum values cannot be removed" in one for one in stays)
    host.ok("rollback", run, *REASON)
    assert child.wait(LONG_SECONDS) == 3
    assert query(postgres_dsn, "SELECT version_num FROM alembic_version") == [("097",)]
    assert len(host.json("status", run)["exceptions"]) == 3
    again, second = host.started(file)
    waits(host, second)
    host.ok("approve", second, *REASON)
    assert again.wait(LONG_SECONDS) == 0


def test_a_table_with_six_indexes_goes_back_where_the_plan_allows_it_and_forward_again(
    on_sqlite: Host, table: Project
) -> None:
    host = on_sqlite
    upgraded(table, f"sqlite:///{host.folder}/app.db", "a001")
    six = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'embeddings'"
    stage = {
        "name": "schema",
        "kind": "migration",
        "alembic": table.alembic(expect_current="a001"),
        "on_rollback": "down",
        "verify": [{"name": "six indexes", "sql": six, "expect": {"number": "== 6"}}],
    }
    refused = host.run("validate", plan(host, stage), deadline_seconds=LONG_SECONDS)
    assert refused.code == 1
    assert "the downgrade from a002 drops the table embeddings" in refused.output
    file = plan(host, {**stage, "allow_data_loss": True})
    shown = host.run("validate", file, deadline_seconds=LONG_SECONDS)
    assert "the database stands at a001; on the way there lie a002" in shown.output
    child, run = host.started(file)
    waits(host, run)
    assert "embeddings" in tables(host)
    host.ok("rollback", run, *REASON)
    assert child.wait(LONG_SECONDS) == 3
    assert "embeddings" not in tables(host)
    assert "documents" in tables(host)
    assert host.json("status", run)["exceptions"] == []
    again, second = host.started(file)
    waits(host, second)
    host.ok("approve", second, *REASON)
    assert again.wait(LONG_SECONDS) == 0
    assert "embeddings" in tables(host)


def test_an_upgrade_that_is_killed_with_its_controller_goes_on_and_is_applied_once(
    on_postgres: Host, enum: Project, postgres_dsn: str
) -> None:
    host = on_postgres
    query(postgres_dsn, "CREATE TABLE applied (revision text)")
    enum.add("098", "097", "op.execute(\"INSERT INTO applied SELECT '098' FROM pg_sleep(4)\")")
    file = plan(host, {"name": "schema", "kind": "migration", "alembic": enum.alembic()})
    child, run = host.started(file)
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'INSERT INTO applied%' AND state = 'active'"
    wait_until(lambda: query(postgres_dsn, sleeping), what="the upgrade", deadline_seconds=LONG_SECONDS)
    child.kill()
    assert query(postgres_dsn, "SELECT version_num FROM alembic_version") == [("097",)]
    child = host.start(file)
    waits(host, run)
    assert query(postgres_dsn, "SELECT * FROM applied") == [("098",)]
    assert query(postgres_dsn, "SELECT version_num FROM alembic_version") == [("098",)]
    host.ok("approve", run, *REASON)
    assert child.wait(LONG_SECONDS) == 0


def test_a_downgrade_that_is_killed_with_its_controller_goes_on_and_runs_once(
    on_postgres: Host, enum: Project, postgres_dsn: str
) -> None:
    host = on_postgres
    query(postgres_dsn, "CREATE TABLE gone (revision text)")
    enum.add("098", "097", "pass", "op.execute(\"INSERT INTO gone SELECT '098' FROM pg_sleep(4)\")")
    upgraded(enum, postgres_dsn, "097")
    stage = {"name": "schema", "kind": "migration", "on_rollback": "down", "allow_data_loss": True}
    file = plan(host, {**stage, "alembic": enum.alembic()})
    child, run = host.started(file)
    waits(host, run)
    host.ok("rollback", run, *REASON)
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'INSERT INTO gone%' AND state = 'active'"
    wait_until(lambda: query(postgres_dsn, sleeping), what="the downgrade", deadline_seconds=LONG_SECONDS)
    child.kill()
    child = host.start(file)
    assert child.wait(LONG_SECONDS) == 3
    assert query(postgres_dsn, "SELECT * FROM gone") == [("098",)]
    assert query(postgres_dsn, "SELECT version_num FROM alembic_version") == [("097",)]
    assert host.json("status", run)["exceptions"] == []


def test_a_run_that_has_ended_is_taken_back_with_its_schema_where_somebody_asks_for_it(
    on_sqlite: Host, table: Project
) -> None:
    host = on_sqlite
    upgraded(table, f"sqlite:///{host.folder}/app.db", "a001")
    child, run = host.started(plan(host, {"name": "schema", "kind": "migration", "alembic": table.alembic()}))
    waits(host, run)
    host.ok("approve", run, *REASON)
    assert child.wait(LONG_SECONDS) == 0
    with host.rollout.start("serve", "--listen", "127.0.0.1:0"):
        wait_until(host.controller, what="a controller")
        back = host.json("rollback", run, "--with-schema", *REASON)["run_started"]
        assert host.run("watch", back, deadline_seconds=LONG_SECONDS).code == 3
    assert "embeddings" not in tables(host)
    assert "documents" in tables(host)


def test_a_start_is_refused_for_what_the_rules_say_of_the_sql_of_pending_revisions(
    on_postgres: Host, enum: Project, postgres_dsn: str
) -> None:
    host = on_postgres
    upgraded(enum, postgres_dsn, "097")
    enum.add("098", "097", "op.execute('ALTER TABLE accounts DROP COLUMN email')")
    stage = {"name": "schema", "kind": "migration", "alembic": enum.alembic()}
    refused = host.run("start", plan(host, stage), deadline_seconds=LONG_SECONDS)
    assert refused.code == 2
    assert "production: stage schema, line" in refused.errors
    assert "ban-drop-column (accounts.email)" in refused.errors
    child, run = host.started(plan(host, {**stage, "lint": accepted("ban-drop-column")}))
    waits(host, run)
    host.ok("approve", run, *REASON)
    assert child.wait(LONG_SECONDS) == 0
