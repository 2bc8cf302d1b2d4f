"""The event streams of OFREP, on a real server: what is told, when, to whom, and who may listen."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from flags import Version
from orchestrator.api.app import create_app
from orchestrator.api.context import Timing
from orchestrator.api.limits import Places, RateLimit
from orchestrator.api.ofrep_stream import EVENTS, ChangeStreams, Served, Spread
from orchestrator.api.tickets import WINDOW_SECONDS, Tickets
from tests.orchestrator.api.fake_service import SECRETS, TOKENS, FakeService, app_of, client_of
from tests.orchestrator.api.test_streams import events_of, read_all, until
from tests.support.process import DEADLINE_SECONDS

FLAGS = "/ofrep/v1/evaluate/flags"
USER = {"context": {"targetingKey": "user-2"}}
VIEWER = {"Authorization": f"Bearer {SECRETS['viewer']}"}
AT_ONCE = Spread(dice=lambda: 0.0)
V1, V2 = Version(1, 1), Version(1, 2)
NO: frozenset[str] = frozenset()
ONE = frozenset({"new-api"})
NEVER = Spread(each_seconds=1e6, most_seconds=1e6, dice=lambda: 1.0)


@dataclass
class Clock:
    """Of the server: monotonic and of the wall at once."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    service: FakeService
    streams: ChangeStreams
    client: httpx.AsyncClient
    port: int

    @asynccontextmanager
    async def listening(
        self, query: str = "", last_event_id: str | None = None
    ) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
        """The events after the first line of a stream, which tells browsers when to come again."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        async with self.client.stream("GET", EVENTS + query, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            events = events_of(response)
            assert (await anext(events)).keys() == {"retry"}
            yield events

    async def change(self, percentage: float, environment: str = "production") -> None:
        known = self.service.documents[environment, "new-api"]
        version = Version(1, known.version.number + 1)
        self.service.put(replace(known, percentage=percentage, version=version))

    def kill(self, environment: str = "*") -> None:
        self.service.killed[environment] = "a test"
        self.service.move()


@asynccontextmanager
async def world_of(
    service: FakeService,
    *,
    spread: Spread = AT_ONCE,
    clock: Callable[[], float] | None = None,
    most: int = 10,
    loopback: bool = True,
    timing: Timing | None = None,
    rate_limit: RateLimit | None = None,
) -> AsyncIterator[World]:
    app = create_app(service, TOKENS, loopback, timing=timing, rate_limit=rate_limit)  # type: ignore[arg-type]
    context = app.state.context
    if clock is not None:
        context = replace(context, now=clock, monotonic=clock)
    app.state.change_streams = ChangeStreams(context, spread, Places(most))
    async with served(app) as port:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, timeout=DEADLINE_SECONDS, trust_env=False) as client:
            yield World(service, app.state.change_streams, client, port)


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, lifespan="off")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listener]))
        await until(lambda: server.started)
        yield listener.getsockname()[1]
        server.should_exit = True
        await asyncio.wait_for(task, DEADLINE_SECONDS)


def data(event: dict[str, str]) -> Any:
    return json.loads(event["data"])


# --- what is told -----------------------------------------------------------------------------------------------------


async def test_an_answer_with_all_flags_says_where_changes_are_told(service: FakeService) -> None:
    async with world_of(service) as world:
        for query, environment in (("", "production"), ("?environment=shop%20%26%20caf%C3%A9", "shop & café")):
            answer = (await world.client.post(FLAGS + query, json=USER)).json()
            (stream,) = answer["eventStreams"]
            assert stream.keys() == {"type", "endpoint"}
            assert (stream["type"], stream["endpoint"].keys()) == ("sse", {"requestUri"})
            uri = urlsplit(stream["endpoint"]["requestUri"])
            assert (uri.scheme, uri.netloc, uri.path) == ("", "", EVENTS)
            assert parse_qs(uri.query) == {"environment": [environment]}


async def test_a_change_is_told_with_its_id_and_what_it_is_known_by(service: FakeService) -> None:
    clock = Clock()
    async with world_of(service, clock=clock) as world:
        world.streams.notices.look(service.standing("production"))
        clock.now += 3600
        async with world.listening() as events:
            greeting = await anext(events)
            assert (greeting["event"], greeting["data"]) == ("connected", "{}")
            await world.change(50)
            told = await anext(events)
        version = str(service.standing("production").feed.version)
        assert (told["id"], told["event"]) == (version, "message")
        assert told["id"] != greeting["id"]
        assert data(told) == {
            "type": "refetchEvaluation",
            "etag": f'"{version}"',
            "lastModified": 1_700_003_600,
        }


async def test_what_changes_in_another_environment_is_not_told(service: FakeService) -> None:
    clock = Clock()
    async with world_of(service, clock=clock) as world, world.listening("?environment=staging", "old") as events:
        await anext(events)
        await world.change(50)
        world.kill("production")
        await world.change(10, "staging")
        assert (await anext(events))["id"] == str(service.standing("staging").feed.version)


async def test_the_kill_switch_and_its_lifting_are_told(service: FakeService) -> None:
    async with world_of(service) as world, world.listening() as events:
        await anext(events)
        world.kill()
        killed = await anext(events)
        service.killed.clear()
        service.move()
        lifted = await anext(events)
    assert data(killed)["type"] == data(lifted)["type"] == "refetchEvaluation"
    assert killed["id"] != lifted["id"]


async def test_one_who_comes_again_learns_at_once_whether_something_was_missed(service: FakeService) -> None:
    async with world_of(service, spread=NEVER) as world:
        async with world.listening() as events:
            last = (await anext(events))["id"]
        async with world.listening(last_event_id=last) as events:
            assert (await anext(events))["event"] == "connected"
        await world.change(50)
        async with world.listening(last_event_id=last) as events:
            assert data(await anext(events))["type"] == "refetchEvaluation"


@pytest.mark.parametrize("last", ("x", "-1", "9" * 5000, "1.2.3.4", "é"))
async def test_an_id_that_is_none_of_ours_counts_as_something_missed(service: FakeService, last: str) -> None:
    async with world_of(service) as world:
        headers = [(b"Last-Event-ID", last.encode())]
        async with world.client.stream("GET", EVENTS, headers=headers) as response:
            events = events_of(response)
            await anext(events)
            assert data(await anext(events))["type"] == "refetchEvaluation"


async def test_a_change_between_evaluation_and_connection_is_told_and_an_old_one_is_not(service: FakeService) -> None:
    clock = Clock()
    async with world_of(service, clock=clock) as world:
        await world.client.post(FLAGS, json=USER)
        clock.now += 3600
        async with world.listening() as events:
            assert (await anext(events))["event"] == "connected"
        await world.client.post(FLAGS, json=USER)
        await world.change(50)
        async with world.listening() as events:
            assert (await anext(events))["event"] == "message"


# --- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clients", "dice", "delay_seconds"),
    ((1, 0.0, 0.0), (1, 1.0, 0.001), (1000, 0.5, 0.5), (1000, 1.0, 1.0), (100_000, 1.0, 10.0)),
)
def test_the_more_clients_the_longer_a_change_is_spread_over_them(
    clients: int, dice: float, delay_seconds: float
) -> None:
    assert Spread(dice=lambda: dice).delay_seconds(clients) == pytest.approx(delay_seconds)


def test_each_client_draws_a_delay_of_its_own() -> None:
    spread = Spread()
    delays = {spread.delay_seconds(1000) for _ in range(100)}
    assert len(delays) == 100
    assert all(0 <= delay <= 1 for delay in delays)


async def test_clients_come_again_spread_likewise(service: FakeService) -> None:
    for dice, retry_ms in ((0.0, "2000"), (0.5, "4500")):
        spread = Spread(each_seconds=5.0, dice=lambda: dice)  # noqa: B023
        async with world_of(service, spread=spread) as world, world.client.stream("GET", EVENTS) as response:
            assert await anext(events_of(response)) == {"retry": retry_ms}


async def test_a_kill_overtakes_a_change_that_is_spread(service: FakeService) -> None:
    async with world_of(service, spread=NEVER) as world, world.listening() as events:
        await anext(events)
        await world.change(50)
        await world.change(60)
        world.kill()
        assert (await anext(events))["id"] == str(service.standing("production").feed.version)


async def test_a_kill_that_follows_another_one_waits_for_nobody_either(service: FakeService) -> None:
    async with world_of(service, spread=NEVER) as world, world.listening() as events:
        await anext(events)
        world.kill()
        killed = await anext(events)
        service.killed.clear()
        service.move()  # lifted: that may wait, and a client that asks meanwhile has its flags back
        await until(lambda: world.streams.notices._latest["production"].id != killed["id"])
        world.kill()
        again = await anext(events)
        assert again["id"] == str(service.standing("production").feed.version)


@pytest.mark.parametrize(
    ("before", "after", "is_kill"),
    (
        (Served(V1, False, NO, NO), Served(V2, False, NO, NO), False),
        (Served(V1, False, NO, NO), Served(V1, True, NO, NO), True),
        (Served(V1, True, NO, NO), Served(V1, True, ONE, NO), False),
        (Served(V1, True, ONE, NO), Served(V1, True, NO, NO), True),
        (Served(V1, True, ONE, NO), Served(V2, True, ONE, NO), False),
        (Served(V1, False, NO, NO), Served(V1, False, NO, ONE), True),
        (Served(V1, False, NO, ONE), Served(V2, False, NO, ONE), False),
        (Served(V1, False, NO, ONE), Served(V1, False, NO, NO), False),
    ),
)
def test_a_kill_is_what_holds_a_flag_that_was_not_held_before(before: Served, after: Served, is_kill: bool) -> None:
    assert after.kills_more_than(before) is is_kill


async def test_changes_within_the_delay_are_told_once(service: FakeService) -> None:
    spread = Spread(each_seconds=0.2, dice=lambda: 1.0)
    async with world_of(service, spread=spread) as world, world.listening() as events:
        await anext(events)
        for percentage in (40, 50, 60):
            await world.change(percentage)
        last = str(service.standing("production").feed.version)
        assert (await anext(events))["id"] == last
        world.kill()
        assert (await anext(events))["id"] != last


# --- bounds -----------------------------------------------------------------------------------------------------------


async def test_only_so_many_streams_are_open_and_the_next_is_told_when_to_come_again(service: FakeService) -> None:
    async with world_of(service, most=1) as world:
        async with world.listening() as events:
            await anext(events)
            refused = await world.client.get(EVENTS)
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert refused.json()["errorDetails"]
            assert refused.headers["Access-Control-Allow-Origin"] == "*"
        await until(lambda: world.streams.places.taken == 0)
        async with world.listening() as events:
            assert await anext(events)


async def test_a_quiet_stream_has_a_heartbeat(service: FakeService) -> None:
    async with world_of(service, timing=Timing(heartbeat_seconds=0.05)) as world, world.listening() as events:
        await anext(events)
        assert await anext(events) == {"comment": "heartbeat"}


async def test_a_client_that_never_reads_is_dropped(service: FakeService) -> None:
    async with world_of(service, timing=Timing(stalled_seconds=0.3)) as world:
        with socket.socket() as frozen:
            frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            frozen.connect(("127.0.0.1", world.port))
            frozen.sendall(f"GET {EVENTS} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await until(lambda: world.streams.places.taken == 1)
            async with asyncio.timeout(DEADLINE_SECONDS):
                while world.streams.places.taken:
                    await world.change(world.service.moves % 100)
                    await asyncio.sleep(0)
            received = await asyncio.to_thread(read_all, frozen)
    assert received.count(b"refetchEvaluation") < service.moves


async def test_one_who_connects_too_often_is_told_when_to_come_again(service: FakeService) -> None:
    async with client_of(app_of(service, rate_limit=RateLimit(per_second=0.1, burst=1))) as client:
        await client.post(FLAGS, json=USER)
        answer = await client.get(EVENTS)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")


async def test_only_so_many_environments_are_remembered(service: FakeService) -> None:
    async with world_of(service) as world:
        notices = world.streams.notices
        for number in range(1100):
            notices.look(service.standing(f"environment-{number}"))
        assert len(notices._latest) == 1000


# --- who may listen ---------------------------------------------------------------------------------------------------


async def test_a_browser_of_another_origin_may_listen(service: FakeService) -> None:
    origin = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}
    async with world_of(service) as world:
        preflight = await world.client.options(EVENTS, headers=origin)
        assert (preflight.status_code, preflight.headers["Access-Control-Allow-Methods"]) == (204, "GET")
        assert "Last-Event-ID" in preflight.headers["Access-Control-Allow-Headers"]
        async with world.client.stream("GET", EVENTS, headers=origin) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert response.headers["Content-Type"].startswith("text/event-stream")
            assert response.headers["Cache-Control"] == "no-store"


async def uri_beyond_loopback(world: World, query: str = "") -> str:
    answer = await world.client.post(FLAGS + query, json=USER, headers=VIEWER)
    return str(answer.json()["eventStreams"][0]["endpoint"]["requestUri"])


async def test_beyond_loopback_a_ticket_that_came_with_an_answer_opens_the_stream(service: FakeService) -> None:
    async with world_of(service, loopback=False) as world:
        assert (await world.client.post(FLAGS, json=USER)).status_code == 401
        uri = await uri_beyond_loopback(world)
        async with world.listening(uri.removeprefix(EVENTS)) as events:
            await anext(events)
            await world.change(50)
            assert data(await anext(events))["type"] == "refetchEvaluation"


async def test_a_token_in_a_header_opens_the_stream_too_and_one_in_the_url_does_not(service: FakeService) -> None:
    secret = SECRETS["admin"]
    async with world_of(service, loopback=False) as world:
        async with world.client.stream("GET", EVENTS, headers=VIEWER) as response:
            assert response.status_code == 200
        for query in ("", f"?token={secret}", f"?ticket={secret}", f"?access_token={secret}", f"?api_key={secret}"):
            refused = await world.client.get(EVENTS + query)
            assert refused.status_code == 401
            assert secret not in refused.text


async def test_a_wrong_token_is_refused_whatever_ticket_comes_with_it(service: FakeService) -> None:
    async with world_of(service, loopback=False) as world:
        uri = await uri_beyond_loopback(world)
        for header in ({"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}):
            assert (await world.client.get(uri, headers=header)).status_code == 401


async def test_a_ticket_is_good_for_its_environment_and_its_stream_only(service: FakeService) -> None:
    async with world_of(service, loopback=False) as world:
        ticket = (await uri_beyond_loopback(world, "?environment=staging")).partition("ticket=")[2]
        for path in (
            f"{EVENTS}?ticket={ticket}",
            f"{EVENTS}?environment=production&ticket={ticket}",
            f"{EVENTS}?environment=staging&environment=production&ticket={ticket}",
            f"{EVENTS}?environment=staging&ticket={ticket[:-1]}",
            f"{EVENTS}?environment=staging&ticket=9{ticket}",
            f"{EVENTS}/?environment=staging&ticket={ticket}",
            f"/metrics?environment=staging&ticket={ticket}",
            f"/api/v1/flags?environment=staging&ticket={ticket}",
        ):
            assert (await world.client.get(path)).status_code == 401, path
        refused = await world.client.post(f"{FLAGS}?environment=staging&ticket={ticket}", json=USER)
        assert refused.status_code == 401
        async with world.listening(f"?environment=staging&ticket={ticket}") as events:
            assert await anext(events)


async def test_a_ticket_ends_after_ten_minutes_and_an_answer_brings_a_new_one(service: FakeService) -> None:
    clock = Clock(WINDOW_SECONDS * 1e6)
    async with world_of(service, loopback=False, clock=clock) as world:
        first = await world.client.post(FLAGS, json=USER, headers=VIEWER)
        known = VIEWER | {"If-None-Match": first.headers["ETag"]}
        clock.now += WINDOW_SECONDS - 1
        assert (await world.client.post(FLAGS, json=USER, headers=known)).status_code == 304
        clock.now += WINDOW_SECONDS + 1
        uri = first.json()["eventStreams"][0]["endpoint"]["requestUri"]
        assert (await world.client.get(uri)).status_code == 401
        again = await world.client.post(FLAGS, json=USER, headers=known)
        assert again.status_code == 200
        async with world.listening(again.json()["eventStreams"][0]["endpoint"]["requestUri"].removeprefix(EVENTS)):
            pass


@pytest.mark.parametrize("age", (0, 1, WINDOW_SECONDS - 1, WINDOW_SECONDS))
def test_a_ticket_is_good_for_five_to_ten_minutes(age: float) -> None:
    tickets, issued = Tickets(), 1_700_000_100.0 + age
    ticket = tickets.issue("production", issued)
    good = [seconds for seconds in range(1200) if tickets.admits(ticket, "production", issued + seconds)]
    assert good == list(range(len(good)))
    assert WINDOW_SECONDS <= len(good) <= 2 * WINDOW_SECONDS


@pytest.mark.parametrize(
    "ticket", ("", ".", "x", "1.", "٣" * 5 + "." + "x" * 43, "9" * 12 + "." + "A" * 43, "-1.x", "\0")
)
def test_what_is_no_ticket_admits_nobody(ticket: str) -> None:
    assert not Tickets().admits(ticket, "production", 0.0)


def test_the_ticket_of_another_process_admits_nobody() -> None:
    assert not Tickets().admits(Tickets().issue("production", 0.0), "production", 0.0)
