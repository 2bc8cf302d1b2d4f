"""Errors that cluster by key: a flag draws keys and not requests, so a healthy canary may have drawn the bad ones.

Theory of operation. 20,000 keys share 200 requests a second; 0.7 % of them fail 9 times in 10, and the rest make it 1 %
in all. Which keys these are changes: each is bad for a time, and as many become bad as cease to be. A day of history
stands behind the step, by the hour and the flag's bands, as the exposure counters would tell it. A canary that is worse
adds bad events in proportion to those that its keys have anyway.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks._decisions.traffic import (
    BANDS,
    BEFORE,
    HOUR_TICKS,
    HOURS,
    TICK_SECONDS,
    TICKS,
    Numbers,
    Traffic,
    band_widths,
    with_hours,
)

KEYS = 20_000
BAD_KEYS = 0.007  # of all keys
BAD_KEY_FAILS = 0.9  # of its requests
REQUESTS_PER_SECOND = 200.0
BAD_SHARE = 0.01
CANARY_BANDS = 4  # to 5 %
_WIDTHS = np.array(band_widths())
_ENDS = np.cumsum(_WIDTHS)
_A_KEY_PER_TICK = REQUESTS_PER_SECOND * TICK_SECONDS / KEYS
_HEAVY_KEY_SHARE = 0.5  # of the traffic
_HEAVY_KEY_FAILS, _OTHERS_FAIL = 0.0145, 0.0055


@dataclass(frozen=True, slots=True)
class Keys:
    """*bad_hours*: how long a key stays bad; None: for good; 0: no key is worse than another. *heavy*: one key has half
    the traffic instead, and fails more often than the rest."""

    bad_hours: float | None = 0.0
    heavy: bool = False


ROWS: dict[str, Keys] = {
    "none in particular": Keys(0.0),
    "the same few": Keys(None),
    "few, each for 48 h": Keys(48.0),
    "few, each for 12 h": Keys(12.0),
    "few, each for 1 h": Keys(1.0),
    "one key, half the traffic": Keys(heavy=True),
}


@dataclass(frozen=True, slots=True)
class _Means:
    """Expected counts by tick (traces, TICKS, bands), and by hour before the last one (traces, HOURS - 1, bands)."""

    bad: Numbers
    total: Numbers
    hours_bad: Numbers
    hours_total: Numbers


def draw(keys: Keys, rng: np.random.Generator, traces: int) -> Traffic:
    """Healthy traces; what they expect of the canary is drawn again by ``worse``."""
    means = _of_one_heavy_key(rng, traces) if keys.heavy else _of_bad_keys(keys, rng, traces)
    bad, good = rng.poisson(means.bad), rng.poisson(np.maximum(means.total - means.bad, 0.0))
    hours_bad = rng.poisson(means.hours_bad)
    hours_good = rng.poisson(np.maximum(means.hours_total - means.hours_bad, 0.0))
    last = Traffic(bad.astype(np.int32), (bad + good).astype(np.int32), np.full(HOUR_TICKS, CANARY_BANDS))
    return with_hours(last, hours_bad, hours_bad + hours_good)


def worse(traffic: Traffic, factor: float, rng: np.random.Generator) -> Traffic:
    """The same traces with a canary that is worse from the step on: its own bad share times *factor*. Requests that
    become bad were good."""
    canary = (slice(None), slice(BEFORE, None), slice(0, CANARY_BANDS))
    now_bad, now_total = traffic.bad[canary].astype(np.float64), traffic.total[canary]
    own_share = now_bad.sum(axis=(1, 2), keepdims=True) / now_total.sum(axis=(1, 2), keepdims=True)
    good = now_total - traffic.bad[canary]
    turned = np.clip((factor - 1) * own_share / np.maximum(1 - own_share, 1e-9), 0.0, 1.0)
    bad = traffic.bad.copy()
    bad[canary] += rng.binomial(good, np.broadcast_to(turned, good.shape)).astype(np.int32)
    return replace(traffic, bad=bad)


def _of_bad_keys(keys: Keys, rng: np.random.Generator, traces: int) -> _Means:
    by_tick, by_hour = np.zeros((traces, TICKS, BANDS)), np.zeros((traces, HOURS - 1, BANDS))
    evenly = BAD_SHARE
    if keys.bad_hours != 0.0:
        evenly -= BAD_KEYS * BAD_KEY_FAILS
        for trace in range(traces):
            by_tick[trace], by_hour[trace] = _bad_keys(keys.bad_hours, rng)
    requests = REQUESTS_PER_SECOND * TICK_SECONDS * _WIDTHS
    fails = _A_KEY_PER_TICK * BAD_KEY_FAILS
    return _Means(
        by_tick * fails + requests * evenly,
        np.broadcast_to(requests, by_tick.shape),
        (by_hour * fails + requests * evenly) * HOUR_TICKS,
        np.broadcast_to(requests * HOUR_TICKS, by_hour.shape),
    )


def _bad_keys(bad_hours: float | None, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """How many bad keys each band has: at each tick of the last two hours, and on average in the hours before."""
    usual = KEYS * BAD_KEYS
    if bad_hours is None:
        counts = np.bincount(_bands(rng, rng.binomial(KEYS, BAD_KEYS)), minlength=BANDS).astype(np.float64)
        return np.broadcast_to(counts, (TICKS, BANDS)), np.broadcast_to(counts, (HOURS - 1, BANDS))
    number = rng.poisson(usual * (HOURS + 1 + bad_hours) / bad_hours)
    from_hours = rng.uniform(-HOURS - bad_hours, 1.0, number)
    bands = _bands(rng, number)
    ends = (np.arange(TICKS) + 0.5 - BEFORE) / HOUR_TICKS
    by_tick = _alive(from_hours, bands, ends) - _alive(from_hours + bad_hours, bands, ends)
    hours = np.arange(-HOURS, -1.0)
    in_hour = np.minimum(from_hours[:, None] + bad_hours, hours + 1) - np.maximum(from_hours[:, None], hours)
    by_hour = np.zeros((HOURS - 1, BANDS))
    np.add.at(by_hour.T, bands, np.clip(in_hour, 0.0, 1.0))
    return by_tick, by_hour


def _bands(rng: np.random.Generator, number: int) -> NDArray[np.int64]:
    return np.searchsorted(_ENDS[:-1], rng.random(number), side="right").astype(np.int64)


def _alive(since: Numbers, bands: NDArray[np.int64], at: Numbers) -> Numbers:
    """How many of each band have begun at each time of *at* (rising)."""
    began = np.searchsorted(at, since)
    counts = np.zeros((at.size + 1, BANDS))
    np.add.at(counts, (began, bands), 1.0)
    alive: Numbers = np.cumsum(counts, axis=0)[:-1]
    return alive


def _of_one_heavy_key(rng: np.random.Generator, traces: int) -> _Means:
    its_band = _bands(rng, traces)
    heavy = np.zeros((traces, 1, BANDS))
    heavy[np.arange(traces), 0, its_band] = _HEAVY_KEY_SHARE
    others = (1 - _HEAVY_KEY_SHARE) * _WIDTHS
    requests = REQUESTS_PER_SECOND * TICK_SECONDS
    total = requests * (heavy + others)
    bad = requests * (heavy * _HEAVY_KEY_FAILS + others * _OTHERS_FAIL)
    return _Means(
        np.repeat(bad, TICKS, axis=1),
        np.repeat(total, TICKS, axis=1),
        np.repeat(bad * HOUR_TICKS, HOURS - 1, axis=1),
        np.repeat(total * HOUR_TICKS, HOURS - 1, axis=1),
    )
