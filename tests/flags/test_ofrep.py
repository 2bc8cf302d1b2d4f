from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags import FlagDocument, FlagState, Snapshot
from flags.evaluate import CompiledFlag, Context, Details, Reason
from flags.ofrep import (
    Answer,
    Responder,
    evaluate_bulk,
    evaluate_single,
    internal_error,
    refetch,
    too_many_requests,
)

SNAPSHOT = Snapshot(
    [
        FlagDocument("new-api", percentage=30, parameters={"rate": 5, "limits": {"low": (1, 2)}}),
        FlagDocument("team/pricing", variants={"on": 10.0, "off": 2.5}, percentage=100),
        FlagDocument("size", variants={"on": 10, "off": 0}, percentage=0),
        FlagDocument("theme", variants={"on": {"dark": [True, None]}, "off": {}}, percentage=100),
        FlagDocument("old", state=FlagState.DISABLED, percentage=100),
        FlagDocument("beta", targets={"team": ("core",)}),
    ]
)
USER_1, USER_2 = ({"context": {"targetingKey": key}} for key in ("user-1", "user-2"))


def body(answer: Answer) -> dict[str, Any]:
    assert answer.headers["Content-Type"] == "application/json"
    parsed = json.loads(answer.content)
    assert isinstance(parsed, dict)
    assert answer.body == parsed
    return parsed


class Restless(CompiledFlag):
    """Makes its answer anew each time."""

    def details(self, context: Context) -> Details:
        return Details(True, "on", Reason.STATIC)


class OfRestless(Snapshot):
    def get(self, key: str) -> CompiledFlag | None:
        return Restless(key, True, False)

    def keys(self) -> tuple[str, ...]:
        return ("restless",)


def test_a_flag_is_answered_with_value_reason_variant_and_metadata() -> None:
    answer = evaluate_single(SNAPSHOT, "new-api", json.dumps(USER_2).encode())
    assert answer.status == 200
    assert body(answer) == {
        "key": "new-api",
        "value": True,
        "reason": "SPLIT",
        "variant": "on",
        "metadata": {"rate": 5},
    }


def test_the_context_decides() -> None:
    assert body(evaluate_single(SNAPSHOT, "new-api", USER_1))["value"] is False
    assert body(evaluate_single(SNAPSHOT, "beta", {"context": {"team": "core"}}))["reason"] == "TARGETING_MATCH"
    assert body(evaluate_single(SNAPSHOT, "beta", {"context": {}}))["reason"] == "DEFAULT"


def test_a_disabled_flag_is_found_and_answers_its_off_variant() -> None:
    answer = evaluate_single(SNAPSHOT, "old", b"{}")
    assert (answer.status, body(answer)["value"], body(answer)["reason"]) == (200, False, "DISABLED")


def test_a_whole_float_goes_out_with_its_point_and_an_integer_without() -> None:
    assert b'"value":10.0,' in evaluate_single(SNAPSHOT, "team/pricing", b"{}").content
    assert b'"value":0,' in evaluate_single(SNAPSHOT, "size", b"{}").content


def test_objects_go_out_whole() -> None:
    assert body(evaluate_single(SNAPSHOT, "theme"))["value"] == {"dark": [True, None]}
    parameters = body(evaluate_single(SNAPSHOT, "new-api.parameters"))
    assert (parameters["value"], parameters["variant"]) == ({"rate": 5, "limits": {"low": [1, 2]}}, "parameters")


@pytest.mark.parametrize("request_body", (None, b"", b" \n", b"{}", "{}", {}, {"context": {}}, {"context": None}))
def test_a_missing_and_an_empty_context_are_legal(request_body: object) -> None:
    assert evaluate_single(SNAPSHOT, "size", request_body).status == 200
    assert evaluate_bulk(SNAPSHOT, request_body).status == 200


@pytest.mark.parametrize(
    "request_body", (b"{}", {"context": {"targetingKey": ""}}, {"context": {"targetingKey": None}})
)
def test_a_missing_targeting_key_is_told_where_it_is_needed(request_body: object) -> None:
    answer = evaluate_single(SNAPSHOT, "new-api", request_body)
    assert answer.status == 400
    refused = body(answer)
    assert (refused["key"], refused["errorCode"]) == ("new-api", "TARGETING_KEY_MISSING")
    assert "targetingKey" in refused["errorDetails"]
    assert "value" not in refused


def test_an_unknown_flag_is_not_found() -> None:
    answer = evaluate_single(SNAPSHOT, "nowhere", USER_1)
    assert answer.status == 404
    assert body(answer) == {
        "key": "nowhere",
        "errorCode": "FLAG_NOT_FOUND",
        "errorDetails": "there is no flag 'nowhere' in environment 'production'",
    }


