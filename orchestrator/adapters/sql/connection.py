"""Connections to PostgreSQL, and its errors in our words."""

import contextlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from orchestrator.adapters.sql.job import APPLIED_BY_OTHERS, Job, Stop
from orchestrator.errors import Permanent, RolloutError, Temporary

Connection = psycopg.Connection[tuple[Any, ...]]

CONNECT_SECONDS = 10
IDLE_SECONDS = 15
LONGEST_NAME = 63  # of a session, in bytes; the server cuts what is longer
TRANSIENT_CLASSES = ("08", "53", "57", "58")  # connection, resources, operator's intervention, system
_LOCKED = ("40001", "40P01", "55P03")  # serialization, deadlock, lock not available
_CANCELLED = "57014"
_ENDS_A_TRANSACTION = ("25001", "2D000")
_EXISTS = ("42P04", "42P06", "42P07", "42701", "42710", "42723")  # database, schema, table, column, object, function
# a server (14 and later, on Linux) then ends a long statement whose controller was killed, and gives its locks back;
# and a session that a frozen controller leaves idle
_WHEN_WE_ARE_GONE = (
    "SELECT set_config(name, CASE name WHEN 'idle_session_timeout' THEN '15s' ELSE '2s' END, false) FROM pg_settings"
    " WHERE (name = 'client_connection_check_interval' AND version() LIKE '%linux%') OR name = 'idle_session_timeout'"
)

# a session that holds a lock while somebody else works is idle, which a server may have a limit for
MAY_BE_IDLE = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"

# what was said to be done must not be forgotten by a server that falls over
_DURABLY = (
    "SELECT set_config('synchronous_commit', 'on', false) FROM pg_settings"
    " WHERE name = 'synchronous_commit' AND setting = 'off'"
)


class LockBusy(Temporary):
    """Somebody else holds a lock that is needed."""


class Lost(Temporary):
    """The connection broke."""


@contextmanager
def connected(url: str, stop: Stop, name: str = "rollout") -> Iterator[Connection]:
    """A connection in autocommit mode, cancelled by *stop*; the database's errors become ours."""
    connection = connect(url, name)
    stop.arm(lambda: cancel(connection))
    try:
        yield connection
    except psycopg.Error as error:
        raise explain(error, "the database said") from error
    finally:
        stop.arm(None)


@contextmanager
def migrating(url: str, job: Job, stop: Stop) -> Iterator[Connection]:
    """As ``connected``, for a file: named after its run and effect, and ended by the server when we are gone."""
    name = f"rollout {job.run} {job.effect}".encode()[:LONGEST_NAME].decode("ascii", "replace").replace("\ufffd", "?")
    with connected(url, stop, name) as connection, contextlib.closing(connection):
        connection.execute(_WHEN_WE_ARE_GONE)
        connection.execute(_DURABLY)
        yield connection


def connect(url: str, name: str) -> Connection:
    try:
        return psycopg.connect(
            re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url),
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            application_name=name,
            prepare_threshold=None,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=30000,
        )
    except psycopg.ProgrammingError:
        # the driver's message repeats parts of the address, which may be secret
        raise Permanent(
            "the database's address can't be read; postgresql://USER:PASSWORD@HOST:PORT/NAME is expected"
        ) from None
    except psycopg.Error as error:
        told = words(error)
        if "authentication failed" in told or "no password supplied" in told:
            raise Temporary(f"the database refuses the credentials ({told}); put user and password right") from error
        raise Temporary(f"the database can't be reached: {told}") from error


def cancel(connection: Connection) -> None:
    with contextlib.suppress(psycopg.Error):
        connection.cancel_safe(timeout=5.0)


def set_limit(connection: Connection, name: str, seconds: float, *, session: bool = False) -> None:
    """For the transaction, or for the whole *session*; 0 is no limit."""
    text = f"{max(round(seconds * 1000), 1) if seconds else 0}ms"
    connection.execute("SELECT set_config(%s, %s, %s)", (name, text, not session))


def one(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Any:
    row = cursor.fetchone()
    return row[0] if row else None


def explain(
    error: psycopg.Error, where: str, job: Job | None = None, kept: str = "nothing was changed"
) -> RolloutError:
    """*kept* says what of the file is in the database nevertheless."""
    state = error.sqlstate or ""
    told = words(error)
    if state == _CANCELLED:
        limit = f" ({job.operation.statement_timeout_seconds:g} s)" if job else ""
        return Permanent(f"{where}: {told}; if it needs longer, raise statement_timeout{limit}")
    if state in _LOCKED:
        return LockBusy(f"{where}: {told}; somebody else holds it, and {kept}")
    if state == "53100":
        return Temporary(f"{where}: {told}; {kept}; make room on the database's disk")
    if state[:2] in TRANSIENT_CLASSES:
        return _transient(error, f"{where}: {told}; {kept}")
    if not state and isinstance(error, psycopg.OperationalError):
        return Lost(f"{where}: the connection was lost before the commit, so {kept} ({told})")
    if state in _ENDS_A_TRANSACTION:
        return Permanent(
            f"{where}: {told}; what ends transactions itself is not for a SQL file: "
            "run it with psql in a command action that has a probe"
        )
    if state in _EXISTS and job is not None and job.operation.direction == "up":
        return Permanent(f"{where}: {told}; {APPLIED_BY_OTHERS}")
    return Permanent(f"{where}: {told}")


def _transient(error: psycopg.Error, sentence: str) -> Temporary:
    lost = error.sqlstate in ("57P01", "57P02", "57P03", "57P05") or (error.sqlstate or "").startswith("08")
    return Lost(sentence) if lost else Temporary(sentence)


def words(error: psycopg.Error) -> str:
    """The server's message with its detail and hint, or the driver's, on one line."""
    told = error.diag.message_primary
    parts = [told, error.diag.message_detail, error.diag.message_hint] if told else [str(error)]
    return "; ".join(" ".join(part.split()) for part in parts if part)
