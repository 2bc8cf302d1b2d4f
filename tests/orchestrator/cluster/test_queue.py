"""Work by key: one at a time for each, nothing forgotten, again after a failure."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestrator.cluster import queue
from orchestrator.cluster.queue import WorkQueue
from orchestrator.errors import Refused, Temporary
from tests.support.process import DEADLINE_SECONDS


@asynccontextmanager
async def working(made: WorkQueue[str]) -> AsyncIterator[None]:
    task = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Worker:
    """Notes what it does; *gate* holds it back, *failures* are raised first."""

    def __init__(self, *failures: Exception, again: float | None = None) -> None:
        self.begun: list[str] = []
        self.done: list[str] = []
        self.running: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.moved = asyncio.Event()
        self._failures = list(failures)
        self._again = again

    async def work(self, key: str) -> float | None:
        assert key not in self.running, "the same key twice at a time"
        self.running.add(key)
        self.begun.append(key)
        self.moved.set()
        await self.gate.wait()
        self.running.discard(key)
        if self._failures:
            raise self._failures.pop(0)
        self.done.append(key)
        self.moved.set()
        again, self._again = self._again, None
        return again

    async def until_done(self, count: int) -> None:
        while len(self.done) < count:
            self.moved.clear()
            await self.moved.wait()

    async def until_begun(self, count: int) -> None:
        while len(self.begun) < count:
            self.moved.clear()
            await self.moved.wait()


async def test_a_key_that_is_asked_for_twice_before_it_is_done_is_done_once() -> None:
    worker = Worker()
    made = WorkQueue(worker.work, 2)
    made.add("a", 0.01)
    made.add("a")
    made.add("b", 0.02)
    async with working(made):
        await worker.until_done(2)
    assert worker.done == ["a", "b"]


async def test_a_key_that_is_asked_for_while_it_is_worked_on_is_done_once_more_and_never_twice_at_a_time() -> None:
    worker = Worker()
    worker.gate.clear()
    made = WorkQueue(worker.work, 3)
    async with working(made):
        made.add("a")
        await worker.until_begun(1)
        made.add("a")
        made.add("b")
        await worker.until_begun(2)  # another key goes on beside it
        assert worker.begun == ["a", "b"]
        worker.gate.set()
        await worker.until_done(3)
    assert sorted(worker.done) == ["a", "a", "b"]


@pytest.mark.parametrize("failure", (Refused("no"), Temporary("away", 0.01), ValueError("a bug")))
async def test_what_fails_is_tried_again(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "FIRST_AGAIN_SECONDS", 0.01)
    worker = Worker(failure, failure)
    made = WorkQueue(worker.work, 1)
    async with working(made):
        made.add("a")
        await worker.until_done(1)
    assert worker.begun == ["a", "a", "a"]


async def test_work_may_ask_for_itself_again() -> None:
    worker = Worker(again=0.01)
    made = WorkQueue(worker.work, 1)
    async with working(made):
        made.add("a")
        await worker.until_done(2)
    assert worker.done == ["a", "a"]
