"""By how much bad events that come in bunches exceed the variance of independent ones.

Theory of operation. Of *M* bad events in two neighbouring intervals, each arm (or band, or series of the control)
should have the same share in both. Pearson's chi-square of that 2 x B table, times ``(M - 1) / M``, has exactly the
mean ``B - 1`` for events drawn independently, however few they are, and ``phi (B - 1)`` if they come in bunches within
which the arm is the same, ``phi`` being the mean size of a bunch as an event sees it. So the mean of these over many
pairs, each divided by its ``f`` (what drawing without replacement takes off), estimates ``phi``.

A difference between arms or bands that lasts is in both intervals of a pair and adds nothing: a real effect does not
hide itself, and neither does a level that swings. What is new, the moment at which an effect or an incident begins or a
blip, is in few pairs; and no pair counts for more than a few times what was known before.

What goes on for several intervals (a storm of retries, in which each error breeds others in the same arm) is in both
neighbours as well. So intervals that lie ``FAR`` apart are compared too. If they differ more than neighbours do, bad
events come in waves: with a correlation ``c = 1 - near / far`` between neighbours that falls off geometrically, a long
sum has the dispersion ``far (1 + c) / (1 - c)``. In a wave the share of the next look can be told from the last one,
which no test here knows of; three times that dispersion is what by simulation keeps it from failing healthy releases.

The estimate is used for the looks after those that it came from, so that a stake or a temper is fixed before the
counts it applies to.

Reference: Haldane (1940), "The mean and variance of chi-square, when used as a test of homogeneity, when expectations
are small", for the mean at small counts.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.values import Json

Numbers = NDArray[np.float64]

PRIOR_PAIRS = 4.0  # independent events are believed in as if so many pairs had been seen
HISTORY_PAIRS = 60.0  # at most so much does the time before the step count
FAR = 8  # intervals
LARGEST_PAIR, LARGEST_FAR_PAIR = 16.0, 5.0  # what is new is in 1 pair of neighbours, and in 8 of the others
CAREFUL = 0.7  # standard errors by which an estimate of few pairs is taken to be too large
WAVES_FROM = 1.75  # standard errors by which far pairs must differ more than near ones
WAVES_TIMES = 3.0
_LARGEST_CORRELATION = 0.9
SMALLEST_F = 0.05
_LARGEST = 1e15


@dataclass(frozen=True, slots=True)
class Spread:
    """What was learned so far: sums of chi-squares and of their degrees of freedom, of neighbours and of intervals
    ``FAR`` apart; all of shape (...).

    *bad* and *total* are those of the intervals before, newest last, of shape (..., FAR, B); NaN where there is none.
    """

    chi: Numbers
    freedom: Numbers
    far_chi: Numbers
    far_freedom: Numbers
    bad: Numbers
    total: Numbers

    @classmethod
    def begin(cls, shape: tuple[int, ...] = (), parts: int = 2) -> Self:
        nothing, none = np.full((*shape, FAR, parts), np.nan), np.zeros(shape)
        return cls(none, none, none, none, nothing, nothing)

    @property
    def phi(self) -> Numbers:
        """The dispersion, at least 1."""
        near, far = _mean(self.chi, self.freedom), _mean(self.far_chi, self.far_freedom)
        near_error, far_error = 2 / (self.freedom + PRIOR_PAIRS), 2 / (self.far_freedom + PRIOR_PAIRS)
        phi: Numbers = np.maximum(near / _taken_off(self.freedom), 1.0)
        is_wave = far > near * (1 + WAVES_FROM * np.sqrt(near_error + far_error))
        correlation = np.clip(1 - near / far, 0.0, _LARGEST_CORRELATION)
        waves = WAVES_TIMES * far * (1 + correlation) / (1 - correlation)
        return np.where(is_wave, np.maximum(waves, phi), phi)

    def learn(self, bad: ArrayLike, total: ArrayLike) -> "Spread":
        """After one more interval. Both of shape (..., B): bad events and all events by arm or band."""
        bad, total = np.asarray(bad, np.float64), np.asarray(total, np.float64)
        near, far = ((self.bad[..., at, :], self.total[..., at, :]) for at in (-1, 0))
        return Spread(
            *_added((self.chi, self.freedom), near, (bad, total), LARGEST_PAIR),
            *_added((self.far_chi, self.far_freedom), far, (bad, total), LARGEST_FAR_PAIR),
            np.concatenate((self.bad[..., 1:, :], bad[..., None, :]), axis=-2),
            np.concatenate((self.total[..., 1:, :], total[..., None, :]), axis=-2),
        )

    def gap(self) -> "Spread":
        """What comes next is no neighbour of what was last."""
        nothing = np.full_like(self.bad, np.nan)
        return replace(self, bad=nothing, total=nothing)

    def joined(self, before: "Spread") -> "Spread":
        """With what was learned before this one began, each weighed by its pairs. Of use for ``phi``."""
        freedom = self.freedom + before.freedom
        phi = (self.phi * self.freedom + before.phi * before.freedom) / np.maximum(freedom, 1e-9)
        none = np.zeros_like(freedom)
        return replace(self, chi=_chi_of(phi, freedom), freedom=freedom, far_chi=none, far_freedom=none)

    def to_json(self) -> Json:
        known = int(np.isfinite(self.bad).all(-1).reshape(-1, FAR).all(0).sum())
        sums = {name: getattr(self, name).tolist() for name in _SUMS}
        return {
            **sums,
            "bad": self.bad[..., FAR - known :, :].tolist(),
            "total": self.total[..., FAR - known :, :].tolist(),
        }

    @classmethod
    def from_json(cls, value: Any, shape: tuple[int, ...] = (), parts: int = 2) -> Self:
        """A new one for what :meth:`to_json` never wrote of one of that *shape*."""
        begun = cls.begin(shape, parts)
        if not isinstance(value, dict):
            return begun
        try:
            sums = {name: np.array(value.get(name), np.float64) for name in _SUMS}
            bad, total = (_padded(np.array(value.get(name), np.float64), begun.bad) for name in ("bad", "total"))
        except (TypeError, ValueError):
            return begun
        is_sound = all(_is_sum(one, shape) for one in sums.values())
        return cls(**sums, bad=bad, total=total) if is_sound else begun


_SUMS = ("chi", "freedom", "far_chi", "far_freedom")


def of_history(bad: ArrayLike, total: ArrayLike) -> Spread:
    """From intervals before the step: (..., intervals, B). Weighs at most as much as ``HISTORY_PAIRS``."""
    bad, total = np.asarray(bad, np.float64), np.asarray(total, np.float64)
    *shape, intervals, parts = bad.shape
    spread = Spread.begin(tuple(shape), parts)
    for index in range(intervals):
        spread = spread.learn(bad[..., index, :], total[..., index, :])
    freedom = np.minimum(spread.freedom, HISTORY_PAIRS)
    return replace(Spread.begin(tuple(shape)), chi=_chi_of(spread.phi, freedom), freedom=freedom)


def _is_sum(numbers: Numbers, shape: tuple[int, ...]) -> bool:
    return numbers.shape == shape and bool(((numbers >= 0) & (numbers <= _LARGEST)).all())  # NaN compares false


def _mean(chi: Numbers, freedom: Numbers) -> Numbers:
    mean: Numbers = (chi + PRIOR_PAIRS) / (freedom + PRIOR_PAIRS)
    return mean


def _taken_off(freedom: Numbers) -> Numbers:
    off: Numbers = 1 + CAREFUL * np.sqrt(2 / (freedom + PRIOR_PAIRS))
    return off


def _chi_of(phi: Numbers, freedom: Numbers) -> Numbers:
    """The sum of chi-squares from which *phi* comes out again."""
    chi: Numbers = np.maximum(phi * _taken_off(freedom) * (freedom + PRIOR_PAIRS) - PRIOR_PAIRS, 0.0)
    return chi


def _added(
    sums: tuple[Numbers, Numbers], before: tuple[Numbers, Numbers], now: tuple[Numbers, Numbers], largest: float
) -> tuple[Numbers, Numbers]:
    """Both sums after a pair of intervals, each bad and all events of shape (..., B)."""
    more, degrees = _chi_square(before[0], now[0], before[1] + now[1])
    more = np.minimum(more, largest * np.maximum(_mean(*sums), 1.0) * degrees)
    return sums[0] + more, sums[1] + degrees


def _padded(rows: Numbers, like: Numbers) -> Numbers:
    """*rows*, newest last, in the shape of *like*. Raises ValueError if they are not of it."""
    if rows.size == 0:
        return like
    if rows.ndim != like.ndim:
        raise ValueError("intervals of another shape")
    padded = like.copy()
    padded[..., FAR - rows.shape[-2] :, :] = rows
    return padded


def _chi_square(before: Numbers, now: Numbers, total: Numbers) -> tuple[Numbers, Numbers]:
    """Chi-square over ``f``, and its degrees of freedom: 0 of both where there is nothing to compare."""
    both = before + now
    rows = before.sum(-1), now.sum(-1)
    bad = rows[0] + rows[1]
    usable = (rows[0] > 0) & (rows[1] > 0) & (bad > 1)  # false where there was no interval before: NaN
    with np.errstate(invalid="ignore", divide="ignore"):
        f = np.maximum(1 - bad / total.sum(-1), SMALLEST_F)
        cells = np.square(before * rows[1][..., None] - now * rows[0][..., None]) / both
        chi = np.where(both > 0, cells, 0.0).sum(-1) * (bad - 1) / (rows[0] * rows[1] * bad * f)
    parts = (both > 0).sum(-1)
    usable &= parts > 1
    return np.where(usable, chi, 0.0), np.where(usable, parts - 1.0, 0.0)
