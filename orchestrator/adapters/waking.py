"""An event loop that lets somebody look at the clock after each wait, before anything that became ready is run.

A process that was stopped for a while (SIGSTOP, a suspended machine, a container without processor time) goes on where
it was, with answers waiting that belong to another time. Nothing may follow from them before it is known whether this
process may still act.
"""

import asyncio
import selectors
from collections.abc import Callable


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.looks: list[Callable[[], object]] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout)
        for look in self.looks:
            look()
        return ready


class WakingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._waits = _Selector()
        super().__init__(self._waits)

    def after_waits(self, look: Callable[[], object]) -> None:
        self._waits.looks.append(look)


def after_waits(look: Callable[[], object]) -> None:
    """Has *look* called by the running loop, if it is a ``WakingLoop``."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, WakingLoop):
        loop.after_waits(look)
