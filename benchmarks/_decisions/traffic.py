"""Simulated traffic of a service during a rollout: counts of requests and bad events, one column a scrape.

Theory of operation. Requests come from *groups*: bands of a flag's keys, or pods. A group has its share of the traffic,
and those before an index that may change with the step are the canary. In each scrape interval of 15 s a group's
requests and bad events are Poisson around what a ``Law`` says: a level common to both arms, a factor of the canary's
own, and how bad events bunch (fixed batches, batches with a heavy tail, retries that breed retries). A batch lies in
one group: what fails together is one caller, one process, one dependency.

The hour that is judged follows an hour of history, in which nothing was changed yet. What is healthy is so by
construction: the canary's own factor is 1 in the mean, or within what is tolerated.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flags.exposure_names import BAND_ENDS

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]
Shape = Callable[[np.random.Generator, int], Numbers]
"""Of a generator and a number of traces: factors (traces or 1, TICKS), over history and the hour that is judged."""

TICK_SECONDS = 15
HOUR_TICKS = 240
BEFORE = HOUR_TICKS  # ticks of history
TICKS = BEFORE + HOUR_TICKS
HOURS = 24  # of history by the hour, the last of them by the tick as well
BANDS = len(BAND_ENDS)
_LARGEST_BATCH = 400.0


def band_widths() -> tuple[float, ...]:
    """The share of keys in each of a flag's bands, lowest first."""
    return tuple(float(width) for width in np.diff((0.0, *BAND_ENDS)) / 100)


def flat(_rng: np.random.Generator, _traces: int) -> Numbers:
    return np.ones((1, TICKS))


@dataclass(frozen=True, slots=True)
class Law:
    """*bad_share*: bad events per request where every factor is 1. *level*, *load*: factors of bad share and of traffic
    in both arms; *canary*: of the canary's bad share alone, from the step on. *batch*: how many bad events come
    together (0: a Pareto tail). *breeding*: how many bad events follow from one, in the next interval of its group.
    *pod_spread*: standard deviation of the logarithm of the pods' own factors, with *pods* instead of bands."""

    requests_per_second: float = 200.0
    bad_share: float = 0.01
    percentage: float = 5.0
    level: Shape = flat
    load: Shape = flat
    canary: Shape = flat
    batch: int = 1
    breeding: float = 0.0
    pods: int = 0
    pod_spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """*bad*, *total*: (traces, TICKS, groups). *canary_groups*: how many groups, the lowest, are the canary at each
    tick after the step (HOUR_TICKS). *pods*: groups are pods. *hours_bad*, *hours_total*: (traces, hours, groups), the
    hours before the step, newest last, where a law looks back further."""

    bad: NDArray[np.int32]
    total: NDArray[np.int32]
    canary_groups: NDArray[np.int64]
    pods: bool = False
    hours_bad: NDArray[np.int64] | None = None
    hours_total: NDArray[np.int64] | None = None

    @property
    def traces(self) -> int:
        return int(self.bad.shape[0])

    def arms(self) -> "Arms":
        """What the two arms counted in the hour after the step."""
        is_canary = np.arange(self.bad.shape[2]) < self.canary_groups[:, None]
        bad, total = self.bad[:, BEFORE:], self.total[:, BEFORE:]
        return Arms(
            canary_bad=np.where(is_canary, bad, 0).sum(axis=2, dtype=np.float64),
            canary_total=np.where(is_canary, total, 0).sum(axis=2, dtype=np.float64),
            control_bad=np.where(is_canary, 0, bad).sum(axis=2, dtype=np.float64),
            control_total=np.where(is_canary, 0, total).sum(axis=2, dtype=np.float64),
        )


@dataclass(frozen=True, slots=True)
class Arms:
    """Counts (traces, HOUR_TICKS) of one metric. The end of tick ``i`` is ``15 (i + 1)`` seconds after the step."""

    canary_bad: Numbers
    canary_total: Numbers
    control_bad: Numbers
    control_total: Numbers

    @property
    def traces(self) -> int:
        return int(self.canary_bad.shape[0])


def draw(law: Law, rng: np.random.Generator, traces: int) -> Traffic:
    """So many traces of one law."""
    widths = np.full(law.pods, 1.0 / law.pods) if law.pods else np.array(band_widths())
    canary_groups = round(law.percentage / 100 * law.pods) if law.pods else BAND_ENDS.index(law.percentage) + 1
    requests = law.requests_per_second * TICK_SECONDS * law.load(rng, traces)
    share = np.broadcast_to((law.bad_share * law.level(rng, traces))[..., None], (traces, TICKS, widths.size)).copy()
    share[:, BEFORE:, :canary_groups] *= law.canary(rng, traces)[:, BEFORE:, None]
    if law.pods:
        share *= _pod_factors(law, rng, traces, canary_groups)
    mean_bad = requests[..., None] * widths * share
    bad = _bad_events(law, rng, mean_bad)
    good = rng.poisson(np.maximum(requests[..., None] * widths * (1 - np.minimum(share, 1.0)), 0.0))
    traffic = Traffic(
        bad.astype(np.int32), (bad + good).astype(np.int32), np.full(HOUR_TICKS, canary_groups), pods=law.pods > 0
    )
    return traffic if law.pods else with_hours(traffic, *_hours_before(law, rng, traces))


