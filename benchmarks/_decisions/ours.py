"""Our rule on simulated traffic: the functions that judge a live gate, for all traces at once.

Nothing is worked out here but what a gate is given: counts of each look, of what came before the step, and when. A look
sees what was scraped one scrape ago, so everything is known 15 s later than to the peers' rules.

A gate knows its arms in one of two ways. *By selectors* of counters it has the two arms and what the control's series
tell of the hour before: in what bunches bad events came and, where series are pods, how much these differed. *By flag*
it has the exposure counters: as well what share of bad events the canary's keys had, hour by hour of the day before.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from benchmarks._decisions.traffic import BEFORE, HOUR_TICKS, TICK_SECONDS, Arms, Flags, Numbers, Traffic
from stages.criteria import before, evidence
from stages.criteria.base import Past, Setting
from stages.criteria.counting import Interval
from stages.statistics import cohort, two_arms
from stages.statistics.dispersion import Spread, of_history

SCRAPE_SECONDS = 15.0
WARMUP_SECONDS = 60.0
FOR_SECONDS = 60.0
MIN_BAKE_SECONDS = 120.0
MAX_INCREASE = 0.05
ALPHA = 0.01
EXCLUDED_CHANCE = 0.025  # with which the cohort's share lies below the bound that helps to leave a step early
_MINUTE = 60 // TICK_SECONDS
_HOUR_SECONDS = 3600.0
_AHEAD_HOURS = before.AHEAD_HOURS[:3]  # an hour after the step is one and a half ahead at most


@dataclass(frozen=True, slots=True)
class Setup:
    """*alpha*: of this test alone. *by_flag*: how the gate knows its arms."""

    alpha: float = ALPHA
    warmup_seconds: float = WARMUP_SECONDS
    by_flag: bool = False

    @property
    def setting(self) -> Setting:
        """The step is at 0."""
        return Setting(0.0, 0.0, 0.0, self.warmup_seconds, TICK_SECONDS, SCRAPE_SECONDS, self.alpha)


@dataclass(frozen=True, slots=True)
class Paths:
    """Logarithms of the evidence at each tick (traces, HOUR_TICKS): against the release, and against its being worse by
    half."""

    against: Numbers
    excluded: Numbers


def seconds_of(reached: Flags) -> Numbers:
    """*reached*: (traces, HOUR_TICKS). When a look first knows it; infinite: not within the hour."""
    first = reached.argmax(axis=1)
    at = (first + 1.0) * TICK_SECONDS + SCRAPE_SECONDS
    return np.where(reached.any(axis=1) & (at <= HOUR_TICKS * TICK_SECONDS), at, np.inf)


def failed_at(paths: Paths, alpha: float = ALPHA) -> Numbers:
    return seconds_of(paths.against >= -np.log(alpha))


def advanced_at(paths: Paths, setup: Setup) -> Numbers:
    """When the step may be left on evidence: worse by half is excluded, the least bake is over, and nothing holds."""
    log_enough = np.log(two_arms.ENOUGH)
    at = (np.arange(HOUR_TICKS) + 1) * TICK_SECONDS + SCRAPE_SECONDS
    is_baked = at >= setup.warmup_seconds + MIN_BAKE_SECONDS
    at_rest = (paths.against < log_enough) & ~np.logical_or.accumulate(paths.against >= -np.log(setup.alpha), axis=1)
    return seconds_of((paths.excluded >= log_enough) & is_baked & at_rest)


def paths_of(traffic: Traffic, setup: Setup = Setup()) -> Paths:
    """Each look counts the interval since the one before."""
    arms = traffic.arms()
    gate = _Gate(traffic, setup)
    known = evidence.nothing_yet((traffic.traces,))
    found = Paths(np.zeros((traffic.traces, HOUR_TICKS)), np.zeros((traffic.traces, HOUR_TICKS)))
    since, setting = 0, setup.setting
    for tick in range(HOUR_TICKS):
        if tick and traffic.canary_groups[tick] != traffic.canary_groups[tick - 1]:
            since = tick
            setting = _at_step(setting, tick * TICK_SECONDS)
        interval = _interval(tick, since, setup)
        known = gate.fed(evidence.in_step(known, setting, interval), arms, tick, interval)
        gate.write(known, found, tick)
    return found


def _interval(tick: int, since: int, setup: Setup) -> Interval:
    """*since*: the tick at which the step began."""
    settled = since * TICK_SECONDS + setup.warmup_seconds
    from_, to = tick * TICK_SECONDS, (tick + 1) * TICK_SECONDS
    return Interval(from_, to, is_warmup=from_ < settled, ends_warmup=from_ < settled <= to)


def _at_step(setting: Setting, since: float) -> Setting:
    return Setting(since, 0.0, 0.0, setting.warmup_seconds, TICK_SECONDS, SCRAPE_SECONDS, setting.alpha)


class _Gate:
    """What stays the same from look to look."""

    def __init__(self, traffic: Traffic, setup: Setup) -> None:
        self._setup = setup
        self._canaries = int(traffic.canary_groups[0])
        self._controls = traffic.bad.shape[2] - self._canaries
        self._before = spread_before(traffic)
        self._processes = _processes(traffic, setup) if traffic.pods else None
        self._bounds = _bounds(traffic, setup, self._before) if setup.by_flag else None

    def fed(self, known: evidence.Evidence, arms: Arms, tick: int, interval: Interval) -> evidence.Evidence:
        both = (
            evidence.Arm(arms.canary_bad[:, tick], arms.canary_total[:, tick]),
            evidence.Arm(arms.control_bad[:, tick], arms.control_total[:, tick]),
        )
        terms = evidence.Terms(MAX_INCREASE, FOR_SECONDS, self._widened(known))
        tests = terms.tests(self._setup.setting, interval)
        return evidence.fed(known, both, interval, tests, self._before, self._keys(interval.to))

    def write(self, known: evidence.Evidence, found: Paths, tick: int) -> None:
        against, excluded = evidence.logs_of(known)
        found.against[:, tick] = against - self._keys(0.0).log_cost
        found.excluded[:, tick] = excluded

    def _widened(self, known: evidence.Evidence) -> float:
        """An array (traces, 1) where pods are told apart: tests broadcast."""
        if self._processes is None:
            return 1.0
        phi = known.spread.joined(self._before).phi
        widened = [
            before.widened_by(summary, float(one), self._canaries, self._controls)
            for summary, one in zip(self._processes, phi, strict=True)
        ]
        return cast("float", np.array(widened)[:, None])

    def _keys(self, at: float) -> evidence.Keys:
        """*at*: seconds after the step. The bounds are those of the hour in whose middle it is."""
        if self._bounds is None:
            return evidence.PLAIN
        ahead = at / _HOUR_SECONDS + 0.5
        known = np.array([np.interp(ahead, _AHEAD_HOURS, unit) for unit in np.eye(len(_AHEAD_HOURS))])
        upper, lower = (cast("float", np.exp(known @ bounds)) for bounds in self._bounds)
        return evidence.Keys(upper, lower, float(np.log(2)))


def spread_before(traffic: Traffic) -> Spread:
    """From the minutes of the hour before, by band."""
    bad, total = (
        counts[:, :BEFORE].reshape(traffic.traces, BEFORE // _MINUTE, _MINUTE, -1).sum(axis=2)
        for counts in (traffic.bad, traffic.total)
    )
    return of_history(bad, total)


def _bounds(traffic: Traffic, setup: Setup, spread: Spread) -> tuple[Numbers, Numbers]:
    """Upper and lower bound of the logarithm of the odds' factor, each so many hours ahead (AHEAD_HOURS, traces)."""
    if traffic.hours_bad is None or traffic.hours_total is None:
        raise ValueError("a gate by flag needs the hours before")
    below = slice(0, int(traffic.canary_groups[0]))
    hours = cohort.Hours(
        traffic.hours_bad[..., below].sum(axis=-1),
        traffic.hours_total[..., below].sum(axis=-1),
        traffic.hours_bad.sum(axis=-1),
        traffic.hours_total.sum(axis=-1),
    )
    outlook = cohort.shares_of_bad(hours, spread.phi)
    upper = [outlook.bounds(setup.alpha / 2, ahead)[1] for ahead in _AHEAD_HOURS]
    lower = [outlook.bounds(EXCLUDED_CHANCE, ahead)[0] for ahead in _AHEAD_HOURS]
    return np.array(upper), np.array(lower)


def _processes(traffic: Traffic, setup: Setup) -> list[dict[str, Any]]:
    """Of each trace, how the control's pods differed in the hour before."""
    names = [(f"pod-{pod}", "") for pod in range(traffic.bad.shape[2])]
    bad, total = traffic.bad[:, :BEFORE].sum(axis=1), traffic.total[:, :BEFORE].sum(axis=1)
    summaries = []
    for bad_of, total_of in zip(bad, total, strict=True):
        past = [
            Past(name, labels, 0.0, float(count))
            for name, counts in ((before.BAD, bad_of), (before.TOTAL, total_of))
            for labels, count in zip(names, counts, strict=True)
        ]
        summaries.append(before.process_summary(past, setup.setting))
    return summaries
