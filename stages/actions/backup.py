"""A stage's ``backup``: a command that may be run again at will. It changes nothing that would have to go back."""

from pydantic import Field

from stages.actions.base import Action, Site, command_operation
from stages.effects import Operation, Target, TargetKind
from stages.values import Json, TextOrSecret, Words


class BackupAction(Action):
    command: Words
    dir: str | None = None
    vars: dict[str, TextOrSecret] = Field(default_factory=dict)

    def describe(self) -> str:
        return "back up with " + " ".join(self.command)

    def target(self, site: Site) -> Target:
        return Target(f"backup:{site.environment}/{site.stage}", TargetKind.BACKUP, f"backup of {site.stage}")

    def forward(self, site: Site, current: Json) -> Operation:
        return command_operation(self.command, self, site).model_copy(update={"repeatable": True})
