"""With the real OpenFeature SDK: its in-memory provider, and providers that answer as others do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flags import FlagDocument, compile_flag
from flags.exposure import Exposure
from flags.exposure_hook import ExposureHook, OpenFeatureExposure
from flags.exposure_names import (
    CANARY,
    CONTROL,
    ERROR,
    EVALUATIONS,
    EVALUATIONS_LABELS,
    EXPOSURES,
    EXPOSURES_LABELS,
    NO_ARM,
    NO_BAND,
    OK,
    OTHER,
    TARGET,
)

DOMAIN = "exposure"
NEW_API = compile_flag(FlagDocument("new-api", percentage=30, targets={"team": ("a",)}))
LATE, EARLY = EvaluationContext("user-1"), EvaluationContext("user-2")


def as_we_do(flag: InMemoryFlag[bool], context: EvaluationContext) -> FlagResolutionDetails[bool]:
    details = NEW_API.details({"targetingKey": context.targeting_key, **context.attributes})
    error = ErrorCode(details.error_code) if details.error_code else None
    assert isinstance(details.value, bool)
    return FlagResolutionDetails(details.value, error, reason=str(details.reason), variant=details.variant)


def without_a_variant(flag: InMemoryFlag[bool], context: EvaluationContext) -> FlagResolutionDetails[bool]:
    return FlagResolutionDetails(True, reason=Reason.TARGETING_MATCH)


def with_a_reason_of_its_own(flag: InMemoryFlag[bool], context: EvaluationContext) -> FlagResolutionDetails[bool]:
    return FlagResolutionDetails(True, reason="BECAUSE", variant=context.targeting_key)


def broken(flag: InMemoryFlag[bool], context: EvaluationContext) -> FlagResolutionDetails[bool]:
    raise RuntimeError("the server is away")


def in_memory(evaluator: Any) -> InMemoryFlag[bool]:
    return InMemoryFlag("off", {"on": True, "off": False}, context_evaluator=evaluator)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def exposure(registry: CollectorRegistry) -> Exposure:
    return Exposure(registry=registry)


@pytest.fixture
def client(exposure: Exposure) -> Iterator[OpenFeatureClient]:
    provider = InMemoryProvider(
        {
            "new-api": in_memory(as_we_do),
            "plain": in_memory(without_a_variant),
            "odd": in_memory(with_a_reason_of_its_own),
            "broken": in_memory(broken),
            "size": InMemoryFlag("small", {"small": 1, "large": 10}),
        }
    )
    api.set_provider_and_wait(provider, DOMAIN)
    client = api.get_client(DOMAIN)
    client.add_hooks([ExposureHook(exposure)])
    yield client
    api.clear_providers()


def counted(
    registry: CollectorRegistry, name: str = EXPOSURES, labels: tuple[str, ...] = EXPOSURES_LABELS
) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if sample.name == name and sample.value
    }


def evaluations(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    return counted(registry, EVALUATIONS, EVALUATIONS_LABELS)


# --- the hook -------------------------------------------------------------------------------------------------------


def test_every_evaluation_is_counted_once_by_flag_variant_and_reason(
    registry: CollectorRegistry, client: OpenFeatureClient
) -> None:
    for context in (EARLY, EARLY, LATE):
        client.get_boolean_value("new-api", False, context)
    client.get_integer_value("size", 0)
    client.get_boolean_value("plain", False)
    assert evaluations(registry) == {
        ("new-api", "on", "SPLIT"): 2,
        ("new-api", "off", "SPLIT"): 1,
        ("size", "small", "STATIC"): 1,
        ("plain", "none", "TARGETING_MATCH"): 1,
    }
    assert counted(registry) == {}, "nobody knows the outcome of an evaluation"


async def test_evaluations_in_coroutines_are_counted_too(
    registry: CollectorRegistry, client: OpenFeatureClient
) -> None:
    await asyncio.gather(*(client.get_boolean_value_async("new-api", False, EARLY) for _ in range(5)))
    assert evaluations(registry) == {("new-api", "on", "SPLIT"): 5}


def test_evaluations_that_fail_are_counted_as_errors(registry: CollectorRegistry, client: OpenFeatureClient) -> None:
    assert client.get_boolean_value("broken", True, EARLY) is True
    assert client.get_boolean_value("nowhere", False, EARLY) is False
    assert client.get_boolean_value("new-api", False) is False
    assert client.get_string_value("new-api", "default", EARLY) == "default"
    assert evaluations(registry) == {
        ("broken", "none", "ERROR"): 1,
        ("nowhere", "none", "ERROR"): 1,
        ("new-api", "off", "ERROR"): 1,
        ("new-api", "none", "ERROR"): 1,
    }


def test_reasons_flags_and_variants_without_end_are_bounded(
    registry: CollectorRegistry, client: OpenFeatureClient
) -> None:
    for number in range(100):
        client.get_boolean_value("odd", False, EvaluationContext(f"user-{number}"))
    assert len(evaluations(registry)) == 9
    assert evaluations(registry)["odd", OTHER, OTHER] == 92
    for number in range(1000):
        client.get_boolean_value(f"nowhere-{number}", False)
    flags = {flag for flag, _, _ in evaluations(registry)}
    assert len(flags) == 201
    assert evaluations(registry)[OTHER, OTHER, "ERROR"] == 801


# --- blocks ---------------------------------------------------------------------------------------------------------


def test_a_block_behind_a_client_counts_like_one_of_ours(
    registry: CollectorRegistry, exposure: Exposure, client: OpenFeatureClient
) -> None:
    flags = OpenFeatureExposure(exposure, client)
    with flags.exposure("new-api", EARLY) as on:
        assert (bool(on), on.variant) == (True, "on")
    with suppress(ValueError), flags.exposure("new-api", LATE) as on:
        assert not on
        raise ValueError
    with flags.exposure("new-api", EvaluationContext("user-1", {"team": "a"})) as on:
        assert on
    assert counted(registry) == {
        ("new-api", "on", CANARY, "25", OK): 1,
        ("new-api", "off", CONTROL, "100", ERROR): 1,
        ("new-api", "on", TARGET, "100", OK): 1,
    }
    assert sum(evaluations(registry).values()) == 3


async def test_a_block_whose_provider_has_to_wait(
    registry: CollectorRegistry, exposure: Exposure, client: OpenFeatureClient
) -> None:
    flags = OpenFeatureExposure(exposure, client)
    async with await flags.exposure_async("new-api", EARLY) as on:
        assert on
    with pytest.raises(KeyError), await flags.exposure_async("new-api", EARLY, expected=ValueError):
        raise KeyError
    assert counted(registry) == {("new-api", "on", CANARY, "25", OK): 1, ("new-api", "on", CANARY, "25", ERROR): 1}


def test_the_targeting_key_may_come_from_the_clients_own_context(
    registry: CollectorRegistry, exposure: Exposure, client: OpenFeatureClient
) -> None:
    client.context = EARLY
    with OpenFeatureExposure(exposure, client).exposure("new-api") as on:
        assert on
    assert counted(registry) == {("new-api", "on", CANARY, "25", OK): 1}


def test_a_provider_that_draws_in_its_own_way_has_arms_and_no_bands(
    registry: CollectorRegistry, exposure: Exposure, client: OpenFeatureClient
) -> None:
    flags = OpenFeatureExposure(exposure, client, banded=False, targeted=False)
    with flags.exposure("plain", EARLY) as on:
        assert on
    assert counted(registry) == {("plain", "on", CANARY, NO_BAND, OK): 1}


def test_a_default_that_nobody_drew_is_in_neither_arm(
    registry: CollectorRegistry, exposure: Exposure, client: OpenFeatureClient
) -> None:
    flags = OpenFeatureExposure(exposure, client)
    with flags.exposure("broken", EARLY, default=True) as on:
        assert on
    with flags.exposure("nowhere", EARLY) as on:
        assert not on
    assert counted(registry) == {("broken", "on", NO_ARM, NO_BAND, OK): 1, ("nowhere", "off", NO_ARM, NO_BAND, OK): 1}
