"""The feed and its stream, on a real server: an in-memory transport would read what a slow client does not."""

import asyncio
import json
import socket
from typing import cast

import httpx
import pytest

from flags import FlagDocument, Version
from flags.feed import Feed
from orchestrator.api.app import create_app
from orchestrator.api.context import Timing
from orchestrator.api.feed import FlagStreams, streams_of
from orchestrator.api.tokens import Token, TokenStore
from orchestrator.service import Service
from tests.orchestrator.api.fake_service import FakeService, client_of
from tests.orchestrator.api.test_streams import Server, events_of, read_all, serving, until

FEED = "/flags/v1/feed"
STREAM = "/flags/v1/stream"


def streams(server: Server) -> FlagStreams:
    return streams_of(server.app.state)


def put(service: FakeService, percentage: float, **more: object) -> None:
    number = service.moves + 1
    service.put(FlagDocument("new-api", percentage=percentage, version=Version(1, number), **more))  # type: ignore[arg-type]


# --- the feed ---------------------------------------------------------------------------------------------------------


async def test_the_feed_is_the_whole_text_under_its_version(stranger: httpx.AsyncClient, service: FakeService) -> None:
    put(service, 30)
    answer = await stranger.get(FEED)
    standing = service.standing("production")
    assert answer.content == standing.text
    assert Feed.decode(answer.content).encode() == standing.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["ETag"] == f'"{standing.feed.version}"'
    assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("known", ('"{}"', 'W/"{}"', '"other", "{}"', "*"))
async def test_whoever_has_this_version_gets_no_body(stranger: httpx.AsyncClient, known: str) -> None:
    tag = (await stranger.get(FEED)).headers["ETag"]
    answer = await stranger.get(FEED, headers={"If-None-Match": known.format(tag.strip('"'))})
    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)


@pytest.mark.parametrize("known", ('"0.0.0"', "nonsense", '"'))
async def test_whoever_has_another_version_gets_the_text(stranger: httpx.AsyncClient, known: str) -> None:
    assert (await stranger.get(FEED, headers={"If-None-Match": known})).status_code == 200


async def test_a_change_and_the_kill_switch_each_make_a_new_version(
    stranger: httpx.AsyncClient, admin: httpx.AsyncClient, service: FakeService
) -> None:
    first = await stranger.get(FEED)
    put(service, 50)
    second = await stranger.get(FEED, headers={"If-None-Match": first.headers["ETag"]})
    assert second.status_code == 200
    await admin.post("/feature-flags/disable-all", json={"reason": "test"})
    third = await stranger.get(FEED, headers={"If-None-Match": second.headers["ETag"]})
    assert (third.status_code, third.json()["killed"]) == (200, True)


async def test_the_environment_is_found_as_ofrep_finds_it(stranger: httpx.AsyncClient) -> None:
    async def environment(query: str, **headers: str) -> str:
        return str((await stranger.get(FEED + query, headers=headers)).json()["environment"])

    assert await environment("") == "production"
    assert await environment("?environment=staging") == "staging"
    assert await environment("", **{"X-Rollout-Environment": "staging"}) == "staging"
    assert await environment("?environment=production", **{"X-Rollout-Environment": "staging"}) == "production"


async def test_a_token_may_have_an_environment_of_its_own_and_must_be_right(service: FakeService) -> None:
    token = Token.of("secret", "shop", "viewer").model_copy(update={"environment": "staging"})
    app = create_app(cast(Service, service), TokenStore([token]), False)
    async with client_of(app) as client:
        right, wrong = {"Authorization": "Bearer secret"}, {"Authorization": "Bearer wrong"}
        assert (await client.get(FEED, headers=right)).json()["environment"] == "staging"
        for path in (FEED, STREAM):
            assert (await client.get(path, headers=wrong)).status_code == 401
            assert (await client.get(path)).status_code == 401


async def test_an_environment_of_a_thousand_characters_is_refused(stranger: httpx.AsyncClient) -> None:
    for path in (FEED, STREAM):
        answer = await stranger.get(path, params={"environment": "x" * 1000})
        assert (answer.status_code, answer.json()["error"]) == (422, "InvalidFlag")


# --- the stream -------------------------------------------------------------------------------------------------------


async def test_a_stream_sends_the_whole_text_at_once_and_each_newer_one(service: FakeService) -> None:
    put(service, 10)
    async with serving(service) as server, server.client.stream("GET", STREAM) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["Cache-Control"] == "no-store"
        events = events_of(response)
        for percentage in (10, 20):
            if percentage > 10:
                put(service, percentage)
            event, standing = await anext(events), service.standing("production")
            assert (event["event"], event["id"]) == ("feed", str(standing.feed.version))
            assert event["data"].encode() == standing.text
            assert json.loads(event["data"])["flags"][0]["percentage"] == percentage


