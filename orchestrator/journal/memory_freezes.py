"""Freezes in memory, for tests and the simulation."""

from orchestrator.core.freeze import Freeze
from orchestrator.journal.memory_tokens import MemoryTokens
from orchestrator.token_port import Note


class MemoryFreezes:
    """The ``FreezeStorage`` of a store in memory, whose log is that of its *tokens*."""

    def __init__(self, tokens: MemoryTokens) -> None:
        self._tokens = tokens
        self._freezes: dict[str, Freeze] = {}

    async def newest(self) -> list[Freeze]:
        return [freeze for _, freeze in sorted(self._freezes.items())]

    async def put(self, freeze: Freeze, before: int | None, note: Note) -> bool:
        known = self._freezes.get(freeze.environment)
        if known != freeze and (known.revision if known is not None else None) != before:
            return False
        self._freezes[freeze.environment] = freeze
        await self._tokens.note([note])
        return True
