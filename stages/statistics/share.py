"""Whether the canary has the share of the requests that it should have.

Theory of operation. If requests of the canary vanish (the new code crashes before it counts, or sends its users away),
or arrive twice, a comparison of what is left says nothing. In requests the canary's share is not the percentage, for
users are unequal; but the same keys had a share before the step as well. Its log odds, hour by hour, have a local level
as in ``cohort``, and so a range for the hours to come, which is left with the chance ``CHANCE``, half of it on
either side. What was counted since the step is held against that range, widened by what it may err itself: by its
counting error, requests coming in bunches (``phi``, from neighbouring minutes), and by an hour's noise, which is
the larger for a part of an hour.

One number that grows is looked at again and again, not a new one each time; so the chance is that of one look or little
more, from the first at ``LEAST_SECONDS`` on. What is smaller than ``LEAST_DIFFERENCE`` is of no matter to a gate,
however sure it is.

The other test needs no statistics. Keys below the percentage that are still in the control are asked of a process that
does not know of the change: some are, until the change has settled, and requests that were begun before end later.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.statistics.cohort import outlook

Numbers = NDArray[np.float64]

CHANCE = 0.001
LEAST_SECONDS = 600.0
LEAST_EVENTS = 30.0  # of the cohort, and of the rest
LEAST_DIFFERENCE = 0.03  # of log odds: about 3 % of a small share
LATE_SHARE = 0.01
LATE_EVENTS = 10.0
_SIGMAS = 3.8  # of a normal variable at CHANCE / 2 it would be 3.29, if it were looked at once
_HOUR_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Range:
    """Where the log odds of the cohort's share of the requests lie in an hour to come; all of shape (...).

    *noise*: the variance of an hour's own noise. *dispersion*: of requests. NaN bounds where nothing is known.
    """

    lower: Numbers
    upper: Numbers
    noise: Numbers
    dispersion: Numbers


def range_of(total: ArrayLike, total_all: ArrayLike, ahead_hours: float, dispersion: ArrayLike = 1.0) -> Range:
    """From the hours before, oldest first: requests of the cohort and of all drawn keys, each of shape (..., hours)."""
    some, rest = np.asarray(total, np.float64), np.asarray(total_all, np.float64) - np.asarray(total, np.float64)
    known = (some > 0) & (rest > 0)
    phi = np.asarray(dispersion, np.float64)
    y = np.log(np.where(known, some, 1.0) / np.where(known, rest, 1.0))
    center = np.where(known, y, 0.0).sum(-1) / np.maximum(known.sum(-1), 1)
    variance = np.where(
        known, phi[..., None] / np.where(known, some, 1.0) + phi[..., None] / np.where(known, rest, 1.0), np.inf
    )
    found = outlook(y - center[..., None], variance)
    lower, upper = found.bounds(CHANCE / 2, ahead_hours)
    nothing = np.where(found.usable, 0.0, np.nan)
    return Range(lower + center + nothing, upper + center + nothing, found.noise, np.broadcast_to(phi, lower.shape))


def log_odds(total: ArrayLike, total_all: ArrayLike) -> Numbers:
    some, every = np.asarray(total, np.float64), np.asarray(total_all, np.float64)
    return np.asarray(np.log((some + 0.5) / (every - some + 0.5)), np.float64)


def differs(expected: Range, total: ArrayLike, total_all: ArrayLike, seconds: ArrayLike) -> NDArray[np.bool_]:
    """Whether requests of the *seconds* since the step are not shared as before. Never without bounds, or too early."""
    some, every = np.asarray(total, np.float64), np.asarray(total_all, np.float64)
    span = np.asarray(seconds, np.float64)
    counting = expected.dispersion * (1 / np.maximum(some, 0.5) + 1 / np.maximum(every - some, 0.5))
    own = counting + expected.noise * np.maximum(_HOUR_SECONDS / np.maximum(span, 1.0) - 1, 0.0)
    middle, half = (expected.lower + expected.upper) / 2, (expected.upper - expected.lower) / 2
    width = np.maximum(np.sqrt(np.square(half) + _SIGMAS**2 * own), LEAST_DIFFERENCE)
    enough = (span >= LEAST_SECONDS) & (every >= 2 * LEAST_EVENTS)
    with np.errstate(invalid="ignore"):
        apart: NDArray[np.bool_] = enough & (np.abs(log_odds(some, every) - middle) > width)
    return apart


def is_late(late: ArrayLike, total: ArrayLike) -> NDArray[np.bool_]:
    """Whether of *total* requests of keys below the percentage so many were *late*, in the control, that a process
    lacks the change."""
    behind, every = np.asarray(late, np.float64), np.asarray(total, np.float64)
    lacks: NDArray[np.bool_] = (behind >= LATE_EVENTS) & (behind > LATE_SHARE * every)
    return lacks
