"""What everybody is shown of a run: one projection for the API, the command line and the page.

The fields of ``status`` are a contract; more may be added. Times are ISO 8601 in UTC.
"""

from typing import Any

from orchestrator.core import forward, gates, watching
from orchestrator.core.alarms import alarms, next_told
from orchestrator.core.backward import ready_nodes
from orchestrator.core.commands import resolvable
from orchestrator.core.entry import approval_of
from orchestrator.core.evidence import Evidence
from orchestrator.core.gates import GateView
from orchestrator.core.moment import Moment
from orchestrator.core.phases import Leg, Phase
from orchestrator.core.returns import targets_to_return, what_stays
from orchestrator.core.state import Hold, State, Waiting
from orchestrator.core.times import iso
from orchestrator.core.wanted import scopes
from stages.actions.backfill import BackfillAction
from stages.effects import TargetKind
from stages.flag_spec import percentage_of

Json = dict[str, Any]


def status(state: State, evidence: Evidence, now: float, *, has_controller: bool = True) -> Json:
    m = Moment(state, evidence, now)
    shown = summary(state)
    shown |= {
        "leg": state.leg,
        "percentages": percentages(state),
        "holds": holds(state, now, has_controller=has_controller),
        "gate": gate(m),
        "next": upcoming(m),
        "waiting": waiting(state),
        "exceptions": list(state.exceptions) if state.ended or state.rollback is None else stays_so_far(state),
        "pins": pins(state),
        "stages": stages(state),
        "progress": progress(m),
        "rollback": rollback(state),
        "stays_on_rollback": [] if state.ended or state.rollback else stays(state),
        "success": dict(state.success),
        "notifications": notifications(state, now),
        "frozen": frozen(m),
        "author": state.author,
        "about": dict(state.program.about),
        "seq": state.seq,
    }
    return shown


def summary(state: State) -> Json:
    """The short form: what lists show, and what the run's row carries."""
    return {
        "run": state.run,
        "plan": state.program.name,
        "digest": state.program.digest,
        "phase": state.phase,
        "outcome": state.outcome,
        "environment": state.cursor.environment,
        "stage": state.stage.name if state.stage is not None else None,
        "step": state.step.name if state.step is not None else None,
        "percentages": percentages(state),
        "holds": [_held(hold) for hold in state.holds.values()],
        "started": iso(state.started_at),
        "ended": iso(state.ended_at),
        "owner": state.program.about.get("owner"),
        "flags": {entry.name: sorted(entry.flags) for entry in state.program.environments},
        "reverses": state.started.reverses,
        "origin": state.started.origin.model_dump(mode="json") if state.started.origin is not None else None,
    }


def percentages(state: State) -> dict[str, float]:
    """Flag -> the percentage it stands at, in the environment where the run is."""
    return {
        target.id.partition("/")[2]: percentage_of(target.value if isinstance(target.value, dict) else None)
        for target in state.targets.values()
        if target.kind is TargetKind.FLAG and target.environment == state.cursor.environment
    }


def holds(state: State, now: float, *, has_controller: bool) -> list[Json]:
    """*target*: what ``resolve`` takes to end it; null where that is no way."""
    targets = set(resolvable(state)) if state.holds else set()
    found = [{**_held(hold), "target": hold.item if hold.item in targets else None} for hold in state.holds.values()]
    if not has_controller and not state.ended:
        detail = "no controller runs; rollout start PLAN, or rollout serve, goes on with this run"
        found.append({"reason": "no_controller", "item": "run", "since": iso(now), "by": "reader", "detail": detail})
    return found


def _held(hold: Hold) -> Json:
    return {
        "reason": hold.reason,
        "item": hold.item,
        "since": iso(hold.since),
        "by": hold.by,
        "detail": hold.detail,
    }


def _gate_now(m: Moment) -> GateView | None:
    state = m.state
    names = gates.watched_gates(state, m.evidence)
    if state.phase is Phase.WATCHING:
        names = watching.due_gates(m)
    return m.judged(names) if names else None


