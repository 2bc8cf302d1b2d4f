"""Checkpoints of many runs, written together.

What a run has seen may be lost at no risk, so writing it is in no hurry: what runs want kept within a moment goes to
the store as one. Nobody waits for it, and a newer checkpoint of a run takes the place of one that is not written yet.
"""

import asyncio
from collections.abc import Mapping

import structlog

from orchestrator.errors import StoreError
from orchestrator.failpoints import Point, reach
from orchestrator.ports import Journal

log = structlog.get_logger()

TOGETHER_SECONDS = 0.25
MOST_TOGETHER = 250
"""Runs. What waits for a commit of many waits for all of them, and it may be a person's command."""


class Checkpoints:
    """For one event loop."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: dict[str, tuple[int, str]] = {}
        self._writing: asyncio.Task[None] | None = None

    def keep(self, run: str, epoch: int, text: str) -> None:
        self._waiting[run] = (epoch, text)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="checkpoints")

    async def keep_last(self, run: str, epoch: int, text: str) -> None:
        """At once, instead of what waits; returns when it is written, or can't be."""
        self._waiting.pop(run, None)
        await self._save({run: (epoch, text)})

    async def _write(self) -> None:
        while self._waiting:
            await asyncio.sleep(TOGETHER_SECONDS)
            runs = list(self._waiting)
            for first in range(0, len(runs), MOST_TOGETHER):
                some = [
                    run for run in runs[first : first + MOST_TOGETHER] if run in self._waiting
                ]  # the others are kept
                await self._save({run: self._waiting.pop(run) for run in some})

    async def _save(self, seen: Mapping[str, tuple[int, str]]) -> None:
        try:
            reach(Point.CHECKPOINT_BEFORE)
            await self._journal.save_evidence(seen)
        except StoreError as error:
            log.warning("checkpoint.unwritable", runs=len(seen), error=str(error))
