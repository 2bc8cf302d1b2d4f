"""``monitoring``, ``batch``, ``queue``: raise a flag step by step. One kind in code; the words say what moves."""

from dataclasses import replace
from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from stages.actions.flag import FlagAction
from stages.checks import Approval, Check
from stages.flag_spec import FlagChange, FlagSpec, declared_change, merge_changes
from stages.kinds.base import DEFAULT_BAKE, AnyBake, Context, Names, Stage, for_environment, names, to_bake
from stages.step import Act, Bake, Drain, Guard, StageProgram, Step
from stages.values import Bound, Duration, Json, Part, Percentage
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
        action = FlagAction(flag=self.flag, name=f"{self.flag} to {step.percentage:g} %", percentage=step.percentage)
        raised = self._change_up_to(context.flags.get(self.flag, FlagSpec()), written[: index + 1])
        return Step(
            name=f"{step.percentage:g}%",
            guard=Guard(item, for_environment(step.checks, context.environment), step.approval),
            acts=(Act(action, context.site(self.name, self.database), raise_=raised),),
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
    start: int | None = Field(default=None, ge=0)
    min: int = Field(default=2, ge=0)
    max: int = Field(ge=1)
    query: str | None = None
    per_replica: float | None = Field(default=None, gt=0)


class DrainSection(Part):
    query: str
    until: Bound = Bound.model_validate("== 0")
    timeout: Duration = 600.0
    source: str | None = None


class QueueStage(ExposureStage):
    kind: Literal["queue"]
    workload: str | None = None
    replicas: Replicas | None = None
    drain: DrainSection | None = None

    def compile(self, context: Context) -> StageProgram:
        program = super().compile(context)
        if self.drain is None:
            return program
        drain = Drain(self.drain.query, str(self.drain.until), self.drain.timeout, self.drain.source)
        return replace(program, drain=drain)


class MonitoringStage(ExposureStage):
    kind: Literal["monitoring"]


class BatchStage(ExposureStage):
    kind: Literal["batch"]
