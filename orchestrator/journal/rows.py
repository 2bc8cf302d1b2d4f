"""Rows of a database's tables as what the ports speak of, alike for every store that keeps text in columns."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from flags.errors import FlagError
from flags.model import FlagDocument
from orchestrator.core.events import from_text
from orchestrator.errors import Unreadable
from orchestrator.ports import FlagRecord, Recorded, RunRow

T = TypeVar("T")


def run_row(found: tuple[Any, ...]) -> RunRow:
    run, plan, digest, rev, epoch, active, created, summary, kept = found
    return RunRow(run, plan, digest, rev, epoch, bool(active), created, json.loads(summary), kept)


def event(run: str, seq: int, at: float, data: str, digest: str) -> Recorded:
    return Recorded(run, seq, at, _parsed(from_text, data, f"Event {seq} of run {run!r}"), digest)


def flag_record(found: tuple[Any, ...]) -> FlagRecord:
    environment, key, text, by, reason, at, run, effect = found
    document = _parsed(_flag_document, text, f"The document of flag {key!r} in {environment}")
    return FlagRecord(document, by, reason, at, run, effect)


def _flag_document(text: str) -> FlagDocument:
    return FlagDocument.from_json(json.loads(text))


def _parsed(parse: Callable[[str], T], text: str, what: str) -> T:
    try:
        return parse(text)
    except (ValueError, FlagError) as problem:
        reason = " ".join(str(problem).split())[:300]
        raise Unreadable(
            f"{what} can't be read ({reason}): it was written by a newer version of this program, or changed by hand."
        ) from None
