"""A run's history as people read it: one calm sentence for each entry that means something to them.

Works on entries as everybody is shown them (``{seq, time, type, by, reason, data}``), so that live view, history and
report tell the same, beside a controller or far from it. Entries that only machines need have no sentence.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from stages.success import Level

Json = Mapping[str, Any]
Told = Callable[[Json, str], str | None]
CONTROLLER: Final = "controller"
_WITHOUT_BAKE = ("steps", "migration")  # their steps change no exposure, so there is nothing to wait for
_STANDING = {"yes": "passes", "no": "fails", "unknown": "could not be asked"}
_THEN = {"hold": "the run holds", "continue": "the run goes on", "rollback": "the run rolls back"}
_ENDED = {
    "promoted": "promoted: it went all the way",
    "rolled_back": "rolled back: everything is as it was before",
    "stopped": "stopped: the world stays as it is",
    "rollback_failed": "rollback failed: something was given up as it is",
}


def time_words(text: Any) -> str:
    """``2026-03-01 12:00:05`` of an ISO time in UTC."""
    return str(text or "-").replace("T", " ").partition(".")[0].removesuffix("Z")


def level_words(level: Level) -> str:
    return words_of(level.value, level.low, level.high)


def words_of(value: Any, low: Any, high: Any) -> str:
    """``0.42 (0.4 to 0.44)``: a mean, and within which it lies 19 times of 20 where that is known."""
    if not isinstance(value, int | float):
        return "-"
    return f"{value:g}" if low is None or high is None else f"{value:.3g} ({low:.3g} to {high:.3g})"


class Teller:
    """Tells entries in their order: some only make sense with what came before (an outcome names its effect's label).

    *stages* are those of a status: ``[{environment, name, kind, steps}]``, in order.
    """

    def __init__(self, stages: Iterable[Json] = ()) -> None:
        self._stages: dict[str, list[Json]] = {}
        for stage in stages:
            self._stages.setdefault(str(stage["environment"]), []).append(stage)
        self._labels: dict[str, str] = {}

    def tell(self, entry: Json) -> str | None:
        data = entry.get("data") or {}
        if entry["type"] == "EffectRequested":
            effect = data.get("effect") or {}
            self._labels[str(effect.get("id"))] = str(effect.get("label") or effect.get("target"))
            return None
        sentence = self._sentence(str(entry["type"]), data, str(entry.get("reason") or ""))
        named_already = entry["type"] == "HoldSet"  # a freeze's detail says who holds, and why
        return sentence and (sentence if named_already else sentence + _who(entry))

    def _sentence(self, kind: str, data: Json, reason: str) -> str | None:
        own = _TELLING.get(kind)
        if own is not None:
            return own(data, reason)
        if kind == "LegEntered":
            return self._leg(data)
        if kind in ("EffectFailed", "EffectFinished"):
            return self._effect(kind, data)
        return None

    def _leg(self, data: Json) -> str | None:
        environment, phase, leg = str(data.get("environment", "")), data.get("phase"), data.get("leg")
        if phase == "checking":
            return "looks at checks, gates, flags and triggers before anything is changed"
        if phase == "watching":
            return f"watches {self._place(environment)}" if self._place(environment) else "watches"
        stage = int(data.get("stage", 0))
        if phase != "running" or leg not in ("entering", "baking"):
            return None
        if leg == "baking" and self._kind(environment, stage) in _WITHOUT_BAKE:
            return None
        where = self._step(environment, stage, int(data.get("step", 0)))
        return f"{where} is next" if leg == "entering" else f"{where} bakes"

    def _kind(self, environment: str, stage: int) -> str:
        known = self._stages.get(environment, [])
        return str(known[stage].get("kind")) if stage < len(known) else ""

    def _place(self, environment: str) -> str:
        """Environments are named only where there are several."""
        return environment if len(self._stages) > 1 else ""

    def _step(self, environment: str, stage: int, step: int) -> str:
        known = self._stages.get(environment, [])
        found = known[stage] if stage < len(known) else {}
        steps = found.get("steps") or []
        words = [self._place(environment), str(found.get("name") or f"stage {stage + 1}")]
        if len(steps) > 1 or not steps:
            words.append(str(steps[step]) if step < len(steps) else f"step {step + 1}")
        return " ".join(word for word in words if word)

    def _effect(self, kind: str, data: Json) -> str:
        label = self._labels.get(str(data.get("effect")), str(data.get("target")))
        detail = f": {data['detail']}" if data.get("detail") else ""
        state = data.get("state")
        if kind == "EffectFailed":
            if state == "unknown":
                return f"{label}: nobody knows whether it happened{detail}"
            return f"{label}: did not work, and is tried again{detail}"
        if state == "done":
            stands = _stands(data.get("observed"))
            return f"{label}: done; {stands}" if stands else f"{label}: done"
        return f"{label}: {state}{detail}"


def _stands(value: Any) -> str:
    """Where a migrator says that the database stands, if the value of a target is that."""
    if not isinstance(value, dict) or "current" not in value:
        return ""
    return f"the database stands at {value['current'] or 'its base'}"


def _observed(data: Json, _reason: str) -> str | None:
    stands = _stands(data.get("value"))
    return f"{data.get('title')}: {stands}" if stands else None


def _who(entry: Json) -> str:
    by, reason = str(entry.get("by") or CONTROLLER), str(entry.get("reason") or "")
    if by == CONTROLLER:
        return ""
    return f" (by {by}: {reason})" if reason else f" (by {by})"


class _Fields(dict[str, Any]):
    """Fields of an entry; one that is not there reads as nothing, since journals leave out what equals its default."""

    def __missing__(self, name: str) -> str:
        return ""


def _words(template: str) -> Told:
    return lambda data, _reason: template.format_map(_Fields(data))


def _started(data: Json, _reason: str) -> str:
    said = f"run {data.get('run')} of plan {data.get('plan')} started, digest {str(data.get('digest', ''))[:12]}"
    for key, word in (("supersedes", "supersedes"), ("reverses", "takes back")):
        if data.get(key):
            said += f"; {word} {data[key]}"
    return said


def _checked(data: Json, _reason: str) -> str:
    standing = _STANDING.get(str(data.get("standing")), str(data.get("standing")))
    detail = f": {data['detail']}" if data.get("detail") else ""
    return f"check {data.get('name')} {standing}{detail}"


def _waiting(data: Json, _reason: str) -> str:
    who = f", from {', '.join(data['who'])}" if data.get("who") else ""
    kind = str(data.get("kind")).replace("_", "-")
    return f"waits for an answer{who} ({kind} {data.get('item')}): {data.get('text')}"


def _answered(data: Json, _reason: str) -> str:
    words = {
        "approve": "approved",
        "reject": "rejected",
        "not_applicable": "not applicable",
        "timeout": "no answer came",
    }
    return f"{data.get('item')}: {words.get(str(data.get('answer')), data.get('answer'))}"


def _held(data: Json, _reason: str) -> str:
    detail = f": {data['detail']}" if data.get("detail") else ""
    return f"holds, {data.get('hold')}{_of(data.get('item'))}{detail}"


def _released(data: Json, _reason: str) -> str:
    return f"no longer holds, {data.get('hold')}{_of(data.get('item'))}"


def _paused_on_fail(data: Json, reason: str) -> str:
    return f"{data.get('what')} failed, and the plan wants a person to decide" + (f": {reason}" if reason else "")


def _act_finished(data: Json, _reason: str) -> str | None:
    return f"{data.get('label')}: nothing to change" if data.get("skipped") else None


def _act_refused(data: Json, reason: str) -> str:
    return f"{data.get('label')}: not possible" + (f": {reason}" if reason else "")


def _nodes_added(data: Json, _reason: str) -> str:
    return f"{len(data.get('nodes') or ())} more to bring back"


def _of(item: object) -> str:
    return "" if item in (None, "", "run") else f" of {item}"


def _sentences(evidence: object, verdict: str) -> str:
    """What the criteria of a gate said that had this verdict."""
    criteria = evidence.get("criteria", ()) if isinstance(evidence, Mapping) else ()
    return "; ".join(str(one.get("sentence")) for one in criteria if one.get("verdict") == verdict)


def _gate_failed(data: Json, reason: str) -> str:
    said = _sentences(data.get("evidence"), "fail") or reason
    return f"gate {data.get('gate')} fails: {said}"


def _fired(data: Json, _reason: str) -> str:
    evidence = data.get("evidence")
    sentence = evidence.get("sentence") if isinstance(evidence, Mapping) else None
    pins = [target.partition("/")[2] for target in data.get("pins") or {}]
    pinned = f"; pins {', '.join(pins)}" if pins else ""
    then = _THEN.get(str(data.get("then")), str(data.get("then")))
    return f"trigger {data.get('trigger')} fired{f': {sentence}' if sentence else ''}; {then}{pinned}"


def _pin_decided(data: Json, _reason: str) -> str:
    flag = str(data.get("flag")).partition("/")[2]
    return f"pin of {flag} by {data.get('source')}: {'kept' if data.get('decision') == 'keep' else 'released'}"


def _drifted(data: Json, _reason: str) -> str:
    who = f" by {data['changed_by']}" if data.get("changed_by") else ""
    return f"{data.get('target')} was changed elsewhere{who}"


def _rolling_back(data: Json, reason: str) -> str:
    scope = f" from stage {data['scope']} on" if data.get("scope") else ""
    targets = {node.get("target") for node in data.get("nodes") or () if node.get("target")}
    count = f"{len(targets)} target{'' if len(targets) == 1 else 's'}"
    left = f"; stays: {', '.join(data['left'])}" if data.get("left") else ""
    cause = str(data.get("cause"))
    # what a gate or trigger said stands in the entry just before, and a person's reason behind the person's name
    why = f": {reason}" if reason and cause in ("on_fail", "approval", "hold") else ""
    return f"rolls back{scope} ({cause.replace('_', ' ')}), {count}{left}{why}"


def _node(data: Json, _reason: str) -> str | None:
    words = {
        "as_it_was": "is as it was",
        "left": "is left",
        "resolved": "is taken as it is",
        "failed": "failed",
    }
    result = str(data.get("result"))
    if result == "done":  # its effect has been told
        return None
    detail = f": {data['detail']}" if data.get("detail") else ""
    return f"{data.get('node')} {words.get(result, result)}{detail}"


def _ended(data: Json, _reason: str) -> str:
    outcome = str(data.get("outcome"))
    if data.get("exceptions"):
        return f"{outcome.replace('_', ' ')}, with exceptions: {'; '.join(data['exceptions'])}"
    return _ENDED.get(outcome, outcome)


def _killed(data: Json, _reason: str) -> str:
    return f"kill switch of {data.get('environment')} {'thrown' if data.get('on') else 'lifted'}"


def _baseline(data: Json, _reason: str) -> str:
    level = data.get("level") or {}
    return f"success {data.get('name')}: {words_of(level.get('value'), level.get('low'), level.get('high'))} before"


def _judged(data: Json, _reason: str) -> str:
    return f"success {data.get('name')}: {data.get('standing')}, {data.get('detail')}"


def _delivered(data: Json, _reason: str) -> str | None:
    if data.get("delivered", True):
        return None
    return f"a notice could not be delivered: {data.get('detail')}"


def _channel_failing(data: Json, _reason: str) -> str:
    return f"the channel {data.get('channel')} can't be told: {data.get('detail')}; it is tried again"


_TELLING: dict[str, Told] = {
    "RunStarted": _started,
    "CheckAnswered": _checked,
    "WaitingOpened": _waiting,
    "WaitingAnswered": _answered,
    "ApprovalWithdrawn": _words("{item}: an approval is withdrawn"),
    "HoldSet": _held,
    "HoldCleared": _released,
    "TargetObserved": _observed,
    "ActStarted": _words("{label}: begins"),
    "ActFinished": _act_finished,
    "ActRefused": _act_refused,
    "StageEnded": _words("stage {stage} {how}"),
    "KeptAsReport": _words("{sentence}"),
    "PointOfNoReturnPassed": _words("point of no return passed with {stage}"),
    "BackupOutdated": _words("the backup of {stage} became too old; it is made again"),
    "GateFailed": _gate_failed,
    "OnFailPaused": _paused_on_fail,
    "TriggerFired": _fired,
    "TriggerRearmed": _words("trigger {trigger} is armed again"),
    "PinDecided": _pin_decided,
    "DriftFound": _drifted,
    "DriftGone": _words("{target} is as this run left it again"),
    "KillSwitched": _killed,
    "Paused": _words("paused"),
    "Resumed": _words("resumed"),
    "StepReentered": _words("{what}: the step's entry and evidence begin anew"),
    "Advanced": _words("advanced past {what}"),
    "TargetResolved": _words("{what}"),
    "Acknowledged": _words("acknowledged"),
    "ChannelFailing": _channel_failing,
    "RollbackStarted": _rolling_back,
    "NodesAdded": _nodes_added,
    "NodeFinished": _node,
    "RollbackFinished": _words("stages from {scope} on are back"),
    "EnvironmentPassed": _words("{environment} passed its watch"),
    "RunEnded": _ended,
    "StopRequested": _words("stop asked for"),
    "SuccessBaseline": _baseline,
    "SuccessJudged": _judged,
    "NoticeDelivered": _delivered,
}
