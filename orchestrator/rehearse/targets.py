"""What stands in the rehearsed world beside flags: databases, commands, clusters. What each operation leaves there, and
what is seen of it, in the forms that ``stages.effects`` and ``stages.cluster`` promise.

Values are never changed in place, so a copy of the mapping is a copy of the world.
"""

from collections.abc import Iterator, Mapping
from typing import assert_never

from orchestrator.core.effect import Effect
from stages.cluster import (
    ApplyManifest,
    ObserveImage,
    ObserveManifest,
    ObserveReplicas,
    ObserveVersion,
    RestartWorkload,
    RunJob,
    ScaleWorkload,
    SetImage,
    SetVersion,
)
from stages.effects import (
    AlembicCall,
    AnyObservation,
    CallHttp,
    ObserveAlembic,
    ObserveBackfill,
    ObserveCommand,
    ObserveFlag,
    ObserveProbe,
    ObserveSql,
    RunAlembic,
    RunBackfill,
    RunCommand,
    RunSql,
    SetFlag,
    flag_target_id,
)
from stages.manifests import objects_of
from stages.step import Act, EnvironmentProgram, Program
from stages.values import Json

AS_IT_WAS = "as it was"
PODS = 10  # of a version's first Deployment
REVISION_BEFORE = "the revision before"
SLICES = 3  # that a backfill takes
ROWS_OF_A_SLICE = 10_000
NOTHING: Json = {"ran": None}


