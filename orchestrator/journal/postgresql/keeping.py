"""Finished runs of which only the report is kept, in the PostgreSQL store.

A cut holds the run's row, so who appends to it or cuts it at the same moment comes second and sees what was done. The
rows that it leaves are dead ones, whose room autovacuum gives to the next.
"""

import asyncio
from functools import partial
from typing import Final

from orchestrator.journal import rules
from orchestrator.journal.keeping_rows import kept_of, packed, packed_hashes
from orchestrator.journal.postgresql.pool import Pool
from orchestrator.journal.postgresql.reading import ROW, each, one
from orchestrator.journal.postgresql.session import Connection
from orchestrator.journal.rows import run_row
from orchestrator.keeping_port import Cut, Kept
from orchestrator.ports import RunRow

_GONE: Final = ("events", "answers", "evidence")
"""Tables of which nothing stays of a run that is cut."""


class PostgresKeptReports:
    """The ``KeptReports`` of whoever reads the store."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def kept(self, run: str) -> Kept | None:
        return await self._pool.do(partial(_kept, run=run))


class PostgresKeepingStorage(PostgresKeptReports):
    """The ``KeepingStorage`` that all controllers of the store have in common."""

    async def finished(self, before: float, after: RunRow | None = None, limit: int = 100) -> list[RunRow]:
        return await self._pool.do(partial(_finished, before=before, after=after, limit=limit))

    async def heirs(self, run: str) -> list[RunRow]:
        return await self._pool.do(partial(_heirs, run=run))

    async def cut(self, cut: Cut) -> bool:
        document = await asyncio.to_thread(packed, cut.document)  # which takes its time, and nothing waits for that
        return await self._pool.do(partial(_cut, cut=cut, document=document), key=cut.run)


def _kept(connection: Connection, run: str) -> Kept | None:
    query = "SELECT run, runs.kept, document, hashes FROM runs JOIN kept USING (run) WHERE run = %s"
    found = one(connection, query, (run,))
    return None if found is None else kept_of(*found)


def _finished(connection: Connection, before: float, after: RunRow | None, limit: int) -> list[RunRow]:
    query = (
        f"SELECT {ROW} FROM runs WHERE NOT active AND kept IS NULL AND created < %s "  # noqa: S608
        'AND (created, run COLLATE "C") > (%s, %s) ORDER BY created, run COLLATE "C" LIMIT %s'
    )
    place = (after.created, after.run) if after is not None else (float("-inf"), "")
    return [run_row(found) for found in each(connection, query, (before, *place, max(limit, 0)))]


def _heirs(connection: Connection, run: str) -> list[RunRow]:
    query = f'SELECT {ROW} FROM runs WHERE refers_to = %s ORDER BY created, run COLLATE "C"'  # noqa: S608
    return [run_row(found) for found in each(connection, query, (run,))]


def _cut(connection: Connection, cut: Cut, document: bytes) -> bool:
    with connection.transaction():
        query = "SELECT rev, epoch, active, head, kept FROM runs WHERE run = %s FOR UPDATE"
        found = one(connection, query, (cut.run,))
        if found is None:
            raise rules.no_run(cut.run)
        rev, epoch, active, head, kept = found
        if kept is not None:
            return False
        heir = one(connection, "SELECT run FROM runs WHERE refers_to = %s AND active LIMIT 1", (cut.run,))
        rules.check_cut(cut, rev, epoch, active, heir[0] if heir is not None else None)
        query = "SELECT hash FROM events WHERE run = %s ORDER BY seq"
        hashes = [link for (link,) in each(connection, query, (cut.run,))]
        rules.check_entries(cut, hashes, head)
        values = (cut.run, document, packed_hashes(hashes))
        connection.execute("INSERT INTO kept (run, document, hashes) VALUES (%s, %s, %s)", values)
        for table in _GONE:
            connection.execute(f"DELETE FROM {table} WHERE run = %s".encode(), (cut.run,))  # noqa: S608
        connection.execute("UPDATE runs SET kept = %s, epoch = epoch + 1 WHERE run = %s", (float(cut.at), cut.run))
    return True
