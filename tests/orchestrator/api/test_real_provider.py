"""The real OpenFeature OFREP provider against the real server."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, OpenFeatureError, TargetingKeyMissingError
from openfeature.flag_evaluation import Reason

from tests.orchestrator.api.fake_service import SECRETS, FakeService
from tests.orchestrator.api.test_streams import Server, serving

USER_2 = EvaluationContext("user-2")


@pytest.fixture
async def server(service: FakeService) -> AsyncIterator[Server]:
    async with serving(service) as server:
        yield server


@pytest.fixture
async def provider(server: Server) -> AsyncIterator[OFREPProvider]:
    provider = OFREPProvider(f"http://127.0.0.1:{server.port}")
    yield provider
    provider.session.close()


async def test_it_reads_value_variant_reason_and_parameters(provider: OFREPProvider) -> None:
    details = await asyncio.to_thread(provider.resolve_boolean_details, "new-api", False, USER_2)
    assert (details.value, details.variant, details.reason) == (True, "on", Reason.SPLIT)
    assert details.flag_metadata == {"rate": 5}
    share = await asyncio.to_thread(provider.resolve_float_details, "team/share", 1.5)
    assert share.value == 10.0
    off = await asyncio.to_thread(provider.resolve_boolean_details, "old", True)
    assert (off.value, off.reason) == (False, Reason.DISABLED)


async def test_it_follows_a_change_and_the_kill_switch(
    service: FakeService, server: Server, provider: OFREPProvider
) -> None:
    admin = {"Authorization": f"Bearer {SECRETS['admin']}"}
    await server.client.patch("/api/v1/flags/new-api", json={"percentage": 0, "reason": "back"}, headers=admin)
    assert not (await asyncio.to_thread(provider.resolve_boolean_details, "new-api", True, USER_2)).value
    await server.client.patch("/api/v1/flags/new-api", json={"percentage": 100, "reason": "on"}, headers=admin)
    assert (await asyncio.to_thread(provider.resolve_boolean_details, "new-api", False, USER_2)).value
    await server.client.post("/feature-flags/disable-all", headers=admin)
    assert not (await asyncio.to_thread(provider.resolve_boolean_details, "new-api", True, USER_2)).value


async def test_it_understands_the_refusals(server: Server, provider: OFREPProvider) -> None:
    with pytest.raises(TargetingKeyMissingError, match="targetingKey"):
        await asyncio.to_thread(provider.resolve_boolean_details, "new-api", True)
    with pytest.raises(FlagNotFoundError, match="there is no flag 'nowhere'"):
        await asyncio.to_thread(provider.resolve_boolean_details, "nowhere", True, USER_2)
    provider.headers_factory = lambda: {"Authorization": "Bearer wrong"}
    with pytest.raises(OpenFeatureError, match="unauthorized"):
        await asyncio.to_thread(provider.resolve_boolean_details, "new-api", True, USER_2)


async def test_it_sends_its_own_headers(provider: OFREPProvider) -> None:
    provider.headers_factory = lambda: {
        "Authorization": f"Bearer {SECRETS['viewer']}",
        "X-Rollout-Environment": "staging",
    }
    user_1 = EvaluationContext("user-1")
    assert (await asyncio.to_thread(provider.resolve_boolean_details, "new-api", False, user_1)).value


async def test_all_flags_come_in_one_answer_as_its_bulk_clients_expect(server: Server) -> None:
    body = {"context": {"targetingKey": "user-2"}}
    answer = await server.client.post("/ofrep/v1/evaluate/flags", json=body)
    values = {flag["key"]: flag["value"] for flag in answer.json()["flags"]}
    assert values == {"new-api": True, "new-api.parameters": {"rate": 5}, "team/share": 10.0, "old": False}
    etag = {"If-None-Match": answer.headers["ETag"]}
    assert (await server.client.post("/ofrep/v1/evaluate/flags", json=body, headers=etag)).status_code == 304
