from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from orchestrator.journal.memory import MemoryStore
from orchestrator.journal.sqlite import SqliteStore

Store = MemoryStore | SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "store.db")
    yield made
    await made.close()


@pytest.fixture
async def reopen(store: Store) -> AsyncIterator[Callable[[], Awaitable[Store]]]:
    """Closes the store and gives what a controller that starts afterwards finds; of a store in memory the same one."""
    opened: list[Store] = []

    async def again() -> Store:
        await store.close()
        opened.append(SqliteStore(store.path) if isinstance(store, SqliteStore) else store)
        return opened[-1]

    yield again
    for one in opened:
        await one.close()
