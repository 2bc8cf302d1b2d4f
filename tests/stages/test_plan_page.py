"""The page about plans: its examples are read, and its list of what is missing is the code's."""

import json
import re
from pathlib import Path

import pytest

from stages.documents import read_document
from stages.later import LATER
from tests.stages.plans import load

PAGE = (Path(__file__).parents[2] / "docs" / "plan.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
WHOLE = next(block for block in BLOCKS if block.startswith("apiVersion"))
PIECES = [block for block in BLOCKS if not block.startswith("apiVersion")]


def test_the_whole_example_is_a_plan() -> None:
    plan = load(WHOLE)
    assert plan.warnings == ()
    assert [stage.name for stage in plan.to_program().environments[0].stages] == ["table", "search"]


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece.split(":", 1)[0])
def test_each_piece_fits_into_the_whole_example(piece: str) -> None:
    data = read_document(WHOLE, "whole").data
    data["spec"].update(read_document(piece, "piece").data)
    load(json.dumps(data)).to_program()


def test_the_mistakes_that_the_page_shows_are_told_so() -> None:
    shown = re.findall(r"^plan\.yaml:.*?: (spec\..*)$", PAGE, re.MULTILINE)
    source = (Path(__file__).parent / "test_load.py").read_text()
    assert len(shown) == 3
    for line in shown:
        assert line.partition(": ")[2] in source


def test_the_page_lists_what_later_versions_bring() -> None:
    listed = re.findall(r"^- (.*)$", PAGE.partition("## Not in this version")[2], re.MULTILINE)
    assert listed == [later.words for later in LATER]
