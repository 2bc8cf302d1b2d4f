"""The flags of a store as they stand now: written through, held in memory, compiled for those who evaluate.

Everybody in this process writes flags here, so that what is served is current the moment a write is durable.
"""

from collections.abc import Callable

from flags.model import FlagDocument
from flags.snapshot import Snapshot
from orchestrator.ports import FlagRecord, FlagStore, FlagWrite, KillSwitch, Latch

Stamp = tuple[int, tuple[Latch, ...], bool]


class FlagBoard:
    """A ``FlagStore`` in front of another; *listeners* hear of every write: environment and key."""

    def __init__(self, store: FlagStore, kill_switch: KillSwitch) -> None:
        self._store = store
        self._kill_switch = kill_switch
        self._documents: dict[str, dict[str, FlagDocument]] = {}
        self._writes = 0
        self._snapshots: dict[str, tuple[Stamp, Snapshot]] = {}
        self.listeners: list[Callable[[str, str], None]] = []

    async def load(self) -> None:
        for record in await self._store.all():
            self._note(record)

    async def get(self, environment: str, key: str) -> FlagRecord | None:
        return await self._store.get(environment, key)

    async def all(self, environment: str | None = None) -> list[FlagRecord]:
        return await self._store.all(environment)

    async def history(self, environment: str, key: str, limit: int = 50) -> list[FlagRecord]:
        return await self._store.history(environment, key, limit)

    async def write(self, write: FlagWrite, at: float) -> FlagRecord:
        record = await self._store.write(write, at)
        self._note(record)
        for listener in self.listeners:
            listener(record.document.environment, record.document.key)
        return record

    def _note(self, record: FlagRecord) -> None:
        document = record.document
        known = self._documents.setdefault(document.environment, {})
        if document.key not in known or known[document.key].version < document.version:
            known[document.key] = document
            self._writes += 1

    def snapshot(self, environment: str) -> Snapshot:
        """What is answered now. Compiled anew only after a write or when the kill latch moved."""
        killed = self._kill_switch.is_killed(environment)
        stamp = (self._writes, self._kill_switch.latches(), killed)
        known = self._snapshots.get(environment)
        if known is not None and known[0] == stamp:
            return known[1]
        documents = self._documents.get(environment, {})
        lifted = [key for key in documents if killed and not self._kill_switch.is_killed(environment, key)]
        snapshot = Snapshot(documents.values(), killed, environment=environment, lifted=lifted)
        if not lifted:  # an exemption moves no latch, so what has some is made anew each time
            self._snapshots[environment] = (stamp, snapshot)
        return snapshot
