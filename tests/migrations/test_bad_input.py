"""What goes wrong around SQL files, on real databases: one sentence, a state that is known, and nothing lost."""

import asyncio
import contextlib
import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sql import SqlPerformer
from orchestrator.core.effect import EffectState, Outcome
from orchestrator.errors import Temporary
from stages.actions.sql import checksum
from stages.effects import ObserveSql
from tests.orchestrator.adapters.sql_world import CREATE, Database, effect
from tests.support.disk import enlarge
from tests.support.postgres import PostgresServer
from tests.support.process import wait_until

pytestmark = pytest.mark.postgres
SLEEPING = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
PERFORMER = SqlPerformer(Secrets(environ={}))


@pytest.fixture(params=("sqlite", "postgres"))
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    url = request.getfixturevalue("postgres_dsn") if request.param == "postgres" else "sqlite:///app.db"
    return Database(url, tmp_path)


@pytest.fixture
def postgres(postgres_dsn: str, tmp_path: Path) -> Database:
    return Database(postgres_dsn, tmp_path)


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresServer]:
    """A server that tests stop and kill."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def mortal_database(mortal: PostgresServer, tmp_path: Path) -> Iterator[Database]:
    with mortal.database() as dsn:
        yield Database(dsn, tmp_path)


async def run(database: Database, sql: str = CREATE, **options: Any) -> Outcome:
    return await PERFORMER.perform(effect(database.url, sql, **options), database.scene, resumed=True)


# --- order and history ------------------------------------------------------------------------------------------------


def ordered(name: str, *order: str) -> dict[str, Any]:
    at = order.index(name)
    return {"name": name, "after": order[:at], "before": order[at + 1 :]}


async def apply(database: Database, *names: str) -> None:
    for name in names:
        outcome = await run(database, f"CREATE TABLE t_{name} (id int)", name=name)
        assert outcome.state is EffectState.DONE


async def test_a_new_file_before_one_that_is_applied_is_refused(database: Database) -> None:
    await apply(database, "a", "c")

    outcome = await run(database, **ordered("b", "a", "b", "c"))

    assert outcome.state is EffectState.REFUSED
    assert outcome.detail == (
        "b is new, but c, which comes after it in the plan, is applied already; "
        "new files go to the end: list it behind what is applied"
    )
    assert "metrics" not in database.tables()


async def test_a_file_whose_forerunner_is_not_applied_is_refused(database: Database) -> None:
    await apply(database, "a")

    outcome = await run(database, **ordered("c", "a", "b", "c"))

    assert outcome.state is EffectState.REFUSED
    assert outcome.detail.startswith("c comes after b in the plan, which is not applied in this database")


async def test_files_that_were_applied_in_another_order_are_refused(database: Database) -> None:
    await apply(database, "b", "a")

    outcome = await run(database, **ordered("c", "a", "b", "c"))

    assert outcome.state is EffectState.REFUSED
    assert outcome.detail == (
        "the plan lists a before b, but b was applied first; list the files in the order in which they were applied"
    )


async def test_files_in_order_run(database: Database) -> None:
    await apply(database, "a", "b")

    assert (await run(database, **ordered("c", "a", "b", "c"))).state is EffectState.DONE


@pytest.mark.parametrize("sql", ("", "-- only words\n", "/* nothing */ ;;\n"))
async def test_a_file_without_a_statement_is_refused(database: Database, sql: str) -> None:
    outcome = await run(database, sql)

    assert outcome.state is EffectState.REFUSED
    assert "has no statement in it" in outcome.detail


async def test_a_file_that_somebody_else_applied_is_refused_with_the_remedy(database: Database) -> None:
    database.rows("CREATE TABLE metrics (id int)")

    outcome = await run(database, "-- 1\n" + CREATE)

    assert outcome.state is EffectState.REFUSED
    assert outcome.detail.startswith("sql/001.sql, line 2")
    assert "already exists" in outcome.detail
    assert outcome.detail.endswith(
        "if somebody else applied this file, take that back, write IF NOT EXISTS, "
        "or note it in rollout_migrations as applied by hand"
    )
    assert database.tables() == {"metrics"}


async def test_a_file_that_was_noted_by_hand_as_the_docs_say_is_not_run(database: Database) -> None:
    await run(database, "CREATE TABLE first (id int)", name="first")
    now = "now()" if database.is_postgres else "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    database.rows(
        "INSERT INTO rollout_migrations (name, checksum, effect, run, applied_at)"
        f" VALUES ('sql/001.sql', '{hashlib.sha256(CREATE.encode()).hexdigest()}', 'by hand', 'by hand', {now})"
    )

    outcome = await run(database)

    assert (outcome.state, outcome.detail) == (EffectState.DONE, "sql/001.sql is applied")
    assert "metrics" not in database.tables()


async def test_broken_sql_is_told_with_line_and_column(database: Database) -> None:
    outcome = await run(database, "CREATE TABLE a (id int);\n\n  SELEC 1;")

    assert outcome.state is EffectState.REFUSED
    assert outcome.detail.startswith("sql/001.sql, line 3, column 3: ")
    assert database.tables() == set()


# --- the way to the database ------------------------------------------------------------------------------------------


async def test_wrong_credentials_are_told_without_the_password(postgres: Database) -> None:
    password = postgres.url.partition("postgres:")[2].partition("@")[0]
    wrong = Database(postgres.url.replace(password, "hush-hush"), postgres.folder)

    outcome = await run(wrong)

    assert outcome.state is EffectState.TEMPORARY
    assert "the database refuses the credentials" in outcome.detail
    assert "put user and password right" in outcome.detail
    assert "hush-hush" not in outcome.detail
    assert postgres.tables() == set()


async def test_a_server_that_is_gone_before_is_waited_for(mortal: PostgresServer, mortal_database: Database) -> None:
    mortal.stop()
    gone = await run(mortal_database)
    mortal.start()

    assert gone.state is EffectState.TEMPORARY
    assert "the database can't be reached" in gone.detail
    assert (await run(mortal_database)).state is EffectState.DONE


@pytest.mark.parametrize("how", ("stop", "kill"))
async def test_a_server_that_goes_during_a_statement_leaves_nothing(
    mortal: PostgresServer, mortal_database: Database, how: str
) -> None:
    task = asyncio.create_task(run(mortal_database, CREATE + "SELECT pg_sleep(60);"))
    await asyncio.to_thread(wait_until, lambda: mortal_database.rows(SLEEPING), what="the statement")
    await asyncio.to_thread(mortal.stop if how == "stop" else mortal.kill)
    outcome = await task
    mortal.start()  # by this thread: what starts a server takes it along when it ends

    assert outcome.state is EffectState.TEMPORARY
    assert "sql/001.sql, line 3" in outcome.detail
    assert "nothing was changed" in outcome.detail
    assert mortal_database.tables() == set()
    assert (await run(mortal_database)).state is EffectState.DONE


async def test_a_server_that_goes_while_an_index_is_built_leaves_a_ruin_that_is_found(
    mortal: PostgresServer, mortal_database: Database
) -> None:
    mortal_database.rows("CREATE TABLE t (id int)")
    sql = "CREATE TABLE log (id int);\nCREATE INDEX CONCURRENTLY i ON t (id);\nINSERT INTO log VALUES (1);"
    half_built = "SELECT 1 FROM pg_index WHERE NOT indisvalid"
    with contextlib.suppress(psycopg.Error), psycopg.connect(mortal_database.url) as other:
        other.execute("INSERT INTO t VALUES (1)")
        task = asyncio.create_task(run(mortal_database, sql))
        await asyncio.to_thread(wait_until, lambda: mortal_database.rows(half_built), what="the build")
        await asyncio.to_thread(mortal.kill)
    outcome = await task
    mortal.start()
    left = mortal_database.rows(half_built)
    done = await run(mortal_database, sql)

    assert outcome.state is EffectState.UNKNOWN
    assert "the connection was lost inside CREATE INDEX CONCURRENTLY i" in outcome.detail
    assert left == [(1,)]
    assert done.state is EffectState.DONE, done.detail
    assert "the half-built index i was dropped and built again" in done.detail
    assert mortal_database.rows("SELECT * FROM log") == [(1,)]
    assert mortal_database.rows(half_built) == []


async def test_a_server_that_is_gone_afterwards_cannot_be_looked_at(
    mortal: PostgresServer, mortal_database: Database
) -> None:
    await run(mortal_database)
    look = ObserveSql(database=mortal_database.url, name="sql/001.sql", checksum=checksum(CREATE))
    mortal.stop()
    try:
        with pytest.raises(Temporary, match="can't be reached"):
            await PERFORMER.observe(look, mortal_database.scene)
    finally:
        mortal.start()

    assert (await PERFORMER.observe(look, mortal_database.scene)).value == {
        "applied": True,
        "checksum": checksum(CREATE),
    }


# --- locks ------------------------------------------------------------------------------------------------------------


async def test_nobody_queues_for_long_behind_a_file_that_waits_for_a_lock(postgres: Database) -> None:
    """A reader keeps the table for 1.5 s; others read it all the time; the change gets through as soon as it ends."""
    postgres.rows("CREATE TABLE busy (id int)")
    waits: list[float] = []
    over = threading.Event()

    def read_all_the_time() -> None:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            while not over.wait(0.01):
                began = time.monotonic()
                connection.execute("SELECT count(*) FROM busy")
                waits.append(time.monotonic() - began)

    reader = threading.Thread(target=read_all_the_time)
    reader.start()
    try:
        with psycopg.connect(postgres.url) as holder:
            holder.execute("SELECT * FROM busy")
            alter = "ALTER TABLE busy ADD COLUMN n int"
            task = asyncio.create_task(run(postgres, alter, lock_timeout_seconds=6.0))
            await asyncio.sleep(1.5)  # the reader's own time: it is what is tested
            holder.rollback()
            outcome = await task
    finally:
        over.set()
        reader.join(10)

    assert outcome.state is EffectState.DONE, outcome.detail
    assert max(waits) > 0.2, "the change never stood in the queue"
    assert max(waits) < 1.0


async def test_a_file_cannot_wait_longer_for_locks_than_its_stage(postgres: Database) -> None:
    said = "SET lock_timeout = '1h';\nCREATE TABLE told AS SELECT current_setting('lock_timeout') AS s;"
    careful = "SET lock_timeout = '50ms';\nCREATE TABLE careful AS SELECT current_setting('lock_timeout') AS s;"

    await run(postgres, said, lock_timeout_seconds=0.3)
    await run(postgres, careful, name="b")

    assert postgres.rows("SELECT s FROM told") == [("300ms",)]
    assert postgres.rows("SELECT s FROM careful") == [("50ms",)]


async def test_traffic_never_pays_for_a_deadlock_with_a_file(postgres: Database) -> None:
    postgres.rows("CREATE TABLE a (id int)")
    postgres.rows("CREATE TABLE b (id int)")
    both = "ALTER TABLE a ADD COLUMN n int;\nSELECT pg_sleep(0.3);\nALTER TABLE b ADD COLUMN n int;"
    with psycopg.connect(postgres.url) as traffic:
        traffic.execute("INSERT INTO b VALUES (1)")
        task = asyncio.create_task(run(postgres, both, lock_timeout_seconds=4.0))
        await asyncio.to_thread(wait_until, lambda: postgres.rows(SLEEPING), what="the file to hold its first lock")
        await asyncio.to_thread(traffic.execute, "INSERT INTO a VALUES (1)")
        traffic.commit()
    outcome = await task

    assert outcome.state is EffectState.DONE, outcome.detail
    assert postgres.rows("SELECT id FROM a") == postgres.rows("SELECT id FROM b") == [(1,)]


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_space(small_disk: Path, mortal: PostgresServer, mortal_database: Database) -> Iterator[Path]:
    """A tablespace `small` on the small disk, which is shown to the server where it can reach it."""
    folder = mortal._folder / "small"
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", small_disk, folder], check=True)
    space = folder / "space"
    space.mkdir()
    if mortal._user is not None:
        os.chown(space, mortal._user, -1)
    try:
        mortal_database.rows(f"CREATE TABLESPACE small LOCATION '{space}'")
        yield folder
    finally:
        mortal_database.rows("DROP TABLE IF EXISTS big")
        mortal_database.rows("DROP TABLESPACE IF EXISTS small")
        subprocess.run(["umount", "-l", folder], check=True)


async def test_a_full_disk_of_postgresql_changes_nothing_and_is_tried_again(
    mortal_database: Database, small_space: Path
) -> None:
    rows = "SELECT n, repeat('x', 500) AS x FROM generate_series(1, 20000) AS n"
    sql = f"{CREATE}CREATE TABLE big TABLESPACE small AS {rows};"

    full = await run(mortal_database, sql)
    tables = mortal_database.tables()
    enlarge(small_space)
    done = await run(mortal_database, sql)

    assert full.state is EffectState.TEMPORARY
    assert "sql/001.sql, line 3" in full.detail
    assert "No space left on device" in full.detail
    assert "nothing was changed; make room on the database's disk" in full.detail
    assert tables == set()
    assert done.state is EffectState.DONE, done.detail


async def test_a_full_disk_of_sqlite_changes_nothing_and_is_tried_again(small_disk: Path) -> None:
    database = Database("sqlite:///app.db", small_disk)
    count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
    sql = f"{CREATE}CREATE TABLE big AS {count} SELECT i, hex(zeroblob(250)) AS x FROM n;"

    full = await run(database, sql)
    tables = database.tables()
    enlarge(small_disk)
    done = await run(database, sql)

    assert full.state is EffectState.TEMPORARY
    assert "nothing was changed; make room on the database's disk" in full.detail
    assert tables == set()
    assert done.state is EffectState.DONE, done.detail
