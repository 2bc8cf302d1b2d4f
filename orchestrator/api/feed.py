"""All flags of an environment for applications that evaluate by themselves: as one text, and as a stream of such texts.

Theory of operation. A change makes thousands of clients want the same bytes at once. For each environment that is
listened to there is one `_Channel`: it follows the service, makes the frame of an event once for each version, and
wakes its clients, a few at a time with a turn of the event loop in between, so that whatever else runs in this process
waits for a few clients and not for all of them. A client keeps no queue: when it can take something it gets the newest
frame, so one that reads slowly skips versions, and one that takes nothing for `Timing.stalled_seconds` is dropped. A
large frame goes out in pieces, so that what waits in this process for a slow client is a piece and not a frame.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flags.errors import FlagError
from flags.feed import FeedVersion
from flags.ofrep import is_named
from orchestrator.api.bodies import refusals
from orchestrator.api.context import ApiContext, Timing
from orchestrator.api.flag_routes import PIECE_BYTES, environment_of, header_of, parameters
from orchestrator.api.limits import Places
from orchestrator.api.streams import EVENT_STREAM, gone
from orchestrator.errors import RolloutError, Temporary

if TYPE_CHECKING:
    from orchestrator.service import Service

log = structlog.get_logger()

MOST_STREAMS = 20_000
WOKEN_AT_ONCE = 50
RETRY_AFTER_SECONDS = 10.0
_JSON = (b"content-type", b"application/json")
_NO_CACHE = (b"cache-control", b"no-cache")  # may be kept, and is asked for again with If-None-Match
_HEARTBEAT = (b": heartbeat\n\n",)


def _words(**more: str) -> dict[int | str, dict[str, Any]]:
    return refusals() | {int(status): {"description": words} for status, words in more.items()}


router = APIRouter(prefix="/flags/v1", tags=["evaluation"])


@router.get(
    "/feed",
    openapi_extra=parameters(("header", "If-None-Match")),
    responses=_words(**{"200": "`{format, environment, version, killed, lifted, held, flags}`", "304": "As before"}),
)
async def feed(request: Request) -> Response:
    """All flags of an environment, with its version as ETag."""
    return _feed_for(request.scope)


@router.get(
    "/stream",
    openapi_extra=parameters(("header", "Last-Event-ID")),
    responses=_words(**{"200": "Events of type `feed`: the id is the version, the data the whole text"}),
)
async def stream(request: Request) -> Response:
    """The same text now, unless `Last-Event-ID` is its version, and each newer one as soon as it stands."""
    return _stream_for(request.scope)


class Shortcut:
    """Stands between the guard and the framework. Thousands ask these two routes, and to find out which of all routes
    is meant and what it needs costs more than the answer. A refusal goes the long way, to be put in words there."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        find = _SHORT.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        answer = self._app
        if find is not None:
            with suppress(RolloutError, FlagError):
                answer = find(scope)
        await answer(scope, receive, send)


def _feed_for(scope: Scope) -> Response:
    standing = _context(scope).service.standing(environment_of(scope))
    version = str(standing.feed.version)
    if is_named(version, header_of(scope, b"if-none-match")):
        return _Bytes(304, version, b"")
    return _Bytes(200, version, standing.text)


def _stream_for(scope: Scope) -> Response:
    streams = streams_of(scope["app"].state)
    if streams.places.are_gone:
        sentence = f"{streams.places.taken} streams of flags are open; come again later, or ask /flags/v1/feed."
        raise Temporary(sentence, retry_after_seconds=RETRY_AFTER_SECONDS)
    environment = environment_of(scope)
    _context(scope).service.standing(environment)  # what can't be had is refused before anything is sent
    return _FeedStream(streams, environment, header_of(scope, b"last-event-id"))


_SHORT: Final[dict[str, Callable[[Scope], ASGIApp]]] = {"/flags/v1/feed": _feed_for, "/flags/v1/stream": _stream_for}


class _Bytes(Response):
    """The framework's response works its headers out anew for each request."""

    def __init__(self, status: int, version: str, body: bytes) -> None:
        self.status_code, self.body, self.background = status, body, None
        self.raw_headers = [(b"etag", b'"%s"' % version.encode()), _NO_CACHE]
        if body:
            self.raw_headers += [_JSON, (b"content-length", b"%d" % len(body))]


def _context(scope: Scope) -> ApiContext:
    return cast(ApiContext, scope["app"].state.context)


# --- streams ----------------------------------------------------------------------------------------------------------


