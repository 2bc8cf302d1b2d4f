"""Printing: aligned tables for people, JSON and YAML for programs, colour only where it is wanted."""

import json
import os
import sys
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TextIO

COLOURS = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
    "bold": "1",
    "dim": "2",
    "bold red": "1;31",
}
_VERDICTS = {
    **dict.fromkeys(("promoted", "pass"), "green"),
    **dict.fromkeys(("rollback_failed", "rolled_back", "rolling_back", "fail", "killed"), "red"),
    **dict.fromkeys(("inconclusive", "stopped"), "yellow"),
}


def show(value: Any, output: str, as_text: Callable[[Any], str]) -> None:
    """*value* as ``--output`` asks; *as_text* is how people read it."""
    if output == "json":
        text = json.dumps(value, indent=2, ensure_ascii=False)
    elif output == "yaml":
        text = to_yaml(value)
    else:
        text = as_text(value)
    print(text.rstrip("\n"))


def to_yaml(value: Any) -> str:
    from io import StringIO

    from ruamel.yaml import YAML

    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.allow_unicode = True
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    text = StringIO()
    writer.dump(value, text)
    return text.getvalue()


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], none: str) -> str:
    """Columns as wide as what is in them; *none* is said if there are no rows."""
    if not rows:
        return none
    cells = [[printable(head).upper() for head in heads], *([printable(cell) for cell in row] for row in rows)]
    widths = [max(width(row[index]) for row in cells) for index in range(len(heads))]
    lines = []
    for number, row in enumerate(cells):
        line = "  ".join(cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths, strict=True)).rstrip()
        lines.append(paint(line, "dim") if number == 0 else line)
    return "\n".join(lines)


def printable(value: object) -> str:
    """One line that can do nothing to a terminal: names and reasons come from anybody."""
    text = "" if value is None else str(value)
    return "".join(
        " " if char in "\t\r\n" else char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def width(text: str) -> int:
    """Columns of a terminal that *text* takes."""
    return len(text) if text.isascii() else sum(columns_of(char) for char in text)


@lru_cache(4096)
def columns_of(char: str) -> int:
    """Of one letter. The selector that makes a sign an emoji counts, since it makes it wider."""
    if unicodedata.category(char) in ("Mn", "Me") and char != "\N{VARIATION SELECTOR-16}":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def has_colour(stream: TextIO) -> bool:
    """NO_COLOR (https://no-color.org) and a dumb terminal switch colour off."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    if not has_colour(stream or sys.stdout):
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def painted_word(word: object) -> str:
    """A verdict, phase or outcome in its colour."""
    text = printable(word)
    return paint(text, _VERDICTS[text]) if text in _VERDICTS else text


def clock(text: object) -> str:
    """``2026-03-01 12:00:05`` of an ISO time in UTC; ``-`` of none."""
    return printable(text or "-").replace("T", " ").partition(".")[0].removesuffix("Z")


def hours(text: object) -> str:
    """``12:00:05`` of an ISO time in UTC, for what happened within a day."""
    return clock(text).rpartition(" ")[2]


def duration(seconds: float) -> str:
    """``1h 5m``, ``3m 20s``, ``12s``: the two largest units."""
    rest = max(0, round(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def note(text: str) -> None:
    """A message to whoever watches: never among the results."""
    print(text, file=sys.stderr, flush=True)
