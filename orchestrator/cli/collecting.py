"""Python's collector of cycles, kept from stopping a controller.

What runs are made of lives for days, and what they know is made anew at each look; all of it goes by its reference
counts alone. The collector can't tell, and waits until there is much to look at: with 10,000 runs it walked over a
million and a half objects twice a minute, half a second in which nobody was answered, and found no cycle. So it looks
often, at what was made within the moment, and what is left of that is set aside (``gc.freeze``) and not walked over any
more. A cycle may end up there too, as when something goes wrong that was begun a while ago. All is walked over once in
hours, and where cycles are found at all, once there were many.
"""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

EVERY_SECONDS = 0.5
SELDOM_SECONDS = 3600.0
MANY = 100_000
"""Objects in cycles, some 10 MB: where young looks found so many, others were set aside."""
SHARE_OF_TIME, SHARE_WITH_MANY = 1 / 10_000, 1 / 20
"""That looking at all may take, usually and where there are many: two seconds with 10,000 runs."""
YOUNG, ALL = 1, 2
"""Generations. The youngest two are what is not set aside."""
THRESHOLDS = (1_000_000, 20, 1_000_000)
"""When Python looks by itself: if a million objects more are made than go within a moment."""


class Collecting:
    """*began*, *now*: seconds, monotonic."""

    def __init__(self, began: float) -> None:
        self._all_again_at = began + SELDOM_SECONDS
        self._with_many_at = began
        self._found = 0

    def look(self, now: float) -> None:
        """Frees cycles among what is new, and sets the rest aside."""
        if now >= (self._all_again_at if self._found < MANY else self._with_many_at):
            self._look_at_all(now)
        else:
            self._found += gc.collect(YOUNG)
        gc.freeze()

    def _look_at_all(self, now: float) -> None:
        began = time.perf_counter()
        gc.unfreeze()
        gc.collect(ALL)
        took = time.perf_counter() - began
        self._found = 0
        self._with_many_at = now + took / SHARE_WITH_MANY
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
