"""Means over windows hold what they promise, also where neighbouring values are alike."""

import random
from collections.abc import Callable

import pytest

from stages.statistics.window_mean import Mean, gain_between, mean_of

TIMES = [15.0 * number for number in range(240)]
DRAWS = 400


def independent(chance: random.Random) -> list[float]:
    return [chance.gauss(100.0, 20.0) for _ in TIMES]


def alike(chance: random.Random) -> list[float]:
    """Each value is four fifths of the one before."""
    values, last = [], chance.gauss(0.0, 20.0)
    for _ in TIMES:
        last = 0.8 * last + chance.gauss(0.0, 12.0)
        values.append(100.0 + last)
    return values


@pytest.mark.parametrize(("drawn", "least"), ((independent, 0.93), (alike, 0.88)))
def test_the_interval_has_the_true_mean_as_often_as_it_says(
    drawn: Callable[[random.Random], list[float]], least: float
) -> None:
    chance = random.Random(4)
    intervals = [mean_of(TIMES, drawn(chance)).interval for _ in range(DRAWS)]
    hits = sum(one is not None and one[0] <= 100.0 <= one[1] for one in intervals)
    assert hits / DRAWS >= least


def test_values_that_are_alike_are_not_taken_for_many() -> None:
    chance = random.Random(5)
    means = [mean_of(TIMES, alike(chance)).error for _ in range(50)]
    naive = 20.0 / len(TIMES) ** 0.5
    assert sum(means) / len(means) > 2 * naive


@pytest.mark.parametrize("lower", (True, False))
def test_the_interval_of_the_gain_has_the_true_gain_as_often_as_it_says(lower: bool) -> None:
    chance = random.Random(6)
    hits = 0
    for _ in range(DRAWS):
        before, after = mean_of(TIMES, independent(chance)), mean_of(TIMES, [0.8 * one for one in independent(chance)])
        found = gain_between(before, after, lower_is_better=lower)
        hits += found is not None and found[0] <= (0.2 if lower else -0.2) <= found[1]
    assert hits / DRAWS >= 0.93


def test_a_negative_level_that_rises_towards_nought_is_higher() -> None:
    before, after = Mean(-10.0, 0.1, 11.0), Mean(-5.0, 0.1, 11.0)
    found = gain_between(before, after, lower_is_better=False)
    assert found is not None
    assert 0.4 < found[0] < 0.5 < found[1] < 0.6


@pytest.mark.parametrize("before", (Mean(0.0, 1.0, 11.0), Mean(0.5, 1.0, 11.0), Mean(10.0)))
def test_a_share_of_what_may_be_nothing_or_is_not_known_has_no_interval(before: Mean) -> None:
    assert gain_between(before, Mean(5.0, 0.1, 11.0), lower_is_better=True) is None


def test_a_window_of_one_value_has_that_as_its_mean_and_no_interval() -> None:
    assert mean_of([3.0], [7.0]) == Mean(7.0)
    assert Mean(7.0).interval is None


def test_what_never_moves_is_known_exactly() -> None:
    assert mean_of(TIMES, [7.0] * len(TIMES)).interval == (7.0, 7.0)
