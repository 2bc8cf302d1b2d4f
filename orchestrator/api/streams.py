"""Server-sent events, for many clients of whom some stop reading.

One task takes entries from the service into a short queue, the other writes them out, with a comment as heartbeat when
there is nothing else. The queue fills up when the network does; then the reading of the journal waits, so a client
never costs more than its queue. One that takes nothing for ``Timing.stalled_seconds`` is dropped: it can come back
with ``Last-Event-ID`` and miss nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import structlog
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.api.context import ApiContext, Timing
from orchestrator.api.encoding import encode
from orchestrator.api.limits import Places
from orchestrator.errors import Temporary

log = structlog.get_logger()

EVENT_STREAM = "text/event-stream"
QUEUE_ENTRIES = 64
RETRY_MS = 2000
_HEARTBEAT = b": heartbeat\n\n"

Entry = dict[str, Any]


async def stream_run(context: ApiContext, run: str, last_event_id: int | None, after: int) -> Response:
    """204 tells a browser's EventSource not to come again: the run has ended, and it has seen everything."""
    if last_event_id is not None:
        status = await context.service.status(run)
        if status["phase"] == "ended" and status["seq"] <= last_event_id:
            return Response(status_code=204)
        after = last_event_id
    if context.streams.are_gone:
        raise Temporary(f"{context.streams.taken} event streams are open; come again later.", retry_after_seconds=10.0)
    return EventStream(_frames(context, run, after), context.timing, context.streams)


async def _frames(context: ApiContext, run: str, after: int) -> AsyncGenerator[bytes, None]:
    yield b"retry: %d\n\n" % RETRY_MS
    entries = cast(AsyncGenerator[Entry, None], context.service.follow(run, after))
    async with aclosing(entries):
        async for entry in entries:
            yield _frame(entry)
    status = await context.service.status(run)
    if status["phase"] == "ended":
        yield b"event: end\ndata: " + encode({"run": run, "outcome": status["outcome"]}) + b"\n\n"


def _frame(entry: Entry) -> bytes:
    """JSON has no line breaks of its own, so one data line is enough."""
    return b"id: %d\ndata: %s\n\n" % (entry["seq"], encode(entry))


class EventStream(Response):
    media_type = EVENT_STREAM

    def __init__(self, frames: AsyncGenerator[bytes, None], timing: Timing, places: Places) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._frames = frames
        self._timing = timing
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._places.taken += 1
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_ENTRIES)
        tasks = [
            asyncio.create_task(self._pump(queue)),
            asyncio.create_task(self._write(queue, send)),
            asyncio.create_task(gone(receive)),
        ]
        try:
            await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._places.taken -= 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._tell(tasks[1], scope["path"])

    async def _pump(self, queue: asyncio.Queue[bytes | None]) -> None:
        try:
            async with aclosing(self._frames):
                async for frame in self._frames:
                    await queue.put(frame)
        except Exception:
            log.exception("stream.failed")
        await queue.put(None)

    async def _write(self, queue: asyncio.Queue[bytes | None], send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        while (frame := await self._next(queue)) is not None:
            async with asyncio.timeout(self._timing.stalled_seconds):
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self, queue: asyncio.Queue[bytes | None]) -> bytes | None:
        try:
            return await asyncio.wait_for(queue.get(), self._timing.heartbeat_seconds)
        except TimeoutError:
            return _HEARTBEAT

    def _tell(self, writing: asyncio.Task[None], path: str) -> None:
        error = None if writing.cancelled() else writing.exception()
        if isinstance(error, TimeoutError):
            log.warning("stream.dropped", path=path, why="its client takes nothing")
        elif error is not None and not isinstance(error, OSError):
            raise error


async def gone(receive: Receive) -> None:
    """Until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
