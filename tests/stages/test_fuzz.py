"""No input makes reading a plan raise anything but InvalidPlan, whatever it is."""

import copy
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.documents import read_document
from stages.load import LoadedPlan, from_raw, load_plan
from stages.problems import InvalidPlan
from tests.stages.plans import EXAMPLE, EXAMPLE_VARIABLES, SMALL, any_file

VARIABLES = {**EXAMPLE_VARIABLES, "N": "12", "T": "true", "X": "1e999"}
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(
        [
            "5m",
            "0s",
            "0.4ms",
            "9e9d",
            "99999999d",
            "> 5",
            "< 1e999",
            "5%",
            "${N}",
            "${T}",
            "${X}",
            "${NO}",
            "none",
            "off",
            "24:00",
        ]
    ),
    st.sampled_from(
        ["up", "rate(x[5m] offset 1y)", "a.sql", "../x.sql", "./run.sh", "beta", "health", "production", "2026-12-20"]
    ),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "flag", "env", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
DOCUMENTS = [read_document(text, "p").data for text in (SMALL, EXAMPLE)]


def read(text: str, sets: tuple[str, ...] = ()) -> LoadedPlan | None:
    try:
        return load_plan(text, "p.yaml", VARIABLES, sets, read_file=any_file)
    except InvalidPlan as error:
        found = error.problems
    assert found
    assert all(problem.message and "\n" not in problem.message for problem in found)
    return None


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(spot for key, child in children for spot in spots(child, (*path, key)))]


@st.composite
def mutated_plans(draw: st.DrawFn) -> Any:
    """One of the example plans with some of its values replaced, taken out, doubled or renamed."""
    data = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(spots(data)[1:]))
        parent = data
        for part in path[:-1]:
            parent = parent[part]
        match draw(st.sampled_from(["replace", "remove", "double", "rename"])):
            case "replace":
                parent[path[-1]] = draw(VALUES)
            case "remove":
                del parent[path[-1]]
            case "double" if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[path[-1]]))
            case "rename" if isinstance(parent, dict):
                parent[draw(st.text(max_size=8))] = parent.pop(path[-1])
            case _:
                pass
        if not isinstance(data, dict) or len(spots(data)) < 2:
            break
    return data


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(mutated_plans())
def test_a_changed_plan_is_refused_or_read_and_then_compiles_and_comes_back_the_same(data: Any) -> None:
    plan = read(json.dumps(data))
    if plan is not None:
        plan.to_program(None)
        kept = json.loads(json.dumps(plan.raw, allow_nan=False))
        again = from_raw([(environment, document) for environment, document in kept], plan.files)
        assert again.documents == plan.documents
        assert again.digest == plan.digest


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="{}[]:,-&*!|>'\"%@`#?<~ \n\ta1$", max_size=60))
def test_any_text_is_refused_or_read(text: str) -> None:
    read(text)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(EXAMPLE)), st.integers(0, 40), st.text(alphabet="{}[]:,-&*!|>'\"%#? \n\ta1$", max_size=6))
def test_a_plan_with_a_piece_cut_out_or_put_in_is_refused_or_read(position: int, length: int, piece: str) -> None:
    read(EXAMPLE[:position] + piece + EXAMPLE[position + length :])


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.sampled_from(["", "stages.", "stages.beta.bake", "flags.", "spec."]))
def test_any_setting_is_refused_or_taken(text: str, begin: str) -> None:
    read(SMALL, (begin + text,))
