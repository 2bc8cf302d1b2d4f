"""The sequential test of a canary's bad events against those of a concurrent control.

Theory of operation. In one look there were *K* bad events in both arms, *k* of them in the canary, which had the share
*rho* of all events. A canary that is worse by the factor *r* has ``theta(r) = o r / (o r + 1)`` of the bad ones, ``o``
being its odds ``rho / (1 - rho)``, whatever the level common to both arms does: load, time of day and incidents on
both cancel. Against the largest *r* that is tolerated (``r0``) stand five alternatives, and for each two factors:

    likelihood  [(theta_j / theta0)^k ((1 - theta_j) / (1 - theta0))^(K - k)] ^ (1 / (phi f))
    betting     1 + lambda_j (k / K - theta0)

``f = 1 - K/N`` is what drawing without replacement takes off the variance, ``phi`` the dispersion by which events that
come in bunches exceed it. The betting factor is at most 1 in the mean under ``r <= r0`` whatever the dispersion, since
its stake is fixed before *k* is known; the likelihood is faster where events are independent. Products over looks are
e-processes, and so is every mean of them: over alternatives, halves, and times at which the change for the worse may
have begun. By Ville's inequality their mean ever reaches ``1/alpha`` on a healthy release with probability ``alpha``
at most, however often one looks.

How late a change for the worse may begin, and that it comes with a step most likely, is ``stages.statistics.onsets``.

A factor is capped at ``(1 / (first alpha))^(1 / cap_looks)``: so many looks at least must speak against the release
until it fails. A cap only makes a factor smaller, so it costs speed and no validity.

The same machinery runs against the hypothesis that the canary is worse by half or more, with alternatives below it.

References: Ville (1939); Shafer (2021), "Testing by betting"; Waudby-Smith and Ramdas (2024), "Estimating means of
bounded random variables by betting"; Lindon and Malek (2022), "Anytime-valid inference for multinomial count data";
Howard, Ramdas, McAuliffe and Sekhon (2021).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.statistics import onsets
from stages.statistics.onsets import Numbers, Started, carried_on

WORSE = (1.1, 1.25, 1.4, 2.0, 4.0)
"""Alternatives against "not worse than tolerated", as multiples of what is tolerated."""
WORSE_WEIGHTS = (0.04, 0.08, 0.4, 0.28, 0.2)
BETTER = (0.4, 0.55, 0.64, 0.72, 0.8)
"""Alternatives against "worse by half", likewise: 0.67 of it is a canary that is as good as the control."""
BETTER_WEIGHTS = (0.1, 0.2, 0.3, 0.3, 0.1)
EXCLUDED = 1.5
ENOUGH = 20.0
"""At this evidence against "worse by half" a step may be left early; against the release, the run holds."""

SMALLEST_F = 0.05
LARGEST_STAKE = 0.95  # of what one has: a look never costs more
INCIDENT = 0.5  # share of bad events above which nothing is compared, if the control has it too
_LARGEST_ODDS = 1e9


@dataclass(frozen=True, slots=True)
class Test:
    """*tolerated*: ``r0``, 1 plus the tolerated increase. *cap_looks*: ``for`` in looks; 0 leaves factors uncapped.

    *first*: the weight of the start of evidence among all onsets; *betting*: that of the betting half.
    """

    tolerated: float
    alpha: float
    cap_looks: float
    onset_seconds: float = 300.0
    alternatives: tuple[float, ...] = WORSE
    weights: tuple[float, ...] = WORSE_WEIGHTS
    first: float = 0.4
    betting: float = 0.5

    @property
    def log_bar(self) -> float:
        """Logarithm of the evidence at which this test fails by itself."""
        return -math.log(self.alpha)

    @property
    def log_cap(self) -> float:
        """Logarithm of the largest factor of a look."""
        return -math.log(self.first * self.alpha) / self.cap_looks if self.cap_looks > 0 else math.inf


def cap_looks(for_seconds: float, look_seconds: float) -> float:
    """``cap_looks`` of a ``for``. What lasts so long and begins between two looks touches one look more: half of that
    is added, so that a disturbance a little shorter than ``for`` seldom fails a release.
    """
    return for_seconds / look_seconds + 0.5 if for_seconds > 0 else 0.0


def against_worse_by_half(cap_looks: float, onset_seconds: float = 300.0) -> Test:
    """A bet that a share lies low wins little on each look, so nearly all is put on the likelihood."""
    return Test(EXCLUDED, 1 / ENOUGH, cap_looks, onset_seconds, BETTER, BETTER_WEIGHTS, first=0.8, betting=0.1)


@dataclass(frozen=True, slots=True)
class Counts:
    """Events of one look, all of the same (leading) shape. *dispersion*: ``phi``, at least 1, from before this look.

    *odds* stand for the canary's odds ``n / (N - n)``, where those of its share of bad events are known otherwise.
    """

    bad: ArrayLike
    total: ArrayLike
    bad_both: ArrayLike
    total_both: ArrayLike
    dispersion: ArrayLike = 1.0
    odds: ArrayLike | None = None


def begin(shape: tuple[int, ...] = ()) -> Started:
    """No evidence yet."""
    return Started.begin(len(WORSE), shape)


def from_json(value: Any, shape: tuple[int, ...] = ()) -> Started:
    return Started.from_json(value, len(WORSE), shape)


def look(test: Test, state: Started, counts: Counts, from_seconds: ArrayLike) -> Started:
    """*from_seconds*: when the interval that was counted began, since the evidence began or the last step did.

    A look that cannot speak (see :func:`speaks`) changes nothing. An onset that fell between looks starts with the
    next one: without looks it would have stood still.
    """
    spoken = speaks(counts)
    factors = np.minimum(_log_factors(test, counts, spoken), test.log_cap)
    return carried_on(state, factors, spoken, from_seconds, test.onset_seconds, test.first)


def log_evidence(test: Test, state: Started) -> Numbers:
    """Natural logarithm of the evidence; 0 at the start."""
    return onsets.log_evidence(state, np.multiply.outer((1 - test.betting, test.betting), test.weights))


def speaks(counts: Counts) -> NDArray[np.bool_]:
    """Whether a look can say anything: both arms had events, there was a bad one, and no incident hit both."""
    bad, total = np.asarray(counts.bad, np.float64), np.asarray(counts.total, np.float64)
    bad_both, total_both = np.asarray(counts.bad_both, np.float64), np.asarray(counts.total_both, np.float64)
    control_bad, control_total = bad_both - bad, total_both - total
    incident = (bad_both > INCIDENT * total_both) & (control_bad > INCIDENT * control_total)
    spoken: NDArray[np.bool_] = (bad_both > 0) & (total > 0) & (control_total > 0) & ~incident
    return spoken


def _log_factors(test: Test, counts: Counts, spoken: NDArray[np.bool_]) -> Numbers:
    """Shape (..., 2, alternatives); of looks that do not speak, anything finite."""
    bad, total, bad_both, total_both = (
        np.where(spoken, value, usual)
        for value, usual in ((counts.bad, 0.0), (counts.total, 1.0), (counts.bad_both, 1.0), (counts.total_both, 2.0))
    )
    odds = total / (total_both - total) if counts.odds is None else np.where(spoken, counts.odds, 1.0)
    odds = np.clip(odds, 1 / _LARGEST_ODDS, _LARGEST_ODDS)
    f = np.maximum(1 - bad_both / total_both, SMALLEST_F)
    k, both, o = bad[..., None], bad_both[..., None], odds[..., None]
    spread = (np.asarray(counts.dispersion, np.float64) * f)[..., None]
    worse = np.asarray(test.alternatives)
    r0, r = test.tolerated, test.tolerated * worse
    theta0, theta = o * r0 / (o * r0 + 1), o * r / (o * r + 1)
    likelihood = (k * np.log(worse) - both * np.log1p((worse - 1) * theta0)) / spread
    stake = (theta - theta0) * both / (theta * (1 - theta) * spread)
    stake = np.clip(stake, -LARGEST_STAKE / (1 - theta0), LARGEST_STAKE / theta0)
    betting = np.log1p(stake * (k / both - theta0))
    return np.stack((likelihood, betting), axis=-2)
