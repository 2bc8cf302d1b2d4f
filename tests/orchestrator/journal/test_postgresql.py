"""What the PostgreSQL store does beyond the contract: nothing or all when connections die, faults, deadlines."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import psycopg
import pytest

from orchestrator.core.events import Paused
from orchestrator.errors import Conflict, Fenced, StoreError, TargetBusy
from orchestrator.journal import chain
from orchestrator.journal.memory import MemoryReplica, MemoryStore
from orchestrator.journal.postgresql import PostgresStore, open_reading
from orchestrator.journal.postgresql.address import parse
from orchestrator.journal.postgresql.session import connect
from orchestrator.ports import Batch, Member
from tests.support.journals import answered, batch, flag_write, started
from tests.support.lossy import LossyLine
from tests.support.postgres import PostgresServer
from tests.support.process import wait_until
from tests.support.stores import PostgresSchema, schema_in

pytestmark = pytest.mark.postgres
T = TypeVar("T")


@pytest.fixture
async def store(postgres_schema: PostgresSchema) -> AsyncIterator[PostgresStore]:
    made = postgres_schema.store()
    yield made
    await made.close()


@pytest.fixture
def line(postgres_server: PostgresServer) -> Iterator[LossyLine]:
    with LossyLine(postgres_server.port) as made:
        yield made


@pytest.fixture
async def far(line: LossyLine, postgres_schema: PostgresSchema) -> AsyncIterator[PostgresStore]:
    """A store behind the lossy line."""
    schema = PostgresSchema(line.url(postgres_schema.dsn), postgres_schema.name)
    made = schema.store("far", deadline_seconds=1.0)
    yield made
    line.go_on()
    await made.close()


def everything(**other: Any) -> Batch:
    """A batch that writes to every table an append may write to."""
    return batch(
        events=[Paused(by="a"), Paused(by="b")], flags=[flag_write()], answer=answered(), release=True, **other
    )


async def assert_all_or_nothing(store: PostgresStore, all_of_it: bool) -> None:
    records = await store.read("r")
    assert chain.verify(records) is None
    row = await store.row("r")
    assert row is not None
    assert row.rev == len(records) == (3 if all_of_it else 1)
    assert (await store.answer("r", "k") is not None) is all_of_it
    assert len(await store.all()) == len(await store.history("production", "f")) == all_of_it
    assert (await store.version()).number == all_of_it
    if all_of_it:
        await started(store, "next", claims={"flag:x": "flag x"})
    else:
        with pytest.raises(TargetBusy):
            await started(store, "next", claims={"flag:x": "flag x"})


async def when_it_is_back(call: Callable[[], Awaitable[T]]) -> T:
    """As a runner does: again and again until the store can be reached."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call()
            except StoreError:
                await asyncio.sleep(0.1)


# --- connections that die ---

STATEMENTS = (
    ("INSERT", "answers"),
    ("UPDATE", "store"),
    ("INSERT", "flags"),
    ("INSERT", "flag_history"),
    ("INSERT", "events"),
    ("UPDATE", "runs"),
    ("DELETE", "claims"),
    ("COMMIT", "runs"),
)


def die_at(schema: PostgresSchema, statement: str, table: str, times: int) -> None:
    """The server ends the connection in the middle of a statement, or of the commit; so often."""
    schema.execute("CREATE SEQUENCE deaths")
    schema.execute(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF nextval('deaths') <= {times} THEN PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60); END IF; "
        "RETURN coalesce(NEW, OLD); END $$"
    )
    when = f"BEFORE {statement} ON {table}"
    if statement == "COMMIT":
        when = f"AFTER UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED"
    kind = "CONSTRAINT TRIGGER" if statement == "COMMIT" else "TRIGGER"
    schema.execute(f"CREATE {kind} dying {when} FOR EACH ROW EXECUTE FUNCTION die()")


