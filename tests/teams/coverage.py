"""The coverage table of a team: every item of its document, where the plan says it, and which run has shown it.

``coverage.yaml`` beside the plan has the items, each with its lines in the document. `check_plan` finds what the file
promises and the plan does not say, `check_lines` what the document says and the file does not mention.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tests.teams.evidence import Evidence, Shown
from tests.teams.team import Json, Pattern, Team, read_yaml

FILE = "coverage.yaml"
TABLE = "COVERAGE.md"
_PART = re.compile(r"\.?([^.\[\]]+)|\[([^\]]+)\]")
Lines = int | str


class Item(BaseModel):
    """*without* is the reason why an item is in no plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lines: Lines | tuple[Lines, ...]
    item: str
    plan: str | tuple[str, ...] = ()
    shown: Json | tuple[Json, ...] = ()
    without: str = ""

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> "Item":
        if bool(self.without) == bool(self.plan or self.shown):
            raise ValueError(f"{self.item!r} needs a field of the plan and what shows it, or a reason for having none")
        if not self.without and not (self.plan and self.shown):
            raise ValueError(f"{self.item!r} needs both a field of the plan and what shows it")
        return self

    @property
    def numbers(self) -> list[int]:
        return _numbers(self.lines if isinstance(self.lines, tuple) else (self.lines,))

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.plan,) if isinstance(self.plan, str) else self.plan

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        return self.shown if isinstance(self.shown, tuple) else (self.shown,)


class Coverage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    document: str
    lines: int
    items: tuple[Item, ...]
    aside: tuple[Lines, ...] = Field(default=(), description="Lines that ask for nothing.")


def _numbers(lines: Sequence[Lines]) -> list[int]:
    found: list[int] = []
    for one in lines:
        first, _, last = str(one).partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def coverage_of(team: Team[Any]) -> Coverage:
    return Coverage.model_validate(read_yaml(team.folder / FILE))


# --- what is not so ---------------------------------------------------------------------------------------------------


def check_plan(team: Team[Any], coverage: Coverage) -> Iterator[str]:
    """Fields that the plan (or the scheduled checks beside it) does not have, and lines that are named twice."""
    documents = [read_yaml(team.folder / name) for name in (team.plan, team.schedule) if name]
    for item in coverage.items:
        for path in item.fields:
            if not any(has_field(document, path) for document in documents):
                yield f"{item.item}: there is no {path} in {team.plan}"
    named = Counter(number for item in coverage.items for number in item.numbers)
    named.update(_numbers(coverage.aside))
    yield from (f"line {number} is named {count} times" for number, count in sorted(named.items()) if count > 1)
    yield from (f"there is no line {number}" for number in sorted(named) if not 1 <= number <= coverage.lines)


def has_field(document: Any, path: str) -> bool:
    """``spec.stages[queue].steps[0].percentage``: an element of a list by its name, or by its place."""
    found = document
    for key, element in _PART.findall(path):
        found = _element(found, element) if element else (found.get(key) if isinstance(found, Mapping) else None)
        if found is None:
            return False
    return True


def _element(found: Any, wanted: str) -> Any:
    if isinstance(found, Mapping):
        return found.get(wanted)
    if not isinstance(found, list):
        return None
    if wanted.isdecimal():
        return found[int(wanted)] if int(wanted) < len(found) else None
    return next((one for one in found if isinstance(one, Mapping) and wanted in _names(one)), None)


def _names(one: Mapping[str, Any]) -> set[str]:
    return {str(one[key]) for key in ("name", "manual", "question", "up", "flag", "check") if key in one}


def check_lines(coverage: Coverage, documents: Path) -> Iterator[str]:
    """Lines of the document that are neither in a row nor set aside."""
    file = next(documents.glob(f"{coverage.document}_*"))
    lines = file.read_text(errors="replace").splitlines()
    if len(lines) != coverage.lines:
        yield f"{file.name} has {len(lines)} lines, not {coverage.lines}"
    named = {number for item in coverage.items for number in item.numbers} | set(_numbers(coverage.aside))
    for number, line in enumerate(lines, start=1):
        if line.strip() and number not in named:
            yield f"line {number} is in no row: {line.strip()[:80]}"


def unseen(coverage: Coverage, evidence: Evidence) -> Iterator[str]:
    """Items that no run has shown."""
    for item in coverage.items:
        for pattern in item.patterns if not item.without else ():
            if evidence.first(pattern) is None:
                yield f"{item.item}: no run has shown {pattern}"


# --- the table --------------------------------------------------------------------------------------------------------


def table(team: Team[Any], coverage: Coverage, evidence: Evidence) -> str:
    """As Markdown; the same facts give the same text."""
    without = [item for item in coverage.items if item.without]
    covered = [item for item in coverage.items if not item.without]
    said = (
        f"The checklist has {coverage.lines} lines and {len(coverage.items)} items: {len(covered)} are in the plan,"
        f" {len(without)} are not, with the reason. `make seeds` walks the plan and writes this table from what it saw."
    )
    heads = [
        f"# {team.name}: every item of the checklist, and where it is",
        "",
        said,
        "",
        "| lines | item | in the plan | shown by |",
        "| --- | --- | --- | --- |",
    ]
    rows = [
        f"| {_words(item)} | {item.item} | {_codes(item.fields)} | {_shown(item, evidence)} |"
        for item in sorted(covered, key=lambda one: one.numbers)
    ]
    if without:
        rows += ["", "## In no plan", "", "| lines | item | why |", "| --- | --- | --- |"]
        ordered = sorted(without, key=lambda one: one.numbers)
        rows += [f"| {_words(one)} | {one.item} | {one.without} |" for one in ordered]
    return "\n".join([*heads, *rows, ""])


def _words(item: Item) -> str:
    return ", ".join(str(one) for one in (item.lines if isinstance(item.lines, tuple) else (item.lines,)))


def _codes(fields: Sequence[str]) -> str:
    return ", ".join(f"`{one}`" for one in fields)


def _shown(item: Item, evidence: Evidence) -> str:
    return "; ".join(_of(evidence.first(pattern), pattern) for pattern in item.patterns)


def _of(shown: Shown | None, pattern: Pattern) -> str:
    ((kind, wanted),) = pattern.items()
    words = ", ".join(f"{name} {_value(value)}" for name, value in (wanted or {}).items())
    where = f"in *{shown.run}*" if shown is not None else "**nowhere**"
    return f"{kind}{f' ({words})' if words else ''} {where}".replace("|", "\\|")


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(one)}" for name, one in value.items())
    return str(value)
