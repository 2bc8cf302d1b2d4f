"""An HTTP server that answers as the test says, and misbehaves as servers do.

async with ScriptedServer() as server:
    server.behave(answer_json({"status": "ok"}))
    ... server.url, server.requests ...
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.support.ports import free_port


@dataclass(frozen=True, slots=True)
class Received:
    method: str
    target: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def parameters(self) -> dict[str, str]:
        """Of the query string and of a posted form."""
        form = self.body.decode() if "urlencoded" in self.headers.get("content-type", "") else ""
        return dict(parse_qsl(urlsplit(self.target).query) + parse_qsl(form))


Behaviour = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def answer(
    body: bytes | str, status: int = 200, headers: Mapping[str, str] | None = None, *, length: int | None = None
) -> Behaviour:
    """*length* is what is claimed; more than the body's makes an answer that breaks off."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(content) if length is None else length}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        await writer.drain()

    return behave


def answer_json(document: Any, status: int = 200) -> Behaviour:
    return answer(json.dumps(document), status, {"Content-Type": "application/json"})


async def hang(_: Received, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def reset(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def say_nonsense(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    await writer.drain()


async def talk_for_ever(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


class ScriptedServer:
    """On loopback while it is entered. Without a behaviour it answers 200 with an empty body."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.requests: list[Received] = []
        self._behaviour: Behaviour = answer("")
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[Any]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def behave(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for handler in list(self._handlers):
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            received = await _receive(reader)
            self.requests.append(received)
            await self._behaviour(received, writer)
        self._handlers.discard(task)
        writer.close()


async def _receive(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, target, headers, body)


def dead_url() -> str:
    """Where nobody listens."""
    return f"http://127.0.0.1:{free_port()}"
