"""Which targets go back, and to what: the first half of planning a rollback.

A target goes back to what it was before the run first touched it; if a point of no return was passed since, to what it
was then; in a partial rollback, to what it was when the first undone stage touched it.
"""

from dataclasses import dataclass

from orchestrator.core.phases import Phase
from orchestrator.core.state import State, TargetState, Touch
from stages.effects import TargetKind
from stages.step import StageProgram
from stages.values import Json


@dataclass(frozen=True, slots=True)
class Return:
    """One target and where it goes back to."""

    target: TargetState
    touch: Touch
    wanted: Json
    environment: str
    stage: str  # the stage whose touch is undone
    stages: tuple[str, ...]  # all that touched it, in order


def flags_of(state: State, triggers: tuple[str, ...]) -> frozenset[str]:
    acts = [act for name in triggers for act in state.environment.trigger_acts.get(name, ())]
    targets = [act.target for act in acts]
    return frozenset(target.id for target in targets if target is not None and target.kind is TargetKind.FLAG)


def targets_to_return(state: State, scope: str, pinned: frozenset[str] = frozenset()) -> list[Return]:
    """What goes back, in the order in which it was last touched. Whether schema among it moves is asked later."""
    pinned |= {pin.flag for pin in state.pins.values()}
    found = [_return_of(state, target, scope, pinned) for target in state.targets.values()]
    return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.touch.order)


def _return_of(state: State, target: TargetState, scope: str, pinned: frozenset[str]) -> Return | None:
    if target.kind is TargetKind.BACKUP:
        return None
    touches = undone_touches(state, target, scope)
    if not touches:
        if target.kind is TargetKind.FLAG and target.id in pinned and not scope and _may_return(state, target):
            untouched = Touch(target.before, None, 0)
            return Return(target, untouched, target.before, target.environment, target.stage, (target.stage,))
        return None
    oldest_first = sorted(touches, key=lambda key: touches[key].order)
    first, newest = touches[oldest_first[0]], touches[oldest_first[-1]]
    environment = oldest_first[0].partition("/")[0]
    stages = tuple(key.partition("/")[2] for key in oldest_first)
    wanted = first.value if scope or _crossed(state, target) else target.before
    moved = Touch(wanted, first.undo, newest.order)
    return Return(target, moved, wanted, environment, stages[0], stages)


def moved_again(state: State, changed: set[str]) -> list[Return]:
    """Of targets that stand as they did before, those that are about to be *changed* by the way back itself. What only
    rollbacks ever touched stays as they leave it."""
    found = []
    for target in (state.targets[one] for one in sorted(changed & state.targets.keys())):
        touch = target.taken_back
        if touch is None or target.touched or target.kind in (TargetKind.FLAG, TargetKind.SCHEMA, TargetKind.BACKUP):
            continue
        if _may_return(state, target) and touch.order > _wall(state):
            found.append(Return(target, touch, target.before, target.environment, target.stage, (target.stage,)))
    return found


def _may_return(state: State, target: TargetState) -> bool:
    return target.environment not in state.environments_passed


def undone_touches(state: State, target: TargetState, scope: str) -> dict[str, Touch]:
    """The touches that this rollback takes back."""
    if not _may_return(state, target):
        return {}
    names = [stage.name for stage in state.program.environment(state.cursor.environment).stages]
    wall = _wall(state)
    found = {}
    for key, touch in target.touches.items():
        environment, _, stage = key.partition("/")
        if touch.order <= wall:
            continue
        if scope and (environment != state.cursor.environment or stage not in names[names.index(scope) :]):
            continue
        found[key] = touch
    return found


def _wall(state: State) -> int:
    """The order number of the newest point of no return; touches up to it stay. Below every order if there is none."""
    if (current := begun_no_return(state)) is not None:
        return current[1]
    return state.no_return.order if state.no_return is not None else -2_000_000


