"""Kayenta's judge (NetflixACAJudge) on one metric that is critical and may not rise.

Theory of operation. Each arm gives one value a minute, its share of bad events; the judge looks back to the step. The
shift between the canary's values and the baseline's has a confidence interval of 98 % by Mann and Whitney's test
(normal approximation with corrections for ties and continuity): the shifts at which the test's z crosses the quantiles.
z falls by steps at the pairwise differences of values, so its root is one of these differences and needs no search:
the lower end is the k-th largest, ``k`` the least count of greater differences with z at the quantile or more. A metric
is High if the lower end exceeds a quarter of the absolute Hodges-Lehmann estimate (the median difference) and the
ratio of means is at least the allowed increase; a critical one fails the release at once.

Where z never reaches the quantile because there are few points, the least difference is taken, as Kayenta does: so a
handful of minutes in which the canary was always above can be High.

Source: Kayenta 2.46, ``kayenta-judge`` (NetflixACAJudge.scala, MannWhitneyClassifier.scala, EffectSizes.scala) and
``kayenta-mannwhitney`` (MannWhitney.scala). Its root search stops within 1e-4, here it is exact.
"""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from benchmarks._decisions.traffic import TICK_SECONDS, Arms, Numbers

CONFIDENCE = 0.98
TOLERANCE = 0.25
_MINUTE = 60 // TICK_SECONDS


def judged(arms: Arms, every_minutes: int, first_minutes: int = 1, allowed_increase: float = 1.0) -> Numbers:
    """Seconds after the step of the first judgement that is High, one a trace. *first_minutes*: how many minutes the
    first judgement has at least."""
    canary, baseline = (
        _share_a_minute(bad, total)
        for bad, total in ((arms.canary_bad, arms.canary_total), (arms.control_bad, arms.control_total))
    )
    failed_at = np.full(arms.traces, np.inf)
    for minutes in range(every_minutes, canary.shape[1] + 1, every_minutes):
        if minutes < first_minutes:
            continue
        left = np.flatnonzero(np.isinf(failed_at))
        high = is_high(canary[left, :minutes], baseline[left, :minutes], allowed_increase)
        failed_at[left[high]] = minutes * 60.0
    return failed_at


def _share_a_minute(bad: Numbers, total: Numbers) -> Numbers:
    """Not a number is replaced by 0 (``nanStrategy`` is "replace" unless told otherwise)."""
    traces, ticks = bad.shape
    minutes = (traces, ticks // _MINUTE, _MINUTE)
    in_minute = total.reshape(minutes).sum(axis=2)
    share: Numbers = bad.reshape(minutes).sum(axis=2) / np.maximum(in_minute, 1)
    return share


def is_high(canary: Numbers, baseline: Numbers, allowed_increase: float = 1.0) -> NDArray[np.bool_]:
    """Both (traces, points). Errors of the judge (nothing but ties) are no failure."""
    lower, estimate, is_judged = interval(canary, baseline)
    canary_mean, baseline_mean = canary.mean(axis=1), baseline.mean(axis=1)
    no_ratio = (canary_mean == 0) | (baseline_mean == 0)
    is_large = no_ratio | (canary_mean >= allowed_increase * baseline_mean)
    both_constant = (np.ptp(canary, axis=1) == 0) & (np.ptp(baseline, axis=1) == 0)
    by_noise = both_constant & (canary[:, 0] > baseline[:, 0]) & (baseline[:, 0] > 0)  # ties are broken by noise
    is_above = np.where(both_constant, by_noise, is_judged & (lower > TOLERANCE * np.abs(estimate)))
    is_same = np.all(np.sort(canary, axis=1) == np.sort(baseline, axis=1), axis=1)
    high: NDArray[np.bool_] = is_above & is_large & ~is_same
    return high


def interval(canary: Numbers, baseline: Numbers) -> tuple[Numbers, Numbers, NDArray[np.bool_]]:
    """Lower end, Hodges-Lehmann estimate, and whether there is a variance to judge by."""
    n, m = canary.shape[1], baseline.shape[1]
    differences = (canary[:, :, None] - baseline[:, None, :]).reshape(len(canary), n * m)
    ties = _ties(canary) + _ties(baseline)
    variance = n * m / 12 * ((n + m + 1) - ties / ((n + m) * (n + m - 1)))
    least = n * m / 2 + 0.5 + NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * np.sqrt(np.maximum(variance, 0.0))
    greater = np.minimum(np.ceil(least), n * m).astype(np.int64)  # so many differences exceed the lower end's left
    ordered = np.sort(differences, axis=1)
    lower = np.take_along_axis(ordered, (n * m - greater)[:, None], axis=1)[:, 0]
    middle = n * m // 2
    estimate = (ordered[:, middle] + ordered[:, (n * m - 1) // 2]) / 2
    return lower, estimate, variance > 0


def _ties(values: Numbers) -> Numbers:
    """Sum over groups of equal values of ``t^3 - t``."""
    ordered = np.sort(values, axis=1)
    size = ordered.shape[1]
    starts = np.ones(ordered.shape, np.bool_)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    at = np.broadcast_to(np.arange(size), ordered.shape)
    first = np.maximum.accumulate(np.where(starts, at, 0), axis=1)
    ends = np.ones(ordered.shape, np.bool_)
    ends[:, :-1] = starts[:, 1:]
    length = np.where(ends, at - first + 1, 0).astype(np.float64)
    ties: Numbers = (length**3 - length).sum(axis=1)
    return ties
