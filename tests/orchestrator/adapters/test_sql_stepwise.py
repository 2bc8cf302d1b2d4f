"""Files with statements that refuse a transaction: run one by one, resumable, and never guessed about."""

import asyncio
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sql import SqlPerformer
from orchestrator.adapters.sql.job import digest_of
from orchestrator.adapters.sql.text import Dialect, split
from orchestrator.core.effect import Effect, EffectState, Outcome
from stages.actions.sql import checksum
from stages.effects import ObserveSql
from tests.orchestrator.adapters.sql_world import Database, effect
from tests.support.postgres import PostgresServer, of_the_system
from tests.support.process import Child, wait_until

pytestmark = pytest.mark.postgres

INDEX = "CREATE INDEX CONCURRENTLY i ON t (id)"
FILE = f"INSERT INTO log VALUES ('before');\n{INDEX};\nINSERT INTO log VALUES ('after');\n"
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('i')"


@pytest.fixture(scope="module", params=("embedded", pytest.param("of the system", marks=pytest.mark.slow)))
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """Two versions, if both can be had: catalogues differ."""
    if request.param == "embedded":
        yield request.getfixturevalue("postgres_server")
        return
    binaries = of_the_system()
    if binaries is None:
        pytest.skip("the system has no PostgreSQL of its own")
    with PostgresServer(binaries) as server:
        yield server


@pytest.fixture
def database(server: PostgresServer, tmp_path: Path) -> Iterator[Database]:
    with server.database() as dsn:
        database = Database(dsn, tmp_path)
        database.rows("CREATE TABLE t (id int)")
        database.rows("INSERT INTO t SELECT generate_series(1, 1000)")
        database.rows("CREATE TABLE log (what text, at timestamptz DEFAULT clock_timestamp())")
        yield database


@pytest.fixture
def performer() -> SqlPerformer:
    return SqlPerformer(Secrets(environ={}))


async def run(performer: SqlPerformer, database: Database, sql: str = FILE, **options: object) -> Outcome:
    return await performer.perform(effect(database.url, sql, **options), database.scene, resumed=True)  # type: ignore[arg-type]


def logged(database: Database) -> list[str]:
    return [row[0] for row in database.rows("SELECT what FROM log ORDER BY at")]


def progress(database: Database) -> list[tuple[object, ...]]:
    return database.rows("SELECT name, done, begun FROM rollout_migration_progress")


@contextmanager
def a_transaction_that_used(database: Database, table: str) -> Iterator[None]:
    """Builds of an index wait for it in their second half, when the index is there and not valid."""
    with psycopg.connect(database.url) as other:
        other.execute(f"INSERT INTO {table} VALUES (0)".encode())
        yield


CONTROLLER = """
    import asyncio, sys
    from orchestrator.adapters.secrets import Secrets
    from orchestrator.adapters.sql import SqlPerformer
    from orchestrator.core.effect import Effect
    from orchestrator.ports import Scene

    effect = Effect.model_validate_json(sys.argv[1])
    asyncio.run(SqlPerformer(Secrets()).perform(effect, Scene("r1", "production"), resumed=False))
"""


async def killed_inside(database: Database, asked: Effect, seen: str) -> None:
    """A controller of its own performs *asked*, and is killed when the query *seen* finds something."""
    argv = [sys.executable, "-c", textwrap.dedent(CONTROLLER), asked.model_dump_json()]
    with Child(argv, database.folder) as controller:
        await asyncio.to_thread(wait_until, lambda: database.rows(seen), what="the statement to be under way")
        controller.kill()


async def the_server_ends_its_session(database: Database) -> None:
    held = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"
    await asyncio.to_thread(wait_until, lambda: not database.rows(held), what="the server to end the session")


async def test_a_file_with_an_index_built_concurrently_runs_and_is_noted(
    performer: SqlPerformer, database: Database
) -> None:
    outcome = await run(performer, database)
    again = await run(performer, database)

    assert (outcome.state, outcome.detail) == (EffectState.DONE, "sql/001.sql ran")
    assert (again.state, again.detail) == (EffectState.DONE, "sql/001.sql is applied")
    assert database.rows(VALID) == [(True,)]
    assert logged(database) == ["before", "after"]
    assert progress(database) == []


async def test_a_half_built_index_of_a_killed_controller_is_dropped_and_built_again(
    performer: SqlPerformer, database: Database
) -> None:
    with a_transaction_that_used(database, "t"):
        await killed_inside(database, effect(database.url, FILE), "SELECT 1 FROM pg_index WHERE NOT indisvalid")
        assert progress(database) == [("sql/001.sql", 1, True)]
        await the_server_ends_its_session(database)

    outcome = await run(performer, database, lock_timeout_seconds=15.0)

    assert outcome.state is EffectState.DONE, outcome.detail
    assert "the half-built index i was dropped and built again" in outcome.detail
    assert database.rows(VALID) == [(True,)]
    assert logged(database) == ["before", "after"]


