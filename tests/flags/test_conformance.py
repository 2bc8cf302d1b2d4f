"""The table of answers, asked natively, through the OpenFeature provider, and through OFREP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext

from flags import Snapshot
from flags.ofrep import evaluate_bulk, evaluate_single
from flags.openfeature import RolloutProvider
from flags.values import same, thaw
from tests.flags.conformance import Case, cases, feed, sets, snapshot

EVERY_CASE = pytest.mark.parametrize("case", cases(), ids=str)
OTHERS: dict[str, Any] = {"boolean": True, "integer": 77, "float": 7.5, "string": "other", "object": {"other": 1}}


@dataclass(frozen=True)
class Source:
    snapshot: Snapshot


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, OpenFeatureClient]]:
    found = {}
    for name in sets():
        api.set_provider_and_wait(RolloutProvider(Source(snapshot(name))), domain=name)
        found[name] = api.get_client(domain=name)
    yield found
    api.clear_providers()


def test_every_document_is_asked_for() -> None:
    asked = {(case.flags, case.flag.removesuffix(".parameters")) for case in cases()}
    assert {(name, document.key) for name in sets() for document in feed(name).documents} <= asked


@EVERY_CASE
def test_native_evaluation(case: Case) -> None:
    flag = snapshot(case.flags).get(case.flag)
    if flag is None:
        assert case.error_code == "FLAG_NOT_FOUND"
        return
    details = flag.details(case.context)
    assert same(thaw(details.value), case.value)
    assert same(thaw(flag.value(case.context)), case.value)
    assert (details.variant, details.reason, details.error_code) == (case.variant, case.reason, case.error_code)
    assert same(dict(details.metadata), case.metadata)
    document = snapshot(case.flags).document(case.flag)
    assert flag.is_on(case.context) is (document is not None and case.variant == document.on_variant)


@EVERY_CASE
def test_the_openfeature_provider(case: Case, clients: dict[str, OpenFeatureClient]) -> None:
    attributes = {name: value for name, value in case.context.items() if name != "targetingKey"}
    context = EvaluationContext(case.context.get("targetingKey"), attributes)
    default = OTHERS[case.type]
    details = getattr(clients[case.flags], f"get_{case.type}_details")(case.flag, default, context)
    assert same(details.value, default if case.error_code else case.value)
    assert details.variant == (None if case.error_code else case.variant)
    assert (details.reason, details.error_code) == (case.reason, case.error_code)
    assert same(dict(details.flag_metadata), case.metadata)
    assert bool(details.error_message) is bool(case.error_code)


@EVERY_CASE
def test_ofrep_of_one_flag(case: Case) -> None:
    answer = evaluate_single(snapshot(case.flags), case.flag, json.dumps({"context": case.context}))
    body = json.loads(answer.content)
    statuses = {None: 200, "FLAG_NOT_FOUND": 404}
    assert answer.status == statuses.get(case.error_code, 400)
    check(case, body)


@EVERY_CASE
def test_ofrep_of_all_flags(case: Case) -> None:
    answer = evaluate_bulk(snapshot(case.flags), json.dumps({"context": case.context}))
    assert answer.status == 200
    bodies = {body["key"]: body for body in json.loads(answer.content)["flags"]}
    assert (case.flag in bodies) is (case.error_code != "FLAG_NOT_FOUND")
    if case.flag in bodies:
        check(case, bodies[case.flag])


def check(case: Case, body: dict[str, Any]) -> None:
    assert body["key"] == case.flag
    assert body.get("errorCode") == case.error_code
    if case.error_code is None:
        assert same(body["value"], case.value)
        assert (body["variant"], body["reason"]) == (case.variant, case.reason)
        assert same(body["metadata"], case.metadata)
    else:
        assert body["errorDetails"]
        assert "value" not in body
