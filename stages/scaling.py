"""Scaling on load: how many workers a load asks for, by the rules of Kubernetes' horizontal pod autoscaler.

A load that one worker more or less would change by less than a tenth of what there is changes nothing. Up goes at once,
at most to twice as many (or four more) a look. Down goes only to what the highest load of the last five minutes needs,
and only if it was looked at all that time, so that a load that swings does not drag workers along.

Reference: the algorithm's description and the default scaling policies in Kubernetes' documentation of the autoscaler.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

TOLERANCE = 0.1
STEADY_SECONDS = 300.0
LOOK_SECONDS = 15.0
LARGEST_GAP_SECONDS = 45.0  # between looks of a time that was looked at all through
MOST_TIMES, MOST_MORE = 2, 4

Load = tuple[float, float]
"""When it was measured (seconds since the epoch), and the load."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """*per_replica*: the load that one worker takes. *least*, *most*: of workers."""

    per_replica: float
    least: int
    most: int


def kept(loads: Sequence[Load], newest: Load) -> tuple[Load, ...]:
    """What is remembered of loads, oldest first, with the newest one: five minutes, without what lies behind a gap."""
    if loads and not 0 < newest[0] - loads[-1][0] <= LARGEST_GAP_SECONDS:
        return (newest,)
    since = newest[0] - STEADY_SECONDS - LARGEST_GAP_SECONDS
    return (*(one for one in loads if one[0] >= since), newest)


def replicas(current: int, loads: Sequence[Load], bounds: Bounds) -> int:
    """How many workers there should be, of *current*. More than *most* that run already stay until they may go."""
    if not loads:
        return current
    at, load = loads[-1]
    if load > current * bounds.per_replica * (1 + TOLERANCE):
        reachable = max(MOST_TIMES * current, current + MOST_MORE)
        wanted = min(_needed(load, bounds), reachable, bounds.most)
        return max(wanted, current, bounds.least)
    highest = max(value for _, value in loads)
    is_steady = loads[0][0] <= at - STEADY_SECONDS
    if is_steady and highest < current * bounds.per_replica * (1 - TOLERANCE):
        return min(max(_needed(highest, bounds), bounds.least), current)
    return max(current, bounds.least)


def _needed(load: float, bounds: Bounds) -> int:
    return math.ceil(round(max(load, 0.0) / bounds.per_replica, 9))
