from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags import CompiledFlag, ErrorCode, FlagDocument, FlagState, Reason, compile_flag
from flags.bucketing import hash_key

# 0x8e759240 and 0x2058c8e6 stand at 55.6 % and 12.6 % of the flag "new-api"
LATE, EARLY = {"targetingKey": "user-1"}, {"targetingKey": "user-2"}
NO_KEYS: tuple[Mapping[str, object], ...] = ({}, {"targetingKey": ""}, {"targetingKey": None}, {"targetingKey": 7})


def new_api(killed: bool = False, **fields: Any) -> CompiledFlag:
    return compile_flag(FlagDocument("new-api", **fields), killed)


def answer(flag: CompiledFlag, context: Mapping[str, object]) -> tuple[object, str, Reason]:
    details = flag.details(context)
    return details.value, details.variant, details.reason


def test_a_percentage_gives_the_flag_to_those_below_it_and_calls_it_a_split() -> None:
    flag = new_api(percentage=30)
    assert answer(flag, EARLY) == (True, "on", Reason.SPLIT)
    assert answer(flag, LATE) == (False, "off", Reason.SPLIT)


def test_a_thousandth_of_a_per_cent_decides() -> None:
    place = hash_key("new-api", "user-1") / 2**32 * 100
    assert not new_api(percentage=int(place * 1000) / 1000).is_on(LATE)
    assert new_api(percentage=int(place * 1000 + 1) / 1000).is_on(LATE)


def test_a_flag_that_answers_everybody_alike_is_static() -> None:
    assert answer(new_api(), EARLY) == (False, "off", Reason.STATIC)
    assert answer(new_api(percentage=100), LATE) == (True, "on", Reason.STATIC)


@pytest.mark.parametrize("context", NO_KEYS)
def test_without_a_targeting_key_a_percentage_answers_the_default_and_says_so(context: Mapping[str, object]) -> None:
    flag = new_api(percentage=99.999)
    details = flag.details(context)
    assert (details.value, details.variant, details.reason) == (False, "off", Reason.ERROR)
    assert details.error_code is ErrorCode.TARGETING_KEY_MISSING
    assert "targetingKey" in (details.error_details or "")
    assert flag.is_on(context) is False


@pytest.mark.parametrize("context", NO_KEYS)
@pytest.mark.parametrize(("percentage", "on"), ((0, False), (100, True)))
def test_without_a_draw_no_targeting_key_is_needed(context: Mapping[str, object], percentage: int, on: bool) -> None:
    for targets in ({}, {"team": ("a",)}):
        details = new_api(percentage=percentage, targets=targets).details(context)
        assert (details.value, details.error_code) == (on, None)


def test_a_target_comes_before_the_percentage_and_needs_no_targeting_key() -> None:
    flag = new_api(percentage=30, targets={"team": ("core", "beta")})
    assert answer(flag, {"team": "beta", **LATE}) == (True, "on", Reason.TARGETING_MATCH)
    assert answer(flag, {"team": "beta"}) == (True, "on", Reason.TARGETING_MATCH)
    assert answer(flag, {"team": "sales", **EARLY}) == (True, "on", Reason.SPLIT)
    assert answer(flag, {"team": "sales", **LATE}) == (False, "off", Reason.SPLIT)


def test_who_is_not_targeted_gets_the_default_at_0_and_the_flag_at_100() -> None:
    assert answer(new_api(targets={"team": ("a",)}), LATE) == (False, "off", Reason.DEFAULT)
    assert answer(new_api(targets={"team": ("a",)}, percentage=100), LATE) == (True, "on", Reason.SPLIT)
    assert answer(new_api(targets={"team": ("a",)}, percentage=100), {"team": "a"})[2] is Reason.TARGETING_MATCH


def test_one_matching_attribute_of_several_suffices() -> None:
    flag = new_api(targets={"team": ("a",), "plan": ("free", "trial")})
    assert flag.is_on({"team": "b", "plan": "trial"})
    assert flag.is_on({"team": "a"})
    assert not flag.is_on({"team": "free", "plan": "a"})


def test_single_users_are_targeted_by_their_targeting_key() -> None:
    assert new_api(targets={"targetingKey": ("user-1",)}).is_on(LATE)


