"""OpenFeature Remote Evaluation Protocol 0.3 over HTTP: ``flags.ofrep`` answers, this carries its bytes.

Which environment is asked is in ``flag_routes.py``, who may ask in ``auth.py``, what browsers of other origins are
allowed in ``guard.py``, and how clients hear of changes in ``ofrep_stream.py``.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor
from starlette.types import Receive, Scope, Send

from flags.ofrep import Answer, Responder, too_many_requests
from orchestrator.api.context import context_of
from orchestrator.api.flag_routes import MANY_FLAGS, PIECE_BYTES, MadeOnce, environment_of, parameters
from orchestrator.api.limits import EVALUATION_SECONDS
from orchestrator.api.ofrep_stream import EVENTS, change_streams
from orchestrator.api.streams import EVENT_STREAM

if TYPE_CHECKING:
    from orchestrator.flag_board import Standing

log = structlog.get_logger()

FLAGS: Final = "/ofrep/v1/evaluate/flags"


class _AnyKey(Convertor[str]):
    """Whatever a client takes for a key, slashes and line breaks too: a key that cannot be is not found, no more."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _PlainRoute(APIRoute):
    """A change makes thousands ask these routes at once. They take what they need from the request by hand: what the
    framework would work out for them costs more than the answer."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        response: Response = await self.endpoint(Request(scope, receive))
        await response(scope, receive, send)


register_url_convertor("flag_key", _AnyKey())
router = APIRouter(tags=["evaluation"], route_class=_PlainRoute)


_CONTEXT: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "context": {
                            "type": "object",
                            "properties": {"targetingKey": {"type": "string"}},
                            "additionalProperties": True,
                        }
                    },
                },
                "example": {"context": {"targetingKey": "user-1", "country": "DE"}},
            }
        }
    }
}


def _answers(**more: str) -> dict[int | str, dict[str, Any]]:
    both = {
        "400": "`{key, errorCode, errorDetails}`: the context is no context, or lacks its targetingKey",
        "401": "`{errorCode, errorDetails}`: a valid token is needed",
        "408": "`{errorCode, errorDetails}`: the context did not arrive in time",
        "413": "`{errorCode, errorDetails}`: the context is too large",
        "422": "`{errorCode, errorDetails}`: the environment has no possible name",
        "429": "`{errorDetails}` and Retry-After",
        "500": "`{errorDetails}`",
    }
    return {int(status): {"description": words} for status, words in (both | more).items()}


# The last two are what a client sends along that asks because an event told it to. Who tells is who answers here, so
# there is nothing to check them against.
_BULK = (("header", "If-None-Match"), ("query", "flagConfigEtag"), ("query", "flagConfigLastModified"))


@router.post(
    FLAGS,
    openapi_extra=_CONTEXT | parameters(*_BULK),
    responses=_answers(**{"200": "`{flags, metadata, eventStreams}` with an ETag", "304": "As before"}),
)
async def evaluate_all(request: Request) -> Response:
    """All flags for one context, and where to hear of changes."""
    refused = _over_limit(request)
    if refused is not None:
        return _response(request, refused)
    body = await _body(request)
    standing = _standing(request)
    responder = await _responders(request).of(standing)
    uri = change_streams(request.scope).uri(request.scope.get("root_path", ""), standing.feed.environment)
    asked = body, request.headers.get("if-none-match"), uri
    if len(standing.feed.documents) < MANY_FLAGS:
        return _response(request, responder.bulk(*asked))
    return _response(request, await asyncio.to_thread(responder.bulk, *asked))


@router.post(
    FLAGS + "/{key:flag_key}",
    openapi_extra=_CONTEXT | parameters(("path", "key")),
    responses=_answers(
        **{"200": "`{key, value, reason, variant, metadata}`", "404": "`{key, errorCode, errorDetails}`: no such flag"}
    ),
)
async def evaluate_one(request: Request) -> Response:
    """One flag for one context. The key may have slashes in it."""
    refused = _over_limit(request)
    if refused is not None:
        return _response(request, refused)
    body = await _body(request)
    responder = await _responders(request).of(_standing(request))
    return _response(request, responder.single(request.path_params["key"], body))


@router.get(
    EVENTS,
    openapi_extra=parameters(("query", "ticket"), ("header", "Last-Event-ID")),
    responses={
        200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}, "description": "An event for every change"},
        401: {"description": "`{errorCode, errorDetails}`: a valid token, or the ticket of a fresh answer, is needed"},
        422: {"description": "`{errorCode, errorDetails}`: the environment has no possible name"},
        429: {"description": "`{errorDetails}` and Retry-After"},
        503: {"description": "`{errorCode, errorDetails}` and Retry-After: too many streams are open"},
    },
)
async def follow_changes(request: Request) -> Response:
    """Tells when something else is answered: `data: {"type": "refetchEvaluation", "etag", "lastModified"}`.

    The kill switch is told at once, other changes within a second or so, so that not all clients ask at the same
    time. Clients find the address of their stream, with its ticket, in the answer with all flags.
    """
    refused = _over_limit(request)
    if refused is not None:
        return _response(request, refused)
    return change_streams(request.scope).stream(environment_of(request.scope), request.headers.get("last-event-id"))


def _responders(request: Request) -> MadeOnce[Responder]:
    """Those of this application."""
    state = request.app.state
    if not hasattr(state, "responders"):
        state.responders = MadeOnce(lambda standing: Responder(standing.snapshot))
    return cast("MadeOnce[Responder]", state.responders)


def _standing(request: Request) -> Standing:
    """What is answered now; noted for those who follow it from here on."""
    standing = context_of(request).service.standing(environment_of(request.scope))
    change_streams(request.scope).notices.look(standing)
    return standing


async def _body(request: Request) -> bytes:
    """A context is small: who takes long to send one only holds a place."""
    try:
        async with asyncio.timeout(EVALUATION_SECONDS):
            return await request.body()
    except TimeoutError:
        detail = f"The body did not arrive within {EVALUATION_SECONDS:g} seconds."
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, detail, {"Connection": "close"}) from None


def _over_limit(request: Request) -> Answer | None:
    context = context_of(request)
    if context.rate_limit is None:
        return None
    client = request.client.host if request.client is not None else ""
    wait_seconds = context.rate_limit.wait_seconds(client, context.monotonic())
    return too_many_requests(wait_seconds) if wait_seconds else None


def _response(request: Request, answer: Answer) -> Response:
    if len(answer.content) <= PIECE_BYTES:
        return Response(answer.content, answer.status, dict(answer.headers))
    return _InPieces(answer, context_of(request).timing.stalled_seconds)


class _InPieces(Response):
    """A large answer. The next piece goes out when the network took the last one, so one who does not read holds back
    a piece, and is dropped after *stalled_seconds*."""

    def __init__(self, answer: Answer, stalled_seconds: float) -> None:
        super().__init__(answer.content, answer.status, dict(answer.headers))
        self._stalled_seconds = stalled_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        whole = memoryview(self.body)
        try:
            for start in range(0, len(whole), PIECE_BYTES):
                piece = bytes(whole[start : start + PIECE_BYTES])
                async with asyncio.timeout(self._stalled_seconds):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            log.warning("answer.dropped", path=scope["path"], why="its client takes nothing")
