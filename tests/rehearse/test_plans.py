"""A plan of the examples, and some of those that the simulation draws, rehearsed; `whole.py` has all of them."""

import re
from pathlib import Path

import pytest

from orchestrator.rehearse import Asked, rehearse
from stages.load import LoadedPlan, from_raw, load_plan
from tests.rehearse.plans import rehearsed, without_untold
from tests.simulation.plans import draw

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = [path for path in sorted(FOLDER.glob("*/*.yaml")) if "\nkind: StagedRollout\n" in path.read_text()]
VARIABLES = {"DATABASE_URL": "sqlite:///app.db"}
SHORT = (8, 10)  # plans that are walked within a second


def example(path: Path) -> LoadedPlan:
    text = path.read_text()
    variables = {name: f"http://{name.lower()}.example" for name in re.findall(r"\$\{(\w+)\}", text)} | VARIABLES
    return load_plan(text, path.name, variables, read_file=lambda name: (path.parent / name).read_bytes())


def drawn(seed: int) -> LoadedPlan:
    submission = draw(seed).submission()
    return from_raw([(one.environment, one.plan) for one in submission.documents], submission.files)


@pytest.mark.parametrize("path", EXAMPLES[-1:], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_example_comes_back_from_every_step(path: Path) -> None:
    result = rehearsed(example(path), ["back"])
    assert result.forward.end == "promoted"
    assert without_untold(result) == []
    assert {row.end for row in result.rows} == {"rolled_back"}


@pytest.mark.parametrize("seed", SHORT)
def test_a_drawn_plan_ends_as_promised_in_every_scenario(seed: int) -> None:
    assert without_untold(rehearsed(drawn(seed))) == []


def test_progress_counts_to_the_end() -> None:
    told: list[tuple[int, int]] = []
    result = rehearse(drawn(8), Asked(("back",)), lambda done, total, words: told.append((done, total)))
    assert told[0] == (0, 1)
    assert told[-1] == (len(result.rows), len(result.rows) + 1)
