from __future__ import annotations

import copy
import json
import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags import FlagDocument, FlagState, InvalidFlag, Version, safer

NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F), min_size=1, max_size=12).filter(
    lambda text: text.isprintable() and text.strip() == text
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | FLOATS | st.text(st.characters(codec="utf-8"), max_size=8)
JSON = st.recursive(
    SCALARS | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
PARAMETERS = st.dictionaries(
    NAMES.filter(lambda name: name != "killed"), JSON.filter(lambda value: value is not None), max_size=3
)
VARIANTS = st.one_of(
    *(
        st.fixed_dictionaries({"on": kind, "off": kind})
        for kind in (
            st.booleans(),
            st.integers(-(2**63), 2**63 - 1),
            FLOATS,
            st.text(st.characters(codec="utf-8")),
            st.dictionaries(NAMES, JSON, max_size=3),
        )
    )
)


@st.composite
def documents(draw: st.DrawFn, key: str | None = None) -> FlagDocument:
    profiles = draw(st.dictionaries(NAMES, PARAMETERS, max_size=3))
    return FlagDocument(
        draw(NAMES.filter(lambda name: not name.endswith(".parameters"))) if key is None else key,
        state=draw(st.sampled_from(FlagState)),
        variants=draw(VARIANTS),
        targets=draw(st.dictionaries(NAMES, st.lists(NAMES, max_size=3).map(tuple), max_size=3)),
        percentage=draw(st.integers(0, 100_000)) / 1000,
        parameters=draw(PARAMETERS),
        profiles=profiles,
        profile=draw(st.sampled_from([None, *profiles])),
        permanent=draw(st.booleans()),
        version=Version(draw(st.integers(0, 9)), draw(st.integers(0, 9))),
    )


@given(documents())
def test_a_document_survives_the_way_through_json_text(document: FlagDocument) -> None:
    assert FlagDocument.from_json(json.loads(json.dumps(document.to_json()))) == document


@given(documents())
def test_a_document_survives_pickle_and_deep_copy(document: FlagDocument) -> None:
    assert pickle.loads(pickle.dumps(document)) == document
    assert copy.deepcopy(document) == document


def test_a_key_alone_is_a_boolean_flag_that_is_off_for_everybody() -> None:
    document = FlagDocument.from_json({"key": "new-api"})
    assert document == FlagDocument("new-api")
    assert (document.on_value, document.off_value, document.percentage) == (True, False, 0.0)
    assert document.environment == "production"


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    (
        ({"percentage": 101}, "percentage", "a number from 0 to 100"),
        ({"percentage": -0.001}, "percentage", "a number from 0 to 100"),
        ({"percentage": float("nan")}, "percentage", "a number from 0 to 100"),
        ({"percentage": True}, "percentage", "a number from 0 to 100"),
        pytest.param({"percentage": 10**5000}, "percentage", "a number from 0 to 100", id="huge"),
        ({"percentage": "50"}, "percentage", "a number from 0 to 100"),
        ({"percentage": 0.0005}, "percentage", "a number in steps of 0.001"),
        ({"percentage": 33.3333}, "percentage", "a number in steps of 0.001"),
        ({"percentag": 5}, "percentag", "'percentage'"),
        ({"colour": 5}, "colour", "one of key, environment"),
        ({"state": "off"}, "state", "'enabled' or 'disabled'"),
        ({"state": True}, "state", "'enabled' or 'disabled'"),
        ({"variants": {"on": 1, "off": False}}, "variants", "all of one type"),
        ({"variants": {"on": 1, "off": 0.5}}, "variants", "all of one type"),
        ({"variants": {"on": "a", "off": {}}}, "variants", "all of one type"),
        ({"variants": {"on": None, "off": None}}, "variants.on", "a boolean, integer, float, string or object"),
        ({"variants": {"on": [1], "off": [2]}}, "variants.on", "a boolean, integer, float, string or object"),
        ({"variants": {"on": float("inf"), "off": 0.0}}, "variants.on", "a finite number"),
        ({"variants": {"on": 2**63, "off": 0}}, "variants.on", "an integer of at most 64 bits"),
        ({"variants": {"on": "\ud800", "off": ""}}, "variants.on", "written as UTF-8"),
        ({"variants": {}}, "variants", "at least one variant"),
        ({"variants": [True, False]}, "variants", "an object"),
        ({"default_variant": "of"}, "default_variant", "one of the variants on, off"),
        ({"on_variant": "yes"}, "on_variant", "one of the variants on, off"),
        ({"on_variant": "off"}, "on_variant", "another variant than default_variant"),
        ({"profile": "fast"}, "profile", "one of the profiles"),
        ({"profile": 3}, "profile", "a name"),
        ({"profiles": {"fast": 3}}, "profiles.fast", "an object"),
        ({"profiles": [1]}, "profiles", "an object of profiles"),
        ({"targets": {"team": "a"}}, "targets.team", "a list of strings"),
        ({"targets": {"team": [1]}}, "targets.team", "a list of strings"),
        ({"targets": ["team"]}, "targets", "an object of attributes"),
        ({"parameters": {"limit": None}}, "parameters.limit", "a boolean, number, string, list or object"),
        ({"parameters": {"killed": True}}, "parameters.killed", "another name"),
        ({"parameters": {"limit": {1, 2}}}, "parameters.limit", "a boolean, number, string, list or object"),
        ({"parameters": {"a": {"b": [float("nan")]}}}, "parameters.a.b[0]", "a finite number"),
        ({"parameters": {1: 2}}, "parameters", "a name"),
        ({"permanent": 1}, "permanent", "true or false"),
        ({"version": 3}, "version", "GENERATION.NUMBER"),
        ({"version": "1"}, "version", "GENERATION.NUMBER"),
        ({"version": "-1.0"}, "version", "GENERATION.NUMBER"),
        ({"environment": ""}, "environment", "a name"),
        ({"key": ""}, "key", "a name"),
        ({"key": " x"}, "key", "a name"),
        ({"key": "a\nb"}, "key", "a name"),
        ({"key": "x" * 257}, "key", "a name"),
        ({"key": None}, "key", "a name"),
        ({"key": "new-api.parameters"}, "key", "does not end in '.parameters'"),
    ),
)
def test_an_invalid_document_is_refused_with_the_field_and_what_was_expected(
    change: dict[str, object], field: str, expected: str
) -> None:
    with pytest.raises(InvalidFlag) as refused:
        FlagDocument.from_json({"key": "new-api", **change})
    assert refused.value.field == field
    assert expected in refused.value.expected
    assert field in str(refused.value)


@pytest.mark.parametrize("data", (None, [], "new-api", {}))
def test_what_is_no_document_at_all_is_refused(data: object) -> None:
    with pytest.raises(InvalidFlag, match="expected"):
        FlagDocument.from_json(data)


def test_the_sentence_names_the_flag_and_survives_pickle() -> None:
    with pytest.raises(InvalidFlag) as refused:
        FlagDocument("new-api", percentage=101)
    assert str(refused.value) == "flag 'new-api': percentage: expected a number from 0 to 100, got 101 (int)"
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)