async def test_whoever_has_the_current_version_is_told_so_by_a_heartbeat(service: FakeService) -> None:
    async with serving(service) as server:
        current = str(service.standing("production").feed.version)
        async with server.client.stream("GET", STREAM, headers={"Last-Event-ID": current}) as response:
            events = events_of(response)
            assert await anext(events) == {"comment": "heartbeat"}
            put(service, 40)
            assert (await anext(events))["id"] == str(service.standing("production").feed.version)
        for other in ("0.0.0", "nonsense", "9" * 1000):
            async with server.client.stream("GET", STREAM, headers={"Last-Event-ID": other}) as response:
                events = events_of(response)
                assert (await anext(events))["event"] == "feed"


async def test_each_environment_has_a_stream_of_its_own(service: FakeService) -> None:
    async with (
        serving(service) as server,
        server.client.stream("GET", f"{STREAM}?environment=staging") as staging,
        server.client.stream("GET", STREAM) as production,
    ):
        found = [await anext(events_of(response)) for response in (staging, production)]
        assert [json.loads(one["data"])["environment"] for one in found] == ["staging", "production"]


async def test_a_quiet_stream_has_a_heartbeat(service: FakeService) -> None:
    timing = Timing(heartbeat_seconds=0.05)
    async with serving(service, timing) as server, server.client.stream("GET", STREAM) as response:
        events = events_of(response)
        await anext(events)
        assert [await anext(events) for _ in range(3)] == [{"comment": "heartbeat"}] * 3


async def test_all_clients_share_one_frame_and_one_follower_and_leave_nothing_behind(service: FakeService) -> None:
    async with serving(service) as server:
        async with asyncio.TaskGroup() as group:
            clients = [group.create_task(one_change(server, service)) for _ in range(80)]
            await until(lambda: streams(server).places.taken == 80)
            channel = streams(server)._channels["production"]
            await until(lambda: len(channel._waiting) == 80)
            put(service, 60)
        frames = {client.result() for client in clients}
        assert frames == {service.standing("production").text}
        await until(lambda: (streams(server).places.taken, streams(server)._channels) == (0, {}))
        await until(lambda: all(task.done() for task in channel._tasks))


async def one_change(server: Server, service: FakeService) -> bytes:
    async with server.client.stream("GET", STREAM) as response:
        events = events_of(response)
        await anext(events)
        return (await anext(events))["data"].encode()


async def test_a_client_that_does_not_read_skips_versions_costs_no_queue_and_is_dropped(service: FakeService) -> None:
    put(service, 10, parameters={"text": "x" * 300_000})
    async with serving(service, Timing(heartbeat_seconds=0.05, stalled_seconds=0.5)) as server:
        with socket.socket() as frozen:
            frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            frozen.connect(("127.0.0.1", server.port))
            frozen.sendall(f"GET {STREAM} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await until(lambda: streams(server).places.taken == 1)
            for percentage in range(11, 31):
                put(service, percentage, parameters={"text": "x" * 300_000})
                assert (await server.client.get(FEED)).status_code == 200  # nobody else waits
            await until(lambda: streams(server).places.taken == 0)
            received = await asyncio.to_thread(read_all, frozen)
    assert received.count(b"\nid: ") <= 3


async def test_a_client_that_reads_slowly_is_not_dropped(service: FakeService) -> None:
    put(service, 10, parameters={"text": "x" * 2_000_000})
    async with serving(service, Timing(stalled_seconds=0.4)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=4096)
        writer.write(f"GET {STREAM} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        received = 0
        while received < 2_000_000:  # for more than a second
            received += len(await reader.read(30_000))
            await asyncio.sleep(0.02)
            assert streams(server).places.taken == 1
        writer.close()
        await until(lambda: streams(server).places.taken == 0)


async def test_there_are_only_so_many_places(service: FakeService) -> None:
    async with serving(service) as server:
        streams(server).places.most = 1
        async with server.client.stream("GET", STREAM) as response:
            events = events_of(response)
            await anext(events)
            refused = await server.client.get(STREAM)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
            assert "/flags/v1/feed" in refused.json()["message"]
            assert (await server.client.get(FEED)).status_code == 200
        await until(lambda: streams(server).places.taken == 0)


async def test_a_fault_of_the_store_is_survived(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(service) as server, server.client.stream("GET", STREAM) as response:
        events = events_of(response)
        await anext(events)
        with monkeypatch.context() as broken:
            broken.setattr(service, "standing", lambda _: 1 / 0)
            service.move()
            await until(lambda: streams(server).places.taken == 1)
            assert (await server.client.get(FEED)).status_code == 500
        put(service, 70)
        assert json.loads((await anext(events))["data"])["flags"][0]["percentage"] == 70
