"""A packed trail says what a list of its points would say."""

import random
from itertools import pairwise

import pytest

from orchestrator.core.trail import MOST_POINTS, NEARLY, Point, Trail


def listed(known: list[Point], point: Point) -> list[Point]:
    """What a look makes of a trail, told with plain lists."""
    if len(known) > MOST_POINTS:
        known = known[::2]
    apart_seconds = min((later.at - one.at for one, later in pairwise(known[:-1])), default=0.0)
    if len(known) > 1 and known[-1].at - known[-2].at < NEARLY * apart_seconds:
        known = known[:-1]
    return [*known, point]


def drawn(draw: random.Random, at: float, tested_from: float) -> Point:
    value = draw.choice((None, 0.0, draw.random(), -1.5e300))
    if at < tested_from:
        return Point(at, value)
    return Point(at, value, draw.choice((None, draw.random())), draw.choice((None, draw.random())))


@pytest.mark.parametrize("seed", range(20))
def test_it_grows_as_a_list_would(seed: int) -> None:
    draw = random.Random(seed)
    tested_from = draw.choice((0.0, 500.0, 1e9))
    trail, known, at = Trail(), list[Point](), 0.0
    for _ in range(400):
        at += draw.choice((0.0, 1.0, 14.9, 15.0, 40.0))
        point = drawn(draw, at, tested_from)
        trail, known = trail.with_look(point), listed(known, point)
        assert list(trail) == known
        assert len(trail) == len(known)
        assert trail == Trail(known)
        assert hash(trail) == hash(Trail(known))


def test_none_is_changed_by_the_next_look() -> None:
    first = Trail([Point(1.0, 0.5), Point(2.0, 0.5)])
    first.with_look(Point(2.1, 0.6)).with_look(Point(9.0, 0.7, 0.1, 0.2))
    assert list(first) == [Point(1.0, 0.5), Point(2.0, 0.5)]
    assert first != Trail([Point(1.0, 0.5)])
