"""How the others decide: their rules, written anew from their sources and documentation.

Each takes the counts of the two arms after the step and says when it would have rolled back, in seconds after the step
(infinite: not within the hour). A query at the end of a scrape interval sees that interval: nothing is delayed, which
is generous. Rules of vendors that look once a day look at every interval here. Of each there is what its documentation
shows and a variant that a careful user would tune.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from benchmarks._decisions import kayenta
from benchmarks._decisions.traffic import HOUR_TICKS, TICK_SECONDS, Arms, Flags, Numbers

ALPHA = 0.01
MINUTE = 60 // TICK_SECONDS

DOCUMENTED_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Rule:
    """*said*: what a table calls it. *decide*: seconds after the step, one a trace."""

    name: str
    said: str
    decide: Callable[[Arms], Numbers]


def seconds_of_first(failed: Flags) -> Numbers:
    """*failed*: (traces, HOUR_TICKS), true at the end of whose interval the rule fails."""
    first = failed.argmax(axis=1)
    return np.where(failed.any(axis=1), (first + 1.0) * TICK_SECONDS, np.inf)


def over_window(counts: Numbers, ticks: int) -> Numbers:
    """What was counted in so many intervals up to each one, none before the step."""
    summed = np.cumsum(counts, axis=1)
    before = np.zeros_like(summed)
    before[:, ticks:] = summed[:, :-ticks]
    windowed: Numbers = summed - before
    return windowed


def bad_share(bad: Numbers, total: Numbers) -> Numbers:
    """NaN where nothing happened, as PromQL divides."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Numbers = bad / total
    return share


def measured_every(ticks: int, first: int = 0) -> Flags:
    at = np.arange(HOUR_TICKS)
    return np.asarray((at >= first) & ((at - first) % ticks == 0), np.bool_)


# Argo Rollouts


def argo_failed_documented(arms: Arms) -> Flags:
    """Success rate by ``irate[5m]``, the last two samples, below 0.95 or not a number."""
    return np.asarray(~(1 - bad_share(arms.canary_bad, arms.canary_total) >= 0.95), np.bool_)


def argo_failed_tuned(arms: Arms) -> Flags:
    """Bad share of one minute above twice the control's, as a failure condition: not a number passes."""
    return np.asarray(ratio_of_a_minute(arms) > 2.0, np.bool_)


def ratio_of_a_minute(arms: Arms) -> Numbers:
    canary = bad_share(over_window(arms.canary_bad, MINUTE), over_window(arms.canary_total, MINUTE))
    control = bad_share(over_window(arms.control_bad, MINUTE), over_window(arms.control_total, MINUTE))
    return bad_share(canary, control)


def argo(failed: Flags, every_ticks: int, failure_limit: int = 3) -> Numbers:
    """Argo Rollouts 9f8d111, ``analysis/analysis.go`` (assessMetricStatus): fails when measurements that failed,
    counted over the whole run and not in a row, exceed ``failureLimit``. The first measurement is taken at once, here
    with the first interval."""
    counted = np.cumsum(failed & measured_every(every_ticks), axis=1)
    return seconds_of_first(counted > failure_limit)


def argo_documented(arms: Arms) -> Numbers:
    """The template of its documentation (features/analysis): interval 5m, success condition 0.95, failureLimit 3."""
    return argo(argo_failed_documented(arms), 5 * MINUTE)


def argo_tuned(arms: Arms) -> Numbers:
    """Every minute, bad above twice the control's, failureLimit 3."""
    return argo(argo_failed_tuned(arms), MINUTE)


def argo_fast(arms: Arms) -> Numbers:
    """The same every 15 s."""
    return argo(argo_failed_tuned(arms), 1)


# Flagger


def flagger(failed: Flags, threshold: int) -> Numbers:
    """Flagger 1.44.0, ``pkg/controller/scheduler.go`` and ``scheduler_metrics.go``: a check each interval of 1m, at its
    end; a failed one is never taken back; rolls back at the tick after the one that reached the threshold."""
    counted = np.cumsum(failed & measured_every(MINUTE, first=MINUTE - 1), axis=1)
    reached = seconds_of_first(counted >= threshold)
    return np.where(reached + 60 <= 3600, reached + 60, np.inf)


