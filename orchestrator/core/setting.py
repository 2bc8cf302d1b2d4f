"""What a look at a gate's criterion is about: since when, until when before, of which flag, with which error budget."""

from orchestrator.core.state import State
from stages.budget import look_key
from stages.criteria.base import Criterion, Setting
from stages.effects import flag_target_id
from stages.flag_spec import percentage_of
from stages.gates import Gate
from stages.step import Step


def judged_step(state: State) -> Step | None:
    """The step whose change is judged: the one last reached, or else the one where the run stands."""
    ref = state.gate_ref
    if ref is None:
        return state.step
    return state.program.environment(ref.cursor.environment).stages[ref.cursor.stage].steps[ref.cursor.step]


def stage_flag(state: State) -> str | None:
    step = judged_step(state)
    return step.exposure_flag if step is not None else None


def criterion_key(state: State, gate: str, criterion: Criterion) -> str:
    return look_key(state.cursor.environment, gate, criterion, stage_flag(state))


def setting_of(state: State, name: str, gate: Gate, criterion: Criterion, since: float) -> Setting:
    """The setting of a look at *criterion* of the gate *name*; *since*: the time before which a look says nothing."""
    flag = criterion.subject(stage_flag(state))
    return Setting(
        since=since,
        before=_before(state, flag, since),
        evidence_from=state.evidence_from,
        warmup_seconds=gate.warmup_seconds(criterion),
        every_seconds=gate.every,
        scrape_seconds=state.environment.scrape_seconds(criterion.asked.source),
        alpha=state.program.budget.pool(name).share,
        flag=flag,
        percentage=_percentage(state, flag) if flag is not None else _percentage_of_version(state),
    )


def _before(state: State, flag: str | None, since: float) -> float:
    """Until when nothing of the change was in force: the stage's first touch of anything, or the flag's own."""
    environment = state.cursor.environment
    ref = state.gate_ref
    cursor = ref.cursor if ref is not None else state.cursor
    stages = state.program.environment(environment).stages
    key = f"{environment}/{stages[min(cursor.stage, len(stages) - 1)].name}" if stages else ""
    times = [target.touches[key].at for target in state.targets.values() if key in target.touches]
    own = state.targets.get(flag_target_id(environment, flag)) if flag is not None else None
    if own is not None and own.touched:
        times.append(own.first_touch.at)
    return min([*times, since])


def _percentage_of_version(state: State) -> float | None:
    step = judged_step(state)
    return step.percentage if step is not None and step.exposure_flag is None else None


def _percentage(state: State, flag: str) -> float | None:
    """Where the flag stands, which may be above what the step asked for."""
    target = state.targets.get(flag_target_id(state.cursor.environment, flag))
    return percentage_of(target.value) if target is not None and isinstance(target.value, dict) else None
