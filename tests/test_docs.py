"""The docs say what the code does, where that can be checked."""

from pathlib import Path

from orchestrator.core.phases import COMMANDS, CommandName, Phase, diagram

ROOT = Path(__file__).parents[1]
CORE = (ROOT / "docs" / "core.md").read_text()


def test_the_diagram_in_the_docs_is_the_transition_table() -> None:
    remedy = 'python -c "from orchestrator.core.phases import diagram; print(diagram())"'
    assert diagram() in CORE, f"docs/core.md has another diagram than the code; this prints it: {remedy}"


def test_the_table_of_commands_in_the_docs_is_the_one_in_the_code() -> None:
    for command in CommandName:
        cells = " | ".join("yes" if command in COMMANDS[phase] else "" for phase in Phase)
        assert f"| {command} | {cells} |" in CORE