@pytest.mark.parametrize(("statement", "table"), STATEMENTS)
async def test_a_connection_that_dies_in_the_middle_of_an_append_leaves_nothing_of_it(
    store: PostgresStore, postgres_schema: PostgresSchema, statement: str, table: str
) -> None:
    await started(store, claims={"flag:x": "flag x"})
    die_at(postgres_schema, statement, table, times=1000)
    with pytest.raises(StoreError, match=r"can't be reached .*goes on by itself"):
        await store.append(everything())
    postgres_schema.execute(f"DROP TRIGGER dying ON {table}")
    await assert_all_or_nothing(store, all_of_it=False)


@pytest.mark.parametrize(("statement", "table"), STATEMENTS)
async def test_an_append_whose_connection_died_once_is_made_again_as_a_whole(
    store: PostgresStore, postgres_schema: PostgresSchema, statement: str, table: str
) -> None:
    await started(store, claims={"flag:x": "flag x"})
    die_at(postgres_schema, statement, table, times=1)
    records = await store.append(everything())
    postgres_schema.execute(f"DROP TRIGGER dying ON {table}")
    assert await store.read("r", after=1) == records
    await assert_all_or_nothing(store, all_of_it=True)


async def test_a_commit_whose_answer_was_lost_is_found_and_answered(line: LossyLine, far: PostgresStore) -> None:
    await started(far, claims={"flag:x": "flag x"})
    line.lose_the_answer_to(b"COMMIT")
    records = await far.append(everything())
    assert await far.read("r", after=1) == records
    await assert_all_or_nothing(far, all_of_it=True)


async def test_an_answer_alone_whose_commit_was_not_confirmed_is_found(line: LossyLine, far: PostgresStore) -> None:
    await started(far)
    line.lose_the_answer_to(b"COMMIT")
    assert await far.append(batch(events=[], answer=answered())) == []
    with pytest.raises(Conflict, match="idempotency key"):
        await far.append(batch(events=[], answer=answered()))


async def test_a_run_whose_start_was_not_confirmed_is_found(line: LossyLine, far: PostgresStore) -> None:
    line.lose_the_answer_to(b"COMMIT")
    assert await started(far) == await far.read("r")
    with pytest.raises(Conflict, match="run 'r' already"):
        await started(far)


async def test_a_flag_whose_write_was_not_confirmed_is_found(line: LossyLine, far: PostgresStore) -> None:
    line.lose_the_answer_to(b"COMMIT")
    record = await far.write(flag_write(), at=1.0)
    assert await far.history("production", "f") == [record]


async def test_claims_that_were_not_confirmed_are_found(
    line: LossyLine, far: PostgresStore, store: PostgresStore
) -> None:
    await started(store)
    await store.leave()
    await far.renew(600)
    line.lose_the_answer_to(b"COMMIT")
    assert await far.claim(10) == ["r"]
    assert await far.take("r") == 3
    assert await far.claim(10) == []


async def test_what_was_written_without_anybody_knowing_is_found_when_it_is_asked_for_again(
    line: LossyLine, far: PostgresStore, store: PostgresStore
) -> None:
    await started(store, claims={"flag:x": "flag x"})
    the_batch = everything()
    line.lose_the_answer_to(b"COMMIT", then_hang=True)
    with pytest.raises(StoreError, match="whether it was written is not known"):
        await far.append(the_batch)
    written = await store.read("r", after=1)
    assert len(written) == 2
    line.go_on()
    assert await when_it_is_back(lambda: far.append(the_batch)) == written
    await assert_all_or_nothing(store, all_of_it=True)


# --- a server that goes and comes ---


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


async def test_a_server_that_is_stopped_or_killed_loses_nothing_acknowledged_and_the_store_goes_on(
    own_server: PostgresServer,
) -> None:
    with own_server.database() as dsn, schema_in(dsn, "staged_rollout") as schema:
        store = schema.store()
        await started(store)
        for after, end in ((1, own_server.stop), (2, own_server.kill)):
            written = await store.append(batch(after=after))
            end()
            for _ in range(2):
                with pytest.raises(StoreError, match="can't be reached"):
                    await store.append(batch(after=after + 1))
            own_server.start()
            assert (await when_it_is_back(lambda: store.read("r")))[-1:] == written
        await store.append(batch(after=3))
        assert chain.verify(await store.read("r")) is None
        await store.close()


