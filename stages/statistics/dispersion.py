"""By how much bad events that come in bunches exceed the variance of independent ones.

Theory of operation. Of *M* bad events in two neighbouring intervals, each arm (or band, or series of the control)
should have the same share in both. Pearson's chi-square of that 2 x B table, times ``(M - 1) / M``, has exactly the
mean ``B - 1`` for events drawn independently, however few they are, and ``phi (B - 1)`` if they come in bunches within
which the arm is the same, ``phi`` being the mean size of a bunch as an event sees it. So the mean of these over many
pairs, each divided by its ``f`` (what drawing without replacement takes off), estimates ``phi``.

Only neighbours are compared. A difference between arms or bands that lasts is in both intervals of a pair and adds
nothing: a real effect does not hide itself, and neither does a level that swings. What is new, the moment at which an
effect or an incident begins or a blip, is a single pair; no pair counts for more than 16 times what was known before.

The estimate is used for the looks after those that it came from, so that a stake or a temper is fixed before the
counts it applies to.

Reference: Haldane (1940), "The mean and variance of chi-square, when used as a test of homogeneity, when expectations
are small", for the mean at small counts.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.values import Json

Numbers = NDArray[np.float64]

PRIOR_PAIRS = 4.0  # independent events are believed in as if so many pairs had been seen
HISTORY_PAIRS = 60.0  # at most so much does the time before the step count
LARGEST_PAIR = 16.0
SMALLEST_F = 0.05
_LARGEST = 1e15


@dataclass(frozen=True, slots=True)
class Spread:
    """What was learned so far: the sum of chi-squares over that of their degrees of freedom; shape (...).

    *bad* and *total* are those of the interval before, of shape (..., B), NaN if there is none.
    """

    chi: Numbers
    freedom: Numbers
    bad: Numbers
    total: Numbers

    @classmethod
    def begin(cls, shape: tuple[int, ...] = (), parts: int = 2) -> Self:
        nothing = np.full((*shape, parts), np.nan)
        return cls(np.zeros(shape), np.zeros(shape), nothing, nothing)

    @property
    def phi(self) -> Numbers:
        """The dispersion, at least 1."""
        estimate: Numbers = np.maximum(self._estimate, 1.0)
        return estimate

    @property
    def _estimate(self) -> Numbers:
        mean: Numbers = (self.chi + PRIOR_PAIRS) / (self.freedom + PRIOR_PAIRS)
        return mean

    def learn(self, bad: ArrayLike, total: ArrayLike) -> "Spread":
        """After one more interval. Both of shape (..., B): bad events and all events by arm or band."""
        bad, total = np.asarray(bad, np.float64), np.asarray(total, np.float64)
        chi, freedom = _chi_square(self.bad, bad, self.total + total)
        chi = np.minimum(chi, LARGEST_PAIR * np.maximum(self._estimate, 1.0) * freedom)
        return Spread(self.chi + chi, self.freedom + freedom, bad, total)

    def gap(self) -> "Spread":
        """What comes next is no neighbour of what was last."""
        nothing = np.full_like(self.bad, np.nan)
        return Spread(self.chi, self.freedom, nothing, nothing)

    def joined(self, before: "Spread") -> "Spread":
        """With what was learned before this one began."""
        return Spread(self.chi + before.chi, self.freedom + before.freedom, self.bad, self.total)

    def to_json(self) -> Json:
        is_known = bool(np.isfinite(self.bad).all())
        last = {"bad": self.bad.tolist(), "total": self.total.tolist()} if is_known else {}
        return {"chi": self.chi.tolist(), "freedom": self.freedom.tolist(), **last}

    @classmethod
    def from_json(cls, value: Any, shape: tuple[int, ...] = (), parts: int = 2) -> Self:
        """A new one for what :meth:`to_json` never wrote of one of that *shape*."""
        begun = cls.begin(shape, parts)
        if not isinstance(value, dict):
            return begun
        try:
            chi, freedom = (np.array(value.get(name), np.float64) for name in ("chi", "freedom"))
            bad, total = (np.array(value.get(name, begun.bad), np.float64) for name in ("bad", "total"))
        except (TypeError, ValueError):
            return begun
        if (chi.shape, freedom.shape, bad.shape, total.shape) != (shape, shape, begun.bad.shape, begun.bad.shape):
            return begun
        sound = all(((numbers >= 0) & (numbers <= _LARGEST)).all() for numbers in (chi, freedom))  # NaN compares false
        return cls(chi, freedom, bad, total) if sound else begun


def of_history(bad: ArrayLike, total: ArrayLike) -> Spread:
    """From intervals before the step: (..., intervals, B). Weighs at most as much as ``HISTORY_PAIRS``."""
    bad, total = np.asarray(bad, np.float64), np.asarray(total, np.float64)
    *shape, intervals, parts = bad.shape
    spread = Spread.begin(tuple(shape), parts)
    for index in range(intervals):
        spread = spread.learn(bad[..., index, :], total[..., index, :])
    weight = np.minimum(1.0, HISTORY_PAIRS / np.maximum(spread.freedom, 1.0))
    begun = Spread.begin(tuple(shape))
    return Spread(spread.chi * weight, spread.freedom * weight, begun.bad, begun.total)


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
