"""``{command: [argv]}``: run a program without a shell; taken back by a declared ``undo``."""

from pydantic import Field

from stages.actions.base import Action, Site, command_operation
from stages.effects import ObserveCommand, Operation, Target, TargetKind
from stages.values import Json, Name, TextOrSecret, Words


class CommandAction(Action):
    command: Words
    target_name: Name | None = Field(default=None, alias="target")
    observe: Words | None = None
    probe: Words | None = None
    dir: str | None = None
    vars: dict[str, TextOrSecret] = Field(default_factory=dict)

    def describe(self) -> str:
        return "run " + " ".join(self.command)

    def target(self, site: Site) -> Target:
        if self.target_name:
            name = f"command:{site.environment}/{self.target_name}"
            return Target(name, TargetKind.COMMAND, f"{self.target_name} in {site.environment}", claim=name)
        return Target(f"command:{site.environment}/{site.stage}/{self.label}", TargetKind.COMMAND, self.label)

    def observation(self, site: Site) -> ObserveCommand | None:
        if self.observe is None:
            return None
        call = command_operation(self.observe, self, site)
        return ObserveCommand(argv=call.argv, dir=call.dir, vars=call.vars)

    def forward(self, site: Site, current: Json) -> Operation:
        return command_operation(self.command, self, site, self.probe, self.observe)
