"""Crashes at failpoints of the real controller: a few of what `make failpoints` does with all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.failpoints import Point
from tests.faults.points import carry_out, passings, spread
from tests.faults.scenarios import SMALL, WHOLE, Case, Services, scenarios_of
from tests.support.postgres import PostgresServer

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
WITHOUT_CRASH = {point for point in Point if {SMALL, WHOLE} & set(scenarios_of(point))}


@pytest.fixture(scope="module")
def services(postgres_server: PostgresServer) -> Iterator[Services]:
    with Services(_postgres=postgres_server) as made:
        yield made


def test_a_change_that_nothing_happens_to_passes_every_point_that_needs_no_crash(services: Services) -> None:
    assert WITHOUT_CRASH - set(passings(WHOLE, services)) == set()
    assert len(WITHOUT_CRASH) > 60


@pytest.mark.parametrize(("point", "nth"), ((Point.INTENT_AFTER, 5), (Point.COMMAND_AFTER, 1)))
def test_a_controller_that_is_killed_at_a_point_and_started_again_keeps_every_promise(
    point: Point, nth: int, services: Services
) -> None:
    result = carry_out(SMALL, Case(point, nth=nth), services)
    assert result.complaints == ()
    assert result.was_reached
    assert result.kills >= 1


def test_passings_are_taken_evenly_from_the_first_on() -> None:
    assert spread(24, 4) == [1, 7, 13, 19]
    assert spread(2, 4) == [1, 1, 2, 2]
    assert spread(1, 3) == [1, 1, 1]


def test_a_point_that_is_not_reached_is_told(services: Services, tmp_path: Path) -> None:
    result = carry_out(SMALL, Case(Point.SQL_NOTED), services)
    assert (result.complaints, result.was_reached, result.kills) == ((), False, 1)  # the restart in the middle
