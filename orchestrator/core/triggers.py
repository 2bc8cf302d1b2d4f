"""Triggers and what they leave behind: their actions, pins, holds; drift and the kill latch beside them.

Triggers go on while a run is paused or killed. Several at once: all fire, the strongest ``then`` wins.
"""

from orchestrator.core import rollback
from orchestrator.core.events import (
    ActFinished,
    DriftFound,
    DriftGone,
    Event,
    KillSwitched,
    StageEnded,
    TriggerFired,
    TriggerRearmed,
    WaitingOpened,
)
from orchestrator.core.forward import next_stage
from orchestrator.core.gates import trigger_key, watched_triggers
from orchestrator.core.moment import Moment, request
from orchestrator.core.names import trigger_item
from orchestrator.core.phases import Phase, Reason
from orchestrator.core.state import PERSON, Pin, State
from orchestrator.core.walk import is_walked, next_events
from stages.criteria.base import Verdict
from stages.effects import WATCHED, SetFlag, Target, TargetKind, flag_target_id
from stages.flag_spec import ABSENT
from stages.step import Act
from stages.triggers import Trigger, pinning
from stages.values import Json

CONTINUE_LIMIT_SECONDS = 60.0


def fire_rule(m: Moment) -> list[Event]:
    """Triggers whose look breached fire; a rollback that one of them asks for is planned in the same breath."""
    firing = [trigger for trigger in watched_triggers(m.state) if _breached(m, trigger)]
    if not firing:
        return _rearm(m)
    events = [fired_event(m.state, trigger, _evidence(m, trigger)) for trigger in firing]
    strongest = next((trigger for trigger in firing if trigger.then == "rollback" and trigger.ask is None), None)
    if strongest is not None:
        events.append(_rollback(m, strongest))
    return events


def _rollback(m: Moment, trigger: Trigger) -> Event:
    look = m.evidence.looks[trigger_key(m.state.cursor.environment, trigger)]
    return rollback.plan(
        m.state,
        rollback.Why("trigger", f"trigger {trigger.name}: {look.sentence}", evidence=_evidence(m, trigger)),
        flags_of_triggers=(trigger.name,),
    )


def fired_event(state: State, trigger: Trigger, evidence: Json, *, by: str = "controller", reason: str = "") -> Event:
    environment = state.cursor.environment
    pins = {flag_target_id(environment, flag): tuple(sorted(keys)) for flag, keys in pinning(trigger).items()}
    sentence = evidence.get("sentence", "") if isinstance(evidence, dict) else ""
    return TriggerFired(
        trigger=trigger.name,
        environment=environment,
        then="hold" if trigger.ask is not None else trigger.then,
        pins=pins,
        evidence=evidence,
        by=by,
        reason=reason or sentence,
    )


def _evidence(m: Moment, trigger: Trigger) -> dict[str, Json]:
    look = m.evidence.looks[trigger_key(m.state.cursor.environment, trigger)]
    return {"verdict": look.verdict, "value": look.value, "sentence": look.sentence, "at": look.at}


def _breached(m: Moment, trigger: Trigger) -> bool:
    look = m.evidence.looks.get(trigger_key(m.state.cursor.environment, trigger))
    if look is None or look.verdict is not Verdict.FAIL:
        return False
    known = m.state.fired.get((m.state.cursor.environment, trigger.name))
    return known is None or (known.rearmed_at is not None and look.at > known.rearmed_at)


def _rearm(m: Moment) -> list[Event]:
    """A trigger may fire again after a passing look and ``rearm``; one with a pin also only when that is decided."""
    events: list[Event] = []
    for trigger in watched_triggers(m.state):
        known = m.state.fired.get((m.state.cursor.environment, trigger.name))
        look = m.evidence.looks.get(trigger_key(m.state.cursor.environment, trigger))
        if known is None or known.rearmed_at is not None or look is None or look.passed_at is None:
            continue
        undecided = any(pin.source == f"trigger {trigger.name}" for pin in m.state.undecided_pins())
        if look.passed_at > known.at and m.now - known.at >= trigger.rearm and not undecided:
            events.append(TriggerRearmed(trigger=trigger.name, environment=m.state.cursor.environment))
    return events


