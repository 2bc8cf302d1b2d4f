"""Finished runs of which only the report is kept: what a store does with them.

Such a run keeps its row, so lists and references go on as before, a document (its report, and its status at that time),
and the hashes of all its entries, so that a head that left the house before can be compared for good. Its entries, the
answers to its commands and its evidence are gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from stages.values import Json

if TYPE_CHECKING:
    from orchestrator.ports import RunRow


@dataclass(frozen=True, slots=True)
class Cut:
    """Keep of a *run* only the *document*, if it still stands at *rev* and has that *epoch*."""

    run: str
    rev: int
    epoch: int
    at: float
    document: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a run since *at*. *hashes*: of its entries, hex, in order."""

    run: str
    at: float
    document: Mapping[str, Json]
    hashes: tuple[str, ...]

    @property
    def head(self) -> str:
        """Number and hash of its last entry, as ``SEQ:HASH``."""
        return f"{len(self.hashes)}:{self.hashes[-1]}"


class KeptReports(Protocol):
    """For reading. Raises StoreError."""

    async def kept(self, run: str) -> Kept | None:
        """None of a run that is whole, or not there."""
        ...


class KeepingStorage(KeptReports, Protocol):
    async def finished(self, before: float, after: RunRow | None = None, limit: int = 100) -> list[RunRow]:
        """Whole runs that are not active and began *before* that time, oldest first, from behind *after* on."""
        ...

    async def heirs(self, run: str) -> list[RunRow]:
        """Runs that superseded it or took it back, oldest first."""
        ...

    async def cut(self, cut: Cut) -> bool:
        """In one transaction. False, and nothing is done, if it was cut before.

        Whoever held the run is fenced from then on, and nothing can be appended to it. Raises ``Fenced`` or
        ``Conflict`` if somebody had it since, if it or one of its heirs is active, or if its entries are not all there.
        """
        ...
