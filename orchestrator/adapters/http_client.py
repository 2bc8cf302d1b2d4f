"""HTTP to wherever a plan points: the one home of httpx, and the one guard that its URLs pass.

Theory of operation. Every request has a connection of its own. That costs a millisecond, and buys three things: with a
shared pool, cancelling under contention wedges httpx for good; a hung server holds nothing that others wait for; and no
request is lost to a kept connection that the server was about to close, which would leave an unknown outcome. Who asks
the same server again and again, and only reads, brings ``Connections`` along, which keep the first two.

The guard resolves the host's name itself, refuses the addresses of link-local and metadata services and whatever the
allowance of the controller does not list, and connects to
an address that it has checked, so a name can't lead elsewhere between check and use. Proxies of the environment are
not used: behind one, the guard would see nothing.

What goes wrong is told apart by whether the request may have arrived: ``Unreachable`` never left, ``NoAnswer`` may
have been carried out.
"""

import asyncio
import contextlib
import json
import os
import ssl
import zlib
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from orchestrator.adapters.addresses import Address, Resolver, Unreachable
from orchestrator.adapters.connections import Connections
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.tls import Credentials, context_of
from orchestrator.allowance import ANYWHERE, refuse
from orchestrator.errors import Permanent, Temporary
from stages.checks import HttpRequest

if TYPE_CHECKING:
    import httpx

__all__ = ["HttpClient", "NoAnswer", "Reply", "TooLarge", "Unreachable", "Unreadable", "server_of"]

MAX_BODY_BYTES = 1024 * 1024
MAX_REDIRECTS = 5
MAX_ADDRESSES = 4
REDIRECTS = (301, 302, 303, 307, 308)
DEFAULT_PORTS = {"http": 80, "https": 443}


class NoAnswer(Temporary):
    """The request may have arrived and may have been carried out, but no whole answer came back."""


class Unreadable(Permanent):
    """The request was answered, in a way that can't be read; it may have been carried out."""


class TooLarge(Unreadable):
    """The request was answered with more than is read."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whatever its status. *note* says of a redirect that it was not followed, and why."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    note: str = ""

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """Raises ValueError if it is not JSON."""
        return json.loads(self.body)

    @property
    def retry_after_seconds(self) -> float | None:
        """Of the header, if it is a number of seconds."""
        value = self.headers.get("retry-after", "")
        return float(value) if value.isascii() and value.isdigit() else None


def server_of(url: str) -> str:
    """Scheme, host and port of an URL, for sentences: never user, password or query, which may be secret."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return "the address"
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


_Place = tuple[str, str | None, str, int | None, Credentials | None]  # what a kept connection leads to


@dataclass(slots=True)
class _Call:
    """One request on its way, redirects included."""

    method: str
    url: str
    headers: dict[str, str]
    content: bytes | None
    timeout_seconds: float
    max_bytes: int
    tls: Credentials | None = None
    kept: "Connections[httpx.AsyncHTTPTransport] | None" = None
    sent: bool = field(default=False)