# --- the actions of what fired ----------------------------------------------------------------------------------------


def walks(state: State) -> list[tuple[str, tuple[Act, ...], str]]:
    """Walks of triggers that fired: key, acts, and the trigger's name. On the way back flags belong to the graph."""
    found = []
    for (environment, name), fired in state.fired.items():
        acts = state.program.environment(environment).trigger_acts.get(name, ())
        key = trigger_item(environment, name, fired.count)
        if not is_walked(state, key, acts):
            found.append((key, acts, name))
    return found


def awaited_targets(state: State) -> frozenset[str]:
    """What the next act of a trigger that fired is to change: it begins when nothing else is under way there."""
    acts = (acts[state.walk(key).done] for key, acts, _ in walks(state))
    return frozenset(act.target.id for act in acts if act.target is not None)


def act_rule(m: Moment) -> list[Event]:
    """The next act of every trigger that fired; not held by pause, hold or gate."""
    if not m.state.forward and m.state.phase is not Phase.ROLLING_BACK:
        return []
    found: list[Event] = []
    busy: set[str] = set()
    for key, acts, _ in walks(m.state):
        act = acts[m.state.walk(key).done]
        target = act.target
        if target is not None and target.id in busy:
            continue
        if target is not None:
            busy.add(target.id)
        if target is not None and target.kind is TargetKind.FLAG and m.state.phase is Phase.ROLLING_BACK:
            found.append(ActFinished(walk=key, index=m.state.walk(key).done, label=act.label, skipped=True))
            continue
        found += next_events(m, key, acts)
    return found


def are_acting(m: Moment) -> bool:
    """Whether actions of a trigger are still to come or under way, and may still take their time."""
    state = m.state
    return any(
        state.walk(trigger_item(environment, name, fired.count)).failed is None
        and m.now - fired.at < CONTINUE_LIMIT_SECONDS
        for (environment, name), fired in state.fired.items()
        if not is_walked(
            state,
            trigger_item(environment, name, fired.count),
            state.program.environment(environment).trigger_acts.get(name, ()),
        )
    )


def hold_rule(m: Moment) -> dict[tuple[Reason, str], str]:
    """Holds of triggers: those that hold until somebody resumes, and those whose actions take too long."""
    found: dict[tuple[Reason, str], str] = {}
    for (_, name), fired in m.state.fired.items():
        if fired.holding:
            found[(Reason.TRIGGER, name)] = fired.detail
    for key, _, name in walks(m.state):
        environment = key.partition(":")[2].partition("/")[0]
        fired = m.state.fired[(environment, name)]
        walk = m.state.walk(key)
        if walk.failed is not None:
            found[(Reason.TRIGGER, name)] = f"an action of trigger {name} was refused: {walk.failed}"
        elif fired.then == "continue" and m.now - fired.at >= CONTINUE_LIMIT_SECONDS:
            found[(Reason.TRIGGER, name)] = f"the actions of trigger {name} are not done after 60 s"
    for trigger in watched_triggers(m.state):
        look = m.evidence.looks.get(trigger_key(m.state.cursor.environment, trigger))
        if look is not None and look.seen and not look.measured:
            found[(Reason.INCONCLUSIVE, f"trigger {trigger.name}")] = look.sentence
    return found


def ask_rule(m: Moment) -> list[Event]:
    """``ask`` of a trigger that would roll back: a question to a person; yes rolls back, no goes on."""
    if not m.state.forward:
        return []
    for (environment, name), fired in m.state.fired.items():
        trigger = next((one for one in m.state.program.environment(environment).triggers if one.name == name), None)
        if trigger is None or trigger.ask is None or trigger.then != "rollback":
            continue
        item = trigger_item(environment, name, fired.count)
        if item not in m.state.waiting and fired.holding:
            text = trigger.ask.question
            return [WaitingOpened(item=item, kind="question", text=text, who=trigger.ask.by, reason=fired.detail)]
    return []


# --- pins and cuts ----------------------------------------------------------------------------------------------------


