"""The sequential test of two arms: what it claims, by simulation, and what it does at the edges."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stages.statistics import two_arms
from stages.statistics.onsets import stepped
from stages.statistics.two_arms import (
    ENOUGH,
    Counts,
    against_worse_by_half,
    begin,
    cap_looks,
    from_json,
    log_evidence,
    look,
    speaks,
)
from tests.stages.statistics.arms import AGAINST, ALPHA, HOUR_LOOKS, Numbers, drawn, minutes, path

EXCLUDING = against_worse_by_half(AGAINST.cap_looks)
TRACES = 600


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def failed(evidence: Numbers) -> float:
    """The share of traces that ever fail."""
    return float((evidence >= AGAINST.log_bar).any(1).mean())


def level(shape: str) -> Numbers | float:
    at = np.arange(HOUR_LOOKS)
    begins = random(7).integers(0, HOUR_LOOKS - 40, (TRACES, 1))
    match shape:
        case "daily":
            return np.asarray(1 + 0.8 * np.sin(2 * math.pi * (at + 3 * begins) / HOUR_LOOKS))
        case "incident":
            return np.where((at >= begins) & (at < begins + 40), 30.0, 1.0)
        case "already bad":
            return 20.0
        case _:
            return 1.0


# --- how often a healthy release fails --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ("steady", "daily", "incident", "already bad"))
def test_a_release_that_is_as_bad_as_tolerated_seldom_ever_fails_under_continuous_looking(shape: str) -> None:
    looks = drawn(random(1), TRACES, factor=1.05, level=level(shape))
    assert failed(path(AGAINST, looks)) <= ALPHA


@pytest.mark.parametrize("batch", (3, 10))
def test_errors_that_come_in_bunches_fail_no_healthy_release(batch: int) -> None:
    assert failed(path(AGAINST, drawn(random(2), TRACES, batch=batch))) <= ALPHA


def test_without_the_dispersion_bunches_would_fail_it() -> None:
    assert failed(path(AGAINST, drawn(random(2), TRACES, batch=10), learns=False)) >= 3 * ALPHA


def test_low_traffic_fails_no_healthy_release() -> None:
    assert failed(path(AGAINST, drawn(random(3), TRACES, rate=2.0, factor=1.05))) <= ALPHA


def test_a_blip_of_30_seconds_fails_no_healthy_release() -> None:
    looks, generator = drawn(random(4), TRACES), random(5)
    blip = np.zeros(looks.bad.shape)
    begin = generator.integers(8, HOUR_LOOKS - 8, TRACES)
    for offset in (0, 1):
        blip[np.arange(TRACES), begin + offset] = 75.0
    assert failed(path(AGAINST, looks.with_canary(blip))) <= ALPHA


def test_only_a_cap_on_looks_keeps_a_blip_from_failing_it() -> None:
    looks = drawn(random(4), 50)
    blip = np.zeros(looks.bad.shape)
    blip[:, 100:102] = 75.0
    assert failed(path(replace(AGAINST, cap_looks=0.0), looks.with_canary(blip))) == 1.0


def test_the_same_bunches_are_found_when_the_canary_is_worse() -> None:
    assert failed(path(AGAINST, drawn(random(2), 200, batch=3, factor=3.0))) == 1.0


# --- how soon one that is worse is found ------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "at_most"), ((1.5, 13.5), (2.0, 4.5), (3.0, 2.5), (10.0, 1.5)))
def test_a_release_that_is_worse_fails_soon(factor: float, at_most: float) -> None:
    evidence = path(AGAINST, drawn(random(6), TRACES, factor=factor))
    took = minutes(evidence >= AGAINST.log_bar)
    assert np.median(took) <= at_most
    assert np.isfinite(took).mean() > 0.99


def test_what_becomes_worse_late_is_found_as_well() -> None:
    evidence = path(AGAINST, drawn(random(8), TRACES, factor=2.0, from_look=160))
    assert np.median(minutes(evidence >= AGAINST.log_bar)) - 40 <= 7.0


def test_what_becomes_worse_with_a_step_is_found_sooner_than_what_does_so_in_between() -> None:
    test, counts = AGAINST, Counts(np.array(3.0), np.array(150.0), np.array(32.0), np.array(3000.0))
    healthy = replace(counts, bad=np.array(1.5), bad_both=np.array(30.0))
    state = begin()
    for index in range(160):
        state = look(test, state, healthy, index * 15.0)
    told, untold = stepped(state), state
    for index in range(30):
        told, untold = look(test, told, counts, index * 15.0), look(test, untold, counts, (160 + index) * 15.0)
    assert log_evidence(test, told) > log_evidence(test, untold) + 1


def test_worse_by_half_is_excluded_soon_for_a_healthy_release_and_seldom_wrongly() -> None:
    bar = math.log(ENOUGH)
    healthy = minutes(path(EXCLUDING, drawn(random(9), TRACES)) >= bar)
    worse = minutes(path(EXCLUDING, drawn(random(9), TRACES, factor=1.5)) >= bar)
    assert np.median(healthy) <= 7.5
    assert np.isfinite(worse).mean() <= 0.05


def test_a_known_share_of_the_keys_stands_in_place_of_that_of_the_requests() -> None:
    looks = drawn(random(10), 200, factor=2.0)
    assert failed(path(AGAINST, looks, odds=np.full(200, 2.0))) <= ALPHA


# --- looks that say nothing -------------------------------------------------------------------------------------------

SILENT = {
    "no bad events": Counts(0, 100, 0, 1000),
    "no canary": Counts(0, 0, 10, 1000),
    "no control": Counts(10, 1000, 10, 1000),
    "nothing at all": Counts(0, 0, 0, 0),
    "an incident in both arms": Counts(60, 100, 700, 1000),
}


@pytest.mark.parametrize("counts", SILENT.values(), ids=SILENT.keys())
def test_a_look_that_cannot_speak_leaves_the_evidence_as_it_is(counts: Counts) -> None:
    before = look(AGAINST, begin(), Counts(9, 100, 30, 1000), 0.0)
    after = look(AGAINST, before, counts, 3600.0)
    assert not speaks(counts)
    assert (after.logs == before.logs).all()
    assert log_evidence(AGAINST, after) == log_evidence(AGAINST, before)


def test_a_canary_that_fails_alone_is_no_incident() -> None:
    assert speaks(Counts(95, 100, 104, 1000))


def test_nothing_counted_is_no_evidence_either_way() -> None:
    assert log_evidence(AGAINST, begin()) == 0.0


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "counts",
    (
        Counts(1, 1, 1, 1e9),
        Counts(1e9 - 1, 1e9, 1e9 - 1, 1e9 + 1),
        Counts(0, 1, 1, 2),
        Counts(300_000 * 0.4, 300_000, 6_000_000 * 0.4, 6_000_000),
        Counts(149_999, 150_000, 150_000, 3_000_000),
        Counts(0.4, 10.3, 1.7, 200.2),
        Counts(3, 150, 30, 3000, 1e6),
        Counts(3, 150, 30, 3000, 1.0, 1e-300),
        Counts(3, 150, 30, 3000, 1.0, 1e300),
    ),
)
@pytest.mark.parametrize("test", (AGAINST, EXCLUDING, replace(AGAINST, cap_looks=0.0)))
def test_no_counts_lead_out_of_the_numbers(test: two_arms.Test, counts: Counts) -> None:
    state = begin()
    for index in range(2000):
        state = look(test, state, counts, index * 15.0)
        assert np.isfinite(state.logs).all()
    assert np.isfinite(log_evidence(test, state))
    assert from_json(json.loads(json.dumps(state.to_json()))).to_json() == state.to_json()


def test_at_least_so_many_looks_must_speak_against_it_as_for_lasts() -> None:
    state, counts = begin(), Counts(140, 150, 160, 3000)
    for index in range(4):
        state = look(AGAINST, state, counts, index * 15.0)
        assert log_evidence(AGAINST, state) < AGAINST.log_bar
    assert cap_looks(60.0, 15.0) == 4.5
    assert cap_looks(0.0, 15.0) == 0.0


def test_many_are_judged_as_each_alone() -> None:
    looks = drawn(random(11), 5, factor=2.0, looks=60)
    together = path(AGAINST, looks, learns=False)
    for trace in range(5):
        state = begin()
        for index in range(60):
            counts = (looks.bad, looks.total, looks.bad_both, looks.total_both)
            state = look(AGAINST, state, Counts(*(value[trace, index] for value in counts)), index * 15.0)
        assert log_evidence(AGAINST, state) == pytest.approx(together[trace, -1], abs=1e-12)


def test_a_state_that_went_through_json_goes_on_alike() -> None:
    state = kept = begin()
    for index in range(100):
        counts = Counts(index % 5, 150, 30, 3000, 1.3)
        state, kept = look(AGAINST, state, counts, index * 15.0), look(AGAINST, kept, counts, index * 15.0)
        kept = from_json(json.loads(json.dumps(kept.to_json())))
        assert log_evidence(AGAINST, kept) == log_evidence(AGAINST, state)


GOOD = look(AGAINST, begin(), Counts(3, 150, 30, 3000), 0.0).to_json()


@pytest.mark.parametrize(
    "value",
    (
        None,
        [],
        {},
        {**GOOD, "logs": "x"},
        {**GOOD, "logs": [[0.0] * 5]},
        {**GOOD, "logs": [[math.nan] * 5] * 2},
        {**GOOD, "logs": [[1e9] * 5] * 2},
        {**GOOD, "onsets": -1},
        {**GOOD, "onsets": 10**30},
        {**GOOD, "onsets": None},
        {**GOOD, "waiting": 1.5},
        {**GOOD, "waiting": [0.5]},
        {**GOOD, "waiting": {"a": 1}},
    ),
)
def test_what_was_never_written_is_read_as_nothing(value: Any) -> None:
    assert log_evidence(AGAINST, from_json(value)) == 0.0
