"""Where a value stands in the text of a JSON document, so that it alone can be replaced."""

import json
import re
from collections.abc import Iterable, Mapping
from json import JSONDecoder
from typing import Any

Path = tuple[str | int, ...]
Span = tuple[int, int]

_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = JSONDecoder()


def span_of(text: str, path: Path) -> Span:
    """From where to where the value at *path* stands. *text* is JSON, and the path leads somewhere in it."""
    at = _after_blanks(text, 0)
    for part in path:
        at = _member(text, at, part) if isinstance(part, str) else _element(text, at, part)
    return at, _DECODER.raw_decode(text, at)[1]


def replaced(text: str, changes: Mapping[Path, Any]) -> str:
    """*text* with other values at these paths, and every other character as it was."""
    spans: Iterable[tuple[Span, str]] = ((span_of(text, path), json.dumps(new)) for path, new in changes.items())
    for (start, end), new in sorted(spans, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _member(text: str, at: int, name: str) -> int:
    at += 1  # the brace
    while True:
        key, at = _DECODER.raw_decode(text, _after_blanks(text, at))
        value_at = _after_blanks(text, _after_blanks(text, at) + 1)  # the colon
        if key == name:
            return value_at
        at = _behind(text, value_at)


def _element(text: str, at: int, index: int) -> int:
    at = _after_blanks(text, at + 1)  # the bracket
    for _ in range(index):
        at = _after_blanks(text, _behind(text, at))
    return at


def _behind(text: str, at: int) -> int:
    """Behind the value at *at* and the comma that follows it."""
    _, end = _DECODER.raw_decode(text, at)
    return _after_blanks(text, end) + 1


def _after_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None, "it matches nothing, too"
    return found.end()


def parsed(text: str) -> Any:
    """Raises ValueError, also for a name that stands twice in one object: which one counts, readers disagree about."""
    try:
        return JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant).decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:80]!r} stands twice in one object")
        found[name] = value
    return found


def _no_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")
