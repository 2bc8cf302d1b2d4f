"""The event streams of OFREP: they only tell that something else is answered now, and every client asks again.

Theory of operation. Who connects is told where it stands, as the id of an event; with ``Last-Event-ID`` a client that
comes again learns at once whether it missed a change. One that comes for the first time has evaluated just before, and
may have missed what changed in between: after a change, whoever connects without an id is told for a while.

A change makes all clients ask at once, so each is told after a delay by chance, which grows with their number: a
thousand clients ask within a second. The kill switch does not wait: it is told to everybody at once, also to those
whose delay for an earlier change is not over. When the server goes away, clients come again spread likewise.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from random import SystemRandom
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

from fastapi.responses import Response
from starlette.datastructures import QueryParams
from starlette.types import Scope

from flags import Version
from flags.feed import FeedVersion
from flags.ofrep import refetch
from orchestrator.api.context import ApiContext
from orchestrator.api.flag_routes import DEFAULT_ENVIRONMENT
from orchestrator.api.limits import Places, Turns
from orchestrator.api.streams import RETRY_MS, EventStream
from orchestrator.api.tickets import Tickets
from orchestrator.errors import Temporary

if TYPE_CHECKING:
    from orchestrator.flag_board import Standing
    from orchestrator.service import Service

EVENTS: Final = "/ofrep/v1/events"
MOST_STREAMS: Final = 5000
FULL_RETRY_SECONDS: Final = 10.0

_MOST_ENVIRONMENTS = 1000
_FRESH_SECONDS = 60.0  # within which a client that has evaluated also opens its stream


@dataclass(frozen=True, slots=True)
class Served:
    """What is answered in an environment: two that are equal answer everybody alike."""

    newest: Version
    killed: bool
    lifted: frozenset[str]
    held: frozenset[str]

    @classmethod
    def of(cls, standing: Standing) -> Served:
        feed = standing.feed
        return cls(feed.version.newest, feed.killed, frozenset(feed.lifted), frozenset(feed.held))

    def kills_more_than(self, before: Served) -> bool:
        whole = self.killed and (not before.killed or not self.lifted >= before.lifted)
        return whole or not self.held <= before.held


@dataclass(frozen=True, slots=True)
class Notice:
    """Since when something is served: ``at`` monotonic, ``modified_at`` Unix time. ``seen`` is how far was looked, for
    the kill switch of another environment raises the version and changes nothing here."""

    version: FeedVersion
    served: Served
    at: float
    modified_at: int
    seen: FeedVersion

    @property
    def id(self) -> str:
        return str(self.version)

    def message(self) -> bytes:
        return refetch(self.id, self.modified_at)

    def greeting(self) -> bytes:
        """Makes the id the client's last one, and is an event that nobody listens to."""
        return b"id: %b\nevent: connected\ndata: {}\n\n" % self.id.encode()


class Notices:
    """The latest of each environment that was asked for, of the last 1,000 of them. One that is not known counts as
    changed now: to be told of a change that was none costs a request that is answered 304."""

    def __init__(self, monotonic: Callable[[], float], now: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._now = now
        self._latest: OrderedDict[str, Notice] = OrderedDict()

    def look(self, standing: Standing) -> Notice:
        version, served = standing.feed.version, Served.of(standing)
        known = self._latest.pop(standing.feed.environment, None)
        if known is not None and known.served == served:
            notice = known if known.seen == version else replace(known, seen=version)
        else:
            notice = Notice(version, served, self._monotonic(), int(self._now()), version)
        self._latest[standing.feed.environment] = notice
        if len(self._latest) > _MOST_ENVIRONMENTS:
            self._latest.popitem(last=False)
        return notice

    def is_news(self, notice: Notice, last_event_id: str | None) -> bool:
        """For one who connects now."""
        if last_event_id:
            return last_event_id != notice.id
        return self._monotonic() - notice.at < _FRESH_SECONDS


@dataclass(frozen=True, slots=True)
class Spread:
    """How long a client is kept waiting for an ordinary change. ``dice`` gives a number from 0 to 1."""

    each_seconds: float = 0.001
    most_seconds: float = 10.0
    dice: Callable[[], float] = field(default_factory=lambda: SystemRandom().random)

    def delay_seconds(self, clients: int) -> float:
        return self.dice() * min(clients * self.each_seconds, self.most_seconds)


class ChangeStreams:
    """Of one application. ``places`` are its own, so that browsers never keep an operator from following a run."""

    def __init__(self, context: ApiContext, spread: Spread | None = None, places: Places | None = None) -> None:
        self.tickets = Tickets()
        self.notices = Notices(context.monotonic, context.now)
        self.places = places or Places(_most_streams())
        self.turns = Turns()
        self._context = context
        self._spread = spread or Spread()

    def uri(self, root_path: str, environment: str) -> str:
        """Where a client that was answered hears of changes, relative to the server's origin."""
        uri = f"{root_path}{EVENTS}?environment={quote(environment, safe='', errors='replace')}"
        if self._context.listen_is_loopback:
            return uri
        return f"{uri}&ticket={self.tickets.issue(environment, self._context.now())}"

    def admits(self, scope: Scope) -> bool:
        """Whether the ticket in a request's URL, if there is one, opens the stream that it asks for."""
        if scope["path"] != EVENTS:
            return False
        query = QueryParams(scope["query_string"])
        environment = query.get("environment") or DEFAULT_ENVIRONMENT
        return self.tickets.admits(query.get("ticket", ""), environment, self._context.now())

    def stream(self, environment: str, last_event_id: str | None) -> Response:
        """Raises ``Temporary`` if too many are open."""
        if self.places.are_gone:
            detail = f"{self.places.taken} event streams are open; come again later."
            raise Temporary(detail, retry_after_seconds=FULL_RETRY_SECONDS)
        frames = self._frames(self._context.service, environment, last_event_id)
        return EventStream(frames, self._context.timing, self.places)

    async def _frames(
        self, service: Service, environment: str, last_event_id: str | None
    ) -> AsyncGenerator[bytes, None]:
        yield b"retry: %d\n\n" % (RETRY_MS + 1000 * self._spread.delay_seconds(self.places.taken))
        told = self.notices.look(await service.changed(environment, None))
        yield told.message() if self.notices.is_news(told, last_event_id) else told.greeting()
        while True:
            told = await self._next(service, environment, told)
            yield told.message()

    async def _next(self, service: Service, environment: str, told: Notice) -> Notice:
        """What is to be told after *told*, when it is time to. A kill is one by what was served just before it: a
        client may have asked in between without having been told to."""
        before, notice = told, await self._other(service, environment, told)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._spread.delay_seconds(self.places.taken)):
                while not notice.served.kills_more_than(before.served):
                    before, notice = notice, await self._other(service, environment, notice)
        return notice

    async def _other(self, service: Service, environment: str, known: Notice) -> Notice:
        notice = known
        while notice.served == known.served:
            await service.changed(environment, notice.seen)
            await self.turns.take()
            notice = self.notices.look(service.standing(environment))
        return notice


def _most_streams() -> int:
    """Half of the files that this process may have open: the other half is for requests, stores and runs."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_STREAMS if soft == resource.RLIM_INFINITY else min(MOST_STREAMS, soft // 2)


def change_streams(scope: Scope) -> ChangeStreams:
    """Those of the application that a request came to, made with the first one."""
    state = scope["app"].state
    if not hasattr(state, "change_streams"):
        state.change_streams = ChangeStreams(state.context)
    return cast(ChangeStreams, state.change_streams)
