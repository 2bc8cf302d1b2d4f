"""Serving flags over gRPC beside the service, in the same event loop."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from orchestrator.api.credentials import Credentials
from orchestrator.api.tls import Certificates
from orchestrator.api.tokens import TokenStore
from orchestrator.errors import RolloutError, UsageError

if TYPE_CHECKING:
    from orchestrator.service import Service

DEFAULT_PORT: Final = 8015
"""Where flagd's providers look for a sync service."""

MOST_STREAMS: Final = 1000
_REQUEST_BYTES: Final = 64 * 1024

_OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.so_reuseport", 0),  # an address that is in use is refused, not shared
    ("grpc.max_receive_message_length", _REQUEST_BYTES),
    ("grpc.max_concurrent_streams", 100),  # of one connection
    ("grpc.keepalive_time_ms", 30_000),  # a client that is gone without a word is noticed
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # clients may look after us likewise
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Both in PEM."""

    chain: bytes
    key: bytes


@contextlib.asynccontextmanager
async def serving_flagd(
    service: Service,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    tokens: TokenStore | Credentials | None = None,
    *,
    certificate: Certificate | Certificates | None = None,
    most_streams: int = MOST_STREAMS,
) -> AsyncIterator[int]:
    """Serves while the body runs, and gives the port (0 asks for any free one).

    On loopback a client may do without a token; elsewhere it sends `authorization: Bearer TOKEN` as metadata, which
    clients do over TLS only. Raises UsageError without gRPC, or beyond loopback without tokens; RolloutError for an
    address that can't be had.
    """
    try:
        import grpc.aio
    except ImportError:
        raise UsageError(
            "serving flagd over gRPC needs the extra `flagd`: pip install 'staged-rollout[flagd]'; "
            "over HTTP the same document is at /flagd/v1/flags.json"
        ) from None
    from orchestrator.flagd_sync.sync import FlagSync

    address = _address(host, port)
    is_loopback = ipaddress.ip_address(address.partition("%")[0]).is_loopback
    credentials = tokens if isinstance(tokens, Credentials) else Credentials(tokens)
    if not is_loopback and not await credentials.has_any():
        raise UsageError(
            "serving flagd beyond loopback needs tokens, or everybody could read the flags: give --token-file, or make "
            "one with `rollout token create` first"
        )
    sync = FlagSync(service, credentials, is_loopback, most_streams)
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((sync.handlers(),))
    listen = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    try:
        if certificate is None:
            bound = server.add_insecure_port(listen)
        else:
            bound = server.add_secure_port(listen, _credentials(grpc, certificate))
    except RuntimeError:
        remedy = "" if certificate is None else "; look whether the certificate and its key are PEM and fit"
        raise RolloutError(f"can't serve flagd on {host}:{port}{remedy}") from None
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)  # streams have no end of their own; clients connect again


def _credentials(grpc: Any, certificate: Certificate | Certificates) -> Any:
    """With the certificate that is the newest when a client comes, if it is read from files."""
    if not isinstance(certificate, Certificates):
        return grpc.ssl_server_credentials([(certificate.key, certificate.chain)])

    def shown() -> Any:
        pair = certificate.current()
        return grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)])

    return grpc.dynamic_ssl_server_credentials(shown(), shown, require_client_authentication=False)


def _address(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0], found[1]) as probe:  # gRPC's own refusal is pages of its inside
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[4])
    except OSError as error:
        remedy = "; choose another with --flagd-listen HOST:PORT" if error.errno == errno.EADDRINUSE else ""
        raise RolloutError(f"can't serve flagd on {host}:{port}: {error.strerror or error}{remedy}") from None
    return str(found[4][0])
