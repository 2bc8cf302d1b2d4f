"""A run's course: the percentage of each flag over time, and what to mark beside it. For those who draw it.

Made of entries as everybody is shown them, in their order; it grows with the journal and stays small.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from orchestrator.core.telling import Teller
from stages.effects import flag_of
from stages.flag_spec import percentage_of

Json = Mapping[str, Any]

MOST_POINTS: Final = 500
MOST_MARKS: Final = 200
_MARKED: Final = frozenset(
    {
        "GateFailed",
        "OnFailPaused",
        "TriggerFired",
        "PointOfNoReturnPassed",
        "DriftFound",
        "KillSwitched",
        "Paused",
        "Resumed",
        "StepReentered",
        "Advanced",
        "RollbackStarted",
        "EnvironmentPassed",
        "StopRequested",
        "RunEnded",
    }
)


class Timeline:
    """*stages* are those of a status; see ``Teller``."""

    def __init__(self, stages: Iterable[Json] = ()) -> None:
        self.seq = 0
        self._teller = Teller(stages)
        self._exposure: dict[tuple[str, str], deque[tuple[str, float]]] = {}
        self._marks: deque[dict[str, Any]] = deque(maxlen=MOST_MARKS)

    def take(self, entry: Json) -> None:
        """The next one behind ``seq``."""
        self.seq = int(entry["seq"])
        sentence = self._teller.tell(entry)
        if entry["type"] in _MARKED:
            mark = {name: entry[name] for name in ("seq", "time", "type")}
            self._marks.append({**mark, "what": sentence or entry["type"]})
        self._note_exposure(entry)

    def tell(self, entry: Json) -> str | None:
        """The sentence of an entry that was taken before; None if only machines need it."""
        return self._teller.tell(entry)

    def shown(self) -> dict[str, Any]:
        """Points are ``[time, percentage]``; the percentage stands until the next one."""
        return {
            "seq": self.seq,
            "exposure": [
                {"environment": environment, "flag": flag, "points": [list(point) for point in points]}
                for (environment, flag), points in self._exposure.items()
            ],
            "marks": list(self._marks),
        }

    def _note_exposure(self, entry: Json) -> None:
        data = entry.get("data") or {}
        flag = flag_of(str(data.get("target")))
        if flag is None:
            return
        match entry["type"]:
            case "TargetObserved":
                percentage = percentage_of(data.get("value"))
            case "EffectFinished" if data.get("observed") is not None:
                percentage = percentage_of(data["observed"])
            case "DriftFound" if data.get("found") is not None:
                percentage = percentage_of(data["found"])
            case _:
                return
        known = self._exposure.setdefault(flag, deque(maxlen=MOST_POINTS))
        if not known or known[-1][1] != percentage:
            known.append((str(entry["time"]), percentage))
