"""How soon a gate sees what: against the tests themselves, on simulated traffic, and as a function of its inputs."""

import math
from dataclasses import replace

import numpy as np
import pytest

from stages.statistics import one_sample, onsets, two_arms
from stages.statistics.power import (
    Terms,
    Traffic,
    compare_seconds,
    compare_seen,
    ratio_seconds,
    ratio_seen,
)

TRACES = 200
WITHIN = 1.5
"""Predicted and simulated medians differ by this factor at most."""
AT_ONCE = Terms(alpha=0.01, warmup_seconds=0.0, scrape_seconds=0.0)
USUAL = Terms(alpha=0.01)
SHOP = Traffic(events_per_second=200.0, bad_per_second=2.0, canary_share=0.05)


def simulated_compare(traffic: Traffic, terms: Terms, factor: float) -> float:
    """The median time until the test fails a canary that is worse by *factor* from the first look on."""
    random = np.random.default_rng(20240611)
    test = two_arms.Test(1.05, terms.alpha, terms.cap_looks)
    state = two_arms.begin((TRACES,))
    failed = np.full(TRACES, math.inf)
    a_look = traffic.events_per_second * terms.every_seconds
    for index in range(240):
        canary = random.poisson(a_look * traffic.canary_share, TRACES)
        control = random.poisson(a_look * (1 - traffic.canary_share), TRACES)
        bad = random.binomial(canary, traffic.bad_share * factor)
        both = bad + random.binomial(control, traffic.bad_share)
        counts = two_arms.Counts(bad, canary, both, canary + control)
        state = two_arms.look(test, state, counts, index * terms.every_seconds)
        now = two_arms.log_evidence(test, state) >= test.log_bar
        failed = np.where(now & np.isinf(failed), (index + 1) * terms.every_seconds, failed)
    return float(np.median(failed))


def simulated_ratio(traffic: Traffic, share: float, at_most: float, terms: Terms) -> float:
    random = np.random.default_rng(20240612)
    test = one_sample.at_most(at_most, terms.alpha, terms.cap_looks)
    started = onsets.Started.begin(len(test.alternatives), (TRACES,))
    dispersion = one_sample.Dispersion.begin((TRACES,))
    failed = np.full(TRACES, math.inf)
    for index in range(240):
        total = random.poisson(traffic.events_per_second * terms.every_seconds, TRACES)
        bad = random.binomial(total, share)
        counts = one_sample.Counts(bad, total, dispersion.value(at_most))
        started = one_sample.look(test, started, counts, index * terms.every_seconds)
        dispersion = one_sample.with_look(dispersion, bad, total)
        now = onsets.log_evidence(started) >= test.log_bar
        failed = np.where(now & np.isinf(failed), (index + 1) * terms.every_seconds, failed)
    return float(np.median(failed))


# --- against the tests themselves -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("traffic", "terms", "factor"),
    (
        (SHOP, AT_ONCE, 1.5),
        (SHOP, AT_ONCE, 2.0),
        (SHOP, AT_ONCE, 3.0),
        (SHOP, AT_ONCE, 10.0),
        (SHOP, replace(AT_ONCE, alpha=0.01 / 6), 2.0),
        (SHOP, replace(AT_ONCE, for_seconds=300.0), 2.0),
        (SHOP, replace(AT_ONCE, every_seconds=30.0), 2.0),
        (replace(SHOP, canary_share=0.01), AT_ONCE, 3.0),
        (replace(SHOP, canary_share=0.5), AT_ONCE, 1.5),
        (Traffic(20.0, 0.2, 0.05), AT_ONCE, 3.0),
        (Traffic(2000.0, 20.0, 0.05), AT_ONCE, 1.3),
        (Traffic(200.0, 20.0, 0.05), AT_ONCE, 1.5),
    ),
)
def test_a_comparison_fails_about_when_it_was_said(traffic: Traffic, terms: Terms, factor: float) -> None:
    said = compare_seconds(traffic, terms, factor)
    assert 1 / WITHIN < said / simulated_compare(traffic, terms, factor) < WITHIN


@pytest.mark.parametrize(
    ("events_per_second", "at_most", "times", "for_seconds"),
    ((200.0, 0.01, 1.2, 60.0), (200.0, 0.01, 2.0, 60.0), (20.0, 0.01, 1.5, 60.0), (20.0, 0.01, 3.0, 60.0),
     (2.0, 0.01, 10.0, 60.0), (200.0, 0.01, 2.0, 300.0), (200.0, 0.001, 2.0, 60.0)),
)  # fmt: skip
def test_a_share_fails_about_when_it_was_said(
    events_per_second: float, at_most: float, times: float, for_seconds: float
) -> None:
    traffic, terms = Traffic(events_per_second, 0.0, 0.0), replace(AT_ONCE, for_seconds=for_seconds)
    said = ratio_seconds(traffic, at_most * times, at_most, terms)
    assert 1 / WITHIN < said / simulated_ratio(traffic, at_most * times, at_most, terms) < WITHIN


