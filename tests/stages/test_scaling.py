"""How many workers a load asks for."""

import pytest

from stages.scaling import Bounds, Load, kept, replicas

BOUNDS = Bounds(per_replica=50.0, least=2, most=8)


def steady(*loads: float) -> tuple[Load, ...]:
    """Looked at every 15 s, the last now."""
    return tuple((1000.0 + 15.0 * index, load) for index, load in enumerate(loads))


@pytest.mark.parametrize(
    ("current", "load", "wanted"),
    (
        (2, 100.0, 2),
        (2, 109.0, 2),  # within a tenth
        (2, 120.0, 3),
        (2, 150.0, 3),
        (2, 1000.0, 6),  # four more at most
        (6, 1000.0, 8),
        (8, 1000.0, 8),
        (12, 10_000.0, 12),  # more than the most run already: they stay
        (1, 0.0, 2),
        (0, 40.0, 2),  # never below the least, though one would do
        (5, 0.0, 5),  # not before it was steady
    ),
)
def test_up_goes_at_once_and_within_bounds(current: int, load: float, wanted: int) -> None:
    assert replicas(current, steady(load), BOUNDS) == wanted


def test_down_goes_after_five_steady_minutes_to_what_the_highest_load_needs() -> None:
    loads = [160.0] + [60.0] * 20
    assert replicas(8, steady(*loads[:20]), BOUNDS) == 8
    assert replicas(8, steady(*loads), BOUNDS) == 4
    assert replicas(8, steady(*([0.0] * 21)), BOUNDS) == 2


def test_a_load_that_swings_does_not_drag_the_workers_along() -> None:
    current, seen = 4, set()
    loads: tuple[Load, ...] = ()
    for index in range(200):
        loads = kept(loads, (15.0 * index, 200.0 if index % 8 == 0 else 20.0))
        current = replicas(current, loads, BOUNDS)
        seen.add(current)
    assert seen == {4}


def test_what_lies_behind_a_gap_is_not_remembered() -> None:
    loads: tuple[Load, ...] = ()
    for index in range(30):
        loads = kept(loads, (15.0 * index, 0.0))
    assert loads[-1][0] - loads[0][0] <= 345.0
    assert kept(loads, (15.0 * 40, 0.0)) == ((600.0, 0.0),)
    assert kept(loads, (5.0, 0.0)) == ((5.0, 0.0),)  # the clock was set back
    assert replicas(8, kept(loads, (600.0, 0.0)), BOUNDS) == 8


def test_without_a_look_nothing_changes() -> None:
    assert replicas(5, (), BOUNDS) == 5
