"""Finished runs of which only the report is kept, in the SQLite store: crashes in the middle, and the room on disk."""

import asyncio
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal.sqlite import SqliteStore, open_reading
from orchestrator.keeping_port import Cut
from tests.support.journals import batch, started

ENTRIES = 40
REASON = "a reason of some length, so that a journal fills pages. " * 20


def cut_of(run: str) -> Cut:
    return Cut(run, rev=ENTRIES, epoch=1, at=900.0, document={"setting": "--keep-finished 30d"})


async def finished(store: SqliteStore, run: str) -> None:
    await started(store, run)
    paused = batch().events[0].model_copy(update={"reason": REASON})
    await store.append(batch(run, events=[paused] * (ENTRIES - 1), active=False, release=True))
    await store.save_evidence({run: (1, "seen")})


def _dies_at(path: Path, statement: str) -> None:
    """Ends as by kill -9 when the writer begins a statement that begins so, inside a cut."""

    async def cut() -> None:
        store = SqliteStore(path)

        def tracer(_cursor: Any, sql: str, _bindings: Any) -> bool:
            if sql.startswith(statement):
                os.kill(os.getpid(), signal.SIGKILL)
            return True

        store._writer.exec_trace = tracer
        await store.keeping.cut(cut_of("r"))

    asyncio.run(cut())


@pytest.mark.parametrize("statement", ("INSERT INTO kept", "DELETE FROM events", "DELETE FROM evidence", "COMMIT"))
async def test_a_controller_that_dies_in_a_cut_leaves_the_run_whole_and_the_next_one_cuts_it(
    tmp_path: Path, statement: str
) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    await finished(store, "r")
    written = await store.read("r")
    await store.close()
    dying = multiprocessing.get_context("spawn").Process(target=_dies_at, args=(path, statement))
    dying.start()
    await asyncio.to_thread(dying.join, 60)
    assert dying.exitcode == -signal.SIGKILL
    store = SqliteStore(path)
    assert await store.read("r") == written
    assert (await store.evidence("r"), await store.keeping.kept("r")) == ("seen", None)
    assert await store.keeping.cut(cut_of("r"))
    assert await store.read("r") == []
    await store.close()


async def test_the_room_of_what_was_cut_is_used_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    names = [f"r{number}" for number in range(12)]
    for name in names:
        await finished(store, name)
    await store._writes.do(lambda: store._writer.execute("SELECT 1").get)
    full = store._writer.pragma("page_count")
    for name in names:
        await store.keeping.cut(cut_of(name))
    free = store._writer.pragma("freelist_count")
    assert free > 0.7 * full
    for name in names[:8]:
        await finished(store, f"next-{name}")
    assert store._writer.pragma("page_count") <= full + 8
    assert store._writer.pragma("freelist_count") < free / 2
    await store.close()


async def test_readers_without_a_controller_see_what_is_kept(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    await finished(store, "r")
    await store.keeping.cut(cut_of("r"))
    await store.close()
    reader = open_reading(tmp_path / "store.db")
    kept, row = await reader.keeping.kept("r"), await reader.row("r")
    assert kept is not None
    assert row is not None
    assert (len(kept.hashes), row.kept, await reader.read("r")) == (ENTRIES, 900.0, [])
    await reader.close()


async def test_what_was_changed_by_hand_in_the_middle_of_a_journal_is_not_cut(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    await finished(store, "r")
    store._writer.execute("DELETE FROM events WHERE run = 'r' AND seq = 7")
    with pytest.raises(Exception, match="not what was written"):
        await store.keeping.cut(cut_of("r"))
    assert len(await store.read("r")) == ENTRIES - 1
    await store.close()
