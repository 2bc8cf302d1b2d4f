"""What runs show: entries of journals, lines of reports, answers of rounds; and whether a pattern is among them.

A pattern is ``{TYPE: {field: wanted, ...}}``. Of a journal, TYPE is that of an entry, and fields are those of its data,
with ``by`` and ``reason``; ``Report`` has ``line``; ``Round`` has ``round``, ``check``, ``standing``, ``detail``.
A wanted text may have ``*`` in it; a wanted mapping is part of what is there; a wanted text or mapping, where a list is
there, is one of it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tests.teams.team import Json, Pattern


@dataclass(frozen=True, slots=True)
class Shown:
    """Something that a run showed: *run* is what the run was about, such as ``forward``."""

    run: str
    type: str
    data: Json
    where: str  # for people: an entry's number, say


@dataclass
class Evidence:
    """Everything that the runs of a team have shown so far."""

    shown: list[Shown] = field(default_factory=list)

    def take_journal(self, run: str, history: Iterable[Json]) -> None:
        self.shown += of_journal(run, history)

    def take_report(self, run: str, report: str) -> None:
        self.shown += [
            Shown(run, "Report", {"line": line}, f"line {number}")
            for number, line in enumerate(report.splitlines(), start=1)
            if line.strip()
        ]

    def take_round(self, answered: Json) -> None:
        """The result of one round, as ``rollout check --output json`` prints it."""
        for one in answered["checks"]:
            data = {"round": answered["round"], "check": one["name"], **one}
            self.shown.append(Shown("rounds", "Round", data, f"round {answered['round']}"))

    def first(self, pattern: Pattern) -> Shown | None:
        return first(self.shown, pattern)


def of_journal(run: str, history: Iterable[Json]) -> list[Shown]:
    """*run* is what the run was about."""
    return [
        Shown(
            run,
            entry["type"],
            {**(entry["data"] or {}), "by": entry["by"], "reason": entry["reason"]},
            f"#{entry['seq']}",
        )
        for entry in history
    ]


def first(shown: Iterable[Shown], pattern: Pattern) -> Shown | None:
    """The first that *pattern* speaks of; None if none does."""
    ((kind, wanted),) = pattern.items()
    return next((one for one in shown if one.type == kind and is_in(wanted or {}, one.data)), None)


def is_in(wanted: Any, there: Any) -> bool:
    """Whether *there* has all that is wanted."""
    if isinstance(there, Sequence) and not isinstance(there, str) and not isinstance(wanted, list):
        return any(is_in(wanted, one) for one in there)
    match wanted:
        case Mapping():
            return isinstance(there, Mapping) and all(
                name in there and is_in(value, there[name]) for name, value in wanted.items()
            )
        case list():
            return isinstance(there, Sequence) and all(is_in(value, there) for value in wanted)
        case str():
            return fnmatchcase(str(there), wanted)
        case _:
            return bool(there == wanted)


def missing(shown: Sequence[Shown], patterns: Iterable[Pattern]) -> Iterator[Pattern]:
    return (pattern for pattern in patterns if first(shown, pattern) is None)
