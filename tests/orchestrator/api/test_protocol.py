"""Heads, targets and trailers of any size are refused, and bodies of any shape are read, on a real server."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orchestrator.api.server import bind, serving

HOST = b"Host: x\r\n"
PIECE = b"y" * 65536
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
MOST_SENT = 8 * 1024 * 1024


async def counting(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the size of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    text = str(size).encode()
    head = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": text})


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    bound = bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    async with serving(counting, bound):  # type: ignore[arg-type]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        yield reader, writer
        writer.close()


@pytest.mark.parametrize(
    ("first", "piece"),
    (
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: ", PIECE),
        (b"GET / HTTP/1.1\r\n" + HOST, b"X: y\r\n" * 10_000),
        (b"GET /", PIECE),
        (CHUNKED + b"0\r\nX: ", PIECE),
        (CHUNKED + b"0\r\n", b"X: y\r\n" * 10_000),
        (CHUNKED + b"5;", PIECE),
    ),
    ids=("a header", "headers", "a target", "a trailer", "trailers", "a chunk's extension"),
)
async def test_what_belongs_to_no_body_and_never_ends_is_refused(first: bytes, piece: bytes) -> None:
    async with connected() as (reader, writer):
        sent = 0
        writer.write(first)
        with contextlib.suppress(ConnectionError):
            while sent < MOST_SENT and not reader.at_eof():
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
                await asyncio.sleep(0)
        assert sent < MOST_SENT
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                assert (await reader.read()).startswith((b"", b"HTTP/1.1 400"))


@pytest.mark.parametrize(
    ("request_bytes", "size"),
    (
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5242880\r\n\r\n" + PIECE * 80, 5_242_880),
        (CHUNKED + (b"10\r\n" + b"y" * 16 + b"\r\n") * 20_000 + b"0\r\n\r\n", 320_000),
    ),
    ids=("in one", "in small chunks"),
)
async def test_a_large_body_is_read_whole(request_bytes: bytes, size: int) -> None:
    async with connected() as (reader, writer), asyncio.timeout(20):
        writer.write(request_bytes)
        answer = await reader.readuntil(str(size).encode())
        assert answer.startswith(b"HTTP/1.1 200")


async def test_many_requests_in_a_row_on_one_connection_are_all_answered() -> None:
    async with connected() as (reader, writer), asyncio.timeout(20):
        for _ in range(2000):
            writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            await reader.readuntil(b"\r\n\r\n0")


def test_a_connection_that_takes_nothing_any_more_is_ended_by_the_system() -> None:
    with bind("127.0.0.1", 0) as bound:
        assert bound.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
