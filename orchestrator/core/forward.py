"""The way forward: what each leg of ``running`` does, and what lets it go on.

Each leg has two functions in a table: its *work* (events while it is under way) and its *holds* (why it stands). A leg
moves only when nothing holds; the rules above it (triggers, gates) have had their say before.
"""

from orchestrator.core import entry, gates, rollback
from orchestrator.core.events import (
    BackupOutdated,
    Event,
    GateFailed,
    LegEntered,
    OnFailPaused,
    PointOfNoReturnPassed,
    StageEnded,
)
from orchestrator.core.evidence import Progress
from orchestrator.core.gates import baseline, evidence_of
from orchestrator.core.moment import Moment
from orchestrator.core.names import before_walk, step_walk
from orchestrator.core.phases import Leg, Phase, Reason
from orchestrator.core.questions import Scope, all_settled, holds_of, record_answers, refusal
from orchestrator.core.state import State
from orchestrator.core.walk import VERIFY_AGAIN_SECONDS, current_act, is_walked, next_events, walk_holds
from stages.actions.flag import FlagAction
from stages.actions.passive import VerifyAction
from stages.criteria.base import Verdict
from stages.flag_spec import percentage_of
from stages.step import Act, StageProgram, Step
from stages.values import format_duration

Holds = dict[tuple[Reason, str], str]
MOST_BACKUPS = 5


def stage_of(state: State) -> StageProgram:
    stage = state.stage
    assert stage is not None, "the legs of running always stand in a stage"
    return stage


def step_of(state: State) -> Step:
    step = state.step
    assert step is not None, "every stage has a step, if only an empty one"
    return step


def step_key(state: State) -> str:
    return step_walk(state.cursor.environment, stage_of(state).name, state.cursor.step)


def before_key(state: State) -> str:
    return before_walk(state.cursor.environment, stage_of(state).name)


def after_key(state: State) -> str:
    return f"after:{state.cursor.environment}/{stage_of(state).name}"


def walk_of_leg(state: State) -> tuple[str, tuple[Act, ...]] | None:
    """The list of acts that the current leg walks, with its key."""
    if state.phase is not Phase.RUNNING or state.stage is None:
        return None
    match state.leg:
        case Leg.PREPARING:
            return _walk_of_preparing(state)
        case Leg.ACTING:
            return step_key(state), step_of(state).acts
        case Leg.FINISHING:
            return after_key(state), stage_of(state).after
        case _:
            return None


def backup_key(state: State) -> str:
    return f"backup:{state.cursor.environment}/{stage_of(state).name}"


def _walk_of_preparing(state: State) -> tuple[str, tuple[Act, ...]]:
    """The backup comes first, and ``before`` once there is one."""
    backup, key = stage_of(state).backup, backup_key(state)
    if backup is not None and not is_walked(state, key, backup.acts):
        return key, backup.acts
    return before_key(state), stage_of(state).before


def enter(state: State, leg: Leg, *, stage: int | None = None, step: int | None = None, reason: str = "") -> LegEntered:
    cursor = state.cursor
    return LegEntered(
        phase=Phase.RUNNING,
        leg=leg,
        environment=cursor.environment,
        stage=cursor.stage if stage is None else stage,
        step=cursor.step if step is None else step,
        reason=reason,
    )


def next_stage(state: State, reason: str = "") -> LegEntered:
    """On to the next stage's entry, or to the watch behind the last one."""
    following = state.cursor.stage + 1
    while following < len(state.environment.stages):
        name = state.environment.stages[following].name
        if (state.cursor.environment, name) not in state.stages:
            return enter(state, Leg.ENTERING, stage=following, step=0, reason=reason)
        following += 1
    return LegEntered(phase=Phase.WATCHING, environment=state.cursor.environment, reason=reason)


def failed(m: Moment, what: str, reason: str) -> list[Event]:
    """``on_fail`` of the stage: an effect was refused for good, or a verify said no."""
    stage = stage_of(m.state)
    if stage.on_fail == "pause":
        return [OnFailPaused(what=what, reason=reason)]
    return [rollback.plan(m.state, rollback.Why("on_fail", reason))]


def gate_rule(m: Moment) -> list[Event]:
    """A failing gate acts at once, wherever the run stands on its way forward."""
    names = gates.reached_gates(m.state)
    if not m.state.forward or not names or (Reason.PAUSED, "on_fail") in m.state.holds or _is_killed(m.state):
        return []
    view = m.judged(names)
    if view.verdict is not Verdict.FAIL:
        return []
    return gate_failed(m, view)


