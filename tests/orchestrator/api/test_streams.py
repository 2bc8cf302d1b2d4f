"""Event streams, on a real server: an in-memory transport would read what a slow client does not."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx
import pytest
import uvicorn

from orchestrator.api.app import create_app
from orchestrator.api.context import Timing
from orchestrator.service import Service
from tests.orchestrator.api.fake_service import SECRETS, TOKENS, FakeService
from tests.support.process import DEADLINE_SECONDS

EVENTS = "/api/v1/runs/search/events"
STREAM = {"Accept": "text/event-stream", "Authorization": f"Bearer {SECRETS['viewer']}"}


@dataclass
class Server:
    port: int
    client: httpx.AsyncClient
    app: Any

    @property
    def open_streams(self) -> int:
        return int(self.app.state.context.streams.taken)


@asynccontextmanager
async def serving(service: FakeService, timing: Timing | None = None) -> AsyncIterator[Server]:
    app = create_app(cast(Service, service), TOKENS, True, timing=timing)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        port = listener.getsockname()[1]
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, lifespan="off")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listener]))
        await until(lambda: server.started)
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, headers=STREAM, timeout=DEADLINE_SECONDS) as client:
            yield Server(port, client, app)
        server.should_exit = True
        await asyncio.wait_for(task, DEADLINE_SECONDS)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 - a server of others has no event to wait for
            await asyncio.sleep(0.01)


async def events_of(response: httpx.Response) -> AsyncIterator[dict[str, str]]:
    """Each event as its fields; a comment under ``comment``. Kept while the stream is to stay open: with it the
    connection is closed."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if not line:
            yield fields
            fields = {}
            continue
        name, _, value = line.partition(":")
        fields[name or "comment"] = value.removeprefix(" ")


async def test_a_stream_sends_what_was_then_what_comes_and_ends_with_the_run(service: FakeService) -> None:
    async with serving(service) as server, server.client.stream("GET", EVENTS) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["Cache-Control"] == "no-store"
        events = events_of(response)
        assert await anext(events) == {"retry": "2000"}
        assert [(await anext(events))["id"] for _ in range(3)] == ["1", "2", "3"]
        await service.append("search-a1b2c3", "Paused")
        live = await anext(events)
        assert (live["id"], json.loads(live["data"])["type"]) == ("4", "Paused")
        await service.append("search-a1b2c3", "RunEnded", outcome="promoted")
        assert (await anext(events))["id"] == "5"
        end = await anext(events)
        assert (end["event"], json.loads(end["data"])["outcome"]) == ("end", "promoted")
        assert [event async for event in events] == []
        await until(lambda: (service.following, server.open_streams) == (0, 0))


async def test_a_stream_goes_on_after_the_last_event_that_was_seen(service: FakeService) -> None:
    async with serving(service) as server:
        async with server.client.stream("GET", f"{EVENTS}?after=0", headers={"Last-Event-ID": "2"}) as response:
            events = events_of(response)
            await anext(events)
            assert (await anext(events))["id"] == "3"
        async with server.client.stream("GET", f"{EVENTS}?after=1") as response:
            events = events_of(response)
            await anext(events)
            assert (await anext(events))["id"] == "2"


async def test_one_who_has_seen_the_end_is_told_not_to_come_again(service: FakeService) -> None:
    await service.append("search-a1b2c3", "RunEnded", outcome="promoted")
    async with serving(service) as server:
        assert (await server.client.get(EVENTS, headers={"Last-Event-ID": "4"})).status_code == 204
        assert "event: end" in (await server.client.get(EVENTS, headers={"Last-Event-ID": "3"})).text


@pytest.mark.parametrize("last", ("x", "-1", "1.5", "9" * 30))
async def test_a_last_event_id_that_is_none_of_ours_is_refused(admin: httpx.AsyncClient, last: str) -> None:
    answer = await admin.get(EVENTS, headers={"Accept": "text/event-stream", "Last-Event-ID": last})
    assert (answer.status_code, answer.json()["error"]) == (400, "BadRequest")


async def test_a_quiet_stream_has_a_heartbeat(service: FakeService) -> None:
    timing = Timing(heartbeat_seconds=0.05)
    async with serving(service, timing) as server, server.client.stream("GET", f"{EVENTS}?after=3") as response:
        events = events_of(response)
        await anext(events)
        assert [await anext(events) for _ in range(2)] == [{"comment": "heartbeat"}] * 2


async def test_a_client_that_goes_away_leaves_nothing_behind(service: FakeService) -> None:
    async with serving(service) as server:
        async with server.client.stream("GET", EVENTS) as response:
            events = events_of(response)
            await anext(events)
            assert (service.following, server.open_streams) == (1, 1)
        await until(lambda: (service.following, server.open_streams) == (0, 0))


async def test_a_client_that_does_not_read_is_dropped_and_costs_no_more_than_its_queue(service: FakeService) -> None:
    for _ in range(3000):
        service._append(service.runs["search-a1b2c3"], "HoldSet", detail="x" * 2000)
    async with serving(service, Timing(stalled_seconds=0.3)) as server:
        with socket.socket() as frozen:
            frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            frozen.connect(("127.0.0.1", server.port))
            lines = [f"GET {EVENTS} HTTP/1.1", "Host: localhost", *(f"{name}: {text}" for name, text in STREAM.items())]
            frozen.sendall("\r\n".join([*lines, "", ""]).encode())
            await until(lambda: service.following == 1)
            other = await server.client.get(f"{EVENTS}?limit=1", headers={"Accept": "application/json"})
            assert len(other.json()) == 1  # nobody else waits
            await until(lambda: (service.following, server.open_streams) == (0, 0))
            received = await asyncio.to_thread(read_all, frozen)
    assert received.count(b"\nid: ") < 1000


def read_all(connection: socket.socket) -> bytes:
    connection.settimeout(DEADLINE_SECONDS)
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


async def test_there_are_only_so_many_streams(service: FakeService) -> None:
    async with serving(service) as server:
        server.app.state.context.streams.most = 1
        async with server.client.stream("GET", EVENTS) as response:
            events = events_of(response)
            await anext(events)
            refused = await server.client.get(EVENTS)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
        await until(lambda: server.open_streams == 0)
