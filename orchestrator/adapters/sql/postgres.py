"""SQL files on PostgreSQL: DDL and bookkeeping in one transaction.

Theory of operation. A transaction takes an advisory lock (one migrator at a time in a database; polled, never waited
for in the server), looks at the file's row, runs the statements one by one, writes or deletes the row, and commits. So
the row says whether the file's changes are there, whatever became of us. A connection lost before the commit means that
nothing was changed. One lost during the commit is settled by looking at the row under the same lock: whoever gets it
knows that the lost transaction is over.

Limits are set inside the transaction: time to wait for a lock, so that DDL never queues the traffic behind it; time for
a statement; and time to be idle, so that a frozen controller's locks do not outlive it.
"""

import contextlib
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from orchestrator.adapters.sql.job import TABLE, Job, Stop, Uncertain
from orchestrator.adapters.sql.text import Dialect, Statement, alone_sentence
from orchestrator.errors import Permanent, RolloutError, Temporary

Connection = psycopg.Connection[tuple[Any, ...]]

ADVISORY_KEY = int.from_bytes(b"rollout", "big")
CONNECT_SECONDS = 10
IDLE_SECONDS = 15
POLL_SECONDS = 0.2
SETTLE_TRIES = 5
# a server (14 and later, on Linux) then ends a long statement whose controller was killed, and gives its locks back
_NOTICE_THAT_WE_ARE_GONE = (
    "SELECT set_config(name, '2s', true) FROM pg_settings"
    " WHERE name = 'client_connection_check_interval' AND version() LIKE '%linux%'"
)
_TRANSIENT_CLASSES = ("08", "53", "57", "58")  # connection, resources, operator's intervention, system
_TRANSIENT = ("40001", "40P01", "55P03")  # serialization, deadlock, lock not available
_CANCELLED = "57014"
_IN_TRANSACTION = "25001"


def run(url: str, job: Job, stop: Stop) -> str:
    """Run the job's file, or find that it needs no running; returns what happened, in a sentence.

    Raises ``Temporary`` (nothing was changed), ``Permanent`` (likewise) or ``Uncertain``.
    """
    statements = job.statements(Dialect.POSTGRESQL)
    with _connected(url, stop) as connection, contextlib.closing(connection):
        _begin(connection, job, stop)
        table = _table(connection)
        settled = job.settled(_row(connection, table, job.name))
        if settled is not None:
            return settled
        for statement in statements:
            _execute(connection, statement, job, stop)
        _note(connection, table, job)
        stop.arm(None)  # a commit is not cancelled: its outcome would be unknown
        if _commit(connection, job):
            return f"{job.file} ran"
    return _settle(url, job, stop)


def look(url: str, name: str, stop: Stop) -> str | None:
    """The checksum with which *name* is noted as applied."""
    with _connected(url, stop) as connection, contextlib.closing(connection), _reading(CONNECT_SECONDS, connection):
        return _row(connection, _table(connection), name)


def fetch(url: str, query: str, timeout_seconds: float, limit: int, stop: Stop) -> list[tuple[Any, ...]]:
    """At most *limit* rows of one statement that only reads."""
    with _connected(url, stop) as connection, contextlib.closing(connection), _reading(timeout_seconds, connection):
        # streamed, so that no large answer is held; closing the connection ends the rest of it
        return list(itertools.islice(connection.cursor().stream(query.encode()), limit))


@contextmanager
def _connected(url: str, stop: Stop) -> Iterator[Connection]:
    """A connection in autocommit mode, cancelled by *stop*; the database's errors become ours."""
    try:
        connection = psycopg.connect(
            re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url),
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            application_name="rollout",
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
        raise Temporary(f"the database can't be reached: {_words(error)}") from error
    stop.arm(lambda: _cancel(connection))
    try:
        yield connection
    except psycopg.Error as error:
        raise _explain(error, "the database said") from error
    finally:
        stop.arm(None)


def _cancel(connection: Connection) -> None:
    with contextlib.suppress(psycopg.Error):
        connection.cancel_safe(timeout=5.0)


@contextmanager
def _reading(timeout_seconds: float, connection: Connection) -> Iterator[None]:
    connection.execute("BEGIN TRANSACTION READ ONLY")
    _limit(connection, "statement_timeout", timeout_seconds)
    yield


def _begin(connection: Connection, job: Job, stop: Stop) -> None:
    """A transaction that holds the lock of migrators."""
    operation = job.operation
    for _ in range(max(int(operation.lock_timeout_seconds / POLL_SECONDS), 1)):
        connection.execute("BEGIN")
        _limit(connection, "lock_timeout", operation.lock_timeout_seconds)
        _limit(connection, "statement_timeout", operation.statement_timeout_seconds)
        _limit(connection, "idle_in_transaction_session_timeout", IDLE_SECONDS)
        connection.execute(_NOTICE_THAT_WE_ARE_GONE)
        if _one(connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (ADVISORY_KEY,))):
            return
        connection.execute("ROLLBACK")
        if stop.wait(POLL_SECONDS):
            break
    raise Temporary(f"{job.file} waits for another migration that runs in this database; nothing was changed")


