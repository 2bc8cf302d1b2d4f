"""``migration``: change the schema by ordered SQL files (or a team's own migrator). ``backfill`` beside it."""

import re
from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from stages.actions import Action, AnyAction
from stages.actions.alembic import AlembicAction
from stages.actions.migrator import MigratorAction
from stages.actions.sql import SqlAction, sql_file
from stages.checks import Check
from stages.data_loss import losses
from stages.kinds.base import Context, Stage, acts, gated_at_the_end
from stages.questions import Question
from stages.step import Guard, StageProgram, Step
from stages.values import Duration, Name, Part, TextOrSecret, Words


class Migration(Part):
    """One file (``up``), or one call of a team's own migrator (``command``)."""

    up: str | None = None
    down: str | None = None
    command: Words | None = None
    probe: Words | None = None
    name: Name = ""
    dir: str | None = None
    vars: dict[str, TextOrSecret] = Field(default_factory=dict)
    timeout: Duration | None = None
    verify: tuple[Check, ...] = ()
    verify_always: bool = False
    irreversible: str | None = None
    keep: str | None = None

    @field_validator("up", "down")
    @classmethod
    def _a_file(cls, value: str | None) -> str | None:
        return sql_file(value)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.up is None) == (self.command is None):
            raise ValueError("a migration names exactly one of up (a SQL file) and command")
        if self.command is not None and self.down is not None:
            raise ValueError("down is a SQL file beside up; what a command did stays, so say why: irreversible or keep")
        of_commands = self.model_fields_set & {"probe", "name", "dir", "vars", "timeout"}
        if self.up is not None and of_commands:
            raise ValueError(f"{', '.join(sorted(of_commands))} is for a migration by a command, not for a SQL file")
        return self

    @property
    def stays(self) -> str | None:
        """Why it is never taken back, where the plan says so."""
        return self.irreversible or self.keep


class AlembicRevision(Part):
    irreversible: str | None = None
    keep: str | None = None
    verify: tuple[Check, ...] = ()

    @property
    def stays(self) -> str | None:
        return self.irreversible or self.keep


class Alembic(Part):
    """*revisions* are gone to one after the other, in the order in which they are written, and *target* at the end."""

    config: str = "alembic.ini"
    dir: str | None = None
    command: Words = ("alembic",)
    target: str = "head"
    expect_current: str | None = None
    revisions: dict[str, AlembicRevision] = Field(default_factory=dict)
    vars: dict[str, TextOrSecret] = Field(default_factory=dict)
    timeout: Duration | None = None

    @field_validator("target", "expect_current")
    @classmethod
    def _a_revision(cls, value: str | None) -> str | None:
        return value if value is None or value in ("head", "base") else _revision(value)

    @field_validator("revisions")
    @classmethod
    def _revisions(cls, value: dict[str, AlembicRevision]) -> dict[str, AlembicRevision]:
        for name in value:
            _revision(name)
        return value

    @field_validator("target")
    @classmethod
    def _not_the_base(cls, value: str) -> str:
        if value == "base":
            raise ValueError("the target of a migration lies above; base is where a downgrade ends")
        return value

    @property
    def order(self) -> tuple[str, ...]:
        return (*(name for name in self.revisions if name != self.target), self.target)

    @property
    def marked(self) -> dict[str, str]:
        return {name: entry.stays for name, entry in self.revisions.items() if entry.stays is not None}


_REVISION = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")


def _revision(name: str) -> str:
    if not _REVISION.fullmatch(name) or name in ("head", "heads", "base", "current"):
        raise ValueError(f"the name of one revision is expected, not {name!r}")
    return name


class AskBeforeDown(Part):
    ask: str
    by: tuple[str, ...] = ()
    before: tuple[AnyAction, ...] = ()


class LintAcceptance(Part):
    rule: str
    reason: str


class Lint(Part):
    accept: tuple[LintAcceptance, ...] = ()


