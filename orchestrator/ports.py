"""What the core and its shell need of the world, as Protocols. Adapters and journals implement these; nothing else.

All times are seconds since the epoch (UTC) as floats unless a name ends in ``_seconds``, which is a span. Everything
that waits is a coroutine. Errors are those of :mod:`orchestrator.errors`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Protocol

from flags.model import FlagDocument, Version
from orchestrator.allowance import Allowance
from orchestrator.cluster_facts import ClusterReader
from orchestrator.core.effect import Effect, Notice, Outcome
from orchestrator.core.events import Event
from orchestrator.freeze_port import FreezeStorage
from orchestrator.keeping_port import KeepingStorage
from orchestrator.schedule_port import ScheduleStorage
from stages.checks import Check, Source, Standing
from stages.command_pod import CommandPod
from stages.criteria.base import NOTHING_WANTED, Measurement, Wanted
from stages.effects import AnyObservation, ObserveAlembic
from stages.flag_spec import FlagSpec
from stages.lean import dataclass
from stages.notify import Channel, Heartbeat
from stages.plan import StagedRollout
from stages.problems import Problem
from stages.step import Program
from stages.values import Json, SecretRef, TextOrSecret

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Clock(Protocol):
    def now(self) -> float:
        """Wall clock."""
        ...

    def monotonic(self) -> float:
        """For spans: never goes back."""
        ...

    async def sleep(self, seconds: float) -> None: ...


# --- the journal ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event in its place: ``seq`` counts from 1, ``hash`` (hex SHA-256) chains it to the one before."""

    run: str
    seq: int
    at: float
    event: Event
    hash: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """The run's row: what lists and look-ups need without folding. ``rev`` is the seq of its newest event; ``kept``:
    since when only its report is kept."""

    run: str
    plan: str
    digest: str
    rev: int
    epoch: int
    active: bool
    created: float
    summary: Mapping[str, Json] = field(default_factory=dict)
    kept: float | None = None


@dataclass(frozen=True, slots=True)
class NewRun:
    """``claims`` maps what no two active runs may share to words for it; ``inherits_from`` names a run that gives its
    claims up to this one in the same transaction; ``refers_to`` the one that it supersedes or takes back."""

    run: str
    plan: str
    digest: str
    claims: Mapping[str, str]
    inherits_from: str | None = None
    refers_to: str | None = None


@dataclass(frozen=True, slots=True)
class FlagWrite:
    """Write *document* if the stored one has the *expected* version (None: there is none). The store numbers it.

    With an *epoch* only if it is still that of the *run*, so that who lost a run writes none of its flags.
    """

    document: FlagDocument
    expected: Version | None
    by: str
    reason: str
    run: str | None = None
    effect: str | None = None
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The remembered answer to an operator's command, under the idempotency key that came with it."""

    key: str
    body: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Batch:
    """All that one decision writes, in one transaction. ``release`` gives the run's claims up (it has ended)."""

    run: str
    after: int
    epoch: int
    at: float
    events: Sequence[Event]
    summary: Mapping[str, Json]
    active: bool = True
    release: bool = False
    flags: Sequence[FlagWrite] = ()
    answer: Answer | None = None


class Journal(Protocol):
    """The append-only record of runs, with the checkpoint of evidence beside it.

    ``append`` raises ``Fenced`` if the epoch is not the row's, ``Conflict`` if ``after`` is not its rev or a flag has
    another version, ``KeptAsReport`` if there is nothing but a report left to append to, and writes nothing then; what
    it returned is durable. Reading tolerates concurrent appends.
    """

    async def start(
        self, new: NewRun, epoch: int, at: float, events: Sequence[Event], summary: Mapping[str, Json]
    ) -> list[Recorded]:
        """Raises ``TargetBusy`` if an active run holds one of the claims, ``Conflict`` if the name is taken."""
        ...

    async def append(self, batch: Batch) -> list[Recorded]: ...

    async def take(self, run: str) -> int:
        """Mint the next epoch of a run for the caller: whoever held it before is fenced from now on."""
        ...

    async def row(self, run: str) -> RunRow | None: ...

    async def rows(self, active: bool | None = None, limit: int = 1000, plan: str | None = None) -> list[RunRow]:
        """Newest first; ``active`` and ``plan`` filter."""
        ...

    async def holders(self, claims: Collection[str]) -> dict[str, str]:
        """Claim -> the active run that holds it, of those of *claims* that are held."""
        ...

    async def by_phase(self) -> list[tuple[str, int, int]]:
        """Each phase that summaries name ("" where one names none), with its number of runs and of their events."""
        ...

    async def read(self, run: str, after: int = 0, limit: int | None = None) -> list[Recorded]: ...

    async def answer(self, run: str, key: str) -> Answer | None: ...

    async def save_evidence(self, seen: Mapping[str, tuple[int, str]]) -> None:
        """Run -> epoch and text, of up to a thousand: overwrites the checkpoints of these runs. They may be lost at no
        risk; that of a fenced writer is dropped, and so is that of a run which is not there."""
        ...

    async def evidence(self, run: str) -> str | None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Member:
    """One of the controllers that share a store. ``address`` is its URL for the others: they pass commands on to it."""

    name: str
    address: str


