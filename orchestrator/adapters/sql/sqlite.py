"""SQL files on SQLite: DDL and bookkeeping in one transaction, which the file's one writer at a time makes simple."""

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from orchestrator.adapters.sql.job import APPLIED_BY_OTHERS, TABLE, Job, Standing, Stop
from orchestrator.adapters.sql.text import Dialect, Statement, split
from orchestrator.allowance import ONE_FILE
from orchestrator.errors import Permanent, RolloutError, Temporary
from orchestrator.failpoints import Point, reach

PREFIX = "sqlite:///"
BUSY_SECONDS = 2.0
_NAMING_FOLDERS = ("temp_store_directory", "data_store_directory")
_STEPS_BETWEEN_LOOKS = 2000  # of SQLite's machine: well under a millisecond
_TRANSIENT = (apsw.BusyError, apsw.LockedError, apsw.FullError, apsw.IOError, apsw.CantOpenError)
_COLUMNS = (
    "name TEXT PRIMARY KEY, checksum TEXT NOT NULL, effect TEXT NOT NULL, run TEXT NOT NULL, applied_at TEXT NOT NULL"
)


def path_of(url: str, directory: str | None) -> Path:
    """``sqlite:///FILE`` is relative to the plan's *directory*, ``sqlite:////FILE`` absolute."""
    name = url.removeprefix(PREFIX).partition("?")[0]
    if not url.startswith(PREFIX) or not name or name == ":memory:":
        raise Permanent("a SQLite database is given as sqlite:///FILE, relative to the plan, or sqlite:////FILE")
    path = Path(name)
    if path.is_absolute():
        return path
    if directory is None:
        raise Permanent(f"{url} is relative to the plan, whose folder is not known here; use sqlite:////FILE")
    return Path(directory) / path


def run(path: Path, job: Job, stop: Stop) -> str:
    """As the function of the same name for PostgreSQL. A database file that is not there is created."""
    statements = job.statements(Dialect.SQLITE)
    alone = _runs_alone(statements, job)
    if not path.parent.is_dir():
        raise Permanent(f"the database {path} can't be created: its folder is not there")
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    with opened(path, flags, job.operation.lock_timeout_seconds) as connection:
        _all(connection, "BEGIN IMMEDIATE")
        settled = job.settled(_row(connection, job.name))
        if settled is not None:
            return settled
        if job.is_up:
            job.check_order(_in_order(connection, job.neighbours))
        if alone:
            _all(connection, "ROLLBACK")
        reach(Point.SQL_BEFORE)
        for statement in statements:
            _execute(connection, statement, job, stop, in_transaction=not alone)
        reach(Point.SQL_RAN)
        if alone:
            _all(connection, "BEGIN IMMEDIATE")
        _note(connection, job)
        reach(Point.SQL_NOTED)
        _all(connection, "COMMIT")
        reach(Point.SQL_COMMITTED)
    return f"{job.file} ran"


def _runs_alone(statements: Sequence[Statement], job: Job) -> bool:
    """Whether the file is of statements that can't run in a transaction; each may be run twice at no harm."""
    alone = [one for one in statements if one.begins("VACUUM") or _is_journal_mode(one)]
    if alone and len(alone) < len(statements):
        words = "VACUUM" if alone[0].begins("VACUUM") else "PRAGMA journal_mode"
        raise Permanent(
            f"{job.file}, line {alone[0].line}: {words} cannot run inside a transaction, and the rest of the file runs "
            "in one; put it into a file of its own"
        )
    return bool(alone)


def _is_journal_mode(statement: Statement) -> bool:
    return statement.begins("PRAGMA") and "JOURNAL_MODE" in statement.words[1:3]


def _in_order(connection: apsw.Connection, names: Sequence[str]) -> list[str]:
    """Those of *names* that are applied, in the order in which they were."""
    if not _has_table(connection):
        return []
    rows = _all(connection, f"SELECT name FROM main.{TABLE} ORDER BY applied_at, rowid")  # noqa: S608 -- a constant
    return [str(row[0]) for row in rows if row[0] in names]


def look(path: Path, name: str, stop: Stop) -> Standing:
    if not path.exists():
        return Standing()
    with (
        opened(path, apsw.SQLITE_OPEN_READWRITE, BUSY_SECONDS) as connection,
        _limited(connection, BUSY_SECONDS, stop),
    ):
        return Standing(_row(connection, name))


def fetch(path: Path, query: str, timeout_seconds: float, limit: int, stop: Stop) -> list[tuple[Any, ...]]:
    if len(split(query, Dialect.SQLITE)) != 1:
        raise Permanent("one SQL statement is expected")
    if not path.exists():
        raise Permanent(f"there is no database {path}")
    with opened(path, apsw.SQLITE_OPEN_READWRITE, min(BUSY_SECONDS, timeout_seconds)) as connection:
        _all(connection, "PRAGMA query_only = ON")
        with _limited(connection, timeout_seconds, stop):
            return list(itertools.islice(connection.execute(query), limit))


