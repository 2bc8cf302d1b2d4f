"""Bounds of a threshold, from the values that its looks had.

A breach counts once it has lasted ``for``, so the tightest bound that is quiet may be tighter than the most extreme
value. Whether a bound is quiet is judged by the criterion's own code on the values seen, and since a wider bound never
fails where a tighter one does not, the tightest is found by halving. It gets a margin, for the past is not all that can
happen: a part of the distance from the usual value.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Literal

from orchestrator.backtest.replay import Replayed
from stages.criteria.base import Measurement, MeasurementState, Memory, SeriesValue, Verdict, memory_after_gap
from stages.criteria.threshold import Threshold, judge
from stages.values import Bound

MARGIN = 0.1  # of the distance between the usual value and the extreme one
SMALLEST_MARGIN = 0.02  # of the extreme value
RISING = (">", ">=")
FALLING = ("<", "<=")


def bound_changes(criterion: Threshold, known: Sequence[Replayed]) -> Iterator[Mapping[str, Bound]]:
    """Changes that would have been quiet by the values seen, of what is written: one that never fails, and one that
    never holds either, if holds are what is left. Of what was quiet, the tightest that still is."""
    values = [value for one in known for value in one.values]
    failing = criterion.failing
    if not values or criterion.expect is not None or failing.op not in (*RISING, *FALLING):
        return
    is_rising = failing.op in RISING
    ordered = sorted(values, reverse=not is_rising)  # the worst last
    usual, worst = median(ordered), ordered[-1]
    has_two = criterion.pass_ is not None and criterion.fail is not None
    if not has_two or any(one.failed_at is not None for one in known):
        tightest = _tightest(criterion, known, list(dict.fromkeys(ordered)))
        yield _changed(criterion, _widened(tightest, usual, is_rising), alert=True, target=not has_two)
    if any(one.holds for one in known):
        outermost = _widened(worst, usual, is_rising)
        yield _changed(criterion, outermost, alert=not has_two or failing.holds(outermost), target=True)
    elif has_two and all(one.quiet for one in known):
        yield _changed(criterion, _widened(worst, usual, is_rising), alert=False, target=True)


def longest_breach_seconds(criterion: Threshold, known: Sequence[Replayed], every_seconds: float) -> float:
    """How long looks failed in a row, in any release."""
    failing, longest = criterion.failing, 0.0
    for one in known:
        begin: float | None = None
        for at, value in zip(one.times, one.values, strict=True):
            begin = (at if begin is None else begin) if failing.holds(value) else None
            longest = max(longest, at - begin + every_seconds) if begin is not None else longest
    return longest


def _tightest(criterion: Threshold, known: Sequence[Replayed], ordered: Sequence[float]) -> float:
    """The first of the values, from good to bad, beyond which nothing lasted long enough to fail."""
    low, high = 0, len(ordered) - 1
    while low < high:
        middle = (low + high) // 2
        if any(_fails(_beyond(criterion, ordered[middle]), one) for one in known):
            low = middle + 1
        else:
            high = middle
    return ordered[low]


def _beyond(criterion: Threshold, number: float) -> Threshold:
    """The criterion with its alert level right beyond *number*."""
    op: Literal[">", "<"] = ">" if criterion.failing.op in RISING else "<"
    bound = Bound(op=op, number=number, text=f"{op} {number!r}")
    return criterion.model_copy(update={"fail": bound, "pass_": None})


def _fails(criterion: Threshold, replayed: Replayed) -> bool:
    memory, last_at = Memory(), -math.inf
    every_seconds = _every(replayed)
    for at, value in zip(replayed.times, replayed.values, strict=True):
        if last_at > 0:
            memory = memory_after_gap(memory, last_at, at, every_seconds)
        measurement = Measurement(MeasurementState.OK, at, (SeriesValue("", value, at),))
        judgement = judge(criterion, measurement, memory)
        if judgement.verdict is Verdict.FAIL:
            return True
        memory, last_at = judgement.memory, at
    return False


def _every(replayed: Replayed) -> float:
    times = replayed.at
    return times[1] - times[0] if len(times) > 1 else 15.0


def _widened(number: float, usual: float, is_rising: bool) -> float:
    """*number* with its margin, rounded to where the margin has one digit, away from the usual value."""
    margin = max(MARGIN * abs(number - usual), SMALLEST_MARGIN * abs(number), 1e-9)
    unit = 10.0 ** math.floor(math.log10(margin))
    away: Callable[[float], int] = math.ceil if is_rising else math.floor
    widened = away((number + margin if is_rising else number - margin) / unit) * unit
    if number > 0 and widened <= 0:  # what is never negative stays so
        return float(f"{number * (1 - MARGIN):.2g}")
    return float(f"{widened:.12g}")


def _changed(criterion: Threshold, number: float, *, alert: bool, target: bool) -> dict[str, Bound]:
    """*number* as the *alert* level and the *target*, as far as these are written."""
    found: dict[str, Bound] = {}
    if criterion.fail is not None and alert:
        found["fail"] = _as_written(criterion.fail, number)
    if criterion.pass_ is not None and target:
        found["pass"] = _as_written(criterion.pass_, number)
    return found


def _as_written(bound: Bound, number: float) -> Bound:
    """In per cent if it was."""
    text = f"{number * 100:g}%" if bound.text.endswith("%") else f"{number:g}"
    return Bound.model_validate(f"{bound.op} {text}")
