"""A run's journal as lines of JSON, and whether such lines are what was written: for an auditor who has a file and
nothing else of ours.

A line has ``run``, ``seq``, ``at`` (seconds since the epoch), ``type``, ``data`` and ``hash``, which chains it to the
line before as ``journal/chain.py`` says. The chain alone shows what was changed, left out, or put elsewhere. That its
end was cut off, or that all of it was written anew, only a *head* shows that had left the house before: number and hash
of what was the newest entry then.

Of a run of which only the report is kept, one line stands for all: ``run``, ``kept`` (since when, seconds since the
epoch), ``setting`` and the ``hashes`` of its entries, with which heads are compared as before.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.core.events import Event, from_json, to_json
from orchestrator.core.times import iso
from orchestrator.errors import KeptAsReport, StoreError, Tampered, UsageError
from orchestrator.journal import chain
from orchestrator.keeping_port import Kept
from orchestrator.kept import kept_words
from orchestrator.ports import Recorded

_HEAD = re.compile(r"([1-9][0-9]{0,11}):([0-9a-f]{64})")
_HASH = re.compile(r"[0-9a-f]{64}")
_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "run": str,
    "seq": int,
    "at": (int, float),
    "type": str,
    "data": dict,
    "hash": str,
}


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry of a journal at some time. *source* says where this is known from."""

    seq: int
    hash: str
    source: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What was verified: all *entries* of a *run*, the newest of which has the hash *head*, against so many *heads*.
    *kept*: only the hashes of its entries are there, and its report."""

    run: str
    entries: int
    head: str
    heads: int
    kept: Kept | None = None

    @property
    def kept_since(self) -> str | None:
        return iso(self.kept.at) if self.kept is not None else None


def line(record: Recorded) -> str:
    data = to_json(record.event)
    entry = {"run": record.run, "seq": record.seq, "at": record.at, "type": record.event.type_name, "data": data}
    return chain.canonical({**entry, "hash": record.hash})


def kept_line(kept: Kept) -> str:
    setting = str(kept.document["setting"])
    return chain.canonical({"run": kept.run, "kept": kept.at, "setting": setting, "hashes": list(kept.hashes)})


def head_of(text: str, source: str) -> Head:
    """Of ``SEQ:HASH``. Raises ``UsageError``."""
    found = _HEAD.fullmatch(text)
    if found is None:
        raise UsageError(f"{source}: a head is SEQ:HASH, the number of an entry and its 64 hex digits, not {text!r}")
    return Head(int(found[1]), found[2], source)


def verify(lines: Iterable[str], heads: Iterable[Head] = ()) -> Verified:
    """Whether these are all entries of one journal, from the first on. Raises ``Tampered``, which names the place."""
    known = sorted(heads, key=lambda head: head.seq)
    lines = list(lines)
    if (kept := _kept_in(lines)) is not None:
        _check_heads(kept.hashes, known)
        return Verified(kept.run, len(kept.hashes), kept.hashes[-1], len(known), kept)
    hashes: list[str] = []
    run = ""
    for entry, number in _entries(lines):
        run = run or entry["run"]
        _check(entry, run, number, hashes)
        hashes.append(entry["hash"])
    if not hashes:
        raise Tampered("there is no entry; the journal of a run begins with RunStarted")
    _check_heads(hashes, known)
    return Verified(run, len(hashes), hashes[-1], len(known))


def replay(lines: Iterable[str]) -> list[tuple[Event, float]]:
    """The events of a journal with their times, once it is verified. Raises ``Tampered``, and ``StoreError`` for what
    a newer version wrote."""
    written = list(lines)
    found = verify(written)
    if found.kept is not None:
        raise KeptAsReport(kept_words(found.kept))
    try:
        return [(from_json(entry["data"]), float(entry["at"])) for entry, _ in _entries(written)]
    except ValueError as problem:
        reason = " ".join(str(problem).split())[:300]
        raise StoreError(f"the journal can't be read ({reason}): a newer version of this program wrote it") from None


def _entries(lines: Iterable[str]) -> Iterator[tuple[dict[str, Any], int]]:
    for number, text in enumerate(lines, 1):
        if text.strip():
            yield _entry(text, number), number


def _kept_in(lines: Sequence[str]) -> Kept | None:
    """What one line says of a run of which only the report is kept; None if these are entries."""
    written = [text for text in lines if text.strip()]
    try:
        found = json.loads(written[0]) if len(written) == 1 else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or "kept" not in found:
        return None
    try:
        setting, hashes = {"setting": str(found["setting"])}, tuple(str(one) for one in found["hashes"])
        kept = Kept(str(found["run"]), float(found["kept"]), setting, hashes)
    except (KeyError, TypeError, ValueError):
        kept = None
    if kept is None or not kept.hashes or not all(map(_HASH.fullmatch, kept.hashes)):
        raise Tampered("line 1 says that a run is kept as its report, and not which, since when and with which hashes")
    return kept


def _entry(text: str, number: int) -> dict[str, Any]:
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        raise Tampered(f"line {number} is no JSON") from None
    is_entry = isinstance(entry, dict) and all(_is(entry.get(name), kind) for name, kind in _FIELDS.items())
    if not is_entry:
        raise Tampered(f"line {number} is no entry of a journal: it needs {', '.join(_FIELDS)}")
    return dict(entry)


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _check(entry: Mapping[str, Any], run: str, number: int, hashes: list[str]) -> None:
    expected, before = len(hashes) + 1, hashes[-1] if hashes else chain.GENESIS
    if entry["run"] != run:
        raise Tampered(f"line {number} is of another run: {entry['run']}, not {run}")
    if entry["seq"] > expected:
        missing = f"{expected} is" if entry["seq"] == expected + 1 else f"{expected} to {entry['seq'] - 1} are"
        raise Tampered(f"line {number} is entry {entry['seq']} of {run}: {missing} left out, or elsewhere")
    if entry["seq"] < expected:
        raise Tampered(f"line {number} is entry {entry['seq']} of {run} again, or not in its place")
    if not chain.is_link(before, entry["run"], entry["seq"], entry["at"], entry["data"], entry["hash"]):
        raise Tampered(f"entry {expected} of {run} (line {number}) is not what was written there behind the one before")
    if entry["data"].get("type") != entry["type"]:
        raise Tampered(f"entry {expected} of {run} (line {number}) bears another type than it was written with")


def _check_heads(hashes: Sequence[str], heads: list[Head]) -> None:
    sound = 0
    for head in heads:
        if head.seq > len(hashes):
            raise Tampered(
                f"the journal ends with entry {len(hashes)}, and {head.source} knows of an entry {head.seq}:"
                " its end was cut off"
            )
        if hashes[head.seq - 1] != head.hash:
            raise Tampered(
                f"entry {head.seq} has another hash than {head.source} knows of: something from entry {sound + 1} to it"
                " was written anew"
            )
        sound = head.seq
