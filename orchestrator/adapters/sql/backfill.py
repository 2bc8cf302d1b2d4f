"""Backfills: one UPDATE over ranges of a key, batch by batch, each batch in a transaction of its own.

Theory of operation. A row of bookkeeping says where the newest batch ended; it is moved in the batch's own transaction,
so a batch is done exactly if the row says so, and whoever comes next goes on from there. The row is locked while a
batch is worked on: two controllers can't do the same one. The end is fixed when the backfill begins: rows that are
written later are the new code's own. Between two batches there is a pause, so that no more rows a second are touched
than the plan allows; a slice of work ends after some seconds, so that the gate is judged in between.

Keys are kept as texts and compared by the database in their own type, so any type that has an order will do.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sql import Databases, is_postgres
from orchestrator.adapters.sql.job import Stop
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.errors import Permanent, RolloutError, Temporary
from orchestrator.failpoints import Point, reach
from orchestrator.ports import Scene, Seen
from stages.effects import AnyObservation, ObserveBackfill, RunBackfill

TABLE = "rollout_backfills"
OBSERVE_SECONDS = 30.0
CONNECT_SECONDS = 10.0
CREATING = int.from_bytes(b"filling", "big")  # the advisory lock under which the table of bookkeeping is made
_COLUMNS = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (name text PRIMARY KEY, checksum text NOT NULL, position text, upper text,"
    " rows bigint NOT NULL, of bigint, done boolean NOT NULL, run text NOT NULL, moved_at timestamptz NOT NULL)"
)
_PLACES = re.compile(r"(?<!:):(from|to)\b")
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a backfill stands. *position* and *upper* are keys as texts; *of* is an estimate."""

    checksum: str
    position: str | None
    upper: str | None
    rows: int
    of: int | None
    done: bool

    def shown(self) -> dict[str, Any]:
        return {"done": self.done, "position": self.position, "rows": self.rows, "of": self.of}


NOT_BEGUN = {"done": False, "position": None, "rows": 0, "of": None}


class Table(Protocol):
    """What a backfill needs of a database; one for each kind."""

    def begin(self) -> None: ...
    def commit(self) -> None: ...
    def read(self, name: str, *, lock: bool) -> Progress | None: ...
    def create(self, job: RunBackfill, run: str) -> Progress: ...
    def next_range(self, job: RunBackfill, progress: Progress) -> tuple[str, str] | None: ...
    def fill(self, job: RunBackfill, first: str, last: str) -> int: ...
    def move(self, name: str, position: str | None, rows: int, done: bool) -> None: ...


def work(table: Table, job: RunBackfill, run: str, stop: Stop) -> Progress:
    """Batches for one slice of time, at least one. Raises ``Temporary`` or ``Permanent``; earlier batches stay done."""
    began = time.monotonic()
    progress = _begun(table, job, run)
    filled = 0
    while not progress.done and not stop.asked:
        progress, rows = _batch(table, job, progress)
        filled += rows
        if job.rows_per_second:
            stop.wait(max(filled / job.rows_per_second - (time.monotonic() - began), 0.0))
        if time.monotonic() - began >= job.slice_seconds:
            break
    return progress


def _begun(table: Table, job: RunBackfill, run: str) -> Progress:
    table.begin()
    progress = table.read(job.name, lock=True) or table.create(job, run)
    table.commit()
    if progress.checksum != job.checksum:
        raise Permanent(
            f"{job.name} was begun with other contents (checksum {progress.checksum[:12]}, now {job.checksum[:12]}); "
            "put the file back as it was, and the change into a new one"
        )
    return progress


def _batch(table: Table, job: RunBackfill, known: Progress) -> tuple[Progress, int]:
    table.begin()
    progress = table.read(job.name, lock=True) or known
    keys = table.next_range(job, progress) if not progress.done else None
    rows = table.fill(job, *keys) if keys is not None else 0
    reach(Point.BACKFILL_FILLED)
    position = keys[1] if keys is not None else progress.position
    table.move(job.name, position, progress.rows + rows, keys is None)
    table.commit()
    reach(Point.BACKFILL_COMMITTED)
    moved = Progress(progress.checksum, position, progress.upper, progress.rows + rows, progress.of, keys is None)
    return moved, rows


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


