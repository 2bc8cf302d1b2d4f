"""How high a later mean may be: by values that vary, that do not, and by few."""

import math

import numpy as np
import pytest

from stages.statistics.baseline import Moments, baseline_of, student, upper, upper_together

TIMES = np.arange(240) * 15.0
BLOCK_SECONDS = 180.0


def wandering(traces: int, minutes: float, looks: int, seed: int = 1) -> np.ndarray:
    """AR(1) of variance 1 that forgets in so many *minutes*; with 0, white noise."""
    rng = np.random.default_rng(seed)
    kept = math.exp(-0.25 / minutes) if minutes else 0.0
    noise = rng.normal(size=(traces, looks))
    values = np.empty((traces, looks))
    values[:, 0] = noise[:, 0]
    for index in range(1, looks):
        values[:, index] = kept * values[:, index - 1] + math.sqrt(1 - kept**2) * noise[:, index]
    return values


@pytest.mark.parametrize(("minutes", "most"), ((0.0, 0.005), (2.5, 0.02), (25.0, 0.06)))
def test_the_mean_of_the_next_hour_is_seldom_above_the_bound_if_nothing_changes(minutes: float, most: float) -> None:
    traces = 1000
    values = wandering(traces, minutes, 480)
    baseline = baseline_of(TIMES, values[:, :240], BLOCK_SECONDS)
    assert baseline is not None
    counts = np.arange(1, 241)
    means = np.cumsum(values[:, 240:], axis=1) / counts
    above = [means[:, index] > upper(baseline, counts[index]) for index in range(240)]
    assert np.any(above, axis=0).mean() <= most


def test_a_rise_is_above_the_bound() -> None:
    values = wandering(200, 2.5, 240)
    baseline = baseline_of(TIMES, values, BLOCK_SECONDS)
    assert baseline is not None
    assert (upper(baseline, 20) < 5.0).all()


def test_what_is_constant_may_not_rise_at_all() -> None:
    baseline = baseline_of(TIMES, np.full(240, 7.0), BLOCK_SECONDS)
    assert baseline is not None
    assert float(upper(baseline, 1)) == pytest.approx(7.0)


def test_what_varies_within_blocks_only_says_less_of_one_value_than_of_many() -> None:
    values = np.where(np.arange(240) % 2 == 0, 1.0, 3.0)
    baseline = baseline_of(TIMES, values, BLOCK_SECONDS)
    assert baseline is not None
    assert float(baseline.between) == pytest.approx(0.0)
    assert float(upper(baseline, 1)) > 3.0 > float(upper(baseline, 1000)) > 2.0


def test_blocks_of_gaps_are_not_there() -> None:
    times = np.array([0.0, 10.0, 1000.0, 1010.0, 5000.0])
    baseline = baseline_of(times, np.array([1.0, 2.0, 3.0, 4.0, 5.0]), 100.0)
    assert baseline is not None
    assert (baseline.blocks, baseline.values, float(baseline.mean)) == (3, 5, 3.0)


@pytest.mark.parametrize("count", (0, 1, 2))
def test_of_less_than_three_blocks_nothing_is_known(count: int) -> None:
    assert baseline_of(np.arange(count) * 1000.0, np.ones(count), 100.0) is None
    assert baseline_of(np.arange(10) * 1.0, np.ones(10), 100.0) is None


def test_few_blocks_bound_less_than_many() -> None:
    rng = np.random.default_rng(2)
    few = baseline_of(TIMES[:36], rng.normal(size=(50, 36)), BLOCK_SECONDS)
    many = baseline_of(TIMES, rng.normal(size=(50, 240)), BLOCK_SECONDS)
    assert few is not None
    assert many is not None
    assert upper(few, 10).mean() > 2 * upper(many, 10).mean()


def test_series_side_by_side_are_judged_each_for_itself() -> None:
    values = np.stack((np.full(240, 1.0), np.linspace(0, 1, 240)))
    together, alone = baseline_of(TIMES, values, BLOCK_SECONDS), baseline_of(TIMES, values[1], BLOCK_SECONDS)
    assert together is not None
    assert alone is not None
    assert upper(together, 5)[1] == pytest.approx(float(upper(alone, 5)))


def test_one_value_before_is_enough_if_those_after_show_how_they_vary() -> None:
    bound = upper_together(Moments.of([10.0]), Moments.of([10.0, 11.0, 9.0, 10.0]))
    assert bound is not None
    assert 12.0 < bound < 25.0


def test_of_too_few_values_on_both_sides_nothing_is_known() -> None:
    assert upper_together(Moments.of([10.0]), Moments.of([10.0, 11.0])) is None
    assert upper_together(Moments(0.0, 0.0, 0.0), Moments.of([1.0, 2.0, 3.0])) is None


def test_moments_of_parts_are_those_of_the_whole() -> None:
    values = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])
    joined, whole = Moments.of(values[:2]).joined(Moments.of(values[2:])), Moments.of(values)
    assert joined.count == whole.count
    assert joined.mean == pytest.approx(whole.mean)
    assert joined.squares == pytest.approx(whole.squares)


@pytest.mark.parametrize(
    ("freedom", "point"), ((1, 318.31), (9, 4.297), (19, 3.579), (20, 3.552), (30, 3.385), (120, 3.160))
)
def test_students_points_are_those_of_the_tables(freedom: int, point: float) -> None:
    assert student(freedom) == pytest.approx(point, rel=0.002)
