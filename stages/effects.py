"""Effects: what is changed in the world, as plain data.

A *target* is one thing that a run touches, and the unit of undo. An *operation* is one absolute change of one target:
it never says "five more", it says "twenty-five". Operations are written to the journal before they are performed and
carry all that their adapter needs, so that performing one again after a crash needs nothing but the journal.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from stages.checks import HttpRequest
from stages.cluster import (
    ApplyManifest,
    ClusterObservation,
    ClusterOperation,
    RestartWorkload,
    RunJob,
    ScaleWorkload,
    SetImage,
    SetVersion,
)
from stages.tagged import Tagged
from stages.values import Json, TextOrSecret


class TargetKind(StrEnum):
    FLAG = "flag"
    SCHEMA = "schema"
    COMMAND = "command"
    HTTP = "http"
    WORKLOAD = "workload"
    OBJECT = "object"
    BACKUP = "backup"  # changes nothing that would have to go back


WATCHED = frozenset({TargetKind.FLAG, TargetKind.WORKLOAD})
"""What is looked at again and again while a run goes forward: others may change it beneath us."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that a run touches. *claim* is what no two active runs may share (None: it is this run's own), and
    so are *more_claims*, of what is changed beside it.
    """

    id: str
    kind: TargetKind
    title: str
    claim: str | None = None
    more_claims: tuple[str, ...] = ()

    @property
    def claims(self) -> tuple[str, ...]:
        return (*((self.claim,) if self.claim is not None else ()), *self.more_claims)


_FLAG: Final = "flag:"


def flag_target_id(environment: str, key: str) -> str:
    """The ``Target.id`` of a flag."""
    return f"{_FLAG}{environment}/{key}"


def flag_of(target: str) -> tuple[str, str] | None:
    """Its environment and key; None if the target is no flag."""
    if not target.startswith(_FLAG):
        return None
    environment, _, key = target.removeprefix(_FLAG).partition("/")
    return environment, key


class SetFlag(Tagged):
    """Set a flag's document to *value* (a document without key, environment and version)."""

    op: Literal["set_flag"] = "set_flag"
    environment: str
    key: str
    value: dict[str, Json]


class RunSql(Tagged):
    """Run one SQL file (its text travels along) and note it as applied, or as taken back for ``direction: down``.

    *after* are the files of the plan that come before it, in order; *before* those that come after it.
    """

    op: Literal["run_sql"] = "run_sql"
    database: TextOrSecret
    name: str
    sql: str
    checksum: str
    direction: Literal["up", "down"] = "up"
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    lock_timeout_seconds: float = 2.0
    statement_timeout_seconds: float = 300.0


class RunCommand(Tagged):
    """Run a command without a shell. *probe* answers with exit code 0 that it has been done already.

    A *repeatable* one is simply run again when it is not known what became of it.
    """

    op: Literal["run_command"] = "run_command"
    argv: tuple[str, ...]
    dir: str | None = None
    vars: dict[str, TextOrSecret] = Field(default_factory=dict)
    timeout_seconds: float = 300.0
    probe: tuple[str, ...] | None = None
    observe: tuple[str, ...] | None = None
    repeatable: bool = False


class AlembicCall(Tagged):
    """How a team's own Alembic is called: *argv*, then ``-c`` *config*, in *dir*.

    *final* is where the stage ends; *revision* (``head`` or a revision's name) lies on the way there, or is the same.
    """

    argv: tuple[str, ...]
    config: str = "alembic.ini"
    dir: str | None = None
    vars: dict[str, TextOrSecret] = Field(default_factory=dict)
    revision: str
    final: str
    timeout_seconds: float = 300.0


class RunAlembic(AlembicCall):
    """Upgrade the database to *revision*; or, for ``down``, take back what lies above *to* (null: the base), up to
    *revision*. *walls* are revisions that never go, with the reason.
    """

    op: Literal["run_alembic"] = "run_alembic"
    database: TextOrSecret | None = None  # where the lock of migrators is held meanwhile
    lock_timeout_seconds: float = 2.0
    direction: Literal["up", "down"] = "up"
    to: str | None = None
    walls: dict[str, str] = Field(default_factory=dict)


