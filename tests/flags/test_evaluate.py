from __future__ import annotations

import math
from collections import ChainMap, UserDict, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, NoReturn

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


# --- odd and hostile contexts -----------------------------------------------------------------------------------------


class Team(StrEnum):
    CORE = "core"


class Level(IntEnum):
    THREE = 3

    def __str__(self) -> str:
        return "third"


class Untold:
    """Fails whatever is asked of it."""

    def fail(self, *_: object) -> NoReturn:
        raise RuntimeError("not to be had")

    __str__ = __repr__ = __eq__ = __hash__ = __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = fail
    __class__ = property(fail)


class OddText(str):
    """Text that cannot be compared, written or shown."""

    __slots__ = ()
    __eq__ = __str__ = __repr__ = __len__ = __add__ = encode = Untold.fail  # type: ignore[assignment]

    def __hash__(self) -> NoReturn:
        raise RuntimeError("not to be had")


class OddNumber(int):
    __str__ = __repr__ = __eq__ = __le__ = __lt__ = __index__ = Untold.fail
    __hash__ = int.__hash__


class OddList(list[object]):
    def __iter__(self) -> NoReturn:
        raise RuntimeError("not to be had")


class OddMapping(Mapping[str, object]):
    """Knows its names and gives nothing."""

    def __getitem__(self, name: str) -> NoReturn:
        raise RuntimeError("not to be had")

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(["targetingKey"])

    def __len__(self) -> int:
        return 1


class OddOnlyForTheTeam(UserDict[str, object]):
    def __getitem__(self, name: str) -> object:
        if name == "team":
            raise OSError("the directory of teams does not answer")
        return super().__getitem__(name)


def nested(depth: int) -> object:
    value: object = "core"
    for _ in range(depth):
        value = [value]
    return value


