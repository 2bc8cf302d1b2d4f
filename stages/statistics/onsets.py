"""Sums of products over onsets: evidence that something became worse at a time that nobody knows.

Theory of operation. A sequential test multiplies factors, one a look. If the change for the worse began late, the looks
before it have eaten the product up; so it is started anew every few minutes, and the evidence is the weighted mean of
all starts. The first start weighs ``first``. The rest is for restarts, of which so much waits after *m* onsets:

    waiting(m) = (1 - first) (2 / (m + 1))^0.75,   m >= 1

which is 0 in the end, so all weights together are 1 and the mean is an e-process if each product is one. Things become
worse with a step of the rollout most likely; so there the count of onsets begins anew with what still waits
(``stepped``), and the part ``first`` of that starts with the step. What has started multiplies by the same factor from
then on. So one number a kind of factor holds all onsets, in logarithms:

    S <- (S + weight of what starts now) factor

and what has not started counts 1. A look that cannot speak changes nothing, and starts nothing.

Everything broadcasts: leading axes are traces (none of them for one live gate), the two last ones kinds of factors
(halves of a mixture) and alternatives.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.values import Json

Numbers = NDArray[np.float64]
Truths = NDArray[np.bool_]

FIRST_WEIGHT = 0.5
HALVES = 2  # of a mixture: the likelihood's and the betting one
_POWER = 0.75  # how what waits falls with the number of onsets
_LARGEST_LOG = 1e6
_MOST_ONSETS = 10_000_000


@dataclass(frozen=True, slots=True)
class Started:
    """*logs*: shape (..., 2, alternatives), of the sums over what has started. *onsets*: how many have since the last
    step. *waiting*: the weight of what has not. Both (...)."""

    logs: Numbers
    onsets: NDArray[np.int64]
    waiting: Numbers

    @classmethod
    def begin(cls, alternatives: int, shape: tuple[int, ...] = ()) -> Self:
        return cls(np.full((*shape, HALVES, alternatives), -np.inf), np.zeros(shape, np.int64), np.ones(shape))

    def to_json(self) -> Json:
        """None while nothing has started."""
        if not np.isfinite(self.logs).all():
            return None
        return {"logs": self.logs.tolist(), "onsets": self.onsets.tolist(), "waiting": self.waiting.tolist()}

    @classmethod
    def from_json(cls, value: Any, alternatives: int, shape: tuple[int, ...] = ()) -> Self:
        """A new one for what :meth:`to_json` never wrote of one of that *shape*."""
        begun = cls.begin(alternatives, shape)
        if not isinstance(value, dict):
            return begun
        try:
            logs = np.array(value.get("logs"), np.float64)
            onsets = np.array(value.get("onsets"), np.int64)
            waiting = np.array(value.get("waiting"), np.float64)
        except (TypeError, ValueError, OverflowError):
            return begun
        if (logs.shape, onsets.shape, waiting.shape) != (begun.logs.shape, shape, shape):
            return begun
        sound = (np.abs(logs) <= _LARGEST_LOG).all() and (waiting >= 0).all() and (waiting <= 1).all()
        sound = sound and (onsets >= 0).all() and (onsets <= _MOST_ONSETS).all()  # NaN compares false above
        return cls(logs, onsets, waiting) if sound else begun


def stepped(started: Started) -> Started:
    """A step begins: with the next look starts a large part of what waits."""
    return Started(started.logs, np.zeros_like(started.onsets), started.waiting)


def carried_on(
    started: Started,
    log_factors: ArrayLike,
    spoken: ArrayLike,
    from_seconds: ArrayLike,
    onset_seconds: float,
    first: float = FIRST_WEIGHT,
) -> Started:
    """After a look with *log_factors* of shape (..., 2, alternatives).

    *from_seconds*: when what was counted began, since the evidence did or the last step. Where *spoken* is false, all
    stays: an onset that fell between looks starts with the next one. *first*: the weight of the first onset.
    """
    is_spoken = np.asarray(spoken, np.bool_)
    due = 1 + np.floor_divide(np.maximum(np.asarray(from_seconds, np.float64), 0.0), onset_seconds)
    onsets = np.where(is_spoken, np.maximum(due.astype(np.int64), started.onsets), started.onsets)
    left = _waiting(onsets, first) / _waiting(started.onsets, first)  # exactly 1 where nothing starts
    with np.errstate(divide="ignore"):  # the logarithm of 0, where nothing starts
        starting = np.log(started.waiting * (1 - left))
    logs = np.logaddexp(started.logs, starting[..., None, None]) + np.asarray(log_factors, np.float64)
    logs = np.clip(logs, -_LARGEST_LOG, _LARGEST_LOG)
    return Started(np.where(is_spoken[..., None, None], logs, started.logs), onsets, started.waiting * left)


def log_evidence(started: Started, shares: ArrayLike | None = None) -> Numbers:
    """Natural logarithm of the mean over onsets, halves and alternatives; 0 at the start. *shares*: what each half and
    alternative weighs in it, of shape (2, alternatives) and 1 together; all alike if not given."""
    halves, alternatives = started.logs.shape[-2:]
    weights = np.full((halves, alternatives), 1 / (halves * alternatives)) if shares is None else np.asarray(shares)
    largest = np.maximum(started.logs.max(axis=(-2, -1)), 0.0)
    mean = (np.exp(started.logs - largest[..., None, None]) * weights).sum(axis=(-2, -1))
    evidence: Numbers = largest + np.log(mean + started.waiting * np.exp(-largest))
    return evidence


def _waiting(onsets: NDArray[np.int64], first: float) -> Numbers:
    """The weight of all onsets but the first *onsets*; it falls by the weight of each."""
    later: Numbers = (1 - first) * (2.0 / (1 + np.maximum(onsets, 1))) ** _POWER
    return np.where(onsets == 0, 1.0, later)
