"""What PostgreSQL's catalogue says of a statement that was begun outside of a transaction and not seen to its end."""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from psycopg import sql

from orchestrator.adapters.sql.alone import Alone, Kind
from orchestrator.adapters.sql.connection import Connection, one
from orchestrator.errors import Temporary

Query = sql.SQL | sql.Composed
_LAST = "(parse_ident(%s))[array_length(parse_ident(%s), 1)]::name"


class Verdict(StrEnum):
    DONE = "done"
    AGAIN = "again"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """*repair* is to be run before the statement is run again, or *instead* in its place; *left* names what is there
    in the meantime.
    """

    verdict: Verdict
    repair: tuple[Query, ...] = ()
    instead: Query | None = None
    left: str = ""


DONE, AGAIN = Answer(Verdict.DONE), Answer(Verdict.AGAIN)


def ask(connection: Connection, alone: Alone) -> Answer:
    """Raises ``Temporary`` if somebody else is at work on the same thing."""
    match alone.kind:
        case Kind.CREATE_INDEX:
            return _created_index(connection, alone)
        case Kind.DROP_INDEX:
            return AGAIN if _exists(connection, "SELECT to_regclass(%s)", alone.name) else DONE
        case Kind.REINDEX:
            return _reindexed(connection, alone)
        case Kind.DETACH:
            return _detached(connection, alone)
        case Kind.CREATE_OBJECT:
            return DONE if _is_object(connection, alone) else AGAIN
        case Kind.DROP_OBJECT:
            return AGAIN if _is_object(connection, alone) else DONE
        case Kind.REPEATABLE:
            return AGAIN
        case Kind.OTHER:
            return Answer(Verdict.UNKNOWN)
        case _:
            assert_never(alone.kind)


def _exists(connection: Connection, query: str, name: str) -> bool:
    return one(connection.execute(query.encode(), (name,))) is not None


def _created_index(connection: Connection, alone: Alone) -> Answer:
    """An index of this name, of the same table: built, half built (an index is valid only in the end), or not there."""
    query = (
        "SELECT n.nspname, c.relname, i.indisvalid, i.indexrelid"  # noqa: S608 -- a constant
        " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE i.indrelid = to_regclass(%s) AND c.relname = {_LAST}"
    )
    row = connection.execute(query.encode(), (alone.table, alone.name, alone.name)).fetchone()
    if row is None:
        return AGAIN
    schema, name, is_valid, oid = row
    if is_valid:
        return DONE
    _refuse_if_being_built(connection, oid, str(name))
    return Answer(Verdict.AGAIN, (_drop(schema, name),), left=f"the half-built index {name}")


def _refuse_if_being_built(connection: Connection, oid: int, name: str) -> None:
    query = b"SELECT pid FROM pg_stat_progress_create_index WHERE index_relid = %s AND pid <> pg_backend_pid()"
    pid = one(connection.execute(query, (oid,)))
    if pid is not None:
        raise Temporary(f"the index {name} is being built by somebody else (session {pid}); it is waited for")


def _reindexed(connection: Connection, alone: Alone) -> Answer:
    """Doing it again is right; copies that the first try left (``_ccnew``, ``_ccold``) are dropped before."""
    if alone.scope not in ("INDEX", "TABLE"):
        return AGAIN
    query = (
        "SELECT n.nspname, c.relname, i.indexrelid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'"
        " AND i.indrelid ="
        " COALESCE((SELECT indrelid FROM pg_index WHERE indexrelid = to_regclass(%s)), to_regclass(%s))"
    )
    rows = connection.execute(query.encode(), (alone.name, alone.name)).fetchall()
    for _, name, oid in rows:
        _refuse_if_being_built(connection, oid, str(name))
    left = ", ".join(str(name) for _, name, _ in rows)
    return Answer(Verdict.AGAIN, tuple(_drop(schema, name) for schema, name, _ in rows), left=left)


def _drop(schema: str, name: str) -> sql.Composed:
    return sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(schema, name))


def _detached(connection: Connection, alone: Alone) -> Answer:
    """Detaching is two transactions; after the first it is pending, and has to be brought to its end."""
    row = connection.execute(
        b"SELECT i.inhdetachpending, t.nspname, p.relname, u.nspname, c.relname FROM pg_inherits i"
        b" JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace t ON t.oid = p.relnamespace"
        b" JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace u ON u.oid = c.relnamespace"
        b" WHERE i.inhparent = to_regclass(%s) AND i.inhrelid = to_regclass(%s)",
        (alone.table, alone.name),
    ).fetchone()
    if row is None:
        return DONE
    if not row[0]:
        return AGAIN
    instead = sql.SQL("ALTER TABLE {} DETACH PARTITION {} FINALIZE").format(
        sql.Identifier(row[1], row[2]), sql.Identifier(row[3], row[4])
    )
    return Answer(Verdict.AGAIN, instead=instead, left=f"the partition {row[4]}, half detached")


_OBJECTS = {
    "DATABASE": "SELECT 1 FROM pg_database WHERE datname = ",
    "TABLESPACE": "SELECT 1 FROM pg_tablespace WHERE spcname = ",
    "SUBSCRIPTION": (
        "SELECT 1 FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND subname = "
    ),
}


def _is_object(connection: Connection, alone: Alone) -> bool:
    query = _OBJECTS[alone.scope] + _LAST
    return one(connection.execute(query.encode(), (alone.name, alone.name))) is not None