def gate(m: Moment) -> Json | None:
    view = _gate_now(m)
    if view is None:
        return None
    return {
        "name": view.name,
        "verdict": view.verdict,
        "on_fail": view.on_fail,
        "criteria": [
            {
                "name": one.name,
                "verdict": one.verdict,
                "value": one.value,
                "sentence": one.sentence,
                "at": iso(one.at),
                **gates.tested(one),
                **gates.bounded(one),
                "trail": gates.trail(one),
            }
            for one in view.criteria
        ],
    }


def waiting(state: State) -> list[Json]:
    return [
        {
            "item": item.item,
            "kind": item.kind,
            "text": item.text,
            "by": list(item.who),
            "until": iso(item.until),
            "approved_by": [one.by for one in item.given],
            **_approvals(state, item),
        }
        for item in state.waiting.values()
        if item.open
    ]


def _approvals(state: State, item: Waiting) -> Json:
    """Who has approved, as which of those who may, when and with which words; and whose yes is missing."""
    approval = approval_of(state, item)
    if approval is None:
        return {"approvals": [], "missing": []}
    given = [
        {"name": one.by, "group": role, "at": iso(one.at), "comment": one.reason}
        for one, role in zip(item.given, approval.roles(item.approvals), strict=True)
    ]
    return {"approvals": given, "missing": list(approval.missing(item.approvals))}


def notifications(state: State, now: float) -> Json:
    """What escalates, whom it tells next, and which channels can't be told anything."""
    escalations = []
    for alarm in alarms(state) if state.program.notify.channels else ():
        upcoming = next_told(state, alarm, now)
        is_acknowledged = alarm.is_acknowledged(state)
        escalations.append(
            {
                "what": alarm.words,
                "severity": alarm.severity,
                "since": iso(alarm.since),
                "acknowledged_by": state.acknowledged_by if is_acknowledged else None,
                "next": {"at": iso(upcoming[0]), "channels": list(upcoming[1])} if upcoming is not None else None,
            }
        )
    failing = [
        {"channel": name, "since": iso(one.since), "detail": one.detail} for name, one in state.failing_channels.items()
    ]
    waiting = sum(not notice.settled for notice in state.notices.values())
    return {"escalations": escalations, "failing": failing, "waiting": waiting}


def frozen(m: Moment) -> list[Json]:
    """Freezes that stand over environments of the plan, also where the run is not yet."""
    return [] if m.state.ended else [one.shown() for one in m.evidence.freezes if one.stands(m.wall)]


def pins(state: State) -> list[Json]:
    return [
        {"flag": pin.flag.partition("/")[2], "source": pin.source, "keys": sorted(pin.keys), "kept": pin.kept}
        for pin in state.pins.values()
    ]


def stages(state: State) -> list[Json]:
    """What had begun when the run turned back, or was stopped, is ``cut``: it is not still to do."""
    is_over = state.ended or state.rollback is not None
    left = {key for target in state.targets.values() for key in target.touches} if is_over else set()
    found = []
    for environment in state.program.environments:
        for stage in environment.stages:
            how = state.stages.get((environment.name, stage.name), "todo")
            if how == "todo" and state.stage is stage:
                how = "current"
            elif how == "todo" and f"{environment.name}/{stage.name}" in left:
                how = "cut"
            steps = [step.name for step in stage.steps]
            found.append(
                {"environment": environment.name, "name": stage.name, "kind": stage.kind, "steps": steps, "state": how}
            )
    return found


def progress(m: Moment) -> Json | None:
    """How much of the current bake or watch has passed, in seconds; of a backfill, in rows."""
    state = m.state
    if state.leg is Leg.ACTING:
        return _backfill_progress(m)
    if state.phase is Phase.RUNNING and state.leg is Leg.BAKING and state.step is not None:
        bake = state.step.bake
        return {
            "what": "bake",
            "passed_seconds": round(forward.bake_progress(m).seconds, 1),
            "of_seconds": bake.max_seconds,
            "least_seconds": bake.min_seconds,
        }
    if state.phase is Phase.WATCHING:
        passed = round(gates.watched_seconds(state, m.evidence), 1)
        return {"what": "watch", "passed_seconds": passed, "of_seconds": state.environment.watch_seconds}
    return None


