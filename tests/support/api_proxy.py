"""A server between a client and an API server, that does to requests what networks and overloaded servers do.

async with ApiProxy(cluster, "admin", folder) as proxy:
    proxy.disturb(on("PATCH"), refuse(429, {"Retry-After": "1"}))
    ... WorkloadWorld(..., kubeconfig=proxy.kubeconfig) ...

Its client speaks plain HTTP to it, with the user's own token; the API server behind it is the real one.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.cluster import Cluster
from tests.support.ports import free_port

CLOSE_SECONDS = 1.0

Matches = Callable[["Asked"], bool]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived: *head* up to and with the empty line."""

    method: str
    target: str
    head: bytes
    body: bytes

    @property
    def is_watch(self) -> bool:
        return "watch=true" in self.target


@dataclass(slots=True)
class Exchange:
    """One request under way: *forward* asks the API server and gives the whole answer; *reply* goes to the client."""

    asked: Asked
    writer: asyncio.StreamWriter
    proxy: "ApiProxy"

    async def forward(self) -> bytes:
        reader, upstream = await self.proxy.connect()
        try:
            upstream.write(self.asked.head + self.asked.body)
            return await reader.read()
        finally:
            await _drop(upstream)

    async def stream(self, until: "asyncio.Event | None" = None) -> None:
        """What the API server says, as it says it; not after *until* is set."""
        reader, upstream = await self.proxy.connect()
        try:
            upstream.write(self.asked.head + self.asked.body)
            while chunk := await reader.read(65536):
                if until is not None and until.is_set():
                    await asyncio.Event().wait()
                await self.reply(chunk)
        finally:
            await _drop(upstream)

    async def reply(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()


Disturbance = Callable[[Exchange], Awaitable[None]]


@dataclass(slots=True)
class _Rule:
    matches: Matches
    disturbance: Disturbance
    times: int


def on(method: str, part: str = "") -> Matches:
    """Requests of a method whose path and query hold *part*; watches only with ``WATCH``."""
    if method == "WATCH":
        return lambda asked: asked.is_watch and part in asked.target
    return lambda asked: asked.method == method and not asked.is_watch and part in asked.target


def refuse(status: int, headers: Mapping[str, str] | None = None, **fields: object) -> Disturbance:
    """An answer of the API server's kind that never came from there."""
    reason = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError"}.get(status, "Unknown")
    document = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status, **fields}
    body = json.dumps({"message": f"made up by a test: {status}", **document}).encode()
    lines = [f"HTTP/1.1 {status} No", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += ["Connection: close", *(f"{name}: {value}" for name, value in (headers or {}).items())]

    async def disturb(exchange: Exchange) -> None:
        await exchange.reply("\r\n".join([*lines, "", ""]).encode() + body)

    return disturb


async def reset(exchange: Exchange) -> None:
    """The request never arrives."""
    exchange.writer.transport.abort()


async def lose_the_answer(exchange: Exchange) -> None:
    """It is carried out, and nobody hears of it."""
    await exchange.forward()
    exchange.writer.transport.abort()


async def hang(exchange: Exchange) -> None:
    await asyncio.Event().wait()


async def fall_silent(exchange: Exchange) -> None:
    """The connection stays, and nothing more comes over it but its beginning."""
    begun = asyncio.Event()
    begun.set()
    await exchange.reply(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    await exchange.stream(begun)


async def break_off(exchange: Exchange) -> None:
    """The answer begins, and is cut in the middle of a line."""
    await exchange.reply(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    await exchange.reply(b'12\r\n{"type": "MODIFIED\r\n')
    exchange.writer.transport.abort()


async def expire(exchange: Exchange) -> None:
    """A watch is told, in its stream, that its version is too old."""
    status = {"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old"}
    line = json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
    await exchange.reply(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + line)


def after(prepare: Callable[[], Awaitable[Any]]) -> Disturbance:
    """The request goes on once *prepare* is through: something happens between a look and a write."""

    async def disturb(exchange: Exchange) -> None:
        await prepare()
        await exchange.stream()

    return disturb


@dataclass
class ApiProxy:
    """Listens on one port for as long as it is not ``down``."""

    cluster: Cluster
    user: str
    folder: Path
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port = free_port()
        self.kubeconfig = self.folder / "proxy.kubeconfig"
        self._rules: list[_Rule] = []
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Event()
        self._tls = ssl.create_default_context(cafile=str(self.cluster.authority))

    async def __aenter__(self) -> Self:
        config = json.loads(self.cluster.kubeconfig_of(self.user).read_text())
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{self.port}"}
        self.kubeconfig.write_text(json.dumps(config))
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def down(self) -> None:
        """New connections are refused, and those that were open are cut."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def disturb(self, matches: Matches, disturbance: Disturbance, times: int = 1) -> None:
        """The next *times* requests that match are treated so; then they pass again."""
        self._rules.append(_Rule(matches, disturbance, times))

    async def until(self, matches: Matches) -> None:
        """A request that matches has arrived."""
        while not self.heard(matches):
            self._arrived.clear()
            await self._arrived.wait()

    def heard(self, matches: Matches) -> int:
        return sum(map(matches, self.asked))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.cluster.port, ssl=self._tls)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                asked = await _read(reader)
                self.asked.append(asked)
                self._arrived.set()
                await self._disturbance_for(asked)(Exchange(asked, writer, self))
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            await _drop(writer)
            self._connections.discard(task)

    def _disturbance_for(self, asked: Asked) -> Disturbance:
        for rule in self._rules:
            if rule.times > 0 and rule.matches(asked):
                rule.times -= 1
                return rule.disturbance
        return Exchange.stream


async def _drop(writer: asyncio.StreamWriter) -> None:
    """Closes it for certain, also if the other side says nothing to that; what was written goes first."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            writer.close()
            await writer.wait_closed()
    writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Asked:
    """One request; its connection serves no other, so that each can be treated for itself."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    kept = [line for line in lines if line and not line.lower().startswith("connection:")]
    length = next((int(line.split(":")[1]) for line in kept if line.lower().startswith("content-length:")), 0)
    body = await reader.readexactly(length)
    head = "\r\n".join([first, *kept, "Connection: close", "", ""]).encode("latin-1")
    return Asked(method, target, head, body)
