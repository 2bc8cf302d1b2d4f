"""Values inside the text of a JSON document: found where they stand, and replaced alone."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.flag_systems.json_places import Path, parsed, replaced, span_of

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)
LAYOUTS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    (
        {},
        {"indent": 2},
        {"indent": "\t", "separators": (" ,", " : ")},
        {"separators": (",", ":"), "ensure_ascii": False},
    )
)


def places(value: Any, path: Path = ()) -> list[Path]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, entry in entries for place in places(entry, (*path, key)))]


def at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


@given(DOCUMENTS, LAYOUTS, st.data())
def test_a_value_is_found_where_it_stands_and_all_else_stays(document: Any, layout: Any, data: st.DataObject) -> None:
    text = f" \r\n{json.dumps(document, **layout)}\n"
    path = data.draw(st.sampled_from(places(document)))
    start, end = span_of(text, path)
    assert json.loads(text[start:end]) == at(document, path)
    changed = replaced(text, {path: "another"})
    assert changed == f'{text[:start]}"another"{text[end:]}'
    assert at(json.loads(changed), path) == "another"


def test_several_values_are_replaced_at_once() -> None:
    text = '{"a": [1, {"b":2}], "c" : "x"}'
    assert replaced(text, {("c",): True, ("a", 1, "b"): 20, ("a", 0): 10}) == '{"a": [10, {"b":20}], "c" : true}'


@pytest.mark.parametrize(
    ("text", "sentence"),
    (
        ("", "Expecting value"),
        ("{} {}", "Extra data"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands twice in one object"),
        ("[Infinity]", "Infinity is no number of JSON"),
        ("[" * 100_000, "nested too deeply"),
    ),
)
def test_what_readers_disagree_about_is_not_read(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parsed(text)
