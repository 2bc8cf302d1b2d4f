"""The sequential test of a share of bad events against a bound, where there is no control to compare with.

Theory of operation. A look counted *k* bad events of *n*. Against ``p <= bound`` stand four alternatives ``p_j``, and
for each two factors:

    likelihood  [(p_j / bound)^k ((1 - p_j) / (1 - bound))^(n - k)] ^ (1 / phi)
    betting     1 + lambda_j (k / n - bound)

``phi >= 1`` is the dispersion, by which events that come in bunches vary more than independent ones. The betting factor
is at most 1 in the mean while the share is at most *bound*, whatever the dispersion and however the share moves below
it, since its stake is fixed before *k* is known; so is the likelihood if ``phi`` is not too small, for which events
that are independent need only 1. Their products over looks, and the means of these over alternatives, halves and
onsets (``stages.statistics.onsets``), are e-processes: by Ville's inequality the mean ever reaches ``1/alpha`` with
probability ``alpha`` at most, however often one looks.

A factor is capped at ``(2 / alpha)^(1 / cap_looks)``, so at least that many looks must speak against the service until
it fails. That costs speed and no validity; it is what keeps a short outage from being taken for a level.

The dispersion is estimated from the looks before. The share of two looks in a row is compared, so a level that rises
for good counts once and what goes to and fro counts always:

    phi = (sum over pairs of (k1 - n1 q)^2/n1 + (k2 - n2 q)^2/n2) / (sum over pairs of q (1 - q)),   q = (k1+k2)/(n1+n2)

with old pairs fading, and a few pairs of a usual dispersion before any were seen.

The same machinery tests ``p >= bound``, with alternatives below it.

References: Ville (1939); Wald (1945); Shafer (2021), "Testing by betting"; Waudby-Smith and Ramdas (2024), "Estimating
means of bounded random variables by betting"; Howard, Ramdas, McAuliffe and Sekhon (2021), "Time-uniform,
nonparametric, nonasymptotic confidence sequences"; McCullagh and Nelder (1989), chapter 4.5, on dispersion.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from stages.statistics.onsets import FIRST_WEIGHT, Numbers, Started, Truths, carried_on
from stages.values import Json

WORSE = (1.25, 1.6, 2.5, 6.0)
"""Alternatives against "at most the bound", as multiples of it."""
BETTER = (0.1, 0.3, 0.5, 0.67, 0.8)
"""Alternatives against "at least the bound", likewise."""

LARGEST_STAKE = 0.95  # of what one has: a look never costs more
USUAL_DISPERSION = 2.0
USUAL_PAIRS = 4.0
FADING = 0.995  # of a pair's weight at each later one: half of it is gone after 140
SMALLEST_SHARE = 1e-9
ONSET_SECONDS = 120.0  # a rise far above the bound waits for the next onset, so they are close


def multiplied(share: float, times: float) -> float:
    """*share* times *times*, but below 1: what is large already comes closer to 1 by as much instead."""
    return min(share * times, 1 - (1 - share) / times) if times > 1 else share * times


@dataclass(frozen=True, slots=True)
class Test:
    """Of the share against *bound*. *cap_looks*: ``for`` in looks; 0 leaves factors uncapped."""

    bound: float
    alpha: float
    cap_looks: float
    alternatives: tuple[float, ...]
    onset_seconds: float = ONSET_SECONDS

    @property
    def log_bar(self) -> float:
        """Logarithm of the evidence at which this test has decided by itself."""
        return -math.log(self.alpha)

    @property
    def log_cap(self) -> float:
        """Logarithm of the largest factor of a look."""
        return -math.log(FIRST_WEIGHT * self.alpha) / self.cap_looks if self.cap_looks > 0 else math.inf


def at_most(bound: float, alpha: float, cap_looks: float, times: Sequence[float] = WORSE) -> Test:
    """The test that rejects "the share is at most *bound*"."""
    return Test(bound, alpha, cap_looks, tuple(multiplied(bound, one) for one in times))


def at_least(bound: float, alpha: float, cap_looks: float, times: Sequence[float] = BETTER) -> Test:
    """The test that rejects "the share is at least *bound*"."""
    return Test(bound, alpha, cap_looks, tuple(multiplied(bound, one) for one in times))


@dataclass(frozen=True, slots=True)
class Counts:
    """Events of one look, all of the same (leading) shape. *dispersion*: from the looks before this one."""

    bad: ArrayLike
    total: ArrayLike
    dispersion: ArrayLike = 1.0


def look(test: Test, started: Started, counts: Counts, from_seconds: ArrayLike) -> Started:
    """*from_seconds*: when the interval that was counted began, since the evidence began. Without events all stays."""
    spoken = np.asarray(counts.total, np.float64) > 0
    factors = np.minimum(_log_factors(test, counts, spoken), test.log_cap)
    return carried_on(started, factors, spoken, from_seconds, test.onset_seconds)


def _log_factors(test: Test, counts: Counts, spoken: Truths) -> Numbers:
    """Shape (..., 2, alternatives); of looks without events, anything finite."""
    k = np.where(spoken, counts.bad, 0.0)[..., None]
    n = np.where(spoken, counts.total, 1.0)[..., None]
    spread = np.maximum(np.asarray(counts.dispersion, np.float64), 1.0)[..., None]
    p0, p = test.bound, np.maximum(np.asarray(test.alternatives), SMALLEST_SHARE)
    likelihood = (k * np.log(p / p0) + (n - k) * np.log((1 - p) / (1 - p0))) / spread
    stake = np.clip((p - p0) * n / (p * (1 - p) * spread), -LARGEST_STAKE / (1 - p0), LARGEST_STAKE / p0)
    betting = np.log1p(stake * (k / n - p0))
    return np.stack((likelihood, betting), axis=-2)


@dataclass(frozen=True, slots=True)
class Dispersion:
    """What of the pairs of looks is remembered, all of one (leading) shape: the look before, and the two sums."""

    bad: Numbers
    total: Numbers
    squares: Numbers
    variances: Numbers

    @classmethod
    def begin(cls, shape: tuple[int, ...] = ()) -> Self:
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape))

    def value(self, usual_share: float) -> Numbers:
        """The dispersion, at least 1. *usual_share*: of bad events, which says what a few pairs weigh."""
        usual = USUAL_PAIRS * usual_share * (1 - usual_share)
        found: Numbers = np.maximum((self.squares + USUAL_DISPERSION * usual) / (self.variances + usual), 1.0)
        return found

    def to_json(self) -> Json:
        """Of one gate, not of many."""
        return [float(one) for one in (self.bad, self.total, self.squares, self.variances)]

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """A new one for what :meth:`to_json` never wrote."""
        try:
            parts = np.array(value, np.float64)
        except (TypeError, ValueError):
            return cls.begin()
        if parts.shape != (4,) or not np.all(np.isfinite(parts)) or np.any(parts < 0) or parts[0] > parts[1]:
            return cls.begin()
        return cls(*(np.array(one) for one in parts))


def with_look(dispersion: Dispersion, bad: ArrayLike, total: ArrayLike) -> Dispersion:
    """After a look; one without events is left out."""
    k2, n2 = np.asarray(bad, np.float64), np.asarray(total, np.float64)
    spoken = n2 > 0
    paired = spoken & (dispersion.total > 0)
    n1, n2_safe = np.where(paired, dispersion.total, 1.0), np.where(paired, n2, 1.0)
    k1, k2_safe = np.where(paired, dispersion.bad, 0.0), np.where(paired, k2, 0.0)
    q = (k1 + k2_safe) / (n1 + n2_safe)
    squares = (k1 - n1 * q) ** 2 / n1 + (k2_safe - n2_safe * q) ** 2 / n2_safe
    return Dispersion(
        bad=np.where(spoken, k2, dispersion.bad),
        total=np.where(spoken, n2, dispersion.total),
        squares=np.where(paired, FADING * dispersion.squares + squares, dispersion.squares),
        variances=np.where(paired, FADING * dispersion.variances + q * (1 - q), dispersion.variances),
    )
