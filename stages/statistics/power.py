"""How soon a gate sees a canary that is worse, told beforehand from the traffic of today.

Theory of operation. Evidence is a mean of products of factors, one factor a look. In a look the logarithm of the factor
for the alternative *j* is about normal: of a canary that is worse by the factor *r*, bad events come as independent
Poisson streams, ``theta(r)`` of them the canary's, each adding ``a_j = ln(theta_j / theta0) / (phi f)``, the others
``b_j = ln((1 - theta_j) / (1 - theta0)) / (phi f)``; with ``lambda`` bad events a look,

    mean_j     = lambda [theta(r) a_j + (1 - theta(r)) b_j]
    variance_j = lambda phi f [theta(r) a_j^2 + (1 - theta(r)) b_j^2]

The mean is ``lambda`` times the Kullback-Leibler divergence of ``theta(r)`` from ``theta0`` where *j* is the true one.
The cap on a factor (``for``) takes off the upper end, so what a look adds in the mean is that of ``min(X, cap)``. The
release fails when ``sum_j weight_j exp(looks pace_j)`` reaches ``1/alpha``; what a person waits is that plus the
warm-up, the scrape by which counting lies behind, and the rest of the look in which it happens. Of M criteria that
share a budget, each has ``alpha / M``: it costs ln M more evidence, which is little.

The same holds of a share against a bound, per event rather than per bad event. These are about medians: half of all
runs take longer. References: Wald (1945), "Sequential tests of statistical hypotheses" (the pace of the evidence);
Robbins (1970) (mixtures).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stages.statistics import one_sample, two_arms
from stages.statistics.onsets import FIRST_WEIGHT, HALVES
from stages.statistics.two_arms import SMALLEST_F, Test

LARGEST_FACTOR = 1e9
_BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class Traffic:
    """What happens now, in both arms together: events a second, and how many of them are bad while nothing is wrong.

    *canary_share*: which part of the events the canary has. *dispersion*: ``phi``, by how much the variance of bad
    events exceeds that of independent ones.
    """

    events_per_second: float
    bad_per_second: float
    canary_share: float
    dispersion: float = 1.0

    @property
    def bad_share(self) -> float:
        return self.bad_per_second / self.events_per_second if self.events_per_second > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Terms:
    """How a gate looks. *alpha* is the criterion's own share of the error budget, *for_seconds* what a plan's ``for``
    asks; the rest are spans that pass whatever the evidence."""

    alpha: float
    every_seconds: float = 15.0
    for_seconds: float = 60.0
    warmup_seconds: float = 60.0
    scrape_seconds: float = 15.0

    @property
    def waiting_seconds(self) -> float:
        """What passes beside the counting: warm-up, one scrape behind, half a look until it is noticed."""
        return self.warmup_seconds + self.scrape_seconds + self.every_seconds / 2

    @property
    def cap_looks(self) -> float:
        return two_arms.cap_looks(self.for_seconds, self.every_seconds)


# --- a canary against its control -------------------------------------------------------------------------------------


def compare_seconds(traffic: Traffic, terms: Terms, factor: float, max_increase: float = 0.05) -> float:
    """After how many seconds a canary that is worse by *factor* fails, from the step on; infinite if it never does."""
    test = Test(1 + max_increase, terms.alpha, terms.cap_looks)
    rho, odds = traffic.canary_share, _odds(traffic.canary_share)
    if not (0 < rho < 1 and factor > test.tolerated and traffic.bad_per_second > 0):
        return math.inf
    if factor * traffic.bad_share > 1:
        return math.inf
    common = 1 - rho + rho * factor  # by how much the canary's errors raise those of both arms
    a_look = terms.every_seconds * traffic.bad_per_second * common
    spread = traffic.dispersion * max(1 - traffic.bad_share * common, SMALLEST_F)
    theta, theta0 = _part(odds, factor), _part(odds, test.tolerated)
    alternatives = [_part(odds, test.tolerated * worse) for worse in test.alternatives]
    paces = [_pace(theta, theta_j, theta0, a_look, spread, test.log_cap) for theta_j in alternatives]
    return _seconds(paces, [test.first * (1 - test.betting) * weight for weight in test.weights], terms)


def compare_seen(traffic: Traffic, terms: Terms, within_seconds: float, max_increase: float = 0.05) -> float | None:
    """The smallest factor that is seen *within_seconds* of the step, or None if none is, however large."""
    largest = min(LARGEST_FACTOR, 1 / traffic.bad_share) if traffic.bad_share > 0 else LARGEST_FACTOR
    return _smallest(
        lambda factor: compare_seconds(traffic, terms, factor, max_increase), 1 + max_increase, largest, within_seconds
    )


# --- a share against a bound ------------------------------------------------------------------------------------------


def ratio_seconds(traffic: Traffic, share: float, at_most: float, terms: Terms) -> float:
    """After how many seconds a share of bad events of *share*, above the bound *at_most*, fails, from the step on."""
    if not 0 < at_most < share <= 1 or traffic.events_per_second <= 0:
        return math.inf
    test = one_sample.at_most(at_most, terms.alpha, terms.cap_looks)
    a_look = terms.every_seconds * traffic.events_per_second
    paces = [_pace(share, one, at_most, a_look, traffic.dispersion, test.log_cap) for one in test.alternatives]
    weight = FIRST_WEIGHT / (HALVES * len(paces))
    return _seconds(paces, [weight] * len(paces), terms)


def ratio_seen(traffic: Traffic, at_most: float, terms: Terms, within_seconds: float) -> float | None:
    """The smallest share of bad events above the bound that is seen *within_seconds* of the step."""
    return _smallest(lambda share: ratio_seconds(traffic, share, at_most, terms), at_most, 1.0, within_seconds)


# --- both -------------------------------------------------------------------------------------------------------------


def _pace(true: float, alternative: float, null: float, a_look: float, spread: float, cap: float) -> float:
    """What a look with *a_look* trials, of which the share *true* succeeds, adds to the logarithm in the mean."""
    hit = math.log(alternative / null) / spread
    miss = math.log((1 - alternative) / (1 - null)) / spread
    mean = a_look * (true * hit + (1 - true) * miss)
    variance = a_look * spread * (true * hit * hit + (1 - true) * miss * miss)
    return _mean_of_capped(mean, math.sqrt(variance), cap)


def _mean_of_capped(mean: float, deviation: float, cap: float) -> float:
    """The mean of ``min(X, cap)`` of a normal X."""
    if math.isinf(cap) or deviation <= 0:
        return min(mean, cap)
    at = (cap - mean) / deviation
    below = 0.5 * math.erfc(-at / math.sqrt(2))
    density = math.exp(-at * at / 2) / math.sqrt(2 * math.pi)
    return mean * below - deviation * density + cap * (1 - below)


def _seconds(paces: Sequence[float], weights: Sequence[float], terms: Terms) -> float:
    """When ``sum_j weight_j exp(looks pace_j)`` reaches ``1/alpha``, and what passes beside. By bisection: it is convex
    in *looks*, so beyond its first crossing it stays above."""
    bar = -math.log(terms.alpha)
    fastest = max(paces)
    if fastest <= 0:
        return math.inf
    low, high = 0.0, (bar - math.log(min(weights))) / fastest
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        logs = [math.log(weight) + middle * pace for weight, pace in zip(weights, paces, strict=True)]
        largest = max(logs)
        total = largest + math.log(math.fsum(math.exp(one - largest) for one in logs))
        low, high = (low, middle) if total >= bar else (middle, high)
    return max(high, 1.0) * terms.every_seconds + terms.waiting_seconds  # nothing fails before the first look


def _smallest(seconds: Callable[[float], float], low: float, high: float, within_seconds: float) -> float | None:
    """The smallest value between *low* and *high* for which *seconds*, which falls with it, is within. By bisection."""
    if high <= low or seconds(high) > within_seconds:
        return None
    low, high = math.log(low), math.log(high)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if seconds(math.exp(middle)) <= within_seconds:
            high = middle
        else:
            low = middle
    return math.exp(high)


def _odds(share: float) -> float:
    return share / (1 - share) if share < 1 else math.inf


def _part(odds: float, factor: float) -> float:
    """``theta``: the canary's part of the bad events if it is worse by *factor*."""
    return odds * factor / (odds * factor + 1)