class PostgresTable:
    def __init__(self, connection: Any, job: RunBackfill | ObserveBackfill) -> None:
        self._connection = connection
        self._job = job

    def begin(self) -> None:
        from orchestrator.adapters.sql.postgres import set_limit

        self._connection.execute("BEGIN")
        if isinstance(self._job, RunBackfill):
            set_limit(self._connection, "lock_timeout", self._job.lock_timeout_seconds)
            set_limit(self._connection, "statement_timeout", self._job.statement_timeout_seconds)

    def commit(self) -> None:
        self._connection.execute("COMMIT")

    def _rows(self, query: str, **values: Any) -> list[Row]:
        return list(self._connection.execute(query, values or None).fetchall())

    def read(self, name: str, *, lock: bool) -> Progress | None:
        if not self._rows("SELECT to_regclass(%(table)s) IS NOT NULL", table=TABLE)[0][0]:
            return None
        query = f"SELECT checksum, position, upper, rows, of, done FROM {TABLE} WHERE name = %(name)s"  # noqa: S608 - a constant
        found = self._rows(query + (" FOR UPDATE" if lock else ""), name=name)
        return Progress(*found[0]) if found else None

    def create(self, job: RunBackfill, run: str) -> Progress:
        self._rows("SELECT pg_advisory_xact_lock(%(key)s)", key=CREATING)  # creating "if not exists" is no lock
        self._connection.execute(_COLUMNS)
        upper = self._rows(f"SELECT {job.key}::text AS last FROM {job.table} ORDER BY {job.key} DESC LIMIT 1")  # noqa: S608 - identifiers of the plan, checked when it is read
        of = self._rows("SELECT reltuples::bigint FROM pg_class WHERE oid = %(t)s::regclass", t=job.table)[0][0]
        insert = (
            f"INSERT INTO {TABLE} VALUES (%(name)s, %(sum)s, NULL, %(upper)s, 0, %(of)s, %(done)s, %(run)s, now())"  # noqa: S608 - a constant
            " ON CONFLICT (name) DO NOTHING"
        )
        last = upper[0][0] if upper else None
        estimate = of if of > 0 else None
        self._connection.execute(
            insert,
            {"name": job.name, "sum": job.checksum, "upper": last, "of": estimate, "done": last is None, "run": run},
        )
        known = self.read(job.name, lock=True)  # another controller may have begun it meanwhile
        assert known is not None
        return known

    def next_range(self, job: RunBackfill, progress: Progress) -> tuple[str, str] | None:
        after = f"{job.key} > %(position)s AND" if progress.position is not None else ""
        query = (
            f"WITH batch AS (SELECT {job.key} AS k FROM {job.table} WHERE {after} {job.key} <= %(upper)s"  # noqa: S608 - as above
            f" ORDER BY {job.key} LIMIT %(batch)s)"
            # as "key", so that the order is the key's own and not its text's
            " SELECT (SELECT k::text AS key FROM batch ORDER BY k LIMIT 1),"
            " (SELECT k::text AS key FROM batch ORDER BY k DESC LIMIT 1)"
        )
        values = {"upper": progress.upper, "batch": job.batch}
        first, last = self._rows(query, position=progress.position, **values)[0]
        return None if first is None else (first, last)

    def fill(self, job: RunBackfill, first: str, last: str) -> int:
        query = _PLACES.sub(r"%(\1)s", job.sql.replace("%", "%%"))
        return int(self._connection.execute(query, {"from": first, "to": last}).rowcount)

    def move(self, name: str, position: str | None, rows: int, done: bool) -> None:
        self._connection.execute(
            f"UPDATE {TABLE} SET position = %(position)s, rows = %(rows)s, done = %(done)s, moved_at = now()"  # noqa: S608 - a constant
            " WHERE name = %(name)s",
            {"position": position, "rows": rows, "done": done, "name": name},
        )


# --- SQLite -----------------------------------------------------------------------------------------------------------