class MigrationStage(Stage):
    kind: Literal["migration"]
    migrations: tuple[Migration, ...] = ()
    alembic: Alembic | None = None
    on_rollback: Literal["keep", "down"] | AskBeforeDown = "keep"
    allow_data_loss: bool = False
    lock_timeout: Duration = 2.0
    statement_timeout: Duration = 300.0
    lint: Lint = Lint()

    @model_validator(mode="after")
    def _one_runner(self) -> Self:
        if bool(self.migrations) == (self.alembic is not None):
            raise ValueError("a migration stage has migrations (a list of at least one) or alembic, one of the two")
        return self

    def _entries(self) -> tuple[tuple[Migration, SqlAction | MigratorAction], ...]:
        return tuple((entry, self._file(entry) if entry.up else self._migrator(entry)) for entry in self.migrations)

    def _file(self, entry: Migration) -> SqlAction:
        assert entry.up is not None
        return SqlAction(
            sql=entry.up,
            down=entry.down,
            undo=None if entry.down else "none",
            verify=entry.verify,
            database=self.database,
            lock_timeout=self.lock_timeout,
            statement_timeout=self.statement_timeout,
        )

    def _migrator(self, entry: Migration) -> MigratorAction:
        assert entry.command is not None
        return MigratorAction(
            name=entry.name or " ".join(entry.command)[:120],
            command=entry.command,
            probe=entry.probe,
            dir=entry.dir,
            vars=entry.vars,
            timeout=entry.timeout,
            undo="none",
            verify=entry.verify,
            database=self.database,
        )

    def _revisions(self, alembic: Alembic) -> tuple[AlembicAction, ...]:
        order, marked = alembic.order, alembic.marked
        return tuple(self._revision(alembic, index, order, marked) for index in range(len(order)))

    def _revision(self, alembic: Alembic, index: int, order: tuple[str, ...], marked: dict[str, str]) -> AlembicAction:
        name = order[index]
        entry = alembic.revisions.get(name, AlembicRevision())
        is_undone = self.on_rollback == "down" and entry.stays is None
        return AlembicAction(
            revision=name,
            final=alembic.target,
            config=alembic.config,
            dir=alembic.dir,
            command=alembic.command,
            vars=alembic.vars,
            timeout=alembic.timeout,
            verify=entry.verify,
            database=self.database,
            expect_current=alembic.expect_current if index == 0 else None,
            guard_data_loss=is_undone and not self.allow_data_loss,
            walls=marked,
            later_walls=() if entry.stays else tuple(later for later in order[index + 1 :] if later in marked),
            lock_timeout=self.lock_timeout,
            statement_timeout=self.statement_timeout,
        )

    def _walked(self) -> tuple[tuple[str, Action, bool], ...]:
        """Name of the step, its action, and whether its verify is asked even if it changes nothing."""
        if self.alembic is not None:
            return tuple((f"revision {action.revision}", action, True) for action in self._revisions(self.alembic))
        return tuple((entry.up or action.label, action, entry.verify_always) for entry, action in self._entries())

    def steps_program(self, context: Context) -> tuple[Step, ...]:
        files = tuple(entry.up for entry in self.migrations if entry.up is not None)
        site = replace(self.site(context), sql_order=files)
        steps = tuple(
            Step(
                name=name,
                guard=Guard(f"step:{self.name}/{index + 1}"),
                acts=acts((action,), site, verify_skipped=verify_always),
            )
            for index, (name, action, verify_always) in enumerate(self._walked())
        )
        return gated_at_the_end(self, steps)

    def compile(self, context: Context) -> StageProgram:
        lost = self._losses(context)
        ask = self.on_rollback if isinstance(self.on_rollback, AskBeforeDown) else None
        text = f"{ask.ask} (a yes drops {', '.join(lost.values())})" if ask and lost else ask.ask if ask else ""
        question = Question(question=text, by=ask.by, actions=ask.before) if ask else None
        return replace(
            super().compile(context),
            on_rollback="ask" if isinstance(self.on_rollback, AskBeforeDown) else self.on_rollback,
            schema_question=question,
            allow_data_loss=self.allow_data_loss,
            losses=lost,
        )

    def _losses(self, context: Context) -> dict[str, str]:
        site = self.site(context)
        found: dict[str, str] = {}
        for entry, action in self._entries():
            lost = losses(context.files.get(entry.down or "", "")) if entry.stays is None else []
            if lost:
                found[action.target(site).id] = ", ".join(lost)
        return found

    def irreversible(self, context: Context) -> dict[str, str]:
        site = self.site(context)
        reasons: dict[str, str] = {}
        for entry, action in self._entries():
            unknown = "it has no down file" if entry.up else "the migrator has no way back"
            reason = entry.stays or (None if entry.down else unknown)
            if reason is not None:
                reasons[action.target(site).id] = reason
        for revision in self._revisions(self.alembic) if self.alembic is not None else ():
            if revision.revision in revision.walls:
                reasons[revision.target(site).id] = revision.walls[revision.revision]
        return reasons