class HttpClient:
    """Sends requests of plans. Safe for any number of concurrent callers of one event loop; it keeps nothing open."""

    def __init__(self, secrets: Secrets, kept: "Connections[httpx.AsyncHTTPTransport] | None" = None) -> None:
        """Which hosts may be called is in the allowance of *secrets*. *kept*: every request only reads, and may be sent
        again over a new connection where a kept one turns out to be closed."""
        self.secrets = secrets
        self._kept = kept
        self._allowance = secrets.allowance or ANYWHERE
        self._resolver = Resolver()

    async def request(
        self,
        request: HttpRequest,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        max_bytes: int = MAX_BODY_BYTES,
        directory: str | None = None,
        tls: Credentials | None = None,
    ) -> Reply:
        """Send *request* once and read the whole answer, within ``request.timeout`` seconds altogether.

        *headers* are added to the plan's and win; *content* replaces the body; *directory* is what files of secrets
        are relative to; *tls* is whom to trust and what to show. Any status is an answer. Raises ``Unreachable``,
        ``NoAnswer``, ``TooLarge``, or ``Permanent`` for what is refused or can't be sent.
        """
        call = _Call(
            method=request.method,
            url=request.url,
            headers=self._headers(request, headers or {}, directory),
            content=content if content is not None else _content(request),
            timeout_seconds=request.timeout,
            max_bytes=max_bytes,
            tls=tls,
            kept=self._kept,
        )
        try:
            async with asyncio.timeout(request.timeout):
                return await self._follow(call, request.statuses)
        except TimeoutError:
            kind = NoAnswer if call.sent else Unreachable
            raise kind(f"{server_of(call.url)} did not answer within {request.timeout:g} s") from None

    def _headers(self, request: HttpRequest, extra: Mapping[str, str], directory: str | None) -> dict[str, str]:
        found = {"user-agent": "staged-rollout", "accept": "*/*", "accept-encoding": "identity"}
        if request.json_ is not None:
            found["content-type"] = "application/json"
        if request.bearer is not None:
            found["authorization"] = f"Bearer {self.secrets.resolve(request.bearer, directory)}"
        for name, value in request.headers.items():
            found[name.lower()] = self.secrets.resolve(value, directory)
        found |= {name.lower(): value for name, value in extra.items()}
        for name, value in found.items():
            if not value.isascii() or not value.isprintable():
                raise Permanent(f"the header {name} can't be sent: its value has characters that headers can't hold")
        return found

    async def _follow(self, call: _Call, wanted: tuple[int, ...]) -> Reply:
        """Follow redirects that stay at the host, unless the status of the redirect itself is what is wanted."""
        for _ in range(MAX_REDIRECTS):
            reply = await self._send(call)
            location = reply.headers.get("location")
            if reply.status not in REDIRECTS or reply.status in wanted or location is None:
                return reply
            target = urljoin(call.url, location)
            if not _same_site(call.url, target):
                return _unfollowed(reply, f"it redirects to {server_of(target)}, which is not followed")
            if call.method not in ("GET", "HEAD"):
                return _unfollowed(reply, f"a redirect of {call.method} is not followed")
            call.url = target
        raise Permanent(f"{server_of(call.url)} redirects more than {MAX_REDIRECTS} times")

    async def _send(self, call: _Call) -> Reply:
        parts = self._checked(call.url)
        assert parts.hostname is not None
        addresses = await self._addresses(parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme])
        for address in addresses[:-1]:
            with contextlib.suppress(Unreachable):
                return await _exchange(call, parts, address, call.timeout_seconds / len(addresses))
        return await _exchange(call, parts, addresses[-1], call.timeout_seconds)

    def _checked(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError as error:
            raise Permanent(f"an URL can't be read: {error}") from error
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise Permanent("an URL must begin with http:// or https:// and name a host")
        if any(ord(character) <= 32 or ord(character) == 127 for character in url):
            raise Permanent(f"an URL at {server_of(url)} holds blanks or control characters")
        refuse(self._allowance.host(parts.hostname))
        return parts

    async def _addresses(self, host: str, port: int) -> list[Address]:
        found = await self._resolver.resolve(host, port)
        for address in found:
            refuse(self._allowance.address(host, address))
        return found[:MAX_ADDRESSES]


def _content(request: HttpRequest) -> bytes | None:
    if request.json_ is not None:
        return json.dumps(request.json_, ensure_ascii=False, separators=(",", ":")).encode()
    return request.body.encode() if request.body is not None else None


def _same_site(url: str, target: str) -> bool:
    """Whether *target* is at the same host and port, or is the same host's switch from HTTP to HTTPS."""
    here, there = urlsplit(url), urlsplit(target)
    try:
        ports = [part.port or DEFAULT_PORTS.get(part.scheme) for part in (here, there)]
    except ValueError:
        return False
    if here.hostname != there.hostname:
        return False
    upgraded = (here.scheme, there.scheme) == ("http", "https") and ports == [80, 443]
    return upgraded or (here.scheme == there.scheme and ports[0] == ports[1])


def _unfollowed(reply: Reply, note: str) -> Reply:
    return Reply(reply.status, reply.headers, reply.body, note)


def _new_ssl_context() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context(trust_env=True)


@cache
def _usual_ssl_context() -> ssl.SSLContext:
    """One for the process: loading the system's certificates takes 20 ms."""
    return _new_ssl_context()


@cache
def _no_ssl_context() -> ssl.SSLContext:
    """For plain HTTP, where none is used: httpx would make one for each request."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _ssl_context(call: _Call, scheme: str) -> ssl.SSLContext:
    if scheme != "https":
        return _no_ssl_context()
    return _usual_ssl_context() if call.tls is None else context_of(call.tls, _new_ssl_context)


async def _exchange(call: _Call, parts: SplitResult, address: Address, connect_seconds: float) -> Reply:
    """One request over one connection to *address*."""
    import httpx

    request = _build(call, parts, address, connect_seconds)
    place = (parts.scheme, parts.hostname, str(address), parts.port, call.tls)
    try:
        return await _over_kept(call, request, place) or await _over_new(call, request, place)
    except (httpx.TransportError, ssl.SSLError) as error:  # the latter where a server says no after the handshake
        raise _explain(error, server_of(call.url), call.sent) from error


async def _over_kept(call: _Call, request: "httpx.Request", place: _Place) -> Reply | None:
    """None if there is none that is still open."""
    import httpx

    while call.kept is not None and (transport := await call.kept.take(place)) is not None:
        call.sent = True
        with contextlib.suppress(httpx.NetworkError, httpx.RemoteProtocolError):
            return await _through(transport, call, request, place)
    return None


async def _over_new(call: _Call, request: "httpx.Request", place: _Place) -> Reply:
    import httpx

    connection: Any = None

    async def trace(event: str, info: Mapping[str, Any]) -> None:
        nonlocal connection
        if event == "connection.connect_tcp.complete":
            connection = info["return_value"]
        elif event.endswith(".send_request_headers.started"):
            call.sent = True

    call.sent = False
    request.extensions["trace"] = trace
    transport = httpx.AsyncHTTPTransport(verify=_ssl_context(call, request.url.scheme), trust_env=False)
    try:
        return await _through(transport, call, request, place)
    except BaseException:
        if connection is not None:  # httpcore forgets it when it is cancelled in the midst of a TLS handshake
            await connection.aclose()
        raise


async def _through(
    transport: "httpx.AsyncHTTPTransport", call: _Call, request: "httpx.Request", place: _Place
) -> Reply:
    """The whole answer; *transport* is kept or closed afterwards."""
    is_whole = False
    try:
        response = await transport.handle_async_request(request)
        try:
            reply = await _read(response, call.max_bytes, server_of(call.url))
        finally:
            await response.aclose()
        is_whole = True
        return reply
    finally:
        if is_whole and call.kept is not None:
            await call.kept.give_back(place, transport)
        else:
            await transport.aclose()


def _build(call: _Call, parts: SplitResult, address: Address, connect_seconds: float) -> "httpx.Request":
    import httpx

    host = parts.hostname or ""
    netloc = f"[{address}]" if address.version == 6 else str(address)
    port = f":{parts.port}" if parts.port is not None else ""
    named = f"[{host}]{port}" if ":" in host else f"{host}{port}"
    url = parts._replace(netloc=netloc + port, fragment="").geturl()
    timeout = dict.fromkeys(("read", "write", "pool"), call.timeout_seconds) | {"connect": connect_seconds}
    headers = {"host": named, **_credentials(parts), **call.headers}
    if call.kept is None:
        headers["connection"] = "close"
    server_name = call.tls.server_name if call.tls is not None else None
    extensions = {"timeout": timeout, "sni_hostname": server_name or host}
    try:
        return httpx.Request(call.method, url, headers=headers, content=call.content, extensions=extensions)
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise Permanent(f"a request to {server_of(call.url)} can't be built: {type(error).__name__}") from error


def _credentials(parts: SplitResult) -> dict[str, str]:
    """``https://user:password@host`` is sent as basic authorization, unless a header says otherwise."""
    if not parts.username:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _explain(error: "httpx.TransportError | ssl.SSLError", server: str, sent: bool) -> Temporary:
    import httpx

    reason = _reason(error)
    match error:
        case httpx.ConnectTimeout():
            return Unreachable(f"{server} did not take the connection in time")
        case httpx.ConnectError():
            return Unreachable(f"{server} can't be reached: {reason}")
        case httpx.TimeoutException():
            return NoAnswer(f"{server} did not answer in time") if sent else Unreachable(f"{server} is too slow")
        case _ if sent:
            return NoAnswer(f"{server} broke off without a whole answer: {reason}")
        case _:
            return Unreachable(f"the request could not be sent to {server}: {reason}")


def _reason(error: BaseException) -> str:
    """The operating system's own words, if it has some ("Connection refused"); httpx' are general."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {cause.reason or cause}"
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


async def _read(response: "httpx.Response", max_bytes: int, server: str) -> Reply:
    too_large = TooLarge(f"{server} answered with more than {max_bytes // 1024} KiB")
    body = bytearray()
    async with contextlib.aclosing(_decoded(response, max_bytes)) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > max_bytes:
                raise too_large
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, bytes(body))


async def _decoded(response: "httpx.Response", max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body as it was before compression. Never more than *max_bytes* + 1 a chunk: a small answer may unpack to
    gigabytes. Compression is not asked for, yet some servers do it.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        async for chunk in response.aiter_raw():
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Unreadable(f"the answer is compressed with {encoding}, which was not asked for")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    begun = False
    async for chunk in response.aiter_raw():
        begun = True
        try:
            yield unpacker.decompress(chunk, max_bytes + 1)
        except zlib.error as error:
            raise Unreadable(f"the answer says that it is compressed with {encoding}, and is not") from error
    if begun and not unpacker.eof:
        raise NoAnswer("the answer ends before its compressed text does")