class RunBackfill(Tagged):
    """Update a table in batches for about *slice_seconds*, from where the newest batch ended. Its row of bookkeeping
    moves in each batch's transaction, so it may be performed again at will.

    What was observed is ``{"done": bool, "position": key | null, "rows": int, "of": int | null}``.
    """

    op: Literal["run_backfill"] = "run_backfill"
    database: TextOrSecret
    name: str
    table: str
    key: str
    sql: str  # one UPDATE, with :from and :to, both included, for the batch's keys
    checksum: str
    batch: int
    rows_per_second: float | None = None
    slice_seconds: float = 15.0
    lock_timeout_seconds: float = 2.0
    statement_timeout_seconds: float = 300.0


class CallHttp(Tagged):
    """Send one request. Only an *idempotent* one is ever sent again."""

    op: Literal["call_http"] = "call_http"
    request: HttpRequest
    idempotent: bool = False


AnyOperation = SetFlag | RunSql | RunAlembic | RunBackfill | RunCommand | CallHttp | ClusterOperation
Operation = Annotated[AnyOperation, Field(discriminator="op")]


class ObserveFlag(Tagged):
    op: Literal["observe_flag"] = "observe_flag"
    environment: str
    key: str


class ObserveSql(Tagged):
    """Whether a SQL file is noted as applied: ``{"applied": bool, "checksum": str | null}``.

    With ``"statements": N`` if only its first N ran.
    """

    op: Literal["observe_sql"] = "observe_sql"
    database: TextOrSecret
    name: str
    checksum: str


class ObserveBackfill(Tagged):
    """How far a backfill has come, as ``RunBackfill`` observes it; nothing done yet: position null, 0 rows."""

    op: Literal["observe_backfill"] = "observe_backfill"
    database: TextOrSecret
    name: str
    table: str
    key: str
    checksum: str


class ObserveCommand(Tagged):
    """What *argv* prints, trimmed: ``{"text": str}``."""

    op: Literal["observe_command"] = "observe_command"
    argv: tuple[str, ...]
    dir: str | None = None
    vars: dict[str, TextOrSecret] = Field(default_factory=dict)
    timeout_seconds: float = 60.0


class ObserveProbe(Tagged):
    """Whether *argv* ends with exit code 0: ``{"applied": bool}``."""

    op: Literal["observe_probe"] = "observe_probe"
    argv: tuple[str, ...]
    dir: str | None = None
    vars: dict[str, TextOrSecret] = Field(default_factory=dict)
    timeout_seconds: float = 60.0


class ObserveAlembic(AlembicCall):
    """At which revision the database stands: ``{"current": str | null, "pending": [str]}``, null before the first one.

    *pending* are the revisions that lie between there and *revision*, in order. With *expect_current* the database must
    stand there or at *final*. With *guard_data_loss* a way back that drops a table or column is refused. *walls* are
    revisions that never go and must not lie below *revision*.
    """

    op: Literal["observe_alembic"] = "observe_alembic"
    expect_current: str | None = None
    guard_data_loss: bool = False
    walls: tuple[str, ...] = ()


AnyObservation = (
    ObserveFlag | ObserveSql | ObserveBackfill | ObserveCommand | ObserveProbe | ObserveAlembic | ClusterObservation
)
Observation = Annotated[AnyObservation, Field(discriminator="op")]


def is_partial(operation: AnyOperation, observed: Json) -> bool:
    """Whether an operation that went well has more to do: the same act is asked for again."""
    return isinstance(operation, RunBackfill) and isinstance(observed, dict) and not observed.get("done")


def repeatable(operation: AnyOperation) -> bool:
    """Whether an operation may be performed again under its id when its first outcome is unknown."""
    match operation:
        case SetFlag() | RunSql() | RunAlembic() | RunBackfill():
            return True
        case ScaleWorkload() | SetImage() | RestartWorkload() | SetVersion() | ApplyManifest() | RunJob():
            return True  # each carries the id of its effect in the cluster, and looks for it first
        case RunCommand():
            return operation.probe is not None or operation.repeatable
        case CallHttp():
            return operation.idempotent