def begun_no_return(state: State) -> tuple[str, int] | None:
    """The stage where the run stands, if it is a point of no return and has begun, with its newest touch: it counts as
    passed, though its step is not over."""
    if state.phase is not Phase.RUNNING or state.cursor.stage >= len(state.environment.stages):
        return None
    stage = state.environment.stages[state.cursor.stage]
    key = f"{state.cursor.environment}/{stage.name}"
    changed = (target for target in state.targets.values() if target.kind is not TargetKind.BACKUP)
    begun = [target.touches[key].order for target in changed if key in target.touches]
    return (stage.name, max(begun)) if stage.point_of_no_return and begun else None


def _crossed(state: State, target: TargetState) -> bool:
    """Whether a point of no return lies between this target's first touch and now."""
    return target.first_touch.order <= _wall(state)


def stage_index_of(state: State, environment: str, stage: str) -> int:
    names = [entry.name for entry in state.program.environment(environment).stages]
    return names.index(stage) if stage in names else len(names)


def behind_the_wall(state: State) -> list[TargetState]:
    """Targets that stay because a point of no return was passed after they were last touched."""
    wall = _wall(state)
    return [
        target
        for target in state.targets.values()
        if target.touched
        and target.kind is not TargetKind.BACKUP
        and target.environment not in state.environments_passed
        and target.last_order <= wall
    ]


def schema_policy(state: State, entry: Return) -> str:
    """keep, down or ask. An action's own ``down`` is its plan's word; what was taken over from another plan stays."""
    stage = state.program.environment(entry.environment).stage(entry.stage)
    if stage is not None and stage.kind == "migration":
        return stage.on_rollback
    is_inherited = any(one.id == entry.target.id for one in state.started.inherited)
    return "keep" if is_inherited and state.started.supersedes is not None else "down"


def schema_stays(state: State, entry: Return) -> str | None:
    """Why a schema target never goes back, whoever asks; None if it may."""
    stage = state.program.environment(entry.environment).stage(entry.stage)
    reason = _never_goes(state, stage, entry.target.id) if stage is not None else None
    if reason is not None:
        return reason
    if entry.touch.undo is None:
        return "the plan declares no way back"
    return None


def _never_goes(state: State, stage: StageProgram, target: str) -> str | None:
    """A history is linear: what lies below something that never goes, and was applied, does not go either."""
    if target in stage.irreversible:
        return stage.irreversible[target]
    above = stage.schema_above(target)
    wall = next((one for one in above if one.id in stage.irreversible and _was_moved(state, one.id)), None)
    return f"{wall.title}, above it, never goes: {stage.irreversible[wall.id]}" if wall is not None else None


def _was_moved(state: State, target: str) -> bool:
    """Whether this run changed it, or may have: a file that was refused as a whole did not."""
    known = state.targets.get(target)
    if known is None or not known.touched:
        return False
    return known.value != known.before or known.cut_short or target in state.outstanding


def what_stays(state: State, returns: list[Return], scope: str, with_schema: bool) -> list[str]:
    """What will not come back, and why, in words: shown before a start, at a rollback and in the report."""
    found: list[str] = []
    for entry in returns:
        if entry.target.kind is TargetKind.SCHEMA:
            reason = schema_stays(state, entry)
            if reason is None and not with_schema and schema_policy(state, entry) != "down":
                reason = "the schema stays unless somebody asks for it"
            if reason is not None:
                found.append(f"{entry.target.title} stays: {reason}")
        elif entry.target.kind is not TargetKind.FLAG and entry.touch.undo is None:
            found.append(f"{entry.target.title} stays: the plan declares no way back")
        elif entry.target.kind is TargetKind.FLAG and not entry.target.existed:
            found.append(f"{entry.target.title} was not there before; it stays, disabled at 0 %")
    if not scope:
        passed = state.environments_passed
        found += [
            f"{target.title} stays: {target.environment} had passed its watch"
            for target in state.targets.values()
            if target.touched and target.kind is not TargetKind.BACKUP and target.environment in passed
        ]
        found += [f"{target.title} stays: it lies behind a point of no return" for target in behind_the_wall(state)]
        found += [
            f"{entry.target.title} goes back only to what it was at the point of no return"
            for entry in returns
            if entry.target.touched and _crossed(state, entry.target) and entry.wanted != entry.target.before
        ]
    return found
