import io

import pytest

from orchestrator.cli import main
from orchestrator.cli.output import clock, duration, has_colour, paint, printable, table, to_yaml, width
from tests.orchestrator.cli.conftest import FakeController, a_status


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_line_up_also_with_wide_letters() -> None:
    lines = table(("name", "n"), [("búho", 1), ("部署", 22), ("e\u0301", 3)], "none").splitlines()
    assert lines[0] == "NAME  N"
    assert [line.index(str(number)) for line, number in zip(lines[1:], (1, 22, 3), strict=True)] == [6, 4, 7]
    assert [width(line[: -len(str(number))]) for line, number in zip(lines[1:], (1, 22, 3), strict=True)] == [6, 6, 6]


def test_no_rows_are_said_in_words() -> None:
    assert table(("name",), [], "no flags") == "no flags"


def test_control_characters_are_made_harmless() -> None:
    assert printable("a\x1b]0;title\x07b\nc\td") == "a\ufffd]0;title\ufffdb c d"
    assert printable(None) == ""


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert paint("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    assert not has_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("x", "red", Terminal()) == "x"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colour(Terminal())


def test_a_letter_that_the_terminal_lacks_is_a_question_mark(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller.statuses = [a_status(run="búho-1")]
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["list"]) == 0
    assert b"b?ho-1" in written.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    ((0, "0s"), (59.6, "1m"), (75, "1m 15s"), (3600, "1h"), (3661, "1h 1m"), (90000, "1d 1h"), (-3, "0s")),
)
def test_spans_are_said_by_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_times_are_short_and_in_utc() -> None:
    assert clock("2026-03-01T12:00:05.123Z") == "2026-03-01 12:00:05"
    assert clock(None) == "-"


def test_yaml_keeps_order_and_types() -> None:
    assert to_yaml({"b": 1, "a": ["1", True, None, {"z": "é"}]}) == "b: 1\na:\n- '1'\n- true\n- null\n- z: é\n"
