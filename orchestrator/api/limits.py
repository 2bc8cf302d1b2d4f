"""Bounds on what a client may ask for: the size of bodies, and how often flags are evaluated."""

from __future__ import annotations

import math
from collections import OrderedDict

KIB = 1024
MIB = 1024 * KIB

PLAN_BYTES = 16 * MIB  # a plan travels with the files that it needs
EVALUATION_BYTES = 256 * KIB
OTHER_BYTES = MIB

_BIG = ("/api/v1/runs", "/api/v1/plans/validate")


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


class RateLimit:
    """A bucket of *burst* requests for each client, refilled with *per_second*. Remembers the last 10,000 clients."""

    MOST_CLIENTS = 10_000

    def __init__(self, per_second: float, burst: int) -> None:
        if per_second <= 0 or burst < 1:
            raise ValueError("a rate limit needs more than 0 requests per second and a burst of at least 1")
        self._per_second = per_second
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> (left, at)

    def wait_seconds(self, client: str, now: float) -> int:
        """0 if the request may go on, else in how many whole seconds to come again. *now* is monotonic."""
        left, at = self._buckets.pop(client, (float(self._burst), now))
        left = min(left + (now - at) * self._per_second, self._burst)
        allowed = left >= 1
        self._buckets[client] = (left - 1 if allowed else left, now)
        if len(self._buckets) > self.MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0 if allowed else max(math.ceil((1 - left) / self._per_second), 1)
