"""A few connections that work off what coroutines hand in.

Theory of operation. Each connection has a thread, which takes one call at a time and makes it a transaction of its own.
Calls under one key (a run, a flag) keep their order; those under different keys never wait for each other as long as a
connection is free, and the server syncs their commits together. A call belongs to the pool as soon as it is queued:
cancelling the coroutine cancels the waiting and never the work.

*Every call has a deadline.* Up to it the coroutine waits. If the call still stands in the queue then, it is taken out,
and nothing was written. If it is under way, its connection is cut, which ends it. Usually the server has ended it long
before: its limit for a statement is shorter.

*A connection that breaks* is made anew, and its call tried once more. If it broke during the commit, nobody told us
whether that took place; the call has to find out by itself when it is tried again (see :mod:`.writing`). While the
server is away, each call is told so at once, but for one in a while that tries again.
"""

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import psycopg

from orchestrator.errors import StoreError
from orchestrator.journal.postgresql.address import Address
from orchestrator.journal.postgresql.faults import as_store_error, is_lost, is_worth_another_try
from orchestrator.journal.postgresql.session import Connection

T = TypeVar("T")

DEADLINE_SECONDS: Final = 10.0
MOST_WAITING: Final = 10_000
TRIES: Final = 3
_CUT_SECONDS: Final = 2.0  # from cutting a connection to the end of its call
_AWAY_SECONDS: Final = 1.0  # for which a server that could not be reached is taken to be away
_CLOSE_SECONDS: Final = 30.0
_UNKNOWN: Final = "whether it was written is not known"


@dataclass(slots=True)
class _Job:
    key: Hashable
    work: Callable[[Connection], Any]
    future: "Future[Any]" = field(default_factory=Future)
    is_begun: bool = False
    is_given_up: bool = False  # nobody would hear of it any more
    connection: Connection | None = None  # while it is under way
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hold(self, connection: Connection | None) -> None:
        with self.lock:
            self.connection = connection

    def cut(self) -> None:
        with self.lock, contextlib.suppress(OSError, psycopg.Error):
            if self.connection is not None:
                with socket.socket(fileno=os.dup(self.connection.fileno())) as end:
                    end.shutdown(socket.SHUT_RDWR)


