"""The line before a server: a few requests at a time, and what the others wait for meanwhile counts for.

Theory of operation. A controller of thousands of runs has thousands of questions in the same second, after a start
above all. If waiting for a slot counted as the server's time, most of them would be late before they are sent, each
look after that would be no better, and every gate would hold for a server that is well. So waiting counts only while
the server answers nobody: as long as somebody's answer comes within one's own time limit, the line moves, and who
stands in it goes on waiting. What a look may take in all (``Patience``) stands still for so long. A server that hangs
is found out as soon as ever: nobody's answer comes, and everybody's time is over at once.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from types import TracebackType

_patience: ContextVar["Patience | None"] = ContextVar("patience", default=None)


class Line:
    """For one event loop. First come, first served, however long one stands there."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._moved_at = -math.inf

    @asynccontextmanager
    async def place(self, limit_seconds: float) -> AsyncIterator[None]:
        """Raises ``TimeoutError`` if nobody was answered for so long."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(limit_seconds)
        try:
            yield
        finally:
            self._give_on()

    def moved(self) -> None:
        """Somebody was answered."""
        self._moved_at = asyncio.get_running_loop().time()

    async def _wait(self, limit_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[None] = loop.create_future()
        self._waiting.append(mine)
        try:
            while not mine.done():
                since = loop.time()
                await asyncio.wait((mine,), timeout=limit_seconds)
                if not mine.done() and self._moved_at < since:
                    raise TimeoutError
        except BaseException:
            if not mine.cancel():  # it was given while its owner was leaving
                self._give_on()
            raise

    def _give_on(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


class Patience:
    """How long everything in its block may take, but for what it waits in line. As ``asyncio.timeout``."""

    def __init__(self, seconds: float) -> None:
        self._limit = asyncio.timeout(seconds)
        self._in_line = 0  # several questions of one look may be
        self._left_seconds = seconds

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._outer = _patience.set(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        _patience.reset(self._outer)
        await self._limit.__aexit__(kind, raised, trace)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        now = asyncio.get_running_loop().time
        if self._in_line == 0 and (ends := self._limit.when()) is not None and not self._limit.expired():
            self._left_seconds = ends - now()
            self._limit.reschedule(None)
        self._in_line += 1
        try:
            yield
        finally:
            self._in_line -= 1
            if self._in_line == 0 and not self._limit.expired():
                self._limit.reschedule(now() + self._left_seconds)


async def until(begun: asyncio.Event) -> None:
    """Waits in line, which is nobody's time."""
    patience = _patience.get()
    if begun.is_set():
        return
    if patience is None:
        await begun.wait()
        return
    with patience.standing_still():
        await begun.wait()
