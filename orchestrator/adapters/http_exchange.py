"""One request over one connection: the home of aiohttp's client, imported when the first request is sent.

aiohttp takes a tenth of a millisecond of a processor for a request over a kept connection, a fifth of what httpx takes,
and a request that is cut short closes its own connection and nobody else's.
"""

import contextlib
import os
import ssl
import zlib
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import SplitResult, quote, unquote

import aiohttp
from yarl import URL

from orchestrator.adapters.addresses import Address, Unreachable
from orchestrator.adapters.http_call import Call, NoAnswer, Reply, TooLarge, Unreadable, server_of
from orchestrator.adapters.tls import context_of, usual_context
from orchestrator.errors import Permanent, Temporary

IDLE_SECONDS = 25.0  # servers close after a minute and more, most proxies after 30 s
LONGEST_HEADER = 64 * 1024
LONGEST_REASON = 200
SENT_AS_THEY_ARE = "%/:=&?~#+!$,;'@()*[]|^`{}\\"  # characters of an URL; what is no ASCII is encoded
NEVER_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class BrokenOff(aiohttp.ClientError):
    """The connection ended when the request was on its way."""


class Exchange:
    """For one event loop. With *keep* connections wait for the next request to the same place; every request merely
    reads then, and is sent again where a kept one turns out to have been closed by the server."""

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._session: aiohttp.ClientSession | None = None

    async def send(self, call: Call, parts: SplitResult, address: Address, connect_seconds: float) -> Reply:
        """To *address*, which *parts*' host has. The whole answer; raises as ``HttpClient.request`` does."""
        try:
            if self._keep:
                return await self._over_kept(call, parts, address, connect_seconds)
            async with _session(keep=False) as session:
                return await _through(session, call, parts, address, connect_seconds)
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            raise _explain(error, server_of(call.url), call.sent) from error

    async def _over_kept(self, call: Call, parts: SplitResult, address: Address, connect_seconds: float) -> Reply:
        if self._session is None:
            self._session = _session(keep=True)
        while True:
            try:
                return await _through(self._session, call, parts, address, connect_seconds)
            except (BrokenOff, aiohttp.ClientPayloadError):
                if not call.is_reused:
                    raise

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _session(*, keep: bool) -> aiohttp.ClientSession:
    """Nothing of the environment, and no cookie, goes along."""
    limits: dict[str, Any] = {"keepalive_timeout": IDLE_SECONDS} if keep else {"force_close": True}
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, use_dns_cache=False, **limits),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=NEVER_ADDED,
        auto_decompress=False,
        trust_env=False,
        trace_configs=[_tracing()],
        middlewares=(_once,),
        max_line_size=LONGEST_HEADER,
        max_field_size=LONGEST_HEADER,
    )


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """aiohttp would send again what is idempotent, also over a new connection: who asked does not want that."""
    try:
        return await handler(request)
    except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise BrokenOff(str(error)) from error


