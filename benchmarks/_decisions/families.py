"""The families of traffic, each a ``Law``: healthy ones, on which a rollback is false, and regressed ones.

The last six healthy families were added when the method and its constants stood; nobody tuned on them.
"""

import numpy as np

from benchmarks._decisions.traffic import BEFORE, HOUR_TICKS, TICK_SECONDS, TICKS, Law, Numbers, Shape

_MINUTE = 60 // TICK_SECONDS
_DAY_TICKS = 24 * 60 * _MINUTE


def daily(fold: float) -> Shape:
    """Up and down by *fold* around 1 over a day, at a random time of day."""

    def shape(rng: np.random.Generator, traces: int) -> Numbers:
        phase = rng.random((traces, 1)) * 2 * np.pi
        factors: Numbers = fold ** np.sin(phase + 2 * np.pi * np.arange(TICKS) / _DAY_TICKS)
        return factors

    return shape


def spell(factor: float, minutes: float, first: float = 0.0, last: float = 60.0) -> Shape:
    """*factor* for so many minutes, beginning at a random minute after the step between *first* and *last*, all over
    before *last*; 1 otherwise."""

    def shape(rng: np.random.Generator, traces: int) -> Numbers:
        ticks = round(minutes * _MINUTE)
        begin = BEFORE + rng.integers(round(first * _MINUTE), round(last * _MINUTE) - ticks + 1, (traces, 1))
        at = np.arange(TICKS)
        return np.where((at >= begin) & (at < begin + ticks), factor, 1.0)

    return shape


def since(factor: float, minute: float = 0.0) -> Shape:
    """*factor* from that minute after the step on."""

    def shape(_rng: np.random.Generator, _traces: int) -> Numbers:
        return np.where(np.arange(TICKS) >= BEFORE + minute * _MINUTE, factor, 1.0)[None]

    return shape


def drift(factor: float) -> Shape:
    """Evenly from 1 at the step to *factor* an hour later."""

    def shape(_rng: np.random.Generator, _traces: int) -> Numbers:
        share = np.clip((np.arange(TICKS) - BEFORE) / HOUR_TICKS, 0.0, 1.0)
        return (1 + (factor - 1) * share)[None]

    return shape


def step_change(factor: float) -> Shape:
    """*factor* from a random minute of the hour on."""

    def shape(rng: np.random.Generator, traces: int) -> Numbers:
        begin = BEFORE + rng.integers(0, HOUR_TICKS, (traces, 1))
        return np.where(np.arange(TICKS) >= begin, factor, 1.0)

    return shape


def peaks(factor: float, every_minutes: float, minutes: float) -> Shape:
    """*factor* for so many minutes of each period, from a random phase, in history as well."""

    def shape(rng: np.random.Generator, traces: int) -> Numbers:
        period = round(every_minutes * _MINUTE)
        at = np.arange(TICKS) + rng.integers(0, period, (traces, 1))
        return np.where(at % period < minutes * _MINUTE, factor, 1.0)

    return shape


def flapping(factor: float, mean_minutes: float) -> Shape:
    """Either 1 or *factor*; each lasts an exponential time."""

    def shape(rng: np.random.Generator, traces: int) -> Numbers:
        turns = rng.random((traces, TICKS)) < 1 / (mean_minutes * _MINUTE)
        return np.where(turns.cumsum(axis=1) % 2 == 1, factor, 1.0)

    return shape


def cooling(factor: float, minutes: float) -> Shape:
    """*factor* at the step, evenly down to 1 over so many minutes."""

    def shape(_rng: np.random.Generator, _traces: int) -> Numbers:
        age = (np.arange(TICKS) - BEFORE) / (minutes * _MINUTE)
        return np.where(age >= 0, 1 + (factor - 1) * np.clip(1 - age, 0.0, 1.0), 1.0)[None]

    return shape


HEALTHY: dict[str, Law] = {
    "steady": Law(),
    "low traffic": Law(requests_per_second=2.0),
    "diurnal level": Law(level=daily(3.0)),
    "diurnal traffic": Law(load=daily(3.0)),
    "incident on both arms": Law(level=spell(10.0, minutes=10)),
    "baseline already bad": Law(bad_share=0.10),
    "bursts of 3": Law(batch=3),
    "bursts of 10": Law(batch=10),
    "30 s blip on the canary": Law(canary=spell(20.0, minutes=0.5, first=1)),
    "30 s blip on both": Law(level=spell(20.0, minutes=0.5)),
    "restart spike": Law(canary=spell(10.0, minutes=1, last=1)),
    "2 % worse at 20,000 rps": Law(requests_per_second=20_000.0, canary=since(1.02)),
    "slow drift": Law(level=drift(3.0)),
    "canary share 50 %": Law(percentage=50.0),
    "unequal pods": Law(pods=40, pod_spread=0.15),
    # nobody tuned on these
    "retry storms": Law(breeding=0.7),
    "level steps up on both": Law(level=step_change(4.0)),
    "heavy-tailed bursts": Law(batch=0),
    "batch job each 10 min": Law(level=peaks(6.0, every_minutes=10, minutes=1), load=peaks(3.0, 10, 1)),
    "cold cache for 3 min": Law(canary=cooling(2.0, minutes=3)),
    "flapping dependency": Law(level=flapping(8.0, mean_minutes=2)),
}

UNTUNED = tuple(HEALTHY)[-6:]

REGRESSED: dict[str, Law] = {
    "1.5": Law(canary=since(1.5)),
    "2": Law(canary=since(2.0)),
    "3": Law(canary=since(3.0)),
    "10": Law(canary=since(10.0)),
    "2 from minute 40": Law(canary=since(2.0, minute=40)),
    "1.5 at low traffic": Law(requests_per_second=2.0, canary=since(1.5)),
    "2 in bursts of 3": Law(batch=3, canary=since(2.0)),
    "2 in bursts of 10": Law(batch=10, canary=since(2.0)),
}

BEGINS_AT: dict[str, float] = {"2 from minute 40": 40 * 60.0}
"""Seconds after the step at which it gets worse, where that is not at once."""

FACTOR_KNOWN: dict[str, float] = {name: float(name.split()[0]) for name in REGRESSED}
"""What the oracle is told."""