def with_hours(traffic: Traffic, bad: NDArray[np.int64], total: NDArray[np.int64]) -> Traffic:
    """With the hours before the last one of history, (traces, HOURS - 1, groups)."""
    last_bad, last_total = (counts[:, :BEFORE].sum(axis=1)[:, None] for counts in (traffic.bad, traffic.total))
    return replace(
        traffic,
        hours_bad=np.concatenate((bad, last_bad), axis=1),
        hours_total=np.concatenate((total, last_total), axis=1),
    )


def _hours_before(law: Law, rng: np.random.Generator, traces: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bad events and all by hour and band, where every factor is 1; they bunch as ever."""
    widths = np.array(band_widths())
    requests = law.requests_per_second * TICK_SECONDS * HOUR_TICKS * widths
    good = rng.poisson(np.broadcast_to(requests * (1 - law.bad_share), (traces, HOURS - 1, BANDS)))
    mean_bad = np.broadcast_to(requests * law.bad_share, (traces, BANDS))
    bad = np.empty(good.shape, np.int64)
    state = mean_bad / HOUR_TICKS
    for hour in range(HOURS - 1):
        if law.breeding:
            bred, state = _bred_hour(law.breeding, rng, mean_bad / HOUR_TICKS, state)
            bad[:, hour] = bred
        else:
            bad[:, hour] = _bad_events(law, rng, mean_bad)
    return bad, bad + good


def _pod_factors(law: Law, rng: np.random.Generator, traces: int, canary_groups: int) -> Numbers:
    """Pods differ for good; the canary's are new ones from the step on. Mean 1."""
    spread = law.pod_spread
    factors = rng.lognormal(-(spread**2) / 2, spread, (traces, 1, law.pods))
    every = np.repeat(factors, TICKS, axis=1)
    every[:, BEFORE:, :canary_groups] = rng.lognormal(-(spread**2) / 2, spread, (traces, 1, canary_groups))
    return every


def _bad_events(law: Law, rng: np.random.Generator, mean: Numbers) -> NDArray[np.int64]:
    if law.breeding:
        return _bred(law.breeding, rng, mean)
    if law.batch == 0:
        return _heavy(rng, mean)
    return rng.poisson(mean / law.batch).astype(np.int64) * law.batch


def _bred(breeding: float, rng: np.random.Generator, mean: Numbers) -> NDArray[np.int64]:
    """Each bad event breeds a Poisson number of them in the next interval (a branching process with immigration)."""
    bad = np.empty(mean.shape, np.int64)
    last: Numbers = mean[:, 0]
    for tick in range(mean.shape[1]):
        bad[:, tick] = rng.poisson((1 - breeding) * mean[:, tick] + breeding * last)
        last = bad[:, tick].astype(np.float64)
    return bad


def _bred_hour(
    breeding: float, rng: np.random.Generator, mean: Numbers, last: Numbers
) -> tuple[NDArray[np.int64], Numbers]:
    """The sum over an hour of ticks that follow *last*, and its own last tick."""
    bad = np.zeros(mean.shape, np.int64)
    for _ in range(HOUR_TICKS):
        now = rng.poisson((1 - breeding) * mean + breeding * last)
        bad, last = bad + now, now.astype(np.float64)
    return bad, last


def _heavy(rng: np.random.Generator, mean: Numbers) -> NDArray[np.int64]:
    """Batches of Pareto size (tail exponent 1.5, from 1, cut at 400)."""
    tail = 1.5
    mean_size = float(np.floor(_pareto((np.arange(100_000) + 0.5) / 100_000, tail)).mean())
    batches = rng.poisson(mean / mean_size)
    sizes = np.floor(_pareto(rng.random(int(batches.sum())), tail))
    cells = np.repeat(np.arange(batches.size), batches.ravel())
    sums = np.bincount(cells, weights=sizes, minlength=batches.size)
    return sums.reshape(batches.shape).astype(np.int64)


def _pareto(uniform: Numbers, tail: float) -> Numbers:
    return np.minimum((1 - uniform) ** (-1 / tail), _LARGEST_BATCH)