class _Channel:
    """One environment while somebody listens. `turn` counts the frames."""

    def __init__(self, service: Service, environment: str, timing: Timing) -> None:
        self.version: FeedVersion | None = None
        self.frame: tuple[bytes, ...] = ()
        self.turn = 0
        self.listeners: set[_Listener] = set()
        self._service = service
        self._environment = environment
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._show()
        self._tasks = (
            asyncio.create_task(self._follow(), name=f"flags of {environment}"),
            asyncio.create_task(self._beat(timing.heartbeat_seconds), name=f"heartbeat of {environment}"),
            asyncio.create_task(self._drop_stalled(timing.stalled_seconds), name=f"stalled of {environment}"),
        )

    def something_to_send(self) -> asyncio.Future[None]:
        """Done when there is a newer frame, or else a heartbeat is due."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        return waiting

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _show(self) -> None:
        standing = self._service.standing(self._environment)
        if standing.feed.version != self.version:
            self.version = standing.feed.version
            self.turn += 1
            frame = b"id: %s\nevent: feed\ndata: %s\n\n" % (str(self.version).encode(), standing.text)
            self.frame = tuple(frame[at : at + PIECE_BYTES] for at in range(0, len(frame), PIECE_BYTES))

    async def _follow(self) -> None:
        while True:
            try:
                await self._service.changed(self._environment, self.version)
                self._show()
            except Exception:
                log.exception("flags can't be followed", environment=self._environment)
                await asyncio.sleep(1)
                continue
            await self._wake()

    async def _beat(self, every_seconds: float) -> None:
        while True:
            await asyncio.sleep(every_seconds)
            await self._wake()

    async def _drop_stalled(self, seconds: float) -> None:
        """One look at all clients now and then costs less than a timer for each of them."""
        while True:
            await asyncio.sleep(seconds / 4)
            latest = asyncio.get_running_loop().time() - seconds
            for listener in self.listeners:
                if listener.sending_since is not None and listener.sending_since < latest:
                    listener.drop()

    async def _wake(self) -> None:
        """Those who wait now. Whoever comes back meanwhile has the newest frame, or waits for the next turn."""
        for woken in range(1, len(self._waiting) + 1):
            if not self._waiting:
                return
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
            if woken % WOKEN_AT_ONCE == 0:
                await asyncio.sleep(0)


class FlagStreams:
    """All streams of flags of one server."""

    def __init__(self, context: ApiContext) -> None:
        self.places = Places(MOST_STREAMS)
        self.timing = context.timing
        self._service = context.service
        self._channels: dict[str, _Channel] = {}

    @contextmanager
    def listening(self, environment: str) -> Iterator[_Listener]:
        channel = self._channels.get(environment)
        if channel is None:
            channel = self._channels[environment] = _Channel(self._service, environment, self.timing)
        listener = _Listener(channel)
        channel.listeners.add(listener)
        self.places.taken += 1
        try:
            yield listener
        finally:
            self.places.taken -= 1
            channel.listeners.remove(listener)
            if not channel.listeners:
                channel.close()
                del self._channels[environment]


def streams_of(state: Any) -> FlagStreams:
    """Those of an application, of which *state* is the state."""
    found = getattr(state, "flag_streams", None)
    if found is None:
        found = state.flag_streams = FlagStreams(state.context)
    assert isinstance(found, FlagStreams)
    return found


class _FeedStream(Response):
    media_type = EVENT_STREAM

    def __init__(self, streams: FlagStreams, environment: str, last_event_id: str | None) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._streams = streams
        self._environment = environment
        self._last_event_id = last_event_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.listening(self._environment) as listener:
            leaving = asyncio.create_task(gone(receive))
            leaving.add_done_callback(listener.leave)
            try:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await listener.write(send, self._last_event_id)
            except OSError:
                pass  # it has gone away
            except asyncio.CancelledError:
                if not listener.is_dropped:
                    raise
                listener.task.uncancel()
                log.warning("stream.dropped", path=scope["path"], why="its client takes nothing")
            finally:
                listener.sending_since = None
                leaving.remove_done_callback(listener.leave)
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)


class _Listener:
    """One client, in the task of its request. `sending_since`: in the loop's time, while something is being sent."""

    __slots__ = ("_channel", "_has_left", "_waiting", "is_dropped", "sending_since", "task")

    def __init__(self, channel: _Channel) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.is_dropped = False
        self.sending_since: float | None = None
        self._channel = channel
        self._has_left = False
        self._waiting: asyncio.Future[None] | None = None

    async def write(self, send: Send, last_event_id: str | None) -> None:
        """Until it leaves. One that has the newest flags already is told so at once, by a heartbeat."""
        channel, now = self._channel, asyncio.get_running_loop().time
        sent = channel.turn if str(channel.version) == last_event_id else 0
        while not self._has_left:
            pieces, sent = (channel.frame if channel.turn != sent else _HEARTBEAT), channel.turn
            for piece in pieces:
                self.sending_since = now()
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            self.sending_since = None
            if channel.turn == sent and not self._has_left:
                self._waiting = channel.something_to_send()
                await self._waiting

    def leave(self, _: object) -> None:
        self._has_left = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def drop(self) -> None:
        self.is_dropped = True
        self.sending_since = None
        self.task.cancel()