# --- as a function of its inputs --------------------------------------------------------------------------------------


def test_the_smallest_that_is_seen_takes_just_the_time_that_there_is() -> None:
    for within in (300.0, 600.0, 3600.0):
        factor = compare_seen(SHOP, USUAL, within)
        assert factor is not None
        assert compare_seconds(SHOP, USUAL, factor) == pytest.approx(within, rel=1e-6)
        share = ratio_seen(SHOP, 0.01, USUAL, within)
        assert share is not None
        assert ratio_seconds(SHOP, share, 0.01, USUAL) == pytest.approx(within, rel=1e-6)


def test_more_traffic_more_errors_a_larger_share_and_more_time_show_less() -> None:
    usual = compare_seen(SHOP, USUAL, 600.0)
    assert usual is not None
    for better in (
        compare_seen(Traffic(400.0, 4.0, 0.05), USUAL, 600.0),
        compare_seen(Traffic(200.0, 4.0, 0.05), USUAL, 600.0),
        compare_seen(replace(SHOP, canary_share=0.25), USUAL, 600.0),
        compare_seen(SHOP, USUAL, 1200.0),
        compare_seen(SHOP, replace(USUAL, warmup_seconds=0.0), 600.0),
    ):
        assert better is not None
        assert better < usual


def test_sharing_the_budget_more_tolerance_dispersion_and_a_longer_for_cost_something() -> None:
    usual = compare_seconds(SHOP, USUAL, 2.0)
    assert usual < compare_seconds(SHOP, replace(USUAL, alpha=0.01 / 10), 2.0) < 1.6 * usual
    assert usual < compare_seconds(SHOP, USUAL, 2.0, max_increase=0.3)
    assert usual < compare_seconds(replace(SHOP, dispersion=2.0), USUAL, 2.0)
    assert usual < compare_seconds(SHOP, replace(USUAL, for_seconds=600.0), 2.0)


def test_what_passes_beside_the_counting_is_added() -> None:
    usual = compare_seconds(SHOP, USUAL, 2.0)
    assert compare_seconds(SHOP, replace(USUAL, warmup_seconds=120.0), 2.0) == pytest.approx(usual + 60.0)
    assert compare_seconds(SHOP, replace(USUAL, scrape_seconds=60.0), 2.0) == pytest.approx(usual + 45.0)


def test_nothing_is_faster_than_for() -> None:
    huge = Traffic(1e6, 1e4, 0.5)
    assert compare_seconds(huge, AT_ONCE, 50.0) >= 60.0
    assert ratio_seconds(huge, 0.9, 0.01, AT_ONCE) >= 60.0
    uncapped = replace(AT_ONCE, for_seconds=0.0)
    assert compare_seconds(huge, uncapped, 50.0) == AT_ONCE.every_seconds * 1.5


@pytest.mark.parametrize(
    "traffic",
    (Traffic(200.0, 0.0, 0.05), Traffic(0.0, 0.0, 0.05), replace(SHOP, canary_share=0.0), Traffic(1.0, 1.0, 1.0)),
)
def test_without_bad_events_or_without_an_arm_nothing_is_ever_seen(traffic: Traffic) -> None:
    assert compare_seconds(traffic, USUAL, 2.0) == math.inf
    assert compare_seen(traffic, USUAL, 1e9) is None


def test_what_is_tolerated_is_never_seen() -> None:
    assert compare_seconds(SHOP, USUAL, 1.05) == math.inf
    assert compare_seconds(SHOP, USUAL, 1.3, max_increase=0.5) == math.inf
    assert ratio_seconds(SHOP, 0.01, 0.01, USUAL) == math.inf
    assert ratio_seconds(Traffic(0.0, 0.0, 0.0), 0.5, 0.01, USUAL) == math.inf


def test_a_share_cannot_grow_beyond_all_events() -> None:
    assert compare_seconds(Traffic(200.0, 100.0, 0.05), USUAL, 2.5) == math.inf
    assert ratio_seen(Traffic(0.001, 0.0, 0.0), 0.01, USUAL, 600.0) is None


def test_a_bake_that_is_over_before_anything_was_counted_sees_nothing() -> None:
    assert compare_seen(SHOP, USUAL, 120.0) is None
    assert ratio_seen(SHOP, 0.01, USUAL, 120.0) is None
