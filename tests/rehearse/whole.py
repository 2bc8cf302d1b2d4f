"""Every example, a plan with everything in it and forty drawn ones, in every scenario. It takes minutes, so its name is
not that of a test: `make rehearse` runs it.
"""

from pathlib import Path

import pytest

from orchestrator.rehearse.scenarios import TABLE
from tests.rehearse.plans import EVERYTHING, read, rehearsed, without_untold
from tests.rehearse.test_plans import EXAMPLES, drawn, example

pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_example_ends_as_promised_in_every_scenario(path: Path) -> None:
    result = rehearsed(example(path))
    assert without_untold(result) == []
    assert result.cut == ()


def test_a_plan_with_everything_in_it_ends_as_promised_in_every_scenario() -> None:
    result = rehearsed(read(EVERYTHING))
    assert [(row.scenario, row.place, row.at, row.problems) for row in result.all_rows if row.problems] == []
    assert {row.scenario for row in result.all_rows} == {"forward", *(one.name for one in TABLE)}
    assert result.cut == ()


@pytest.mark.parametrize("seed", range(40))
def test_any_drawn_plan_ends_as_promised_in_every_scenario(seed: int) -> None:
    assert without_untold(rehearsed(drawn(seed))) == []
