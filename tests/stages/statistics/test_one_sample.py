"""The test of a share against a bound: what it decides, how often wrongly, and how it counts dispersion and onsets."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.statistics import one_sample
from stages.statistics.one_sample import BETTER, WORSE, Counts, Dispersion, at_least, at_most, multiplied, with_look
from stages.statistics.onsets import Numbers, Started, carried_on, log_evidence, stepped

EVERY_SECONDS = 15.0
BOUND = 0.01
ALPHA = 0.01
DAY = 5760

Draw = Callable[[int], tuple[Numbers, Numbers]]


def first_decided(test: one_sample.Test, draw: Draw, looks: int, traces: int) -> Numbers:
    """After how many looks each trace is decided; infinite where it never is."""
    started, dispersion = Started.begin(len(test.alternatives), (traces,)), Dispersion.begin((traces,))
    decided = np.full(traces, np.inf)
    for index in range(looks):
        bad, total = draw(index)
        counts = Counts(bad, total, dispersion.value(test.bound))
        started = one_sample.look(test, started, counts, index * EVERY_SECONDS)
        dispersion = with_look(dispersion, bad, total)
        now = (log_evidence(started) >= test.log_bar) & np.isinf(decided)
        decided = np.where(now, index + 1.0, decided)
    return decided


def independent(events: int, share: float, traces: int, seed: int = 1) -> Draw:
    rng = np.random.default_rng(seed)
    return lambda _: (rng.binomial(events, share, traces).astype(float), np.full(traces, float(events)))


def in_bursts(events: int, share: float, size: int, traces: int, seed: int = 1) -> Draw:
    rng = np.random.default_rng(seed)

    def draw(_: int) -> tuple[Numbers, Numbers]:
        bad = size * rng.poisson(events * share / size, traces)
        return np.minimum(bad, events).astype(float), np.full(traces, float(events))

    return draw


# --- false alarms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("events", (30, 3000))
def test_a_service_exactly_at_its_bound_is_failed_in_at_most_alpha_of_days(events: int) -> None:
    traces = 600
    failed = np.isfinite(
        first_decided(at_most(BOUND, ALPHA, 4.5), independent(events, BOUND, traces), DAY, traces)
    ).sum()
    assert failed <= 13  # 6 are expected at most; more than 13 have a chance of 1 in 250


@pytest.mark.parametrize("size", (3, 10, 30))
def test_bursts_at_the_bound_do_not_fail_a_service_more_often(size: int) -> None:
    traces = 600
    failed = np.isfinite(
        first_decided(at_most(BOUND, ALPHA, 4.5), in_bursts(3000, BOUND, size, traces), DAY // 2, traces)
    ).sum()
    assert failed <= 13


def test_without_a_cap_bursts_that_nobody_has_seen_before_do() -> None:
    """Why a criterion waits a minute unless it is told otherwise."""
    traces = 300
    draw = in_bursts(3000, BOUND, 30, traces)
    assert np.isfinite(first_decided(at_most(BOUND, ALPHA, 0.0), draw, 240, traces)).sum() > 15


@pytest.mark.parametrize("level", (0.2, 1.0))
def test_a_blip_of_30_seconds_fails_no_service_whose_level_is_below_the_bound(level: float) -> None:
    traces = 200
    rng = np.random.default_rng(2)
    begins = 600 + np.linspace(0, EVERY_SECONDS, traces, endpoint=False)

    def draw(index: int) -> tuple[Numbers, Numbers]:
        from_, to = index * EVERY_SECONDS, (index + 1) * EVERY_SECONDS
        part = np.clip(np.minimum(begins + 30, to) - np.maximum(begins, from_), 0, None) / EVERY_SECONDS
        share = 0.5 * BOUND * (1 - part) + level * part
        return rng.binomial(3000, share).astype(float), np.full(traces, 3000.0)

    assert not np.isfinite(first_decided(at_most(BOUND, ALPHA, 4.5), draw, 240, traces)).any()


def test_what_is_not_better_is_called_so_in_at_most_one_of_twenty() -> None:
    traces, excluded = 400, multiplied(BOUND, 1.5)
    test = at_least(excluded, 1 / 20, 4.5)
    wrong = np.isfinite(first_decided(test, independent(300, 1.5 * BOUND, traces), 960, traces)).sum()
    right = np.isfinite(first_decided(test, independent(300, BOUND, traces), 240, traces)).sum()
    assert wrong <= 32  # 20 are expected at most
    assert right == traces


# --- how soon ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "times", "looks"), ((3000, 2.0, 6), (3000, 1.25, 24), (150, 2.0, 24), (150, 3.0, 12), (15, 10.0, 12))
)
def test_a_share_above_the_bound_is_seen_soon(events: int, times: float, looks: int) -> None:
    traces = 200
    decided = first_decided(at_most(BOUND, ALPHA, 4.5), independent(events, times * BOUND, traces), 200, traces)
    assert np.median(decided) <= looks


def test_a_rise_after_hours_is_seen_nearly_as_soon() -> None:
    traces, begins = 200, 400
    rng = np.random.default_rng(3)

    def draw(index: int) -> tuple[Numbers, Numbers]:
        share = 0.5 * BOUND if index < begins else 2 * BOUND
        return rng.binomial(3000, share, traces).astype(float), np.full(traces, 3000.0)

    decided = first_decided(at_most(BOUND, ALPHA, 4.5), draw, begins + 60, traces)
    assert (decided > begins).all()
    assert np.median(decided) - begins <= 18


def test_a_cap_makes_at_least_so_many_looks_necessary() -> None:
    for looks in (1, 2, 5, 10):
        decided = first_decided(at_most(BOUND, ALPHA, looks), lambda _: (np.full(1, 1e6), np.full(1, 1e6)), 20, 1)
        assert looks <= decided[0] <= looks + 1


# --- one look ---------------------------------------------------------------------------------------------------------


def evidence_of(*looks: tuple[float, float], test: one_sample.Test | None = None) -> float:
    test = test or at_most(BOUND, ALPHA, 0.0)
    started = Started.begin(len(test.alternatives))
    for index, (bad, total) in enumerate(looks):
        started = one_sample.look(test, started, Counts(bad, total), index * EVERY_SECONDS)
    return float(log_evidence(started))


def test_before_any_look_the_evidence_is_one() -> None:
    assert evidence_of() == 0.0


def test_one_bad_event_of_three_is_hardly_evidence() -> None:
    assert 0 < evidence_of((1, 3)) < math.log(20)


def test_looks_without_events_change_nothing() -> None:
    assert evidence_of((5, 100), (0, 0), (0, 0)) == evidence_of((5, 100))


def test_the_mean_of_a_factor_is_at_most_one_at_the_bound_and_below() -> None:
    """By its exact expectation, over all that may be counted."""
    events = 40
    for share in (BOUND, 0.5 * BOUND, 0.0):
        test = at_most(BOUND, ALPHA, 0.0)
        expected = 0.0
        for bad in range(events + 1):
            chance = math.comb(events, bad) * share**bad * (1 - share) ** (events - bad)
            started = one_sample.look(
                test, Started.begin(len(WORSE)), Counts(float(bad), float(events), np.array(1.0)), 0.0
            )
            expected += chance * math.exp(float(log_evidence(started)))
        assert expected <= 1 + 1e-12


def test_dispersion_tempers_the_likelihood_and_the_stake() -> None:
    test = at_most(BOUND, ALPHA, 0.0)
    plain, tempered = (
        one_sample.look(test, Started.begin(len(WORSE)), Counts(4.0, 300.0, phi), 0.0).logs + math.log(2)
        for phi in (1.0, 4.0)
    )
    assert tempered[0] == pytest.approx(plain[0] / 4)
    assert (tempered[1] > 0).all()
    assert (tempered[1] < plain[1]).all()


def test_many_traces_at_once_are_the_same_as_one_by_one() -> None:
    rng = np.random.default_rng(4)
    bad, total = rng.integers(0, 5, (6, 3)).astype(float), rng.integers(5, 90, (6, 3)).astype(float)
    test = at_most(BOUND, ALPHA, 3.0)
    together = Started.begin(len(WORSE), (3,))
    for index in range(6):
        together = one_sample.look(test, together, Counts(bad[index], total[index], 1.5), index * 150.0)
    for trace in range(3):
        alone = Started.begin(len(WORSE))
        for index in range(6):
            counts = Counts(bad[index, trace], total[index, trace], 1.5)
            alone = one_sample.look(test, alone, counts, index * 150.0)
        assert float(log_evidence(alone)) == pytest.approx(float(log_evidence(together)[trace]))


@pytest.mark.parametrize("bound", (1e-6, 0.01, 0.3, 0.5, 0.9, 0.999))
def test_alternatives_stay_shares_and_on_their_side(bound: float) -> None:
    worse, better = at_most(bound, ALPHA, 0.0).alternatives, at_least(bound, ALPHA, 0.0).alternatives
    assert all(bound < one < 1 for one in worse)
    assert list(worse) == sorted(worse)
    assert all(0 < one < bound for one in better)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10_000)), max_size=20), st.sampled_from((1e-4, 0.01, 0.7)))
def test_the_evidence_is_always_a_number(looks: list[tuple[int, int]], bound: float) -> None:
    counts = [(float(min(bad, total)), float(total)) for bad, total in looks]
    assert math.isfinite(evidence_of(*counts, test=at_most(bound, ALPHA, 0.0)))
    assert math.isfinite(evidence_of(*counts, test=at_least(bound, ALPHA, 2.0)))


# --- onsets -----------------------------------------------------------------------------------------------------------


def test_the_weights_of_all_onsets_add_up_to_one() -> None:
    """A factor of 1 in each look: whatever has started, the evidence stays 1."""
    started = Started.begin(2)
    for index in range(2000):
        if index in (300, 301, 900):
            started = stepped(started)
        started = carried_on(started, np.zeros((2, 2)), True, float(index * 60), 120.0)
        assert float(log_evidence(started)) == pytest.approx(0.0, abs=1e-9)
    assert 0 < float(started.waiting) < 0.01


def test_half_of_what_waits_starts_with_a_step() -> None:
    started = carried_on(Started.begin(1), np.zeros((2, 1)), True, 0.0, 120.0)
    assert float(started.waiting) == 0.5
    started = carried_on(stepped(started), np.zeros((2, 1)), True, 0.0, 120.0)
    assert float(started.waiting) == 0.25


def test_what_does_not_speak_starts_nothing() -> None:
    started = carried_on(Started.begin(1), np.full((2, 1), 3.0), False, 1e6, 120.0)
    assert started.to_json() is None
    assert float(log_evidence(started)) == 0.0


def test_evidence_is_the_same_after_a_way_through_json() -> None:
    test = at_most(BOUND, ALPHA, 4.0)
    started, dispersion = Started.begin(len(WORSE)), Dispersion.begin()
    for index in range(30):
        bad = float(index % 4)
        started = one_sample.look(test, started, Counts(bad, 100.0, dispersion.value(BOUND)), index * 15.0)
        dispersion = with_look(dispersion, bad, 100.0)
        text = json.dumps([started.to_json(), dispersion.to_json()])
        again = Started.from_json(json.loads(text)[0], len(WORSE))
        assert float(log_evidence(again)) == float(log_evidence(started))
        assert float(Dispersion.from_json(json.loads(text)[1]).value(BOUND)) == float(dispersion.value(BOUND))
        started = again


@pytest.mark.parametrize(
    "value",
    (
        None,
        [],
        "x",
        {"logs": [[0.0]], "onsets": 1, "waiting": 0.5},
        {"logs": [[0.0] * 4] * 2, "onsets": -1, "waiting": 0.5},
        {"logs": [[math.nan] * 4] * 2, "onsets": 1, "waiting": 0.5},
        {"logs": [[0.0] * 4] * 2, "onsets": 1, "waiting": 7.0},
        {"logs": [[0.0] * 4] * 2, "onsets": 1},
        {"logs": [["x"] * 4] * 2, "onsets": 1, "waiting": 0.5},
    ),
)
def test_what_was_never_written_begins_anew(value: Any) -> None:
    assert float(log_evidence(Started.from_json(value, len(WORSE)))) == 0.0
    assert Started.from_json(value, len(WORSE)).to_json() is None


# --- dispersion -------------------------------------------------------------------------------------------------------


def dispersion_of(draw: Draw, looks: int = 400, traces: int = 50) -> Numbers:
    dispersion = Dispersion.begin((traces,))
    for index in range(looks):
        dispersion = with_look(dispersion, *draw(index))
    return dispersion.value(BOUND)


@pytest.mark.parametrize("size", (1, 3, 10, 30))
def test_dispersion_is_the_size_of_bursts(size: int) -> None:
    found = dispersion_of(in_bursts(3000, BOUND, size, 50))
    assert found.mean() == pytest.approx(size, rel=0.1, abs=0.1)


def test_a_level_that_rises_for_good_counts_once() -> None:
    rng = np.random.default_rng(5)

    def draw(index: int) -> tuple[Numbers, Numbers]:
        share = BOUND / 2 if index < 200 else 2 * BOUND
        return rng.binomial(3000, share, 50).astype(float), np.full(50, 3000.0)

    assert dispersion_of(draw).mean() < 2.0


def test_dispersion_is_at_least_one_and_usual_at_first() -> None:
    assert float(Dispersion.begin().value(BOUND)) == one_sample.USUAL_DISPERSION
    even = Dispersion.begin()
    for _ in range(200):
        even = with_look(even, 30.0, 3000.0)
    assert float(even.value(BOUND)) == 1.0


@pytest.mark.parametrize("value", (None, [], [1.0], [5.0, 1.0, 0.0, 0.0], [0, 1, -1, 0], [0, 1, math.inf, 0], "abcd"))
def test_a_dispersion_that_was_never_written_begins_anew(value: Any) -> None:
    assert float(Dispersion.from_json(value).value(BOUND)) == one_sample.USUAL_DISPERSION


def test_alternatives_of_both_sides_are_told_apart_by_name() -> None:
    assert at_most(0.1, ALPHA, 0.0).alternatives == tuple(multiplied(0.1, times) for times in WORSE)
    assert at_least(0.1, ALPHA, 0.0).alternatives == tuple(multiplied(0.1, times) for times in BETTER)