async def test_an_index_that_was_built_to_its_end_is_not_built_again(
    performer: SqlPerformer, database: Database
) -> None:
    with a_transaction_that_used(database, "t"):
        await killed_inside(database, effect(database.url, FILE), "SELECT 1 FROM pg_index WHERE NOT indisvalid")
    await the_server_ends_its_session(database)
    database.rows("DROP INDEX IF EXISTS i")
    database.rows(INDEX)
    built = database.rows("SELECT 'i'::regclass::oid")

    outcome = await run(performer, database)

    assert "CREATE INDEX CONCURRENTLY i in line 2 had been interrupted, and is done" in outcome.detail
    assert database.rows("SELECT 'i'::regclass::oid") == built
    assert logged(database) == ["before", "after"]


async def test_a_build_that_outlives_its_controller_is_waited_for_and_not_repeated(
    performer: SqlPerformer, database: Database
) -> None:
    with a_transaction_that_used(database, "t"):
        await killed_inside(database, effect(database.url, FILE), "SELECT 1 FROM pg_index WHERE NOT indisvalid")
        waits = await run(performer, database, lock_timeout_seconds=0.2)

    assert waits.state is EffectState.TEMPORARY
    assert "waits for another migration" in waits.detail


async def test_a_unique_index_over_duplicates_leaves_no_ruin_and_goes_on_once_they_are_gone(
    performer: SqlPerformer, database: Database
) -> None:
    database.rows("INSERT INTO t VALUES (7)")
    unique = FILE.replace("CREATE INDEX", "CREATE UNIQUE INDEX")
    look = ObserveSql(database=database.url, name="sql/001.sql", checksum=checksum(unique))

    refused = await run(performer, database, unique)
    seen = await performer.observe(look, database.scene)
    database.rows("DELETE FROM t WHERE id = 7")
    done = await run(performer, database, unique)

    assert refused.state is EffectState.REFUSED
    assert "sql/001.sql, line 2" in refused.detail
    assert "Key (id)=(7) is duplicated" in refused.detail
    assert "the half-built index i was dropped" in refused.detail
    assert "the statement before it ran and stays" in refused.detail
    assert refused.observed == seen.value == {"applied": False, "checksum": None, "statements": 1}
    assert done.state is EffectState.DONE
    assert logged(database) == ["before", "after"]


