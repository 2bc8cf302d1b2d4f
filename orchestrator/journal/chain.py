"""The hash chain: what makes a change in the middle of a run's journal visible.

Theory of operation. Every event is written as *canonical JSON*: keys sorted, no blanks, everything beyond ASCII
escaped, numbers as Python writes them. Numbers that JSON cannot say become the strings "NaN", "Infinity" and
"-Infinity". The hash of an event is SHA-256 (hex) over the hash of the event before it (64 zeros for the first)
followed by the canonical JSON of ``{at, data, run, schema_version, seq, type}``. So each hash stands for the whole
journal up to there, and the newest one, kept somewhere else, shows a rewrite or a truncation, which the chain alone
cannot.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from orchestrator.core.events import SCHEMA_VERSION, Event, from_json, to_json
from orchestrator.ports import Recorded
from stages.values import Json, finite

GENESIS: Final = "0" * 64

Encoded = tuple[Event, str]
"""An event as it will be read back, and its canonical JSON."""

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Json) -> str:
    try:
        return _ENCODER.encode(value)
    except ValueError:  # a number that is not finite
        return _ENCODER.encode(finite(value))


def encode(event: Event) -> Encoded:
    data = to_json(event)
    try:
        return event, _ENCODER.encode(data)
    except ValueError:
        plain = finite(data)
        return from_json(plain), _ENCODER.encode(plain)


def extend(run: str, after: int, head: str, at: float, events: Sequence[Encoded]) -> Iterator[tuple[Recorded, str]]:
    """Each event in its place behind number *after*, whose hash is *head*; with its canonical JSON."""
    at = float(at)
    for seq, (event, data) in enumerate(events, after + 1):
        head = _link(head, (run, seq, at), event.type_name, data, SCHEMA_VERSION)
        yield Recorded(run, seq, at, event, head), data


def verify(records: Iterable[Recorded], before: str = GENESIS, after: int = 0) -> int | None:
    """The number of the first event that is not what was written there, or not in its place; None if all are.

    *records* begin behind event *after*, whose hash is *before*.
    """
    for record in records:
        after += 1
        if record.seq != after or not _matches(record, before):
            return after
        before = record.hash
    return None


def _matches(record: Recorded, before: str) -> bool:
    return is_link(before, record.run, record.seq, record.at, to_json(record.event), record.hash)


def is_link(before: str, run: str, seq: int, at: float, event: Json, link: str) -> bool:
    """Whether *link* is the hash of an event, as JSON, in that place behind an event whose hash is *before*."""
    if not isinstance(event, dict):
        return False
    name, data = str(event.get("type")), canonical(event)
    versions = range(SCHEMA_VERSION, 0, -1)
    return any(_link(before, (run, seq, float(at)), name, data, version) == link for version in versions)


def _link(before: str, place: tuple[str, int, float], type_name: str, data: str, schema_version: int) -> str:
    run, seq, at = place
    text = (  # canonical JSON by hand, since the data already is
        f'{before}{{"at":{at!r},"data":{data},"run":{_ENCODER.encode(run)},"schema_version":{schema_version},'
        f'"seq":{seq},"type":"{type_name}"}}'
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()
