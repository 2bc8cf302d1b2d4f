"""Tokens and the log about them in the PostgreSQL store. Each call is one transaction, which may be tried again: ids
are drawn by who calls, so what was written before is found and not written twice.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from orchestrator import token_port
from orchestrator.journal.postgresql.pool import Pool
from orchestrator.journal.postgresql.reading import each, one
from orchestrator.journal.postgresql.session import Connection
from orchestrator.journal.token_rows import NOTE, TOKEN, issued_token, note_of, note_values, token_values
from orchestrator.token_port import IssuedToken, Note, OwnerToken, Revocation, Session

_TOKEN: Final = ", ".join(TOKEN)
_ADDED: Final = ", ".join(TOKEN[:9])
_NOTE: Final = ", ".join(NOTE)


class PostgresTokens:
    """The ``TokenStorage`` that all controllers of the store have in common."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, token: IssuedToken, note: Note) -> None:
        await self._pool.do(partial(_add, token=token, note=note), key=("token", token.id))

    async def revoke(self, token_id: str, revocation: Revocation, note: Note) -> IssuedToken:
        work = partial(_revoke, token_id=token_id, revocation=revocation, note=note)
        return await self._pool.do(work, key=("token", token_id))

    async def tokens(self, limit: int = 1000) -> list[IssuedToken]:
        which = 'ORDER BY created DESC, id COLLATE "C" DESC LIMIT %s'
        return await self._pool.do(partial(_tokens, which=which, values=(max(limit, 0),)))

    async def find(self, sha256: str) -> IssuedToken | None:
        found = await self._pool.do(partial(_tokens, which="WHERE sha256 = %s", values=(sha256,)))
        return found[0] if found else None

    async def live(self, now: float) -> list[IssuedToken]:
        which = "WHERE revoked IS NULL AND (expires IS NULL OR expires > %s)"
        return await self._pool.do(partial(_tokens, which=which, values=(now,)))

    async def note(self, notes: Sequence[Note]) -> None:
        await self._pool.do(partial(_note_all, notes=notes), key="audit")

    async def notes(self, limit: int = 100, before: int | None = None) -> list[Note]:
        return await self._pool.do(partial(_notes, limit=limit, before=before))

    async def begin(self, session: Session, now: float) -> None:
        await self._pool.do(partial(_begin, session=session, now=now))

    async def session(self, sha256: str) -> Session | None:
        return await self._pool.do(partial(_session, sha256=sha256))

    async def end(self, sha256: str) -> None:
        await self._pool.do(partial(_end, sha256=sha256))

    async def lend(self, owner: OwnerToken) -> None:
        await self._pool.do(partial(_lend, owner=owner), key=("token", owner.controller))

    async def lent(self) -> list[OwnerToken]:
        return await self._pool.do(_lent)


def _add(connection: Connection, token: IssuedToken, note: Note) -> None:
    values = token_values(token)
    places = ", ".join(["%s"] * len(values))
    with connection.transaction():
        connection.execute(
            f"INSERT INTO tokens ({_ADDED}) VALUES ({places}) ON CONFLICT DO NOTHING".encode(),  # noqa: S608
            values,
        )
        if _tokens(connection, "WHERE id = %s", (token.id,)) != [token]:
            raise token_port.taken(token)
        write_note(connection, note)


def _revoke(connection: Connection, token_id: str, revocation: Revocation, note: Note) -> IssuedToken:
    values = (revocation.at, revocation.by, revocation.reason, token_id)
    with connection.transaction():
        connection.execute(
            "UPDATE tokens SET revoked = %s, revoked_by = %s, revoked_reason = %s WHERE id = %s AND revoked IS NULL",
            values,
        )
        found = _tokens(connection, "WHERE id = %s", (token_id,))
        if not found:
            raise token_port.no_token(token_id)
        if found[0].revoked != revocation:
            raise token_port.revoked_before(found[0])
        write_note(connection, note)
    return found[0]


def _tokens(connection: Connection, which: str, values: tuple[Any, ...]) -> list[IssuedToken]:
    return [issued_token(found) for found in each(connection, f"SELECT {_TOKEN} FROM tokens {which}", values)]  # noqa: S608


def write_note(connection: Connection, note: Note) -> None:
    values = note_values(note)
    places = ", ".join(["%s"] * len(values))
    connection.execute(
        f"INSERT INTO audit ({_NOTE}) VALUES ({places}) ON CONFLICT (id) DO NOTHING".encode(),  # noqa: S608
        values,
    )


def _note_all(connection: Connection, notes: Sequence[Note]) -> None:
    with connection.transaction():
        for note in notes:
            write_note(connection, note)
        query = "SELECT seq FROM audit WHERE refusal ORDER BY seq DESC LIMIT 1 OFFSET %s"
        oldest = one(connection, query, (token_port.MOST_REFUSALS,))
        if oldest is not None:
            connection.execute("DELETE FROM audit WHERE refusal AND seq <= %s", oldest)


def _notes(connection: Connection, limit: int, before: int | None) -> list[Note]:
    query = (
        "SELECT seq, id, at, what, by_whom, detail FROM audit "
        "WHERE %(before)s::bigint IS NULL OR seq < %(before)s ORDER BY seq DESC LIMIT %(limit)s"
    )
    return [note_of(found) for found in each(connection, query, {"before": before, "limit": max(limit, 0)})]


def _lend(connection: Connection, owner: OwnerToken) -> None:
    with connection.transaction():
        connection.execute(
            "DELETE FROM owner_tokens WHERE controller = %s OR NOT EXISTS "
            "(SELECT FROM controllers WHERE name = controller)",
            (owner.controller,),
        )
        connection.execute(
            "INSERT INTO owner_tokens (controller, person, role, sha256) VALUES (%s, %s, %s, %s)",
            (owner.controller, owner.person, owner.role, owner.sha256),
        )


def _lent(connection: Connection) -> list[OwnerToken]:
    query = (
        "SELECT controller, person, role, sha256 FROM owner_tokens JOIN controllers ON name = controller "
        "WHERE lease_until > clock_timestamp()"
    )
    return [OwnerToken(*found) for found in each(connection, query)]


def _begin(connection: Connection, session: Session, now: float) -> None:
    with connection.transaction():
        connection.execute(
            "INSERT INTO sessions (sha256, identity, expires) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (session.sha256, session.identity, session.expires),
        )
        connection.execute(
            "DELETE FROM sessions WHERE expires <= %s OR sha256 IN "
            "(SELECT sha256 FROM sessions ORDER BY expires DESC, sha256 OFFSET %s)",
            (now, token_port.MOST_SESSIONS),
        )


def _session(connection: Connection, sha256: str) -> Session | None:
    found = one(connection, "SELECT sha256, identity, expires FROM sessions WHERE sha256 = %s", (sha256,))
    return None if found is None else Session(*found)


def _end(connection: Connection, sha256: str) -> None:
    connection.execute("DELETE FROM sessions WHERE sha256 = %s", (sha256,))