class Targets:
    def __init__(self, program: Program) -> None:
        self.values: dict[str, Json] = {}
        self._places: dict[str, str] = {}  # target -> where what is seen of it stands
        self._revisions: dict[str, list[str]] = {}  # of an Alembic, in the order of the plan
        self._scaled_to: dict[str, set[int]] = {}
        for environment in program.environments:
            for act in every_act(environment):
                self._note(environment.name, act)

    def _note(self, environment: str, act: Act) -> None:
        target, observation = act.target, act.observation
        if target is None:
            return
        if observation is not None:
            self._places[target.id] = self._place(environment, observation)
        if isinstance(observation, ObserveAlembic):
            known = self._revisions.setdefault(_alembic(environment, observation), [])
            known += [one for one in (observation.revision,) if one not in known]
        if isinstance(observation, ObserveReplicas):
            scaled = getattr(act.action, "replicas", None)
            self._scaled_to.setdefault(self._places[target.id], set()).add(int(scaled or 0))

    def copy_from(self, values: Mapping[str, Json]) -> None:
        self.values = dict(values)

    # --- seeing ---

    def seen(self, environment: str, observation: AnyObservation) -> Json:
        place = self._place(environment, observation)
        if isinstance(observation, ObserveAlembic):
            return self._alembic_value(environment, observation)
        return self.values.get(place, self._before(place, observation))

    def _place(self, environment: str, observation: AnyObservation) -> str:
        match observation:
            case ObserveFlag():
                return flag_target_id(environment, observation.key)
            case ObserveSql() | ObserveBackfill():
                return f"sql:{environment}/{observation.name}"
            case ObserveCommand() | ObserveProbe():
                return f"{observation.op}:{environment}/{observation.dir or ''}/{' '.join(observation.argv)}"
            case ObserveAlembic():
                return _alembic(environment, observation)
            case ObserveManifest():
                return f"manifest:{observation.kubernetes.path(observation.manifest)}"
            case ObserveReplicas() | ObserveImage() | ObserveVersion():
                return f"{observation.op}:{observation.kubernetes.path(observation.workload)}"
            case _:
                assert_never(observation)

    def _before(self, place: str, observation: AnyObservation) -> Json:
        """What stood there before anybody touched it."""
        match observation:
            case ObserveSql():
                return {"applied": False, "checksum": None}
            case ObserveBackfill():
                return {"done": False, "position": None, "rows": 0, "of": SLICES * ROWS_OF_A_SLICE}
            case ObserveCommand():
                return {"text": AS_IT_WAS}
            case ObserveProbe():
                return {"applied": False}
            case ObserveReplicas():
                return {"replicas": next(n for n in (1, 2, 3) if n not in self._scaled_to.get(place, ()))}
            case ObserveImage():
                return {"container": observation.container or "app", "image": AS_IT_WAS}
            case ObserveVersion():
                canary = {} if observation.is_made else {"canary": {"replicas": 0, "image": AS_IT_WAS}}
                return {"stable": {"replicas": PODS, "image": AS_IT_WAS}, **canary}
            case ObserveManifest():
                return {"objects": [_object(one.title, is_there=False) for one in objects_of(observation.text)]}
            case ObserveFlag() | ObserveAlembic():
                return None
            case _:
                assert_never(observation)

    def _alembic_value(self, environment: str, call: AlembicCall) -> Json:
        place = _alembic(environment, call)
        first = call.expect_current if isinstance(call, ObserveAlembic) else None
        current = self.values.get(place, first or REVISION_BEFORE)
        known = self._revisions.get(place, [])
        begin = known.index(current) + 1 if current in known else 0
        end = known.index(call.revision) + 1 if call.revision in known else 0
        return {"current": current, "pending": known[begin:end]}

    def standing(self, target: str) -> Json:
        """None: as nobody ever touched it. Of an Alembic its revision."""
        return self.values.get(self.place_of(target))

    # --- changing ---

    def place_of(self, target: str) -> str:
        return self._places.get(target, f"done:{target}")

    def change(self, effect: Effect) -> Json:
        """Do what an effect asks for; what is read back."""
        place, operation = self.place_of(effect.target), effect.operation
        if isinstance(operation, RunAlembic):
            self.values[place] = operation.revision if operation.direction == "up" else operation.to
            return self._alembic_value(effect.environment, operation)
        value = self._after(place, effect)
        if value == NOTHING:
            self.values.pop(place, None)
        else:
            self.values[place] = value
        return value

    def _after(self, place: str, effect: Effect) -> Json:
        operation = effect.operation
        match operation:
            case RunSql():
                is_up = operation.direction == "up"
                return {"applied": is_up, "checksum": operation.checksum if is_up else None}
            case RunBackfill():
                return self._next_slice(place)
            case RunCommand():
                return self._after_command(place, effect)
            case ScaleWorkload():
                return {"replicas": operation.replicas}
            case SetImage():
                return {"container": operation.container, "image": operation.image}
            case SetVersion():
                return operation.version.value()
            case ApplyManifest():
                made = {"objects": [_object(one.title, is_there=True) for one in objects_of(operation.text)]}
                return made if operation.restore is None else operation.restore
            case CallHttp() | RestartWorkload() | RunJob():
                return self._after_deed(effect)
            case SetFlag() | RunAlembic():
                raise AssertionError(operation.op)
            case _:
                assert_never(operation)

    def _after_command(self, place: str, effect: Effect) -> Json:
        """The way back of a command is trusted to lead back; what it does is the team's own."""
        if place.startswith("observe_command:"):
            return {"text": AS_IT_WAS if _is_undo(effect) else f"after {effect.label}"}
        if place.startswith("observe_probe:"):
            return {"applied": not _is_undo(effect)}
        return self._after_deed(effect)

    @staticmethod
    def _after_deed(effect: Effect) -> Json:
        return NOTHING if _is_undo(effect) else {"ran": effect.target}

    def _next_slice(self, place: str) -> Json:
        known = self.values.get(place)
        rows = (known["rows"] if known is not None else 0) + ROWS_OF_A_SLICE
        whole = SLICES * ROWS_OF_A_SLICE
        return {"done": rows >= whole, "position": rows, "rows": rows, "of": whole}


def _is_undo(effect: Effect) -> bool:
    """Of one target, by the graph of the way back; not what a plan does before and after it."""
    return effect.node is not None and effect.walk is None


def _alembic(environment: str, call: AlembicCall) -> str:
    return f"alembic:{environment}/{call.dir or ''}/{call.config}"


def _object(title: str, *, is_there: bool) -> Json:
    return {"name": title, "exists": is_there, "applied": is_there, "fields": {}}


def every_act(environment: EnvironmentProgram) -> Iterator[Act]:
    """All that a run may do in an environment, forward and back."""
    for stage in environment.stages:
        yield from (*stage.acts(), *stage.rollback.before, *stage.rollback.after)
    yield from (act for acts in environment.trigger_acts.values() for act in acts)
    yield from (*environment.rollback.before, *environment.rollback.after)
