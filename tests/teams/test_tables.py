"""Every team's table of its checklist fits its plan, and every trigger of a plan is fired by some incident."""

import pytest

from tests.teams import coverage
from tests.teams.__main__ import TEAMS, team_named, triggers_of


@pytest.mark.parametrize("name", TEAMS)
def test_the_table_names_only_what_the_plan_has_and_no_line_twice(name: str) -> None:
    team = team_named(name)
    assert list(coverage.check_plan(team, coverage.coverage_of(team))) == []


@pytest.mark.parametrize("name", TEAMS)
def test_items_that_no_plan_has_are_few(name: str) -> None:
    items = coverage.coverage_of(team_named(name)).items
    assert sum(bool(item.without) for item in items) <= len(items) / 10


@pytest.mark.parametrize("name", TEAMS)
def test_each_trigger_is_fired_by_an_incident(name: str) -> None:
    team = team_named(name)
    assert triggers_of(team) == {trigger for incident in team.incidents for trigger in incident.fires}


@pytest.mark.parametrize("name", TEAMS)
def test_the_table_that_is_kept_says_nowhere_of_nothing(name: str) -> None:
    """It is written by `make seeds`, from what runs have shown."""
    team = team_named(name)
    table = (team.folder / coverage.TABLE).read_text()
    assert "**nowhere**" not in table
    assert all(item.item in table for item in coverage.coverage_of(team).items)
