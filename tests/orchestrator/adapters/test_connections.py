"""Connections that are kept for the next question to the same server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestrator.adapters.http_client import HttpClient, NoAnswer
from orchestrator.adapters.secrets import Secrets
from stages.checks import HttpRequest

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers *each* requests of a connection and then does as *then* says: closes it, at once or when it is asked
    again, or falls silent."""

    def __init__(self, each: int = 1000, then: str = "close") -> None:
        self.each, self.then = each, then
        self.connections, self.requests = 0, 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            for _ in range(self.each):
                await self._read(reader)
                writer.write(ANSWER)
                await writer.drain()
            if self.then != "close":
                await self._read(reader)
            if self.then == "silence":
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[HttpClient]:
    """A client that keeps its connections to *server*."""
    client = HttpClient(Secrets(environ={}), keep=True)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        try:
            yield client
        finally:
            await client.close()


async def ask(client: HttpClient, server: Server, timeout_seconds: float = 30.0) -> str:
    reply = await client.request(HttpRequest(url=server.url, timeout=timeout_seconds))
    return reply.text


async def test_one_question_after_the_other_takes_one_connection() -> None:
    server = Server()
    async with serving(server) as client:
        assert [await ask(client, server) for _ in range(5)] == ["ok"] * 5
    assert (server.connections, server.requests) == (1, 5)


async def test_questions_at_once_take_one_each_and_later_ones_share_those() -> None:
    server = Server()
    async with serving(server) as client:
        for _ in range(3):
            assert await asyncio.gather(*(ask(client, server) for _ in range(4))) == ["ok"] * 4
    assert (server.connections, server.requests) == (4, 12)


@pytest.mark.parametrize("then", ("close", "close when asked"))
async def test_one_that_the_server_closed_meanwhile_is_replaced_and_the_question_answered(then: str) -> None:
    server = Server(each=2, then=then)
    async with serving(server) as client:
        assert [await ask(client, server) for _ in range(6)] == ["ok"] * 6
    assert server.connections == 3


async def test_one_whose_answer_did_not_come_is_not_used_again() -> None:
    server = Server(each=1, then="silence")
    async with serving(server) as client:
        assert await ask(client, server) == "ok"
        with pytest.raises(NoAnswer, match="did not answer within"):
            await ask(client, server, timeout_seconds=0.2)
        assert await ask(client, server) == "ok"
    assert server.connections == 2
