"""Bounds on what clients may ask for: the size of bodies, how often flags are evaluated, how many do so at a time."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque

KIB = 1024
MIB = 1024 * KIB

PLAN_BYTES = 16 * MIB  # a plan travels with the files that it needs
EVALUATION_BYTES = 256 * KIB
EVALUATION_SECONDS = 30.0  # for a body of that size to arrive
OTHER_BYTES = MIB

_BIG = ("/api/v1/runs", "/api/v1/plans/validate", "/api/v1/flags/import")


def body_limit(path: str) -> int:
    """Bytes that the body of a request to *path* may have."""
    if path in _BIG:
        return PLAN_BYTES
    return EVALUATION_BYTES if path.startswith("/ofrep/") else OTHER_BYTES


class Places:
    """How many may do something at once."""

    __slots__ = ("most", "taken")

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    @property
    def are_gone(self) -> bool:
        return self.taken >= self.most


class Turns:
    """Lets *most* pass in one turn of the event loop, in the order in which they came. When thousands have something to
    do at the same moment, whatever else runs in this process waits for a few of them and not for all."""

    __slots__ = ("_is_due", "_loop", "_taken", "_waiting", "most")

    def __init__(self, most: int = 50) -> None:
        self.most = most
        self._begin_in(None)

    def _begin_in(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._taken = 0
        self._is_due = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._begin_in(loop)
        self._plan(loop)
        if self._taken < self.most and not self._waiting:
            self._taken += 1
            return
        waiter = loop.create_future()
        self._waiting.append(waiter)
        await waiter

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_due = False
        self._taken = 0
        while self._waiting and self._taken < self.most:
            waiter = self._waiting.popleft()
            if not waiter.done():  # it is, if its client went away
                waiter.set_result(None)
                self._taken += 1
        if self._taken:
            self._plan(loop)


class RateLimit:
    """A bucket of *burst* requests for each client, refilled with *per_second*. Remembers the last 10,000 clients."""

    MOST_CLIENTS = 10_000

    def __init__(self, per_second: float, burst: int) -> None:
        if per_second <= 0 or burst < 1:
            raise ValueError("a rate limit needs more than 0 requests per second and a burst of at least 1")
        self._per_second = per_second
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> (left, at)

    def wait_seconds(self, client: str, now: float, take: float = 1.0) -> int:
        """0 if the request may go on, else in how many whole seconds to come again. *now* is monotonic; with a *take*
        of 0 it is only looked whether it might."""
        left, at = self._buckets.pop(client, (float(self._burst), now))
        left = min(left + (now - at) * self._per_second, self._burst)
        allowed = left >= 1
        self._buckets[client] = (left - take if allowed else left, now)
        if len(self._buckets) > self.MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0 if allowed else max(math.ceil((1 - left) / self._per_second), 1)
