"""The sync service itself: the whole document on connect, and again on every change.

A stream keeps no queue. It sends what stands, waits until that is taken, and only then looks for what is new, so a
client that reads slowly, or not at all, skips what it did not see, and costs one message and one place at most. It is
not dropped: gRPC sends no status past a message that is stuck, so its client would wait for ever. A client that is
gone without a word is found by gRPC's keepalive.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar
from urllib.parse import unquote

import grpc
import structlog
from grpc import StatusCode

from flags.errors import FlagError
from flags.feed import FeedVersion
from orchestrator.api.credentials import Credentials, Identity
from orchestrator.api.errors import Refusal, TooManyRequests, Unauthorized, failure_of
from orchestrator.api.flag_routes import DEFAULT_ENVIRONMENT, MadeOnce
from orchestrator.api.flagd import flagd_text
from orchestrator.api.limits import MIB, Places
from orchestrator.errors import RolloutError
from orchestrator.flagd_sync.messages import BadMessage, response, selector_of

if TYPE_CHECKING:
    from orchestrator.flag_board import Standing
    from orchestrator.service import Service

log = structlog.get_logger()

SERVICE: Final = "flagd.sync.v1.FlagSyncService"
SELECTOR: Final = "flagd-selector"
MOST_ENVIRONMENT_LETTERS: Final = 200
ACCEPTED_BYTES: Final = 4 * MIB
"""What gRPC clients take as one message unless they are told otherwise."""

_KEYS: Final = ("flagSetId", "environment")
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
T = TypeVar("T")


class Rejected(Exception):
    """The call ends with this status."""

    def __init__(self, code: StatusCode, sentence: str) -> None:
        self.code = code
        super().__init__(sentence)


class FlagSync:
    """Answers calls from a service that is open already."""

    def __init__(
        self,
        service: Service,
        credentials: Credentials,
        listen_is_loopback: bool,
        most_streams: int,
    ) -> None:
        self._service = service
        self._credentials = credentials
        self._listen_is_loopback = listen_is_loopback
        self._messages = MadeOnce(_message)
        self.streams = Places(most_streams)

    def handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "SyncFlags": grpc.unary_stream_rpc_method_handler(self.sync_flags),
                "FetchAllFlags": grpc.unary_unary_rpc_method_handler(self.fetch_all_flags),
            },
        )

    async def sync_flags(self, request: bytes, context: Context) -> None:
        await self._answered(self._follow(request, context), context)

    async def fetch_all_flags(self, request: bytes, context: Context) -> bytes:
        return await self._answered(self._fetch(request, context), context)

    async def _fetch(self, request: bytes, context: Context) -> bytes:
        return await self._messages.of(self._service.standing((await self._asked(request, context))[0]))

    async def _follow(self, request: bytes, context: Context) -> None:
        environment, identity = await self._asked(request, context)
        if self.streams.are_gone:
            sentence = f"{self.streams.taken} streams are open; come again later, or call FetchAllFlags"
            raise Rejected(StatusCode.RESOURCE_EXHAUSTED, sentence)
        self.streams.taken += 1
        try:
            sent: FeedVersion | None = None
            while True:
                standing = await self._service.changed(environment, sent)
                if identity is not None and sent is not None and not await self._credentials.holds(identity):
                    raise Rejected(StatusCode.UNAUTHENTICATED, "this token no longer holds")
                await context.write(await self._messages.of(standing))
                sent = standing.feed.version
        finally:
            self.streams.taken -= 1

    async def _answered(self, work: Awaitable[T], context: Context) -> T:
        """What is raised inside becomes a status with one sentence; a fault has none of its own."""
        try:
            return await work
        except Rejected as problem:
            code, sentence = problem.code, str(problem)
        except (RolloutError, FlagError) as problem:
            code, sentence = StatusCode.UNAVAILABLE, str(problem)
        except Exception:
            log.exception("flagd.failed", peer=context.peer())
            code, sentence = StatusCode.INTERNAL, "Something went wrong inside the controller; its log says what."
        return await context.abort(code, sentence)

    # --- who asks, and for what -----------------------------------------------------------------------------------

    async def _asked(self, request: bytes, context: Context) -> tuple[str, Identity | None]:
        """Which environment: the selector's, else the token's own, else production. Raises `Rejected`."""
        metadata = {str(name): value for name, value in context.invocation_metadata() or ()}
        identity = await self._identity(metadata.get("authorization"), context)
        try:
            selector = str(metadata.get(SELECTOR) or selector_of(request))
        except BadMessage as problem:
            raise Rejected(StatusCode.INVALID_ARGUMENT, f"the request can't be read: {problem}") from None
        own = identity.environment if identity is not None else None
        return _named(selector) or own or DEFAULT_ENVIRONMENT, identity

    async def _identity(self, authorization: object, context: Context) -> Identity | None:
        """A token that is sent must be right, also where none is needed."""
        if authorization is None:
            if self._listen_is_loopback:
                return None
            raise Rejected(StatusCode.UNAUTHENTICATED, "a token is needed: send metadata `authorization: Bearer TOKEN`")
        scheme, _, secret = str(authorization).partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise Unauthorized("the metadata `authorization` must be `Bearer TOKEN`")
            return await self._credentials.identify(secret.strip(), peer_in(context.peer()))
        except TooManyRequests as problem:
            raise Rejected(StatusCode.RESOURCE_EXHAUSTED, str(problem)) from None
        except Unauthorized as problem:
            scope = {"method": "gRPC", "path": f"/{SERVICE}", "client": (peer_in(context.peer()), 0)}
            self._credentials.audit.refused(Refusal.of(failure_of(problem), scope))
            raise Rejected(StatusCode.UNAUTHENTICATED, str(problem)) from None


def peer_in(peer: str) -> str:
    """The address in what gRPC says of a peer: ``ipv4:127.0.0.1:4711``, ``ipv6:%5B::1%5D:4711``."""
    address = unquote(peer.partition(":")[2]).rpartition(":")[0]
    return address.strip("[]")


def _message(standing: Standing) -> bytes:
    """In protobuf's form."""
    text = flagd_text(standing)
    if len(text) > ACCEPTED_BYTES:
        size = f"{len(text):,} bytes; gRPC clients take {ACCEPTED_BYTES:,} unless they are told otherwise"
        log.warning("flagd.large", environment=standing.feed.environment, size=size)
    return response(text)


def _named(selector: str) -> str:
    """A selector is an environment's name, which flagd calls the id of a set of flags."""
    key, equals, value = selector.partition("=")
    if equals and key not in _KEYS:
        raise Rejected(
            StatusCode.INVALID_ARGUMENT,
            f"the selector {selector[:100]!r} can't be answered: name an environment, such as 'production' or "
            "'flagSetId=production'",
        )
    name = value if equals else selector
    if len(name) > MOST_ENVIRONMENT_LETTERS:
        raise Rejected(StatusCode.INVALID_ARGUMENT, f"an environment has at most {MOST_ENVIRONMENT_LETTERS} letters")
    return name
