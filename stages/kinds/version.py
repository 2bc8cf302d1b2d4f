"""``version``: move an application from one image to another, by the replicas of two Deployments, or of one and a copy
that there is only on the way."""

from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from stages.actions.workload import VersionAction
from stages.cluster import LONGEST_COPIED_NAME, MADE_SUFFIX, Deployment
from stages.kinds.base import DEFAULT_BAKE, Context, Stage, names, to_bake
from stages.step import Act, Bake, Guard, Step
from stages.values import Percentage, named


class VersionStage(Stage):
    kind: Literal["version"]
    workload: Deployment
    canary: Deployment | None = None
    route: str | None = None
    container: str | None = None
    image: str = Field(min_length=1)
    percentages: tuple[Percentage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rising_to_all(self) -> Self:
        if any(higher <= lower for lower, higher in pairwise((0.0, *self.percentages))):
            raise ValueError("percentages rise from step to step, and begin above 0")
        if self.canary == self.workload:
            raise ValueError("canary is a Deployment of its own beside the workload")
        name = self.workload.partition("/")[2]
        if self.canary is None and len(name) > LONGEST_COPIED_NAME:
            raise ValueError(
                f"{name} has {len(name)} characters, so the pods of {name}{MADE_SUFFIX} could not be told from its own "
                f"by name (with {LONGEST_COPIED_NAME} they can); name a second Deployment as canary"
            )
        return self

    def steps_program(self, context: Context) -> tuple[Step, ...]:
        levels = context.percentages or self.percentages
        return tuple(self._step(context, levels, index) for index in range(len(levels)))

    def _step(self, context: Context, levels: tuple[float, ...], index: int) -> Step:
        level, site = levels[index], self.site(context)
        action = VersionAction(
            name=named(self.image, f" on {level:g} %"),
            workload=self.workload,
            canary=self.canary,
            container=self.container,
            to=self.image,
            percentage=level,
        )
        return Step(
            name=f"{level:g}%",
            guard=Guard(f"step:{self.name}/{index + 1}"),
            acts=(Act(action, site),),
            gate=names(self.gate),
            bake=self._bake(context, index == len(levels) - 1),
            percentage=level,
        )

    def _bake(self, context: Context, is_last: bool) -> Bake:
        if context.bake is not None:
            return context.bake
        final = to_bake(self.final_bake) if is_last else None
        return final or to_bake(self.bake) or DEFAULT_BAKE
