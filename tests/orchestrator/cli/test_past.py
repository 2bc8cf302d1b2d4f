"""History for people: aligned, within the window, and in words of who and why."""

import os

import pytest

from orchestrator.cli import past
from orchestrator.cli.output import width
from tests.orchestrator.cli.conftest import an_entry

LONG = {**an_entry(7, "GateFailed"), "sentence": "gate health fails: " + "the errors of 部署 are too many " * 9}
SILENT = {**an_entry(8, "LegEntered", by="ada", reason="queue released"), "sentence": None}


def at(monkeypatch: pytest.MonkeyPatch, columns: int) -> list[str]:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_: os.terminal_size((columns, 24)))
    return past.history([LONG, SILENT]).splitlines()


@pytest.mark.parametrize("size", (40, 60, 80, 200))
def test_sentences_are_wrapped_below_themselves(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    _, *lines = at(monkeypatch, size)
    assert all(width(line) <= size for line in lines)
    assert " ".join(" ".join(lines).split()).count("too many") == 9
    if size >= 80:
        begin = lines[0].index("gate health")
        assert all(line.startswith(" " * begin) for line in lines[1:-1])


def test_without_a_terminal_an_entry_is_one_line() -> None:
    head, gate, silent = past.history([LONG, SILENT]).splitlines()
    assert head.split() == ["SEQ", "TIME", "(UTC)", "TYPE", "WHAT"]
    assert gate.index("gate health") == silent.index("by ada: queue released")


def test_nothing_is_said_in_words() -> None:
    assert past.history([]) == "nothing has happened yet"