async def test_a_connection_that_was_cut_while_nobody_used_it_is_not_noticed(
    store: PostgresStore, postgres_schema: PostgresSchema
) -> None:
    await started(store)
    for after in range(1, 4):
        postgres_schema.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await store.append(batch(after=after))
    assert len(await store.read("r")) == 4


async def test_a_call_ends_at_its_deadline_when_nobody_answers(line: LossyLine, far: PostgresStore) -> None:
    await started(far)
    the_batch = batch()
    line.hang()
    with pytest.raises(StoreError, match=r"did not answer within 1 s|can't be reached"):
        await far.append(the_batch)
    with pytest.raises(StoreError):
        await far.rows()
    line.go_on()
    assert len(await when_it_is_back(lambda: far.append(the_batch))) == 1
    assert len(await when_it_is_back(lambda: far.read("r"))) == 2


async def test_closing_ends_while_the_server_hangs(line: LossyLine, far: PostgresStore) -> None:
    await started(far)
    line.hang()
    waiting = asyncio.create_task(far.append(batch()))
    await asyncio.sleep(0)
    await far.close()
    with pytest.raises(StoreError):
        await waiting


async def test_a_closed_store_says_so_and_can_be_closed_again(store: PostgresStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await started(store)


async def test_closing_writes_what_was_handed_in(store: PostgresStore, postgres_schema: PostgresSchema) -> None:
    for number in range(20):
        await started(store, f"r{number}")
    waiting = [asyncio.create_task(store.append(batch(f"r{number}"))) for number in range(20)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*waiting)
    reader = open_reading(postgres_schema.url)
    assert [len(await reader.read(f"r{number}")) for number in range(20)] == [2] * 20
    await reader.close()


# --- who is frozen, and who is slow ---


async def test_a_frozen_writer_keeps_nobody_from_claiming_and_its_own_run_is_free_when_the_server_ends_it(
    store: PostgresStore, postgres_schema: PostgresSchema
) -> None:
    for run in ("frozen", "other"):
        await started(store, run)
    await store.leave()
    rescuer = postgres_schema.store("rescuer")
    await rescuer.renew(600)
    frozen = connect(parse(postgres_schema.url))
    frozen.execute("BEGIN")
    frozen.execute("SELECT 1 FROM runs WHERE run = 'frozen' FOR UPDATE")
    assert await rescuer.claim(10) == ["other"]
    claimed: list[str] = []
    while not claimed:  # until the server has ended its transaction
        claimed = await rescuer.claim(10)
    assert claimed == ["frozen"]
    frozen.close()
    await rescuer.close()


async def test_nothing_is_written_in_a_pipeline_in_which_the_server_would_wait_for_a_frozen_writer_for_ever(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    piped: list[object] = []
    usual = psycopg.Pipeline.__enter__

    def noticed(pipeline: psycopg.Pipeline) -> psycopg.Pipeline:
        piped.append(pipeline)
        return usual(pipeline)

    monkeypatch.setattr(psycopg.Pipeline, "__enter__", noticed)
    await started(store)
    written = await store.append(batch(events=[Paused(by="bob", reason=str(number)) for number in range(3)]))
    assert [record.seq for record in written] == [2, 3, 4]
    assert chain.verify(await store.read("r")) is None
    assert piped == []


async def test_appends_to_other_runs_do_not_wait_for_one_that_is_locked(
    store: PostgresStore, postgres_schema: PostgresSchema
) -> None:
    for run in ("locked", "other"):
        await started(store, run)
    frozen = connect(parse(postgres_schema.url))
    frozen.execute("BEGIN")
    frozen.execute("SELECT 1 FROM runs WHERE run = 'locked' FOR UPDATE")
    waiting = [asyncio.create_task(store.append(batch("locked", after=1))) for _ in range(20)]
    await asyncio.sleep(0)
    for after in range(1, 20):
        await store.append(batch("other", after=after))
    assert not any(one.done() for one in waiting)
    frozen.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(one, list) for one in results) == 1
    assert sum(isinstance(one, Conflict) for one in results) == 19


async def test_a_store_kept_busy_by_others_says_so_and_writes_nothing(
    store: PostgresStore, postgres_schema: PostgresSchema
) -> None:
    await started(store)
    with connect(parse(postgres_schema.url)) as other:
        other.execute("SET idle_in_transaction_session_timeout = 0")
        with other.transaction():
            other.execute("LOCK TABLE events")
            with pytest.raises(StoreError, match=r"kept busy by others, nothing was written: .*pg_stat_activity"):
                await store.append(batch())
    await store.append(batch())
    assert len(await store.read("r")) == 2


async def test_a_full_disk_is_said_writes_nothing_and_is_left_behind_when_there_is_room(
    store: PostgresStore, postgres_schema: PostgresSchema
) -> None:
    await started(store)
    postgres_schema.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
    )
    postgres_schema.execute("CREATE TRIGGER full_disk BEFORE INSERT ON events EXECUTE FUNCTION full_disk()")
    with pytest.raises(StoreError, match=r"is out of room .*nothing was written: free some space"):
        await store.append(batch())
    postgres_schema.execute("DROP TRIGGER full_disk ON events")
    await store.append(batch())