@pytest.mark.parametrize("attributes", (("x",), ("x", "other")))
@pytest.mark.parametrize(
    ("value", "target", "matches"),
    (
        ("3", "3", True),
        (3, "3", True),
        (3.0, "3", True),
        (2.5, "2.5", True),
        (True, "true", True),
        (False, "false", True),
        (True, "True", False),
        (1, "true", False),
        (["a", "b"], "b", True),
        (("a", 7), "7", True),
        ([], "", False),
        ([None, {}], "None", False),
        ({"a": "b"}, "a", False),
        (None, "None", False),
        ("A", "a", False),
        ("", "", True),
        (float("inf"), "inf", True),
        pytest.param(10**5000, "1", False, id="huge"),
    ),
)
def test_a_context_value_matches_as_json_writes_it(
    attributes: tuple[str, ...], value: object, target: str, matches: bool
) -> None:
    flag = new_api(targets=dict.fromkeys(attributes, (target,)))
    assert flag.is_on({"x": value}) is matches


def test_a_disabled_flag_answers_its_off_variant_whatever_else_it_says() -> None:
    flag = new_api(state=FlagState.DISABLED, percentage=100, targets={"targetingKey": ("user-1",)})
    assert answer(flag, LATE) == (False, "off", Reason.DISABLED)
    assert flag.is_on(LATE) is False


def test_a_killed_flag_answers_its_off_variant_and_says_that_it_is_killed() -> None:
    flag = new_api(killed=True, percentage=100, targets={"targetingKey": ("user-1",)})
    assert answer(flag, LATE) == (False, "off", Reason.DISABLED)
    assert flag.details(LATE).metadata == {"killed": True}
    assert flag.is_on(LATE) is False


def test_the_kill_switch_passes_a_permanent_flag_by() -> None:
    flag = new_api(killed=True, permanent=True, percentage=100)
    assert answer(flag, LATE) == (True, "on", Reason.STATIC)
    assert "killed" not in flag.details(LATE).metadata


def test_off_is_the_default_variant_whatever_it_is_called() -> None:
    flag = new_api(
        variants={"v1": "old", "v2": "new", "v3": "unused"}, default_variant="v1", on_variant="v2", percentage=30
    )
    assert answer(flag, EARLY) == ("new", "v2", Reason.SPLIT)
    assert answer(flag, LATE) == ("old", "v1", Reason.SPLIT)
    assert (flag.value(EARLY), flag.value(LATE)) == ("new", "old")
    assert (flag.is_on(EARLY), flag.is_on(LATE)) == (True, False)


@pytest.mark.parametrize("empty", (0, 0.0, "", {}))
def test_an_empty_value_is_a_value(empty: object) -> None:
    full: dict[type, object] = {int: 1, float: 1.0, str: "x", dict: {"x": 1}}
    flag = new_api(variants={"on": empty, "off": full[type(empty)]}, percentage=100)
    details = flag.details({})
    assert (details.value, details.variant, details.error_code) == (empty, "on", None)
    assert type(flag.value({})) is type(details.value)


def test_scalar_parameters_travel_as_metadata_with_the_profile_merged_in() -> None:
    flag = new_api(
        parameters={"rate": 10, "nested": {"a": 1}, "list": [1], "name": "x", "share": 10.0, "strict": False},
        profiles={"fast": {"rate": 50}},
        profile="fast",
    )
    assert flag.details({}).metadata == {"rate": 50, "name": "x", "share": 10.0, "strict": False}


DOCUMENTS = st.builds(
    FlagDocument,
    st.just("new-api"),
    state=st.sampled_from(FlagState),
    targets=st.sampled_from([{}, {"team": ("a",)}, {"team": ("a", "b"), "targetingKey": ("user-3",)}]),
    percentage=st.sampled_from([0, 100]) | st.integers(0, 100_000).map(lambda weight: weight / 1000),
    permanent=st.booleans(),
)
CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "targetingKey": st.integers(0, 999).map(lambda number: f"user-{number}") | st.sampled_from(["", None, 7]),
        "team": st.sampled_from(["a", "b", "c", ["c", "b"], None]),
    },
)


@given(DOCUMENTS, CONTEXTS, st.booleans())
def test_the_fast_path_and_the_details_always_agree(
    document: FlagDocument, context: dict[str, object], killed: bool
) -> None:
    flag = compile_flag(document, killed)
    details = flag.details(context)
    assert flag.is_on(context) is (details.variant == "on") is details.value is flag.value(context)


@given(DOCUMENTS, CONTEXTS, st.integers(0, 100_000))
def test_raising_a_percentage_takes_the_flag_from_nobody(
    document: FlagDocument, context: dict[str, object], weight: int
) -> None:
    higher = max(document.percentage, weight / 1000)
    raised = FlagDocument("new-api", state=document.state, targets=document.targets, percentage=higher)
    assert not compile_flag(document).is_on(context) or compile_flag(raised).is_on(context)
