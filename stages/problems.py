"""What is wrong with a plan: every problem found, each at its place, in a sentence that says what was expected."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

Path = tuple[str | int, ...]

SHOWN = 60


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file. Lines and columns count from 1; 0 means that there is none (a setting has no lines)."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. *path* is where in the document (``spec.stages[2].bake``; empty: in the text itself)."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = str(Mark(self.file, self.line, self.column))
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


def problem(mark: Mark, path: Path, message: str) -> Problem:
    return Problem(mark.file, mark.line, mark.column, path_text(path), message)


class InvalidPlan(ValueError):
    """The plan is not valid. ``problems`` has everything that was found, in the order of the text, each once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(
            dict.fromkeys(sorted(problems, key=lambda one: (one.line, one.column, one.path)))
        )
        super().__init__("\n".join(map(str, self.problems)))


def path_text(path: Path) -> str:
    """``("spec", "stages", 2, "bake")`` as ``spec.stages[2].bake``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'percentages'?`` if something close is known, else nothing."""
    words = list(known)
    near = get_close_matches(word, words, n=1, cutoff=0.6)
    if not near and len(word) >= 3:
        near = [one for one in words if one.startswith(word)][:1]
    return f"; did you mean {near[0]!r}?" if near else ""


def listed(words: Sequence[str], last: str = "or") -> str:
    """``a, b or c``; a word that would break the line, or show nothing, as it is written in code."""
    printed = [word if word.isprintable() and word.strip() else repr(word) for word in words]
    if len(printed) < 2:
        return "".join(printed)
    return f"{', '.join(printed[:-1])} {last} {printed[-1]}"


def shown(value: Any) -> str:
    """A value as an error prints it: short, and by its kind where the content would not help."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case str():
            return repr(value if len(value) <= SHOWN else value[:SHOWN] + "…")
        case _:
            text = str(value)
            return text if len(text) <= SHOWN else text[:SHOWN] + "…"
