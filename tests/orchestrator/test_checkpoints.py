"""What runs have seen is written together, and nobody waits for it."""

import asyncio
from collections.abc import Mapping

import structlog

from orchestrator.checkpoints import MOST_TOGETHER, TOGETHER_SECONDS, Checkpoints
from orchestrator.errors import StoreError
from orchestrator.journal.memory import MemoryStore
from tests.simulation.loop import simulate


class Store(MemoryStore):
    """Notes at which virtual time each checkpoint is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[float, str, str]] = []
        self.calls = 0
        self.is_away = False

    async def save_evidence(self, seen: Mapping[str, tuple[int, str]]) -> None:
        if self.is_away:
            raise StoreError("the disk is full")
        self.calls += 1
        self.written += [(asyncio.get_running_loop().time(), run, text) for run, (_, text) in seen.items()]


def test_what_runs_want_kept_within_a_moment_is_written_at_once() -> None:
    async def work() -> None:
        store = Store()
        checkpoints = Checkpoints(store)
        for number in range(100):
            checkpoints.keep(f"r-{number}", 1, "seen")
            await asyncio.sleep(TOGETHER_SECONDS / 200)
        await asyncio.sleep(TOGETHER_SECONDS)
        assert store.calls == 1
        assert {run for _, run, _ in store.written} == {f"r-{number}" for number in range(100)}

    simulate(work, 60.0)


def test_the_newest_of_a_run_takes_the_place_of_one_that_waits() -> None:
    async def work() -> None:
        store = Store()
        checkpoints = Checkpoints(store)
        checkpoints.keep("r", 1, "one")
        checkpoints.keep("r", 1, "two")
        await asyncio.sleep(2 * TOGETHER_SECONDS)
        checkpoints.keep("r", 1, "three")
        await asyncio.sleep(2 * TOGETHER_SECONDS)
        assert [text for _, _, text in store.written] == ["two", "three"]

    simulate(work, 60.0)


def test_the_last_one_is_written_without_waiting_and_nothing_older_after_it() -> None:
    async def work() -> None:
        store = Store()
        checkpoints = Checkpoints(store)
        checkpoints.keep("r", 1, "one")
        await checkpoints.keep_last("r", 1, "last")
        assert [text for _, _, text in store.written] == ["last"]
        await asyncio.sleep(2 * TOGETHER_SECONDS)
        assert [text for _, _, text in store.written] == ["last"]

    simulate(work, 60.0)


def test_a_store_that_is_away_costs_the_checkpoint_and_nothing_else() -> None:
    async def work() -> None:
        store = Store()
        store.is_away = True
        checkpoints = Checkpoints(store)
        with structlog.testing.capture_logs() as logs:
            checkpoints.keep("r", 1, "one")
            await asyncio.sleep(2 * TOGETHER_SECONDS)
        assert [(entry["event"], entry["runs"]) for entry in logs] == [("checkpoint.unwritable", 1)]
        store.is_away = False
        checkpoints.keep("r", 1, "two")
        await asyncio.sleep(2 * TOGETHER_SECONDS)
        assert [text for _, _, text in store.written] == ["two"]

    simulate(work, 60.0)


def test_of_many_nothing_older_is_written_after_the_last_one_of_a_run() -> None:
    class Slow(Store):
        async def save_evidence(self, seen: Mapping[str, tuple[int, str]]) -> None:
            await asyncio.sleep(1.0 if len(seen) > 1 else 0.0)
            await super().save_evidence(seen)

    async def work() -> None:
        store = Slow()
        checkpoints = Checkpoints(store)
        for number in range(3 * MOST_TOGETHER):
            checkpoints.keep(f"r-{number}", 1, "seen")
        await asyncio.sleep(2 * TOGETHER_SECONDS)
        newest = f"r-{3 * MOST_TOGETHER - 1}"
        await checkpoints.keep_last(newest, 1, "last")
        await asyncio.sleep(10.0)
        assert [text for _, run, text in store.written if run == newest] == ["last"]
        assert len(store.written) == 3 * MOST_TOGETHER
        assert store.calls == 4

    simulate(work, 60.0)