def flagger_failed_documented(arms: Arms) -> Flags:
    """``request-success-rate`` over 1m below 99 %; no requests are no value, which is a failed check."""
    share = bad_share(over_window(arms.canary_bad, MINUTE), over_window(arms.canary_total, MINUTE))
    return ~(100 * (1 - share) >= 99.0)


def flagger_failed_tuned(arms: Arms) -> Flags:
    """A metric template: bad share of a minute, canary by primary, range up to 2; not a number is a failed check."""
    return ~(ratio_of_a_minute(arms) <= 2.0)


def flagger_documented(arms: Arms) -> Numbers:
    """The example of its documentation: interval 1m, threshold 5, request-success-rate 99."""
    return flagger(flagger_failed_documented(arms), 5)


def flagger_tuned(arms: Arms) -> Numbers:
    """A metric template that compares with the primary, and threshold 10."""
    return flagger(flagger_failed_tuned(arms), 10)


# bounds of experimentation vendors


@dataclass(frozen=True, slots=True)
class Means:
    """Sums up to each look: *delta* of bad shares, *variance* of delta, *n* of both arms; *spread*: both arms'
    variances of one event added."""

    delta: Numbers
    variance: Numbers
    n: Numbers
    spread: Numbers


def means(arms: Arms, skip_ticks: int = 0) -> Means:
    """Of bad or not as 1 or 0, a request as the unit. Without data or variance nothing is known: NaN."""
    canary_bad, canary_total, control_bad, control_total = (
        np.cumsum(np.where(np.arange(HOUR_TICKS) < skip_ticks, 0.0, counts), axis=1)
        for counts in (arms.canary_bad, arms.canary_total, arms.control_bad, arms.control_total)
    )
    canary, control = bad_share(canary_bad, canary_total), bad_share(control_bad, control_total)
    canary_variance, control_variance = canary * (1 - canary), control * (1 - control)
    variance = bad_share(canary_variance, canary_total) + bad_share(control_variance, control_total)
    return Means(
        canary - control,
        np.where(variance > 0, variance, np.nan),
        canary_total + control_total,
        canary_variance + control_variance,
    )


def growthbook(sums: Means, alpha: float, tuning: float = 5000.0) -> Numbers:
    """GrowthBook 8f1db44, safe rollouts (``packages/stats/gbstats/frequentist``): one-sided asymptotic confidence
    sequence of the absolute difference (Waudby-Smith et al. 2023), rolled back when it lies above 0."""
    rho = growthbook_rho(alpha, tuning)
    return seconds_of_first(sums.delta - growthbook_half_width(sums.variance, sums.n, alpha, rho) > 0)


def growthbook_rho(alpha: float, tuning: float) -> float:
    doubled = -2 * np.log(2 * alpha)
    return float(np.sqrt((doubled + np.log(doubled + 1)) / tuning))


def growthbook_half_width(variance: Numbers, n: Numbers, alpha: float, rho: float) -> Numbers:
    inner = n * rho**2 + 1
    width: Numbers = (
        np.sqrt(variance) * np.sqrt(n) * np.sqrt(2 * inner / (n * rho) ** 2 * np.log1p(np.sqrt(inner) / (2 * alpha)))
    )
    return width


def statsig(sums: Means, alpha: float) -> Numbers:
    """Statsig, documentation of sequential testing: mSPRT, two-sided; rolled back when the worse side is reached."""
    return seconds_of_first(
        sums.delta / np.sqrt(sums.variance) > statsig_bar(sums.variance, sums.spread, sums.n, alpha)
    )


def statsig_bar(variance: Numbers, spread: Numbers, n: Numbers, alpha: float) -> Numbers:
    tau = NormalDist().inv_cdf(1 - alpha / 2) ** 2 * spread / n
    squared = (variance + tau) / tau * (-2 * np.log(alpha / 2) - np.log(variance / (variance + tau)))
    bar: Numbers = np.sqrt(squared)
    return bar


def eppo(sums: Means, alpha: float) -> Numbers:
    """Eppo, documentation of sequential confidence intervals: normal mixture tuned to 10,000; worse side."""
    return seconds_of_first(sums.delta / np.sqrt(sums.variance) > eppo_bar(sums.n, alpha))