class SqliteTable:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def begin(self) -> None:
        self._rows("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._rows("COMMIT")

    def _rows(self, query: str, **values: Any) -> list[Row]:
        return list(self._connection.execute(query, values))

    def read(self, name: str, *, lock: bool) -> Progress | None:
        if not self._rows("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = :table", table=TABLE):
            return None
        query = f"SELECT checksum, position, upper, rows, of, done FROM {TABLE} WHERE name = :name"  # noqa: S608 - a constant
        found = self._rows(query, name=name)
        if not found:
            return None
        checksum, position, upper, rows, of, done = found[0]
        return Progress(checksum, position, upper, rows, of, bool(done))

    def create(self, job: RunBackfill, run: str) -> Progress:
        self._rows(
            f"CREATE TABLE IF NOT EXISTS {TABLE} (name TEXT PRIMARY KEY, checksum TEXT NOT NULL, position TEXT,"
            " upper TEXT, rows INTEGER NOT NULL, of INTEGER, done INTEGER NOT NULL, run TEXT NOT NULL)"
        )
        upper = self._rows(f"SELECT CAST({job.key} AS TEXT) FROM {job.table} ORDER BY {job.key} DESC LIMIT 1")  # noqa: S608 - identifiers of the plan, checked when it is read
        of = self._rows(f"SELECT count(*) FROM {job.table}")[0][0]  # noqa: S608 - as above
        last = upper[0][0] if upper else None
        insert = f"INSERT INTO {TABLE} VALUES (:name, :sum, NULL, :upper, 0, :of, :done, :run)"  # noqa: S608 - a constant
        self._rows(insert, name=job.name, sum=job.checksum, upper=last, of=of, done=last is None, run=run)
        return Progress(job.checksum, None, last, 0, of, last is None)

    def next_range(self, job: RunBackfill, progress: Progress) -> tuple[str, str] | None:
        after = f"{job.key} > :position AND" if progress.position is not None else ""
        query = (
            f"WITH batch AS (SELECT {job.key} AS k FROM {job.table} WHERE {after} {job.key} <= :upper"  # noqa: S608 - as above
            f" ORDER BY {job.key} LIMIT :batch)"
            " SELECT (SELECT CAST(k AS TEXT) FROM batch ORDER BY k LIMIT 1),"
            " (SELECT CAST(k AS TEXT) FROM batch ORDER BY k DESC LIMIT 1)"
        )
        bound = {"position": progress.position} if progress.position is not None else {}
        first, last = self._rows(query, upper=progress.upper, batch=job.batch, **bound)[0]
        return None if first is None else (first, last)

    def fill(self, job: RunBackfill, first: str, last: str) -> int:
        before = self._connection.total_changes()
        self._connection.execute(job.sql, {"from": first, "to": last})
        return int(self._connection.total_changes() - before)

    def move(self, name: str, position: str | None, rows: int, done: bool) -> None:
        update = f"UPDATE {TABLE} SET position = :position, rows = :rows, done = :done WHERE name = :name"  # noqa: S608 - a constant
        self._rows(update, position=position, rows=rows, done=done, name=name)


# --- the performer ----------------------------------------------------------------------------------------------------


@contextmanager
def _table(url: str, path: Path | None, job: RunBackfill | ObserveBackfill, stop: Stop) -> Iterator[Table]:
    if path is None:
        from orchestrator.adapters.sql import postgres

        with postgres.connected(url, stop) as connection:
            try:
                yield PostgresTable(connection, job)
            finally:
                connection.close()
        return
    import apsw

    from orchestrator.adapters.sql import sqlite

    if not path.exists():
        raise Permanent(f"there is no database {path}")
    with sqlite.opened(path, apsw.SQLITE_OPEN_READWRITE, sqlite.BUSY_SECONDS) as opened:
        yield SqliteTable(opened)


class BackfillPerformer:
    """``run_backfill`` and ``observe_backfill``. A slice goes on where the row says, so it may be repeated at will."""

    def __init__(self, secrets: Secrets) -> None:
        self._databases = Databases(secrets)

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        operation = effect.operation
        assert isinstance(operation, RunBackfill), f"{operation.op} is not for the backfill adapter"
        try:
            url, path = await self._address(operation, scene)

            def slice_of_work(stop: Stop) -> Progress:
                with _table(url, path, operation, stop) as table:
                    return work(table, operation, scene.run, stop)

            progress = await self._databases.call(slice_of_work)
        except Temporary as problem:
            return Outcome(state=EffectState.TEMPORARY, detail=_whole_batches(problem))
        except RolloutError as problem:
            return Outcome(state=EffectState.REFUSED, detail=_whole_batches(problem))
        of = f" of about {progress.of}" if progress.of else ""
        return Outcome(state=EffectState.DONE, detail=f"{progress.rows}{of} rows filled", observed=progress.shown())

    async def _address(self, operation: RunBackfill | ObserveBackfill, scene: Scene) -> tuple[str, Path | None]:
        url = await self._databases.url(operation.database, scene.directory)
        if is_postgres(url):
            return url, None
        from orchestrator.adapters.sql import sqlite

        return url, sqlite.path_of(url, scene.directory)

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        assert isinstance(observation, ObserveBackfill), f"{observation.op} is not for the backfill adapter"
        url, path = await self._address(observation, scene)

        def look(stop: Stop) -> Progress | None:
            with _table(url, path, observation, stop) as table:
                return table.read(observation.name, lock=False)

        progress = await self._databases.call(look, stop_seconds=1.0)
        return Seen(progress.shown() if progress is not None else dict(NOT_BEGUN))


def _whole_batches(problem: RolloutError) -> str:
    """The database's words, without a claim that holds for one batch only."""
    return str(problem).replace("; nothing was changed", "") + "; what earlier batches filled stays"
