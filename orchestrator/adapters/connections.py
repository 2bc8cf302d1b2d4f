"""Connections that are kept for the next question to the same server.

Each is one request's alone while it is used, so that a request that is cut short closes its own and nobody else's, and
nobody waits for a free one. Only requests that merely read use them: a kept connection may have been closed by the
server at the moment when it is used again, and then the request is sent once more over a new one.
"""

import contextlib
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    async def aclose(self) -> None: ...


T = TypeVar("T", bound=Closable)

MOST_IDLE = 8  # per server
MOST_SERVERS = 64
IDLE_SECONDS = 25.0  # servers close after a minute and more, most proxies after 30 s


class Connections(Generic[T]):
    """For one event loop. A place is whatever tells servers, and whom they are trusted as, apart."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._idle: dict[Hashable, list[tuple[float, T]]] = {}
        self._is_closed = False

    async def take(self, place: Hashable) -> T | None:
        """The one that was used last, which is the caller's until it is given back; None if there is none."""
        await self._close_old()
        idle = self._idle.get(place)
        if not idle:
            return None
        _, taken = idle.pop()
        return taken

    async def give_back(self, place: Hashable, connection: T) -> None:
        idle = self._idle.get(place, [])
        if self._is_closed or len(idle) >= MOST_IDLE or (not idle and len(self._idle) >= MOST_SERVERS):
            await connection.aclose()
            return
        idle.append((self._now(), connection))
        self._idle[place] = idle

    async def close(self) -> None:
        self._is_closed = True
        found = [connection for idle in self._idle.values() for _, connection in idle]
        self._idle.clear()
        await _close(found)

    async def _close_old(self) -> None:
        await _close(self._take_old())

    def _take_old(self) -> list[T]:
        """All at once: while one is being closed, others take and give back."""
        oldest = self._now() - IDLE_SECONDS
        kept = {place: [one for one in idle if one[0] >= oldest] for place, idle in self._idle.items()}
        found = [connection for idle in self._idle.values() for since, connection in idle if since < oldest]
        self._idle = {place: idle for place, idle in kept.items() if idle}
        return found


async def _close(connections: Iterable[Closable]) -> None:
    for connection in connections:
        with contextlib.suppress(Exception):  # it is not needed any more, however it ends
            await connection.aclose()