ODD_VALUES: dict[str, object] = {
    "nan": math.nan,
    "infinity": -math.inf,
    "a huge integer": 10**5000,
    "bytes": b"core",
    "half of a surrogate pair": "\ud800",
    "a megabyte": "x" * 2**20,
    "nested deeply": nested(10_000),
    "ten thousand items": [0] * 10_000,
    "a thousand attributes": {str(number): number for number in range(1000)},
    "a date": datetime(2026, 1, 1, tzinfo=UTC),
    "a decimal": Decimal("NaN"),
    "a class": int,
    "a generator": (one for one in "core"),
    "untold": Untold(),
    "a list of untold": [Untold(), Untold()],
    "odd text": OddText("other"),
    "an odd number": OddNumber(3),
    "an odd list": OddList(["core"]),
    "an odd mapping": OddMapping(),
}
TARGETS: dict[str, tuple[str, ...]] = {"team": ("core", "beta", "3", "2.5", "true")}
KINDS = {
    "off": new_api(),
    "on": new_api(percentage=100),
    "disabled": new_api(state=FlagState.DISABLED),
    "killed": new_api(killed=True, percentage=30),
    "drawn": new_api(percentage=30),
    "targeted": new_api(targets=TARGETS),
    "targeted and drawn": new_api(targets=TARGETS, percentage=30),
    "much targeted": new_api(targets={**TARGETS, "plan": ("free",)}),
    "much targeted and drawn": new_api(targets={**TARGETS, "plan": ("free",)}, percentage=30),
    "targeted and all": new_api(targets=TARGETS, percentage=100),
    "targeted by key": new_api(targets={"targetingKey": ("user-1",)}, percentage=30),
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def check_is_answered(flag: CompiledFlag, context: Any) -> None:
    """All ways to ask agree; nothing is raised; an error is one that OpenFeature knows, and has a sentence."""
    details = flag.details(context)
    assert flag.is_on(context) is details.value is flag.value(context)
    assert (details.variant == "on") is details.value
    assert (details.error_code is None) is (details.error_details is None) is (details.reason is not Reason.ERROR)


@EVERY_KIND
@pytest.mark.parametrize("name", ODD_VALUES)
def test_an_odd_value_is_answered_wherever_it_stands(kind: str, name: str) -> None:
    value = ODD_VALUES[name]
    for context in ({"targetingKey": value}, {"team": value}, {"team": value, **EARLY}, {"team": value, **LATE}):
        check_is_answered(KINDS[kind], context)


@pytest.mark.parametrize("name", ODD_VALUES)
def test_an_odd_attribute_matches_no_target_and_leaves_the_percentage_alone(name: str) -> None:
    flag = new_api(targets={"team": ("core", "beta")}, percentage=30)
    assert answer(flag, {"team": ODD_VALUES[name], **EARLY}) == (True, "on", Reason.SPLIT)
    assert answer(flag, {"team": ODD_VALUES[name], **LATE}) == (False, "off", Reason.SPLIT)


NO_CONTEXTS: dict[str, object] = {
    "none": None,
    "a number": 42,
    "the key's name": "targetingKey",
    "an attribute's name": "team",
    "bytes": b"team",
    "a list": ["team"],
    "a set": {"team"},
    "an object": object(),
    "a class": int,
    "untold": Untold(),
    "an odd mapping": OddMapping(),
}


@EVERY_KIND
@pytest.mark.parametrize("name", NO_CONTEXTS)
def test_what_is_no_context_is_answered(kind: str, name: str) -> None:
    check_is_answered(KINDS[kind], NO_CONTEXTS[name])


def test_no_context_is_the_empty_one_and_an_unreadable_one_is_invalid() -> None:
    flag, nothing, number = new_api(percentage=30), None, 42
    assert flag.details(nothing).error_code is ErrorCode.TARGETING_KEY_MISSING  # type: ignore[arg-type]
    for context in (number, OddMapping()):
        details = flag.details(context)  # type: ignore[arg-type]
        assert (details.value, details.error_code) == (False, ErrorCode.INVALID_CONTEXT)
        assert "mapping" in (details.error_details or "")


def test_an_attribute_that_fails_does_not_hide_another_that_matches() -> None:
    flag = new_api(targets={"team": ("core",), "plan": ("free",)})
    assert answer(flag, OddOnlyForTheTeam(team="core", plan="free")) == (True, "on", Reason.TARGETING_MATCH)
    assert answer(flag, OddOnlyForTheTeam(team="core", plan="paid")) == (False, "off", Reason.DEFAULT)


@EVERY_KIND
def test_every_mapping_is_a_context(kind: str) -> None:
    flag = KINDS[kind]
    for plain in ({}, EARLY, LATE, {"team": "core", **LATE}, {"team": ["x", 3]}):
        context: dict[str, object] = {**plain}
        others = (MappingProxyType(context), ChainMap({}, context), UserDict(context), defaultdict(None, context))
        for other in others:
            assert flag.details(other) is flag.details(context)
            assert flag.is_on(other) is flag.is_on(context)


@EVERY_KIND
def test_a_key_apart_from_the_attributes_gets_the_same_answers(kind: str) -> None:
    flag = KINDS[kind]
    rests: list[Any] = [{}, {"team": "core"}, {"team": "x"}, {"team": ["x", 3]}, {"plan": "free"}, OddMapping()]
    for rest in [*rests, {"targetingKey": "user-3"}, *({"team": value} for value in ODD_VALUES.values())]:
        for key in ("user-1", "user-2", "", None, 7, "k" * 300):
            attributes = {} if isinstance(rest, OddMapping) else rest
            expected = flag.details({**attributes, "targetingKey": key})
            assert flag.details_apart(key, rest) is expected  # type: ignore[arg-type]
    assert flag.details_apart("user-2", 7) is flag.details(EARLY)  # type: ignore[arg-type]


def test_members_of_enumerations_are_their_values() -> None:
    flag = new_api(targets={"x": ("core", "3")})
    assert flag.is_on({"x": Team.CORE})
    assert flag.is_on({"x": Level.THREE})
    assert flag.is_on({"x": [Level.THREE]})
    assert new_api(percentage=30).is_on({"targetingKey": StrEnum("Users", {"EARLY": "user-2"}).EARLY})  # type: ignore[attr-defined]


def test_a_thousand_attributes_are_no_matter() -> None:
    flag = new_api(targets={"a999": ("999",)}, percentage=30)
    context = {f"a{number}": number for number in range(1000)}
    assert answer(flag, {**context, **LATE}) == (True, "on", Reason.TARGETING_MATCH)


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.sampled_from(["core", "beta"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
        | st.tuples(inner, inner)
        | inner.map(lambda value: OddList([value]))
    ),
    max_leaves=8,
)


@given(
    ODD | st.fixed_dictionaries({}, optional={"targetingKey": ODD | st.text(), "team": ODD, "plan": ODD}),
    st.sampled_from(sorted(KINDS)),
)
def test_any_context_whatever_is_answered(context: Any, kind: str) -> None:
    check_is_answered(KINDS[kind], context)


@given(st.text(st.characters(), min_size=0, max_size=300), st.integers(1, 99_999))
def test_the_fast_path_draws_as_the_hash_says(key: str, weight: int) -> None:
    """Lengths met for the first time, met again, and too long to be kept."""
    flag = new_api(percentage=weight / 1000)
    expected = (hash_key("new-api", key) * 100_000) >> 32 < weight
    assert [flag.is_on({"targetingKey": key}) for _ in range(2)] == [expected] * 2
