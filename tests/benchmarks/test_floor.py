"""The floor is measured: what does nothing costs least, and a question costs more than waking up."""

import pytest

from benchmarks import floor


@pytest.mark.slow
def test_a_question_costs_more_than_waking_up() -> None:
    result = floor.run(quick=True)
    assert 0 < result["us_per_wake"] < result["us_per_question_of_a_socket"]
    assert result["us_per_question"] > result["us_per_wake"]
    assert "tasks that wake up" in floor.table(result)