@pytest.mark.parametrize(
    ("request_body", "code"),
    (
        (b"{", "PARSE_ERROR"),
        (b"\xff\xfe\x00", "PARSE_ERROR"),
        (b'{"context": {"x": NaN}}', "PARSE_ERROR"),
        (b'{"context": {"x": ' + b"9" * 5000 + b"}}", "PARSE_ERROR"),
        (b"[" * 100_000, "PARSE_ERROR"),
        (b"[]", "PARSE_ERROR"),
        (b"null", "PARSE_ERROR"),
        (b'"x"', "PARSE_ERROR"),
        (b'{"context": []}', "INVALID_CONTEXT"),
        (b'{"context": "user-1"}', "INVALID_CONTEXT"),
        (b'{"context": false}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 7}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": ["user-1"]}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "\\ud800"}}', "INVALID_CONTEXT"),
    ),
)
def test_a_request_that_cannot_be_read_is_refused_with_its_code_and_a_sentence(request_body: bytes, code: str) -> None:
    single, bulk = evaluate_single(SNAPSHOT, "size", request_body), evaluate_bulk(SNAPSHOT, request_body)
    assert (single.status, bulk.status) == (400, 400)
    assert (body(single)["key"], body(single)["errorCode"], body(bulk)["errorCode"]) == ("size", code, code)
    assert body(single)["errorDetails"]
    assert body(bulk)["errorDetails"]
    assert "ETag" not in bulk.headers


def test_half_a_surrogate_pair_in_an_attribute_or_a_key_is_no_crash() -> None:
    context = b'{"context": {"targetingKey": "user-2", "team": "\\ud800"}}'
    assert evaluate_single(SNAPSHOT, "beta", context).status == 200
    assert evaluate_bulk(SNAPSHOT, context).status == 200
    assert evaluate_single(SNAPSHOT, "\ud800", context).status == 404


def test_bulk_answers_every_flag_and_lists_the_ones_that_cannot_be_answered_with_their_error() -> None:
    answer = evaluate_bulk(SNAPSHOT, {"context": {}})
    flags = {flag["key"]: flag for flag in body(answer)["flags"]}
    assert list(flags) == list(SNAPSHOT.keys())
    assert flags["new-api"]["errorCode"] == "TARGETING_KEY_MISSING"
    assert flags["team/pricing"]["value"] == 10.0
    assert body(answer)["metadata"] == {"environment": "production"}


def test_bulk_and_single_agree() -> None:
    for flag in body(evaluate_bulk(SNAPSHOT, USER_2))["flags"]:
        assert flag == body(evaluate_single(SNAPSHOT, flag["key"], USER_2))


def test_an_environment_without_flags_has_an_empty_list() -> None:
    assert body(evaluate_bulk(Snapshot()))["flags"] == []


def test_one_responder_answers_as_a_new_one_for_each_request_would() -> None:
    responder = Responder(SNAPSHOT)
    for _ in range(2):
        for request_body in ({}, USER_1, USER_2, b"{", {"context": {"team": "core"}}):
            assert responder.bulk(request_body) == evaluate_bulk(SNAPSHOT, request_body)
            for key in (*SNAPSHOT.keys(), "nowhere"):
                assert responder.single(key, request_body) == evaluate_single(SNAPSHOT, key, request_body)


def test_what_a_flag_answers_is_written_once() -> None:
    responder = Responder(SNAPSHOT)
    assert responder.single("new-api", USER_1).content is responder.single("new-api", USER_1).content
    assert responder.single("new-api", USER_1).content != responder.single("new-api", USER_2).content


def test_a_flag_that_makes_its_answers_anew_does_not_fill_the_memory() -> None:
    responder = Responder(OfRestless())
    assert len({responder.single("restless").content for _ in range(100)}) == 1
    assert len({responder.bulk().content for _ in range(100)}) == 1
    assert len(responder._written["restless"].known) < 10


def test_many_flags_and_large_values_are_answered_whole() -> None:
    documents = [FlagDocument(f"flag-{number}", percentage=number % 101) for number in range(10_000)]
    large = FlagDocument("large", variants={"on": "é" * 500_000, "off": ""}, percentage=100)
    answer = evaluate_bulk(Snapshot([*documents, large]), USER_1)
    flags = {flag["key"]: flag for flag in body(answer)["flags"]}
    assert len(flags) == 10_001
    assert flags["large"]["value"] == "é" * 500_000
    assert flags["flag-100"] == {"key": "flag-100", "value": True, "reason": "STATIC", "variant": "on", "metadata": {}}


def test_a_thousand_attributes_are_read() -> None:
    context = {f"attribute-{number}": number for number in range(1000)} | {"team": ["x", "core"]}
    assert body(evaluate_single(SNAPSHOT, "beta", {"context": context}))["reason"] == "TARGETING_MATCH"


