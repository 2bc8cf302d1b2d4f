"""What happened in a run, as Events of its object: the few that people look for, in the words of the history. Pure.

The name of an Event follows from where its entry stands in the journal, so telling it twice makes one. Holds that come
and go are told once each, with a count.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.cluster.objects import Rollout, seconds
from orchestrator.core.telling import Teller
from orchestrator.crd.objects import GROUP, cut

REPORTER = f"{GROUP}/controller"
Entry = Mapping[str, Any]
_EXPOSING = ("monitoring", "batch", "queue", "version")


@dataclass(frozen=True, slots=True)
class Told:
    """One Event to be. *key* tells it from all others of the object; *repeats*: a second one adds to its count."""

    key: str
    reason: str
    message: str
    time: str
    is_warning: bool = False
    repeats: bool = False

    def name_of(self, rollout: Rollout) -> str:
        digest = hashlib.sha256(f"{rollout.uid}/{self.key}".encode()).hexdigest()[:16]
        return f"{rollout.name}.{digest}"

    def body(self, rollout: Rollout) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": self.name_of(rollout), "namespace": rollout.namespace},
            "involvedObject": rollout.reference,
            "reason": self.reason,
            "message": cut(self.message),
            "type": "Warning" if self.is_warning else "Normal",
            "count": 1,
            "firstTimestamp": self.time,
            "lastTimestamp": self.time,
            "source": {"component": REPORTER},
            "reportingComponent": REPORTER,
            "reportingInstance": REPORTER,
        }


_REASONS: dict[str, tuple[str, bool]] = {
    "RunStarted": ("Started", False),
    "WaitingOpened": ("Waiting", False),
    "GateFailed": ("GateFailed", True),
    "TriggerFired": ("TriggerFired", True),
    "ActRefused": ("StepFailed", True),
    "OnFailPaused": ("Held", True),
    "HoldSet": ("Held", True),
    "DriftFound": ("ChangedElsewhere", True),
    "Paused": ("Paused", False),
    "Resumed": ("Resumed", False),
    "Advanced": ("Advanced", False),
    "PointOfNoReturnPassed": ("PointOfNoReturn", False),
    "RollbackStarted": ("RollingBack", True),
    "StopRequested": ("Stopping", False),
}
_OUTCOMES = {
    "promoted": ("Promoted", False),
    "rolled_back": ("RolledBack", True),
    "stopped": ("Stopped", True),
    "rollback_failed": ("RollbackFailed", True),
}


class Telling:
    """Of one run, entry by entry. *stages* are those of its status."""

    def __init__(self, run: str, stages: Sequence[Entry]) -> None:
        self.after = 0
        """The seq up to which everything was read."""
        self.run = run
        self._stages = stages
        self._teller = Teller(stages)

    def read(self, entries: Iterable[Entry], not_before: float, end: str) -> list[Told]:
        """What the next *entries* of the journal have to tell; *end* is how the run ended, once it has. What happened
        before *not_before* (seconds since the epoch) is read, for later sentences need it, and told no more: Events of
        it would have expired.
        """
        found: list[Told] = []
        for entry in entries:
            self.after = int(entry["seq"])
            sentence = self._teller.tell(entry)
            if entry["type"] == "RunEnded":
                sentence = end
            one = _told(self.run, self._stages, entry, sentence)
            if one is not None and (seconds(entry["time"]) or 0.0) >= not_before:
                found.append(one)
        return found


def refused(reason: str, message: str, version: object, time: str) -> Told:
    """That nothing was started; once for each version of the object and each message."""
    return Told(f"refused/{version}/{reason}/{message}", reason, message, time, is_warning=True, repeats=True)


def _told(run: str, stages: Sequence[Entry], entry: Entry, sentence: str | None) -> Told | None:
    kind, data, time = str(entry["type"]), entry["data"], _whole(entry["time"])
    key = f"{run}/{entry['seq']}"
    if kind == "LegEntered":
        raised = _raised(stages, data)
        return Told(key, *raised, time) if raised is not None else None
    known = _OUTCOMES.get(str(data.get("outcome"))) if kind == "RunEnded" else _REASONS.get(kind)
    if known is None or sentence is None:
        return None
    if kind == "HoldSet":
        return Told(
            f"{run}/hold/{data.get('hold')}/{data.get('item')}", known[0], sentence, time, known[1], repeats=True
        )
    return Told(key, known[0], sentence, time, known[1])


def _raised(stages: Sequence[Entry], data: Mapping[str, Any]) -> tuple[str, str] | None:
    """A step that was carried out: what it did has been done, and it settles."""
    if data.get("leg") != "settling":
        return None
    environment = str(data.get("environment", ""))
    here = [stage for stage in stages if stage["environment"] == environment]
    index, step = int(data.get("stage", 0)), int(data.get("step", 0))
    if index >= len(here):
        return None
    stage = here[index]
    name = stage["steps"][step] if step < len(stage["steps"]) else f"step {step + 1}"
    is_raised = stage["kind"] in _EXPOSING
    return "StepRaised" if is_raised else "StepDone", f"{stage['name']} {'is at' if is_raised else 'has done'} {name}"


def _whole(time: str) -> str:
    """Times of Events have no fractions."""
    return f"{time.partition('.')[0].removesuffix('Z')}Z"
