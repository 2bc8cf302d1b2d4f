"""SQL files on PostgreSQL: DDL and bookkeeping in one transaction.

Theory of operation. A transaction takes an advisory lock (one migrator at a time in a database; polled, never waited
for in the server), looks at the file's row, runs the statements one by one, writes or deletes the row, and commits. So
the row says whether the file's changes are there, whatever became of us. A connection lost before the commit means that
nothing was changed. One lost during the commit is settled by looking at the row under the same lock: whoever gets it
knows that the lost transaction is over.

Limits are set inside the transaction: time to stand in the queue for a lock, so that DDL never queues the traffic
behind it (given up, all is rolled back, and tried again after a pause); time for a statement; and time to be idle, so
that a frozen controller's locks do not outlive it. Files that hold what can't run in a transaction: see ``stepwise``.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from orchestrator.adapters.sql import stepwise
from orchestrator.adapters.sql.alone import Step, in_steps
from orchestrator.adapters.sql.connection import (
    CONNECT_SECONDS,
    MAY_BE_IDLE,
    Connection,
    connect,
    connected,
    explain,
    migrating,
    set_limit,
)
from orchestrator.adapters.sql.history import History
from orchestrator.adapters.sql.job import Job, Standing, Stop, Uncertain
from orchestrator.adapters.sql.text import Dialect, Statement
from orchestrator.adapters.sql.transaction import ADVISORY_KEY, begin, commit, execute, lock_migrators, patiently
from orchestrator.errors import Permanent, RolloutError, Temporary
from orchestrator.failpoints import Point, reach

__all__ = ["ADVISORY_KEY", "connected", "explain", "fetch", "look", "run", "set_limit"]

SETTLE_TRIES = 5


class _HalfWayError(Exception):
    """An earlier version of the file was run in steps, and not to its end."""


def run(url: str, job: Job, stop: Stop) -> str:
    """Run the job's file, or find that it needs no running; returns what happened, in a sentence.

    Raises ``Temporary`` (nothing was changed), ``Permanent`` (likewise, but for ``PartlyRun``) or ``Uncertain``.
    """
    statements = job.statements(Dialect.POSTGRESQL)
    steps = _steps(statements, job)
    if not steps:
        try:
            return _in_one(url, statements, job, stop)
        except _HalfWayError:
            steps = tuple(Step(statement, None) for statement in statements)
    return stepwise.run(url, job, steps, stop)


def _steps(statements: Sequence[Statement], job: Job) -> tuple[Step, ...]:
    try:
        return in_steps(statements)
    except Permanent as problem:
        raise Permanent(f"{job.file}, {problem}") from None


def _in_one(url: str, statements: Sequence[Statement], job: Job, stop: Stop) -> str:
    with migrating(url, job, stop) as connection:
        told = patiently(job, stop, lambda: _attempt(connection, statements, job, stop))
        if told is not None:
            return told
    return _settle(url, job, stop)


def _attempt(connection: Connection, statements: Sequence[Statement], job: Job, stop: Stop) -> str | None:
    """One transaction; None if the connection was lost while it was committed."""
    try:
        return _transaction(connection, statements, job, stop)
    except RolloutError:
        with contextlib.suppress(psycopg.Error):
            connection.execute("ROLLBACK")
        raise


def _transaction(connection: Connection, statements: Sequence[Statement], job: Job, stop: Stop) -> str | None:
    _begin(connection, job, stop)
    history = History.of(connection)
    settled = _settled(history, job)
    if settled is not None:
        return settled
    reach(Point.SQL_BEFORE)
    for statement in statements:
        execute(connection, statement, job, stop)
    reach(Point.SQL_RAN)
    history.note(job)
    reach(Point.SQL_NOTED)
    stop.arm(None)  # a commit is not cancelled: its outcome would be unknown
    if not commit(connection, job):
        return None
    reach(Point.SQL_COMMITTED)
    return f"{job.file} ran"


def _settled(history: History, job: Job) -> str | None:
    progress = history.progress(job.name)
    if progress is not None and progress.direction == job.operation.direction:
        raise _HalfWayError
    stepwise.refuse_half_way_back(progress, job)
    if progress is not None:
        return None  # what ran of the file is taken back
    settled = job.settled(history.checksum(job.name))
    if settled is None and job.is_up:
        job.check_order(history.in_order(job.neighbours))
    return settled


def _begin(connection: Connection, job: Job, stop: Stop) -> None:
    """A transaction that holds the lock of migrators."""

    def again() -> None:
        connection.execute("ROLLBACK")
        begin(connection, job)

    begin(connection, job)
    seconds = job.operation.lock_timeout_seconds
    lock_migrators(connection, job.file, seconds, stop, "pg_try_advisory_xact_lock", again)


def _settle(url: str, job: Job, stop: Stop) -> str:
    """What became of a transaction whose commit was not answered."""
    problem = ""
    for _ in range(SETTLE_TRIES):
        try:
            with migrating(url, job, stop) as connection:
                _begin(connection, job, stop)
                settled = job.settled(History.of(connection).checksum(job.name))
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


def hold_migrators(url: str, name: str, seconds: float, stop: Stop) -> Connection:
    """A session that holds the lock of migrators until it is closed. Raises as ``lock_migrators``."""
    connection = connect(url, "rollout migrators")
    try:
        connection.execute(MAY_BE_IDLE)
        lock_migrators(connection, name, seconds, stop, "pg_try_advisory_lock", lambda: None)
    except psycopg.Error as error:
        connection.close()
        raise explain(error, "the database said") from error
    except RolloutError:
        connection.close()
        raise
    return connection


def look(url: str, name: str, stop: Stop) -> Standing:
    with connected(url, stop) as connection, contextlib.closing(connection), _reading(CONNECT_SECONDS, connection):
        return History.of(connection).standing(name)


def fetch(url: str, query: str, timeout_seconds: float, limit: int, stop: Stop) -> list[tuple[Any, ...]]:
    """At most *limit* rows of one statement that only reads."""
    with connected(url, stop) as connection, contextlib.closing(connection), _reading(timeout_seconds, connection):
        # streamed, so that no large answer is held; closing the connection ends the rest of it
        return list(itertools.islice(connection.cursor().stream(query.encode()), limit))


@contextmanager
def _reading(timeout_seconds: float, connection: Connection) -> Iterator[None]:
    connection.execute("BEGIN TRANSACTION READ ONLY")
    set_limit(connection, "statement_timeout", timeout_seconds)
    yield
