"""The OFREP provider for Python from PyPI against the real application."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import (
    FlagNotFoundError,
    GeneralError,
    OpenFeatureError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import Reason

from orchestrator.api.limits import RateLimit
from tests.clients.world import READER, World, running

USER_1, USER_2 = EvaluationContext("user-1"), EvaluationContext("user-2")
CORE = EvaluationContext("user-1", {"team": "core"})


class Client:
    """The provider blocks, so it is asked in a thread."""

    def __init__(self, world: World, **headers: str) -> None:
        self._provider = OFREPProvider(world.url, headers_factory=lambda: headers)

    async def resolve(self, kind: str, key: str, otherwise: Any, context: EvaluationContext | None = None) -> Any:
        method = getattr(self._provider, f"resolve_{kind}_details")
        return await asyncio.to_thread(method, key, otherwise, context)

    def close(self) -> None:
        self._provider.session.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as world:
        yield world


@pytest.fixture
async def client(world: World) -> AsyncIterator[Client]:
    client = Client(world)
    yield client
    client.close()


async def test_it_reads_values_of_every_type_with_reason_variant_and_parameters(client: Client) -> None:
    for kind, key, otherwise, context, value, reason, variant in (
        ("boolean", "new-api", False, USER_2, True, Reason.SPLIT, "on"),
        ("boolean", "new-api", True, USER_1, False, Reason.SPLIT, "off"),
        ("float", "team/share", 1.5, USER_1, 10.0, Reason.STATIC, "on"),
        ("integer", "size", 3, USER_1, 0, Reason.STATIC, "off"),
        ("string", "color", "red", CORE, "blue", Reason.TARGETING_MATCH, "on"),
        ("string", "color", "red", None, "", Reason.DEFAULT, "off"),
        ("object", "theme", {"x": 1}, USER_1, {"dark": [True, None, 1.5]}, Reason.STATIC, "on"),
        ("boolean", "old", True, USER_1, False, Reason.DISABLED, "off"),
        ("string", "🚀 take off", "x", USER_1, "found", Reason.STATIC, "on"),
    ):
        details = await client.resolve(kind, key, otherwise, context)
        assert (details.value, details.reason, details.variant) == (value, reason, variant), key
        assert type(details.value) is type(value)
    assert (await client.resolve("boolean", "new-api", False, USER_2)).flag_metadata == {"rate": 5, "strict": True}


async def test_it_sees_a_change_and_the_kill_switch_at_its_next_evaluation(world: World, client: Client) -> None:
    for percentage, value in ((0, False), (100, True)):
        await world.change("new-api", percentage)
        assert (await client.resolve("boolean", "new-api", not value, USER_2)).value is value
    await world.kill()
    killed = await client.resolve("boolean", "new-api", True, USER_2)
    assert (killed.value, killed.reason, killed.flag_metadata["killed"]) == (False, Reason.DISABLED, True)


async def test_it_understands_the_refusals(world: World, client: Client) -> None:
    with pytest.raises(TargetingKeyMissingError, match="targetingKey"):
        await client.resolve("boolean", "new-api", True)
    with pytest.raises(FlagNotFoundError, match="there is no flag 'nowhere'"):
        await client.resolve("boolean", "nowhere", True, USER_2)
    with pytest.raises(TypeMismatchError):
        await client.resolve("integer", "team/share", 1, USER_2)
    stranger = Client(world, Authorization="Bearer wrong")
    with pytest.raises(OpenFeatureError, match="unauthorized"):
        await stranger.resolve("boolean", "new-api", True, USER_2)
    stranger.close()


async def test_over_its_limit_it_waits_as_long_as_it_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, rate_limit=RateLimit(per_second=0.01, burst=1)) as world:
        client = Client(world)
        assert (await client.resolve("boolean", "new-api", False, USER_2)).value
        with pytest.raises(GeneralError, match="Rate limited, retry after: 100"):
            await client.resolve("boolean", "new-api", False, USER_2)
        with pytest.raises(GeneralError, match="paused due to TooManyRequests"):
            await client.resolve("boolean", "new-api", False, USER_2)
        client.close()


async def test_its_headers_name_the_token_and_the_environment(tmp_path: Path) -> None:
    async with running(tmp_path, loopback=False) as world:
        for headers in ({"Authorization": f"Bearer {READER}"}, {"X-API-Key": READER}):
            client = Client(world, **headers, **{"X-Rollout-Environment": "staging"})
            assert (await client.resolve("boolean", "new-api", False, USER_1)).reason == Reason.STATIC
            client.close()
        stranger = Client(world)
        with pytest.raises(OpenFeatureError, match="unauthorized"):
            await stranger.resolve("boolean", "new-api", True, USER_2)
        stranger.close()
