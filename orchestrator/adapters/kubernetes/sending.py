"""Calls that change something are not torn off: what was sent will mostly have an answer in a moment."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from orchestrator.failpoints import Point, reach

T = TypeVar("T")

LAST_ANSWER_SECONDS = 1.0


async def _sent(call: Coroutine[Any, Any, T]) -> T:
    reach(Point.KUBERNETES_SENDING)
    answer = await call
    reach(Point.KUBERNETES_SENT)
    return answer


async def answered(call: Coroutine[Any, Any, T]) -> T:
    """The call's own answer. Who is cancelled meanwhile still waits a moment for it, so that what is looked at next is
    what came of it."""
    sending = asyncio.create_task(_sent(call))
    try:
        return await asyncio.shield(sending)
    except asyncio.CancelledError:
        await asyncio.wait([sending], timeout=LAST_ANSWER_SECONDS)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        raise
