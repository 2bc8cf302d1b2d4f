"""The conformance table, `conformance.json`: documents, contexts, and the answer that every kind of client gives.

`flags` has sets of documents, each served at one moment, with or without the kill switch; `cases` has contexts and
answers. `value` and `variant` are those of a native evaluation, which also an error has (the default variant's);
OpenFeature and OFREP have none there, and a flag that is unknown has none anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from flags.feed import Feed, FeedVersion, newest
from flags.model import FlagDocument
from flags.snapshot import Snapshot

FILE = Path(__file__).with_suffix(".json")
_TYPES = {bool: "boolean", int: "integer", float: "float", str: "string", dict: "object"}


@dataclass(frozen=True, slots=True)
class Case:
    """`flags` is the set of documents that is served; `type` is OpenFeature's, that of an unknown flag is boolean."""

    name: str
    flags: str
    flag: str
    context: Mapping[str, Any]
    value: Any
    variant: str | None
    reason: str
    error_code: str | None
    metadata: Mapping[str, Any]
    unlike: Mapping[str, str]
    """Kinds of clients (`flagd`) that answer otherwise, and why."""

    @property
    def type(self) -> str:
        return _TYPES.get(type(self.value), "boolean")

    def __str__(self) -> str:
        return f"{self.flags}: {self.flag}: {self.name}"


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return table


def cases() -> list[Case]:
    return [
        Case(
            one["name"],
            one["flags"],
            one["flag"],
            one["context"],
            one["value"],
            one["variant"],
            one["reason"],
            one.get("errorCode"),
            one.get("metadata", {}),
            one.get("unlike", {}),
        )
        for one in _table()["cases"]
    ]


def sets() -> list[str]:
    """The names of the sets of documents."""
    return list(_table()["flags"])


@cache
def feed(name: str) -> Feed:
    """One set of documents, as servers hand it to clients."""
    served = _table()["flags"][name]
    documents = tuple(FlagDocument.from_json(document) for document in served["documents"])
    version = FeedVersion(newest(documents), int(served["killed"]))
    return Feed("production", version, documents, served["killed"], tuple(served["lifted"]))


@cache
def snapshot(name: str) -> Snapshot:
    return feed(name).snapshot()
