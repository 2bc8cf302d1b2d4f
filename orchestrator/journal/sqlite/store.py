"""The journal and the flag store on one SQLite file.

Theory of operation. One connection writes, on one thread, in transactions that take along whatever waits (group
commit): each call in a savepoint of its own, so that one that is refused takes nothing away from the others. Nobody is
answered before the COMMIT returned, which with ``synchronous=FULL`` means that the write-ahead log is on the disk; what
was answered survives a power cut. A second connection reads, on a second thread, and sees whole transactions only.

When the disk is full or fails, the transaction is rolled back and each of its calls is tried alone: those that still
don't fit get a StoreError and have written nothing, and the next call begins anew. An error in the COMMIT itself leaves
it open until the next start whether that transaction is there (the log may have reached the disk), as with any
database; whoever reads the journal again sees which.

The lock file makes this process the only writer for as long as the store is open.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import apsw

from flags.model import Version
from orchestrator.core.events import Event
from orchestrator.errors import StoreError
from orchestrator.failpoints import Point, reach
from orchestrator.journal import chain
from orchestrator.journal.readonly import RefusesWrites
from orchestrator.journal.sqlite import reading, schema, writing
from orchestrator.journal.sqlite.faults import as_store_error
from orchestrator.journal.sqlite.freezes import SqliteFreezes, SqliteFreezeStorage
from orchestrator.journal.sqlite.keeping import SqliteKeepingStorage, SqliteKeptReports
from orchestrator.journal.sqlite.lanes import Call, Lane, Result
from orchestrator.journal.sqlite.lock import FileLock
from orchestrator.journal.sqlite.schedules import SqliteSchedules, SqliteScheduleStorage
from orchestrator.journal.sqlite.tokens import SqliteTokens
from orchestrator.ports import Answer, Batch, FlagRecord, FlagWrite, NewRun, Recorded, RunRow
from stages.values import Json

T = TypeVar("T")

BUSY_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 30.0


class ReadingStore(RefusesWrites):
    """The reading half of ``Journal`` and ``FlagStore``; whatever writes raises StoreError. See ``open_reading``."""

    def __init__(self, path: Path, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = path
        self.name = str(path)
        self._reader = schema.open_for_reading(path, busy_seconds)
        self._reads = Lane(f"store {path}", self._read_each, self._reader.close, most_together=1)
        self.freezes = SqliteFreezes(self._reads, self._reader)
        self.schedules = SqliteSchedules(self._reads, self._reader)
        self.keeping = SqliteKeptReports(self._reads, self._reader)

    async def row(self, run: str) -> RunRow | None:
        return await self._read(partial(reading.row, self._reader, run))

    async def rows(self, active: bool | None = None, limit: int = 1000, plan: str | None = None) -> list[RunRow]:
        return await self._read(partial(reading.rows, self._reader, active, limit, plan))

    async def holders(self, claims: Collection[str]) -> dict[str, str]:
        return await self._read(partial(reading.holders, self._reader, sorted(claims)))

    async def by_phase(self) -> list[tuple[str, int, int]]:
        return await self._read(partial(reading.by_phase, self._reader))

    async def read(self, run: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        return await self._read(partial(reading.events, self._reader, run, after, limit))

    async def answer(self, run: str, key: str) -> Answer | None:
        return await self._read(partial(reading.answer, self._reader, run, key))

    async def evidence(self, run: str) -> str | None:
        return await self._read(partial(reading.evidence, self._reader, run))

    async def get(self, environment: str, key: str) -> FlagRecord | None:
        return await self._read(partial(reading.flag, self._reader, environment, key))

    async def all(self, environment: str | None = None) -> list[FlagRecord]:
        return await self._read(partial(reading.flags, self._reader, environment))

    async def version(self) -> Version:
        return await self._read(partial(reading.version, self._reader))

    async def history(self, environment: str, key: str, limit: int = 50) -> list[FlagRecord]:
        """Newest first, the present document included."""
        return await self._read(partial(reading.flag_history, self._reader, environment, key, limit))

    async def close(self) -> None:
        """Lets what is being read finish, but not for long."""
        self._reads.finish()
        if not await asyncio.to_thread(self._reads.join, BUSY_SECONDS):
            self._reader.interrupt()
            await asyncio.to_thread(self._reads.join, BUSY_SECONDS)

    async def _read(self, call: Callable[[], T]) -> T:
        return await self._reads.do(call)

    def _read_each(self, calls: Sequence[Call]) -> list[Result]:
        results: list[Result] = []
        for call in calls:
            try:
                results.append((call(), None))
            except apsw.Error as problem:
                results.append((None, as_store_error(problem, self.path)))
            except Exception as problem:  # noqa: BLE001 - it is raised again where the answer is awaited
                results.append((None, problem))
        return results


class SqliteStore(ReadingStore):
    """``Journal`` and ``FlagStore`` of one controller. Raises StoreError if another one holds the store."""

    def __init__(self, path: Path, busy_seconds: float = BUSY_SECONDS) -> None:
        path = path.resolve()  # two names of one file have one lock
        self._make_folder(path.parent)
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            self._writer = schema.open_writing(path, busy_seconds)
            try:
                super().__init__(path, busy_seconds)
            except BaseException:
                self._writer.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        self._writes = Lane(f"store {path}", self._commit, self._let_go)
        self.tokens = SqliteTokens(self._writes, self._writer, self._reads, self._reader)
        both = (self._reads, self._reader, self._writes, self._writer)
        self.freezes: SqliteFreezeStorage = SqliteFreezeStorage(*both)
        self.schedules: SqliteScheduleStorage = SqliteScheduleStorage(*both)
        self.keeping: SqliteKeepingStorage = SqliteKeepingStorage(*both)

    async def start(
        self, new: NewRun, epoch: int, at: float, events: Sequence[Event], summary: Mapping[str, Json]
    ) -> list[Recorded]:
        encoded = [chain.encode(event) for event in events]
        text = chain.canonical(dict(summary))
        records = await self._writes.do(partial(writing.start, self._writer, new, epoch, at, encoded, text))
        reach(Point.START_COMMITTED)
        return records

    async def append(self, batch: Batch) -> list[Recorded]:
        encoded = [chain.encode(event) for event in batch.events]
        text = chain.canonical(dict(batch.summary))
        records = await self._writes.do(partial(writing.append, self._writer, batch, encoded, text))
        reach(Point.APPEND_COMMITTED)
        return records

    async def take(self, run: str) -> int:
        epoch = await self._writes.do(partial(writing.take, self._writer, run))
        reach(Point.TAKE_COMMITTED)
        return epoch

    async def save_evidence(self, seen: Mapping[str, tuple[int, str]]) -> None:
        await self._writes.do(partial(writing.save_evidence, self._writer, seen))
        reach(Point.EVIDENCE_COMMITTED)

    async def write(self, write: FlagWrite, at: float) -> FlagRecord:
        record = await self._writes.do(partial(writing.write_flag, self._writer, write, at))
        reach(Point.FLAG_COMMITTED)
        return record

    async def new_generation(self) -> int:
        """To be called when the store was restored: versions given out from now on are above all earlier ones."""
        return await self._writes.do(partial(writing.new_generation, self._writer))

    async def close(self) -> None:
        """Writes what was handed in, then gives file and lock back. Bounded, also when the disk hangs."""
        try:
            await super().close()  # first, since the last to close folds the log into the file
        finally:
            self._writes.finish()
        if not await asyncio.to_thread(self._writes.join, _CLOSE_SECONDS):
            self._writer.interrupt()
            await asyncio.to_thread(self._writes.join, BUSY_SECONDS)

    def _commit(self, calls: Sequence[Call]) -> list[Result]:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except apsw.Error as problem:
            return [(None, as_store_error(problem, self.path)) for _ in calls]
        try:
            results = self._all_of(calls)
            self._writer.execute("COMMIT")
        except apsw.Error as problem:
            self._roll_back()
            if len(calls) == 1:
                return [(None, as_store_error(problem, self.path))]
            return [self._commit([call])[0] for call in calls]
        except BaseException:
            self._roll_back()  # or no transaction could ever begin again
            raise
        return results

    def _all_of(self, calls: Sequence[Call]) -> list[Result]:
        """A savepoint copies every page that is changed behind it, so there are none before something was refused. Then
        all is taken back, and written anew with them."""
        results: list[Result] = []
        for call in calls:
            try:
                results.append((call(), None))
            except apsw.Error:
                raise
            except Exception as problem:  # noqa: BLE001 - it is raised again where the answer is awaited
                return self._anew(calls, len(results), problem)
        return results

    def _anew(self, calls: Sequence[Call], refused: int, problem: Exception) -> list[Result]:
        """The call with the number *refused* is not tried again: it found what it would find."""
        self._writer.execute("ROLLBACK")
        self._writer.execute("BEGIN IMMEDIATE")
        befores = [self._in_savepoint(call) for call in calls[:refused]]
        return [*befores, (None, problem), *(self._in_savepoint(call) for call in calls[refused + 1 :])]

    def _in_savepoint(self, call: Call) -> Result:
        """Errors of the database go up: they may have ended the whole transaction. All others are the call's own."""
        self._writer.execute("SAVEPOINT one_call")
        try:
            result: Result = (call(), None)
        except apsw.Error:
            raise
        except Exception as problem:  # noqa: BLE001 - it is raised again where the answer is awaited
            self._writer.execute("ROLLBACK TO one_call")
            result = (None, problem)
        self._writer.execute("RELEASE one_call")
        return result

    def _roll_back(self) -> None:
        if not self._writer.in_transaction:  # some errors do it by themselves
            return
        try:
            self._writer.execute("ROLLBACK")
        except apsw.Error:  # as when it had just ended; what was not committed is gone in any case
            return

    def _let_go(self) -> None:
        try:
            self._writer.close()
        except apsw.Error:  # folding the log failed: it stays beside the file, and the next start reads it
            return
        finally:
            self._lock.release()

    @staticmethod
    def _make_folder(folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as problem:
            raise StoreError(f"The folder {folder} of the store can't be made: {problem.strerror}.") from None


def open_reading(path: Path) -> ReadingStore:
    """For commands that only look, with or without a controller beside them. Raises NotFound if there is no store."""
    return ReadingStore(path.resolve())
