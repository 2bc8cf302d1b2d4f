"""What the hour before a step tells of a control's processes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.criteria.base import Past, Setting
from stages.criteria.before import (
    BAD,
    MINUTES_BAD,
    MINUTES_TOTAL,
    TOTAL,
    is_known,
    process_histories,
    process_summary,
    spread_before,
    widened_by,
)

STEP = 1_700_000_000.0
SETTING = Setting(since=STEP, before=STEP)
PODS = 20
Numbers = NDArray[np.float64]


def past_of(bad: Numbers, total: float) -> list[Past]:
    """*bad*: (minutes, pods); every pod has *total* events a minute."""
    pods = [(f"shop-{index}", "") for index in range(bad.shape[1])]
    past = [Past(BAD, pod, STEP, float(one)) for pod, one in zip(pods, bad.sum(0), strict=True)]
    past += [Past(TOTAL, pod, STEP, total * len(bad)) for pod in pods]
    for index, row in enumerate(bad):
        at = STEP - 60.0 * (len(bad) - 1 - index)
        past += [Past(MINUTES_BAD, pod, at, float(one)) for pod, one in zip(pods, row, strict=True)]
        past += [Past(MINUTES_TOTAL, pod, at, total) for pod in pods]
    return past


def independent(seed: int = 1) -> Numbers:
    return np.random.default_rng(seed).poisson(5.0, (60, PODS)).astype(np.float64)


def storms(seed: int = 1) -> Numbers:
    """Each error breeds 0.7 more in the next quarter of a minute of the same pod."""
    rng = np.random.default_rng(seed)
    ticks = np.zeros((1 + 60 * 4, PODS))
    for index in range(1, len(ticks)):
        ticks[index] = rng.poisson(0.4, PODS) + rng.poisson(0.7 * ticks[index - 1])
    return np.asarray(ticks[1:].reshape(60, 4, PODS).sum(1), np.float64)


def test_the_last_hour_of_the_control_is_asked_for_in_one_and_in_short_pieces() -> None:
    asked = process_histories("bad", "total", SETTING)
    assert [one.name for one in asked] == [BAD, TOTAL, MINUTES_BAD, MINUTES_TOTAL]
    assert all(one.to == STEP and one.from_ >= STEP - 3600 for one in asked)
    assert asked[2].expression == "sum by (pod, instance) (increase(bad[60s]))"


def test_errors_that_breed_errors_in_their_pod_are_known_to_come_in_waves() -> None:
    waves = spread_before(process_summary(past_of(storms(), 300.0), SETTING)).phi
    usual = spread_before(process_summary(past_of(independent(), 300.0), SETTING)).phi
    assert waves > 5
    assert usual == pytest.approx(1.0, abs=0.3)


def test_pods_that_differ_widen_what_is_tolerated_and_those_that_differ_by_luck_do_not() -> None:
    unequal = independent() * np.exp(np.random.default_rng(2).normal(0.0, 0.3, PODS))
    assert widened_by(process_summary(past_of(unequal, 300.0), SETTING), 1.0, 2, PODS) > 1.3
    assert widened_by(process_summary(past_of(independent(), 300.0), SETTING), 1.0, 2, PODS) < 1.1


def test_without_history_nothing_is_known_and_nothing_is_asked_again() -> None:
    summary = process_summary([], SETTING)
    assert is_known(summary, SETTING)
    assert spread_before(summary).phi == 1.0
    assert widened_by(summary, 1.0, 2, PODS) == 1.0
