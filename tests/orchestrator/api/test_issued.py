"""Tokens that are made and revoked while the server runs, by two servers on one store, with clocks that tests move."""

import asyncio
from collections.abc import AsyncIterator
from functools import cached_property
from typing import Any, cast

import httpx
import pytest

from orchestrator.api.app import create_app
from orchestrator.api.bodies import TokenBody
from orchestrator.api.context import ApiContext, Timing
from orchestrator.api.credentials import FAILURES_BURST, Clocks, Credentials
from orchestrator.api.guard import Guard
from orchestrator.api.issued import AWAY_SECONDS, FRESH_SECONDS, PREFIX
from orchestrator.api.server import bind, serving, url_of
from orchestrator.api.tokens import hashed
from orchestrator.core.commands import Actor
from orchestrator.errors import Forbidden, RolloutError, StoreError
from orchestrator.journal.memory_tokens import MemoryTokens
from orchestrator.service import Service
from orchestrator.token_port import IssuedToken, OwnerToken
from tests.orchestrator.api.fake_service import SECRETS, TOKENS, FakeService
from tests.support.process import DEADLINE_SECONDS

Json = dict[str, Any]
START = 1_772_366_400.0  # 2026-03-01 12:00 UTC
SOON, LATER = "2026-03-01T12:00:10Z", "2026-03-02T12:00:00Z"


