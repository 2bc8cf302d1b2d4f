"""What a file in one transaction and a file in steps have in common: limits, patience with locks, one statement."""

import time
from collections.abc import Callable
from typing import TypeVar

import psycopg

from orchestrator.adapters.sql.connection import IDLE_SECONDS, Connection, LockBusy, Lost, explain, one, set_limit
from orchestrator.adapters.sql.job import Job, Stop
from orchestrator.adapters.sql.text import Statement
from orchestrator.errors import Permanent, Temporary

ADVISORY_KEY = int.from_bytes(b"rollout", "big")
POLL_SECONDS = 0.2
# who waits for a strong lock makes everybody behind it wait, so it is given up after this time, and asked for again
# after a pause in which the others get through
QUEUE_SECONDS = 0.4
FIRST_PAUSE_SECONDS = 0.2

T = TypeVar("T")


def queue_seconds(job: Job) -> float:
    return min(QUEUE_SECONDS, job.operation.lock_timeout_seconds)


def patiently(job: Job, stop: Stop, attempt: Callable[[], T]) -> T:
    """*attempt*, and again after a pause while a lock is not to be had, for the stage's ``lock_timeout`` in all."""
    deadline = time.monotonic() + job.operation.lock_timeout_seconds
    pause_seconds = FIRST_PAUSE_SECONDS
    while True:
        try:
            return attempt()
        except LockBusy:
            if time.monotonic() + pause_seconds >= deadline or stop.wait(pause_seconds):
                raise
        pause_seconds *= 2


def lock_migrators(
    connection: Connection, name: str, seconds: float, stop: Stop, function: str, again: Callable[[], None]
) -> None:
    """The lock of migrators by *function*, polled for so long and never waited for in the server; *again* runs between
    two tries. *name* is for sentences: who wants it.

    Raises ``Temporary`` if another one has it.
    """
    for _ in range(max(int(seconds / POLL_SECONDS), 1)):
        if one(connection.execute(f"SELECT {function}(%s)".encode(), (ADVISORY_KEY,))):
            return
        if stop.wait(POLL_SECONDS):
            break
        again()
    raise Temporary(f"{name} waits for another migration that runs in this database; nothing was changed")


def begin(connection: Connection, job: Job) -> None:
    connection.execute("BEGIN")
    set_limit(connection, "lock_timeout", queue_seconds(job))
    set_limit(connection, "statement_timeout", job.operation.statement_timeout_seconds)
    set_limit(connection, "idle_in_transaction_session_timeout", IDLE_SECONDS)


def execute(
    connection: Connection, statement: Statement, job: Job, stop: Stop, kept: str = "nothing was changed"
) -> None:
    """One statement in the transaction that is open; its errors name the place in the file."""
    if stop.asked:
        raise Temporary(f"{job.file} was stopped; {kept}")
    try:
        connection.execute(statement.text.encode())
    except psycopg.Error as error:
        raise explain(error, where(error, statement, job), job, kept) from error
    if statement.begins("SET") and "LOCK_TIMEOUT" in statement.words[1:3]:
        _shorten_lock_timeout(connection, queue_seconds(job))


def where(error: psycopg.Error, statement: Statement, job: Job) -> str:
    position = error.diag.statement_position
    return f"{job.file}, {statement.place_at(int(position) - 1 if position else None)}"


def _shorten_lock_timeout(connection: Connection, seconds: float) -> None:
    """A file may be more careful than its stage, not less."""
    longest = round(seconds * 1000)
    connection.execute(
        "SELECT set_config('lock_timeout', %s, true) FROM pg_settings"
        " WHERE name = 'lock_timeout' AND setting::bigint NOT BETWEEN 1 AND %s",
        (f"{longest}ms", longest),
    )


def commit(connection: Connection, job: Job) -> bool:
    """False if the connection was lost meanwhile."""
    try:
        answer = connection.execute("COMMIT").statusmessage
    except psycopg.Error as error:
        problem = explain(error, f"{job.file}, at its commit", job)
        if isinstance(problem, Lost):
            return False
        raise problem from error
    if answer != "COMMIT":
        raise Permanent(f"{job.file} was rolled back by the database at its commit")
    return True
