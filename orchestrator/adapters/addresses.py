"""Names to addresses, and which addresses nobody may call.

Names are looked up in threads of their own, one a name: a hung resolver can't be cancelled, and must not use up a pool
that others wait for.
"""

import asyncio
import contextlib
import ipaddress
import socket
import threading

from orchestrator.errors import Temporary

_METADATA = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Unreachable(Temporary):
    """The request never left: the host is unknown, refuses connections or does not take them in time."""


def is_forbidden(address: Address) -> bool:
    """Whether nobody's service is there but a link's own, or a cloud's metadata with its credentials."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_forbidden(inner)
    return address.is_link_local or address.is_multicast or address in _METADATA


class Resolver:
    """Looks names up, each in a daemon thread; who asks for the same name meanwhile shares the look-up."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, int], asyncio.Future[list[Address]]] = {}

    async def resolve(self, host: str, port: int) -> list[Address]:
        with contextlib.suppress(ValueError):
            return [ipaddress.ip_address(host)]
        key = (host, port)
        if key not in self._running:
            self._running[key] = self._start(key)
        return await asyncio.shield(self._running[key])

    def _start(self, key: tuple[str, int]) -> asyncio.Future[list[Address]]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Address]] = loop.create_future()
        future.add_done_callback(lambda done: (self._running.pop(key, None), done.exception()))

        def finish(found: list[Address] | None, error: Unreachable | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(found or [])

        def look_up() -> None:
            found, error = _look_up(*key)
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile; nobody waits any more
                loop.call_soon_threadsafe(finish, found, error)

        threading.Thread(target=look_up, name=f"look up {key[0]}", daemon=True).start()
        return future


def _look_up(host: str, port: int) -> tuple[list[Address], Unreachable | None]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no valid name"
        return [], Unreachable(f"the host {host} can't be found: {reason}")
    unique = dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found)
    return list(unique), None
