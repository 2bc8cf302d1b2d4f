"""What the SQLite store does beyond the contract: durability, faults, the lock, readers beside the writer."""

import asyncio
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from orchestrator.core.events import Paused
from orchestrator.errors import NotFound, StoreError
from orchestrator.journal import chain
from orchestrator.journal.sqlite import SqliteStore, open_reading, schema
from tests.support.appending import RUNS
from tests.support.journals import batch, flag_write, started
from tests.support.process import ROOT

LARGE = [Paused(reason="x" * 1_000_000)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(path)
    yield made
    await made.close()


@contextmanager
def held_busy(path: Path) -> Iterator[None]:
    """Another program has begun to write and does not end."""
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writes beyond *size* fail, as on a disk that has no room for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def change(path: Path, statement: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(statement)
    connection.close()


# --- durability ---


async def test_every_commit_is_synced_to_the_log(store: SqliteStore) -> None:
    assert store._writer.pragma("journal_mode") == "wal"
    assert store._writer.pragma("synchronous") == 2


def test_a_controller_killed_in_the_middle_loses_nothing_that_it_acknowledged(path: Path) -> None:
    seed = 20_251_126
    draw = random.Random(seed)
    acknowledged: set[tuple[str, int, str]] = set()
    for _ in range(4):
        acknowledged |= killed_after(path, draw.randint(1, 150))
        assert_whole(path, acknowledged)


def killed_after(path: Path, lines: int) -> set[tuple[str, int, str]]:
    """What the controller said before and while it was killed, at least *lines* of it."""
    command = [sys.executable, "-m", "tests.support.appending", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        said += child.stdout.read().splitlines(keepends=True)
    assert child.returncode == -signal.SIGKILL
    parts = [line.split() for line in said if line.endswith("\n")]
    return {(run, int(seq), digest) for run, seq, digest in parts}


def assert_whole(path: Path, acknowledged: set[tuple[str, int, str]]) -> None:
    async def look() -> None:
        store = open_reading(path)
        journals = {f"run-{number}": await store.read(f"run-{number}") for number in range(RUNS)}
        await store.close()
        for records in journals.values():
            assert chain.verify(records) is None
        there = {(record.run, record.seq, record.hash) for records in journals.values() for record in records}
        assert acknowledged <= there

    asyncio.run(look())


async def test_appends_that_wait_together_are_committed_together(store: SqliteStore) -> None:
    for number in range(100):
        await started(store, f"r{number}")
    commits: list[int] = []

    def committing() -> bool:
        commits.append(1)
        return False  # go ahead

    store._writer.set_commit_hook(committing)
    with held_busy(store.path):
        waiting = [asyncio.create_task(store.append(batch(f"r{number}"))) for number in range(100)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert len(commits) <= 3


async def test_closing_writes_what_was_handed_in(store: SqliteStore) -> None:
    for number in range(20):
        await started(store, f"r{number}")
    waiting = [asyncio.create_task(store.append(batch(f"r{number}"))) for number in range(20)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*waiting)
    again = open_reading(store.path)
    assert [len(await again.read(f"r{number}")) for number in range(20)] == [2] * 20
    await again.close()


async def test_a_closed_store_says_so_and_can_be_closed_again(store: SqliteStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await started(store)
    with pytest.raises(StoreError, match="closed"):
        await store.rows()


async def test_closing_leaves_one_file_and_the_empty_lock(store: SqliteStore) -> None:
    await started(store)
    await store.close()
    assert sorted(entry.name for entry in store.path.parent.iterdir()) == ["store.db", "store.db.lock"]


# --- faults ---


async def test_a_store_held_busy_refuses_after_a_while_and_goes_on_afterwards(path: Path) -> None:
    store = SqliteStore(path, busy_seconds=0.05)
    await started(store)
    with held_busy(path):
        results = await asyncio.gather(store.append(batch()), store.take("r"), return_exceptions=True)
        assert [type(result) for result in results] == [StoreError, StoreError]
        assert "kept busy by another program" in str(results[0])
        assert len(await store.read("r")) == 1  # reading goes on
    await store.append(batch())
    await store.close()


async def test_closing_ends_while_the_store_is_held_busy(path: Path) -> None:
    store = SqliteStore(path, busy_seconds=0.05)
    await started(store)
    with held_busy(path):
        waiting = asyncio.create_task(store.append(batch()))
        await asyncio.sleep(0)
        await asyncio.wait_for(store.close(), 10)
    with pytest.raises(StoreError, match="busy"):
        await waiting
    again = SqliteStore(path)
    assert len(await again.read("r")) == 1
    await again.close()


async def test_a_commit_that_breaks_down_does_not_keep_the_next_from_beginning(store: SqliteStore) -> None:
    await started(store)

    def broken() -> bool:
        raise RuntimeError("broken")

    store._writer.set_commit_hook(broken)
    with pytest.raises(RuntimeError, match="broken"):
        await store.append(batch())
    store._writer.set_commit_hook(None)
    await store.append(batch())


async def test_a_full_disk_is_said_writes_nothing_and_is_left_behind_when_there_is_room(store: SqliteStore) -> None:
    await started(store)
    room = store._writer.pragma("max_page_count")
    store._writer.pragma("max_page_count", store._writer.pragma("page_count") + 5)
    with pytest.raises(StoreError, match=r"store\.db is out of room: nothing was written; free some disk space"):
        await store.append(batch(events=LARGE, flags=[flag_write()]))
    assert len(await store.read("r")) == 1
    assert await store.all() == []
    await store.append(batch())
    store._writer.pragma("max_page_count", room)
    await store.append(batch(after=2, events=LARGE))
    assert chain.verify(await store.read("r")) is None


async def test_what_does_not_fit_takes_nothing_from_what_waited_with_it(store: SqliteStore) -> None:
    for number in range(10):
        await started(store, f"r{number}")
    store._writer.pragma("max_page_count", store._writer.pragma("page_count") + 20)
    with held_busy(store.path):
        waiting = [
            asyncio.create_task(store.append(batch(f"r{number}", events=LARGE if number == 4 else [Paused()])))
            for number in range(10)
        ]
        await asyncio.sleep(0)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(result, StoreError) for result in results] == [number == 4 for number in range(10)]
    assert [len(await store.read(f"r{number}")) for number in range(10)] == [1 if n == 4 else 2 for n in range(10)]


async def test_a_disk_that_fails_is_said_and_the_store_goes_on_when_it_works_again(store: SqliteStore) -> None:
    await started(store)
    log = store.path.with_name("store.db-wal").stat().st_size
    with largest_file(log + 10_000), pytest.raises(StoreError, match=r"store\.db .*nothing was written"):
        await store.append(batch(events=LARGE))
    await store.append(batch())
    await store.close()
    again = SqliteStore(store.path)
    records = await again.read("r")
    assert [record.seq for record in records] == [1, 2]
    assert chain.verify(records) is None
    await again.close()


def test_a_file_that_is_no_database_is_refused_with_its_path(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("this is not a database " * 100)
    for opened in (SqliteStore, open_reading):
        with pytest.raises(StoreError, match=r"store\.db is not a database: restore it from a backup, or move it"):
            opened(path)
    assert path.read_text().startswith("this is not")


async def test_a_damaged_file_is_refused_with_its_path(store: SqliteStore) -> None:
    await started(store)
    await store.append(batch(events=LARGE))
    await store.close()
    with store.path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(40_000))
    with pytest.raises(StoreError, match=r"store\.db is corrupted .*: stop the controller, then restore"):
        SqliteStore(store.path)


def test_a_database_of_another_program_is_refused_and_not_changed(path: Path) -> None:
    path.parent.mkdir()
    change(path, "CREATE TABLE theirs (a)")
    before = path.read_bytes()
    for opened in (SqliteStore, open_reading):
        with pytest.raises(StoreError, match="database of another program"):
            opened(path)
    assert path.read_bytes() == before


async def test_a_store_of_a_newer_version_is_refused_until_the_program_is_upgraded(store: SqliteStore) -> None:
    await store.close()
    change(store.path, "UPDATE meta SET value = 99 WHERE name = 'schema_version'")
    for opened in (SqliteStore, open_reading):
        with pytest.raises(StoreError, match=rf"program \(99, this one knows {schema.VERSION}\): upgrade it"):
            opened(store.path)


async def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file of the store can't be made"):
        SqliteStore(tmp_path / "file" / "store.db")


async def test_a_refused_store_gives_its_lock_back(store: SqliteStore) -> None:
    await store.close()
    change(store.path, "UPDATE meta SET value = 99 WHERE name = 'schema_version'")
    with pytest.raises(StoreError):
        SqliteStore(store.path)
    change(store.path, f"UPDATE meta SET value = {schema.VERSION} WHERE name = 'schema_version'")
    await SqliteStore(store.path).close()


async def test_an_event_changed_by_hand_breaks_the_chain_where_it_stands(store: SqliteStore) -> None:
    await started(store)
    await store.append(batch(events=[Paused(by="ann"), Paused(by="bob"), Paused(by="eve")]))
    change(store.path, "UPDATE events SET data = replace(data, 'bob', 'ann') WHERE seq = 3")
    assert chain.verify(await store.read("r")) == 3


async def test_an_event_that_cannot_be_read_is_named(store: SqliteStore) -> None:
    await started(store)
    change(store.path, """UPDATE events SET data = '{"type":"Invented"}' WHERE seq = 1""")
    with pytest.raises(StoreError, match=r"Event 1 of run 'r' can't be read .*newer version"):
        await store.read("r")
    assert await store.row("r") is not None


async def test_a_flag_that_cannot_be_read_is_named(store: SqliteStore) -> None:
    await store.write(flag_write("beta"), 100.0)
    change(store.path, "UPDATE flags SET document = 'by hand'")
    with pytest.raises(StoreError, match=r"The document of flag 'beta' in production can't be read .*by hand"):
        await store.all()


async def test_people_can_query_events_by_who_what_and_why(store: SqliteStore) -> None:
    await started(store)
    await store.append(batch(events=[Paused(by="bob", reason="look"), Paused()]))
    rows = store._reader.execute('SELECT type, "by", reason FROM events ORDER BY seq').fetchall()
    assert rows == [("RunStarted", "ann", "release"), ("Paused", "bob", "look"), ("Paused", "controller", "")]


# --- who may open it ---


async def test_a_second_controller_is_refused_and_told_who_holds_the_store(store: SqliteStore, tmp_path: Path) -> None:
    alias = tmp_path / "alias.db"
    alias.symlink_to(store.path)
    for path in (store.path, alias):
        with pytest.raises(StoreError, match=rf"Another controller \(pid {os.getpid()}\) holds the store .*store\.db"):
            SqliteStore(path)
    await started(store)  # the first one is not disturbed


async def test_the_next_controller_may_open_what_the_last_one_closed(store: SqliteStore) -> None:
    await started(store)
    await store.close()
    again = SqliteStore(store.path)
    assert len(await again.rows()) == 1
    await again.close()


async def test_readers_beside_the_controller_see_what_it_acknowledged(store: SqliteStore) -> None:
    await started(store)
    reader = open_reading(store.path)
    for after in range(1, 20):
        await store.append(batch(after=after))
        assert (await reader.read("r"))[-1].seq == after + 1
    await reader.close()
    await store.append(batch(after=20))


async def test_reading_goes_on_while_much_is_written(store: SqliteStore) -> None:
    await started(store)
    reader = open_reading(store.path)

    async def write() -> None:
        for after in range(1, 100, 3):
            await store.append(batch(after=after, events=[Paused()] * 3))

    writing = asyncio.create_task(write())
    seen = [1]
    while not writing.done():
        records = await reader.read("r")
        assert len(records) % 3 == 1  # whole transactions only
        seen.append(len(records))
    await writing
    assert seen == sorted(seen)
    await reader.close()


async def test_a_reader_changes_nothing(store: SqliteStore) -> None:
    await started(store)
    await store.close()
    before = store.path.read_bytes()
    reader = open_reading(store.path)
    assert len(await reader.read("r")) == 1
    with pytest.raises(StoreError, match="for reading only"):
        await reader.append(batch())
    with pytest.raises(StoreError, match="for reading only"):
        await reader.take("r")
    await reader.close()
    assert store.path.read_bytes() == before


def test_reading_a_store_that_is_not_there_makes_none(path: Path) -> None:
    with pytest.raises(NotFound, match=r"no store .*store\.db"):
        open_reading(path)
    assert not path.exists()