def _limit(connection: Connection, name: str, seconds: float) -> None:
    connection.execute("SELECT set_config(%s, %s, true)", (name, f"{max(round(seconds * 1000), 1)}ms"))


def _one(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Any:
    row = cursor.fetchone()
    return row[0] if row else None


def _table(connection: Connection) -> sql.Identifier:
    """Named with its schema: a file may set another search path."""
    schema = _one(connection.execute("SELECT current_schema()"))
    if schema is None:
        raise Permanent(f"the database user's search_path names no schema that exists, so {TABLE} has no place")
    return sql.Identifier(schema, TABLE)


def _row(connection: Connection, table: sql.Identifier, name: str) -> str | None:
    exists = _one(connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table.as_string(connection),)))
    if not exists:
        return None
    query = sql.SQL("SELECT checksum FROM {} WHERE name = %s").format(table)
    found = _one(connection.execute(query, (name,)))
    return None if found is None else str(found)


def _note(connection: Connection, table: sql.Identifier, job: Job) -> None:
    connection.execute("RESET ROLE")
    if job.operation.direction == "down":
        connection.execute(sql.SQL("DELETE FROM {} WHERE name = %s").format(table), (job.name,))
        return
    columns = sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (name text PRIMARY KEY, checksum text NOT NULL, effect text NOT NULL,"
        " run text NOT NULL, applied_at timestamptz NOT NULL)"
    )
    if _one(connection.execute("SELECT to_regclass(%s) IS NULL", (table.as_string(connection),))):
        connection.execute(columns.format(table))
    connection.execute(
        sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, %s, now())").format(table),
        (job.name, job.operation.checksum, job.effect, job.run),
    )


def _execute(connection: Connection, statement: Statement, job: Job, stop: Stop) -> None:
    if stop.asked:
        raise Temporary(f"{job.file} was stopped; nothing was changed")
    try:
        connection.execute(statement.text.encode())
    except psycopg.Error as error:
        position = error.diag.statement_position
        line = statement.line_at(int(position) - 1) if position else statement.line
        raise _explain(error, f"{job.file}, line {line}", job) from error


def _commit(connection: Connection, job: Job) -> bool:
    """False if the connection was lost meanwhile."""
    try:
        answer = connection.execute("COMMIT").statusmessage
    except psycopg.Error as error:
        if error.sqlstate is None or error.sqlstate[:2] in _TRANSIENT_CLASSES:
            return False
        raise _explain(error, f"{job.file}, at its commit", job) from error
    if answer != "COMMIT":
        raise Permanent(f"{job.file} was rolled back by the database at its commit")
    return True


def _settle(url: str, job: Job, stop: Stop) -> str:
    """What became of a transaction whose commit was not answered."""
    problem = ""
    for _ in range(SETTLE_TRIES):
        try:
            with _connected(url, stop) as connection, contextlib.closing(connection):
                _begin(connection, job, stop)
                settled = job.settled(_row(connection, _table(connection), job.name))
        except Temporary as error:
            problem = str(error)
            if stop.wait(1.0):
                break
            continue
        if settled is None:
            raise Temporary(f"the connection was lost while {job.file} was committed, and it was rolled back")
        return f"{job.file} ran; the connection was lost while it was committed, and the database has it"
    raise Uncertain(
        f"the connection was lost while {job.file} was committed, and it can't be seen whether it was: {problem}"
    )


def _explain(error: psycopg.Error, where: str, job: Job | None = None) -> RolloutError:
    state = error.sqlstate or ""
    words = _words(error)
    if state == _CANCELLED:
        limit = f" ({job.operation.statement_timeout_seconds:g} s)" if job else ""
        return Permanent(f"{where}: {words}; if it needs longer, raise statement_timeout{limit}")
    if state == "55P03":
        return Temporary(f"{where}: {words}; somebody else holds it, and nothing was changed")
    if state in _TRANSIENT or state[:2] in _TRANSIENT_CLASSES:
        return Temporary(f"{where}: {words}; nothing was changed")
    if not state and isinstance(error, psycopg.OperationalError):
        return Temporary(f"{where}: the connection was lost before the commit, so nothing was changed ({words})")
    if state == _IN_TRANSACTION:
        return Permanent(f"{where}: {words}; {alone_sentence('it')}")
    return Permanent(f"{where}: {words}")


def _words(error: psycopg.Error) -> str:
    """The server's message with its detail and hint, or the driver's, on one line."""
    told = error.diag.message_primary
    parts = [told, error.diag.message_detail, error.diag.message_hint] if told else [str(error)]
    return "; ".join(" ".join(part.split()) for part in parts if part)