def gate_failed(m: Moment, view: gates.GateView) -> list[Event]:
    cursor = m.state.gate_ref.cursor if m.state.gate_ref is not None else m.state.cursor
    stages = m.state.environment.stages
    sentence = f"gate {view.name}: {view.sentence()}"
    event = GateFailed(
        environment=cursor.environment,
        stage=stages[min(cursor.stage, len(stages) - 1)].name,
        step=cursor.step,
        gate=view.name,
        on_fail="pause" if view.on_fail == "pause" else "rollback",
        evidence=evidence_of(view),
        reason=sentence,
    )
    if view.on_fail == "pause":
        return [event, OnFailPaused(what=f"gate {view.name}", reason=sentence)]
    return [event, rollback.plan(m.state, rollback.Why("gate", sentence, evidence=evidence_of(view)))]


def _is_killed(state: State) -> bool:
    return state.cursor.environment in state.killed


# --- entering and preparing -------------------------------------------------------------------------------------------


def entering(m: Moment) -> list[Event]:
    state = m.state
    if (cut := _cut_before_entry(state)) is not None:
        return cut
    if entry.is_skipped(m):
        if m.is_paused:
            return []
        scope = entry.when_scope(state)
        reason = f"when: {refusal(m, scope)}" if scope is not None else ""
        ended = StageEnded(
            environment=state.cursor.environment, stage=stage_of(state).name, how="skipped", reason=reason
        )
        return [ended, next_stage(state, reason)]
    if m.held or not entry.is_open(m):
        return []
    if state.cursor.step == 0:
        return [enter(state, Leg.PREPARING)]
    return [enter(state, Leg.ACTING)]


def _cut_before_entry(state: State) -> list[Event] | None:
    """A stage whose flag is pinned for good is not begun."""
    stage = stage_of(state)
    flags = stage.exposure_targets(state.cursor.environment)
    kept = next((pin for pin in state.pins.values() if pin.kept and pin.cuts and pin.flag in flags), None)
    if kept is None:
        return None
    reason = f"{kept.flag} stays pinned by {kept.source}"
    ended = StageEnded(environment=state.cursor.environment, stage=stage.name, how="cut", reason=reason)
    return [ended, next_stage(state, reason)]


def preparing(m: Moment) -> list[Event]:
    key, acts = _walk_of_preparing(m.state)
    if not is_walked(m.state, key, acts):
        return _walk(m, key, acts)
    if m.held or _ages_before_a_window(m) or not _preparing_gate_looked(m):
        return []
    return _outdated(m) or [enter(m.state, Leg.ACTING)]


def _ages_before_a_window(m: Moment) -> bool:
    """A backup that may not become too old is looked at when its stage may begin, not before."""
    backup = stage_of(m.state).backup
    return backup is not None and backup.max_age_seconds is not None and m.closed_window() is not None


def _outdated(m: Moment) -> list[Event]:
    """A backup that became too old while the run was held is made again; within bounds, for it may take too long."""
    stage, key = stage_of(m.state), backup_key(m.state)
    backup = stage.backup
    if backup is None or backup.max_age_seconds is None:
        return []
    age = m.now - m.state.changed_at.get(backup.target, m.now)
    if age <= backup.max_age_seconds:
        return []
    words = f"the backup of {stage.name} is {format_duration(round(age))} old, older than max_age allows"
    if m.state.walk(key).attempt >= MOST_BACKUPS:
        return failed(m, key, f"{words}, though it was made {MOST_BACKUPS} times")
    return [BackupOutdated(environment=m.state.cursor.environment, stage=stage.name, walk=key, reason=words)]


def _preparing_gate_looked(m: Moment) -> bool:
    """One look at the stage's own gate: a fail holds (see holds), missing data does not."""
    view = m.judged(stage_of(m.state).gate)
    return view.complete and view.verdict is not Verdict.FAIL


def preparing_holds(m: Moment) -> Holds:
    stage = stage_of(m.state)
    found = walk_holds(m, *_walk_of_preparing(m.state))
    if _ages_before_a_window(m):
        found |= _window_hold(m)
    view = m.judged(stage.gate)
    if view.verdict is Verdict.FAIL:
        found[(Reason.FAILING, f"gate:{view.name}")] = f"before the stage begins: {view.sentence()}"
    return found


# --- acting, settling -------------------------------------------------------------------------------------------------


