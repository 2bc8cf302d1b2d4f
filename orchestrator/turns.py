"""Whose turn it is: of thousands of runs that all have something to do now, one after the other.

Theory of operation. A turn of a run takes a millisecond or so of the processor. If a thousand runs took theirs in one
round of the event loop, nothing else would be done for a second: an answer that somebody has waited for is not read,
and seems to be late; no request is answered. So runs that wake up because of the time, as thousands do at the same one,
stand in line, first come, first served, and in each round of the loop one of them is woken; between two rounds the loop
sees to whatever has arrived, which goes on faster than runs ask for more. A run that is woken by anything else (a
command, an answer, a switch) has its turn at once, wherever it stood. There are never many of those: no more answers
come than were asked for.

Those that will ask the same have their turns one right after the other. What is asked in the same second is asked once
for all; scattered over a line of a thousand they would each ask anew, as soon as the line is longer than that, and so
make it longer still: too much to do for a moment would be too much for good.

What is on its way back stands in a line of its own, which is served first. While a controller takes its runs up the
other one stands still: those that were taken up first would otherwise need the whole processor for looking, again and
again, and of thousands the last would never come to be taken up.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class _Line:
    """First come, first served; but who comes *beside* others that wait is served with them. Who comes when it is their
    turn already does not join them, so that nobody waits for more than those who were there."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, OrderedDict[asyncio.Event, None]] = OrderedDict()
        self._served: OrderedDict[asyncio.Event, None] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._served or self._waiting)

    def add(self, wake: asyncio.Event, beside: Hashable) -> None:
        self._waiting.setdefault(beside, OrderedDict())[wake] = None

    def leave(self, wake: asyncio.Event, beside: Hashable) -> None:
        self._served.pop(wake, None)
        together = self._waiting.get(beside)
        if together is not None:
            together.pop(wake, None)
            if not together:
                del self._waiting[beside]

    def first(self) -> asyncio.Event:
        """Who is in it no more."""
        if not self._served:
            _, self._served = self._waiting.popitem(last=False)
        wake, _ = self._served.popitem(last=False)
        return wake


class Turns:
    """For one event loop."""

    def __init__(self) -> None:
        self._first, self._line = _Line(), _Line()
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

    async def wait(
        self,
        wake: asyncio.Event,
        *,
        comes_first: bool = False,
        after_seconds: float = 0.0,
        beside: Hashable | None = None,
    ) -> None:
        """Until it is one's turn, which sets *wake*, or *wake* is set by somebody else. One stands in line only
        *after_seconds*; *beside* is the same for all who will ask the same."""
        line, place = self._first if comes_first else self._line, wake if beside is None else beside
        loop = asyncio.get_running_loop()
        timer = loop.call_later(after_seconds, self._line_up, line, wake, place) if after_seconds > 0 else None
        if timer is None:
            self._line_up(line, wake, place)
        try:
            await wake.wait()
        finally:
            if timer is not None:
                timer.cancel()
            line.leave(wake, place)

    def _line_up(self, line: _Line, wake: asyncio.Event, place: Hashable) -> None:
        line.add(wake, place)
        self._move_on()

    def _served(self) -> _Line:
        return self._first if self._first or self._held else self._line

    def _move_on(self) -> None:
        if self._served() and not self._is_moving:
            self._is_moving = True
            asyncio.get_running_loop().call_soon(self._wake_one)

    def _wake_one(self) -> None:
        if line := self._served():
            line.first().set()
        self._is_moving = False
        self._move_on()