async def test_a_half_built_index_that_somebody_left_is_not_taken_for_one_by_if_not_exists(
    performer: SqlPerformer, database: Database
) -> None:
    database.rows("INSERT INTO t VALUES (7)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.rows("CREATE UNIQUE INDEX CONCURRENTLY i ON t (id)")
    assert database.rows(VALID) == [(False,)]

    outcome = await run(performer, database, "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (id)")

    assert "the half-built index i was dropped and built again" in outcome.detail
    assert database.rows(VALID) == [(True,)]


async def test_an_index_that_somebody_else_built_is_not_taken_for_ours(
    performer: SqlPerformer, database: Database
) -> None:
    database.rows("CREATE INDEX i ON t (id)")

    outcome = await run(performer, database)

    assert outcome.state is EffectState.REFUSED
    assert 'relation "i" already exists; if somebody else applied this file' in outcome.detail
    assert progress(database) == [("sql/001.sql", 1, False)]


async def test_what_follows_the_statements_that_ran_may_be_put_right_and_they_themselves_may_not(
    performer: SqlPerformer, database: Database
) -> None:
    broken = FILE.replace("INSERT INTO log VALUES ('after')", "INSERT INTO nowhere VALUES (1)")

    refused = await run(performer, database, broken)
    changed = await run(performer, database, FILE.replace("before", "earlier"))
    done = await run(performer, database)

    assert refused.state is changed.state is EffectState.REFUSED
    assert "line 3, column 13" in refused.detail
    assert "put its first 2 statements back as they were" in changed.detail
    assert done.state is EffectState.DONE
    assert logged(database) == ["before", "after"]


async def test_a_file_that_ran_in_part_is_taken_back_by_its_down_file(
    performer: SqlPerformer, database: Database
) -> None:
    broken = FILE + "INSERT INTO nowhere VALUES (1);"
    down = "DROP INDEX CONCURRENTLY IF EXISTS i; DELETE FROM log;"

    await run(performer, database, broken)
    back = await run(performer, database, down, direction="down", of=broken)
    again = await run(performer, database, down, direction="down", of=broken)

    assert back.state is again.state is EffectState.DONE
    assert back.observed == {"applied": False, "checksum": None}
    assert database.rows(VALID) == []
    assert logged(database) == []
    assert progress(database) == []


async def test_a_drop_that_was_interrupted_is_looked_up(performer: SqlPerformer, database: Database) -> None:
    database.rows("CREATE INDEX i ON t (id)")
    drop = "INSERT INTO log VALUES ('before');\nDROP INDEX CONCURRENTLY i;\nINSERT INTO log VALUES ('after');"
    with a_transaction_that_used(database, "t"):
        await killed_inside(database, effect(database.url, drop), "SELECT 1 FROM pg_index WHERE NOT indisvalid")

    outcome = await run(performer, database, drop, lock_timeout_seconds=15.0)

    assert outcome.state is EffectState.DONE, outcome.detail
    assert database.rows(VALID) == []
    assert logged(database) == ["before", "after"]


async def test_what_an_interrupted_reindex_left_is_dropped(performer: SqlPerformer, database: Database) -> None:
    database.rows("CREATE INDEX i ON t (id)")
    reindex = "REINDEX TABLE CONCURRENTLY t"
    with a_transaction_that_used(database, "t"):
        await killed_inside(database, effect(database.url, reindex), "SELECT 1 FROM pg_index WHERE NOT indisvalid")

    outcome = await run(performer, database, reindex, lock_timeout_seconds=15.0)

    assert outcome.state is EffectState.DONE, outcome.detail
    names = database.rows("SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 't'::regclass")
    assert names == [("i", True)]


async def test_a_partition_that_was_half_detached_is_detached(performer: SqlPerformer, database: Database) -> None:
    database.rows("CREATE TABLE p (id int) PARTITION BY RANGE (id)")
    database.rows("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)")
    detach = "ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY"
    pending = "SELECT 1 FROM pg_inherits WHERE inhdetachpending"
    with a_transaction_that_used(database, "p"):
        waits = await run(performer, database, detach, lock_timeout_seconds=0.3)
        assert database.rows(pending)

    outcome = await run(performer, database, detach, lock_timeout_seconds=5.0)

    assert waits.state is EffectState.TEMPORARY
    assert outcome.state is EffectState.DONE, outcome.detail
    assert "the partition p1, half detached, was brought to its end" in outcome.detail
    assert database.rows("SELECT 1 FROM pg_inherits") == []


async def test_what_cannot_be_told_is_unknown_until_a_person_says_what_became_of_it(
    performer: SqlPerformer, database: Database
) -> None:
    name = database.rows("SELECT current_database()")[0][0]
    move = f"VACUUM t;\nALTER DATABASE {name} SET TABLESPACE pg_default;\nINSERT INTO log VALUES ('after');"
    refused = await run(performer, database, move)  # the database is in use
    digest = digest_of(split(move, Dialect.POSTGRESQL)[:2])
    database.rows(f"UPDATE rollout_migration_progress SET begun = true, digest = '{digest}'")

    unknown = await run(performer, database, move)
    database.rows("UPDATE rollout_migration_progress SET begun = false, done = 2")
    done = await run(performer, database, move)

    assert refused.state is EffectState.REFUSED
    assert unknown.state is EffectState.UNKNOWN
    assert f"ALTER DATABASE {name} in line 2 was interrupted, and nothing tells whether it was done" in unknown.detail
    assert "begun = false, and done = 2 if it was, 1 if not" in unknown.detail
    assert done.state is EffectState.DONE
    assert logged(database) == ["after"]


async def test_settings_of_a_file_hold_after_an_interruption_too(performer: SqlPerformer, database: Database) -> None:
    database.rows("CREATE SCHEMA side")
    broken = "SET search_path TO side;\nVACUUM public.t;\nSELECT broken;"
    good = broken.replace("SELECT broken", "CREATE TABLE made (id int)")

    await run(performer, database, broken)
    outcome = await run(performer, database, good)

    assert "it went on at line 3" in outcome.detail
    assert database.rows("SELECT to_regclass('side.made') IS NOT NULL") == [(True,)]
    assert database.rows("SELECT name FROM public.rollout_migrations") == [("sql/001.sql",)]


async def test_an_enum_value_can_be_added_and_used_by_one_file(performer: SqlPerformer, database: Database) -> None:
    database.rows("CREATE TYPE state AS ENUM ('old')")
    sql = "ALTER TYPE state ADD VALUE 'new';\nALTER TABLE t ADD COLUMN s state DEFAULT 'new';"

    outcome = await run(performer, database, sql)

    assert outcome.state is EffectState.DONE, outcome.detail
    assert database.rows("SELECT DISTINCT s FROM t") == [("new",)]


async def test_cancelling_a_build_removes_what_it_left(performer: SqlPerformer, database: Database) -> None:
    with a_transaction_that_used(database, "t"):
        task = asyncio.create_task(run(performer, database))
        half_built = "SELECT 1 FROM pg_index WHERE NOT indisvalid"
        await asyncio.to_thread(wait_until, lambda: database.rows(half_built), what="the build to be under way")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 15)

    look = ObserveSql(database=database.url, name="sql/001.sql", checksum=checksum(FILE))
    seen = await performer.observe(look, database.scene)
    outcome = await run(performer, database, lock_timeout_seconds=5.0)

    assert isinstance(seen.value, dict)
    assert seen.value["statements"] in (1, 2)
    assert outcome.state is EffectState.DONE, outcome.detail
    assert database.rows(VALID) == [(True,)]


async def test_sessions_are_named_after_run_and_effect(performer: SqlPerformer, database: Database) -> None:
    outcome = await run(
        performer, database, "CREATE TABLE named AS SELECT application_name FROM pg_stat_activity"
        " WHERE pid = pg_backend_pid()"
    )  # fmt: skip

    assert outcome.state is EffectState.DONE
    assert database.rows("SELECT * FROM named") == [("rollout r1 sql/001.sql-up",)]
