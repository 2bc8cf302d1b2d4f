"""Those who follow journals as they grow: each has a queue of what was recorded of a run."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from orchestrator.ports import Recorded
from orchestrator.reading import shown

MOST_WAITING = 10_000
News = asyncio.Queue[Recorded | None]
"""None: nothing more comes from this controller. One that is full loses what came first: its reader finds something
missing then, and reads the store."""


class Followers:
    """For one event loop."""

    def __init__(self) -> None:
        self._of: dict[str, list[News]] = {}

    @contextmanager
    def following(self, run: str) -> Iterator[News]:
        news: News = asyncio.Queue(MOST_WAITING)
        self._of.setdefault(run, []).append(news)
        try:
            yield news
        finally:
            self._of[run].remove(news)
            if not self._of[run]:
                del self._of[run]

    def tell(self, run: str, recorded: Sequence[Recorded]) -> None:
        """What the run's journal grew by; nothing, if it does not grow here any more."""
        entries: Sequence[Recorded | None] = recorded or [None]
        for news in self._of.get(run, ()):
            for entry in entries:
                if news.full():
                    news.get_nowait()
                news.put_nowait(entry)

    def end(self) -> None:
        for run in self._of:
            self.tell(run, [])


async def entries_after(after: int, news: News) -> AsyncIterator[dict[str, Any]]:
    """Entries as they come, until one is missing (then the store is read again) or the run is over."""
    while (record := await news.get()) is not None:
        if record.seq <= after:
            continue
        if record.seq != after + 1:
            return
        after = record.seq
        yield shown(record)
        if record.event.type_name == "RunEnded":
            return
