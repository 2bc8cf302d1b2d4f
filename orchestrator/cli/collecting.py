"""Python's collector of cycles, kept from stopping a controller for seconds.

What runs are made of, their plans above all, lives for days and goes by its reference counts alone. The collector would
walk over all of it again and again, and nothing else happens while it does: half a second with 400 runs, and with
10,000 longer than a lease lasts. So what has lived for a while is set aside (``gc.freeze``) and not walked over any
more. A cycle may end up there too; all is walked over now and then, so rarely that it does not count.
"""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

SET_ASIDE_SECONDS = 30.0
SELDOM_SECONDS = 3600.0
SHARE_OF_TIME = 1 / 1000
MIDDLE, OLDEST = 1, 2
"""Generations. What is older than of middle age was looked at twice; once more would take tenths of a second with
10,000 runs, in which nothing is answered."""
THRESHOLDS = (20_000, 20, 1_000_000)
"""New objects before the youngest are looked at; such looks before those of middle age are; and of these before all
that is not set aside is looked at: never, since `Collecting` does that at its own times."""


class Collecting:
    def __init__(self, began: float) -> None:
        self._all_again_at = began + SELDOM_SECONDS

    def look(self, now: float) -> None:
        """Frees cycles among what is new, and sets the rest aside. *now*: seconds, monotonic."""
        is_all = now >= self._all_again_at
        began = time.perf_counter()
        if is_all:
            gc.unfreeze()
        gc.collect(OLDEST if is_all else MIDDLE)
        gc.freeze()
        if is_all:
            took = time.perf_counter() - began
            self._all_again_at = now + max(SELDOM_SECONDS, took / SHARE_OF_TIME)

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(SET_ASIDE_SECONDS)
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
