"""What a source answered, held against what a plan expects of it. Pure; every finding is a sentence.

``Found`` is an answer in the one form that all sources are brought to. A source that was asked and answers otherwise
than expected is *not met*; ``CannotTell`` is for what can't be decided by the answer, which is neither yes nor no.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.checks import Expect, NumberExpectation
from stages.values import Bound, Json, format_duration, parse_age

SHOWN_CHARACTERS = 200
_INDEX = re.compile(r"\[(\d+)\]")
_MISSING = object()


class CannotTell(Exception):
    """The question was not answered; the message says why."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number, of a series if it has *labels*."""

    value: float
    labels: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """An answer. What a source does not have is None; *text* of what may be secret is not *shown*.

    *numbers* are those of a query; other sources have their number in the text. *failed* says in what the source itself
    did not answer well (exit code, HTTP status), and is empty if it did. *verdict* is the answer where nothing is
    expected. *redact* is asked before a text is cut, lest half a secret escapes it.
    """

    what: str
    text: str | None = None
    shown: bool = True
    exit_code: int | None = None
    numbers: tuple[Number, ...] | None = None
    rows: int | None = None
    duration_seconds: float | None = None
    size_bytes: int | None = None
    age_seconds: float | None = None
    failed: str = ""
    note: str = ""
    verdict: bool = True
    redact: Callable[[str], str] = field(default=str, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Finding:
    met: bool
    sentence: str


def hold_against(expect: Expect, found: Found) -> list[Finding]:
    """One finding for each thing expected, in words with what was found. Raises ``CannotTell``."""
    findings = [] if expect.exit is None and found.exit_code is None else [_exit(expect, found)]
    if expect.number is not None:
        findings.append(_number(expect.number, found))
    if expect.stdout is not None:
        met = _text(found).strip() == expect.stdout.strip()
        findings.append(Finding(met, f"expected {found.what} {expect.stdout.strip()!r}, {_showing(found)}"))
    findings += [_contains(word, found) for word in _words(expect.contains)]
    findings += [_lacks(word, found) for word in _words(expect.lacks)]
    if expect.rows is not None:
        findings.append(_rows(expect.rows, found))
    if expect.duration is not None:
        findings.append(_bounded("duration", "s", expect.duration, found.duration_seconds, found))
    if expect.size is not None:
        findings.append(_bounded("size", "bytes", expect.size, _size(found), found))
    if expect.age is not None:
        findings.append(_age(expect.age, found))
    if expect.json_ is not None:
        findings += _json(expect.json_, found)
    return findings


def number_of(found: Found) -> float:
    """The one number of an answer that is text. Raises ``CannotTell`` if it is none."""
    text = _text(found).strip()
    try:
        value = float(text)
    except ValueError:
        raise CannotTell(f"expected a number, {_showing(found)}") from None
    if "_" in text or math.isnan(value):
        raise CannotTell(f"expected a number, {_showing(found)}")
    return value


def value_at(document: Json, path: str) -> Json:
    """What stands at a dotted *path* such as ``checks.queue.0.name`` or ``items[0]``; a key may hold dots itself.

    Raises ``CannotTell`` if there is nothing.
    """
    found = _walk(document, [step for step in _INDEX.sub(r".\1", path).split(".") if step])
    if found is _MISSING:
        raise CannotTell(f"there is nothing at {path} in the JSON")
    return found


def brief(text: str, longest: int = SHOWN_CHARACTERS) -> str:
    """Text on one line, cut to what a sentence can bear."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _walk(document: Json, steps: Sequence[str]) -> Json:
    if not steps:
        return document
    if isinstance(document, list):
        if not steps[0].isdecimal() or int(steps[0]) >= len(document):
            return _MISSING
        return _walk(document[int(steps[0])], steps[1:])
    if not isinstance(document, dict):
        return _MISSING
    for length in range(1, len(steps) + 1):
        key = ".".join(steps[:length])
        if key in document and (inner := _walk(document[key], steps[length:])) is not _MISSING:
            return inner
    return _MISSING


def _exit(expect: Expect, found: Found) -> Finding:
    if found.exit_code is None:
        raise CannotTell(f"expect.exit says nothing of {found.what}; it is for commands and scripts")
    wanted = 0 if expect.exit is None else expect.exit
    if wanted == "any":
        return Finding(True, f"exit code {found.exit_code}")
    said = f": {found.note}" if found.note and found.exit_code != wanted else ""
    return Finding(found.exit_code == wanted, f"expected exit code {wanted}, found {found.exit_code}{said}")


def _number(bound: Bound, found: Found) -> Finding:
    if found.numbers is None:
        try:
            value = number_of(found)
        except CannotTell as error:
            return Finding(False, f"expected {bound}: {error}")
        return Finding(bound.holds(value), f"expected {bound}, {_showing(found, f'{value:g}')}")
    if not found.numbers:
        raise CannotTell(f"expected {bound}, but {found.what} has no series")
    if any(math.isnan(number.value) for number in found.numbers):
        raise CannotTell(f"expected {bound}, but {found.what} is NaN")
    worst = max(found.numbers, key=lambda number: bound.opposite.severity(number.value))
    failing = [number for number in found.numbers if not bound.holds(number.value)]
    shown = worst if not failing else max(failing, key=lambda number: bound.opposite.severity(number.value))
    where = f" at {shown.labels}" if shown.labels else ""
    return Finding(not failing, f"expected {bound}, found {shown.value:g}{where}")


def _words(words: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if words is None else (words,) if isinstance(words, str) else words


def _contains(word: str, found: Found) -> Finding:
    return Finding(word in _text(found), f"expected {found.what} to contain {word!r}, {_showing(found)}")


def _lacks(word: str, found: Found) -> Finding:
    return Finding(word not in _text(found), f"expected {found.what} to lack {word!r}, {_showing(found)}")


def _rows(wanted: int | Bound, found: Found) -> Finding:
    if found.rows is None:
        raise CannotTell(f"expect.rows says nothing of {found.what}; it is for sql and query")
    met = found.rows == wanted if isinstance(wanted, int) else wanted.holds(found.rows)
    return Finding(met, f"expected {wanted} rows, found {found.rows}")


def _bounded(name: str, unit: str, bound: Bound, value: float | None, found: Found) -> Finding:
    if value is None:
        raise CannotTell(f"expect.{name} says nothing of {found.what}")
    return Finding(bound.holds(value), f"expected a {name} of {bound} {unit}, found {value:.6g} {unit}")


def _size(found: Found) -> int | None:
    if found.size_bytes is None and found.text is not None:
        return len(found.text.encode())
    return found.size_bytes


def _age(text: str, found: Found) -> Finding:
    if found.age_seconds is None:
        raise CannotTell(f"expect.age says nothing of {found.what}; it is for files")
    op, limit_seconds = parse_age(text)
    bound = Bound.model_validate({"op": op, "number": limit_seconds, "text": text})
    age = format_duration(round(found.age_seconds))
    return Finding(bound.holds(found.age_seconds), f"expected an age of {text.strip()}, found {age}")


def _json(wanted: Mapping[str, NumberExpectation | Json], found: Found) -> Iterator[Finding]:
    try:
        document = json.loads(_text(found))
    except (ValueError, RecursionError):
        yield Finding(False, f"expected JSON, {_showing(found)}")
        return
    for path, want in wanted.items():
        yield _at_path(document, path, want, found)


def _at_path(document: Json, path: str, want: NumberExpectation | Json, found: Found) -> Finding:
    bound = want.number if isinstance(want, NumberExpectation) else None
    expected = f"expected {path} to be {bound if bound is not None else brief(_written(want))}"
    try:
        value = value_at(document, path)
    except CannotTell:
        return Finding(False, f"{expected}, found nothing there")
    met = _same(value, want) if bound is None else _holds(bound, value)
    return Finding(met, f"{expected}, {_showing(found, _written(value))}")


def _holds(bound: Bound, value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _holds_number(bound, value)


def _holds_number(bound: Bound, value: float) -> bool:
    return bound.holds(value) and not math.isnan(value)


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: Python's own ``True == 1`` is not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _written(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _text(found: Found) -> str:
    if found.text is None:
        raise CannotTell(f"{found.what} has no text to look at")
    return found.text


def _showing(found: Found, part: str | None = None) -> str:
    """What was found (or *part* of it), as far as it may be shown."""
    if not found.shown:
        return "what is there is not shown"
    text = brief(found.redact(_text(found) if part is None else part))
    return f"found {text if part is not None else repr(text)}" if text else "found nothing"