def _walk(m: Moment, key: str, acts: tuple[Act, ...]) -> list[Event]:
    walk = m.state.walk(key)
    if walk.failed is not None:
        if m.is_held_by_more_than_time:
            return []
        return failed(m, key, walk.failed)
    act = current_act(m.state, key, acts)
    if m.held and not (act is not None and isinstance(act.action, VerifyAction)):
        return []  # a verify still takes its answers in: one of them may be what holds
    if act is not None and act.target is not None and _must_wait(m, act):
        return []
    return next_events(m, key, acts)


def _must_wait(m: Moment, act: Act) -> bool:
    """Windows are asked again before each forward effect; exposure rises only while the gate lets it."""
    if m.closed_window() is not None:
        return True
    return _is_gated(m.state, act) and not m.may_raise


def _is_gated(state: State, act: Act) -> bool:
    """Steps that raise exposure are, and actions that do, wherever they stand."""
    step = step_of(state)
    if step.gate_from_start or (step.is_exposure and state.leg is Leg.ACTING):
        return True
    known = state.targets.get(act.target.id) if act.target is not None else None
    if known is None or not isinstance(act.action, FlagAction):
        return False
    return percentage_of(act.action.wanted(act.site, known.value)) > percentage_of(known.value)


def acting(m: Moment) -> list[Event]:
    state, step = m.state, step_of(m.state)
    key = step_key(state)
    if not is_walked(state, key, step.acts):
        return _walk(m, key, step.acts)
    if m.held:
        return []
    passed = _no_return_passed(m)
    return [*passed, enter(state, Leg.SETTLING)]


def _no_return_passed(m: Moment) -> list[Event]:
    state, stage = m.state, stage_of(m.state)
    if not stage.point_of_no_return or is_behind_no_return(state, stage.name):
        return []
    values = {key: target.value for key, target in state.targets.items() if target.touched}
    return [PointOfNoReturnPassed(environment=state.cursor.environment, stage=stage.name, values=values)]


def is_behind_no_return(state: State, stage: str) -> bool:
    passed = state.no_return
    return passed is not None and (passed.environment, passed.stage) == (state.cursor.environment, stage)


def acting_holds(m: Moment) -> Holds:
    key, acts = step_key(m.state), step_of(m.state).acts
    found = walk_holds(m, key, acts)
    act = current_act(m.state, key, acts)
    if act is not None and act.target is not None and act.target.id not in m.state.outstanding:
        found |= entry.window_and_gate_holds(m) if _is_gated(m.state, act) else _window_hold(m)
    return found


def _window_hold(m: Moment) -> Holds:
    return {key: words for key, words in entry.window_and_gate_holds(m).items() if key[0] is Reason.WINDOW}


def settle_scope(state: State) -> Scope:
    step, cursor = step_of(state), state.cursor
    item = f"verify:{cursor.environment}/{stage_of(state).name}/{cursor.step + 1}"
    return Scope(item, step.verify, state.entered_at, again_seconds=VERIFY_AGAIN_SECONDS)


def has_settled(m: Moment) -> bool:
    """Whether the change had its time to reach everybody; waited only where somebody verifies."""
    step = step_of(m.state)
    if not step.verify or step.exposure_flag is None:
        return True
    return m.passed_since(m.state.entered_at) >= stage_of(m.state).settle_seconds


def settling(m: Moment) -> list[Event]:
    if not has_settled(m):
        return []
    return _verify(m, settle_scope(m.state)) or ([] if m.held or not _verified(m) else [enter(m.state, Leg.BAKING)])


def _verified(m: Moment) -> bool:
    return all_settled(m, settle_scope(m.state))


def _verify(m: Moment, scope: Scope) -> list[Event]:
    recorded = record_answers(m, scope)
    if recorded:
        return recorded
    said_no = refusal(m, scope)
    if said_no is not None and not m.is_held_by_more_than_time:
        return failed(m, scope.item, f"{scope.item}: {said_no}")
    return []


def settling_holds(m: Moment) -> Holds:
    scope = settle_scope(m.state)
    if refusal(m, scope) is not None:
        return {}  # on_fail decides, not a hold
    return holds_of(m, scope, Reason.EFFECT_FAILING)


# --- baking, finishing ------------------------------------------------------------------------------------------------


def bake_progress(m: Moment) -> Progress:
    key = gates.bake_key(m.state)
    return m.evidence.bake if m.evidence.bake.key == key else Progress(key)