def eppo_bar(n: Numbers, alpha: float, tuned_to: float = 10_000.0) -> Numbers:
    rho = tuned_to / (np.log(np.log(np.e / alpha**2)) - 2 * np.log(alpha))
    bar: Numbers = np.sqrt((n + rho) / n * np.log((n + rho) / (rho * alpha**2)))
    return bar


# what textbooks would do, and the limit


def z_of(arms: Arms) -> Numbers:
    """Pooled z statistic of two shares, up to each look."""
    k, n = np.cumsum(arms.canary_bad, axis=1), np.cumsum(arms.canary_total, axis=1)
    c, m = np.cumsum(arms.control_bad, axis=1), np.cumsum(arms.control_total, axis=1)
    pooled = bad_share(k + c, n + m)
    with np.errstate(divide="ignore", invalid="ignore"):
        z: Numbers = (k / n - c / m) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return z


def z_at_every_look(arms: Arms) -> Numbers:
    """One-sided at 1 %, asked again at each look."""
    return seconds_of_first(z_of(arms) > NormalDist().inv_cdf(1 - ALPHA))


def z_at_the_end(arms: Arms) -> Numbers:
    """One-sided at 1 %, asked once, after the hour."""
    failed = z_of(arms)[:, -1] > NormalDist().inv_cdf(1 - ALPHA)
    return np.where(failed, 3600.0, np.inf)


def oracle(arms: Arms, factor: float, from_seconds: float = 0.0) -> Numbers:
    """Wald's sequential probability ratio test that is told the size and the time of the change: the limit of what
    counts can tell. No one has it."""
    rho = arms.canary_total / np.maximum(arms.canary_total + arms.control_total, 1)
    both = arms.canary_bad + arms.control_bad
    ratio = arms.canary_bad * np.log(factor) - both * np.log1p(rho * (factor - 1))
    known = np.where(np.arange(HOUR_TICKS) * TICK_SECONDS >= from_seconds, ratio, 0.0)
    return seconds_of_first(np.cumsum(known, axis=1) >= -np.log(ALPHA))


def vendor(decide: Callable[[Means, float], Numbers], alpha: float, skip_minutes: int = 0) -> Callable[[Arms], Numbers]:
    def rule(arms: Arms) -> Numbers:
        with np.errstate(divide="ignore", invalid="ignore"):
            return decide(means(arms, skip_minutes * MINUTE), alpha)

    return rule


RULES: tuple[Rule, ...] = (
    Rule("argo_documented", "Argo, documented", argo_documented),
    Rule("argo_tuned", "Argo, tuned", argo_tuned),
    Rule("argo_fast", "Argo, fast", argo_fast),
    Rule("flagger_documented", "Flagger, documented", flagger_documented),
    Rule("flagger_tuned", "Flagger, tuned", flagger_tuned),
    Rule("kayenta_60", "Kayenta, once", lambda arms: kayenta.judged(arms, every_minutes=60)),
    Rule("kayenta_5", "Kayenta, 5 min", lambda arms: kayenta.judged(arms, every_minutes=5)),
    Rule("kayenta_1", "Kayenta, 1 min", lambda arms: kayenta.judged(arms, every_minutes=1)),
    Rule(
        "kayenta_tuned",
        "Kayenta, tuned",
        lambda arms: kayenta.judged(arms, every_minutes=5, first_minutes=15, allowed_increase=1.25),
    ),
    Rule("growthbook", "GrowthBook, default", vendor(growthbook, DOCUMENTED_ALPHA)),
    Rule("growthbook_tuned", "GrowthBook, tuned", vendor(growthbook, ALPHA, skip_minutes=1)),
    Rule("statsig", "Statsig, default", vendor(statsig, DOCUMENTED_ALPHA)),
    Rule("statsig_tuned", "Statsig, tuned", vendor(statsig, ALPHA, skip_minutes=1)),
    Rule("eppo", "Eppo, default", vendor(eppo, DOCUMENTED_ALPHA)),
    Rule("eppo_tuned", "Eppo, tuned", vendor(eppo, ALPHA, skip_minutes=1)),
    Rule("z_each_look", "z test, each look", z_at_every_look),
    Rule("z_once", "z test, once", z_at_the_end),
)
"""The oracle is not among them: it must be told what others have to find."""
