"""The OFREP providers for JavaScript from npm against the real application."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.limits import RateLimit
from tests.clients.world import Node, Refused, World, running

USER_1, USER_2 = {"targetingKey": "user-1"}, {"targetingKey": "user-2"}
CORE = {"targetingKey": "user-1", "team": "core"}
SHORTLY = 50  # milliseconds between two polls

# type, key, what the caller falls back to, context -> value, reason, variant
ANSWERS: tuple[tuple[str, str, Any, dict[str, Any], Any, str, str], ...] = (
    ("boolean", "new-api", False, USER_2, True, "SPLIT", "on"),
    ("boolean", "new-api", True, USER_1, False, "SPLIT", "off"),
    ("number", "team/share", 1.5, USER_1, 10.0, "STATIC", "on"),
    ("number", "size", 3, USER_1, 0, "STATIC", "off"),
    ("string", "color", "red", CORE, "blue", "TARGETING_MATCH", "on"),
    ("string", "color", "red", USER_1, "", "DEFAULT", "off"),
    ("object", "theme", {"x": 1}, USER_1, {"dark": [True, None, 1.5]}, "STATIC", "on"),
    ("boolean", "old", True, USER_1, False, "DISABLED", "off"),
    ("string", "🚀 take off", "x", USER_1, "found", "STATIC", "on"),
    (
        "object",
        "new-api.parameters",
        {},
        USER_1,
        {"rate": 5, "strict": True, "limits": {"low": 1}},
        "STATIC",
        "parameters",
    ),
)


async def test_values_of_every_type_arrive_with_reason_variant_and_metadata(world: World, client: Node) -> None:
    await client.start(world)
    for kind, key, otherwise, context, value, reason, variant in ANSWERS:
        details = await client.evaluate(kind, key, otherwise, context)
        assert (details["value"], details["reason"], details["variant"]) == (value, reason, variant), key
        assert "errorCode" not in details
    assert (await client.evaluate("boolean", "new-api", False, USER_2))["flagMetadata"] == {"rate": 5, "strict": True}


async def test_what_has_no_answer_gives_the_callers_value_and_says_why(world: World, client: Node) -> None:
    await client.start(world)
    for kind, key, otherwise, context, code in (
        ("boolean", "nowhere", True, USER_1, "FLAG_NOT_FOUND"),
        ("boolean", "new-api", True, {}, "TARGETING_KEY_MISSING"),
        ("string", "new-api", "mine", USER_2, "TYPE_MISMATCH"),
    ):
        details = await client.evaluate(kind, key, otherwise, context)
        assert (details["value"], details["reason"], details["errorCode"]) == (otherwise, "ERROR", code)
        assert details["errorMessage"]


async def test_a_wrong_token_stops_the_web_client_at_its_start(world: World, web: Node) -> None:
    with pytest.raises(Refused) as refused:
        await web.start(world, headers=[("Authorization", "Bearer wrong")])
    assert refused.value.code == "PROVIDER_FATAL"
    await web.told("PROVIDER_ERROR")


async def test_a_wrong_token_is_told_by_the_server_client_at_each_evaluation(world: World, server: Node) -> None:
    await server.start(world, headers=[("Authorization", "Bearer wrong")])
    details = await server.evaluate("boolean", "new-api", True, USER_2)
    assert (details["value"], details["reason"], details["errorCode"]) == (True, "ERROR", "GENERAL")
    assert (await server.told("fetched"))["status"] == 401


async def test_a_server_client_over_its_limit_waits_as_long_as_it_is_told(tmp_path: Path, server: Node) -> None:
    async with running(tmp_path, rate_limit=RateLimit(per_second=0.01, burst=1)) as world:
        await server.start(world)
        assert (await server.evaluate("boolean", "new-api", False, USER_2))["value"] is True
        limited = await server.evaluate("boolean", "new-api", False, USER_2)
        assert "rate limit exceeded" in limited["errorMessage"]
        paused = await server.evaluate("boolean", "new-api", False, USER_2)
        assert "paused due to TooManyRequests" in paused["errorMessage"]
        assert [(await server.told("fetched"))["status"] for _ in range(2)] == [200, 429]


async def test_a_web_client_over_its_limit_keeps_what_it_knows(tmp_path: Path, web: Node) -> None:
    async with running(tmp_path, rate_limit=RateLimit(per_second=0.01, burst=1)) as world:
        await web.start(world, context=USER_2, pollInterval=SHORTLY, changeDetection="polling")
        await web.told("fetched", status=429)
        await web.told("PROVIDER_STALE")
        assert (await web.evaluate("boolean", "new-api", False))["value"] is True


async def test_the_server_client_sees_a_change_and_the_kill_switch_at_its_next_evaluation(
    world: World, server: Node
) -> None:
    await server.start(world)
    for percentage, value in ((0, False), (100, True)):
        await world.change("new-api", percentage)
        assert (await server.evaluate("boolean", "new-api", not value, USER_2))["value"] is value
    await world.kill()
    killed = await server.evaluate("boolean", "new-api", True, USER_2)
    assert (killed["value"], killed["reason"], killed["flagMetadata"]["killed"]) == (False, "DISABLED", True)


async def test_the_web_client_polls_and_gets_a_body_only_when_something_is_new(world: World, web: Node) -> None:
    await web.start(world, context=USER_2, pollInterval=SHORTLY, changeDetection="polling")
    assert (await web.told("fetched"))["status"] == 200
    assert [(await web.told("fetched"))["status"] for _ in range(3)] == [304, 304, 304]
    await world.change("new-api", 0)
    await web.told("fetched", status=200)
    assert (await web.told("PROVIDER_CONFIGURATION_CHANGED"))["changed"] == ["new-api"]
    assert (await web.evaluate("boolean", "new-api", True))["value"] is False
    await web.told("fetched", status=304)


async def test_a_change_that_does_not_concern_a_web_client_costs_it_no_body(world: World, web: Node) -> None:
    await web.start(world, context=USER_2, changeDetection="sse")
    await web.told("fetched", status=200)
    await web.told("listening")
    await world.change("new-api", 40)  # user-2 is among the first 30 % already
    version = str(world.controller.service.standing("production").feed.version)
    while f'flagConfigEtag="{version}"' not in (again := await web.told("fetched"))["url"]:
        pass
    assert again["status"] == 304
    assert (await web.evaluate("boolean", "new-api", False))["value"] is True


async def test_the_web_client_hears_of_a_change_and_of_the_kill_switch(world: World, web: Node) -> None:
    await web.start(world, context=USER_2)
    listening = await web.told("listening")
    assert listening["url"] == f"{world.url}/ofrep/v1/events?environment=production"
    await world.change("new-api", 0)
    assert (await web.told("PROVIDER_CONFIGURATION_CHANGED"))["changed"] == ["new-api"]
    assert (await web.evaluate("boolean", "new-api", True))["value"] is False
    await world.change("new-api", 100)
    await web.told("PROVIDER_CONFIGURATION_CHANGED")
    assert (await web.evaluate("boolean", "new-api", False))["value"] is True
    await world.kill()
    await web.told("PROVIDER_CONFIGURATION_CHANGED")
    killed = await web.evaluate("boolean", "new-api", True)
    assert (killed["value"], killed["reason"]) == (False, "DISABLED")


async def test_beyond_loopback_the_web_client_listens_with_the_ticket_it_is_given(tmp_path: Path, web: Node) -> None:
    async with running(tmp_path, loopback=False) as world:
        await web.start(world, context=USER_2, headers=world.headers)
        assert "&ticket=" in (await web.told("listening"))["url"]
        await world.change("new-api", 0)
        await web.told("PROVIDER_CONFIGURATION_CHANGED")
        assert (await web.evaluate("boolean", "new-api", True))["value"] is False


async def test_after_a_restart_the_web_client_gets_a_new_ticket_and_what_changed_meanwhile(
    tmp_path: Path, web: Node
) -> None:
    async with running(tmp_path, loopback=False) as world:
        await web.start(world, context=USER_2, headers=world.headers)
        first = (await web.told("listening"))["url"]
        port = int(world.url.rpartition(":")[2])
    await web.told("PROVIDER_STALE")
    async with running(tmp_path, loopback=False, port=port) as world:
        await world.change("new-api", 0)
        assert (await web.told("listening"))["url"] != first
        assert (await web.evaluate("boolean", "new-api", True))["value"] is False
        await world.kill()
        await web.told("PROVIDER_CONFIGURATION_CHANGED")
        assert (await web.evaluate("boolean", "new-api", True))["reason"] == "DISABLED"
