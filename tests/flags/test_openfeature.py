"""The OpenFeature provider through OpenFeature's own client: types, errors, contexts, hooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, FlagEvaluationOptions, FlagValueType, Reason
from openfeature.hook import Hook, HookContext, HookHints

from flags import FlagDocument, Snapshot
from flags.openfeature import RolloutProvider

DOCUMENTS = (
    FlagDocument("new-api", percentage=30, targets={"team": ("core",)}, parameters={"rate": 5, "limits": {"low": 1}}),
    FlagDocument("boolean", percentage=100),
    FlagDocument("string", variants={"on": "1", "off": ""}, percentage=100),
    FlagDocument("integer", variants={"on": 10, "off": 0}, percentage=100),
    FlagDocument("float", variants={"on": 10.0, "off": 0.0}, percentage=100),
    FlagDocument("object", variants={"on": {"list": [1, {"a": 2}]}, "off": {}}, percentage=100),
    FlagDocument("large", variants={"on": 2**53 + 1, "off": 2**53}, percentage=100),
)
DEFAULTS: dict[str, Any] = {"boolean": False, "string": "x", "integer": 7, "float": 7.5, "object": {"x": 1}}
USER_1, USER_2 = EvaluationContext("user-1"), EvaluationContext("user-2")
"""At 55.6 and at 12.6 % of `new-api`."""


@dataclass
class Source:
    """The least that a provider needs."""

    snapshot: Snapshot


@pytest.fixture
def source() -> Source:
    return Source(Snapshot(DOCUMENTS))


@pytest.fixture
def client(source: Source) -> Iterator[OpenFeatureClient]:
    api.set_provider_and_wait(RolloutProvider(source), domain="provider")
    yield api.get_client(domain="provider")
    api.clear_providers()


def asked(client: OpenFeatureClient, kind: str, flag: str) -> FlagEvaluationDetails[Any]:
    details: FlagEvaluationDetails[Any] = getattr(client, f"get_{kind}_details")(flag, DEFAULTS[kind])
    return details


@pytest.mark.parametrize(
    ("kind", "value"),
    (("boolean", True), ("string", "1"), ("integer", 10), ("float", 10.0), ("object", {"list": [1, {"a": 2}]})),
)
async def test_each_type_is_answered_with_a_value_of_that_type(
    client: OpenFeatureClient, kind: str, value: object
) -> None:
    details = asked(client, kind, kind)
    assert details.value == value
    assert type(details.value) is type(value)
    assert (details.variant, details.reason, details.error_code) == ("on", Reason.STATIC, None)
    assert await getattr(client, f"get_{kind}_details_async")(kind, DEFAULTS[kind]) == details


KINDS = ("boolean", "string", "integer", "float", "object")


@pytest.mark.parametrize("flag", KINDS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_flag_of_another_type_is_a_mismatch_and_answers_the_default(
    client: OpenFeatureClient, kind: str, flag: str
) -> None:
    if kind == flag or (kind, flag) == ("float", "integer"):
        return
    details = asked(client, kind, flag)
    assert (details.value, details.reason, details.error_code) == (
        DEFAULTS[kind],
        Reason.ERROR,
        ErrorCode.TYPE_MISMATCH,
    )
    assert details.variant is None
    assert f"flag '{flag}' is a" in (details.error_message or "")
    assert await getattr(client, f"get_{kind}_details_async")(flag, DEFAULTS[kind]) == details


def test_an_integer_may_be_asked_for_as_a_float_that_is_the_same_number(client: OpenFeatureClient) -> None:
    details = asked(client, "float", "integer")
    assert (details.value, type(details.value), details.error_code) == (10.0, float, None)
    assert asked(client, "float", "large").error_code is ErrorCode.TYPE_MISMATCH
    assert asked(client, "integer", "large").value == 2**53 + 1


def test_the_order_in_which_types_are_asked_for_does_not_matter(client: OpenFeatureClient) -> None:
    for kinds in (KINDS, KINDS[::-1]):
        for kind in kinds:
            found = [flag for flag in KINDS if asked(client, kind, flag).error_code is None]
            assert found == (["integer", "float"] if kind == "float" else [kind])


def test_reason_variant_and_metadata_are_handed_on(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("new-api", False, USER_2)
    assert (details.value, details.variant, details.reason) == (True, "on", Reason.SPLIT)
    assert details.reason is Reason.SPLIT
    assert details.flag_metadata == {"rate": 5}
    details = client.get_boolean_details("new-api", True, USER_1)
    assert (details.value, details.variant, details.reason) == (False, "off", Reason.SPLIT)
    targeted = client.get_boolean_details("new-api", False, EvaluationContext("user-1", {"team": "core"}))
    assert (targeted.value, targeted.reason) == (True, Reason.TARGETING_MATCH)
    assert client.get_object_value("new-api.parameters", {}) == {"rate": 5, "limits": {"low": 1}}


@pytest.mark.parametrize("default", (True, False))
async def test_a_missing_targeting_key_answers_the_callers_default(client: OpenFeatureClient, default: bool) -> None:
    for context in (None, EvaluationContext(), EvaluationContext(""), EvaluationContext(None, {"team": "sales"})):
        details = client.get_boolean_details("new-api", default, context)
        assert (details.value, details.error_code) == (default, ErrorCode.TARGETING_KEY_MISSING)
        assert "targetingKey" in (details.error_message or "")
        assert await client.get_boolean_details_async("new-api", default, context) == details


def test_a_flag_that_is_not_there_answers_the_callers_default(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("nowhere", True, USER_1)
    assert (details.value, details.reason, details.error_code) == (True, Reason.ERROR, ErrorCode.FLAG_NOT_FOUND)
    assert details.error_message == "there is no flag 'nowhere' in environment 'production'"


def test_the_contexts_own_targeting_key_is_before_an_attribute_of_that_name(client: OpenFeatureClient) -> None:
    both = EvaluationContext("user-2", {"targetingKey": "user-1"})
    assert client.get_boolean_value("new-api", False, both) is True
    assert client.get_boolean_value("new-api", True, EvaluationContext(None, {"targetingKey": "user-1"})) is False
    assert both.attributes == {"targetingKey": "user-1"}


def test_attributes_may_be_any_mapping(source: Source) -> None:
    provider = RolloutProvider(source)
    context = EvaluationContext("user-1", MappingProxyType({"team": "core"}))
    assert provider.resolve_boolean_details("new-api", False, context).value is True


def test_absurd_attributes_are_answered(client: OpenFeatureClient) -> None:
    odd: Any = {"team": object(), "": b"x", "nan": float("nan"), **{f"a{number}": [number] for number in range(1000)}}
    assert client.get_boolean_value("new-api", False, EvaluationContext("user-2", odd)) is True
    number: Any = 7
    assert client.get_boolean_details("new-api", True, EvaluationContext(number)).error_code is (
        ErrorCode.TARGETING_KEY_MISSING
    )


def test_a_new_snapshot_is_answered_from_at_once(source: Source, client: OpenFeatureClient) -> None:
    assert client.get_boolean_value("boolean", False) is True
    source.snapshot = Snapshot([FlagDocument("boolean"), FlagDocument("string")])
    assert client.get_boolean_value("boolean", True) is False
    assert client.get_boolean_details("string", True).value is False
    assert client.get_boolean_details("integer", True).error_code is ErrorCode.FLAG_NOT_FOUND


def test_a_killed_flag_answers_its_off_variant_and_not_the_default(source: Source, client: OpenFeatureClient) -> None:
    source.snapshot = Snapshot(DOCUMENTS, killed=True)
    details = client.get_boolean_details("boolean", True)
    assert (details.value, details.variant, details.reason) == (False, "off", Reason.DISABLED)
    assert details.flag_metadata == {"killed": True}


def test_what_a_caller_does_with_an_object_changes_nothing_for_others(client: OpenFeatureClient) -> None:
    first: Any = client.get_object_value("object", {})
    first["list"].append("mine")
    assert client.get_object_value("object", {}) == {"list": [1, {"a": 2}]}


class Remembering(Hook):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def before(self, hook_context: HookContext, hints: HookHints) -> EvaluationContext:
        self.heard.append(f"before {hook_context.provider_metadata and hook_context.provider_metadata.name}")
        return EvaluationContext("user-2")

    def after(self, hook_context: HookContext, details: FlagEvaluationDetails[FlagValueType], hints: HookHints) -> None:
        self.heard.append(f"after {details.variant}")

    def error(self, hook_context: HookContext, exception: Exception, hints: HookHints) -> None:
        self.heard.append(f"error {type(exception).__name__}")


def test_hooks_are_run_around_the_provider_and_may_change_the_context(client: OpenFeatureClient) -> None:
    hook = Remembering()
    options = FlagEvaluationOptions(hooks=[hook])
    assert client.get_boolean_value("new-api", False, USER_1, options) is True
    client.get_boolean_value("nowhere", False, USER_1, options)
    assert hook.heard == ["before rollout", "after on", "before rollout", "error FlagNotFoundError"]
    assert client.provider.get_provider_hooks() == []


def test_answers_are_kept_for_one_snapshot_only(source: Source) -> None:
    provider = RolloutProvider(source)
    for number in range(50):
        source.snapshot = Snapshot([FlagDocument(f"flag-{number}", percentage=50)])
        for user in range(50):
            provider.resolve_boolean_details(f"flag-{number}", False, EvaluationContext(f"user-{user}"))
        assert len(provider._made[1]) == 2
