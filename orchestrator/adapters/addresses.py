"""Names to addresses.

Names are looked up in threads of their own, one a name: a hung resolver can't be cancelled, and must not use up a pool
that others wait for.
"""

import asyncio
import contextlib
import ipaddress
import socket
import threading

from orchestrator.errors import Temporary

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Unreachable(Temporary):
    """The request never left: the host is unknown, refuses connections or does not take them in time."""


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
