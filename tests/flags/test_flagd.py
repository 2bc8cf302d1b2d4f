"""flagd's JSON: what is written, and what is taken over. That the real provider agrees is tested beside the server."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from flags import FlagDocument, FlagError, FlagState, Version, compile_flag
from flags.feed import Feed, FeedVersion
from flags.flagd import InvalidFlagd, encode, export, read, unsaid

Json = dict[str, Any]
BLUE = {"blue": "#00f", "red": "#f00"}


def written(*documents: FlagDocument, killed: bool = False, lifted: tuple[str, ...] = ()) -> Json:
    feed = Feed("production", FeedVersion(Version(1, 2), 3), documents, killed, lifted)
    text: Json = json.loads(encode(feed.snapshot(), feed.version))
    return text


def flag(document: FlagDocument, killed: bool = False) -> Json:
    found: Json = written(document, killed=killed)["flags"][document.key]
    return found


def taken(flags: Json, **more: object) -> tuple[FlagDocument, ...]:
    return read(json.dumps({"flags": flags, **more})).documents


def a_flag(targeting: object, default: str = "off", variants: Json | None = None) -> Json:
    variants = variants or {"on": True, "off": False}
    return {"state": "ENABLED", "variants": variants, "defaultVariant": default, "targeting": targeting}


# --- written ----------------------------------------------------------------------------------------------------------


def test_a_percentage_goes_out_as_a_fraction_with_the_on_variant_first() -> None:
    assert flag(FlagDocument("new-api", percentage=12.345)) == {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
        "targeting": {"fractional": [["on", 12345], ["off", 87655]]},
    }


def test_a_flag_that_answers_everybody_the_same_goes_out_without_targeting() -> None:
    assert flag(FlagDocument("f")) == {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
    }
    assert flag(FlagDocument("f", percentage=100))["defaultVariant"] == "on"


def test_targets_come_before_the_fraction() -> None:
    document = FlagDocument("f", targets={"team": ("search", "42"), "beta": ("true",)}, percentage=30)
    team = {"in": [{"var": ""}, ["search", "42", 42]]}
    beta = {"or": [{"in": [{"var": ""}, ["true"]]}, {"===": [{"var": ""}, True]}]}
    assert flag(document)["targeting"] == {
        "if": [
            {"or": [{"some": [{"merge": [{"var": "team"}]}, team]}, {"some": [{"merge": [{"var": "beta"}]}, beta]}]},
            "on",
            {"fractional": [["on", 30000], ["off", 70000]]},
        ]
    }


def test_at_100_per_cent_targets_stay_and_all_others_get_the_on_variant_too() -> None:
    everybody = flag(FlagDocument("f", targets={"team": ("search",)}, percentage=100))
    assert everybody["defaultVariant"] == "on"
    assert everybody["targeting"]["if"][1:] == ["on"]


def test_a_killed_and_a_disabled_flag_go_out_enabled_and_off_without_targeting() -> None:
    document = FlagDocument("f", targets={"team": ("a",)}, percentage=30)
    off = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}
    assert flag(document, killed=True) == {**off, "metadata": {"killed": True}}
    assert flag(replace(document, state=FlagState.DISABLED)) == off


def test_a_permanent_and_a_lifted_flag_are_not_killed() -> None:
    permanent, lifted = FlagDocument("p", percentage=100, permanent=True), FlagDocument("l", percentage=100)
    flags = written(permanent, lifted, killed=True, lifted=("l",))["flags"]
    assert [flags[key]["defaultVariant"] for key in ("p", "l")] == ["on", "on"]


def test_parameters_travel_as_metadata_and_whole_as_a_flag_of_their_own() -> None:
    document = FlagDocument(
        "f",
        parameters={"rate": 5, "list": [1]},
        profiles={"gentle": {"rate": 1.0}},
        profile="gentle",
    )
    flags = written(document)["flags"]
    assert flags["f"]["metadata"] == {"rate": 1.0}
    assert flags["f.parameters"] == {
        "state": "ENABLED",
        "variants": {"gentle": {"rate": 1.0, "list": [1]}},
        "defaultVariant": "gentle",
    }


def test_integers_and_floats_stay_apart() -> None:
    text = encode(
        Feed("production", documents=(FlagDocument("f", variants={"on": 10.0, "off": 0.0}),)).snapshot(),
        FeedVersion(Version(0, 0)),
    )
    assert b'"variants":{"on":10.0,"off":0.0}' in text


def test_the_set_is_named_by_its_environment_and_version() -> None:
    assert written()["metadata"] == {"flagSetId": "production", "version": "1.2.3"}


def test_a_target_that_flagd_would_look_for_elsewhere_is_not_sent_and_said() -> None:
    document = FlagDocument("f", targets={"user.team": ("a",)}, percentage=30)
    assert "if" not in flag(document)["targeting"]
    assert unsaid([document, FlagDocument("g", targets={"team": ("a.b",)})]) == [
        (
            "flag 'f': its target by 'user.team' is not sent to flagd's clients, who would look for it inside 'user'; "
            "choose an attribute without a dot"
        )
    ]


# --- out and in again -------------------------------------------------------------------------------------------------

NAMES = st.text("abc._-/ é0", min_size=1, max_size=6).map(str.strip).filter(bool)
WORDS = st.sampled_from(("a", "b", "1", "0", "true", "false", "2.5", "1e+300", "-7", "nan", "", "x y"))
SCALARS = st.one_of(st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.text("ab", max_size=3))
PARAMETERS = st.dictionaries(
    st.sampled_from(("rate", "mode", "version", "flagSetId")),
    st.one_of(SCALARS, st.lists(SCALARS, max_size=2)),
    max_size=3,
)


@st.composite
def documents(draw: st.DrawFn) -> FlagDocument:
    kind: Any = draw(
        st.sampled_from((st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.text("ab"), st.just({"a": [None]})))
    )
    names = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    default_variant, on_variant = draw(st.permutations(names))[:2]
    profiles: Json = draw(st.dictionaries(st.sampled_from(("p", "q")), PARAMETERS, max_size=2))
    return FlagDocument(
        draw(NAMES.filter(lambda key: not key.endswith(".parameters"))),
        state=draw(st.sampled_from(list(FlagState))),
        variants={name: draw(kind) for name in names},
        default_variant=default_variant,
        on_variant=on_variant,
        targets=draw(st.dictionaries(NAMES, st.lists(WORDS, min_size=1, max_size=5).map(tuple), max_size=3)),
        percentage=draw(st.one_of(st.just(0), st.just(100), st.integers(0, 100_000).map(lambda weight: weight / 1000))),
        parameters=draw(PARAMETERS),
        profiles=profiles,
        profile=draw(st.sampled_from((None, *profiles))),
        permanent=draw(st.booleans()),
    )


@settings(deadline=None)
@given(st.lists(documents(), max_size=4, unique_by=lambda one: one.key))
def test_what_is_exported_reads_as_the_same_documents(exported: list[FlagDocument]) -> None:
    text = export([replace(one, version=Version(3, 7)) for one in exported], "production")
    found = read(text)
    assert found.environment == "production"
    assert {one.key: one for one in found.documents} == {one.key: one for one in exported}


def test_an_ordinary_flag_needs_no_more_than_flagd_can_say() -> None:
    ordinary = FlagDocument("f", targets={"team": ("a", "42")}, percentage=30, parameters={"rate": 5})
    assert json.loads(export([ordinary, FlagDocument("g"), FlagDocument("h", percentage=100)], "production"))[
        "rollout"
    ] == {"format": 1, "environment": "production", "flags": {}}


def test_what_flagd_cannot_say_stands_beside_it() -> None:
    documents = [
        FlagDocument("f", state=FlagState.DISABLED, percentage=30),
        FlagDocument("g", permanent=True, profiles={"p": {"rate": 1}}),
    ]
    assert json.loads(export(documents, "production"))["rollout"]["flags"] == {
        "f": {"state": "disabled", "percentage": 30.0},
        "g": {"profiles": {"p": {"rate": 1}}, "permanent": True},
    }


def test_what_is_edited_in_an_exported_file_counts() -> None:
    data = json.loads(export([FlagDocument("f", percentage=30, permanent=True)], "production"))
    data["flags"]["f"]["targeting"]["fractional"] = [["on", 1], ["off", 3]]
    (document,) = read(json.dumps(data)).documents
    assert (document.percentage, document.permanent) == (25.0, True)


def test_a_file_may_be_taken_into_another_environment() -> None:
    text = export([FlagDocument("f", environment="staging", percentage=30)], "staging")
    assert [one.environment for one in read(text).documents] == ["staging"]
    assert [one.environment for one in read(text, "production").documents] == ["production"]


# --- taken over from others -------------------------------------------------------------------------------------------

ON = {"fractional": [["on", 30], ["off", 70]]}


@pytest.mark.parametrize(
    ("targeting", "targets", "percentage"),
    (
        (None, {}, 0),
        ({}, {}, 0),
        (ON, {}, 30),
        ({"fractional": [["on"], ["off", 3]]}, {}, 25),
        ({"fractional": [["on", 0], ["off", 100]]}, {}, 0),
        ({"fractional": [["on", -5], ["off", 100]]}, {}, 0),
        ({"if": [{"in": [{"var": "team"}, []]}, "on", "on"]}, {}, 100),
        ({"if": [{"in": [{"var": "team"}, ["a", "b"]]}, "on"]}, {"team": ("a", "b")}, 0),
        ({"if": [{"in": [{"var": ["team"]}, ["a"]]}, "on", None]}, {"team": ("a",)}, 0),
        ({"if": [{"==": [{"var": "team"}, "a"]}, "on", "off"]}, {"team": ("a",)}, 0),
        ({"if": [{"===": ["a", {"var": "team"}]}, "on", "on"]}, {"team": ("a",)}, 100),
        ({"if": [{"in": [{"var": "team"}, ["a", 42, True, 2.5]]}, "on", ON]}, {"team": ("a", "42", "true", "2.5")}, 30),
        (
            {"if": [{"==": [{"var": "team"}, "a"]}, "on", {"==": [{"var": "x"}, 1]}, "on", ON]},
            {"team": ("a",), "x": ("1",)},
            30,
        ),
        (
            {
                "if": [
                    {"or": [{"==": [{"var": "team"}, "a"]}, {"in": [{"var": "team"}, ["b"]]}]},
                    "on",
                    {"if": [{"==": [{"var": "x"}, "y"]}, "on"]},
                ]
            },
            {"team": ("a", "b"), "x": ("y",)},
            0,
        ),
    ),
)  # fmt: skip
def test_targets_and_percentages_are_taken_over(targeting: object, targets: Json, percentage: float) -> None:
    (document,) = taken({"f": a_flag(targeting)})
    assert (dict(document.targets), document.percentage) == (targets, percentage)
    assert (document.on_variant, document.default_variant) == ("on", "off")


def test_a_comparison_alone_chooses_between_true_and_false() -> None:
    variants = {"true": 1, "false": 0}
    (document,) = taken({"f": a_flag({"in": [{"var": "team"}, ["a"]]}, "false", variants)})
    assert (document.on_variant, document.default_variant, dict(document.targets)) == (
        "true",
        "false",
        {"team": ("a",)},
    )


@pytest.mark.parametrize(
    ("targeting", "sentence"),
    (
        ({"fractional": [{"var": "email"}, ["on", 1], ["off", 1]]}, "targeting.fractional[0]: keys are drawn by"),
        ({"fractional": [["off", 70], ["on", 30]]}, "one other variant first and then 'off'"),
        ({"fractional": [["on", 1], ["off", 2]]}, "a share in steps of 0.001 %"),
        ({"fractional": [["on", 0.5], ["off", 1]]}, "targeting.fractional[0][1]: an integer is expected"),
        ({"fractional": [["on", 1, 2]]}, "a variant and its weight are expected"),
        ({"fractional": [["red", 1]]}, "one of the variants 'on', 'off' is expected, got 'red'"),
        ({"if": [{"sem_ver": [{"var": "v"}, ">=", "1.0.0"]}, "on"]}, "targeting.if[0]: the operator 'sem_ver' can't"),
        ({"if": [{"ends_with": [{"var": "email"}, "@x.de"]}, "on"]}, "the operator 'ends_with' can't"),
        ({"if": [{"$ref": "admins"}, "on"]}, "the operator '$ref' can't"),
        ({"if": [{"in": ["@x.de", {"var": "email"}]}, "on"]}, "targeting.if[0].in: an attribute and a list"),
        ({"if": [{"in": [{"var": "user.team"}, ["a"]]}, "on"]}, "'user.team' looks inside another attribute"),
        ({"if": [{"in": [{"var": ["team", "a"]}, ["a"]]}, "on"]}, "an attribute is expected"),
        ({"if": [{"in": [{"var": "team"}, ["a", None]]}, "on"]}, "targeting.if[0].in[1][1]: a text, number or boolean"),
        ({"if": [{"==": [{"var": "team"}, "a"]}, "off", ON]}, "targeting.if[2]: the targets get 'off'"),
        ({"if": [{"==": [{"var": "team"}, "a"]}, None]}, "targeting.if[1]: one of the variants"),
        ({"if": []}, "targeting.if: a condition and a variant are expected"),
        ({"if": ["on"]}, "targeting.if: a condition and a variant are expected"),
        ({"some": [{"var": "teams"}, {"in": [{"var": ""}, ["a"]]}]}, "the operator 'some' can't"),
        ({"if": [{"some": [{"var": "t"}, {"in": [{"var": ""}, ["a"]]}]}, "on"]}, "targeting.if[0]: this 'some' can't"),
        ({"if": [True, "on"]}, "targeting.if[0]: an object with one operator is expected, got True"),
        ([], "targeting: an object with one operator is expected"),
        ("on", "targeting: an object with one operator is expected, got 'on'"),
        (3, "targeting: an object with one operator is expected, got 3 (int)"),
    ),
)  # fmt: skip
def test_a_rule_that_cannot_be_said_is_refused_with_its_place(targeting: object, sentence: str) -> None:
    with pytest.raises(InvalidFlagd) as refused:
        taken({"my flag": a_flag(targeting)})
    assert str(refused.value).startswith("flag 'my flag': targeting")
    assert sentence in str(refused.value)


def test_a_rule_of_a_thousand_levels_is_refused() -> None:
    logic: Json = ON
    for _ in range(200):
        logic = {"if": [{"==": [{"var": "team"}, "a"]}, "on", logic]}
    with pytest.raises(InvalidFlagd, match="at most 50 levels"):
        taken({"f": a_flag(logic)})


def test_three_variants_drawn_are_refused() -> None:
    colours = {"red": 1, "green": 2, "blue": 3}
    drawn = {"fractional": [["red", 1], ["green", 1], ["blue", 2]]}
    with pytest.raises(InvalidFlagd, match="one other variant first and then 'blue', the default variant is expected"):
        taken({"f": a_flag(drawn, "blue", colours)})


def test_what_was_chosen_or_left_behind_is_said() -> None:
    flags = {
        "colour": {"state": "ENABLED", "variants": {"a": 1, "b": 2, "c": 3}, "defaultVariant": "b", "source": "x"},
        "old": {"state": "DISABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"},
        "whole": a_flag({"fractional": [["on", 100]]}),
    }
    found = read(json.dumps({"flags": flags, "$evaluators": {"x": {}}, "more": 1, "$schema": "https://x"}))
    assert found.notes == (
        "'more' is not taken over",
        "$evaluators is not taken over; no flag here refers to it",
        "flag 'colour': 'source' is not taken over",
        "flag 'colour': 'a' was chosen as the other variant of 'b', of 'a', 'c'",
        "flag 'old': it is disabled and answers its default variant, where flagd's clients answered their own default",
        "flag 'whole': 'on' goes to everybody now, also to contexts without a targetingKey, which got 'off'",
    )


def test_a_boolean_flag_whose_default_is_true_stands_at_100_per_cent() -> None:
    (document,) = taken({"f": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}})
    assert (document.default_variant, document.percentage) == ("off", 100.0)


def test_numbers_of_which_some_have_a_point_are_all_floats() -> None:
    (document,) = taken({"f": a_flag(None, "a", {"a": 1, "b": 1.5})})
    assert repr(dict(document.variants)) == "{'a': 1.0, 'b': 1.5}"


def test_metadata_of_the_set_counts_for_each_flag_unless_it_names_the_set() -> None:
    flags = {"f": {**a_flag(ON), "metadata": {"owner": "web"}}}
    (document,) = taken(flags, metadata={"flagSetId": "x", "version": "1", "owner": "all", "tier": 2})
    assert dict(document.parameters) == {"owner": "web", "tier": 2}


@pytest.mark.parametrize(
    ("text", "sentence"),
    (
        ("", "this is not JSON"),
        ("[]", "a flagd document is a JSON object, got []"),
        ("{}", "flags: an object of flags by their keys is expected, got None"),
        ('{"flags": []}', "flags: an object of flags by their keys is expected"),
        ('{"flags": {"f": 1}}', "flags.f: an object is expected, got 1 (int)"),
        ('{"flags": {"f": {}}}', "flags.f.state: 'ENABLED' or 'DISABLED' is expected, got None"),
        ('{"flags": {"f": {"state": []}}}', "flags.f.state: 'ENABLED' or 'DISABLED' is expected"),
        ('{"flags": {"f": {"state": "ENABLED", "variants": {"on": 1}}}}', "flags.f.defaultVariant: the name of"),
        (
            '{"flags": {"f": {"state": "ENABLED", "variants": {"on": 1}, "defaultVariant": "on"}}}',
            "a second variant is expected",
        ),
        ('{"flags": {"f": {}, "f": {}}}', "'f' is there twice in one object"),
        ('{"flags": {"f": NaN}}', "NaN is no number of JSON"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"flags": {}, "rollout": {"format": 2}}', "rollout.format: 1 is expected, got 2 (int)"),
        ('{"flags": {}, "rollout": {"format": 1, "flags": {"f": {}}}}', "rollout.flags: there is no flag 'f'"),
        ('{"flags": {}, "rollout": 1}', "rollout: an object is expected"),
        ('{"flags": {}, "rollout": {"format": 1, "environment": 1}}', "rollout.environment: a name is expected"),
    ),
)  # fmt: skip
def test_a_text_that_is_none_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InvalidFlagd) as refused:
        read(text)
    assert sentence in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("change", "sentence"),
    (
        ({"variants": {"on": True, "off": "no"}}, "variants: expected at least one variant, and all of one type"),
        ({"variants": {"on": [1], "off": [2]}}, "variants.on: expected a boolean, integer, float, string or object"),
        ({"metadata": {"a": None}}, "flags.f.metadata: 'a': a text, number or boolean is expected"),
        ({"metadata": {"killed": True}}, "flags.f.metadata.killed: a kill switch holds this flag"),
        ({"metadata": []}, "flags.f.metadata: an object is expected"),
    ),
)
def test_what_no_flag_document_may_have_is_refused(change: Json, sentence: str) -> None:
    with pytest.raises(FlagError) as refused:
        taken({"f": {**a_flag(ON), **change}})
    assert sentence in str(refused.value)


def test_a_field_beside_that_may_not_be_set_is_refused() -> None:
    data = json.loads(export([FlagDocument("f")], "production"))
    data["rollout"]["flags"] = {"f": {"version": "9.9"}}
    with pytest.raises(InvalidFlagd, match=r"rollout\.flags\.f\.version: this can't be set here"):
        read(json.dumps(data))


def test_parameters_that_are_no_object_are_refused() -> None:
    flags = {"f": a_flag(ON), "f.parameters": a_flag(None, "a", {"a": 1, "b": 2})}
    with pytest.raises(InvalidFlagd, match=r"flags\.f\.parameters\.variants: one variant is expected"):
        taken(flags)


LONG = "x" * 100_000
MANY = [str(number) for number in range(9999)]


@pytest.mark.parametrize(
    "text",
    (
        {"flags": {LONG: {}}},
        {"flags": {"f": a_flag(ON, "off", {LONG: 1, "off": 2})}},
        {"flags": {"f": a_flag(LONG)}},
        {"flags": {"f": a_flag({LONG: 1})}},
        {"flags": {"f": a_flag({"if": [{LONG: 1}, "on"]})}},
        {"flags": {"f": a_flag({"if": [{"in": [{"var": "a." + LONG}, []]}, "on"]})}},
        {"flags": {"f": a_flag({"fractional": [[name, 1] for name in MANY]}, "1", dict.fromkeys(MANY, 1))}},
        {"flags": {"f": {**a_flag(ON), "metadata": {LONG: []}}}},
        {"flags": {"f": {**a_flag(ON), "state": LONG}}},
        {"flags": {}, "rollout": {"format": 1, "flags": {LONG: {}}}},
        {"flags": {}, "rollout": {"format": LONG}},
    ),
    ids=range(11),
)  # fmt: skip
def test_a_refusal_is_short_whatever_is_refused(text: Json) -> None:
    with pytest.raises(FlagError) as refused:
        read(json.dumps(text))
    assert len(str(refused.value)) < 1000


PIECES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from((None, True, 0, 1, 2.5, "on", "off", "team", "", "true", [], {}, 10**30)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(("if", "in", "==", "or", "var", "fractional", "some", "merge", "on", "off", "killed", "f")),
            inner,
            max_size=2,
        ),
    ),
    max_leaves=12,
)
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(("ENABLED", "DISABLED", 1)),
        "variants": st.one_of(st.just({"on": True, "off": False}), PIECES),
        "defaultVariant": st.one_of(st.just("off"), PIECES),
        "targeting": PIECES,
        "metadata": PIECES,
        "more": PIECES,
    },
)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(("f", "f.parameters", "", ".parameters", "g")), st.one_of(PARTS, PIECES)), PIECES
)
def test_whatever_is_read_is_taken_over_or_refused(flags: Json, more: object) -> None:
    text = json.dumps({"flags": flags, "metadata": more, "rollout": more})
    with contextlib.suppress(FlagError):
        for document in read(text).documents:
            assert read(export([document], "production")).documents == (document,)


VARIANT = st.sampled_from(("on", "off", "true", "false", "third"))
TEXT = st.sampled_from(("a", "b", ""))
VAR = st.sampled_from(("team", "plan")).map(lambda attribute: {"var": attribute})
CONDITION: st.SearchStrategy[Any] = st.one_of(
    st.tuples(VAR, st.lists(TEXT, max_size=2)).map(lambda pair: {"in": list(pair)}),
    st.tuples(VAR, TEXT).map(lambda pair: {"==": list(pair)}),
    st.tuples(TEXT, VAR).map(lambda pair: {"===": list(pair)}),
)
CONDITIONS = st.one_of(CONDITION, st.lists(CONDITION, min_size=1, max_size=2).map(lambda some: {"or": some}))
SHARES = st.lists(st.tuples(VARIANT, st.sampled_from((0, 1, 3, 50))).map(list), min_size=1, max_size=3)
LEFT: st.SearchStrategy[Any] = st.one_of(
    st.none(), VARIANT, SHARES.map(lambda shares: {"fractional": shares}), CONDITIONS
)
RULES = st.recursive(
    LEFT,
    lambda inner: st.tuples(st.lists(st.tuples(CONDITIONS, VARIANT), min_size=1, max_size=2), inner).map(
        lambda rule: {"if": [*(part for pair in rule[0] for part in pair), rule[1]]}
    ),
    max_leaves=3,
)


@settings(max_examples=400, deadline=None)
@given(RULES, VARIANT, st.sampled_from(((True, False), (1, 2))))
def test_a_rule_that_is_taken_over_means_what_it_meant(targeting: Any, default: str, values: tuple[Any, Any]) -> None:
    variants = {"on": values[0], "off": values[1], "true": values[0], "false": values[1], "third": values[0]}
    flags = {"f": a_flag(targeting, default, variants)}
    try:
        (document,) = taken(flags)
    except InvalidFlagd:
        return
    (ours, theirs) = (compile_flag(document), FlagdCore())
    theirs.set_flags(json.dumps({"flags": flags}))
    resolve: Any = theirs.resolve_boolean_value if values[0] is True else theirs.resolve_integer_value
    for number in range(20):
        attributes = {"team": "ab "[number % 3].strip(), "plan": "ab "[number // 3 % 3].strip()}
        details = resolve("f", values[0], EvaluationContext(f"user-{number}", attributes))
        assert ours.details({**attributes, "targetingKey": f"user-{number}"}).variant == details.variant