def is_baked(m: Moment) -> bool:
    """Full and passing; or passing with evidence enough after the minimum; or a person said so.

    A look that was due when the bake was full is waited for: it may be the one that says no.
    """
    step = step_of(m.state)
    if m.state.advanced_seq > m.state.entered_seq:
        return True
    view = m.judged(step.gate)
    if not view.passing or not view.counts:
        return False
    seconds = bake_progress(m).seconds
    if seconds >= step.bake.max_seconds:
        full_at = m.now - (seconds - step.bake.max_seconds)
        return view.due_at is None or view.due_at > full_at
    return seconds >= step.bake.min_seconds and view.enough


def bake_counts(m: Moment) -> bool:
    """Whether passing time adds up now."""
    state = m.state
    if state.leg is not Leg.BAKING or not state.forward or _is_killed(state):
        return False
    view = m.judged(step_of(state).gate)
    return view.passing and view.counts and not m.unreadable_flags()


def baking(m: Moment) -> list[Event]:
    state, stage = m.state, stage_of(m.state)
    if m.held or not is_baked(m):
        return []
    view = m.judged(step_of(state).gate)
    evidence = _evidence_of_bake(m, view) if view.criteria else None
    if state.cursor.step + 1 < len(stage.steps):
        left = enter(state, Leg.ENTERING, step=state.cursor.step + 1)
    else:
        left = enter(state, Leg.FINISHING)
    return [left.model_copy(update={"evidence": evidence})]


def _evidence_of_bake(m: Moment, view: gates.GateView) -> dict[str, object]:
    seconds = bake_progress(m).seconds
    on_evidence = view.enough and seconds < step_of(m.state).bake.max_seconds
    return {**evidence_of(view), "baked_seconds": round(seconds, 3), "on_evidence": on_evidence}


def baking_holds(m: Moment) -> Holds:
    if m.state.advanced_seq > m.state.entered_seq:
        return {}
    view = m.judged(step_of(m.state).gate)
    if view.verdict is Verdict.INCONCLUSIVE and view.inconclusive:
        return {(view.reason, view.name): view.sentence()}
    return {}


def finish_scope(state: State) -> Scope:
    item = f"verify:{state.cursor.environment}/{stage_of(state).name}"
    return Scope(item, stage_of(state).verify, state.entered_at, again_seconds=VERIFY_AGAIN_SECONDS)


def has_finish_settled(m: Moment) -> bool:
    stage = stage_of(m.state)
    if not stage.verify or not stage.exposure_flags:
        return True
    return m.passed_since(m.state.entered_at) >= stage.settle_seconds


def finishing(m: Moment) -> list[Event]:
    state, stage = m.state, stage_of(m.state)
    key = after_key(state)
    if not is_walked(state, key, stage.after):
        return _walk(m, key, stage.after)
    if not has_finish_settled(m):
        return []
    verified = _verify(m, finish_scope(state))
    if verified or m.held or not all_settled(m, finish_scope(state)):
        return verified
    ended = StageEnded(environment=state.cursor.environment, stage=stage.name, how="done")
    return [ended, next_stage(state)]


def finishing_holds(m: Moment) -> Holds:
    found = walk_holds(m, after_key(m.state), stage_of(m.state).after)
    scope = finish_scope(m.state)
    if is_walked(m.state, after_key(m.state), stage_of(m.state).after) and refusal(m, scope) is None:
        found |= holds_of(m, scope, Reason.EFFECT_FAILING)
    return found


LEGS = {
    Leg.ENTERING: entering,
    Leg.PREPARING: preparing,
    Leg.ACTING: acting,
    Leg.SETTLING: settling,
    Leg.BAKING: baking,
    Leg.FINISHING: finishing,
}

HOLDS = {
    Leg.ENTERING: entry.holds,
    Leg.PREPARING: preparing_holds,
    Leg.ACTING: acting_holds,
    Leg.SETTLING: settling_holds,
    Leg.BAKING: baking_holds,
    Leg.FINISHING: finishing_holds,
}


def scopes(m: Moment) -> list[Scope]:
    """The checks that the current leg wants asked."""
    match m.state.leg:
        case Leg.ENTERING:
            return entry.active_scopes(m)
        case Leg.SETTLING:
            return [settle_scope(m.state)] if has_settled(m) else []
        case Leg.FINISHING:
            walked = is_walked(m.state, after_key(m.state), stage_of(m.state).after)
            return [finish_scope(m.state)] if walked and has_finish_settled(m) else []
        case _:
            return []


__all__ = ["HOLDS", "LEGS", "baseline", "scopes"]
