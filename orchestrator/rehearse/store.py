"""The store of a rehearsal: in memory, with copies of how it stood, and a door for each life of a controller."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from flags.model import Version
from orchestrator.core.events import Event
from orchestrator.errors import StoreError
from orchestrator.journal.memory import MemoryStore, StoredRun
from orchestrator.ports import Answer, Batch, FlagRecord, FlagWrite, NewRun, Recorded, RunRow
from orchestrator.rehearse.loop import Life
from stages.values import Json

Heard = Callable[[Sequence[Recorded]], None]
WRITE_SECONDS = 0.005


class RehearsalStore(MemoryStore):
    def copied(self, rev: int | None = None) -> "RehearsalStore":
        """As it stands now, or when a run had so many events. What is in it is never changed in place, so only its
        shelves are copied."""
        made = RehearsalStore()
        made._given = replace(self._given)
        made._runs = {name: _shortened(run, rev) for name, run in self._runs.items()}
        made._claims = dict(self._claims)
        made._flags = dict(self._flags)
        made._history = {place: list(records) for place, records in self._history.items()}
        return made

    @property
    def runs(self) -> list[str]:
        return list(self._runs)

    def flag(self, environment: str, key: str) -> FlagRecord | None:
        return self._flags.get((environment, key))

    def records(self, run: str) -> list[Recorded]:
        return self._runs[run].events

    def keep_evidence(self, run: str, text: str) -> None:
        """Whoever holds the run."""
        self._runs[run].evidence = text

    def evidence_now(self, run: str) -> str | None:
        return self._runs[run].evidence


def _shortened(run: StoredRun, rev: int | None) -> StoredRun:
    row = run.row if rev is None or rev >= run.row.rev else replace(run.row, rev=rev, active=True)
    return replace(run, row=row, events=run.events[:rev], answers=dict(run.answers))


class Door(RehearsalStore):
    """One life's way to the store: each write takes a moment, it may be shut, and a dead life gets no answer.

    *heard* is told of what became durable, at once.
    """

    def __init__(self, store: RehearsalStore, life: Life, is_shut: Callable[[], bool], heard: Heard) -> None:
        super().__init__()
        vars(self).update(vars(store))  # what it holds is held in common
        self._life = life
        self._is_shut = is_shut
        self._heard = heard

    async def _enter(self, write_seconds: float = 0.0) -> None:
        if write_seconds:
            await asyncio.sleep(write_seconds)
        if self._life.is_dead:
            await asyncio.get_running_loop().create_future()
        if self._is_shut():
            raise StoreError("the store is away")

    async def start(
        self, new: NewRun, epoch: int, at: float, events: Sequence[Event], summary: Mapping[str, Json]
    ) -> list[Recorded]:
        await self._enter(WRITE_SECONDS)
        records = await super().start(new, epoch, at, events, summary)
        self._heard(records)
        return records

    async def append(self, batch: Batch) -> list[Recorded]:
        await self._enter(WRITE_SECONDS)
        records = await super().append(batch)
        self._heard(records)
        return records

    async def take(self, run: str) -> int:
        await self._enter()
        return await super().take(run)

    async def row(self, run: str) -> RunRow | None:
        await self._enter()
        return await super().row(run)

    async def rows(self, active: bool | None = None, limit: int = 1000, plan: str | None = None) -> list[RunRow]:
        await self._enter()
        return await super().rows(active, limit, plan)

    async def holders(self, claims: Collection[str]) -> dict[str, str]:
        await self._enter()
        return await super().holders(claims)

    async def by_phase(self) -> list[tuple[str, int, int]]:
        await self._enter()
        return await super().by_phase()

    async def read(self, run: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        await self._enter()
        return await super().read(run, after, limit)

    async def answer(self, run: str, key: str) -> Answer | None:
        await self._enter()
        return await super().answer(run, key)

    async def save_evidence(self, seen: Mapping[str, tuple[int, str]]) -> None:
        await self._enter(WRITE_SECONDS)
        await super().save_evidence(seen)

    async def get(self, environment: str, key: str) -> FlagRecord | None:
        await self._enter()
        return await super().get(environment, key)

    async def all(self, environment: str | None = None) -> list[FlagRecord]:
        await self._enter()
        return await super().all(environment)

    async def write(self, write: FlagWrite, at: float) -> FlagRecord:
        await self._enter(WRITE_SECONDS)
        return await super().write(write, at)

    async def version(self) -> Version:
        await self._enter()
        return await super().version()