async def test_every_commit_is_waited_for_whatever_the_server_is_set_to(postgres_schema: PostgresSchema) -> None:
    address = parse(postgres_schema.url)
    assert postgres_schema.execute("SHOW synchronous_commit") == [("off",)]
    with connect(address) as connection:
        settings = {
            name: connection.execute(f"SHOW {name}".encode()).fetchone()
            for name in ("synchronous_commit", "statement_timeout", "idle_in_transaction_session_timeout")
        }
    assert settings == {
        "synchronous_commit": ("on",),
        "statement_timeout": ("2s",),
        "idle_in_transaction_session_timeout": ("2s",),
    }
    with connect(parse(address.conninfo + "?options=-csynchronous_commit%3Dlocal")) as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("local",)


# --- many at once ---


async def test_two_stores_that_claim_two_hundred_runs_share_them_without_overlap(
    store: PostgresStore, postgres_schema: PostgresSchema
) -> None:
    names = {f"r{number}" for number in range(200)}
    await asyncio.gather(*(started(store, name) for name in names))
    await store.leave()
    two = [postgres_schema.store(name) for name in ("a", "b")]

    async def all_of(one: PostgresStore) -> list[str]:
        await one.renew(600)
        claimed: list[str] = []
        while part := await one.claim(7):
            claimed += part
        return claimed

    shares = await asyncio.gather(*map(all_of, two))
    assert sorted(shares[0] + shares[1]) == sorted(names)
    rows = await store.rows()
    assert {row.epoch for row in rows} == {2}
    for one, share in zip(two, shares, strict=True):
        assert [await one.take(run) for run in share[:5]] == [3] * len(share[:5])
        await one.close()


@pytest.mark.parametrize("is_shared_by", ("postgresql", "memory"))
async def test_who_gives_runs_up_leaves_them_to_whoever_claims_next(
    is_shared_by: str, store: PostgresStore, postgres_schema: PostgresSchema
) -> None:
    first: PostgresStore | MemoryReplica = store
    second: PostgresStore | MemoryReplica = postgres_schema.store("second")
    if is_shared_by == "memory":
        memory = MemoryStore()
        first, second = (MemoryReplica(memory, Member(name, ""), lambda: 0.0) for name in (store.me.name, "second"))
    await first.renew(600)
    await second.renew(600)
    for name in ("r1", "r2", "r3"):
        await started(first, name)
    assert await first.shares() == ({first.me.name: 3, "second": 0}, 0)
    await second.release(["r1"])  # not its own
    assert await second.claim(10) == []
    await first.release(["r1", "r3", "unknown"])
    assert await first.shares() == ({first.me.name: 1, "second": 0}, 2)
    assert await first.owner("r1") is None
    assert await second.claim(10, only_lapsed=True) == []
    assert sorted(await second.claim(10)) == ["r1", "r3"]
    with pytest.raises(Fenced):
        await first.append(batch("r1"))
    for one in (first, second):
        if isinstance(one, PostgresStore) and one is not store:
            await one.close()


