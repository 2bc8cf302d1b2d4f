"""The outermost layer around every request: who it is, how large it may be, and the headers that every answer has.

It is plain ASGI rather than a framework's middleware, so that it stands before the body is read and does not buffer
event streams. Nothing that is raised inside gets past it: a fault becomes an answer without a word of its own.
"""

from __future__ import annotations

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.auth import admit, is_page
from orchestrator.api.context import ApiContext
from orchestrator.api.errors import INTERNAL, OFREP, TooLarge, failure_of, respond
from orchestrator.api.limits import body_limit
from orchestrator.api.ofrep_stream import EVENTS, change_streams
from orchestrator.api.tokens import Token
from orchestrator.errors import RolloutError

log = structlog.get_logger()

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# Pages of other origins evaluate flags: browsers' OpenFeature SDKs do just that. They send no cookies, so "*" will do.
CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Retry-After",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "no-cache",  # to be kept and asked for again with If-None-Match
}
PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-None-Match, X-API-Key, X-Rollout-Environment",
    "Access-Control-Max-Age": "3600",
}
# A browser's own EventSource asks without a preflight; those that are written with fetch send these.
EVENTS_PREFLIGHT_HEADERS = PREFLIGHT_HEADERS | {
    "Access-Control-Allow-Methods": "GET",
    "Access-Control-Allow-Headers": "Authorization, Cache-Control, Last-Event-ID, X-API-Key, X-Rollout-Environment",
}
EVALUATION = OFREP + "v1/evaluate/"


class Guard:
    def __init__(self, app: ASGIApp, context: ApiContext) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope["path"], send)
        if scope["path"].startswith(EVALUATION):  # a thousand may ask in one moment: before any work is done for them
            await change_streams(scope).turns.take()
        refusal = self._at_the_door(scope)
        if refusal is not None:
            await refusal(scope, receive, answer.send)
            return
        try:
            await self._app(scope, _Counted(receive, body_limit(scope["path"])).receive, answer.send)
        except ClientDisconnect:
            return  # half-way through its body: nobody is there to be answered
        except Exception:
            log.exception("request failed", method=scope["method"], path=scope["path"])
            if answer.started:
                raise
            await respond(INTERNAL, scope["method"], scope["path"])(scope, receive, answer.send)

    def _at_the_door(self, scope: Scope) -> Response | None:
        path, headers = scope["path"], Headers(scope=scope)
        if scope["method"] == "OPTIONS" and path.startswith(OFREP):
            allowed = EVENTS_PREFLIGHT_HEADERS if path == EVENTS else PREFLIGHT_HEADERS
            return Response(status_code=204, headers=allowed)
        try:
            token = self._admit(scope, headers)
            _refuse_length(headers.get("content-length", ""), body_limit(path))
        except (RolloutError, TooLarge) as refused:
            answer = respond(failure_of(refused), scope["method"], path)
            if is_page(path) and answer.status_code == 401:
                answer.headers["WWW-Authenticate"] = 'Basic realm="staged-rollout: the password is a token"'
            return answer
        state = scope.setdefault("state", {})
        state["actor"] = token.actor if token is not None else None
        state["environment"] = token.environment if token is not None else None
        return None

    def _admit(self, scope: Scope, headers: Headers) -> Token | None:
        """A token that is sent must be right, whatever ticket comes with it."""
        sends_none = "authorization" not in headers and "x-api-key" not in headers
        if sends_none and change_streams(scope).admits(scope):
            return None
        return admit(self._context, scope["path"], headers)


def _refuse_length(content_length: str, limit_bytes: int) -> None:
    if content_length.isdecimal() and int(content_length) > limit_bytes:
        raise TooLarge(limit_bytes)


class _Counted:
    """Lets a body through up to its limit, whatever length was announced."""

    __slots__ = ("_left_bytes", "_limit_bytes", "_receive")

    def __init__(self, receive: Receive, limit_bytes: int) -> None:
        self._receive = receive
        self._limit_bytes = self._left_bytes = limit_bytes

    async def receive(self) -> Message:
        message = await self._receive()
        self._left_bytes -= len(message.get("body", b""))
        if self._left_bytes < 0:
            raise TooLarge(self._limit_bytes)
        return message


class _Answer:
    """Adds to the head of an answer what it does not say itself."""

    __slots__ = ("_headers", "_send", "started")

    def __init__(self, path: str, send: Send) -> None:
        self._headers = SECURITY_HEADERS | CORS_HEADERS if path.startswith(OFREP) else SECURITY_HEADERS
        self._send = send
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers.setdefault(name, value)
        await self._send(message)
