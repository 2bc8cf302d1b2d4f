"""The course of runs, for those who draw it and page through their journals.

A journal may have ten thousand entries, and many look at the same run: what was read of it is kept and read on from
there, a piece at a time, so that nothing else waits for long.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from orchestrator.core.timeline import Timeline

if TYPE_CHECKING:
    from orchestrator.service import Service

MOST_KEPT: Final = 32


class Timelines:
    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Timeline, asyncio.Lock]] = OrderedDict()

    async def shown(self, service: Service, run: str, after: int, before: int | None, limit: int) -> dict[str, Any]:
        """The course of *run*, and the newest *limit* of its entries behind *after* and *before* another, newest
        first, each with its sentence as ``what``."""
        timeline = await self._read(service, run)
        last = timeline.seq if before is None else min(before - 1, timeline.seq)
        first = max(after, last - limit)
        entries = await service.history(run, first, last - first) if last > first else []
        told = [_told(timeline, entry) for entry in reversed(entries)]
        return {"run": run, **timeline.shown(), "entries": told, "has_earlier": first > 0}

    async def _read(self, service: Service, run: str) -> Timeline:
        if (kept := self._kept.get(run)) is None:
            stages = (await service.status(run)).get("stages") or ()
            kept = self._kept.setdefault(run, (Timeline(stages), asyncio.Lock()))
        self._kept.move_to_end(run)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        timeline, lock = kept
        async with lock:
            async for entries in service.pieces(run, timeline.seq):
                for entry in entries:
                    timeline.take(entry)
                await asyncio.sleep(0)
        return timeline


def _told(timeline: Timeline, entry: dict[str, Any]) -> dict[str, Any]:
    names = ("seq", "time", "type", "by", "reason")
    return {**{name: entry[name] for name in names}, "what": timeline.tell(entry)}
