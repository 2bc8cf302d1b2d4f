"""`rollout history` for people: one entry a row, its sentence wrapped to the window, in a colour by its kind."""

import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator.cli.layout import has_unicode, painted, wrapped
from orchestrator.cli.output import clock, paint, printable, width
from orchestrator.cli.picture import colour_of

Json = dict[str, Any]
LEAST_COLUMNS = 24  # for sentences; without these, they stand below
LONGEST_TYPE = len("PointOfNoReturnPassed")  # for those who don't know yet what is to come
_TIME, _SEQ = len("2026-03-01 12:00:05"), 5


def history(found: list[Json]) -> str:
    if not found:
        return "nothing has happened yet"
    kinds = max(width(str(entry["type"])) for entry in found)
    head = f"{'SEQ':>{_SEQ}}  {'TIME (UTC)':<{_TIME}}  {'TYPE':<{kinds}}  WHAT"
    return "\n".join([paint(head, "dim"), *rows(found, kinds)])


def rows(found: Iterable[Json], kinds: int = LONGEST_TYPE) -> Iterator[str]:
    """*found*: entries with their ``sentence``; *kinds*: columns for their types."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for entry in found:
        yield from _entry(entry, kinds, columns)


def _entry(entry: Json, kinds: int, columns: int) -> Iterator[str]:
    head = f"{entry['seq']:>{_SEQ}}  {clock(entry['time']):<{_TIME}}  "
    kind = f"{printable(entry['type']):<{kinds}}  "
    what, colour = _what(entry), colour_of(entry)
    indent = len(head) + len(kind)
    if not columns:
        yield f"{head}{kind}{what}".rstrip()
        return
    if columns - indent < LEAST_COLUMNS:
        yield painted(((head, "dim"), (kind, colour)), unicode=has_unicode())
        indent, lines = min(_SEQ + 2, columns // 4), wrapped(what, columns - min(_SEQ + 2, columns // 4))
    else:
        first, *lines = wrapped(what, columns - indent)
        yield painted(((head, "dim"), (kind, "dim"), (first, colour)), unicode=has_unicode())
    yield from (painted(((" " * indent, ""), (line, colour)), unicode=has_unicode()) for line in lines if line)


def _what(entry: Json) -> str:
    """The sentence, which names who and why. Of an entry that has none, who and why alone."""
    sentence = printable(entry.get("sentence"))
    if sentence or entry.get("by") in (None, "controller"):
        return sentence
    reason = f": {printable(entry['reason'])}" if entry.get("reason") else ""
    return f"by {printable(entry['by'])}{reason}"
