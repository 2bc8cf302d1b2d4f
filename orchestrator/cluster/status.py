"""How a rollout stands, as its object shows it: a bounded projection with the conditions that others read. Pure.

``Ready`` is what ``kubectl wait`` and Flux wait for: true when the newest run of the newest spec was promoted.
``Stalled`` (kstatus: failed) is true when it ended otherwise, or can't begin before somebody does something.
``Progressing`` is false where nothing moves: it has ended, or something holds it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator.cluster.objects import Rollout, seconds
from orchestrator.cluster.reconcile import Refusal, version_of
from orchestrator.core.phases import Phase
from orchestrator.crd.objects import MOST_HOLDS, MOST_PERCENTAGES, MOST_WAITING, RolloutStatus, cut
from orchestrator.ports import RunRow
from stages.values import Json

NEXT_STEPS_SECONDS = 10
"""So coarse is the time of what comes next: it moves by a little at each look."""
_WORST = ("fail", "inconclusive", "pass")
_ENDED = {
    "promoted": "Promoted",
    "rolled_back": "RolledBack",
    "stopped": "Stopped",
    "rollback_failed": "RollbackFailed",
}


@dataclass(frozen=True, slots=True)
class Said:
    """Reason and message of one look, and what the conditions are."""

    reason: str
    message: str
    ready: bool = False
    progressing: bool = False
    stalled: bool = False


def project(rollout: Rollout, run: Mapping[str, Any] | None, refusal: Refusal | None, now: float) -> dict[str, Json]:
    """The whole status. *run* is what ``rollout status`` shows of the object's newest run; None if we know of none, and
    what stands there of one stays. *refusal* says why there is no run of the newest spec; one of the two is given.
    """
    before = rollout.status
    found: dict[str, Any] = _of_run(run) if run is not None else {**before}
    said = _refused(refusal) if refusal is not None else _said(rollout, run or {})
    is_seen = refusal is not None or run is None or run["phase"] == Phase.ENDED or _is_of(rollout, run)
    generation = rollout.generation if is_seen or run is None else run["origin"]["generation"]
    conditions = _conditions(said, generation, before.get("conditions") or (), now)
    model = RolloutStatus.model_validate({**found, "observedGeneration": generation, "conditions": conditions})
    shown = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {name: value for name, value in shown.items() if value not in ({}, [])}


def is_shown(rollout: Rollout, row: RunRow) -> bool:
    """Whether the object shows the end of this run already: whoever has thousands of them need not fold them all."""
    status = rollout.status
    conditions: Sequence[Mapping[str, Any]] = status.get("conditions") or ()
    reasons = [one.get("reason") for one in conditions if one.get("type") == "Ready"]
    return (
        not row.active
        and status.get("run") == row.run
        and status.get("phase") == Phase.ENDED
        and status.get("observedGeneration") == rollout.generation
        and reasons == [_ENDED.get(str(row.summary.get("outcome")))]
    )


def merge_patch(old: Mapping[str, Json], new: Mapping[str, Json]) -> dict[str, Json]:
    """What a JSON merge patch has to say so that *old* becomes *new*; empty if nothing."""
    found: dict[str, Json] = dict.fromkeys(old.keys() - new.keys())
    for name, value in new.items():
        if name not in old:
            found[name] = value
        elif isinstance(value, dict) and isinstance(old[name], dict):
            inner = merge_patch(old[name], value)
            if inner:
                found[name] = inner
        elif old[name] != value:
            found[name] = value
    return found


# --- the run ----------------------------------------------------------------------------------------------------------


def _of_run(run: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{
            name: run.get(name) for name in ("run", "digest", "phase", "leg", "outcome", "environment", "stage", "step")
        },
        "percentages": dict(sorted(run["percentages"].items())[:MOST_PERCENTAGES]),
        "gate": _gate(run.get("gate")),
        "holds": [_hold(hold) for hold in run["holds"][:MOST_HOLDS]],
        "next": _next(run),
        "waiting": [_waiting(item) for item in run["waiting"][:MOST_WAITING]],
        "started": _time(run["started"]),
        "ended": _time(run["ended"]),
    }


def _gate(gate: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if gate is None:
        return None
    worst = min(gate["criteria"], key=lambda one: _WORST.index(one["verdict"]), default=None)
    sentence = f"{worst['name']}: {worst['sentence']}" if worst is not None else ""
    return {"name": cut(gate["name"]), "verdict": gate["verdict"], "sentence": cut(sentence)}


def _hold(hold: Mapping[str, Any]) -> dict[str, Any]:
    texts = {name: _cut_name(hold[name]) if name == "by" else cut(str(hold[name])) for name in ("item", "by", "detail")}
    return {"reason": hold["reason"], "since": _time(hold["since"]), **texts}


def _waiting(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "item": cut(item["item"]),
        "kind": item["kind"],
        "text": cut(item["text"] or ""),
        "by": [_cut_name(who) for who in item["by"][:64]],
        "until": _time(item["until"]),
    }


def _next(run: Mapping[str, Any]) -> dict[str, Any] | None:
    upcoming = run.get("next")
    if run["phase"] == Phase.ENDED or upcoming is None:
        return None
    at = seconds(upcoming["at"])
    coarse = None if at is None else -(-at // NEXT_STEPS_SECONDS) * NEXT_STEPS_SECONDS
    return {"what": cut(upcoming["what"]), "at": None if coarse is None else datetime.fromtimestamp(coarse, UTC)}


def _cut_name(name: object) -> str:
    return str(name)[:253]


def _time(text: str | None) -> datetime | None:
    at = seconds(text)
    return None if at is None else datetime.fromtimestamp(int(at), UTC)


# --- what is said of it -----------------------------------------------------------------------------------------------


def _is_of(rollout: Rollout, run: Mapping[str, Any]) -> bool:
    origin = run["origin"]
    return version_of(rollout) == (origin["generation"], origin["bundle"])


def _refused(refusal: Refusal) -> Said:
    return Said(refusal.reason, refusal.message, stalled=refusal.needs_a_person)


def _said(rollout: Rollout, run: Mapping[str, Any]) -> Said:
    if run["phase"] == Phase.ENDED:
        outcome = str(run["outcome"])
        return Said(_ENDED[outcome], how_it_ended(run), ready=outcome == "promoted", stalled=outcome != "promoted")
    edited = "" if _is_of(rollout, run) else "; the object was edited since, which counts when this run has ended"
    if run["holds"]:
        hold = run["holds"][0]
        words = f"{hold['reason'].replace('_', ' ')}: {hold['detail'] or hold['item']}"
        more = f" (and {len(run['holds']) - 1} more)" if len(run["holds"]) > 1 else ""
        return Said(_camel(hold["reason"]), f"holds, {words}{more}{edited}")
    return Said(_camel(run["phase"]), f"{_where(run)}{edited}", progressing=True)


def how_it_ended(run: Mapping[str, Any]) -> str:
    """In one sentence, with why: what ``kubectl describe`` shows."""
    outcome = str(run["outcome"])
    if outcome == "promoted":
        words = "promoted: it went all the way"
    elif outcome == "stopped":
        words = "stopped: the world stays as it is"
    else:
        back = run["rollback"] or {}
        cause = str(back.get("cause", "")).replace("_", " ")
        by = "" if back.get("by") in (None, "controller") else f" by {back['by']}"
        words = f"{outcome.replace('_', ' ')}{f' ({cause}{by})' if cause else ''}"
        words += f": {back['reason']}" if back.get("reason") else ""
    return words + (f"; {'; '.join(run['exceptions'])}" if run["exceptions"] else "")


def _where(run: Mapping[str, Any]) -> str:
    words = str(run["phase"]).replace("_", " ")
    if run["phase"] == Phase.RUNNING:
        place = " ".join(str(run[name]) for name in ("environment", "stage", "step") if run.get(name))
        words = f"{words} {place} ({run['leg']})"
    if run["rollback"] is not None and run["rollback"]["reason"]:
        words += f": {run['rollback']['reason']}"
    return words


def _camel(word: str) -> str:
    return "".join(part.capitalize() for part in word.split("_"))


def _conditions(said: Said, generation: int, before: Sequence[Mapping[str, Any]], now: float) -> list[dict[str, Any]]:
    known = {str(one.get("type")): one for one in before}
    states = (("Ready", said.ready), ("Progressing", said.progressing), ("Stalled", said.stalled))
    found = []
    for kind, is_true in states:
        status, old = "True" if is_true else "False", known.get(kind)
        stays = old is not None and old.get("status") == status
        since = old.get("lastTransitionTime") if old is not None and stays else None
        found.append(
            {
                "type": kind,
                "status": status,
                "observed_generation": generation,
                "last_transition_time": _time(since) or datetime.fromtimestamp(int(now), UTC),
                "reason": said.reason,
                "message": cut(said.message),
            }
        )
    return found
