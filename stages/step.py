"""What a plan means: stages compiled to steps, each with its entry, its acts and its exit.

Stage kinds differ in how they are written. The core walks only what stands here: a kind's ``compile`` turns what was
written for one environment into a ``StageProgram``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stages.actions import Action, Site
from stages.budget import Budget
from stages.checks import Approval, Check
from stages.criteria.load import LoadCriterion
from stages.effects import Observation, Operation, Target, TargetKind, flag_target_id
from stages.flag_spec import FlagChange, FlagSpec, raise_value
from stages.gates import Gate
from stages.notify import Notify
from stages.questions import Question
from stages.scaling import Bounds
from stages.success import FollowUp, SuccessCriterion
from stages.triggers import Trigger
from stages.values import Json, TextOrSecret, parse_duration
from stages.windows import Window

USUAL_SCRAPE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Guard:
    """What guards an entry: checks, then an approval. *item* names the entry in journal and commands."""

    item: str
    checks: tuple[Check, ...] = ()
    approval: Approval | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """One action where it stands. A *raise_* act is a step of an exposure stage, which never lowers."""

    action: Action
    site: Site
    raise_: FlagChange | None = None

    @property
    def label(self) -> str:
        return self.action.label

    @property
    def target(self) -> Target | None:
        return self.action.target(self.site)

    @property
    def observation(self) -> Observation | None:
        return self.action.observation(self.site)

    @property
    def observation_back(self) -> Observation | None:
        return self.action.observation_back(self.site)

    def forward(self, current: Json) -> Operation:
        operation = self.action.forward(self.site, current)
        if self.raise_ is None:
            return operation
        return operation.model_copy(update={"value": self._raised(current)})

    def is_done(self, current: Json) -> bool:
        if self.raise_ is not None:
            return current is not None and self._raised(current) == current
        return self.action.is_done(self.site, current)

    def backward(self, before: Json) -> Operation | None:
        return self.action.backward(self.site, before)

    def _raised(self, current: Json) -> Json:
        assert self.raise_ is not None
        spec = self.site.flags.get(getattr(self.action, "flag", ""), FlagSpec())
        return raise_value(current, self.raise_, spec)


@dataclass(frozen=True, slots=True)
class Bake:
    """How long a step stays with its gate passing. With *on_evidence* it may leave between the two."""

    min_seconds: float
    max_seconds: float

    @property
    def on_evidence(self) -> bool:
        return self.min_seconds < self.max_seconds


@dataclass(frozen=True, slots=True)
class Step:
    """One action, or one level of exposure, with its entry and exit."""

    name: str
    guard: Guard
    acts: tuple[Act, ...]
    windows: tuple[Window, ...] = ()
    verify: tuple[Check, ...] = ()
    gate: tuple[str, ...] = ()
    bake: Bake = Bake(0.0, 0.0)
    exposure_flag: str | None = None  # the flag whose exposure this step raises
    percentage: float | None = None
    gate_from_start: bool = False  # its gate is judged while it acts, too: what fails it stops the act

    @property
    def is_exposure(self) -> bool:
        """Whether it raises what users meet: a flag's percentage, or a version's share of the pods."""
        return self.percentage is not None


@dataclass(frozen=True, slots=True)
class Drain:
    """What must have become empty before workers may go. *criterion* is judged with *until* as its pass bound."""

    query: str
    until: str
    timeout_seconds: float
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Scaling:
    """Workers that follow their load, which *criterion* measures. *act* is what started them, *target* their number."""

    act: Act
    target: str
    criterion: LoadCriterion
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class RollbackProgram:
    before: tuple[Act, ...] = ()
    after: tuple[Act, ...] = ()
    verify: tuple[Check, ...] = ()
    within_seconds: float | None = None
    ask: tuple[Question, ...] = ()


@dataclass(frozen=True, slots=True)
class BackupProgram:
    """A backup before a stage changes anything: made and verified, and no older than it may be when that begins."""

    target: str
    acts: tuple[Act, ...]
    max_age_seconds: float | None = None
    restore: Question | None = None  # put after a rollback that touched the stage


@dataclass(frozen=True, slots=True)
class StageProgram:
    """One stage in one environment."""

    name: str
    kind: str
    guard: Guard
    steps: tuple[Step, ...]
    when: tuple[Check, ...] = ()
    windows: tuple[Window, ...] = ()
    before: tuple[Act, ...] = ()
    after: tuple[Act, ...] = ()
    verify: tuple[Check, ...] = ()
    gate: tuple[str, ...] = ()
    on_fail: str = "rollback"
    settle_seconds: float = 30.0
    point_of_no_return: bool = False
    drain: Drain | None = None
    scaling: Scaling | None = None
    rollback: RollbackProgram = RollbackProgram()
    irreversible: Mapping[str, str] = field(default_factory=dict)  # target id -> why it will not come back
    on_rollback: str = "keep"  # keep, down, ask: what an automatic rollback does with the schema
    schema_question: Question | None = None  # with on_rollback: ask
    allow_data_loss: bool = False
    losses: Mapping[str, str] = field(default_factory=dict)  # target id -> what its way back drops
    backup: BackupProgram | None = None

    @property
    def exposure_flags(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step.exposure_flag for step in self.steps if step.exposure_flag))

    def exposure_targets(self, environment: str) -> frozenset[str]:
        """Its flags there, as targets."""
        return frozenset(flag_target_id(environment, flag) for flag in self.exposure_flags)

    def acts(self) -> tuple[Act, ...]:
        """Every act, in the order in which they are performed."""
        inner = tuple(act for step in self.steps for act in step.acts)
        return (self.backup.acts if self.backup else ()) + self.before + inner + self.after

    def acts_on(self, target: str) -> bool:
        return any(act.target is not None and act.target.id == target for act in self.acts())

    def schema_above(self, target: str) -> tuple[Target, ...]:
        """What the steps apply to the schema after *target*, in order."""
        targets = [act.target for step in self.steps for act in step.acts if act.target is not None]
        ids = [one.id for one in targets]
        above = targets[ids.index(target) + 1 :] if target in ids else []
        return tuple(one for one in above if one.kind is TargetKind.SCHEMA)


@dataclass(frozen=True, slots=True)
class WatchPhase:
    """A part of the watch, in seconds after its begin."""

    name: str
    from_seconds: float
    to_seconds: float
    gate: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    every_seconds: float | None = None
    on_fail: str = "rollback"


@dataclass(frozen=True, slots=True)
class EnvironmentProgram:
    """All that a run does in one environment."""

    name: str
    guard: Guard
    stages: tuple[StageProgram, ...]
    windows: tuple[Window, ...]
    watch: tuple[WatchPhase, ...]
    sign_off: Approval | None
    flags: Mapping[str, FlagSpec]
    gates: Mapping[str, Gate]
    triggers: tuple[Trigger, ...]
    trigger_acts: Mapping[str, tuple[Act, ...]]
    rollback: RollbackProgram
    prometheus: Mapping[str, Json]
    site: Site  # where nothing in particular stands: the environment's own defaults
    databases: Mapping[str, TextOrSecret] = field(default_factory=dict)  # of spec.sources, by name
    _acts: dict[str, Act] = field(default_factory=dict, init=False, repr=False, compare=False)

    def act_on(self, target: str) -> Act | None:
        """The first act that touches a target. Asked at every turn, so it is looked up once."""
        if not self._acts:
            self._acts.update({act.target.id: act for act in reversed(self._all_acts()) if act.target is not None})
        return self._acts.get(target)

    def _all_acts(self) -> list[Act]:
        acts = [act for stage in self.stages for act in stage.acts()]
        return acts + [act for entries in self.trigger_acts.values() for act in entries]

    @property
    def watch_seconds(self) -> float:
        return max((phase.to_seconds for phase in self.watch), default=0.0)

    def scrape_seconds(self, source: str | None) -> float:
        """How far apart the samples are of the Prometheus with this name (or the environment's own)."""
        settings: Json = self.prometheus.get(source or "", {})
        return float(parse_duration(settings.get("scrape_interval", USUAL_SCRAPE_SECONDS)))

    def stage(self, name: str) -> StageProgram | None:
        return next((stage for stage in self.stages if stage.name == name), None)

    def targets(self) -> dict[str, Target]:
        """Every target that a run may touch here, by id."""
        found = [act.target for act in self._all_acts()]
        return {target.id: target for target in found if target is not None}


@dataclass(frozen=True, slots=True)
class Program:
    """A plan, compiled for all of its environments, in order."""

    name: str
    digest: str
    guard: Guard
    windows: tuple[Window, ...]
    environments: tuple[EnvironmentProgram, ...]
    success: tuple[SuccessCriterion, ...]
    follow_up: tuple[FollowUp, ...]
    notify: Notify
    about: Mapping[str, Json]
    budget: Budget
    directory: str | None = None
    _claims: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def environment(self, name: str) -> EnvironmentProgram:
        for entry in self.environments:  # asked at every turn of every rule; a plain loop is the fastest here
            if entry.name == name:
                return entry
        raise KeyError(name)

    def claims(self) -> dict[str, str]:
        """What no other active run may share with this one: claim -> title of the target. Asked of every active run
        when another is to start, so it is looked up once."""
        if not self._claims:
            targets = [target for entry in self.environments for target in entry.targets().values()]
            self._claims.update({claim: target.title for target in targets for claim in target.claims})
        return self._claims


EXPOSURE = frozenset({TargetKind.FLAG})
