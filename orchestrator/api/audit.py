"""Who was refused what: written down beside who made and revoked tokens, and never in the way of an answer.

Refusals wait in memory for the store, a thousand at most, and are written together. Of one address ten a minute are
written out; how many came beyond those is said by the next that is. So an attacker fills neither memory nor the store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from orchestrator.api.errors import Refusal
from orchestrator.api.issued import drawn_id
from orchestrator.api.limits import RateLimit
from orchestrator.errors import RolloutError
from orchestrator.token_port import REFUSED, Note, TokenStorage

log = structlog.get_logger()

MOST_WAITING: Final = 1000
BURST, PER_SECOND = 10, 10 / 60
NOBODY: Final = "nobody"
_MOST_LETTERS: Final = 300
_AGAIN_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 2.0


class Audit:
    def __init__(self, storage: TokenStorage | None, now: Callable[[], float], monotonic: Callable[[], float]) -> None:
        """Without *storage* nothing is kept; the log has every refusal in any case."""
        self._storage = storage
        self._now = now
        self._monotonic = monotonic
        self._limit = RateLimit(PER_SECOND, BURST)
        self._waiting: deque[Note] = deque(maxlen=MOST_WAITING)
        self._omitted = 0
        self._writing: asyncio.Task[None] | None = None

    def refused(self, refusal: Refusal) -> None:
        log.warning(
            "refused", method=refusal.method, path=refusal.path, status=refusal.status, by=refusal.by,
            peer=refusal.peer, why=refusal.why,
        )  # fmt: skip
        if self._storage is None:
            return
        if self._limit.wait_seconds(refusal.peer, self._monotonic()) or len(self._waiting) == MOST_WAITING:
            self._omitted += 1
            return
        detail: dict[str, str | int | None] = {
            "method": refusal.method,
            "path": refusal.path[:_MOST_LETTERS],
            "status": refusal.status,
            "why": refusal.why[:_MOST_LETTERS],
            "peer": refusal.peer,
        }
        if self._omitted:
            detail["omitted"], self._omitted = self._omitted, 0
        self._waiting.append(Note(drawn_id(), self._now(), REFUSED, refusal.by or NOBODY, detail))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(self._storage), name="audit")

    async def close(self) -> None:
        """Writes what waits, but not for long."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=_CLOSE_SECONDS)
        if self._writing is not None:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing

    async def _write(self, storage: TokenStorage) -> None:
        try:
            while self._waiting:
                notes = list(self._waiting)
                try:
                    await storage.note(notes)
                except RolloutError as problem:
                    log.warning("refusals can't be written down", why=str(problem), waiting=len(notes))
                    await asyncio.sleep(_AGAIN_SECONDS)
                    continue
                for _ in notes:
                    self._waiting.popleft()
        finally:
            self._writing = None
