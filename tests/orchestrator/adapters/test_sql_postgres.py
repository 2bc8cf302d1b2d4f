"""What only PostgreSQL has: locks, other migrators, and connections that are lost."""

import asyncio
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sql import SqlPerformer, SqlReader
from orchestrator.adapters.sql.postgres import ADVISORY_KEY
from orchestrator.core.effect import EffectState, Outcome
from orchestrator.errors import Temporary
from orchestrator.ports import Scene
from stages.effects import ObserveSql
from tests.orchestrator.adapters.sql_world import CREATE, Database, effect
from tests.support.ports import free_port
from tests.support.process import Child, wait_until

pytestmark = pytest.mark.postgres


@pytest.fixture
def database(postgres_dsn: str, tmp_path: Path) -> Database:
    return Database(postgres_dsn, tmp_path)


@pytest.fixture
def performer() -> SqlPerformer:
    return SqlPerformer(Secrets(environ={}))


class Wire:
    """Forwards to a server, and cuts the connection once, when COMMIT passes: *before* or *after* the server got it.

    With *dead* nobody gets through afterwards.
    """

    def __init__(self, url: str, cut: str, *, dead: bool = False) -> None:
        self._server = urlsplit(url)
        self._cut: str | None = cut
        self._dead = dead
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        port = free_port()
        server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        try:
            yield self._server._replace(netloc=f"{self._server.netloc.rpartition(':')[0]}:{port}").geturl()
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, ours: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = [answer]
        try:
            if self._dead and self._cut is None:
                return
            theirs, forward = await asyncio.open_connection(self._server.hostname, self._server.port)
            writers.append(forward)
            async with asyncio.TaskGroup() as group:
                back = group.create_task(self._copy(theirs, answer))
                await self._watch(ours, forward, theirs, back)
                back.cancel()
        finally:
            for writer in writers:
                writer.close()

    async def _watch(
        self,
        ours: asyncio.StreamReader,
        forward: asyncio.StreamWriter,
        theirs: asyncio.StreamReader,
        back: asyncio.Task[None],
    ) -> None:
        while data := await _read(ours):
            if self._cut is not None and b"COMMIT\x00" in data:
                cut, self._cut = self._cut, None
                if cut == "after":
                    back.cancel()
                    await asyncio.gather(back, return_exceptions=True)
                    forward.write(data)
                    await _read(theirs)
                return
            forward.write(data)

    @staticmethod
    async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await _read(source):
            target.write(data)


async def _read(source: asyncio.StreamReader) -> bytes:
    try:
        return await source.read(65536)
    except ConnectionError:
        return b""


async def run_over(performer: SqlPerformer, database: Database, wire: Wire) -> Outcome:
    async with wire.open() as url:
        return await performer.perform(effect(url), database.scene, resumed=False)


async def test_a_connection_lost_after_the_server_committed_is_done(
    performer: SqlPerformer, database: Database
) -> None:
    outcome = await run_over(performer, database, Wire(database.url, "after"))

    assert outcome.state is EffectState.DONE
    assert "the database has it" in outcome.detail
    assert database.rows("SELECT * FROM metrics") == [(1,)]


async def test_a_connection_lost_before_the_commit_arrived_changed_nothing(
    performer: SqlPerformer, database: Database
) -> None:
    outcome = await run_over(performer, database, Wire(database.url, "before"))

    assert outcome.state is EffectState.TEMPORARY
    assert "rolled back" in outcome.detail
    assert database.tables() == set()


async def test_a_lost_commit_that_nobody_can_be_asked_about_is_unknown_and_settled_later(
    performer: SqlPerformer, database: Database
) -> None:
    outcome = await run_over(performer, database, Wire(database.url, "after", dead=True))
    later = await performer.perform(effect(database.url), database.scene, resumed=True)

    assert outcome.state is EffectState.UNKNOWN
    assert later.state is EffectState.DONE
    assert database.rows("SELECT * FROM metrics") == [(1,)]


async def test_a_backend_that_is_ended_midway_changed_nothing(performer: SqlPerformer, database: Database) -> None:
    suicide = CREATE + "SELECT pg_terminate_backend(pg_backend_pid());"

    outcome = await performer.perform(effect(database.url, suicide), database.scene, resumed=False)

    assert outcome.state is EffectState.TEMPORARY
    assert "nothing was changed" in outcome.detail
    assert database.tables() == set()


async def test_a_lock_that_somebody_holds_is_waited_for_briefly(performer: SqlPerformer, database: Database) -> None:
    database.rows("CREATE TABLE busy (id int)")
    alter = effect(database.url, "SELECT 1;\nALTER TABLE busy ADD COLUMN n int", lock_timeout_seconds=0.3)
    with psycopg.connect(database.url) as other:
        other.execute("SELECT * FROM busy")

        outcome = await performer.perform(alter, database.scene, resumed=False)

    assert outcome.state is EffectState.TEMPORARY
    assert "line 2" in outcome.detail
    assert (await performer.perform(alter, database.scene, resumed=False)).state is EffectState.DONE


