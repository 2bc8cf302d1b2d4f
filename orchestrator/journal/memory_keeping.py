"""Finished runs of which only the report is kept, in memory."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.journal import rules
from orchestrator.journal.keeping_rows import kept_of, packed, packed_hashes
from orchestrator.keeping_port import Cut, Kept
from orchestrator.ports import RunRow

if TYPE_CHECKING:
    from orchestrator.journal.memory import StoredRun


class MemoryKeeping:
    """The ``KeepingStorage`` of a store in memory. *runs*: those of the store, by name."""

    def __init__(self, runs: "Callable[[], Mapping[str, StoredRun]]") -> None:
        self._runs = runs
        self._kept: dict[str, Kept] = {}

    async def kept(self, run: str) -> Kept | None:
        return self._kept.get(run)

    async def finished(self, before: float, after: RunRow | None = None, limit: int = 100) -> list[RunRow]:
        whole = (run.row for run in self._runs().values() if not run.row.active and run.row.kept is None)
        wanted = (row for row in whole if row.created < before and (after is None or _place(row) > _place(after)))
        return sorted(wanted, key=_place)[: max(limit, 0)]

    async def heirs(self, run: str) -> list[RunRow]:
        return sorted((one.row for one in self._runs().values() if one.refers_to == run), key=_place)

    async def cut(self, cut: Cut) -> bool:
        run = self._runs().get(cut.run)
        if run is None:
            raise rules.no_run(cut.run)
        if run.row.kept is not None:
            return False
        heir = next((row.run for row in await self.heirs(cut.run) if row.active), None)
        rules.check_cut(cut, run.row.rev, run.row.epoch, run.row.active, heir)
        hashes = [record.hash for record in run.events]
        rules.check_entries(cut, hashes, run.head)
        self._kept[cut.run] = kept_of(cut.run, float(cut.at), packed(cut.document), packed_hashes(hashes))
        run.row = replace(run.row, kept=float(cut.at), epoch=run.row.epoch + 1)
        run.events.clear()
        run.answers.clear()
        run.evidence = None
        return True


def _place(row: RunRow) -> tuple[float, str]:
    return row.created, row.run