class Storage(MemoryTokens):
    """One that can be away, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.asked = 0

    async def live(self, now: float) -> list[IssuedToken]:
        self._look()
        return await super().live(now)

    async def find(self, sha256: str) -> IssuedToken | None:
        self._look()
        return await super().find(sha256)

    async def note(self, notes: Any) -> None:
        self._look()
        await super().note(notes)

    def _look(self) -> None:
        self.asked += 1
        if self.is_away:
            raise StoreError("it is away")


class World:
    """*one* and *two* are clients of two servers of one store, as an admin of the token file."""

    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.storage = Storage()
        self.seconds = 0.0
        clocks = Clocks(lambda: START + self.seconds, lambda: self.seconds)
        self.credentials = [Credentials(TOKENS, self.storage, clocks=clocks) for _ in range(2)]
        self._clients: list[httpx.AsyncClient] = []

    @cached_property
    def one(self) -> httpx.AsyncClient:
        return self._client(0)

    @cached_property
    def two(self) -> httpx.AsyncClient:
        return self._client(1)

    def _client(self, number: int) -> httpx.AsyncClient:
        app = create_app(cast(Service, self.service), self.credentials[number], listen_is_loopback=True)
        transport = httpx.ASGITransport(app=app, client=(f"192.0.2.{number + 1}", 4711))
        headers = {"Authorization": f"Bearer {SECRETS['admin']}"}
        self._clients.append(httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers))
        return self._clients[-1]

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()
        self.storage.is_away = False
        for one in self.credentials:
            await one.close()

    def pass_seconds(self, seconds: float) -> None:
        self.seconds += seconds

    async def make(self, name: str = "kim", role: str = "operator", **more: Any) -> Json:
        answer = await self.one.post("/api/v1/tokens", json={"name": name, "role": role, **more})
        assert answer.status_code == 201, answer.text
        made: Json = answer.json()
        return made

    async def revoke(self, which: str, client: httpx.AsyncClient | None = None) -> httpx.Response:
        return await (client or self.one).request("DELETE", f"/api/v1/tokens/{which}", json={"reason": "it leaked"})

    async def ask(self, secret: str, client: httpx.AsyncClient) -> httpx.Response:
        return await client.get("/api/v1/runs", headers={"Authorization": f"Bearer {secret}"})

    async def status(self, secret: str, client: httpx.AsyncClient) -> int:
        return (await self.ask(secret, client)).status_code

    async def log(self) -> list[Json]:
        for one in self.credentials:
            await one.close()
        entries: list[Json] = (await self.one.get("/api/v1/audit")).json()
        return entries


@pytest.fixture
async def world(service: FakeService) -> AsyncIterator[World]:
    made = World(service)
    yield made
    await made.close()


async def test_a_token_that_was_made_is_good_at_once_for_every_server_of_the_store(world: World) -> None:
    made = await world.make(groups=["sre"], environment="staging", expires=LATER)
    assert made["secret"].startswith(PREFIX)
    assert await world.status(made["secret"], world.one) == 200
    assert await world.status(made["secret"], world.two) == 200


async def test_what_was_made_is_listed_without_its_secret_or_hash(world: World) -> None:
    made = await world.make(groups=["sre"], environment="staging", expires=LATER)
    answer = await world.two.get("/api/v1/tokens")
    (shown,) = answer.json()
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert shown["state"] == "live"
    assert (shown["by"], shown["created"]) == ("admin-person", "2026-03-01T12:00:00.000Z")
    assert hashed(made["secret"]) not in answer.text


async def test_its_name_role_groups_and_environment_are_those_of_who_uses_it(world: World) -> None:
    made = await world.make(groups=["sre", "dba"], environment="staging")
    bearer = {"Authorization": f"Bearer {made['secret']}"}
    command = {"command": "pause", "reason": "a test"}
    assert (await world.two.post("/api/v1/runs/search/commands", json=command, headers=bearer)).status_code == 200
    actor = world.service.asked[-1][2]
    assert (actor.name, actor.role, actor.groups) == ("kim", "operator", ("sre", "dba"))
    feed = await world.two.get("/flags/v1/feed", headers=bearer)
    assert feed.json()["environment"] == "staging"
    refused = await world.two.request("DELETE", "/feature-flags/disable-all", json={"reason": "x"}, headers=bearer)
    assert refused.status_code == 403


async def test_a_revocation_holds_at_once_where_it_was_asked_for_and_two_seconds_later_everywhere(world: World) -> None:
    made = await world.make()
    assert await world.status(made["secret"], world.two) == 200
    assert (await world.revoke(made["id"])).json()["state"] == "revoked"
    refused = await world.ask(made["secret"], world.one)
    assert (refused.status_code, refused.json()["message"]) == (
        401,
        "The token of kim was revoked: ask for a new one.",
    )
    world.pass_seconds(FRESH_SECONDS + 0.001)
    assert await world.status(made["secret"], world.two) == 401


async def test_a_look_at_the_store_that_began_before_a_revocation_does_not_bring_the_token_back(world: World) -> None:
    made = await world.make()
    world.pass_seconds(FRESH_SECONDS + 1)
    issued = world.credentials[0].issued
    assert issued is not None
    going_on, begun = asyncio.Event(), asyncio.Event()
    look = world.storage.live

    async def slow(now: float) -> list[IssuedToken]:
        found = await look(now)
        begun.set()
        await going_on.wait()
        return found

    world.storage.live = slow  # type: ignore[method-assign]
    asking = asyncio.create_task(world.status(made["secret"], world.one))
    await begun.wait()
    world.storage.live = look  # type: ignore[method-assign]
    await issued.revoke(made["id"], "it leaked", Actor("ann", "admin"))
    going_on.set()
    assert await asking == 401
    assert await world.status(made["secret"], world.one) == 401


async def test_a_token_is_never_accepted_past_its_expiry_whatever_is_in_memory(world: World) -> None:
    made = await world.make(expires=SOON)
    world.pass_seconds(9.9)
    assert await world.status(made["secret"], world.one) == 200
    world.pass_seconds(0.1)
    refused = await world.ask(made["secret"], world.one)
    assert (refused.status_code, refused.json()["message"]) == (401, "The token of kim has expired: ask for a new one.")
    assert (await world.one.get("/api/v1/tokens")).json()[0]["state"] == "expired"


async def test_a_token_can_t_be_made_that_has_expired_already(world: World) -> None:
    body = {"name": "kim", "role": "viewer", "expires": "2026-03-01T12:00:00Z"}
    answer = await world.one.post("/api/v1/tokens", json=body)
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "The token would have expired already: name a time to come.",
    )


@pytest.mark.parametrize(
    "wrong",
    (
        {"name": ""},
        {"name": " kim"},
        {"name": "kim\x1b[2J"},
        {"role": "root"},
        {"groups": ["a\nb"]},
        {"groups": ["g"] * 51},
        {"expires": "2027-01-01T00:00:00"},
        {"sha256": "0" * 64},
    ),
)
async def test_what_a_token_can_t_be_is_said_with_its_place(world: World, wrong: Json) -> None:
    answer = await world.one.post("/api/v1/tokens", json={"name": "kim", "role": "viewer", **wrong})
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["path"].startswith(next(iter(wrong)))
    assert await world.storage.tokens() == []


async def test_nobody_makes_a_token_above_his_own_role(world: World) -> None:
    issued = world.credentials[0].issued
    assert issued is not None
    with pytest.raises(Forbidden, match="kim is approver and can't make a token for the role admin"):
        await issued.issue(TokenBody(name="eve", role="admin"), Actor("kim", "approver"))
    assert await world.storage.tokens() == []


async def test_a_token_is_revoked_by_its_name_if_only_one_live_token_bears_it(world: World) -> None:
    first, second = await world.make(), await world.make()
    answer = await world.revoke("kim")
    assert answer.status_code == 409
    assert first["id"] in answer.json()["message"]
    assert second["id"] in answer.json()["message"]
    await world.revoke(first["id"])
    assert (await world.revoke("kim")).json()["id"] == second["id"]
    assert (await world.revoke("kim")).status_code == 404
    world.pass_seconds(1)
    assert (await world.revoke(first["id"])).status_code == 409


async def test_while_the_store_is_away_what_is_known_goes_on_for_an_hour(world: World) -> None:
    made = await world.make()
    assert await world.status(made["secret"], world.one) == 200
    world.storage.is_away = True
    world.pass_seconds(AWAY_SECONDS)
    assert await world.status(made["secret"], world.one) == 200
    world.pass_seconds(1)
    later = await world.ask(made["secret"], world.one)
    assert (later.status_code, later.headers["Retry-After"]) == (503, "1")
    world.storage.is_away = False
    world.pass_seconds(1)
    assert await world.status(made["secret"], world.one) == 200


async def test_while_the_store_is_away_nobody_says_that_a_token_is_wrong_that_may_be_new(world: World) -> None:
    world.storage.is_away = True
    answer = await world.ask("rollout_new", world.one)
    assert answer.status_code == 503
    assert "can't be asked just now" in answer.json()["message"]


async def test_a_store_that_is_away_is_asked_once_a_second_however_many_ask(world: World) -> None:
    made = await world.make()
    await world.ask(made["secret"], world.one)
    world.storage.is_away = True
    world.pass_seconds(FRESH_SECONDS + 1)
    world.storage.asked = 0
    await asyncio.gather(*(world.ask(made["secret"], world.one) for _ in range(20)))
    assert world.storage.asked == 1


async def test_the_owner_of_a_controller_is_known_to_the_others(world: World) -> None:
    await world.storage.lend(OwnerToken("one", "ann", "admin", hashed("of-ann")))
    assert await world.status("of-ann", world.two) == 200
    assert await world.status("of-ann", world.two) == 200


# --- wrong again and again --------------------------------------------------------------------------------------------


async def test_who_is_wrong_too_often_waits_and_others_behind_the_same_address_do_not(world: World) -> None:
    made = await world.make()
    await world.ask(made["secret"], world.one)
    answers = [await world.status(f"guess-{number}", world.one) for number in range(FAILURES_BURST + 1)]
    assert answers == [*[401] * FAILURES_BURST, 429]
    world.storage.asked = 0
    refused = await world.ask("guess", world.one)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "2")
    assert world.storage.asked == 0  # a guess costs nothing any more
    assert await world.status(made["secret"], world.one) == 200
    assert await world.status("guess", world.two) == 401  # from another address
    world.pass_seconds(2)
    assert await world.status("guess", world.one) == 401


async def test_of_ipv6_a_whole_network_counts_as_one_address(world: World) -> None:
    credentials = world.credentials[0]
    for number in range(FAILURES_BURST):
        with pytest.raises(RolloutError, match="not known"):
            await credentials.identify("guess", f"2001:db8::{number:x}")
    with pytest.raises(RolloutError, match="come again later"):
        await credentials.identify("guess", "2001:db8::ffff:1")
    with pytest.raises(RolloutError, match="not known"):
        await credentials.identify("guess", "2001:db8:0:1::1")


async def test_what_is_too_long_for_a_token_is_not_looked_up(world: World) -> None:
    answer = await world.ask("x" * 17_000, world.one)
    assert answer.status_code == 401
    assert world.storage.asked == 0


# --- the log ----------------------------------------------------------------------------------------------------------


async def test_the_log_has_who_made_and_revoked_what_and_who_was_refused(world: World) -> None:
    made = await world.make(role="viewer")
    bearer = {"Authorization": f"Bearer {made['secret']}"}
    await world.two.post("/api/v1/plans/validate", json={"text": "x"}, headers=bearer)
    await world.two.post("/feature-flags/disable-all", json={}, headers=bearer)
    await world.revoke(made["id"])
    await world.ask(made["secret"], world.one)
    entries = await world.log()
    told = {(one["what"], one["by"], one["detail"].get("status")) for one in entries}
    assert told == {
        ("token.created", "admin-person", None),
        ("refused", "kim", 403),
        ("token.revoked", "admin-person", None),
        ("refused", "nobody", 401),
    }
    revoked = next(one for one in entries if one["what"] == "token.revoked")
    assert revoked["detail"] == {"token": made["id"], "reason": "it leaked"}
    forbidden = next(one for one in entries if one["by"] == "kim")
    assert forbidden["detail"] == {
        "method": "POST",
        "path": "/feature-flags/disable-all",
        "status": 403,
        "why": "POST /feature-flags/disable-all needs the role operator; kim is viewer.",
        "peer": "192.0.2.2",
    }
    assert made["secret"] not in str(entries)


async def test_of_one_address_ten_refusals_are_written_out_and_the_others_counted(world: World) -> None:
    for number in range(15):
        await world.ask(f"guess-{number}", world.one)
    world.pass_seconds(60)
    await world.ask("guess", world.one)
    entries = await world.log()
    assert len(entries) == 11
    assert entries[0]["detail"]["omitted"] == 5


async def test_refusals_wait_for_a_store_that_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.api.audit._AGAIN_SECONDS", 0.01)
    world.storage.is_away = True
    await world.one.get("/api/v1/runs", headers={"Authorization": "Basic eDp5"})
    await asyncio.sleep(0)
    world.storage.is_away = False
    assert [one["detail"]["status"] for one in await world.log()] == [401]


async def test_a_server_without_a_store_for_them_says_so() -> None:
    app = create_app(cast(Service, FakeService()), TOKENS, listen_is_loopback=True)
    headers = {"Authorization": f"Bearer {SECRETS['admin']}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
        answer = await client.get("/api/v1/tokens", headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (404, "This server keeps no tokens.")


# --- streams ----------------------------------------------------------------------------------------------------------


async def test_a_stream_ends_when_its_token_is_revoked(world: World) -> None:
    made = await world.make()
    sent: list[Json] = []

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            world.pass_seconds(1)
            if len(sent) == 11:
                await world.revoke(made["id"])

    async def send(message: Json) -> None:
        sent.append(message)

    service = cast(Service, world.service)
    context = ApiContext(service, world.credentials[1], True, monotonic=lambda: world.seconds)
    guard = Guard(endless, context)
    headers = [(b"authorization", f"Bearer {made['secret']}".encode())]
    scope = {"type": "http", "method": "GET", "path": "/flags/v1/stream", "headers": headers, "client": ("::1", 1)}
    await guard(scope, None, send)  # type: ignore[arg-type]
    assert 11 <= len(sent) <= 11 + FRESH_SECONDS * 2 + 1
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


@pytest.mark.parametrize("path", ("/flags/v1/stream", "/ofrep/v1/events", "/api/v1/runs/search/events"))
async def test_each_stream_that_is_open_ends_for_its_client_when_the_token_is_revoked(
    service: FakeService, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("guard", "issued"):
        monkeypatch.setattr(f"orchestrator.api.{place}.FRESH_SECONDS", 0.0)
    credentials = Credentials(TOKENS, Storage())
    timing, bound = Timing(heartbeat_seconds=0.02), bind("127.0.0.1", 0)
    app = create_app(cast(Service, service), credentials, listen_is_loopback=True, timing=timing)
    admin = {"Authorization": f"Bearer {SECRETS['admin']}"}
    async with serving(app, bound), httpx.AsyncClient(base_url=url_of(bound), trust_env=False, timeout=20) as client:
        made = (await client.post("/api/v1/tokens", json={"name": "kim", "role": "viewer"}, headers=admin)).json()
        headers = {"Authorization": f"Bearer {made['secret']}", "Accept": "text/event-stream"}
        async with client.stream("GET", path, headers=headers) as stream:
            received = stream.aiter_bytes()
            assert await anext(received)
            await client.request("DELETE", "/api/v1/tokens/kim", json={"reason": "a test"}, headers=admin)
            async with asyncio.timeout(DEADLINE_SECONDS):
                async for _ in received:  # to its end, which is a clean one
                    pass
    await credentials.close()
