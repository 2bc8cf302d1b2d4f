"""``health`` in a plan: a measurement of the database over its own connection."""

from tests.stages.plans import SMALL, changed, load, problems, the_problem, with_lines

WATCHED = with_lines("triggers: [{name: waits, health: longest_lock_wait, fail: '> 1'}]")
DATABASE = next(line for line in SMALL.splitlines() if line.strip().startswith("database:"))


def test_a_trigger_watches_the_health_of_the_plans_database() -> None:
    load(WATCHED)


def test_health_needs_a_database() -> None:
    assert any("SQL needs a database" in problem for problem in problems(changed(f"{DATABASE}\n", "", WATCHED)))


def test_sqlite_has_no_health() -> None:
    assert "health is PostgreSQL's to tell" in the_problem(changed(DATABASE, "  database: 'sqlite:///x.db'", WATCHED))


def test_an_unknown_measurement_is_refused_with_those_that_there_are() -> None:
    assert "longest_lock_wait" in the_problem(changed("longest_lock_wait", "lock_wait", WATCHED))