def cut_rule(m: Moment) -> list[Event]:
    """A pin on state, percentage or targets ends its flag's current stage, once it is clear that it stays."""
    state, stage = m.state, m.state.stage
    if stage is None or not state.forward:
        return []
    if state.is_cut(state.cursor.environment, stage.name):  # by a partial rollback, which leaves the run where it was
        return [] if m.held else [next_stage(state, f"stage {stage.name} was taken back")]
    flags = stage.exposure_targets(state.cursor.environment)
    pin = next((one for one in state.pins.values() if one.cuts and one.flag in flags and _stays(state, one)), None)
    if pin is None or pin.flag in state.outstanding or state.leg == "entering":
        return []
    if _is_undone_trigger(state, pin):
        return []
    reason = f"{pin.source} pinned {pin.flag}"
    ended = StageEnded(environment=state.cursor.environment, stage=stage.name, how="cut", reason=reason)
    return [ended, next_stage(state, reason)]


def _stays(state: State, pin: Pin) -> bool:
    """Kept by a person, or set by a trigger under which the run goes on."""
    if pin.kept:
        return True
    name = pin.source.removeprefix("trigger ")
    fired = state.fired.get((pin.environment, name))
    return fired is not None and fired.then == "continue" and pin.source != PERSON


def _is_undone_trigger(state: State, pin: Pin) -> bool:
    """Whether the trigger's own actions still have to happen: the stage is cut when they have."""
    return any(f"trigger {name}" == pin.source for _, _, name in walks(state))


# --- drift and the kill latch -----------------------------------------------------------------------------------------


def world_rule(m: Moment) -> list[Event]:
    """What others did: the kill latch, and targets that somebody else changed."""
    return _kill(m) or _restore(m) or _drift(m)


def _restore(m: Moment) -> list[Event]:
    """A person released a flag that somebody had changed: ours is written back, as far as it is the safer."""
    if not m.state.forward:
        return []
    found: list[Event] = []
    for flag, wanted in m.state.restores.items():
        target = m.state.targets[flag]
        if flag not in m.state.outstanding:
            operation = SetFlag(environment=target.environment, key=flag.partition("/")[2], value=wanted)
            title = f"{target.title} released"
            where = {"environment": target.environment, "stage": target.stage}
            found.append(request(Target(flag, target.kind, target.title), operation, title, **where))
    return found


def _kill(m: Moment) -> list[Event]:
    if m.state.phase is Phase.ENDED:
        return []
    here = {entry.name for entry in m.state.program.environments}
    wanted = m.evidence.killed & here
    events: list[Event] = [
        KillSwitched(environment=name, on=True, reason="the kill switch is on")
        for name in sorted(wanted - m.state.killed)
    ]
    events += [
        KillSwitched(environment=name, on=False, reason="the kill switch was lifted")
        for name in sorted(m.state.killed - wanted)
    ]
    return events


def _drift(m: Moment) -> list[Event]:
    if not m.state.forward:
        return []
    for target in m.state.targets.values():
        if target.kind not in WATCHED or target.id in m.state.outstanding:
            continue
        if target.cut_short and target.kind is not TargetKind.FLAG:
            continue  # it may stand anywhere between, by our own doing
        if target.environment in m.state.environments_passed or target.id in m.state.restores:
            continue
        seen = m.evidence.seen.get(target.id)
        if seen is None or seen.failure is not None or seen.at <= m.changed_at(target.id):
            continue
        standing = seen.value if seen.exists else ABSENT
        known = m.state.drift.get(target.id, target.value)
        if standing == known:
            continue
        if standing == target.value:
            return [DriftGone(target=target.id, value=standing, reason="it is back where the run left it")]
        return [
            DriftFound(
                target=target.id,
                expected=target.value,
                found=standing,
                changed_by=seen.changed_by,
                reason=f"{target.title} was changed by {seen.changed_by or 'somebody else'}",
            )
        ]
    return []


def drift_holds(m: Moment) -> dict[tuple[Reason, str], str]:
    return {
        (Reason.CHANGED_ELSEWHERE, target): f"{m.state.targets[target].title} was changed by somebody else"
        for target in m.state.drift
    }
