"""Workers that follow their load: from their stage to the end of the watch, also while the run is held or paused.

Only the way back ends it: workers then stay as they are until the queue has drained, and go where they were.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.core.events import Event
from orchestrator.core.moment import Moment, request
from orchestrator.core.names import before_walk
from orchestrator.core.state import State, TargetState
from orchestrator.core.walk import is_walked
from stages.cluster import ScaleWorkload
from stages.criteria.base import Verdict
from stages.criteria.load import LoadCriterion, loads_of
from stages.effects import Target
from stages.scaling import LOOK_SECONDS, replicas
from stages.step import Scaling, StageProgram

FRESH_SECONDS = 2 * LOOK_SECONDS


@dataclass(frozen=True, slots=True)
class Scaled:
    """Workers of a stage that has started them. *key*: of the looks at their load."""

    key: str
    environment: str
    scaling: Scaling
    target: TargetState

    @property
    def criterion(self) -> LoadCriterion:
        return self.scaling.criterion


def scaled(state: State) -> Iterator[Scaled]:
    if not state.forward:
        return
    for environment in state.program.environments:
        if environment.name in state.environments_passed:
            continue  # nobody looks there any more whether somebody else scales them
        for stage in environment.stages:
            found = _started(state, environment.name, stage)
            if found is not None:
                yield found


def _started(state: State, environment: str, stage: StageProgram) -> Scaled | None:
    scaling = stage.scaling
    target = state.targets.get(scaling.target) if scaling is not None else None
    if scaling is None or target is None:
        return None
    is_started = is_walked(state, before_walk(environment, stage.name), stage.before)
    if not is_started or _is_taken_back(state, environment, stage):
        return None
    return Scaled(f"load:{environment}/{stage.name}", environment, scaling, target)


def _is_taken_back(state: State, environment: str, stage: StageProgram) -> bool:
    """Whether a partial rollback took its exposure back. A stage that a pin cut may still feed its workers."""
    if not state.is_cut(environment, stage.name):
        return False
    flags = map(state.targets.get, stage.exposure_targets(environment))
    return not any(f"{environment}/{stage.name}" in flag.touches for flag in flags if flag is not None)


def rule(m: Moment) -> list[Event]:
    return [event for one in scaled(m.state) for event in _scale(m, one)]


def _current(m: Moment, target: TargetState) -> int | None:
    """How many there are; what an effect of ours that was cut short made of them has to be seen first."""
    seen = m.seen(target.id)
    value = target.value if not target.cut_short else seen.value if seen is not None else None
    return int(value["replicas"]) if isinstance(value, dict) else None


def _scale(m: Moment, one: Scaled) -> list[Event]:
    target, look = one.target, m.evidence.looks.get(one.key)
    if target.id in m.state.outstanding or target.id in m.state.drift or look is None:
        return []
    if look.verdict is not Verdict.PASS or look.at <= m.changed_at(target.id) or m.now - look.at > FRESH_SECONDS:
        return []
    current = _current(m, target)
    if current is None:
        return []
    wanted = replicas(current, loads_of(look.memory), one.scaling.bounds)
    if wanted == current:
        return []
    act = one.scaling.act
    operation = act.forward({"replicas": wanted})
    assert isinstance(operation, ScaleWorkload)
    per_replica = one.scaling.bounds.per_replica
    return [
        request(
            Target(target.id, target.kind, target.title),
            operation.model_copy(update={"replicas": wanted, "is_awaited": False}),
            f"scale {operation.workload} from {current} to {wanted}",
            reason=f"{one.criterion.name} is {look.value:g}, and {per_replica:g} is what a worker takes",
            undo=act.backward(target.value),
            before=target.value,
            environment=one.environment,
            stage=act.site.stage,
        )
    ]