def test_nesting_without_end_is_refused_and_not_a_crash() -> None:
    nested: list[object] = []
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(InvalidFlag, match="a list of strings"):
        FlagDocument.from_json({"key": "new-api", "targets": {"team": nested}})
    with pytest.raises(InvalidFlag, match="levels of nesting"):
        FlagDocument("new-api", parameters={"deep": nested})  # type: ignore[dict-item]  # a list of objects


@given(st.integers(0, 100_000))
def test_every_thousandth_of_a_per_cent_keeps_its_weight(weight: int) -> None:
    assert FlagDocument("new-api", percentage=weight / 1000).weight == weight


def test_rounding_errors_of_arithmetic_are_no_finer_steps() -> None:
    assert FlagDocument("new-api", percentage=0.1 + 0.2).percentage == 0.3


def test_a_reader_can_change_nothing() -> None:
    document = FlagDocument("new-api", parameters={"limits": {"low": 1}}, targets={"team": ("a",)})
    parts: list[Any] = [document.variants, document.targets, document.parameters, document.parameters["limits"]]
    for part in parts:
        with pytest.raises(TypeError):
            part["x"] = 1
    with pytest.raises(FrozenInstanceError):
        document.percentage = 5  # type: ignore[misc]


def test_what_the_caller_changes_later_does_not_reach_the_document() -> None:
    given_parameters: dict[str, Any] = {"limits": {"low": [1]}}
    document = FlagDocument("new-api", parameters=given_parameters)
    given_parameters["limits"]["low"].append(2)
    out: Any = document.to_json()
    out["parameters"]["limits"]["low"].append(3)
    assert document == FlagDocument("new-api", parameters={"limits": {"low": (1,)}})


