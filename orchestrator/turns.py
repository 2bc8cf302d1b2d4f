"""Whose turn it is: of thousands of runs that all have something to do now, one after the other.

Theory of operation. A turn of a run takes a millisecond or so of the processor. If a thousand runs took theirs in one
round of the event loop, nothing else would be done for a second: an answer that somebody has waited for is not read,
and seems to be late; no request is answered. So runs that wake up because of the time, as thousands do at the same one,
stand in line, first come, first served, and in each round of the loop one of them is woken; between two rounds the loop
sees to whatever has arrived, which goes on faster than runs ask for more. A run that is woken by anything else (a
command, an answer, a switch) has its turn at once, wherever it stood. There are never many of those: no more answers
come than were asked for.

What is on its way back stands in a line of its own, which is served first. While a controller takes its runs up the
other one stands still: those that were taken up first would otherwise need the whole processor for looking, again and
again, and of thousands the last would never come to be taken up.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """For one event loop."""

    def __init__(self) -> None:
        self._first: OrderedDict[asyncio.Event, None] = OrderedDict()
        self._line: OrderedDict[asyncio.Event, None] = OrderedDict()
        self._is_moving = False
        self._held = 0

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """But for those who come first."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            self._move_on()

    async def wait(self, wake: asyncio.Event, *, comes_first: bool = False, after_seconds: float = 0.0) -> None:
        """Until it is one's turn, which sets *wake*, or *wake* is set by somebody else. One stands in line only
        *after_seconds*."""
        line = self._first if comes_first else self._line
        loop = asyncio.get_running_loop()
        timer = loop.call_later(after_seconds, self._line_up, line, wake) if after_seconds > 0 else None
        if timer is None:
            self._line_up(line, wake)
        try:
            await wake.wait()
        finally:
            if timer is not None:
                timer.cancel()
            line.pop(wake, None)

    def _line_up(self, line: OrderedDict[asyncio.Event, None], wake: asyncio.Event) -> None:
        line[wake] = None
        self._move_on()

    def _served(self) -> OrderedDict[asyncio.Event, None]:
        return self._first if self._first or self._held else self._line

    def _move_on(self) -> None:
        if self._served() and not self._is_moving:
            self._is_moving = True
            asyncio.get_running_loop().call_soon(self._wake_one)

    def _wake_one(self) -> None:
        if line := self._served():
            wake, _ = line.popitem(last=False)
            wake.set()
        self._is_moving = False
        self._move_on()
