"""A lane: one thread that works off what coroutines hand in, in order, several at once where that is cheaper.

Theory of operation. A coroutine makes a call, queues it and awaits a future of its own; the call itself belongs to the
thread from then on. So cancelling the coroutine cancels the waiting and never the work: a commit that was asked for is
made or refused as a whole. The thread takes whatever waits (up to a bound) as one group, which the writer makes one
transaction. Nothing is delayed to make groups larger: while a group is being synced to disk, the next one gathers.

The queue is bounded by a semaphore: who finds it full waits in line before queueing, and can be cancelled there.

Closing lets everything queued finish, then ends the thread. The thread is a daemon, so that a disk that hangs does not
keep the process from exiting; nobody was told that what it still had in hand is durable.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from orchestrator.errors import StoreError

T = TypeVar("T")

Call = Callable[[], Any]
Result = tuple[Any, BaseException | None]
"""What a call returned, or what it raised."""


@dataclass(slots=True)
class _Job:
    call: Call
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    result: Result = (None, None)


class Lane:
    """``work`` gets a group of calls and gives their results in order; ``at_end`` runs last, in the same thread."""

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Call]], Sequence[Result]],
        at_end: Callable[[], None],
        most_waiting: int = 10_000,
        most_together: int = 500,
    ) -> None:
        self._name = name
        self._work = work
        self._at_end = at_end
        self._most_together = most_together
        self._room = asyncio.Semaphore(most_waiting)
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def do(self, call: Callable[[], T]) -> T:
        """What the call returns or raises; StoreError when the lane is closed."""
        await self._room.acquire()
        loop = asyncio.get_running_loop()
        job = _Job(call, loop, loop.create_future())
        try:
            self._put(job)
        except StoreError:
            self._room.release()
            raise
        result: T = await job.future
        return result

    def finish(self) -> None:
        """No new calls; the thread ends when those that wait are done."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)

    def join(self, timeout_seconds: float) -> bool:
        """Blocks until the thread has ended; False if it has not in time."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _put(self, job: _Job) -> None:
        with self._gate:  # so that nothing is queued behind the end
            if self._closed:
                raise StoreError(f"The {self._name} is closed.")
            self._queue.put(job)

    def _run(self) -> None:
        try:
            while group := self._next_group():
                self._work_off(group)
        finally:
            self._at_end()

    def _next_group(self) -> list[_Job]:
        """Waits for one job and takes those behind it; empty at the end."""
        first = self._queue.get()
        group = [] if first is None else [first]
        while group and len(group) < self._most_together:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._queue.put(None)  # nothing comes behind the end, so it is found again next time
                break
            group.append(job)
        return group

    def _work_off(self, group: list[_Job]) -> None:
        try:
            results = self._work([job.call for job in group])
        except BaseException as problem:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            results = [(None, problem)] * len(group)
        for job, result in zip(group, results, strict=True):
            job.result = result
        for loop in dict.fromkeys(job.loop for job in group):
            self._tell(loop, [job for job in group if job.loop is loop])

    def _tell(self, loop: asyncio.AbstractEventLoop, jobs: list[_Job]) -> None:
        try:
            loop.call_soon_threadsafe(self._settle, jobs)
        except RuntimeError:  # that loop has ended, and with it whoever waited
            return

    def _settle(self, jobs: list[_Job]) -> None:
        for job in jobs:
            self._room.release()
            if job.future.done():  # cancelled meanwhile
                continue
            value, problem = job.result
            if problem is None:
                job.future.set_result(value)
            else:
                job.future.set_exception(problem)