class Membership(Protocol):
    """Which of the controllers of a store acts for which run, from the view of one of them (*me*).

    A controller has a lease, which it keeps by renewing it; it has claims on runs as long as its lease holds. All times
    are the store's own, so clocks of machines don't matter. A run is free if nobody has claimed it, or the lease of who
    has lapsed. A journal that is shared starts runs as claimed by *me*, and its ``take`` raises ``Fenced`` for a run
    that *me* has not claimed.
    """

    me: Member

    async def renew(self, lease_seconds: float) -> None:
        """Extends the lease, or begins one. Raises ``Fenced`` if it had lapsed and a claim of it was taken since: then
        everything is to be dropped, and a new lease begun by ``leave`` first.
        """
        ...

    async def claim(self, most: int, *, only_lapsed: bool = False) -> list[str]:
        """Claims up to so many free runs that are active or unsettled, oldest first; *only_lapsed*: none that was given
        up, which others shall have. Who acted for them before is fenced from now on. Raises ``Fenced`` if our lease has
        lapsed."""
        ...

    async def owner(self, run: str) -> Member | None:
        """Who acts for it; None if it is free."""
        ...

    async def members(self) -> list[Member]:
        """Those whose lease holds, by name."""
        ...

    async def shares(self) -> tuple[Mapping[str, int], int]:
        """Name of each whose lease holds -> how many active or unsettled runs it has claimed; and how many are free."""
        ...

    async def release(self, runs: Sequence[str]) -> None:
        """Gives the claims on these up, as far as they are ours: whoever claims next has them."""
        ...

    async def leave(self) -> None:
        """Gives all claims and the lease up, so that others need not wait for it to lapse."""
        ...

    async def switch(self) -> str | None:
        """The kill switch as one of the controllers put it here, see ``KillSwitch.merge``; None if none did yet."""
        ...

    async def put_switch(self, text: str, before: str | None) -> bool:
        """Puts it here if it is still as it was *before*; whether it was."""
        ...


@dataclass(frozen=True, slots=True)
class Passed:
    """A request that is passed on to another controller. *path* is that of the URL, encoded, with its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class PassedAnswer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class Peers(Protocol):
    """The other controllers of a store."""

    async def ask(self, member: Member, passed: Passed) -> PassedAnswer:
        """Any status is an answer. Raises ``Temporary`` if none comes."""
        ...


@dataclass(frozen=True, slots=True)
class FlagRecord:
    """A stored flag and who wrote it last. ``run`` and ``effect`` are set if a run did."""

    document: FlagDocument
    by: str
    reason: str
    at: float
    run: str | None = None
    effect: str | None = None


@dataclass(frozen=True, slots=True)
class Latch:
    """The kill switch of one environment (``*``: all of them): over all flags, or over *keys* alone."""

    environment: str
    by: str
    reason: str
    at: float
    keys: tuple[str, ...] = ()
    include_permanent: bool = False  # else permanent flags are passed by


class FlagStore(Protocol):
    """Flag documents by environment and key, and the kill latch above them."""

    async def get(self, environment: str, key: str) -> FlagRecord | None: ...

    async def all(self, environment: str | None = None) -> list[FlagRecord]: ...

    async def write(self, write: FlagWrite, at: float) -> FlagRecord:
        """Raises ``Conflict`` if the version is not the expected one, ``Fenced`` if the run has another epoch. Its
        version is never below an earlier one."""
        ...

    async def history(self, environment: str, key: str, limit: int = 50) -> list[FlagRecord]: ...

    async def version(self) -> Version:
        """The newest that was given out; of a store that was restored, its new generation's."""
        ...

    async def new_generation(self) -> int:
        """To be called when the store was restored: versions given out from now on are above all earlier ones."""
        ...


