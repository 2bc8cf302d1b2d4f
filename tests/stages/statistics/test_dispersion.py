"""By how much bad events exceed independent ones, learned look by look."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stages.statistics.dispersion import FAR, HISTORY_PAIRS, Spread, of_history
from tests.stages.statistics.arms import Looks, drawn

TRACES = 200


def learned(looks: Looks) -> Spread:
    spread = Spread.begin((looks.shape[0],))
    for index in range(looks.shape[1]):
        bad, total = looks.bad[:, index], looks.total[:, index]
        rest = looks.bad_both[:, index] - bad, looks.total_both[:, index] - total
        spread = spread.learn(np.stack((bad, rest[0]), -1), np.stack((total, rest[1]), -1))
    return spread


def phi(looks: Looks) -> float:
    return float(np.median(learned(looks).phi))


def storm(traces: int, looks: int = 240, breeding: float = 0.7) -> Looks:
    """Each bad event breeds *breeding* others in the next look of the same arm."""
    random = np.random.default_rng(3)
    mean = np.array([1.5, 28.5])
    bad, last = np.zeros((traces, looks, 2)), np.broadcast_to(mean, (traces, 2))
    for index in range(looks):
        last = random.poisson((1 - breeding) * mean + breeding * last)
        bad[:, index] = last
    total = np.broadcast_to(np.array([150.0, 2850.0]), bad.shape)
    return Looks(bad[..., 0], total[..., 0], bad.sum(-1), total.sum(-1))


def test_independent_events_have_none() -> None:
    assert phi(drawn(np.random.default_rng(1), TRACES)) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("batch", (3, 10))
def test_events_that_come_so_many_at_a_time_have_as_much(batch: int) -> None:
    assert phi(drawn(np.random.default_rng(1), TRACES, batch=batch)) == pytest.approx(batch, rel=0.15)


def test_few_events_in_a_look_bias_nothing() -> None:
    assert phi(drawn(np.random.default_rng(1), TRACES, rate=10.0)) == pytest.approx(1.0, abs=0.05)
    assert phi(drawn(np.random.default_rng(1), TRACES, rate=30.0, batch=3)) == pytest.approx(3.0, rel=0.2)


@pytest.mark.parametrize("from_look", (0, 120))
def test_a_canary_that_is_worse_does_not_hide_itself(from_look: int) -> None:
    looks = drawn(np.random.default_rng(2), TRACES, factor=3.0, from_look=from_look)
    assert phi(looks) == pytest.approx(1.0, abs=0.1)


def test_a_level_that_swings_is_none() -> None:
    level = np.where(np.arange(240) // 20 % 2, 10.0, 1.0)
    assert phi(drawn(np.random.default_rng(2), TRACES, level=level)) == pytest.approx(1.0, abs=0.1)


def test_a_blip_is_no_dispersion_for_good() -> None:
    looks = drawn(np.random.default_rng(2), TRACES)
    blip = np.zeros(looks.bad.shape)
    blip[:, 100:102] = 75.0
    assert phi(looks.with_canary(blip)) < 1.5


def test_what_goes_on_for_several_looks_is_more_than_neighbours_show() -> None:
    learnt = learned(storm(TRACES))
    neighbours = replace(learnt, far_chi=np.zeros(TRACES), far_freedom=np.zeros(TRACES))
    assert np.median(neighbours.phi) < 1.2
    assert np.median(learnt.phi) > 8.0


def test_it_is_never_below_1() -> None:
    spread = Spread.begin()
    for _ in range(50):
        spread = spread.learn([5.0, 95.0], [500.0, 9500.0])  # more alike than chance would have it
    assert spread.phi == 1.0


def test_after_a_gap_what_comes_is_not_held_against_what_was() -> None:
    spread = Spread.begin().learn([5.0, 95.0], [500.0, 9500.0]).gap()
    assert spread.learn([95.0, 5.0], [500.0, 9500.0]).freedom == 0.0


@pytest.mark.parametrize("bad", ([0.0, 0.0], [1.0, 0.0], [3.0, 0.0]))
def test_looks_with_nothing_to_compare_teach_nothing(bad: list[float]) -> None:
    spread = Spread.begin()
    for _ in range(FAR + 3):
        spread = spread.learn(bad, [100.0, 1000.0])
    assert spread.freedom == 0.0
    assert spread.phi == 1.0


def test_history_by_band_tells_as_much_and_weighs_no_more_than_an_hour() -> None:
    random = np.random.default_rng(4)
    bad = random.poisson(np.array([1.0, 4, 8, 12]), (TRACES, 300, 4)) * 5.0
    spread = of_history(bad, np.full(bad.shape, 1e4))
    assert np.median(spread.phi) == pytest.approx(5.0, rel=0.15)
    assert (spread.freedom == HISTORY_PAIRS).all()


def test_without_history_nothing_is_known() -> None:
    spread = of_history(np.zeros((0, 8)), np.zeros((0, 8)))
    assert (float(spread.phi), float(spread.freedom)) == (1.0, 0.0)


def test_history_and_looks_count_by_their_pairs() -> None:
    before = of_history(*np.array([[[30.0, 3], [3, 30]] * 40, [[1e4, 1e4], [1e4, 1e4]] * 40]))
    learnt = learned(drawn(np.random.default_rng(5), 1))
    assert 1.0 < learnt.joined(before).phi[0] < before.phi
    assert Spread.begin((1,)).joined(before).phi[0] == pytest.approx(float(before.phi), rel=0.001)


@pytest.mark.parametrize("looks", (0, 1, 5, 20))
@pytest.mark.parametrize("shape", ((), (3,)))
def test_it_goes_on_alike_after_json(looks: int, shape: tuple[int, ...]) -> None:
    spread = Spread.begin(shape)
    for index in range(looks):
        spread = spread.learn(np.full((*shape, 2), 3.0 + index % 4), np.full((*shape, 2), 100.0))
    kept = Spread.from_json(json.loads(json.dumps(spread.to_json())), shape)
    kept, spread = (one.learn(np.full((*shape, 2), 9.0), np.full((*shape, 2), 100.0)) for one in (kept, spread))
    assert kept.to_json() == spread.to_json()


GOOD = Spread.begin().learn([1.0, 2.0], [10.0, 20.0]).to_json()


@pytest.mark.parametrize(
    "value",
    (
        None,
        {},
        {**GOOD, "chi": -1.0},
        {**GOOD, "chi": math.nan},
        {**GOOD, "freedom": [1.0]},
        {**GOOD, "far_chi": "x"},
        {**GOOD, "bad": [[1.0, 2.0, 3.0]]},
        {**GOOD, "bad": [[1.0, 2.0]] * (FAR + 1)},
        {**GOOD, "total": [1.0, [2.0]]},
        {**GOOD, "total": {"a": 1}},
    ),
)
def test_what_was_never_written_is_read_as_nothing(value: Any) -> None:
    assert Spread.from_json(value).to_json() == Spread.begin().to_json()
