"""The outermost layer around every request: who it is, how large it may be, and the headers that every answer has.

It is plain ASGI rather than a framework's middleware, so that it stands before the body is read and does not buffer
event streams. Nothing that is raised inside gets past it: a fault becomes an answer without a word of its own.
"""

from __future__ import annotations

from http import HTTPStatus

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.auth import KILL_SWITCH, admit, is_page, takes_session
from orchestrator.api.context import ApiContext
from orchestrator.api.credentials import Identity
from orchestrator.api.errors import INTERNAL, OFREP, Failure, Refusal, TooLarge, failure_of, peer_of, respond
from orchestrator.api.issued import FRESH_SECONDS
from orchestrator.api.limits import body_limit
from orchestrator.api.ofrep_stream import EVENTS, change_streams
from orchestrator.api.sessions import SESSION, Sessions, check_request, cookie_of, form_token
from orchestrator.api.sign_in import form_for
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
SERVES_FLAGS = (OFREP, "/flags/v1/", "/flagd/v1/")
EVALUATION = OFREP + "v1/evaluate/"


TLS_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}


class Guard:
    def __init__(self, app: ASGIApp, context: ApiContext) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send, self._context)
        if scope["path"].startswith(EVALUATION):  # a thousand may ask in one moment: before any work is done for them
            await change_streams(scope).turns.take()
        refusal = await self._at_the_door(scope)
        if refusal is not None:
            await refusal(scope, receive, answer.send)
            return
        answer.let_in(scope["state"]["identity"], scope["state"]["session"])
        try:
            await self._app(scope, _Counted(receive, body_limit(scope["path"])).receive, answer.send)
        except ClientDisconnect:
            return  # half-way through its body: nobody is there to be answered
        except Exception:
            log.exception("request failed", method=scope["method"], path=scope["path"])
            if answer.started:
                raise
            await respond(INTERNAL, scope["path"])(scope, receive, answer.send)

    async def _at_the_door(self, scope: Scope) -> Response | None:
        path, headers = scope["path"], Headers(scope=scope)
        if scope["method"] == "OPTIONS" and path.startswith(OFREP):
            allowed = EVENTS_PREFLIGHT_HEADERS if path == EVENTS else PREFLIGHT_HEADERS
            return Response(status_code=204, headers=allowed)
        try:
            identity, session = await self._admit(scope, headers)
            if identity is not None and _takes_turns(scope):
                self._context.credentials.take_turn(identity)
            _refuse_length(headers.get("content-length", ""), body_limit(path))
        except (RolloutError, TooLarge) as refused:
            return self._refused(failure_of(refused), scope, headers)
        state = scope.setdefault("state", {})
        state["identity"] = identity
        state["actor"] = identity.actor if identity is not None else None
        state["environment"] = identity.environment if identity is not None else None
        state["session"] = session
        state["form"] = form_token(session) if session is not None else None
        return None

    def _refused(self, failure: Failure, scope: Scope, headers: Headers) -> Response:
        """Who is yet to sign in to a page is shown the form, and no refusal is written down of that."""
        path = scope["path"]
        if not (is_page(path) and failure.status == HTTPStatus.UNAUTHORIZED):
            if failure.is_refusal:
                self._context.credentials.audit.refused(Refusal.of(failure, scope))
            return respond(failure, path)
        is_first = "authorization" not in headers
        if not is_first:
            self._context.credentials.audit.refused(Refusal.of(failure, scope))
        return form_for(scope, path, failure, is_first=is_first, provider=self._context.credentials.provider_name)

    async def _admit(self, scope: Scope, headers: Headers) -> tuple[Identity | None, str | None]:
        """Who asks, and the secret of the session if it is in one. A token that is sent must be right, whatever cookie
        or ticket comes with it."""
        sends_none = "authorization" not in headers and "x-api-key" not in headers
        if sends_none and takes_session(scope["path"]):
            secret = cookie_of(SESSION, headers, scope["scheme"])
            identity = await Sessions(self._context.credentials).identify(secret)
            if identity is not None and secret is not None:
                if not is_page(scope["path"]):  # the forms of pages are looked at where they are read
                    check_request(scope["method"], secret, headers)
                return identity, secret
        if sends_none and change_streams(scope).admits(scope):
            return None, None
        return await admit(self._context, scope["path"], headers, peer_of(scope)), None


def _takes_turns(scope: Scope) -> bool:
    """Applications share a token by the thousand, and a kill switch must work in a hurry."""
    path = scope["path"]
    return not path.startswith(SERVES_FLAGS) and not (path == KILL_SWITCH and scope["method"] == "POST")


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


class Over(OSError, ClientDisconnect):
    """Who follows a stream may no longer: taken by whatever sends as a client that has gone."""


class _Answer:
    """Adds to the head of an answer what it does not say itself, and ends a stream whose token or session no longer
    holds."""

    __slots__ = ("_context", "_headers", "_identity", "_looked_at", "_send", "_session", "started")

    def __init__(self, scope: Scope, send: Send, context: ApiContext) -> None:
        self._context = context
        self._identity: Identity | None = None
        self._session: str | None = None
        self._looked_at = context.monotonic()
        self._headers = SECURITY_HEADERS | CORS_HEADERS if scope["path"].startswith(OFREP) else SECURITY_HEADERS
        if scope.get("scheme") == "https" and not context.listen_is_loopback:
            self._headers = self._headers | TLS_HEADERS
        self._send = send
        self.started = False

    def let_in(self, identity: Identity | None, session: str | None) -> None:
        self._identity = identity
        self._session = session

    async def send(self, message: Message) -> None:
        if self._identity is not None and self.started:
            await self._look_again(self._identity)
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers.setdefault(name, value)
        await self._send(message)

    async def _look_again(self, identity: Identity) -> None:
        now = self._context.monotonic()
        if now - self._looked_at < FRESH_SECONDS:
            return
        self._looked_at = now
        if not await self._still_holds(identity):
            what = "token" if self._session is None else "session"
            log.warning("stream ended", by=identity.actor.name, why=f"its {what} no longer holds")
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            raise Over

    async def _still_holds(self, identity: Identity) -> bool:
        """A session ends with its token, and before when somebody signs out of it."""
        if self._session is None:
            return await self._context.credentials.holds(identity)
        return await Sessions(self._context.credentials).still_holds(self._session)