class KillSwitch(Protocol):
    """The latch above flag documents: works while the store is away, and survives a crash. Synchronous and small."""

    def latches(self) -> tuple[Latch, ...]: ...

    def revision(self) -> int:
        """Rises each time the switch is moved, whoever moves it."""
        ...

    def is_killed(self, environment: str, key: str | None = None, *, permanent: bool = False) -> bool:
        """Whether a latch covers a flag; without a *key* the environment as a whole."""
        ...

    def disable_all(self, latch: Latch) -> None: ...

    def lift(self, environment: str, by: str, reason: str, at: float, key: str | None = None) -> None:
        """Lifts the latch of an environment, or for one flag of it only."""
        ...

    def merge(self, text: str | None) -> str | None:
        """Adds what another switch of the same store holds, and says what both hold now, as text for that one.

        What either has latched is latched, but for latches that one of them lifted. Whoever merges what, in whatever
        order: all come to the same position with the same revision.
        """
        ...


# --- the world --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scene:
    """Where in a run something is asked or done: what adapters need beside the thing itself."""

    run: str
    environment: str
    stage: str = ""
    effect_id: str = ""
    epoch: int = 0  # of the controller's hold on the run; who has an older one may change nothing any more
    directory: str | None = None  # the plan's own, on the machine it was submitted from
    files: Mapping[str, str] = field(default_factory=dict)  # what travelled with the plan
    command_dir: str | None = None
    command_vars: Mapping[str, TextOrSecret] = field(default_factory=dict)
    command_timeout_seconds: float = 300.0
    command_pod: CommandPod | None = None  # where commands run that the plan has an image for
    database: TextOrSecret | None = None
    databases: Mapping[str, TextOrSecret] = field(default_factory=dict)  # source name -> database
    prometheus: Mapping[str, Json] = field(default_factory=dict)  # source name -> settings; "" is the default
    flags: Mapping[str, FlagSpec] = field(default_factory=dict)  # the plan's, each with the system that it is in
    shown_by: str = ""  # how people look at what they are told of, where it is no run: a command
    head: str = ""  # of the journal, SEQ:HASH, where something is told to people: it leaves the house with it


def scene_of(
    program: Program, environment: str, *, run: str = "", stage: str = "", effect_id: str = "", epoch: int = 0
) -> Scene:
    """The scene in one environment of a plan."""
    entry = program.environment(environment)
    return Scene(
        run=run,
        epoch=epoch,
        environment=environment,
        stage=stage,
        effect_id=effect_id,
        directory=program.directory,
        files=entry.site.files,
        command_dir=entry.site.command_dir,
        command_vars=entry.site.command_vars,
        command_timeout_seconds=entry.site.command_timeout_seconds,
        command_pod=entry.site.command_pod,
        database=entry.site.database,
        databases=entry.databases,
        prometheus=entry.prometheus,
        flags=entry.flags,
    )


@dataclass(frozen=True, slots=True)
class CheckAnswer:
    standing: Standing
    detail: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What a target is now. ``exists`` is false for a flag that is not there (its value then says how it stands)."""

    value: Json
    exists: bool = True
    changed_by: str | None = None


UNWANTED = "nobody wants it any more"
"""The message with which an effect under way is cancelled when a rollback makes it void."""


class Performer(Protocol):
    """Performs one family of operations and looks at its targets."""

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        """One try. *resumed*: it may have been begun by an earlier life of the controller, so look first.

        Never raises for what the world does: that is an ``Outcome``. Cancelling it stops what can be stopped. What goes
        on without the controller is ended only if it is cancelled as ``UNWANTED``, not when the controller goes down.
        """
        ...

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        """Raises ``Temporary`` or ``Permanent`` if it can't be seen."""
        ...


