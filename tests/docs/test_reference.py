"""The reference is what the models say, and says something of every field."""

import re

from stages.reference import reference_pages
from stages.schema import json_schema
from tests.docs.test_operations import headings
from tests.support.process import ROOT

FOLDER = ROOT / "docs" / "reference"


def test_the_pages_are_what_the_models_say() -> None:
    there = {page.name: page.read_text() for page in FOLDER.iterdir()}
    assert there == reference_pages(), "`make reference` writes them again"


def test_every_field_has_a_meaning() -> None:
    rows = [row for text in reference_pages().values() for row in re.findall(r"^\| `.*$", text, re.MULTILINE)]
    assert len(rows) > 500
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_model_of_the_schema_is_there() -> None:
    text = "\n".join(reference_pages().values())
    models = [name for name, node in json_schema()["$defs"].items() if "properties" in node]
    assert [name for name in models if f"\n## {name}\n" not in text] == []


def test_every_link_leads_to_a_model() -> None:
    for text in reference_pages().values():
        for page, anchor in re.findall(r"\]\((\w+\.md)(?:#(\w+))?\)", text):
            assert not anchor or anchor in headings(FOLDER / page)


def test_defaults_and_places_are_told() -> None:
    pages = reference_pages()
    assert "| `timeout` | duration | `5s` | How long one query may take. |" in pages["plan.md"]
    assert "At `spec.gates.NAME`." in pages["criteria.md"]
    assert "| `name` | text | *needed* | What it is called; no two of a plan have the same. |" in pages["stages.md"]
