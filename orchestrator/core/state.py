"""State: the fold of a run's journal. Immutable; :mod:`orchestrator.core.fold` makes the next one from an event.

Three kinds of things are kept. Where the run stands (``place``, ``cursor``). What it knows for good (targets with
their values before, pins, answers, holds, what passed). What is under way (outstanding effects, walks through lists
of acts, waiting items, the rollback graph). What is merely measured is not here: it lives in the evidence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, TypeVar

from orchestrator.core.effect import Effect, Notice
from orchestrator.core.events import RollbackNode, RunStarted
from orchestrator.core.phases import Leg, Phase, Place, Reason
from stages.checks import Standing
from stages.effects import Operation, TargetKind
from stages.step import EnvironmentProgram, Program, StageProgram, Step
from stages.success import Level
from stages.values import Json

PERSON = "person"  # the source of a pin that somebody's own edit of a flag is
K = TypeVar("K")
V = TypeVar("V")


def put(mapping: Mapping[K, V], key: K, value: V) -> dict[K, V]:
    return {**mapping, key: value}


def drop(mapping: Mapping[K, V], *keys: K) -> dict[K, V]:
    return {key: value for key, value in mapping.items() if key not in keys}


@dataclass(frozen=True, slots=True)
class Cursor:
    """Environment by name, stage and step as indices in its program. Never moves backwards."""

    environment: str
    stage: int = 0
    step: int = 0


@dataclass(frozen=True, slots=True)
class Hold:
    reason: Reason
    item: str
    since: float
    by: str
    detail: str


@dataclass(frozen=True, slots=True)
class Answered:
    standing: Standing
    at: float
    detail: str
    by: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Given:
    """One person's approval, which counts once enough of them are there; until then he may take it back."""

    by: str
    groups: tuple[str, ...]
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Somebody is asked for something. *answer*, *note* and *by*: what closed it, or what was said last."""

    item: str
    kind: str
    text: str
    who: tuple[str, ...]
    since: float
    until: float | None = None
    optional: bool = False
    blocking: bool = True
    given: tuple[Given, ...] = ()
    answer: str | None = None
    note: str = ""
    by: str = ""
    is_rejected: bool = False  # by the newest answer, which does not close it

    @property
    def approvals(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Pairs of a name and its groups."""
        return tuple((one.by, one.groups) for one in self.given)

    @property
    def open(self) -> bool:
        return self.answer is None


@dataclass(frozen=True, slots=True)
class Touch:
    """Where a target stood when a stage first touched it, and the way back to that. *at*: when that was asked for."""

    value: Json
    undo: Operation | None
    order: int
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class TargetState:
    """One thing this run touches. *before* is what was there first; *value* where this run last left it."""

    id: str
    kind: TargetKind
    title: str
    environment: str
    stage: str  # that first observed it
    before: Json
    existed: bool
    value: Json
    touches: Mapping[str, Touch] = field(default_factory=dict)  # by "environment/stage"; empty: nothing to take back
    taken_back: Touch | None = None  # the first touch that the rollback of a stage took back
    resolved: str | None = None
    cut_short: bool = False  # its last effect ended under way: it may stand anywhere between

    @property
    def touched(self) -> bool:
        return bool(self.touches)

    @property
    def is_inherited(self) -> bool:
        """Whether only the run before touched it: how it stands has to be seen before anything is made of it."""
        return self.touched and self.last_order < 0

    @property
    def is_uncertain(self) -> bool:
        """Whether the run before may have left it anywhere."""
        return self.is_inherited and self.cut_short

    @property
    def first_touch(self) -> Touch:
        return min(self.touches.values(), key=lambda touch: touch.order)

    @property
    def last_order(self) -> int:
        return max((touch.order for touch in self.touches.values()), default=0)


@dataclass(frozen=True, slots=True)
class Outstanding:
    """An effect that was asked for and has no outcome yet. *void*: nobody wants it any more."""

    effect: Effect
    since: float
    failing: str | None = None
    failing_since: float | None = None
    unknown: bool = False
    void: bool = False


@dataclass(frozen=True, slots=True)
class Walk:
    """How far a list of acts has been walked. *failed* says why it stands still for good."""

    done: int = 0
    started_at: float | None = None  # of the act under way, where that counts (wait)
    begun_at: float = 0.0
    failed: str | None = None
    attempt: int = 1
    skipped: bool = False  # whether the newest act would have changed nothing


_NOT_BEGUN = Walk()


@dataclass(frozen=True, slots=True)
class Pin:
    """Keys of a flag fixed by *source* (a trigger, or a person) until somebody decides."""

    source: str
    flag: str
    environment: str
    keys: frozenset[str]
    since: float
    kept: bool = False

    @property
    def cuts(self) -> bool:
        """Whether the flag's stage cannot go on beneath it."""
        return bool(self.keys & {"state", "percentage", "targets"})


@dataclass(frozen=True, slots=True)
class Fired:
    """A trigger that fired. *count* numbers its firings; *holding* until somebody resumes."""

    at: float
    count: int
    then: str
    by: str
    detail: str
    holding: bool
    rearmed_at: float | None = None  # what was looked at before is of the breach that is over


@dataclass(frozen=True, slots=True)
class GateRef:
    """The step whose gate is judged now, and since when its level of exposure is in force (by time and by event)."""

    cursor: Cursor
    since: float
    seq: int


