"""``migration``: change the schema by ordered SQL files (or a team's own migrator). ``backfill`` beside it."""

from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, model_validator

from stages.actions import AnyAction
from stages.actions.sql import SqlAction
from stages.checks import Check
from stages.kinds.base import Context, Stage, acts, gated_at_the_end
from stages.questions import Question
from stages.step import Guard, StageProgram, Step
from stages.values import Duration, Part, Words


class Migration(Part):
    """One file (``up``), or one call of a team's own migrator (``command``)."""

    up: str | None = None
    down: str | None = None
    command: Words | None = None
    probe: Words | None = None
    verify: tuple[Check, ...] = ()
    verify_always: bool = False
    irreversible: str | None = None
    keep: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.up is None) == (self.command is None):
            raise ValueError("a migration names exactly one of up (a SQL file) and command")
        return self


class AlembicRevision(Part):
    irreversible: str | None = None
    keep: str | None = None
    verify: tuple[Check, ...] = ()


class Alembic(Part):
    config: str = "alembic.ini"
    dir: str | None = None
    command: Words = ("alembic",)
    target: str = "head"
    expect_current: str | None = None
    revisions: dict[str, AlembicRevision] = Field(default_factory=dict)


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

    def _actions(self) -> tuple[tuple[Migration, SqlAction], ...]:
        return tuple(
            (
                entry,
                SqlAction(
                    sql=entry.up,
                    down=entry.down,
                    undo=None if entry.down else "none",
                    verify=entry.verify,
                    database=self.database,
                    lock_timeout=self.lock_timeout,
                    statement_timeout=self.statement_timeout,
                ),
            )
            for entry in self.migrations
            if entry.up is not None
        )

    def steps_program(self, context: Context) -> tuple[Step, ...]:
        actions = self._actions()
        site = replace(context.site(self.name, self.database), sql_order=tuple(action.sql for _, action in actions))
        steps = tuple(
            Step(
                name=str(entry.up),
                guard=Guard(f"step:{self.name}/{index + 1}"),
                acts=acts((action,), site, verify_skipped=entry.verify_always),
            )
            for index, (entry, action) in enumerate(actions)
        )
        return gated_at_the_end(self, steps)

    def compile(self, context: Context) -> StageProgram:
        ask = self.on_rollback if isinstance(self.on_rollback, AskBeforeDown) else None
        question = Question(question=ask.ask, by=ask.by, actions=ask.before) if ask else None
        return replace(
            super().compile(context),
            on_rollback="ask" if isinstance(self.on_rollback, AskBeforeDown) else self.on_rollback,
            schema_question=question,
            allow_data_loss=self.allow_data_loss,
        )

    def irreversible(self, context: Context) -> dict[str, str]:
        site = context.site(self.name, self.database)
        reasons: dict[str, str] = {}
        for entry, action in self._actions():
            reason = entry.irreversible or entry.keep or (None if entry.down else "it has no down file")
            if reason is not None:
                reasons[action.target(site).id] = reason
        return reasons
