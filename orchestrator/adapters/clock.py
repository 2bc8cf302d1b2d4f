"""The only place below the front ends where the time is read."""

import asyncio
import time


class SystemClock:
    """The machine's clocks. On Linux ``monotonic`` stands still while the machine is suspended."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0))
