from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from orchestrator.journal.memory import MemoryStore
from orchestrator.journal.postgresql import PostgresStore
from orchestrator.journal.sqlite import SqliteStore
from orchestrator.ports import Member
from tests.support.stores import PostgresSchema

Store = MemoryStore | SqliteStore | PostgresStore


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store
    match request.param:
        case "memory":
            made = MemoryStore()
        case "sqlite":
            made = SqliteStore(tmp_path / "store.db")
        case _:
            schema: PostgresSchema = request.getfixturevalue("postgres_schema")
            made = PostgresStore(schema.url, Member("controller", "http://controller:8040"))
    yield made
    await made.close()


@pytest.fixture
async def reopen(request: pytest.FixtureRequest, store: Store) -> AsyncIterator[Callable[[], Awaitable[Store]]]:
    """Closes the store and gives what a controller that starts afterwards finds; of a store in memory the same one."""
    opened: list[Store] = []

    async def again() -> Store:
        await store.close()
        match store:
            case SqliteStore():
                opened.append(SqliteStore(store.path))
            case PostgresStore():
                opened.append(PostgresStore(request.getfixturevalue("postgres_schema").url, store.me))
            case _:
                opened.append(store)
        return opened[-1]

    yield again
    for one in opened:
        await one.close()