class Ending(Protocol):
    """A performer of what goes on without the controller."""

    async def end(self, effect: Effect, scene: Scene) -> None:
        """End what earlier tries of *effect*, which nobody wants any more, left running. Nothing of it is under way
        here. Within seconds. Raises ``Temporary`` or ``Permanent`` if it can't.
        """
        ...


class Asker(Protocol):
    async def ask(self, check: Check, scene: Scene) -> CheckAnswer:
        """Ask a check once. Never raises for what the world does; manual checks are not asked here."""
        ...


class Measurer(Protocol):
    async def measure(self, source: Source, scene: Scene, at: float, wanted: Wanted = NOTHING_WANTED) -> Measurement:
        """Measure once. Never raises: what went wrong is the measurement's state and detail.

        What is *wanted* is asked of the Prometheus that *source* names. A source that asks nothing itself is there for
        that alone.
        """
        ...


@dataclass(frozen=True, slots=True)
class PastSeries:
    """One series over a span, oldest first: *labels* with the metric's name as ``__name__``, *times* in seconds since
    the epoch, and as many *values*."""

    labels: Mapping[str, str]
    times: "NDArray[np.float64]"
    values: "NDArray[np.float64]"


class Archive(Protocol):
    """What one Prometheus remembers. Both raise ``Temporary`` if it stays away, and ``Permanent`` if it refuses."""

    async def rises(self, selector: str, from_: float, to: float) -> list[PastSeries]:
        """By how much each counter rose at each of its samples in ``(from_, to]``; series without a sample are left
        out."""
        ...

    async def values(self, expression: str, from_: float, to: float, step_seconds: float) -> list[PastSeries]:
        """What *expression* was at *from_* and every *step_seconds* up to *to*, without what was stale then."""
        ...


class Messenger(Protocol):
    async def deliver(self, notice: Notice, channel: Channel, scene: Scene) -> None:
        """Raises ``Temporary`` or ``Permanent``."""
        ...


class Pulse(Protocol):
    async def beat(self, heartbeat: Heartbeat, scene: Scene, *, ended: bool) -> None:
        """Tell whoever waits for it that a run is looked at, or that there is nothing more to look at. Raises
        ``Temporary`` or ``Permanent``."""
        ...


class SecretSource(Protocol):
    async def prepare(self, references: Iterable[SecretRef]) -> None:
        """To be called with what will be resolved, before that. Raises nothing: ``resolve`` says what is missing."""
        ...

    def resolve(self, value: TextOrSecret, directory: str | None = None) -> str:
        """The text itself, or what the reference leads to; relative files are relative to *directory*. Raises
        ``Permanent``, which names the reference.
        """
        ...


class MigrationText(Protocol):
    async def upgrade_sql(self, observation: ObserveAlembic, scene: Scene) -> str:
        """The SQL of the revisions that are still to be applied, for who reads it before they are; empty if there are
        none. Raises ``Temporary`` or ``Permanent``.
        """
        ...


class SqlLint(Protocol):
    def __call__(
        self,
        environment: str,
        document: StagedRollout,
        files: Mapping[str, str],
        texts: Mapping[str, str],
        directory: str | None,
    ) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
        """What the rules say of *texts*, SQL by stage name: errors and warnings, whose file is the stage's name.

        *files* are the plan's own, some of which run before. Raises ``Permanent`` if the linter does not work.
        """
        ...


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside, behind one door for the runner; tests and the simulation bring their own."""

    clock: Clock
    performers: Mapping[str, Performer]  # by operation: set_flag, run_sql, run_command, call_http
    observers: Mapping[str, Performer]  # by observation: observe_flag, observe_sql, observe_command
    asker: Asker
    measurer: Measurer
    messenger: Messenger
    flags: FlagStore
    kill_switch: KillSwitch
    freezes: FreezeStorage | None = None  # None: nothing is ever frozen
    schedules: ScheduleStorage | None = None  # None: nothing is ever scheduled
    keeping: KeepingStorage | None = None  # None: every journal is kept whole
    pulse: Pulse | None = None
    secrets: SecretSource | None = None
    allowance: Allowance | None = None  # what plans may name that are not the owner's; None: everything
    migration_text: MigrationText | None = None
    sql_lint: SqlLint | None = None
    cluster: ClusterReader | None = None
    endings: Mapping[str, Ending] = field(default_factory=dict)  # by operation
