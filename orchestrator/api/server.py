"""Serving the application beside the service, in the same event loop, on a socket that is bound already.

The socket comes first, before a store is opened or a run taken up: an address that is in use is then a plain refusal.
Signals are left to whoever runs the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.errors import RolloutError

if TYPE_CHECKING:
    from fastapi import FastAPI

START_SECONDS = 10.0
GOODBYE_SECONDS = 1  # for requests under way and event streams, when the server ends
BACKLOG = 2048
STALLED_MS = 60_000


class AddressInUse(RolloutError):
    """The address to listen on is in use."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket (port 0: any free one). Raises ``AddressInUse``, or RolloutError for what is no address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise RolloutError(f"can't listen on {host}:{port}: {error.strerror or error}") from None
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # one who takes nothing any more could keep its connection for ever
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_MS)
        bound.bind(address)
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"{host}:{port} is in use; choose another with --listen HOST:PORT, or end what listens there"
            ) from None
        raise RolloutError(f"can't listen on {host}:{port}: {error.strerror}") from None
    return bound


def is_loopback(bound: socket.socket) -> bool:
    return ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback


def url_of(bound: socket.socket, scheme: str = "http") -> str:
    """Where a client on this machine reaches it."""
    host, port = bound.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = "::1" if bound.family == socket.AF_INET6 else "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def advertised(bound: socket.socket, scheme: str = "http") -> str:
    """Where other controllers reach it, as far as can be told from here: one that listens everywhere by its host's
    name."""
    host, port = bound.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        return f"{scheme}://{socket.gethostname()}:{port}"
    return url_of(bound, scheme)


@contextlib.asynccontextmanager
async def serving(
    app: FastAPI, bound: socket.socket, tls: ssl.SSLContext | None = None, proxies: Sequence[str] = ()
) -> AsyncIterator[None]:
    """Serves while the body runs, over TLS if it is given. What *proxies* (addresses, networks) say of who asks, and
    over what, is believed. Closes the socket."""
    import uvicorn

    from orchestrator.api.protocol import BoundedProtocol

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(
        app,
        log_config=None,
        http=BoundedProtocol,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        timeout_graceful_shutdown=GOODBYE_SECONDS,
        timeout_keep_alive=30,
    )
    config.load()
    config.ssl = tls
    server = Server(config)
    work = asyncio.create_task(server.serve(sockets=[bound]), name="http server")
    try:
        await _until_started(server, work)
        yield
    finally:
        server.should_exit = True
        await work
        bound.close()


async def _until_started(server: object, work: asyncio.Task[None]) -> None:
    async with asyncio.timeout(START_SECONDS):
        while not getattr(server, "started", False):
            if work.done():
                work.result()
                raise RolloutError("the HTTP server ended while it started; its log says why")
            await asyncio.sleep(0.005)
