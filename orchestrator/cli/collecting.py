"""Python's collector of cycles, kept from stopping a controller.

What runs are made of lives for days, and what they know is made anew at each look; all of it goes by its reference
counts alone. The collector can't tell, and waits until there is much to look at: with 10,000 runs it walked over a
million and a half objects twice a minute, half a second in which nobody was answered, and found no cycle. So it looks
often, at what was made within the moment, and what is left of that is set aside (``gc.freeze``) and not walked over any
more. Where that finds nothing, most of it is set aside unseen. A cycle may end up there too: what an application leaves
whose stream of flags ends is one. So all is walked over once in hours, or when there is clearly more than there was.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

EVERY_SECONDS = 0.5
SELDOM_SECONDS, SHARE_OF_TIME = 3600.0, 1 / 10_000
"""Between two looks at all, and what they may take of the time: 2 s with 10,000 runs, so six hours."""
GROWN, GROWN_BLOCKS, SOON_SECONDS = 1.25, 1_000_000, 60.0
"""Blocks of memory (a million are some 80 MB), times those that the last look at all left, and then so many more, are
clearly more; and how long after it the next one is at the earliest."""
ONE_OF, FOUND_SECONDS = 8, 600.0
"""Of so many looks at what is new one is made; but each is for a minute from the start, and for so long after a cycle
was found."""
YOUNG, ALL = 1, 2
"""Generations. The youngest two are what is not set aside."""
THRESHOLDS = (1_000_000, 20, 1_000_000)
"""When Python looks by itself: if a million objects more are made than go within a moment."""


class Collecting:
    """*began*, *now*: seconds, monotonic."""

    def __init__(self, began: float) -> None:
        self._all_again_at = began + SELDOM_SECONDS
        self._soon_at = began + SOON_SECONDS
        self._each_until = began + SOON_SECONDS
        self._since_then = 0
        self._left: int | None = None

    def look(self, now: float) -> None:
        """Frees cycles among what is new, mostly, and sets the rest aside."""
        if now >= self._all_again_at or (now >= self._soon_at and self._has_grown()):
            self._look_at_all(now)
        elif self._looks_at_what_is_new(now) and gc.collect(YOUNG) > 0:
            self._each_until, self._since_then = now + FOUND_SECONDS, 0
        gc.freeze()

    def _looks_at_what_is_new(self, now: float) -> bool:
        if now < self._each_until:
            return True
        self._since_then += 1
        return self._since_then % ONE_OF == 1

    def _has_grown(self) -> bool:
        blocks = sys.getallocatedblocks()
        if self._left is None:  # a minute after the start: the runs that were there are taken up
            self._left = blocks
        return blocks > GROWN * self._left + GROWN_BLOCKS

    def _look_at_all(self, now: float) -> None:
        began = time.perf_counter()
        gc.unfreeze()
        gc.collect(ALL)
        took = time.perf_counter() - began
        self._left = sys.getallocatedblocks()
        self._soon_at = now + SOON_SECONDS
        self._all_again_at = now + max(SELDOM_SECONDS, took / SHARE_OF_TIME)

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            self.look(time.monotonic())


@contextmanager
def rare_collection() -> Iterator[None]:
    """For as long as a controller is there, in a running event loop; then all is as it was."""
    usual = gc.get_threshold()
    collecting = Collecting(time.monotonic())
    gc.set_threshold(*THRESHOLDS)
    collecting.look(time.monotonic())
    watch = asyncio.create_task(collecting.watch(), name="collector of cycles")
    try:
        yield
    finally:
        watch.cancel()
        gc.set_threshold(*usual)
        gc.unfreeze()
