"""No block of the docs is passed by: each language has somebody who reads it."""

import ast
import json

import pytest

from orchestrator.core.phases import diagram
from stages.promql import parse
from tests.docs.blocks import Block, blocks

ELSEWHERE = {
    "": "test_commands.py",
    "bash": "test_commands.py",
    "indented": "test_commands.py",
    "ini": "test_operations.py",
    "sh": "test_commands.py",
    "sql": "SQL to be read; tests/migrations and tests/acceptance/test_postgresql_store.py have the same",
    "text": "outputs; those of plan.md and the tutorial are looked for by their tests",
    "yaml": "test_yaml.py",
}


@pytest.mark.parametrize("block", [block for block in blocks() if block.language not in ELSEWHERE], ids=str)
def test_a_block_is_what_it_says(block: Block) -> None:
    match block.language:
        case "json":
            json.loads(block.text)
        case "python":
            compile(block.text, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        case "promql":
            for query in _queries(block.text):
                parse(query)
        case "mermaid":
            assert block.text.strip() in diagram()
        case unknown:
            pytest.fail(f"{block}: nobody reads {unknown!r}")


def _queries(text: str) -> list[str]:
    """One behind each comment."""
    parts = [part for part in text.split("#") if part.strip()]
    return [part.partition("\n")[2].strip() for part in parts]


def test_every_language_that_is_read_elsewhere_is_there() -> None:
    assert set(ELSEWHERE) <= {block.language for block in blocks()}
