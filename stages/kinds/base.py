"""Fields and meaning that all stage kinds share."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from stages.actions import Action, AnyAction, Site
from stages.actions.backup import BackupAction
from stages.actions.passive import VerifyAction
from stages.checks import Approval, Check
from stages.cluster import Kubernetes
from stages.command_pod import CommandPod
from stages.flag_spec import FlagSpec
from stages.questions import Question, RollbackSection
from stages.step import Act, BackupProgram, Bake, Guard, RollbackProgram, StageProgram, Step
from stages.values import Duration, Environments, Name, Part, TextOrSecret, Words
from stages.windows import Window

Names = str | tuple[str, ...]


class BakeRange(Part):
    min: Duration
    max: Duration

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max < self.min:
            raise ValueError("the max of a bake is at least its min")
        return self


AnyBake = Duration | BakeRange
DEFAULT_BAKE = Bake(120.0, 120.0)


class Backup(Part):
    command: Words
    verify: tuple[Check, ...] = ()
    max_age: Duration | None = None
    restore: tuple[AnyAction, ...] = ()
    by: tuple[str, ...] = ()
    dir: str | None = None
    vars: dict[str, TextOrSecret] = Field(default_factory=dict)
    timeout: Duration | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage is compiled in: one environment of one plan."""

    environment: str
    files: dict[str, str]
    flags: dict[str, FlagSpec]
    database: TextOrSecret | None
    command_dir: str | None
    command_vars: dict[str, TextOrSecret]
    command_timeout_seconds: float
    bake: Bake | None = None  # the environment's own, instead of a stage's
    percentages: tuple[float, ...] | None = None
    kubernetes: Kubernetes = field(default_factory=Kubernetes)
    command_pod: CommandPod | None = None

    def site(self, stage: str, database: TextOrSecret | None = None, kubernetes: Kubernetes | None = None) -> Site:
        return Site(
            environment=self.environment,
            stage=stage,
            files=self.files,
            flags=self.flags,
            database=database or self.database,
            command_dir=self.command_dir,
            command_vars=self.command_vars,
            command_timeout_seconds=self.command_timeout_seconds,
            kubernetes=kubernetes.or_else(self.kubernetes) if kubernetes is not None else self.kubernetes,
            command_pod=self.command_pod,
        )


class Stage(Part):
    """One part of the change, of one kind."""

    name: Name
    kind: str
    environments: Environments = ()
    checks: tuple[Check, ...] = ()
    approval: Approval | None = None
    window: Window | None = None
    before: tuple[AnyAction, ...] = ()
    after: tuple[AnyAction, ...] = ()
    verify: tuple[Check, ...] = ()
    gate: Names = ()
    bake: AnyBake | None = None
    final_bake: AnyBake | None = None
    settle: Duration = 30.0
    backup: Backup | None = None
    rollback: RollbackSection = RollbackSection()
    on_fail: Literal["rollback", "pause"] = "rollback"
    kubernetes: Kubernetes | None = None
    database: TextOrSecret | None = None
    point_of_no_return: bool = False
    when: tuple[Check, ...] = ()

    def steps_program(self, context: Context) -> tuple[Step, ...]:
        """The steps of this kind; implemented by each."""
        raise NotImplementedError

    def irreversible(self, context: Context) -> dict[str, str]:
        """Target id -> why it will not come back; the kinds that know better say so."""
        return {}

    def site(self, context: Context) -> Site:
        return context.site(self.name, self.database, self.kubernetes)

    def compile(self, context: Context) -> StageProgram:
        site = self.site(context)
        return StageProgram(
            name=self.name,
            kind=self.kind,
            guard=Guard(f"stage:{self.name}", for_environment(self.checks, context.environment), self.approval),
            when=for_environment(self.when, context.environment),
            windows=(self.window,) if self.window else (),
            before=acts(self.before, site),
            steps=self.steps_program(context),
            after=acts(self.after, site),
            verify=for_environment(self.verify, context.environment),
            gate=names(self.gate),
            on_fail=self.on_fail,
            settle_seconds=self.settle,
            point_of_no_return=self.point_of_no_return,
            rollback=rollback_program(self.rollback, site),
            irreversible=self.irreversible(context),
            backup=backup_program(self.backup, site) if self.backup else None,
        )

    def all_actions(self) -> tuple[Action, ...]:
        """Every action as written, for the checks of a plan that concern them all."""
        questions = tuple(action for question in self.rollback.ask for action in question.actions)
        restore = self.backup.restore if self.backup else ()
        return self.before + self.after + self.rollback.before + self.rollback.after + questions + restore


def for_environment(entries: tuple[Any, ...], environment: str) -> tuple[Any, ...]:
    """The entries that are for this environment (those that name none are for all)."""
    return tuple(entry for entry in entries if not entry.environments or environment in entry.environments)


def acts(actions: tuple[Action, ...], site: Site, *, verify_skipped: bool = True) -> tuple[Act, ...]:
    """Each action of this environment as an act, followed by one that verifies it where the plan says how."""
    found: list[Act] = []
    for action in for_environment(actions, site.environment):
        found.append(Act(action, site))
        checks = for_environment(action.verify, site.environment)
        if checks:
            found.append(Act(VerifyAction(checks=checks, unless_skipped=not verify_skipped), site))
    return tuple(found)


def backup_program(backup: Backup, site: Site) -> BackupProgram:
    action = BackupAction(
        command=backup.command,
        verify=backup.verify,
        dir=backup.dir,
        vars=backup.vars,
        timeout=backup.timeout,
        undo="none",
    )
    question = Question(question=f"Restore the backup of {site.stage}?", by=backup.by, actions=backup.restore)
    return BackupProgram(
        target=action.target(site).id,
        acts=acts((action,), site),
        max_age_seconds=backup.max_age,
        restore=question if backup.restore else None,
    )


def names(value: Names) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def to_bake(value: AnyBake | None) -> Bake | None:
    if value is None:
        return None
    if isinstance(value, BakeRange):
        return Bake(value.min, value.max)
    return Bake(value, value)


def rollback_program(section: RollbackSection, site: Site) -> RollbackProgram:
    return RollbackProgram(
        before=acts(section.before, site),
        after=acts(section.after, site),
        verify=for_environment(section.verify, site.environment),
        within_seconds=section.within,
        ask=section.ask,
    )


def gated_at_the_end(stage: Stage, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Steps of a kind whose gate is judged once, at the stage's end (with the bake that is asked for, if any)."""
    if not steps:
        steps = (Step("go/no-go", Guard(f"step:{stage.name}/0"), ()),)
    bake = to_bake(stage.final_bake) or to_bake(stage.bake) or Bake(0.0, 0.0)
    return (*steps[:-1], replace(steps[-1], gate=names(stage.gate), bake=bake))