def _backfill_progress(m: Moment) -> Json | None:
    """Rows filled so far, and when the rest will be, at the pace since the stage began to act."""
    state = m.state
    acts = state.step.acts if state.step is not None else ()
    act = next((one for one in acts if isinstance(one.action, BackfillAction)), None)
    target = state.targets.get(act.target.id) if act is not None and act.target is not None else None
    if target is None or not isinstance(target.value, dict):
        return None
    rows, of = target.value.get("rows", 0), target.value.get("of")
    begun = target.before.get("rows", 0) if isinstance(target.before, dict) else 0
    pace = (rows - begun) / max(m.now - state.entered_at, 1.0)
    eta = iso(m.now + max(of - rows, 0) / pace) if of and pace > 0 else None
    return {"what": "backfill", "rows": rows, "of_rows": of, "rows_per_second": round(pace, 1), "ends": eta}


def rollback(state: State) -> Json | None:
    if state.rollback is None:
        return None
    under_way = state.rollback
    return {
        "cause": under_way.cause,
        "by": under_way.by,
        "reason": under_way.reason,
        "since": iso(under_way.since),
        "scope": under_way.scope,
        "nodes": [
            {
                "id": key,
                "kind": node.node.kind,
                "target": node.node.target,
                "result": node.result,
                "detail": node.detail,
            }
            for key, node in under_way.nodes.items()
        ],
        "left": stays_so_far(state),
    }


def stays(state: State) -> list[str]:
    """What would not come back if the run were rolled back now."""
    return what_stays(state, targets_to_return(state, ""), "", with_schema=False)


def stays_so_far(state: State) -> list[str]:
    """What stays though it is rolled back: less, once somebody has asked for the schema to go too."""
    under_way = state.rollback
    assert under_way is not None
    returns = targets_to_return(state, under_way.scope)
    return what_stays(state, returns, under_way.scope, under_way.with_schema)


# --- what comes next --------------------------------------------------------------------------------------------------


def upcoming(m: Moment) -> Json:
    """What happens next, and when (null: not known, it waits for something)."""
    what, at = _upcoming(m)
    return {"what": what, "at": iso(at)}


def _upcoming(m: Moment) -> tuple[str, float | None]:
    state = m.state
    if state.ended:
        return "nothing: the run has ended", None
    if state.stop_requested is not None:
        return "stop, when what is under way has an outcome", None
    if state.rollback is not None:
        names = ", ".join(node.node.id for node in ready_nodes(state)) or "the end"
        return f"roll back: {names}", None
    if state.holds:
        return "go on when nothing holds any more", _opens_at(m)
    if state.phase is Phase.WATCHING:
        left = state.environment.watch_seconds - gates.watched_seconds(state, m.evidence)
        return "end of the watch", m.now + max(left, 0.0)
    if state.phase is Phase.CHECKING:
        return "begin, when every check has been answered", None
    return _next_of_leg(m)


def _opens_at(m: Moment) -> float | None:
    """When a window opens and freezes are over, where nothing else holds."""
    if m.is_held_by_more_than_time:
        return None
    window = m.closed_window()
    times = [one.until for one in m.freezes()] + ([window.opens_at(m.wall)] if window is not None else [])
    known = [at for at in times if at is not None]
    return max(known) if known and len(known) == len(times) else None


def _next_of_leg(m: Moment) -> tuple[str, float | None]:
    state = m.state
    stage, step = state.stage, state.step
    if stage is None or step is None:
        return "go on", None
    match state.leg:
        case Leg.BAKING:
            left = step.bake.min_seconds - forward.bake_progress(m).seconds
            return f"leave step {step.name} of {stage.name}", m.now + max(left, 0.0)
        case Leg.ENTERING:
            asked = ", ".join(scope.item for scope in scopes(m) if scope.checks) or "its guards"
            return f"begin step {step.name} of {stage.name} after {asked}", None
        case Leg.ACTING:
            return f"step {step.name} of {stage.name}", None
        case _:
            return f"{state.leg} of {stage.name}", None
