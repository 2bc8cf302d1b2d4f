"""Tokens and the log about them in the SQLite store: each call a savepoint of the writer's transaction."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import apsw

from orchestrator import token_port
from orchestrator.journal.sqlite.lanes import Lane
from orchestrator.journal.token_rows import NOTE, TOKEN, issued_token, note_of, note_values, token_values
from orchestrator.token_port import IssuedToken, Note, OwnerToken, Revocation, Session

_TOKEN: Final = ", ".join(TOKEN)
_ADDED: Final = ", ".join(TOKEN[:9])
_NOTE: Final = ", ".join(NOTE)


class SqliteTokens:
    """The ``TokenStorage`` of the one controller that has the store. *read* makes a call on the reading connection."""

    def __init__(self, writes: Lane, writer: apsw.Connection, reads: Lane, reader: apsw.Connection) -> None:
        self._writes, self._writer = writes, writer
        self._reads, self._reader = reads, reader

    async def add(self, token: IssuedToken, note: Note) -> None:
        await self._writes.do(partial(_add, self._writer, token, note))

    async def revoke(self, token_id: str, revocation: Revocation, note: Note) -> IssuedToken:
        return await self._writes.do(partial(_revoke, self._writer, token_id, revocation, note))

    async def tokens(self, limit: int = 1000) -> list[IssuedToken]:
        return await self._read(_tokens, "ORDER BY created DESC, id DESC LIMIT ?", (max(limit, 0),))

    async def find(self, sha256: str) -> IssuedToken | None:
        found = await self._read(_tokens, "WHERE sha256 = ?", (sha256,))
        return found[0] if found else None

    async def live(self, now: float) -> list[IssuedToken]:
        return await self._read(_tokens, "WHERE revoked IS NULL AND (expires IS NULL OR expires > ?)", (now,))

    async def note(self, notes: Sequence[Note]) -> None:
        await self._writes.do(partial(_note_all, self._writer, notes))

    async def notes(self, limit: int = 100, before: int | None = None) -> list[Note]:
        return await self._read(_notes, limit, before)

    async def begin(self, session: Session, now: float) -> None:
        await self._writes.do(partial(_begin, self._writer, session, now))

    async def session(self, sha256: str) -> Session | None:
        found = await self._read(_sessions, sha256)
        return found[0] if found else None

    async def end(self, sha256: str) -> None:
        await self._writes.do(partial(_end, self._writer, sha256))

    async def lend(self, owner: OwnerToken) -> None:
        """Nobody else has this store."""

    async def lent(self) -> list[OwnerToken]:
        return []

    async def _read(self, look: Callable[..., list[Any]], *values: object) -> list[Any]:
        return await self._reads.do(partial(look, self._reader, *values))


def _add(connection: apsw.Connection, token: IssuedToken, note: Note) -> None:
    values = token_values(token)
    places = ",".join("?" * len(values))
    connection.execute(f"INSERT INTO tokens ({_ADDED}) VALUES ({places}) ON CONFLICT DO NOTHING", values)  # noqa: S608
    if _tokens(connection, "WHERE id = ?", (token.id,)) != [token]:
        raise token_port.taken(token)
    write_note(connection, note)


def _revoke(connection: apsw.Connection, token_id: str, revocation: Revocation, note: Note) -> IssuedToken:
    values = (revocation.at, revocation.by, revocation.reason, token_id)
    connection.execute(
        "UPDATE tokens SET revoked = ?, revoked_by = ?, revoked_reason = ? WHERE id = ? AND revoked IS NULL", values
    )
    found = _tokens(connection, "WHERE id = ?", (token_id,))
    if not found:
        raise token_port.no_token(token_id)
    if found[0].revoked != revocation:
        raise token_port.revoked_before(found[0])
    write_note(connection, note)
    return found[0]


def _tokens(connection: apsw.Connection, which: str, values: tuple[Any, ...]) -> list[IssuedToken]:
    return [issued_token(found) for found in connection.execute(f"SELECT {_TOKEN} FROM tokens {which}", values)]  # noqa: S608


def write_note(connection: apsw.Connection, note: Note) -> None:
    values = note_values(note)
    places = ",".join("?" * len(values))
    connection.execute(f"INSERT INTO audit ({_NOTE}) VALUES ({places}) ON CONFLICT DO NOTHING", values)  # noqa: S608


def _note_all(connection: apsw.Connection, notes: Sequence[Note]) -> None:
    for note in notes:
        write_note(connection, note)
    connection.execute(
        "DELETE FROM audit WHERE refusal AND seq <= "
        "(SELECT seq FROM audit WHERE refusal ORDER BY seq DESC LIMIT 1 OFFSET ?)",
        (token_port.MOST_REFUSALS,),
    )


def _notes(connection: apsw.Connection, limit: int, before: int | None) -> list[Note]:
    query = (
        "SELECT seq, id, at, what, by_whom, detail FROM audit WHERE ?1 IS NULL OR seq < ?1 ORDER BY seq DESC LIMIT ?2"
    )
    return [note_of(found) for found in connection.execute(query, (before, max(limit, 0)))]


def _begin(connection: apsw.Connection, session: Session, now: float) -> None:
    values = (session.sha256, session.identity, session.expires)
    connection.execute("INSERT OR REPLACE INTO sessions (sha256, identity, expires) VALUES (?, ?, ?)", values)
    connection.execute(
        "DELETE FROM sessions WHERE expires <= ? OR sha256 IN "
        "(SELECT sha256 FROM sessions ORDER BY expires DESC, sha256 LIMIT -1 OFFSET ?)",
        (now, token_port.MOST_SESSIONS),
    )


def _sessions(connection: apsw.Connection, sha256: str) -> list[Session]:
    query = "SELECT sha256, identity, expires FROM sessions WHERE sha256 = ?"
    return [Session(*found) for found in connection.execute(query, (sha256,))]


def _end(connection: apsw.Connection, sha256: str) -> None:
    connection.execute("DELETE FROM sessions WHERE sha256 = ?", (sha256,))
