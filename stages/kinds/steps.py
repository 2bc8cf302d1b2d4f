"""``steps``: any actions in order, or none at all (a pure go/no-go)."""

from typing import Literal

from stages.actions import Action, AnyAction
from stages.kinds.base import Context, Stage, acts, for_environment, gated_at_the_end
from stages.step import Guard, Step


class StepsStage(Stage):
    kind: Literal["steps"]
    steps: tuple[AnyAction, ...] = ()

    def steps_program(self, context: Context) -> tuple[Step, ...]:
        site = self.site(context)
        steps = tuple(
            Step(name=action.label, guard=Guard(f"step:{self.name}/{index + 1}"), acts=acts((action,), site))
            for index, action in enumerate(for_environment(self.steps, context.environment))
        )
        return gated_at_the_end(self, steps)

    def all_actions(self) -> tuple[Action, ...]:
        return super().all_actions() + self.steps
