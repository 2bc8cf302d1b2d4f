"""Freezes in the PostgreSQL store. Who puts one holds its row, or finds that another was quicker."""

from functools import partial
from typing import Final

from orchestrator.core.freeze import Freeze
from orchestrator.journal.freeze_rows import FREEZE, freeze_of, freeze_values
from orchestrator.journal.postgresql.pool import Pool
from orchestrator.journal.postgresql.reading import each, one
from orchestrator.journal.postgresql.session import Connection
from orchestrator.journal.postgresql.tokens import write_note
from orchestrator.token_port import Note

_FREEZE: Final = ", ".join(FREEZE)
_PLACES: Final = ", ".join(["%s"] * len(FREEZE))
_CHANGED: Final = ", ".join(f"{name} = excluded.{name}" for name in FREEZE[1:])
_OF_PLACE: Final = f"SELECT {_FREEZE} FROM freezes WHERE environment = %s FOR UPDATE"  # noqa: S608
_PUT: Final = (
    f"INSERT INTO freezes ({_FREEZE}) VALUES ({_PLACES}) ON CONFLICT (environment) DO UPDATE SET {_CHANGED} "  # noqa: S608
    "WHERE freezes.revision = %s RETURNING revision"
)


class PostgresFreezes:
    """The ``Freezes`` of whoever reads the store."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def newest(self) -> list[Freeze]:
        return await self._pool.do(_newest)


class PostgresFreezeStorage(PostgresFreezes):
    """The ``FreezeStorage`` that all controllers of the store have in common."""

    async def put(self, freeze: Freeze, before: int | None, note: Note) -> bool:
        work = partial(_put, freeze=freeze, before=before, note=note)
        return await self._pool.do(work, key=("freeze", freeze.environment))


def _newest(connection: Connection) -> list[Freeze]:
    query = f'SELECT {_FREEZE} FROM freezes ORDER BY environment COLLATE "C"'  # noqa: S608
    return [freeze_of(found) for found in each(connection, query)]


def _put(connection: Connection, freeze: Freeze, before: int | None, note: Note) -> bool:
    with connection.transaction():
        stood = one(connection, _OF_PLACE, (freeze.environment,))
        if stood is not None and freeze_of(stood) == freeze:
            return True  # tried again, its answer being lost
        if stood is None and before is not None:
            return False
        if one(connection, _PUT, (*freeze_values(freeze), before)) is None:
            return False
        write_note(connection, note)
    return True
