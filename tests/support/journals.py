"""Runs and flags as tests of stores write them."""

from collections.abc import Mapping, Sequence
from typing import Any

from flags.model import FlagDocument, Version
from orchestrator.core.events import Event, Paused, RunStarted
from orchestrator.ports import Answer, Batch, FlagWrite, Journal, NewRun, Recorded


async def started(
    journal: Journal,
    run: str = "r",
    at: float = 100.0,
    claims: Mapping[str, str] | None = None,
    heir_of: str | None = None,
    refers_to: str | None = None,
) -> list[Recorded]:
    """A run with epoch 1 and one event."""
    new = NewRun(run, "plan", "digest", claims or {}, inherits_from=heir_of, refers_to=refers_to)
    return await journal.start(new, 1, at, [began(run)], {"phase": "checking"})


def began(run: str) -> RunStarted:
    return RunStarted(run=run, plan="plan", digest="digest", documents=(), by="ann", reason="release")


def batch(
    run: str = "r",
    after: int = 1,
    events: Sequence[Event] = (Paused(by="bob", reason="look"),),
    **other: Any,
) -> Batch:
    values: dict[str, Any] = {"epoch": 1, "at": 200.0, "summary": {"phase": "running"}, **other}
    return Batch(run=run, after=after, events=events, **values)


def flag_write(
    key: str = "f", expected: Version | None = None, percentage: float = 0.0, environment: str = "production"
) -> FlagWrite:
    document = FlagDocument(key, environment=environment, percentage=percentage)
    return FlagWrite(document, expected, by="ann", reason="raise it", run="r", effect="e1")


def answered(key: str = "k", **body: object) -> Answer:
    return Answer(key, body)
