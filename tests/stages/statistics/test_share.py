"""Whether the canary has the share of the requests that it should have."""

import numpy as np
import pytest

from stages.statistics import share
from stages.statistics.share import Range

TRACES = 500
RATE, WIDTH = 200.0, 0.05
MINUTES = 60


def alarms(
    factor: float = 1.0, *, walk: float = 0.02, noise: float = 0.03, batch: int = 1, hours: int = 24, told: float = 1.0
) -> np.ndarray:
    """When each trace is told to differ, (traces, minutes): *factor* of the cohort's requests arrive."""
    random = np.random.default_rng(1)
    y = np.log(WIDTH / (1 - WIDTH)) + random.normal(0, noise, (TRACES, hours + 1))
    y += np.cumsum(random.normal(0, walk, y.shape), 1)
    p = 1 / (1 + np.exp(-y))
    every = random.poisson(RATE * 3600 / batch, p.shape)
    some = random.binomial(every, p)
    expected = share.range_of(some[:, :-1] * batch, every[:, :-1] * batch, 1.0, told)
    now = p[:, -1:]
    cohort = np.cumsum(random.poisson(RATE * 60 / batch * now * factor, (TRACES, MINUTES)), 1) * batch
    rest = np.cumsum(random.poisson(RATE * 60 / batch * (1 - now), (TRACES, MINUTES)), 1) * batch
    at = [share.differs(expected, cohort[:, i], (cohort + rest)[:, i], (i + 1) * 60.0) for i in range(MINUTES)]
    return np.stack(at, 1)


@pytest.mark.parametrize(
    "usual", ({}, {"walk": 0.0, "noise": 0.0}, {"walk": 0.1, "noise": 0.1}, {"batch": 20, "told": 20.0}, {"hours": 4})
)
def test_requests_that_are_shared_as_ever_raise_no_alarm(usual: dict[str, float]) -> None:
    assert alarms(**usual).any(1).mean() <= 0.006  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", (0.5, 2.0))
def test_requests_that_get_lost_or_come_twice_do(factor: float) -> None:
    assert alarms(factor).any(1).mean() > 0.99


def test_the_first_minutes_never_do() -> None:
    assert not alarms(0.1)[:, :9].any()


def test_a_difference_that_is_of_no_matter_does_not_however_sure_it_is() -> None:
    assert alarms(0.985, walk=0.0, noise=0.0).any(1).mean() < 0.05


@pytest.mark.parametrize("hours", (0, 1))
def test_without_history_there_is_nothing_to_differ_from(hours: int) -> None:
    expected = share.range_of(np.full((1, hours), 50.0), np.full((1, hours), 1000.0), 1.0)
    assert not share.differs(expected, 1.0, 1e6, 3600.0).any()


def test_few_requests_do_not_differ() -> None:
    numbers = (np.log(0.05 / 0.95), np.log(0.06 / 0.94), 0.0, 1.0)
    expected = Range(*(np.asarray(value) for value in numbers))
    assert not share.differs(expected, 0.0, 40.0, 3600.0)
    assert share.differs(expected, 0.0, 40_000.0, 3600.0)


@pytest.mark.parametrize(
    ("late", "total", "expected"),
    ((0, 0, False), (5, 10, False), (10, 2000, False), (10, 900, True), (500, 1000, True)),
)
def test_keys_that_lack_the_flag_are_late_if_they_are_some(late: float, total: float, expected: bool) -> None:
    assert bool(share.is_late(late, total)) is expected
