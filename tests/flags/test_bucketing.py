from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.bucketing import NO_HASH, TOTAL, cbor_text, hash_key, hasher, prepared, threshold

KEYS = st.text(st.characters(codec="utf-8"), min_size=1)
HASHES = st.integers(0, 2**32 - 1)
WEIGHTS = st.integers(0, TOTAL)


def murmur3_x86_32(data: bytes) -> int:
    """After the published algorithm (seed 0), as any other language would write it."""

    def rotated(word: int, by: int) -> int:
        return ((word << by) | (word >> (32 - by))) & 0xFFFFFFFF

    def scrambled(word: int) -> int:
        return rotated(word * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF

    state = 0
    whole = len(data) // 4 * 4
    for start in range(0, whole, 4):
        state ^= scrambled(int.from_bytes(data[start : start + 4], "little"))
        state = (rotated(state, 13) * 5 + 0xE6546B64) & 0xFFFFFFFF
    state ^= scrambled(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    state = (state ^ (state >> 16)) * 0x85EBCA6B & 0xFFFFFFFF
    state = (state ^ (state >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
    return state ^ (state >> 16)


@pytest.mark.parametrize(
    ("flag_key", "targeting_key", "expected"),
    (
        ("new-api", "user-1", 0x8E759240),
        ("new-api", "user-2", 0x2058C8E6),
        ("nøw", "用户-1", 0xBF18218D),
        ("a", "bc", 0x088BC1B7),
        ("ab", "c", 0x5B807CEA),
        ("f", "k" * 23, 0x1D59B96C),
        ("f", "k" * 24, 0xDD2F6481),
        ("f" * 24, "k" * 255, 0x35D235E3),
        ("f", "k" * 256, 0x6BE83BB9),
        ("f", "k" * 65535, 0x0D3FEF6B),
        ("f", "k" * 65536, 0xD7E39D21),
        ("f" * 256, "é" * 200, 0x4BB5DC7E),
    ),
)
def test_the_hash_is_that_of_flagd_for_every_length_of_key(flag_key: str, targeting_key: str, expected: int) -> None:
    assert hash_key(flag_key, targeting_key) == expected


@given(KEYS, KEYS)
def test_another_implementation_of_the_hash_gives_the_same_answer(flag_key: str, targeting_key: str) -> None:
    data = b"\x82" + cbor_text(flag_key) + cbor_text(targeting_key)
    assert hash_key(flag_key, targeting_key) == murmur3_x86_32(data)


@pytest.mark.parametrize(
    ("length", "head"),
    (
        (0, b"\x60"),
        (23, b"\x77"),
        (24, b"\x78\x18"),
        (255, b"\x78\xff"),
        (256, b"\x79\x01\x00"),
        (65535, b"\x79\xff\xff"),
        (65536, b"\x7a\x00\x01\x00\x00"),
    ),
)
def test_a_text_has_the_shortest_head_that_holds_its_length(length: int, head: bytes) -> None:
    assert cbor_text("x" * length) == head + b"x" * length


def test_the_length_counts_bytes_and_not_characters() -> None:
    assert cbor_text("é") == b"\x62\xc3\xa9"


@pytest.mark.parametrize("no_key", (None, "", 7, True, ["user-1"], "\ud800"))
def test_what_is_no_targeting_key_is_never_drawn(no_key: object) -> None:
    assert hasher("new-api")(no_key) == NO_HASH
    assert threshold(TOTAL) <= NO_HASH


def test_the_bytes_before_a_key_are_made_when_its_length_is_met_and_never_for_what_is_no_key() -> None:
    hash_of, starts = prepared("new-api")
    for key in ("user-1", "", "k" * 300, None, "\ud800", "用户-1"):
        hash_of(key)
    assert {length: start for length, start in enumerate(starts) if start is not None} == {
        6: b"\x82\x67new-api\x66",
        8: b"\x82\x67new-api\x68",
    }
    assert len(starts) == 9


def test_a_hash_is_the_same_when_its_length_is_first_met_by_many_threads_at_once() -> None:
    hash_of, starts = prepared("new-api")
    keys = ["k" * length for length in range(1, 256)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(hash_of, keys * 8))
    assert found == [murmur3_x86_32(b"\x82" + cbor_text("new-api") + cbor_text(key)) for key in keys] * 8
    assert starts[0] is None


@given(HASHES, WEIGHTS)
def test_the_threshold_decides_as_the_formula_of_flagd(place: int, weight: int) -> None:
    assert (place < threshold(weight)) == ((place * TOTAL) >> 32 < weight)


@given(st.integers(1, TOTAL), st.integers(-2, 2))
def test_the_threshold_decides_as_the_formula_of_flagd_at_the_edge(weight: int, beside: int) -> None:
    place = min(max(threshold(weight) + beside, 0), 2**32 - 1)
    assert (place < threshold(weight)) == ((place * TOTAL) >> 32 < weight)


@given(st.integers(0, 100))
def test_a_percentage_means_the_same_whatever_the_total_is(percentage: int) -> None:
    assert threshold(percentage * 1000, 100_000) == threshold(percentage, 100)


@given(HASHES, WEIGHTS, WEIGHTS)
def test_raising_the_weight_takes_the_flag_from_nobody(place: int, one: int, other: int) -> None:
    lower, higher = sorted((one, other))
    assert not place < threshold(lower) or place < threshold(higher)


def test_nobody_has_a_flag_at_0_and_everybody_at_100() -> None:
    assert threshold(0) == 0
    assert threshold(TOTAL) == 2**32


@pytest.mark.parametrize("percentage", (0.1, 1, 10, 50, 90, 99.9))
def test_the_share_of_keys_is_the_percentage(percentage: float) -> None:
    """20,000 fixed keys; five standard deviations are allowed."""
    keys, share = 20_000, percentage / 100
    hash_of, below = hasher("new-api"), threshold(round(percentage * 1000))
    drawn = sum(hash_of(f"user-{number}") < below for number in range(keys))
    assert abs(drawn - keys * share) < 5 * math.sqrt(keys * share * (1 - share))


def test_two_flags_draw_independently_of_each_other() -> None:
    """Of the keys that have one flag at 30 %, 30 % have the other; five standard deviations are allowed."""
    keys, below = 20_000, threshold(30_000)
    one, other = hasher("one"), hasher("other")
    both = sum(one(key) < below and other(key) < below for key in (f"user-{number}" for number in range(keys)))
    assert abs(both - keys * 0.09) < 5 * math.sqrt(keys * 0.09 * 0.91)
