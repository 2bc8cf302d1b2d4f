"""Freezes as a store keeps them: one row a place, the newest, whether it stands or not."""

from typing import Final, Protocol

from orchestrator.core.freeze import Freeze
from orchestrator.token_port import Note

FROZEN: Final = "frozen"
UNFROZEN: Final = "unfrozen"
"""What the log calls them, where it also says who made and revoked tokens."""


class Freezes(Protocol):
    """The freezes of a store, for reading. Raises StoreError."""

    async def newest(self) -> list[Freeze]:
        """Of each place that was ever frozen, by the place."""
        ...


class FreezeStorage(Freezes, Protocol):
    async def put(self, freeze: Freeze, before: int | None, note: Note) -> bool:
        """Writes *freeze* and its line in the log, in one transaction, if its place is at revision *before* still
        (None: it was never frozen). Whether it stands there now: the same call again changes nothing, and is true.
        """
        ...
