"""Finished runs of which only the report is kept, in the SQLite store.

Theory of operation. Pages that a cut run leaves are the file's own free pages, which the next events are written to:
the file stays as large as it ever had to be, and no larger. Giving them back to the file system would mean to move
pages about at every turn, for room that is needed again within the day.
"""

import asyncio
from functools import partial
from typing import Final

import apsw

from orchestrator.journal import rules
from orchestrator.journal.keeping_rows import kept_of, packed, packed_hashes
from orchestrator.journal.rows import run_row
from orchestrator.journal.sqlite.lanes import Lane
from orchestrator.journal.sqlite.reading import ROW
from orchestrator.keeping_port import Cut, Kept
from orchestrator.ports import RunRow

_GONE: Final = ("events", "answers", "evidence")
"""Tables of which nothing stays of a run that is cut."""


class SqliteKeptReports:
    """The ``KeptReports`` of whoever reads the store."""

    def __init__(self, reads: Lane, reader: apsw.Connection) -> None:
        self._reads, self._reader = reads, reader

    async def kept(self, run: str) -> Kept | None:
        return await self._reads.do(partial(_kept, self._reader, run))


class SqliteKeepingStorage(SqliteKeptReports):
    """The ``KeepingStorage`` of the one controller that has the store."""

    def __init__(self, reads: Lane, reader: apsw.Connection, writes: Lane, writer: apsw.Connection) -> None:
        super().__init__(reads, reader)
        self._writes, self._writer = writes, writer

    async def finished(self, before: float, after: RunRow | None = None, limit: int = 100) -> list[RunRow]:
        return await self._reads.do(partial(_finished, self._reader, before, after, limit))

    async def heirs(self, run: str) -> list[RunRow]:
        return await self._reads.do(partial(_heirs, self._reader, run))

    async def cut(self, cut: Cut) -> bool:
        document = await asyncio.to_thread(packed, cut.document)  # which takes its time, and nothing waits for that
        return await self._writes.do(partial(_cut, self._writer, cut, document))


def _kept(connection: apsw.Connection, run: str) -> Kept | None:
    query = "SELECT run, runs.kept, document, hashes FROM runs JOIN kept USING (run) WHERE run = ?"
    found = connection.execute(query, (run,)).fetchone()
    return None if found is None else kept_of(*found)


def _finished(connection: apsw.Connection, before: float, after: RunRow | None, limit: int) -> list[RunRow]:
    """By the index that has whole runs alone: left to itself SQLite takes another, and passes by all that were cut."""
    query = (
        f"SELECT {ROW} FROM runs INDEXED BY runs_whole WHERE active = 0 AND kept IS NULL "  # noqa: S608
        "AND created < ? AND (created, run) > (?, ?) ORDER BY created, run LIMIT ?"
    )
    place = (after.created, after.run) if after is not None else (float("-inf"), "")
    return [run_row(found) for found in connection.execute(query, (before, *place, max(limit, 0)))]


def _heirs(connection: apsw.Connection, run: str) -> list[RunRow]:
    query = f"SELECT {ROW} FROM runs WHERE refers_to = ? ORDER BY created, run"  # noqa: S608
    return [run_row(found) for found in connection.execute(query, (run,))]


def _cut(connection: apsw.Connection, cut: Cut, document: bytes) -> bool:
    query = "SELECT rev, epoch, active, head, kept FROM runs WHERE run = ?"
    found = connection.execute(query, (cut.run,)).fetchone()
    if found is None:
        raise rules.no_run(cut.run)
    rev, epoch, active, head, kept = found
    if kept is not None:
        return False
    heir = connection.execute("SELECT run FROM runs WHERE refers_to = ? AND active LIMIT 1", (cut.run,)).get
    rules.check_cut(cut, rev, epoch, bool(active), heir)
    hashes = [link for (link,) in connection.execute("SELECT hash FROM events WHERE run = ? ORDER BY seq", (cut.run,))]
    rules.check_entries(cut, hashes, head)
    connection.execute("INSERT INTO kept VALUES (?, ?, ?)", (cut.run, document, packed_hashes(hashes)))
    for table in _GONE:
        connection.execute(f"DELETE FROM {table} WHERE run = ?", (cut.run,))  # noqa: S608
    connection.execute("UPDATE runs SET kept = ?, epoch = epoch + 1 WHERE run = ?", (float(cut.at), cut.run))
    return True
