"""Finished runs of which only the report is kept, on PostgreSQL: several controllers, older stores, room on disk."""

import asyncio

import pytest
import sqlalchemy
from sqlalchemy.pool import NullPool

from orchestrator.core.events import RunStarted
from orchestrator.errors import Conflict, Fenced
from orchestrator.journal import chain
from orchestrator.journal.postgresql import PostgresStore, open_reading, schema
from orchestrator.journal.postgresql.address import parse
from orchestrator.journal.postgresql.session import connect
from orchestrator.keeping_port import Cut
from tests.support.journals import batch, began, started
from tests.support.stores import PostgresSchema

pytestmark = pytest.mark.postgres
ENTRIES = 40
REASON = "a reason of some length, so that a journal fills pages. " * 20


def cut_of(run: str, epoch: int = 1) -> Cut:
    return Cut(run, rev=ENTRIES, epoch=epoch, at=900.0, document={"setting": "--keep-finished 30d"})


async def finished(store: PostgresStore, run: str) -> None:
    await started(store, run)
    paused = batch().events[0].model_copy(update={"reason": REASON})
    await store.append(batch(run, events=[paused] * (ENTRIES - 1), active=False, release=True))


async def test_of_controllers_that_cut_a_run_at_once_one_does_it(postgres_schema: PostgresSchema) -> None:
    stores = [postgres_schema.store(name) for name in ("a", "b", "c")]
    await finished(stores[0], "r")
    assert sorted(await asyncio.gather(*(one.keeping.cut(cut_of("r")) for one in stores))) == [False, False, True]
    for one in stores:
        await one.close()


async def test_of_a_cut_and_an_append_at_once_one_comes_second(postgres_schema: PostgresSchema) -> None:
    cutting, appending = postgres_schema.store("a"), postgres_schema.store("b")
    for number in range(8):
        run = f"r{number}"
        await finished(cutting, run)
        cut, append = cutting.keeping.cut(cut_of(run)), appending.append(batch(run, after=ENTRIES, active=False))
        was_cut, was_appended = await asyncio.gather(cut, append, return_exceptions=True)
        row, written = await cutting.row(run), await cutting.read(run)
        assert row is not None
        if was_cut is True:
            assert isinstance(was_appended, Fenced)
            assert (row.kept, row.rev, written) == (900.0, ENTRIES, [])
        else:
            assert isinstance(was_cut, Conflict)
            assert (row.kept, row.rev, len(written)) == (None, ENTRIES + 1, ENTRIES + 1)
    await cutting.close()
    await appending.close()


async def test_a_store_of_the_version_before_learns_which_run_refers_to_which(postgres_schema: PostgresSchema) -> None:
    address = parse(postgres_schema.url)
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: connect(address), poolclass=NullPool, use_native_hstore=False
    )
    postgres_schema.execute(f"CREATE SCHEMA {postgres_schema.name}")
    with engine.begin() as connection:
        schema.run_migrations(connection, postgres_schema.name, "0004")
    for run, referring in (("r", {}), ("back", {"reverses": "r"}), ("instead", {"supersedes": "r"})):
        write_as_the_version_before_did(postgres_schema, began(run).model_copy(update=referring))
    store = postgres_schema.store()
    assert [row.run for row in await store.keeping.heirs("r")] == ["back", "instead"]
    assert await store.keeping.heirs("back") == []
    assert [row.kept for row in await store.rows()] == [None, None, None]
    await store.close()


def write_as_the_version_before_did(where: PostgresSchema, event: RunStarted) -> None:
    ((record, data),) = chain.extend(event.run, 0, chain.GENESIS, 100.0, [chain.encode(event)])
    where.execute(
        "INSERT INTO runs (run, plan, digest, rev, epoch, active, unsettled, created, head, summary) "
        "VALUES (%s, 'plan', 'digest', 1, 1, true, true, 100.0, %s, '{}')",
        event.run,
        record.hash,
    )
    where.execute(
        "INSERT INTO events (run, seq, at, data, hash, schema_version) VALUES (%s, 1, 100.0, %s, %s, 1)",
        event.run,
        data,
        record.hash,
    )


async def test_the_room_of_what_was_cut_is_used_again_once_it_was_vacuumed(postgres_schema: PostgresSchema) -> None:
    store = postgres_schema.store()
    for number in range(12):
        await finished(store, f"r{number}")
    size = "SELECT pg_total_relation_size('events')"
    ((full,),) = postgres_schema.execute(size)
    for number in range(12):
        await store.keeping.cut(cut_of(f"r{number}"))
    postgres_schema.execute("VACUUM events")  # as autovacuum does
    for number in range(8):
        await finished(store, f"next{number}")
    assert postgres_schema.execute(size)[0][0] <= full
    await store.close()


async def test_readers_without_a_controller_see_what_is_kept(postgres_schema: PostgresSchema) -> None:
    store = postgres_schema.store()
    await finished(store, "r")
    await store.keeping.cut(cut_of("r"))
    await store.close()
    reader = open_reading(postgres_schema.url)
    kept = await reader.keeping.kept("r")
    assert kept is not None
    assert (len(kept.hashes), await reader.read("r")) == (ENTRIES, [])
    await reader.close()
