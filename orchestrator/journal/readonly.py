"""The writing half of a store that is open for reading only."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

from orchestrator.core.events import Event
from orchestrator.errors import StoreError
from orchestrator.ports import Batch, FlagRecord, FlagWrite, NewRun, Recorded
from stages.values import Json


class RefusesWrites:
    """What writes of ``Journal`` and ``FlagStore`` raises StoreError, until a subclass does it."""

    name: str
    """Of the store, as people may see it."""

    async def start(
        self, new: NewRun, epoch: int, at: float, events: Sequence[Event], summary: Mapping[str, Json]
    ) -> list[Recorded]:
        self._refuse()

    async def append(self, batch: Batch) -> list[Recorded]:
        self._refuse()

    async def take(self, run: str) -> int:
        self._refuse()

    async def save_evidence(self, seen: Mapping[str, tuple[int, str]]) -> None:
        self._refuse()

    async def write(self, write: FlagWrite, at: float) -> FlagRecord:
        self._refuse()

    async def new_generation(self) -> int:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StoreError(f"The store {self.name} is open for reading only: give this to its controller.")
