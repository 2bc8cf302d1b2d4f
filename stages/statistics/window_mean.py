"""The mean of a value over a window, how sure it is, and by what share one such mean is better than another.

Theory of operation. What is measured every few seconds is not independent: a thousand values of one afternoon are few
pieces of knowledge. The window is cut into twelve equal spans of time, and the means of these spans, which have little
to do with each other, tell how the mean of all varies (batch means: Law, "Simulation Modeling and Analysis", 5th ed.,
ch. 9). The interval is ``mean +- t s / sqrt(m)`` with *m* spans, *s* the standard deviation of their means and *t* the
97.5 % point of Student's distribution with ``m - 1`` degrees of freedom.

The gain is a ratio of two means that both vary, so its interval is Fieller's (E. C. Fieller, "Some problems in interval
estimation", JRSS B 16, 1954), with Welch's degrees of freedom. Where the mean before is not clearly other than 0, a
share of it has no interval.

What no interval knows is what else changed between the two windows: before and after are not a controlled trial.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

SPANS = 12
FEWEST_SPANS = 3
_T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074,
)  # fmt: skip
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Mean:
    """*error* is the standard error of *value*, with so much *freedom*; 0 of both where it can't be told."""

    value: float
    error: float = 0.0
    freedom: float = 0.0

    @property
    def interval(self) -> Interval | None:
        """Within which the mean lies, 19 times of 20."""
        if self.freedom < FEWEST_SPANS - 1:
            return None
        half = _t(self.freedom) * self.error
        return self.value - half, self.value + half


def mean_of(times: Sequence[float], values: Sequence[float]) -> Mean:
    """*times*: rising, in seconds, as many as *values*, of which there is one at least."""
    span = (times[-1] - times[0]) / SPANS
    spans: dict[int, list[float]] = {}
    for at, value in zip(times, values, strict=True):
        spans.setdefault(min(int((at - times[0]) / span), SPANS - 1) if span else 0, []).append(value)
    means = [fmean(one) for one in spans.values()]
    if len(means) < FEWEST_SPANS:
        return Mean(fmean(values))
    return Mean(fmean(values), stdev(means) / math.sqrt(len(means)), len(means) - 1)


def gain_between(before: Mean, after: Mean, *, lower_is_better: bool) -> Interval | None:
    """Within which the share lies by which *after* is better, 19 times of 20; None if it can't be told."""
    variance, more = before.error**2, after.error**2
    if before.interval is None or after.interval is None or before.value == 0.0:
        return None
    t = _t(_welch(before, after))
    blur = t * t * variance / before.value**2
    if blur >= 1.0:
        return None
    ratio = after.value / before.value
    half = t / abs(before.value) * math.sqrt((1.0 - blur) * more + ratio**2 * variance)
    ends = [(ratio - half) / (1.0 - blur), (ratio + half) / (1.0 - blur)]
    better = -1.0 if (before.value > 0) == lower_is_better else 1.0
    low, high = sorted(better * (end - 1.0) for end in ends)
    return low, high


def _welch(before: Mean, after: Mean) -> float:
    one, other = before.error**2, after.error**2
    if one + other == 0.0:
        return before.freedom + after.freedom
    return (one + other) ** 2 / (one**2 / before.freedom + other**2 / after.freedom)


def _t(freedom: float) -> float:
    """Rounded down, which is the side of doubt."""
    return _T_975[min(max(int(freedom), 1), len(_T_975)) - 1]
