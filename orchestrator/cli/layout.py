"""Text within the columns that there are: cut, wrapped, in colour, and in ASCII where a terminal has no more.

A ``Line`` is a tuple of spans ``(text, colour)``, so that what is cut is never the middle of an escape sequence.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from orchestrator.cli.output import columns_of, paint, width

Span = tuple[str, str]
Line = tuple[Span, ...]

_ASCII = {"…": "~", "·": "|", "✓": "+", "✗": "x", "▶": ">", "○": ".", "–": "-", "✂": "x", "█": "#", "░": ".", "─": "-"}
_ASCII |= dict(zip("▁▂▃▄▅▆▇█", ".:-=+*%#", strict=True))
_TO_ASCII = str.maketrans(_ASCII)


def has_unicode(stream: TextIO | None = None) -> bool:
    """Whether what is written there arrives as UTF-8. ``LC_ALL=C`` says no, whatever Python makes of it."""
    encoding = (getattr(stream or sys.stdout, "encoding", None) or "").lower().replace("-", "")
    return encoding == "utf8" and os.environ.get("LC_ALL", "") not in ("C", "POSIX")


def plain(text: str) -> str:
    """Our own signs in ASCII, and a question mark for anybody else's letters."""
    return text.translate(_TO_ASCII).encode("ascii", "replace").decode()


def cut(text: str, columns: int) -> str:
    """At most *columns* wide; what is left out is an ellipsis."""
    if width(text) <= columns:
        return text
    return "".join(_fitting(text, columns - 1)) + "…" if columns > 0 else ""


def _fitting(text: str, columns: int) -> Iterator[str]:
    for char in text:
        columns -= columns_of(char)
        if columns < 0:
            return
        yield char


def wrapped(text: str, columns: int, most: int = 1000) -> list[str]:
    """Broken at blanks, and inside a word only if it is wider than a line. The last of *most* lines is cut."""
    lines: list[str] = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if width(joined) <= columns:
            lines[-1] = joined
            continue
        pieces = list(_pieces(word, max(columns, 2)))
        lines[-1:] = [*([lines[-1]] if lines[-1] else []), *pieces]
    if len(lines) > most:
        lines = [*lines[: most - 1], cut(" ".join(lines[most - 1 :]), columns)]
    return lines


def _pieces(word: str, columns: int) -> Iterator[str]:
    while word:
        piece = "".join(_fitting(word, columns))
        yield piece
        word = word[len(piece) :]


def hanging(head: str, text: str, columns: int, most: int = 1000) -> list[str]:
    """*text* behind *head*, its further lines below its first; at most *most*, the last of which is cut."""
    if columns - width(head) < 16:  # too narrow for that
        return wrapped(f"{head.rstrip()} {text}", columns, most)
    first, *rest = wrapped(text, columns - width(head), most) or [""]
    return [f"{head}{first}".rstrip(), *(" " * width(head) + line for line in rest)]


# --- lines in colour --------------------------------------------------------------------------------------------------


def width_of(line: Line) -> int:
    return sum(width(text) for text, _ in line)


def fitted(line: Line, columns: int) -> Line:
    """The line cut to *columns*."""
    if width_of(line) <= columns:
        return line
    found: list[Span] = []
    left = columns
    for text, colour in line:
        if width(text) >= left:
            found.append((cut(text + "……", left), colour))  # there is more, here or in the next span
            break
        found.append((text, colour))
        left -= width(text)
    return tuple(found)


def painted(line: Line, *, unicode: bool) -> str:
    return "".join(_span(text if unicode else plain(text), colour) for text, colour in line).rstrip(" ")


def _span(text: str, colour: str) -> str:
    return paint(text, colour) if colour and text else text


def spread(texts: Iterable[Line], columns: int) -> list[Line]:
    return [fitted(line, columns) for line in texts]