@dataclass(frozen=True, slots=True)
class NoReturn:
    environment: str
    stage: str
    at: float
    order: int
    values: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class NodeState:
    node: RollbackNode
    started_at: float | None = None
    result: str | None = None
    detail: str = ""
    failures: int = 0
    failed_at: float | None = None
    effect: str | None = None

    @property
    def finished(self) -> bool:
        return self.result is not None


@dataclass(frozen=True, slots=True)
class Rollback:
    """The way back under way. *scope* is the stage a partial one begins at, empty for the whole run."""

    cause: str
    by: str
    reason: str
    since: float
    scope: str
    nodes: Mapping[str, NodeState]
    with_schema: bool

    @property
    def finished(self) -> bool:
        return all(state.finished for state in self.nodes.values())


@dataclass(frozen=True, slots=True)
class NoticeState:
    notice: Notice
    requested_at: float
    settled: bool = False


@dataclass(frozen=True, slots=True)
class FailingChannel:
    """*key*: of the notice that it could not be told first."""

    since: float
    key: str
    detail: str


@dataclass(frozen=True)
class State:
    """Without slots: what is derived from it is kept with it, and a changed copy is that of a dictionary."""

    started: RunStarted  # but for the documents, of which the program was made: they are as large as all the rest
    program: Program
    author: str
    started_at: float
    seq: int
    at: float  # of the newest event
    phase: Phase
    leg: Leg | None
    cursor: Cursor
    entered_at: float
    entered_seq: int
    entry_at: float  # when the current entry (plan, stage, step) opened
    answers: Mapping[str, Answered] = field(default_factory=dict)
    holds: Mapping[tuple[Reason, str], Hold] = field(default_factory=dict)
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    targets: Mapping[str, TargetState] = field(default_factory=dict)
    outstanding: Mapping[str, Outstanding] = field(default_factory=dict)
    effect_count: int = 0
    changed_at: Mapping[str, float] = field(default_factory=dict)  # target -> when this run last changed it
    walks: Mapping[str, Walk] = field(default_factory=dict)
    stages: Mapping[tuple[str, str], str] = field(default_factory=dict)  # done, skipped, cut
    pins: Mapping[tuple[str, str], Pin] = field(default_factory=dict)  # (source, flag target)
    fired: Mapping[tuple[str, str], Fired] = field(default_factory=dict)  # (environment, trigger)
    drift: Mapping[str, Json] = field(default_factory=dict)  # target -> what somebody else made of it
    restores: Mapping[str, Json] = field(default_factory=dict)  # flags whose release takes an effect -> what is wanted
    killed: frozenset[str] = frozenset()
    gate_ref: GateRef | None = None
    advanced_seq: int = 0  # of the newest override by a person; orders are told by events, not by clocks
    evidence_from: float = 0.0
    reask_after: float = 0.0
    no_return: NoReturn | None = None
    environments_passed: tuple[str, ...] = ()
    watch_credit_seconds: float = 0.0  # of the watch, what a person's advance counted as watched
    walked_at: float | None = None  # when the last stage of the newest environment was behind us
    first_effect_at: float | None = None
    rollback: Rollback | None = None
    stop_requested: str | None = None
    outcome: str | None = None
    ended_at: float | None = None
    exceptions: tuple[str, ...] = ()
    notices: Mapping[str, NoticeState] = field(default_factory=dict)
    failing_channels: Mapping[str, FailingChannel] = field(default_factory=dict)
    acknowledged_at: float | None = None
    acknowledged_by: str = ""
    baselines: Mapping[str, Level] = field(default_factory=dict)  # success criterion -> what it was before
    success: Mapping[str, Json] = field(default_factory=dict)

    @property
    def run(self) -> str:
        return self.started.run

    @property
    def place(self) -> Place:
        return (self.phase, self.leg)

    @cached_property
    def environment(self) -> EnvironmentProgram:
        return self.program.environment(self.cursor.environment)

    @cached_property
    def stage(self) -> StageProgram | None:
        """The stage the run stands in; None outside ``running``."""
        if self.phase is not Phase.RUNNING or self.cursor.stage >= len(self.environment.stages):
            return None
        return self.environment.stages[self.cursor.stage]

    @cached_property
    def step(self) -> Step | None:
        stage = self.stage
        if stage is None or self.cursor.step >= len(stage.steps):
            return None
        return stage.steps[self.cursor.step]

    @property
    def ended(self) -> bool:
        return self.phase is Phase.ENDED

    @cached_property
    def forward(self) -> bool:
        """Whether the run is on its way forward: running or watching, with no rollback under way."""
        return self.phase in (Phase.RUNNING, Phase.WATCHING) and self.rollback is None

    def is_cut(self, environment: str, stage: str) -> bool:
        return self.stages.get((environment, stage)) == "cut"

    def walk(self, key: str) -> Walk:
        return self.walks.get(key, _NOT_BEGUN)

    def undecided_pins(self) -> tuple[Pin, ...]:
        return tuple(pin for pin in self.pins.values() if not pin.kept)

    def with_changes(self, **changes: Any) -> "State":
        """As ``dataclasses.replace``, which looks at every field: a run is folded and decided at every event."""
        if unknown := changes.keys() - _FIELDS:
            raise TypeError(f"a state has no {', '.join(sorted(unknown))}")
        copy = object.__new__(State)
        kept = vars(copy)
        kept.update(vars(self))
        for name in _DERIVED:
            kept.pop(name, None)
        kept.update(changes)
        return copy


_FIELDS = frozenset(entry.name for entry in fields(State))
_DERIVED = tuple(name for name, entry in vars(State).items() if isinstance(entry, cached_property))