class Pool:
    """*connect* makes a connection in autocommit mode, and raises psycopg.Error or StoreError if it can't."""

    def __init__(
        self,
        address: Address,
        connect: Callable[[], Connection],
        size: int,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self._address = address
        self._connect = connect
        self._deadline_seconds = deadline_seconds
        self._room = asyncio.Semaphore(MOST_WAITING)
        self._changed = threading.Condition()
        self._waiting: dict[Hashable, deque[_Job]] = {}  # the first of each is under way, or its key in _ready
        self._ready: deque[Hashable] = deque()
        self._closed = False
        self._away: tuple[float, str] | None = None  # until when, and what to say
        self._reached_at = float("-inf")
        self._threads = [threading.Thread(target=self._run, name="store", daemon=True) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    async def do(self, work: Callable[[Connection], T], key: Hashable | None = None) -> T:
        """What *work* returns or raises; the database's errors are StoreErrors."""
        await self._room.acquire()
        job = _Job(key if key is not None else object(), work)
        try:
            self._put(job)
        except StoreError:
            self._room.release()
            raise
        waiting = asyncio.wrap_future(job.future)
        waiting.add_done_callback(self._note_end)
        done, _ = await asyncio.wait({waiting}, timeout=self._deadline_seconds)
        if not done:
            done = await self._give_up(job, waiting)
        if not done:
            raise self._too_late(_UNKNOWN)
        result: T = waiting.result()
        return result

    async def close(self) -> None:
        """Works off what was handed in, within bounds."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if await asyncio.to_thread(self._join, _CLOSE_SECONDS):
            return
        with self._changed:
            under_way = [jobs[0] for jobs in self._waiting.values()]
        for job in under_way:
            job.cut()
        await asyncio.to_thread(self._join, _CUT_SECONDS)

    def _note_end(self, done: "asyncio.Future[Any]") -> None:
        self._room.release()
        if not done.cancelled():
            done.exception()  # is looked at, also if nobody waits any more

    def _join(self, timeout_seconds: float) -> bool:
        until = time.monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    async def _give_up(self, job: _Job, waiting: "asyncio.Future[Any]") -> "set[asyncio.Future[Any]]":
        with self._changed:
            job.is_given_up = True
            is_begun = job.is_begun
        if not is_begun:
            job.future.set_exception(self._too_late("nothing was written"))
        job.cut()
        done, _ = await asyncio.wait({waiting}, timeout=_CUT_SECONDS)
        return done

    def _too_late(self, what: str) -> StoreError:
        return StoreError(
            f"The store {self._address.name} did not answer within {self._deadline_seconds:g} s, {what}: "
            "look at the load of its server, and whether a commit waits for a standby that is away."
        )

    def _put(self, job: _Job) -> None:
        with self._changed:
            if self._closed:
                raise StoreError(f"The store {self._address.name} is closed.")
            line = self._waiting.setdefault(job.key, deque())
            line.append(job)
            if len(line) == 1:
                self._ready.append(job.key)
                self._changed.notify()

    # --- in the threads ---

    def _run(self) -> None:
        connection: Connection | None = None
        while (job := self._next()) is not None:
            if self._may_begin(job):
                connection = self._work_off(job, connection)
            self._leave(job)
        if connection is not None:
            connection.close()

    def _next(self) -> _Job | None:
        """Waits for one whose turn it is; None at the end."""
        with self._changed:
            while not self._ready:
                if self._closed and not self._waiting:
                    return None
                self._changed.wait()
            return self._waiting[self._ready.popleft()][0]

    def _may_begin(self, job: _Job) -> bool:
        with self._changed:
            job.is_begun = not job.is_given_up
            return job.is_begun

    def _leave(self, job: _Job) -> None:
        with self._changed:
            line = self._waiting[job.key]
            line.popleft()
            if line:
                self._ready.append(job.key)
                self._changed.notify()
            else:
                del self._waiting[job.key]
            if self._closed:
                self._changed.notify_all()

    def _work_off(self, job: _Job, connection: Connection | None) -> Connection | None:
        """The connection for the next call."""
        for turn in range(1, TRIES + 1):
            try:
                self._check_wanted(job)
                if connection is None:
                    connection = self._connected()
                result = self._tried(job, connection)
            except psycopg.Error as error:
                connection = self._rolled_back(connection, error)
                if turn < TRIES and is_worth_another_try(error):
                    continue
                job.future.set_exception(as_store_error(error, self._address))
            except BaseException as error:  # noqa: BLE001 - it is raised again where the answer is awaited
                connection = self._rolled_back(connection, None)
                job.future.set_exception(error)
            else:
                job.future.set_result(result)
            break
        return connection

    def _tried(self, job: _Job, connection: Connection) -> Any:
        job.hold(connection)  # from now on it can be cut
        try:
            self._check_wanted(job)
            result = job.work(connection)
        finally:
            job.hold(None)
        self._away, self._reached_at = None, time.monotonic()
        return result

    def _check_wanted(self, job: _Job) -> None:
        """What is written when nobody waits any more is not known to who asks for it again, and refused then."""
        if job.is_given_up:
            raise self._too_late(_UNKNOWN)

    def _connected(self) -> Connection:
        """Raises StoreError."""
        away = self._away
        if away is not None and time.monotonic() < away[0]:
            raise StoreError(away[1])
        begun_at = time.monotonic()
        try:
            connection = self._connect()
        except (psycopg.Error, StoreError) as error:
            problem = as_store_error(error, self._address) if isinstance(error, psycopg.Error) else error
            if self._reached_at < begun_at:  # else another thread knows better by now
                self._away = (time.monotonic() + _AWAY_SECONDS, str(problem))
            raise problem from None
        return connection

    @staticmethod
    def _rolled_back(connection: Connection | None, error: psycopg.Error | None) -> Connection | None:
        """None if it is of no use any more."""
        if connection is None:
            return None
        try:
            if error is None or not is_lost(error):
                connection.rollback()
                return connection
        except psycopg.Error:
            pass
        connection.close()
        return None
