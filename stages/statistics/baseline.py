"""How high the mean of some values may be, judged by values from before: a predictive bound of block means.

Theory of operation. Values that follow one another are alike, so a thousand of them are not a thousand pieces of
knowledge. They are cut into blocks that are long enough to have little to do with each other, and what varies is taken
apart: between the means of blocks (``b^2``) and within blocks (``w^2``). The mean of *k* later values is one more block
mean, measured by *k* values; with *m* blocks of the mean ``x`` it lies at most at

    x + t(m - 1) sqrt(b^2 (1 + 1/m) + w^2 / k)

with ``t`` the 99.9 % point of Student's distribution (Hahn and Meeker, "Statistical Intervals", 1991, on prediction).
A series that is constant may not rise at all. The variance of the later mean is not made smaller for being one over
many blocks: a level wanders, and then it is not.

Where there are too few values from before to tell how they vary, those of before and after tell it together
(``upper_together``), as Student's two samples of one variance, each value for itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]

FEWEST_BLOCKS = 3
_T_999 = (
    318.31, 22.327, 10.215, 7.173, 5.893, 5.208, 4.785, 4.501, 4.297, 4.144,
    4.025, 3.930, 3.852, 3.787, 3.733, 3.686, 3.646, 3.610, 3.579,
)  # fmt: skip
_Z_999 = 3.0902


@dataclass(frozen=True, slots=True)
class Baseline:
    """*mean* of all values, variance *between* block means and *within* blocks, all of one (leading) shape."""

    mean: Numbers
    between: Numbers
    within: Numbers
    blocks: int
    values: int


@dataclass(frozen=True, slots=True)
class Moments:
    """Of *count* values: their *mean* and the *squares* of their distances from it, added up."""

    count: float
    mean: float
    squares: float

    @classmethod
    def of(cls, values: ArrayLike) -> Self:
        numbers = np.asarray(values, np.float64)
        mean = float(numbers.mean())
        return cls(numbers.size, mean, float(((numbers - mean) ** 2).sum()))

    def joined(self, other: Self) -> Self:
        """Of both together (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * other.count / count
        squares = self.squares + other.squares + apart * apart * self.count * other.count / count
        return type(self)(count, mean, squares)


def baseline_of(times: ArrayLike, values: ArrayLike, block_seconds: float) -> Baseline | None:
    """*times*: shape (n,), rising. *values*: (..., n). Blocks begin with the first time; None if they are too few."""
    at, x = np.asarray(times, np.float64), np.asarray(values, np.float64)
    if at.size < FEWEST_BLOCKS:
        return None
    _, starts, counts = np.unique((at - at[0]) // block_seconds, return_index=True, return_counts=True)
    if starts.size < FEWEST_BLOCKS:
        return None
    means = np.add.reduceat(x, starts, axis=-1) / counts
    residuals = x - np.repeat(means, counts, axis=-1)
    freedom = max(x.shape[-1] - starts.size, 1)
    return Baseline(
        mean=x.mean(axis=-1),
        between=means.var(axis=-1, ddof=1),
        within=(residuals**2).sum(axis=-1) / freedom,
        blocks=int(starts.size),
        values=int(at.size),
    )


def baseline_of_blocks(blocks: Sequence[Moments]) -> Baseline | None:
    """Of values that are in blocks already."""
    if len(blocks) < FEWEST_BLOCKS:
        return None
    means, count = np.array([one.mean for one in blocks]), math.fsum(one.count for one in blocks)
    total = math.fsum(one.count * one.mean for one in blocks)
    squares = math.fsum(one.squares for one in blocks)
    return Baseline(
        mean=np.array(total / count),
        between=means.var(ddof=1),
        within=np.array(squares / max(count - len(blocks), 1)),
        blocks=len(blocks),
        values=round(count),
    )


def upper(baseline: Baseline, values: ArrayLike) -> Numbers:
    """How high the mean of so many later *values* may be."""
    count = np.maximum(np.asarray(values, np.float64), 1.0)
    variance = baseline.between * (1 + 1 / baseline.blocks) + baseline.within / count
    bound: Numbers = baseline.mean + student(baseline.blocks - 1) * np.sqrt(variance)
    return bound


def upper_together(before: Moments, after: Moments) -> float | None:
    """How high the mean of *after* may be; None if both together are too few to tell how values vary."""
    freedom = math.floor(before.count + after.count - 2)
    if before.count < 1 or after.count < 1 or freedom < FEWEST_BLOCKS - 1:
        return None
    variance = (before.squares + after.squares) / freedom * (1 / before.count + 1 / after.count)
    return before.mean + student(freedom) * math.sqrt(variance)


def student(freedom: int) -> float:
    """The 99.9 % point: from a table, and from its end on by Cornish and Fisher's expansion."""
    if freedom <= len(_T_999):
        return _T_999[max(freedom, 1) - 1]
    z = _Z_999
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