@contextmanager
def opened(path: Path, flags: int, busy_seconds: float) -> Iterator[apsw.Connection]:
    """A connection; SQLite's errors become ours, and what is not committed is rolled back."""
    try:
        connection = apsw.Connection(str(path), flags)
    except apsw.Error as error:
        raise explain(error, str(path)) from error
    with contextlib.closing(connection):
        if ONE_FILE.get():
            connection.authorizer = _one_file
        try:
            connection.set_busy_timeout(round(busy_seconds * 1000))
            yield connection
        except apsw.Error as error:
            raise explain(error, str(path)) from error


def _one_file(operation: int, first: str | None, second: str | None, *_: str | None) -> int:
    """``ATTACH`` and ``VACUUM INTO`` name files, and so do two settings."""
    attaches = operation == apsw.SQLITE_ATTACH and first != ""  # plain VACUUM attaches one without a name
    sets = operation == apsw.SQLITE_PRAGMA and (first or "").lower() in _NAMING_FOLDERS and second is not None
    return apsw.SQLITE_DENY if attaches or sets else apsw.SQLITE_OK


@contextmanager
def _limited(connection: apsw.Connection, seconds: float, stop: Stop) -> Iterator[None]:
    """Statements within are interrupted after so long, or when *stop* is asked."""
    deadline = time.monotonic() + seconds
    connection.set_progress_handler(lambda: stop.asked or time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        connection.set_progress_handler(None)


def _all(connection: apsw.Connection, text: str, bindings: tuple[str, ...] | None = None) -> list[tuple[Any, ...]]:
    return list(connection.execute(text, bindings))


def _has_table(connection: apsw.Connection) -> bool:
    return bool(_all(connection, "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ?", (TABLE,)))


def _row(connection: apsw.Connection, name: str) -> str | None:
    if not _has_table(connection):
        return None
    found = _all(connection, f"SELECT checksum FROM main.{TABLE} WHERE name = ?", (name,))  # noqa: S608 -- a constant
    return str(found[0][0]) if found else None


def _note(connection: apsw.Connection, job: Job) -> None:
    if job.operation.direction == "down":
        _all(connection, f"DELETE FROM main.{TABLE} WHERE name = ?", (job.name,))  # noqa: S608 -- a constant
        return
    _all(connection, f"CREATE TABLE IF NOT EXISTS main.{TABLE} ({_COLUMNS})")
    insert = f"INSERT INTO main.{TABLE} VALUES (?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"  # noqa: S608 -- a constant
    _all(connection, insert, (job.name, job.operation.checksum, job.effect, job.run))


def _execute(connection: apsw.Connection, statement: Statement, job: Job, stop: Stop, *, in_transaction: bool) -> None:
    limit_seconds = job.operation.statement_timeout_seconds
    try:
        with _limited(connection, limit_seconds, stop):
            _all(connection, statement.text)
    except apsw.InterruptError as error:
        where = f"{job.file}, line {statement.line}"
        if stop.asked:
            raise Temporary(f"{where}: it was stopped, and nothing was changed") from error
        raise Permanent(f"{where}: it took longer than statement_timeout allows ({limit_seconds:g} s)") from error
    except apsw.Error as error:
        problem = explain(error, f"{job.file}, {statement.place_at(_offset(statement, error))}")
        if job.is_up and ("already exists" in str(error) or "duplicate column" in str(error)):
            problem.args = (f"{problem}; {APPLIED_BY_OTHERS}",)
        raise problem from error
    if in_transaction and not connection.in_transaction:
        raise Permanent(f"{job.file}, line {statement.line}: it ended the transaction that the file runs in")


def _offset(statement: Statement, error: apsw.Error) -> int | None:
    """Where in the statement's text the error lies, if SQLite says so (in bytes)."""
    offset = getattr(error, "error_offset", -1)
    return len(statement.text.encode()[:offset].decode("utf-8", "ignore")) if offset >= 0 else None


def explain(error: apsw.Error, where: str) -> RolloutError:
    if isinstance(error, apsw.InterruptError):
        return Temporary(f"{where}: it took too long, or was stopped")
    if isinstance(error, apsw.BusyError):
        return Temporary(f"{where}: the database is locked by another connection; nothing was changed")
    if isinstance(error, apsw.AuthError):
        return Permanent(f"{where}: SQL of this plan may reach no other file: leave ATTACH and VACUUM INTO out")
    words = str(error).removeprefix("SQLError: ")
    if isinstance(error, apsw.FullError):
        return Temporary(f"{where}: {words}; nothing was changed; make room on the database's disk")
    return (
        Temporary(f"{where}: {words}; nothing was changed")
        if isinstance(error, _TRANSIENT)
        else Permanent(f"{where}: {words}")
    )