def test_the_event_stream_is_named_in_the_answer_and_counts_for_its_entity_tag() -> None:
    plain, first, second = (Responder(SNAPSHOT).bulk(USER_1, None, uri) for uri in (None, "/events?a=1", "/events?a=2"))
    assert "eventStreams" not in body(plain)
    assert body(first)["eventStreams"] == [{"type": "sse", "endpoint": {"requestUri": "/events?a=1"}}]
    assert len({answer.headers["ETag"] for answer in (plain, first, second)}) == 3


def test_a_change_is_told_as_one_event() -> None:
    lines = refetch("1.42.3", 1_700_000_000).decode().split("\n")
    assert lines[:2] == ["id: 1.42.3", "event: message"]
    assert lines[3:] == ["", ""]
    assert json.loads(lines[2].removeprefix("data: ")) == {
        "type": "refetchEvaluation",
        "etag": '"1.42.3"',
        "lastModified": 1_700_000_000,
    }


def tag(snapshot: Snapshot, request_body: object) -> str:
    return evaluate_bulk(snapshot, request_body).headers["ETag"]


def test_the_entity_tag_is_that_of_the_body() -> None:
    assert tag(SNAPSHOT, USER_1) == tag(SNAPSHOT, json.dumps(USER_1))
    assert tag(SNAPSHOT, USER_1) != tag(SNAPSHOT, USER_2)
    one = Snapshot([FlagDocument("new-api", percentage=30)])
    same_answer = Snapshot([FlagDocument("new-api", percentage=31)])
    assert tag(one, USER_1) == tag(same_answer, USER_1)
    assert tag(one, USER_1) != tag(Snapshot([FlagDocument("new-api", percentage=60)]), USER_1)


@pytest.mark.parametrize("form", ("{tag}", "W/{tag}", '"other", {tag}', '"a,b",W/"c" , W/{tag}', "*", " {tag} "))
def test_a_known_entity_tag_gets_304_without_a_body(form: str) -> None:
    known = tag(SNAPSHOT, USER_1)
    answer = evaluate_bulk(SNAPSHOT, USER_1, form.format(tag=known))
    assert (answer.status, answer.body, answer.content) == (304, None, b"")
    assert answer.headers == {"ETag": known}


def test_an_entity_tag_that_lost_its_quotes_is_known_too() -> None:
    assert evaluate_bulk(SNAPSHOT, USER_1, tag(SNAPSHOT, USER_1).strip('"')).status == 304


@pytest.mark.parametrize("form", ("", '"other"', 'W/"other", "x"', "nonsense", ","))
def test_another_entity_tag_gets_the_whole_answer(form: str) -> None:
    assert evaluate_bulk(SNAPSHOT, USER_1, form).status == 200
    assert evaluate_bulk(SNAPSHOT, USER_1, tag(SNAPSHOT, USER_2)).status == 200


def test_the_order_in_which_parameters_were_written_does_not_change_the_entity_tag() -> None:
    first = Snapshot([FlagDocument("new-api", parameters={"a": 1, "b": {"c": 1, "d": 2}})])
    second = Snapshot([FlagDocument("new-api", parameters={"b": {"d": 2, "c": 1}, "a": 1})])
    assert tag(first, {}) == tag(second, {})


def test_a_kill_changes_the_entity_tag_even_where_the_value_stays() -> None:
    documents = [FlagDocument("new-api")]
    assert tag(Snapshot(documents), {}) != tag(Snapshot(documents, killed=True), {})


def test_too_many_requests_say_when_to_come_back() -> None:
    answer = too_many_requests(7)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    assert "7 s" in body(answer)["errorDetails"]


def test_a_failure_of_the_server_has_details_and_nothing_else() -> None:
    answer = internal_error("the store cannot be read")
    assert answer.status == 500
    assert body(answer) == {"errorDetails": "the store cannot be read"}


@given(st.binary() | st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_no_request_makes_it_fail(request_body: object) -> None:
    assert evaluate_single(SNAPSHOT, "new-api", request_body).status in {200, 400}
    assert evaluate_bulk(SNAPSHOT, request_body, str(request_body)).status in {200, 400}


def without_nulls(value: object) -> bool:
    match value:
        case None:
            return False
        case dict():
            return all(map(without_nulls, value.values()))
        case list():
            return all(map(without_nulls, value))
        case _:
            return True


def test_no_field_of_an_answer_is_null() -> None:
    snapshot = Snapshot([FlagDocument("new-api", percentage=30, parameters={"rate": 5})])
    for request_body in ({}, USER_1, USER_2):
        assert without_nulls(body(evaluate_bulk(snapshot, request_body)))
