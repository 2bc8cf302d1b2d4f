"""HTTP to wherever a plan points: one client, and the one guard that its URLs pass.

Theory of operation. Every request has a connection of its own. That costs a millisecond, and buys two things: a hung
server holds nothing that others wait for; and no request is lost to a kept connection that the server was about to
close, which would leave an unknown outcome. Who asks the same server again and again, and only reads, keeps them.

The guard resolves the host's name itself, refuses the addresses of link-local and metadata services and whatever the
allowance of the controller does not list, and connects to an address that it has checked, so a name can't lead
elsewhere between check and use. Proxies of the environment are not used: behind one, the guard would see nothing.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urljoin, urlsplit

from orchestrator.adapters.addresses import Address, Resolver, Unreachable
from orchestrator.adapters.http_call import Call, NoAnswer, Reply, TooLarge, Unreadable, server_of
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.tls import Credentials
from orchestrator.allowance import ANYWHERE, refuse
from orchestrator.errors import Permanent
from stages.checks import HttpRequest

if TYPE_CHECKING:
    from orchestrator.adapters.http_exchange import Exchange

__all__ = ["HttpClient", "NoAnswer", "Reply", "TooLarge", "Unreachable", "Unreadable", "server_of"]

MAX_BODY_BYTES = 1024 * 1024
MAX_REDIRECTS = 5
MAX_ADDRESSES = 4
REDIRECTS = (301, 302, 303, 307, 308)
DEFAULT_PORTS = {"http": 80, "https": 443}
NOT_IN_AN_URL = re.compile(r"[\x00-\x20\x7f]")


class HttpClient:
    """Sends requests of plans. Safe for any number of concurrent callers of one event loop."""

    def __init__(self, secrets: Secrets, *, keep: bool = False) -> None:
        """Which hosts may be called is in the allowance of *secrets*. *keep*: every request only reads, and may be sent
        again over a new connection where a kept one turns out to be closed; without it nothing is kept open."""
        self.secrets = secrets
        self._allowance = secrets.allowance or ANYWHERE
        self._resolver = Resolver()
        self._exchange: Exchange | None = _exchange(keep=True) if keep else None

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
        call = Call(
            method=request.method,
            url=request.url,
            headers=self._headers(request, headers or {}, directory),
            content=content if content is not None else _content(request),
            timeout_seconds=request.timeout,
            max_bytes=max_bytes,
            tls=tls,
        )
        try:
            async with asyncio.timeout(request.timeout):
                return await self._follow(call, request.statuses)
        except TimeoutError:
            kind = NoAnswer if call.sent else Unreachable
            raise kind(f"{server_of(call.url)} did not answer within {request.timeout:g} s") from None

    async def close(self) -> None:
        """Ends what was kept."""
        if self._exchange is not None:
            await self._exchange.close()

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

    async def _follow(self, call: Call, wanted: tuple[int, ...]) -> Reply:
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

    async def _send(self, call: Call) -> Reply:
        parts = self._checked(call.url)
        assert parts.hostname is not None
        addresses = await self._addresses(parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme])
        exchange = self._exchange = self._exchange or _exchange(keep=False)
        for address in addresses[:-1]:
            with contextlib.suppress(Unreachable):
                return await exchange.send(call, parts, address, call.timeout_seconds / len(addresses))
        return await exchange.send(call, parts, addresses[-1], call.timeout_seconds)

    def _checked(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError as error:
            raise Permanent(f"an URL can't be read: {error}") from error
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise Permanent("an URL must begin with http:// or https:// and name a host")
        if NOT_IN_AN_URL.search(url):
            raise Permanent(f"an URL at {server_of(url)} holds blanks or control characters")
        refuse(self._allowance.host(parts.hostname))
        return parts

    async def _addresses(self, host: str, port: int) -> list[Address]:
        found = await self._resolver.resolve(host, port)
        for address in found:
            refuse(self._allowance.address(host, address))
        return found[:MAX_ADDRESSES]


def _exchange(*, keep: bool) -> "Exchange":
    """What it needs takes half a second to import: at once where it is needed soon, else when something is sent."""
    from orchestrator.adapters.http_exchange import Exchange

    return Exchange(keep=keep)


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
