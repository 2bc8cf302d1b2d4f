"""What share of the bad events the canary's keys had before they were the canary, and could have now.

Theory of operation. A flag draws keys, and errors cluster by key: if few keys cause most of the errors, the canary has
more or less of them than its share *rho* of the events by the luck of the draw, and again at each try, for the draw is
the same. But the keys are known, and so are the hours before the step. What enters the test in place of rho's odds
are these odds times ``exp`` of an upper bound of

    y = ln(odds of the cohort's share of the bad events) - ln(odds of its share of all events)

in the hours to come. Of *y* each past hour tells one value, with a counting error of variance ``phi (1/k + 1/(K-k))``
that is known. Beneath it lies a local level: a random walk (variance *q* an hour: keys begin and cease to fail) plus
noise of the hour (variance *r*). For each (q, r) of a small grid a Kalman filter gives the likelihood of the hours and
the normal prediction; the bound is a quantile of their mixture. At least two hours are needed.

Without such hours, the bands of the control show how much shares of bad events vary between groups of keys: the
variance of ``y`` of a group falls with the number of its keys, so each band tells of the variance of a group of 5 % of
them, and that of the canary's; what may be thought of it before the first count stands in ``BELIEFS``.

At a percentage that no band ends at, the canary has keys above the cohort. Of what the cohort covers of it, *y* is
known as above; the rest is as uncertain as a group of its size is.

Where *alpha* is a test's, half of it is for this bound and the other half for the test, whose evidence is halved.

References: Harvey (1989), "Forecasting, Structural Time Series Models and the Kalman Filter"; Durbin and Koopman
(2012), "Time Series Analysis by State Space Methods".
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]

STEPS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)  # standard deviations of the random walk over an hour
NOISES = (0.0, 0.03, 0.1, 0.2, 0.4, 0.8)  # and of an hour's noise
STEP_BELIEFS = (6.0, 1.0, 0.6, 0.35, 0.2, 0.1, 0.05)
NOISE_BELIEFS = (6.0, 1.0, 0.6, 0.3, 0.15, 0.08)
"""In each of them before the first hour: errors that are the same to all keys are the likeliest."""
LEVEL_VARIANCE = 4.0  # of y before anything is known: a cohort may well have a tenth or ten times its share
FEWEST_HOURS = 2
LEAST_COVERED = 0.5  # of the canary's keys, that the cohort says something of it
SPREADS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)  # standard deviations of y between groups of 5 % of the keys
BELIEFS = (1.5, 1.2, 1.0, 0.5, 0.2, 0.1, 0.05)  # in each of them, before anything is known of a flag's errors
_OF_PERCENT = 5.0
_STEP, _NOISE = (grid.ravel() ** 2 for grid in np.meshgrid(STEPS, NOISES, indexing="ij"))
_BELIEF = np.log(np.outer(STEP_BELIEFS, NOISE_BELIEFS).ravel())

_Z = np.linspace(-9.0, 9.0, 3601)
_LOG_UPPER = np.log([math.erfc(z / math.sqrt(2)) / 2 for z in _Z])


@dataclass(frozen=True, slots=True)
class Hours:
    """Events of the hours before, oldest first: of the cohort and of all drawn keys, each of shape (..., hours)."""

    bad: ArrayLike
    total: ArrayLike
    bad_all: ArrayLike
    total_all: ArrayLike


@dataclass(frozen=True, slots=True)
class Outlook:
    """A mixture of normal predictions of ``y``, *weights* to *hourly* of shape (..., grid).

    *variances*: of an hour right behind what was seen; *hourly*: by how much they grow with each hour ahead.
    *usable*, of shape (...): whether there was enough to see. *noise*, likewise: the variance of an hour's own.
    """

    weights: Numbers
    means: Numbers
    variances: Numbers
    hourly: Numbers
    usable: NDArray[np.bool_]
    noise: Numbers

    def bounds(self, chance: ArrayLike, ahead_hours: ArrayLike) -> tuple[Numbers, Numbers]:
        """What ``y`` is below, and above, with *chance* each in an hour so far ahead. Shape (...)."""
        lower = -_upper_quantile(self.weights, -self.means, self._spread(ahead_hours), chance)
        return lower, self.upper(chance, ahead_hours)

    def upper(self, chance: ArrayLike, ahead_hours: ArrayLike) -> Numbers:
        """The second of :meth:`bounds` alone."""
        return _upper_quantile(self.weights, self.means, self._spread(ahead_hours), chance)

    def _spread(self, ahead_hours: ArrayLike) -> Numbers:
        spread: Numbers = np.sqrt(self.variances + np.asarray(ahead_hours, np.float64)[..., None] * self.hourly)
        return spread


def outlook(y: Numbers, variance: Numbers) -> Outlook:
    """Filters *y* with known error *variance*, both (..., hours); an infinite variance is an hour without a value."""
    shape = (*y.shape[:-1], _STEP.size)
    means, variances, fit = np.zeros(shape), np.full(shape, LEVEL_VARIANCE), np.zeros(shape)
    for hour in range(y.shape[-1]):
        variances = variances + (_STEP if hour else 0.0)
        known = np.isfinite(variance[..., hour])[..., None]
        error = np.where(known, variance[..., hour, None], 1.0) + _NOISE
        total = variances + error
        surprise = np.where(known, y[..., hour, None], 0.0) - means
        fit = fit - np.where(known, np.log(total) + np.square(surprise) / total, 0.0) / 2
        gain = np.where(known, variances / total, 0.0)
        means, variances = means + gain * surprise, variances * (1 - gain)
    weights = _normed(fit + _BELIEF)
    usable = np.isfinite(variance).sum(-1) >= FEWEST_HOURS
    hourly, noise = np.broadcast_to(_STEP, shape), (weights * _NOISE).sum(-1)
    return Outlook(weights, means, variances + _NOISE, hourly, usable, noise)


def shares_of_bad(hours: Hours, dispersion: ArrayLike = 1.0) -> Outlook:
    """The outlook on *y*. Hours without bad events, or in which the cohort was nobody or everybody, say nothing."""
    bad, total, bad_all, total_all = (
        np.asarray(value, np.float64) for value in (hours.bad, hours.total, hours.bad_all, hours.total_all)
    )
    rest_bad, rest_total = np.maximum(bad_all - bad, 0.0) + 0.5, total_all - total
    known = (bad_all > 0) & (total > 0) & (rest_total > 0)
    odds = np.where(known, total, 1.0) / np.where(known, rest_total, 1.0)
    phi = np.asarray(dispersion, np.float64)[..., None]
    variance = np.where(known, phi * (1 / (bad + 0.5) + 1 / rest_bad), np.inf)
    return outlook(np.log((bad + 0.5) / rest_bad / odds), variance)


@dataclass(frozen=True, slots=True)
class Bands:
    """Events of groups of keys that are drawn alike, each of shape (..., bands); *widths* in per cent of all keys."""

    bad: ArrayLike
    total: ArrayLike
    widths: ArrayLike


def spread_of_groups(bands: Bands, dispersion: ArrayLike = 1.0) -> Numbers:
    """How probable each of ``SPREADS`` is, of shape (..., spreads). Bands without events say nothing."""
    bad, total, widths = (np.asarray(value, np.float64) for value in (bands.bad, bands.total, bands.widths))
    rest_bad, rest_total = bad.sum(-1, keepdims=True) - bad + 0.5, total.sum(-1, keepdims=True) - total
    known = (total > 0) & (rest_total > 0)
    odds = np.where(known, total, 1.0) / np.where(known, rest_total, 1.0)
    y = np.log((bad + 0.5) / rest_bad / odds)
    phi = np.asarray(dispersion, np.float64)[..., None]
    counting = phi * (1 / (bad + 0.5) + 1 / rest_bad)
    inverse = 1 / widths + 1 / np.maximum(widths.sum(-1, keepdims=True) - widths, 1e-3)
    variance = np.square(SPREADS) * _OF_PERCENT * inverse[..., None] + counting[..., None]
    fit = np.log(variance) + np.square(y)[..., None] / variance
    return _normed(np.log(BELIEFS) - np.where(known[..., None], fit, 0.0).sum(-2) / 2)


def like_other_groups(spreads: Numbers, width: float, rest_width: float) -> Outlook:
    """The outlook on *y* of keys of whom nothing is known but how groups vary: *width* per cent against the rest."""
    variances = np.square(SPREADS) * _OF_PERCENT * (1 / width + 1 / rest_width)
    nothing = np.zeros_like(spreads)
    usable = np.ones(spreads.shape[:-1], np.bool_)
    return Outlook(spreads, nothing, nothing + variances, nothing, usable, np.zeros(spreads.shape[:-1]))


def partly(known: Outlook, covered: float, spreads: Numbers, width: float) -> Outlook:
    """The outlook if only the share *covered* of the canary's *width* per cent is *known*: ``covered y + (1 - covered)
    y'``, which is the logarithm of a mean where both are small."""
    if covered >= 1:
        return known
    others = (spreads * np.square(SPREADS)).sum(-1) * _OF_PERCENT / (width * (1 - covered))
    variances = covered**2 * known.variances + ((1 - covered) ** 2 * others)[..., None]
    return replace(known, means=covered * known.means, variances=variances, hourly=covered**2 * known.hourly)


def _normed(fit: Numbers) -> Numbers:
    """Probabilities of logarithms of likelihoods, over the last axis."""
    weights = np.exp(fit - fit.max(-1, keepdims=True))
    normed: Numbers = weights / weights.sum(-1, keepdims=True)
    return normed


def _upper_quantile(weights: Numbers, means: Numbers, spread: Numbers, chance: ArrayLike) -> Numbers:
    """Where the mixture's chance to be above falls to *chance*, by bisection."""
    wanted = np.asarray(chance, np.float64)
    low, high = (means - 9 * spread).min(-1), (means + 9 * spread).max(-1)
    for _ in range(40):
        middle = (low + high) / 2
        above = (weights * _upper((middle[..., None] - means) / spread)).sum(-1) > wanted
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray((low + high) / 2, np.float64)


def _upper(z: Numbers) -> Numbers:
    """The chance that a standard normal variable is above *z*."""
    chance: Numbers = np.exp(np.interp(z, _Z, _LOG_UPPER))
    return chance
