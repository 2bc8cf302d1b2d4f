"""``monitoring``, ``batch``, ``queue``: raise a flag step by step. One kind in code; the words say what moves."""

from dataclasses import replace
from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from stages.actions.flag import FlagAction
from stages.actions.workload import StartWorkersAction
from stages.checks import Approval, Check
from stages.cluster import Scalable
from stages.criteria.load import load_criterion
from stages.flag_spec import FlagChange, FlagSpec, declared_change, merge_changes
from stages.kinds.base import DEFAULT_BAKE, AnyBake, Context, Names, Stage, for_environment, names, to_bake
from stages.scaling import Bounds
from stages.step import Act, Bake, Drain, Guard, Scaling, StageProgram, Step
from stages.values import Bound, Duration, Json, Part, Percentage, named
from stages.windows import Window


class ExposureStep(Part):
    percentage: Percentage
    parameters: dict[str, Json] | None = None
    profile: str | None = None
    targets: dict[str, tuple[str, ...]] | None = None
    approval: Approval | None = None
    checks: tuple[Check, ...] = ()
    window: Window | None = None
    verify: tuple[Check, ...] = ()
    bake: AnyBake | None = None
    gate: Names | None = None

    @property
    def change(self) -> FlagChange:
        return FlagChange(
            percentage=self.percentage, parameters=self.parameters, profile=self.profile, targets=self.targets
        )


class ExposureStage(Stage):
    kind: Literal["monitoring", "batch", "queue"]
    flag: str
    percentages: tuple[Percentage, ...] = ()
    steps: tuple[ExposureStep, ...] = ()

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if bool(self.percentages) == bool(self.steps):
            raise ValueError("an exposure stage has percentages or steps, one of the two, with at least one entry")
        levels = [step.percentage for step in self.written_steps]
        for lower, higher in pairwise(levels):
            if higher < lower or (self.percentages and higher == lower):
                raise ValueError(f"percentages rise from step to step; {higher:g} comes after {lower:g}")
        return self

    @property
    def written_steps(self) -> tuple[ExposureStep, ...]:
        return self.steps or tuple(ExposureStep(percentage=level) for level in self.percentages)

    def steps_program(self, context: Context) -> tuple[Step, ...]:
        written = self.written_steps
        if context.percentages is not None:
            written = tuple(self._merged(level) for level in context.percentages)
        return tuple(self._step(context, written, index) for index in range(len(written)))

    def _merged(self, level: float) -> ExposureStep:
        """A step of an environment's own percentages: with what the written steps up to there set of the flag."""
        change = FlagChange()
        for step in self.written_steps:
            if step.percentage <= level:
                change = merge_changes(change, step.change)
        return ExposureStep(
            percentage=level, parameters=change.parameters, profile=change.profile, targets=change.targets
        )

    def _step(self, context: Context, written: tuple[ExposureStep, ...], index: int) -> Step:
        step = written[index]
        item = f"step:{self.name}/{index + 1}"
        action = FlagAction(
            flag=self.flag, name=named(self.flag, f" to {step.percentage:g} %"), percentage=step.percentage
        )
        raised = self._change_up_to(context.flags.get(self.flag, FlagSpec()), written[: index + 1])
        return Step(
            name=f"{step.percentage:g}%",
            guard=Guard(item, for_environment(step.checks, context.environment), step.approval),
            acts=(Act(action, self.site(context), raise_=raised),),
            windows=(step.window,) if step.window else (),
            verify=for_environment(step.verify, context.environment),
            gate=names(step.gate if step.gate is not None else self.gate),
            bake=self._bake(context, step, index == len(written) - 1),
            exposure_flag=self.flag,
            percentage=step.percentage,
        )

    def _change_up_to(self, spec: FlagSpec, written: tuple[ExposureStep, ...]) -> FlagChange:
        """What the plan wants of the flag with its last step of *written*: what a skipped step set carries over."""
        change = declared_change(spec)
        for step in written:
            change = merge_changes(change, step.change)
        return change

    def _bake(self, context: Context, step: ExposureStep, is_last: bool) -> Bake:
        own = to_bake(step.bake)
        if own is not None:
            return own
        if context.bake is not None:
            return context.bake
        final = to_bake(self.final_bake) if is_last else None
        return final or to_bake(self.bake) or DEFAULT_BAKE


class Replicas(Part):
    """Of the workers of a queue stage. With *query* and *per_replica* they follow the load, between *min* and *max*."""

    start: int | None = Field(default=None, ge=0)
    min: int = Field(default=2, ge=0)
    max: int | None = Field(default=None, ge=1)
    query: str | None = None
    per_replica: float | None = Field(default=None, gt=0)
    source: str | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (self.query is None) != (self.per_replica is None):
            raise ValueError(
                "scaling on load takes both: query (the load) and per_replica (what one worker takes of it)"
            )
        if self.query is not None and self.max is None:
            raise ValueError("scaling on load needs max, the most workers there may be")
        if self.max is not None and self.max < max(self.min, self.start or 0):
            raise ValueError(f"max is {self.max}, which is below {'min' if self.max < self.min else 'start'}")
        return self

    @property
    def first(self) -> int:
        return self.min if self.start is None else max(self.start, self.min)


class DrainSection(Part):
    query: str
    until: Bound = Bound.model_validate("== 0")
    timeout: Duration = 600.0
    source: str | None = None


class QueueStage(ExposureStage):
    kind: Literal["queue"]
    workload: Scalable | None = None
    replicas: Replicas | None = None
    drain: DrainSection | None = None

    @model_validator(mode="after")
    def _workers(self) -> Self:
        if self.replicas is not None and self.workload is None:
            raise ValueError("replicas are of a workload; name it, such as workload: deployment/workers")
        return self

    def compile(self, context: Context) -> StageProgram:
        program = super().compile(context)
        program = replace(program, drain=self._drain())
        if self.workload is None:
            return program
        section = self.replicas or Replicas()
        started = Act(StartWorkersAction(scale=self.workload, replicas=section.first), self.site(context))
        before = (*program.before, started)  # workers run, and are ready, before they are fed
        return replace(program, before=before, scaling=self._scaling(section, started))

    def _drain(self) -> Drain | None:
        drain = self.drain
        return Drain(drain.query, str(drain.until), drain.timeout, drain.source) if drain is not None else None

    def _scaling(self, section: Replicas, started: Act) -> Scaling | None:
        if section.query is None or section.per_replica is None or section.max is None:
            return None
        criterion = load_criterion(self.name, section.query, section.source)
        assert started.target is not None
        bounds = Bounds(section.per_replica, section.min, section.max)
        return Scaling(started, started.target.id, criterion, bounds)


class MonitoringStage(ExposureStage):
    kind: Literal["monitoring"]


class BatchStage(ExposureStage):
    kind: Literal["batch"]
