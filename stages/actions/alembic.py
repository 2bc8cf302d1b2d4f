"""A step of an Alembic stage: upgrade to one revision. Never written in a plan as an action of its own.

Each revision that the plan names is a target, and so is the stage's last one: what a target was before is the revision
at which the database stood, and its way back is a downgrade to there.
"""

from pydantic import Field

from stages.actions.base import Action, Site
from stages.effects import ObserveAlembic, Operation, RunAlembic, Target, TargetKind
from stages.values import Duration, Json, SecretRef, TextOrSecret, Words

HEAD = "head"
PGOPTIONS = "PGOPTIONS"


class AlembicAction(Action):
    """*walls* maps revisions that never go to the reason; *later_walls* those that the plan names after this one."""

    revision: str
    final: str
    config: str
    dir: str | None = None
    command: Words
    vars: dict[str, TextOrSecret] = Field(default_factory=dict)
    database: TextOrSecret | None = None
    expect_current: str | None = None
    guard_data_loss: bool = False
    walls: dict[str, str] = Field(default_factory=dict)
    later_walls: tuple[str, ...] = ()
    lock_timeout: Duration = 2.0
    statement_timeout: Duration = 300.0

    @property
    def has_undo(self) -> bool:
        return True

    def describe(self) -> str:
        return f"upgrade to {self.revision}"

    def target(self, site: Site) -> Target:
        place = "/".join(part for part in (self.dir or site.command_dir, self.config) if part)
        database = self.database or site.database
        claim = f"database:{site.environment}/{database}" if database else f"alembic:{site.environment}/{place}"
        name = f"schema:{site.environment}/{place}@{self.revision}"
        return Target(name, TargetKind.SCHEMA, f"revision {self.revision} of {place} in {site.environment}", claim)

    def observation(self, site: Site) -> ObserveAlembic:
        asked = {
            "expect_current": self.expect_current,
            "guard_data_loss": self.guard_data_loss,
            "walls": self.later_walls,
        }
        return ObserveAlembic.model_validate({**self._call(site), **asked})

    def observation_back(self, site: Site) -> ObserveAlembic:
        return ObserveAlembic.model_validate({**self._call(site), "final": HEAD})

    def is_done(self, site: Site, current: Json) -> bool:
        return isinstance(current, dict) and not current.get("pending")

    def forward(self, site: Site, current: Json) -> Operation:
        return RunAlembic.model_validate({**self._call(site), **self._lock(site)})

    def backward(self, site: Site, before: Json) -> Operation | None:
        to = before.get("current") if isinstance(before, dict) else None
        way = {"direction": "down", "to": to, "walls": self.walls}
        return RunAlembic.model_validate({**self._call(site), **self._lock(site), **way})

    def _lock(self, site: Site) -> dict[str, Json]:
        return {"database": self.database or site.database, "lock_timeout_seconds": self.lock_timeout}

    def _call(self, site: Site) -> dict[str, Json]:
        return {
            "argv": self.command,
            "config": self.config,
            "dir": self.dir or site.command_dir,
            "vars": {**self._own_vars(site), **site.command_vars, **self.vars},
            "revision": self.revision,
            "final": self.final,
            "timeout_seconds": self.timeout or site.command_timeout_seconds,
        }

    def _own_vars(self, site: Site) -> dict[str, TextOrSecret]:
        """The database's variable under its own name, and limits that libpq hands to PostgreSQL."""
        limits = {"lock_timeout": self.lock_timeout, "statement_timeout": self.statement_timeout}
        options = " ".join(f"-c {name}={round(seconds * 1000)}" for name, seconds in limits.items())
        database = self.database or site.database
        own: dict[str, TextOrSecret] = {PGOPTIONS: options}
        if isinstance(database, SecretRef) and database.env is not None:
            own[database.env] = database
        return own
