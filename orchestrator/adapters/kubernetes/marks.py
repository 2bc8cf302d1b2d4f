"""Whose a change of an object is: what we write beside our own, and what the API server notes of everybody's.

Our annotations say which effect changed an object, of which run, in which life (epoch) of its controller, and since
when. Who wrote a field last is read from ``managedFields``: these tell our own half-done work from somebody's edit.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator.errors import Temporary
from stages.cluster import FIELD_MANAGER

EFFECT = f"{FIELD_MANAGER}/effect"
RUN = f"{FIELD_MANAGER}/run"
EPOCH = f"{FIELD_MANAGER}/epoch"
SINCE = f"{FIELD_MANAGER}/since"
RESTARTED_BY = f"{FIELD_MANAGER}/restarted-by"
TOTAL = f"{FIELD_MANAGER}/total"  # how many pods a version had at first, where its two Deployments have more

Path = tuple[str, ...]
"""Of a field, as in ``managedFields``: ``("f:spec", "f:replicas")``."""


@dataclass(frozen=True, slots=True)
class Author:
    """In whose name an object is changed. Of a run only the newest *epoch* may act."""

    effect: str
    run: str
    epoch: int

    @property
    def names(self) -> dict[str, str]:
        """What is written with a change that nobody waits for."""
        return {EFFECT: self.effect, RUN: self.run, EPOCH: str(self.epoch)}

    def annotations(self, now: float) -> dict[str, str]:
        """What is written with a change that is begun *now*, in seconds since the epoch of the clock."""
        return self.names | {SINCE: datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")}

    def has_marked(self, annotations: Mapping[str, str]) -> bool:
        """Whether this effect has been here, in whichever life."""
        return annotations.get(EFFECT) == self.effect and annotations.get(RUN) == self.run

    def is_current(self, annotations: Mapping[str, str]) -> bool:
        """Whether it has been here in this life: then nothing that an earlier one sent can arrive any more."""
        return self.has_marked(annotations) and annotations.get(EPOCH) == str(self.epoch)

    def check(self, annotations: Mapping[str, str], title: str) -> None:
        """Raises ``Temporary`` if a newer life of this run's controller has been here."""
        epoch = annotations.get(EPOCH, "")
        if annotations.get(RUN) == self.run and epoch.isdigit() and int(epoch) > self.epoch:
            raise Temporary(
                f"another controller has taken {self.run} over (epoch {epoch}, and this one has {self.epoch}), "
                f"so this one leaves {title} alone"
            )

    def began_at(self, annotations: Mapping[str, str]) -> float | None:
        """When this effect changed the object first, in seconds since the epoch of the clock; None if it did not."""
        if not self.has_marked(annotations):
            return None
        try:
            return datetime.fromisoformat(annotations[SINCE]).timestamp()
        except (KeyError, ValueError):
            return None


def owner_of(metadata: Mapping[str, Any], *paths: Path) -> str | None:
    """Who wrote one of these fields last; None where nobody is noted."""
    entries = [one for one in _entries(metadata) if any(_has(one.get("fieldsV1"), path) for path in paths)]
    newest = max(entries, key=lambda one: str(one.get("time", "")), default={})
    return newest.get("manager")


def written_at(metadata: Mapping[str, Any]) -> str:
    """When we wrote to the object last, in the API server's own words; empty if never."""
    ours = [str(one.get("time", "")) for one in _entries(metadata) if one.get("manager") == FIELD_MANAGER]
    return max(ours, default="")


def _entries(metadata: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for one in metadata.get("managedFields") or ():
        if isinstance(one, dict) and one.get("subresource") != "status":
            yield one


def _has(fields: object, path: Path) -> bool:
    for step in path:
        if not isinstance(fields, dict) or step not in fields:
            return False
        fields = fields[step]
    return True


def item(**key: str) -> str:
    """One item of a list in a path, by its key: ``item(name="app")``."""
    return f"k:{json.dumps(key, separators=(',', ':'))}"