def test_a_thousand_appends_from_eight_threads_keep_every_chain_right(postgres_schema: PostgresSchema) -> None:
    store = postgres_schema.store()
    problems: list[BaseException] = []

    async def one(run: str) -> None:
        await started(store, run)
        for after in range(1, 126):
            flags = [flag_write(f"{run}-{after}")] if after % 25 == 0 else []
            await store.append(batch(run, after=after, flags=flags))

    def work(run: str) -> None:
        try:
            asyncio.run(one(run))
        except BaseException as problem:  # noqa: BLE001 - it is shown by the test
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(f"r{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []

    async def check() -> None:
        for number in range(8):
            records = await store.read(f"r{number}")
            assert [record.seq for record in records] == list(range(1, 127))
            assert chain.verify(records) is None
        numbers = sorted(record.document.version.number for record in await store.all())
        assert numbers == list(range(1, 41))
        await store.close()

    asyncio.run(check())


async def test_of_two_controllers_that_race_for_the_same_targets_one_gets_them(postgres_schema: PostgresSchema) -> None:
    two = [postgres_schema.store(name) for name in ("a", "b")]
    claims = {f"flag:{key}": f"flag {key}" for key in "xyz"}
    for turn in range(10):
        results = await asyncio.gather(
            *(started(one, f"{turn}-{one.me.name}", claims=claims) for one in two), return_exceptions=True
        )
        won = [one for one, result in zip(two, results, strict=True) if isinstance(result, list)]
        assert len(won) == 1
        assert sum(isinstance(result, TargetBusy) for result in results) == 1
        await won[0].append(batch(f"{turn}-{won[0].me.name}", active=False, release=True))
    for one in two:
        await one.close()


# --- reading beside it ---


async def test_readers_beside_the_controllers_see_what_they_acknowledged_and_change_nothing(
    store: PostgresStore, postgres_schema: PostgresSchema
) -> None:
    await started(store)
    reader = open_reading(postgres_schema.url)
    for after in range(1, 5):
        await store.append(batch(after=after))
        assert (await reader.read("r"))[-1].seq == after + 1
    with pytest.raises(StoreError, match="for reading only"):
        await reader.append(batch())
    with pytest.raises(StoreError, match="only takes readers"):
        await reader._pool.do(lambda connection: connection.execute("DELETE FROM runs"))
    assert await reader.owner("r") is None
    await reader.close()


async def test_a_long_journal_is_read_whole(store: PostgresStore) -> None:
    await started(store)
    await store.append(batch(events=[Paused()] * 1200))
    assert [record.seq for record in await store.read("r")] == list(range(1, 1202))
    assert [record.seq for record in await store.read("r", after=100, limit=700)] == list(range(101, 801))
    assert chain.verify(await store.read("r")) is None


async def test_people_can_query_events_by_who_what_and_why(
    store: PostgresStore, postgres_schema: PostgresSchema
) -> None:
    await started(store)
    await store.append(batch(events=[Paused(by="bob", reason="look"), Paused()]))
    rows = postgres_schema.execute('SELECT type, "by", reason FROM event_log ORDER BY seq')
    assert rows == [("RunStarted", "ann", "release"), ("Paused", "bob", "look"), ("Paused", "controller", "")]


async def test_an_event_changed_by_hand_breaks_the_chain_where_it_stands(
    store: PostgresStore, postgres_schema: PostgresSchema
) -> None:
    await started(store)
    await store.append(batch(events=[Paused(by="ann"), Paused(by="bob"), Paused(by="eve")]))
    postgres_schema.execute("UPDATE events SET data = replace(data, 'bob', 'ann') WHERE seq = 3")
    assert chain.verify(await store.read("r")) == 3
    postgres_schema.execute("""UPDATE events SET data = '{"type":"Invented"}' WHERE seq = 3""")
    with pytest.raises(StoreError, match=r"Event 3 of run 'r' can't be read .*newer version"):
        await store.read("r")


async def test_a_store_leaves_no_connection_behind(postgres_schema: PostgresSchema) -> None:
    store = postgres_schema.store()
    await asyncio.gather(*(started(store, f"r{number}") for number in range(30)))
    await store.close()
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_until(lambda: postgres_schema.execute(count) == [(0,)], what="all connections to be closed")
