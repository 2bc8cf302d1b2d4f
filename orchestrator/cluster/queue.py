"""Work by key: each key one at a time, soon after it was asked for, again later if it did not work.

A key that is asked for while it is worked on is worked on once more afterwards. Asked for twice before, it is worked on
once, at the earlier of the two times.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

import structlog

from orchestrator.errors import RolloutError, Temporary

log = structlog.get_logger()
Key = TypeVar("Key", bound=Hashable)

FIRST_AGAIN_SECONDS = 1.0
LONGEST_AGAIN_SECONDS = 60.0


@dataclass(slots=True)
class WorkQueue(Generic[Key]):
    """*work* does one key and returns after how many seconds it wants to be asked again (None: not by itself)."""

    work: Callable[[Key], Awaitable[float | None]]
    workers: int
    _due: dict[Key, float] = field(default_factory=dict)
    _heap: list[tuple[float, int, Key]] = field(default_factory=list)
    _busy: set[Key] = field(default_factory=set)
    _failures: dict[Key, int] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=count)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, key: Key, after_seconds: float = 0.0) -> None:
        due = asyncio.get_running_loop().time() + after_seconds
        if due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._numbers), key))
        self._changed.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.workers):
                group.create_task(self._worker(), name=f"worker {number}")

    async def _worker(self) -> None:
        while True:
            key = await self._next()
            again: float | None = None
            try:
                again = await self._done(key)
            finally:
                self._busy.discard(key)
                self._changed.set()
            if again is not None:
                self.add(key, again)

    async def _next(self) -> Key:
        while True:
            self._changed.clear()
            found, wait = self._pick(asyncio.get_running_loop().time())
            if found is not None:
                return found
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _pick(self, now: float) -> tuple[Key | None, float | None]:
        """A key to work on now; else how long nothing is due (None: until something is asked for)."""
        later: list[tuple[float, int, Key]] = []
        try:
            while self._heap:
                due, number, key = heapq.heappop(self._heap)
                if self._due.get(key) != due:
                    continue  # it was asked for earlier too, and that is done
                if due <= now and key not in self._busy:
                    del self._due[key]
                    self._busy.add(key)
                    return key, None
                later.append((due, number, key))
                if due > now:
                    return None, due - now
            return None, None
        finally:
            for entry in later:
                heapq.heappush(self._heap, entry)

    async def _done(self, key: Key) -> float | None:
        try:
            again = await self.work(key)
        except RolloutError as error:
            return self._failed(key, error)
        except Exception as error:
            log.exception("cluster.crashed", key=str(key))
            return self._failed(key, error)
        self._failures.pop(key, None)
        return again

    def _failed(self, key: Key, error: Exception) -> float:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        log.warning("cluster.again", key=str(key), error=str(error), tries=count + 1)
        asked = error.retry_after_seconds if isinstance(error, Temporary) else None
        return asked or min(FIRST_AGAIN_SECONDS * 2.0**count, LONGEST_AGAIN_SECONDS)
