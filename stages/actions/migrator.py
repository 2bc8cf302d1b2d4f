"""A migration by a team's own migrator: a command on the schema. Never written in a plan as an action of its own."""

from pydantic import Field

from stages.actions.base import Action, Site, command_operation
from stages.effects import ObserveProbe, Operation, Target, TargetKind
from stages.values import Json, TextOrSecret, Words


class MigratorAction(Action):
    """With a *probe* that says it was done before, it is skipped."""

    command: Words
    probe: Words | None = None
    dir: str | None = None
    vars: dict[str, TextOrSecret] = Field(default_factory=dict)
    database: TextOrSecret | None = None

    def describe(self) -> str:
        return "run " + " ".join(self.command)

    def target(self, site: Site) -> Target:
        database = self.database or site.database
        return Target(
            f"schema:{site.environment}/{site.stage}/{self.label}",
            TargetKind.SCHEMA,
            f"{self.label} in {site.environment}",
            claim=f"database:{site.environment}/{database}" if database else None,
        )

    def observation(self, site: Site) -> ObserveProbe | None:
        if self.probe is None:
            return None
        call = command_operation(self.probe, self, site)
        return ObserveProbe(argv=call.argv, dir=call.dir, vars=call.vars)

    def is_done(self, site: Site, current: Json) -> bool:
        return isinstance(current, dict) and current.get("applied") is True

    def forward(self, site: Site, current: Json) -> Operation:
        return command_operation(self.command, self, site, self.probe)