def _tracing() -> aiohttp.TraceConfig:
    """What becomes of a request is noted in its ``Call``."""

    async def reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
        context.trace_request_ctx.is_reused = True

    async def connects(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
        context.trace_request_ctx.is_reused = False

    async def sent(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
        context.trace_request_ctx.sent = True

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(reused)
    config.on_connection_create_start.append(connects)
    config.on_request_headers_sent.append(sent)
    return config


async def _through(
    session: aiohttp.ClientSession, call: Call, parts: SplitResult, address: Address, connect_seconds: float
) -> Reply:
    call.sent = False
    is_secret = parts.scheme == "https"
    async with session.request(
        call.method,
        _url(parts, address),
        headers=_headers(call, parts, keep=not session.connector.force_close),  # type: ignore[union-attr]
        data=call.content,
        allow_redirects=False,
        ssl=_ssl_context(call) if is_secret else True,
        server_hostname=_server_name(call, parts) if is_secret else None,
        timeout=aiohttp.ClientTimeout(sock_connect=connect_seconds),
        trace_request_ctx=call,
    ) as response:
        return await _read(response, call.max_bytes, server_of(call.url))


def _url(parts: SplitResult, address: Address) -> URL:
    """As the plan wrote it, but for the host, which is its *address*."""
    netloc = f"[{address}]" if address.version == 6 else str(address)
    port = f":{parts.port}" if parts.port is not None else ""
    url = parts._replace(netloc=netloc + port, fragment="").geturl()
    return URL(quote(url, safe=SENT_AS_THEY_ARE), encoded=True)


def _headers(call: Call, parts: SplitResult, *, keep: bool) -> dict[str, str]:
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port is not None else ""
    named = f"[{host}]{port}" if ":" in host else f"{host}{port}"
    if not named.isascii():
        raise Permanent(f"a request to {server_of(call.url)} can't be built: its host has other letters than a name")
    found = {"host": named, **_credentials(parts), **call.headers}
    return found if keep else {**found, "connection": "close"}


def _credentials(parts: SplitResult) -> dict[str, str]:
    """``https://user:password@host`` is sent as basic authorization, unless a header says otherwise."""
    if not parts.username:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _ssl_context(call: Call) -> ssl.SSLContext:
    return usual_context() if call.tls is None else context_of(call.tls)


def _server_name(call: Call, parts: SplitResult) -> str | None:
    return (call.tls.server_name if call.tls is not None else None) or parts.hostname


# --- what is answered -------------------------------------------------------------------------------------------------


async def _read(response: aiohttp.ClientResponse, max_bytes: int, server: str) -> Reply:
    body = bytearray()
    async with contextlib.aclosing(_decoded(response, max_bytes)) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > max_bytes:
                raise TooLarge(f"{server} answered with more than {max_bytes // 1024} KiB")
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        known = headers.get(name.lower())
        headers[name.lower()] = value if known is None else f"{known}, {value}"
    return Reply(response.status, headers, bytes(body))


async def _decoded(response: aiohttp.ClientResponse, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body as it was before compression. Never more than *max_bytes* + 1 a chunk: a small answer may unpack to
    gigabytes. Compression is not asked for, yet some servers do it.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        async for chunk in response.content.iter_any():
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Unreadable(f"the answer is compressed with {encoding}, which was not asked for")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    begun = False
    async for chunk in response.content.iter_any():
        begun = True
        try:
            yield unpacker.decompress(chunk, max_bytes + 1)
        except zlib.error as error:
            raise Unreadable(f"the answer says that it is compressed with {encoding}, and is not") from error
    if begun and not unpacker.eof:
        raise NoAnswer("the answer ends before its compressed text does")


# --- what goes wrong --------------------------------------------------------------------------------------------------


def _explain(error: Exception, server: str, sent: bool) -> Permanent | Temporary:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return Unreachable(f"{server} did not take the connection in time")
        case aiohttp.ClientConnectorError():
            return Unreachable(f"{server} can't be reached: {_reason(error)}")
        case aiohttp.ClientError() | OSError() if sent:
            return NoAnswer(f"{server} broke off without a whole answer: {_reason(error)}")
        case aiohttp.ClientError() | OSError() if not isinstance(error, aiohttp.InvalidURL):
            return Unreachable(f"the request could not be sent to {server}: {_reason(error)}")
        case _:
            return Permanent(f"a request to {server} can't be built: {type(error).__name__}")


def _reason(error: BaseException) -> str:
    """The words of OpenSSL or of the operating system, if there are some ("Connection refused"); aiohttp's may show the
    whole URL."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError) and hasattr(cause, "verify_message"):  # aiohttp's has none
            return f"its certificate is not accepted: {cause.verify_message}"
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None):
            return f"TLS failed: {cause.reason}"
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno)
    if isinstance(error, aiohttp.ClientResponseError):
        return " ".join(error.message.split())[:LONGEST_REASON]
    words = "" if isinstance(error, aiohttp.ClientConnectorError) else str(error)
    return words or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