def test_values_of_different_types_are_different_documents() -> None:
    one, whole, true = (FlagDocument("new-api", parameters={"x": x}) for x in (1, 1.0, True))
    assert one != whole
    assert one != true
    assert whole != true
    assert one != "new-api"


def test_a_replaced_field_is_checked_again() -> None:
    with pytest.raises(InvalidFlag, match="percentage"):
        replace(FlagDocument("new-api"), percentage=100.5)


def test_an_attribute_without_values_targets_nobody_and_is_dropped() -> None:
    assert FlagDocument("new-api", targets={"team": ()}) == FlagDocument("new-api")


def test_effective_parameters_are_overlaid_by_the_profile_in_force() -> None:
    document = FlagDocument(
        "batch",
        parameters={"adaptive": False, "rate": 10},
        profiles={"balanced": {"rate": 50, "parallel": 4}, "conservative": {"rate": 30}},
        profile="balanced",
    )
    assert document.effective_parameters == {"adaptive": False, "rate": 50, "parallel": 4}
    assert replace(document, profile=None).effective_parameters == {"adaptive": False, "rate": 10}


def test_a_disabled_flag_stands_at_0_and_keeps_its_number() -> None:
    document = FlagDocument("new-api", percentage=50, state=FlagState.DISABLED)
    assert (document.percentage, document.standing_percentage) == (50.0, 0.0)


def test_versions_are_ordered_by_generation_first_and_print_as_two_numbers() -> None:
    assert Version(1, 9) < Version(1, 10) < Version(2, 0)
    assert str(Version(2, 0)) == "2.0"
    assert Version.parse("1.10") == Version(1, 10)
    with pytest.raises(InvalidFlag):
        Version(-1, 0)


@given(documents("x"), documents("x"), documents("x"))
def test_the_safer_document_exposes_nobody_that_either_leaves_out(
    a: FlagDocument, b: FlagDocument, before: FlagDocument
) -> None:
    safe = safer(a, b, before)
    assert safe.percentage == min(a.percentage, b.percentage)
    assert (safe.state is FlagState.DISABLED) == (FlagState.DISABLED in {a.state, b.state})
    for attribute, values in safe.targets.items():
        assert set(values) <= set(a.targets[attribute]) & set(b.targets[attribute])
    assert safe.effective_parameters == before.effective_parameters
    assert safe.version == max(a.version, b.version)


def test_the_safer_document_keeps_the_targets_in_both() -> None:
    a = FlagDocument("x", targets={"team": ("a", "b"), "plan": ("free",)})
    b = FlagDocument("x", targets={"team": ("b", "c")})
    assert safer(a, b, b).targets == {"team": ("b",)}


def test_documents_of_different_flags_cannot_be_compared_for_safety() -> None:
    x, y = FlagDocument("x"), FlagDocument("y")
    with pytest.raises(InvalidFlag, match="'x' in 'production'"):
        safer(x, x, y)
    with pytest.raises(InvalidFlag, match="'staging'"):
        safer(x, replace(x, environment="staging"), x)
