"""Made-up plans: valid ones with values replaced, taken out, doubled or renamed, and texts that are hardly YAML."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given, seed, settings
from hypothesis import strategies as st

from stages.load import load_plan
from stages.problems import InvalidPlan
from tests.fuzz.asking import CALM
from tests.stages.plans import EXAMPLE, any_file
from tests.stages.test_fuzz import VARIABLES, mutated_plans

PIECES = st.text(alphabet="{}[]:,-&*!|>'\"%#? \n\ta1$\0\u202e", max_size=6)


@st.composite
def cut_texts(draw: st.DrawFn) -> str:
    begin, length = draw(st.integers(0, len(EXAMPLE))), draw(st.integers(0, 40))
    return EXAMPLE[:begin] + draw(PIECES) + EXAMPLE[begin + length :]


PLANS: st.SearchStrategy[str] = st.one_of(mutated_plans().map(json.dumps), cut_texts(), st.text(max_size=200))


def plan(times: int, first: int) -> Counter[str]:
    """How many were valid and how many refused. Whatever else is raised is a bug, and is raised here."""
    found: Counter[str] = Counter()

    @seed(first)
    @settings(CALM, max_examples=times)
    @given(PLANS)
    def one(text: Any) -> None:
        found[_read(text)] += 1

    one()
    return found


def _read(text: str) -> str:
    try:
        load_plan(text, "p.yaml", VARIABLES, (), read_file=any_file).to_program(None)
    except InvalidPlan as error:
        found = error.problems
    else:
        return "valid"
    assert found
    assert all(one.message and "\n" not in one.message for one in found)
    return "refused"
