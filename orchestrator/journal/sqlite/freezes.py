"""Freezes in the SQLite store."""

from functools import partial
from typing import Final

import apsw

from orchestrator.core.freeze import Freeze
from orchestrator.journal.freeze_rows import FREEZE, freeze_of, freeze_values
from orchestrator.journal.sqlite.lanes import Lane
from orchestrator.journal.sqlite.tokens import write_note
from orchestrator.token_port import Note

_FREEZE: Final = ", ".join(FREEZE)


class SqliteFreezes:
    """The ``Freezes`` of whoever reads the store."""

    def __init__(self, reads: Lane, reader: apsw.Connection) -> None:
        self._reads, self._reader = reads, reader

    async def newest(self) -> list[Freeze]:
        return await self._reads.do(partial(_newest, self._reader))


class SqliteFreezeStorage(SqliteFreezes):
    """The ``FreezeStorage`` of the one controller that has the store."""

    def __init__(self, reads: Lane, reader: apsw.Connection, writes: Lane, writer: apsw.Connection) -> None:
        super().__init__(reads, reader)
        self._writes, self._writer = writes, writer

    async def put(self, freeze: Freeze, before: int | None, note: Note) -> bool:
        return await self._writes.do(partial(_put, self._writer, freeze, before, note))


def _newest(connection: apsw.Connection) -> list[Freeze]:
    query = f"SELECT {_FREEZE} FROM freezes ORDER BY environment"  # noqa: S608
    return [freeze_of(found) for found in connection.execute(query)]


def _put(connection: apsw.Connection, freeze: Freeze, before: int | None, note: Note) -> bool:
    query = f"SELECT {_FREEZE} FROM freezes WHERE environment = ?"  # noqa: S608
    row = connection.execute(query, (freeze.environment,)).fetchone()
    known = freeze_of(row) if row is not None else None
    if known != freeze and (known.revision if known is not None else None) != before:
        return False
    places = ",".join("?" * len(FREEZE))
    connection.execute(f"INSERT OR REPLACE INTO freezes ({_FREEZE}) VALUES ({places})", freeze_values(freeze))  # noqa: S608
    write_note(connection, note)
    return True
