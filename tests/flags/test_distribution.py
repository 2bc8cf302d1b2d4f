"""A million keys: shares within four standard deviations, nobody loses a flag that is raised, no flag knows another."""

from __future__ import annotations

import math

import pytest

from flags import FlagDocument, compile_flag
from flags.bucketing import hasher, threshold

KEYS = 1_000_000
DEVIATIONS = 4
WEIGHTS = {0.001: 1, 1: 1_000, 33.333: 33_333, 50: 50_000}


def places(flag: str, keys: int = KEYS) -> list[int]:
    """Where the users stand on a flag: hashes below 2**32."""
    hash_of = hasher(flag)
    return [hash_of(f"user-{number}") for number in range(keys)]


@pytest.fixture(scope="module")
def places_of_one() -> list[int]:
    return places("new-api")


@pytest.mark.parametrize("percentage", WEIGHTS)
def test_the_share_of_a_million_keys_is_the_percentage(percentage: float, places_of_one: list[int]) -> None:
    below, share = threshold(WEIGHTS[percentage]), percentage / 100
    drawn = sum(place < below for place in places_of_one)
    assert abs(drawn - KEYS * share) < DEVIATIONS * math.sqrt(KEYS * share * (1 - share))


def test_raising_a_percentage_takes_the_flag_from_nobody() -> None:
    """Each user's answers at rising percentages, as evaluation gives them: first off, then on."""
    flags = [compile_flag(FlagDocument("new-api", percentage=percentage)) for percentage in sorted(WEIGHTS)]
    for number in range(KEYS // 5):
        context = {"targetingKey": f"user-{number}"}
        answers = [flag.is_on(context) for flag in flags]
        assert answers == sorted(answers)


def test_a_million_keys_stand_evenly_between_0_and_100(places_of_one: list[int]) -> None:
    """Chi-square over 1,024 cells; the quantile of four standard deviations is Wilson and Hilferty's."""
    cells = [0] * 1024
    for place in places_of_one:
        cells[place >> 22] += 1
    assert chi_square([(count, KEYS / 1024) for count in cells]) < quantile(1023)


@pytest.mark.parametrize("other", ("new-apj", "api-new", "b"))
def test_two_flags_draw_independently_of_each_other(other: str, places_of_one: list[int]) -> None:
    """Chi-square of a table of 8 by 8 eighths of two flags."""
    keys = KEYS // 4
    table = [[0] * 8 for _ in range(8)]
    for one, two in zip(places_of_one, places(other, keys), strict=False):
        table[one >> 29][two >> 29] += 1
    rows, columns = [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]
    cells = [(table[row][column], rows[row] * columns[column] / keys) for row in range(8) for column in range(8)]
    assert chi_square(cells) < quantile(49)


def chi_square(cells: list[tuple[int, float]]) -> float:
    """Of counts and what was to be expected of them."""
    return sum((count - expected) ** 2 / expected for count, expected in cells)


def quantile(degrees: int) -> float:
    ninth = 2 / (9 * degrees)
    return degrees * (1 - ninth + DEVIATIONS * math.sqrt(ninth)) ** 3
