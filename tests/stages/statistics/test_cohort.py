"""What share of the bad events the canary's keys had, and could have."""

import math

import numpy as np
import pytest

from stages.statistics import cohort
from stages.statistics.cohort import Bands, Hours, Outlook

TRACES = 400
HOURS = 24
BAD, TOTAL, SHARE = 7200.0, 720_000.0, 0.05
CHANCE = 0.005


def hours(y: np.ndarray, seed: int = 1) -> Hours:
    """An hour each of *y*, of shape (traces, hours), as it would be counted."""
    random = np.random.default_rng(seed)
    odds = SHARE / (1 - SHARE) * np.exp(y)
    bad = random.binomial(int(BAD), odds / (1 + odds))
    total = random.binomial(int(TOTAL), SHARE, y.shape)
    return Hours(bad, total, np.full(y.shape, BAD), np.full(y.shape, TOTAL))


def level(walk: float, noise: float, first: float = 0.0, number: int = HOURS + 1) -> np.ndarray:
    random = np.random.default_rng(2)
    steps = random.normal(0, walk, (TRACES, number)) if walk else np.zeros((TRACES, number))
    own = random.normal(0, noise, (TRACES, number)) if noise else np.zeros((TRACES, number))
    return np.asarray(first + np.cumsum(steps, 1) + own)


def upper(outlook: Outlook, chance: float = CHANCE, ahead: float = 1.0) -> np.ndarray:
    return np.asarray(outlook.bounds(chance, ahead)[1])


@pytest.mark.parametrize(("walk", "noise"), ((0.0, 0.0), (0.1, 0.0), (0.0, 0.2), (0.2, 0.1), (0.4, 0.4)))
def test_the_next_hour_is_seldom_above_the_bound(walk: float, noise: float) -> None:
    y = level(walk, noise)
    bound = upper(cohort.shares_of_bad(hours(y[:, :HOURS])))
    assert (y[:, HOURS] > bound).mean() <= 3 * CHANCE


def test_errors_that_do_not_cluster_cost_little() -> None:
    bound = upper(cohort.shares_of_bad(hours(np.zeros((TRACES, HOURS)))))
    assert np.median(np.exp(bound)) < 1.1


@pytest.mark.parametrize("lasting", (-1.0, 0.5, 1.5))
def test_a_share_that_lasts_is_known(lasting: float) -> None:
    lower, above = cohort.shares_of_bad(hours(np.full((TRACES, HOURS), lasting))).bounds(CHANCE, 1.0)
    assert np.median(above) == pytest.approx(lasting, abs=0.15)
    assert (lower < lasting).mean() > 0.98
    assert (lasting < above).mean() > 0.98


def test_a_share_that_comes_and_goes_is_not() -> None:
    wild, calm = (cohort.shares_of_bad(hours(level(0.0, noise)[:, :HOURS])) for noise in (0.5, 0.0))
    assert np.median(upper(wild)) > np.median(upper(calm)) + 0.7


def test_what_wanders_is_known_the_less_the_farther_ahead() -> None:
    outlook = cohort.shares_of_bad(hours(level(0.2, 0.0)[:, :HOURS]))
    near, far = (np.median(upper(outlook, ahead=ahead)) for ahead in (1.0, 48.0))
    assert far > near + 0.5


def test_many_hours_ahead_are_asked_for_at_once() -> None:
    outlook = cohort.shares_of_bad(hours(np.zeros((1, HOURS))))
    one = Outlook(
        *(getattr(outlook, name)[0] for name in ("weights", "means", "variances", "hourly", "usable", "noise"))
    )
    _, both = one.bounds(CHANCE, (1.0, 8.0))
    assert both == pytest.approx([upper(outlook, ahead=ahead)[0] for ahead in (1.0, 8.0)])


def test_hours_without_bad_events_say_nothing() -> None:
    told = hours(np.zeros((1, HOURS)))
    gone = np.arange(HOURS) % 2 == 0
    kept = Hours(*(np.where(gone, 0.0, value) for value in (told.bad, told.total, told.bad_all, told.total_all)))
    half = Hours(*(np.asarray(value)[:, ~gone] for value in (told.bad, told.total, told.bad_all, told.total_all)))
    assert cohort.shares_of_bad(kept).usable.all()
    assert upper(cohort.shares_of_bad(half))[0] == pytest.approx(upper(cohort.shares_of_bad(kept))[0], abs=0.05)


@pytest.mark.parametrize("number", (0, 1))
def test_an_hour_is_too_little_to_say_anything(number: int) -> None:
    assert not cohort.shares_of_bad(hours(np.zeros((2, number)))).usable.any()


def test_bunches_make_what_was_counted_less_sure() -> None:
    told = hours(np.zeros((TRACES, 4)))
    bunched, alone = (np.median(upper(cohort.shares_of_bad(told, phi))) for phi in (10.0, 1.0))
    assert bunched > alone + 0.05


# --- without such hours -----------------------------------------------------------------------------------------------

WIDTHS = np.array([5.0, 15.0, 25.0, 50.0])


def groups(spread: float, events: float, seed: int = 3) -> Bands:
    """Bands of keys of which groups of 5 % differ by *spread*."""
    random = np.random.default_rng(seed)
    factor = np.exp(random.normal(0, 1, (TRACES, 4)) * spread * np.sqrt(5 / WIDTHS))
    bad = random.poisson(events * WIDTHS / 100 * factor)
    return Bands(bad, np.broadcast_to(1e6 * WIDTHS / 100, bad.shape), WIDTHS)


def bound_from(bands: Bands) -> float:
    outlook = cohort.like_other_groups(cohort.spread_of_groups(bands), 5.0, 95.0)
    return float(np.median(upper(outlook)))


def test_before_anything_is_counted_groups_may_well_differ() -> None:
    assert 0.2 < bound_from(groups(0.0, 0.0)) < 1.0


def test_groups_that_do_not_differ_narrow_the_bound() -> None:
    assert bound_from(groups(0.0, 10_000.0)) < bound_from(groups(0.0, 100.0)) < bound_from(groups(0.0, 0.0))


def test_groups_that_differ_widen_it() -> None:
    assert bound_from(groups(0.6, 10_000.0)) > 3 * bound_from(groups(0.0, 10_000.0))


def test_half_a_cohort_is_half_as_sure() -> None:
    known = cohort.shares_of_bad(hours(np.full((TRACES, HOURS), 0.4)))
    spreads = cohort.spread_of_groups(groups(0.2, 10_000.0))
    whole, half = cohort.partly(known, 1.0, spreads, 10.0), cohort.partly(known, 0.5, spreads, 10.0)
    assert whole is known
    (low, high), (lower, higher) = known.bounds(CHANCE, 1.0), half.bounds(CHANCE, 1.0)
    assert np.median(higher - lower) > np.median(high - low)
    assert np.median((higher + lower) / 2) == pytest.approx(0.2, abs=0.05)


def test_quantiles_of_one_normal_are_its_own() -> None:
    one = np.array([1.0])
    outlook = Outlook(one, one * 0.3, one * 4.0, one * 0.0, np.array(True), np.array(0.0))
    lower, above = outlook.bounds(0.025, 0.0)
    assert above == pytest.approx(0.3 + 1.959964 * 2, abs=1e-3)
    assert lower == pytest.approx(0.3 - 1.959964 * 2, abs=1e-3)
    assert math.isclose(above + lower, 0.6, abs_tol=1e-6)