async def test_another_migrator_is_waited_for_briefly(performer: SqlPerformer, database: Database) -> None:
    with psycopg.connect(database.url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (ADVISORY_KEY,))

        outcome = await performer.perform(effect(database.url, lock_timeout_seconds=0.3), database.scene, resumed=False)

    assert outcome.state is EffectState.TEMPORARY
    assert "another migration" in outcome.detail


async def test_a_database_that_is_not_there_is_temporary(performer: SqlPerformer, tmp_path: Path) -> None:
    url = f"postgresql://user:hidden@127.0.0.1:{free_port()}/app"
    scene = Scene("r1", "production")

    outcome = await performer.perform(effect(url), scene, resumed=False)

    assert outcome.state is EffectState.TEMPORARY
    assert "hidden" not in outcome.detail
    with pytest.raises(Temporary, match="reached"):
        await performer.observe(ObserveSql(database=url, name="a", checksum="b"), scene)
    with pytest.raises(Temporary, match="reached"):
        await SqlReader(Secrets(environ={})).fetch(url, "SELECT 1", 2.0)


async def test_the_note_stays_at_its_place_whatever_search_path_or_role_a_file_sets(
    performer: SqlPerformer, database: Database
) -> None:
    odd = "CREATE SCHEMA side; SET search_path TO side; SET ROLE pg_monitor;"

    first = await performer.perform(effect(database.url, odd), database.scene, resumed=False)
    again = await performer.perform(effect(database.url, odd), database.scene, resumed=True)

    assert (first.state, again.state) == (EffectState.DONE, EffectState.DONE)
    assert database.tables() == {"rollout_migrations"}


async def test_a_constraint_that_fails_at_the_commit_is_refused(performer: SqlPerformer, database: Database) -> None:
    deferred = (
        "CREATE TABLE a (id int PRIMARY KEY);"
        "CREATE TABLE b (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED);"
        "INSERT INTO b VALUES (1);"
    )

    outcome = await performer.perform(effect(database.url, deferred), database.scene, resumed=False)

    assert outcome.state is EffectState.REFUSED
    assert "at its commit" in outcome.detail
    assert database.tables() == set()


async def test_what_ends_its_own_transaction_is_refused_with_the_remedy(
    performer: SqlPerformer, database: Database
) -> None:
    hidden = CREATE + "DO $$ BEGIN COMMIT; END $$;"

    outcome = await performer.perform(effect(database.url, hidden), database.scene, resumed=False)

    assert outcome.state is EffectState.REFUSED
    assert "line 3" in outcome.detail
    assert "run it with psql in a command action that has a probe" in outcome.detail
    assert database.tables() == set()


async def test_addresses_as_other_libraries_write_them_are_understood(
    performer: SqlPerformer, database: Database
) -> None:
    for scheme in ("postgres", "postgresql+psycopg", "postgresql+asyncpg"):
        url = database.url.replace("postgresql", scheme, 1)
        outcome = await performer.perform(effect(url), database.scene, resumed=False)
        assert outcome.state is EffectState.DONE


async def test_functions_and_percent_signs_run_as_they_are_written(performer: SqlPerformer, database: Database) -> None:
    odd = (
        "CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN '100 %; %s'; END; $$;\n"
        "CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;\n"
        "CREATE TABLE t AS SELECT f() AS f, g() AS g, '%(x)s {}' AS x;"
    )

    outcome = await performer.perform(effect(database.url, odd), database.scene, resumed=False)

    assert outcome.state is EffectState.DONE, outcome.detail
    assert database.rows("SELECT * FROM t") == [("100 %; %s", 2, "%(x)s {}")]


CONTROLLER = """
    import asyncio, sys
    from orchestrator.adapters.secrets import Secrets
    from orchestrator.adapters.sql import SqlPerformer
    from orchestrator.core.effect import Effect
    from orchestrator.ports import Scene

    effect = Effect.model_validate_json(sys.argv[1])
    asyncio.run(SqlPerformer(Secrets()).perform(effect, Scene("r1", "production"), resumed=False))
"""


async def test_the_locks_of_a_killed_controllers_long_statement_come_back(
    performer: SqlPerformer, database: Database
) -> None:
    slow = effect(database.url, CREATE + "SELECT pg_sleep(300);").model_dump_json()
    sleeping = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
    with Child([sys.executable, "-c", textwrap.dedent(CONTROLLER), slow], database.folder) as controller:
        await asyncio.to_thread(wait_until, lambda: database.rows(sleeping), what="the long statement")
        controller.kill()

    outcome = await performer.perform(effect(database.url, lock_timeout_seconds=15.0), database.scene, resumed=True)

    assert outcome.state is EffectState.DONE
    assert database.rows("SELECT * FROM metrics") == [(1,)]
