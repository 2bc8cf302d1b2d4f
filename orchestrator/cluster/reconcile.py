"""What an object and the journal together ask for now: a ladder of guard clauses, the first that applies. Pure."""

from dataclasses import dataclass

from orchestrator.cluster.objects import Rollout
from orchestrator.core.phases import CommandName, Phase
from orchestrator.ports import RunRow

Version = tuple[int, str | None]
"""Which plan an object asks for: its generation, and what holds its files."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing was started. *needs_a_person*: as long as nobody does anything, nothing will come of it."""

    reason: str
    message: str
    needs_a_person: bool = True
    again_at: float | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """A version of an object that was looked at: it was refused, or asks for the very plan that its run had."""

    version: Version
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Begin a run. *previous* is the run of this object before."""

    previous: str | None


@dataclass(frozen=True, slots=True)
class End:
    """Ask the object's run to end, since the object goes."""

    run: str
    command: CommandName


@dataclass(frozen=True, slots=True)
class SetFinalizer:
    """Let the API server wait for us before it lets the object go, or not."""

    wanted: bool


@dataclass(frozen=True, slots=True)
class Show:
    """Nothing but to show how it stands: its run, or why there is none."""

    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing: what stands there is the end of a run that our journal does not know."""


Move = Start | End | SetFinalizer | Show | Rest


def version_of(rollout: Rollout) -> Version:
    return rollout.generation, rollout.bundle


def next_move(rollout: Rollout, row: RunRow | None, looked: Looked | None, now: float) -> Move:
    """*row*: the newest run of this object in our journal."""
    if rollout.is_deleted:
        return _of_deleted(rollout, row)
    if row is not None and row.active:
        if rollout.rolls_back_when_deleted != rollout.has_finalizer:
            return SetFinalizer(rollout.rolls_back_when_deleted)
        return Show()
    elsewhere = _elsewhere(rollout) if row is None else None
    if elsewhere is not None:
        return elsewhere
    if not _is_to_start(rollout, row, looked, now):
        if rollout.has_finalizer:
            return SetFinalizer(wanted=False)
        return Show(looked.refusal if looked is not None and looked.version == version_of(rollout) else None)
    if rollout.rolls_back_when_deleted and not rollout.has_finalizer:
        return SetFinalizer(wanted=True)  # before anything is exposed
    return Start(row.run if row is not None else rollout.status.get("run"))


def _of_deleted(rollout: Rollout, row: RunRow | None) -> Move:
    if row is None or not row.active:
        return SetFinalizer(wanted=False) if rollout.has_finalizer else Show()
    if is_on_its_way_back(row):
        return Show()
    return End(row.run, CommandName.ROLLBACK if rollout.rolls_back_when_deleted else CommandName.STOP)


def is_on_its_way_back(row: RunRow) -> bool:
    """Such a run is left to come to its end, whatever becomes of its object."""
    return row.summary.get("phase") == Phase.ROLLING_BACK or row.summary.get("reverses") is not None


def _elsewhere(rollout: Rollout) -> Move | None:
    """A run that our journal does not know: of another controller, or of a store that was lost. A plan that was
    promoted must not be begun anew only because nobody remembers."""
    status = rollout.status
    if status.get("run") is None:
        return None
    if status.get("phase") == Phase.ENDED:
        return Rest() if status.get("observedGeneration", 0) >= rollout.generation else None
    return Show(
        Refusal(
            "RunUnknown",
            f"its run {status['run']} is not in the store of this controller, which leaves it alone; if nobody has it "
            "any more, look at what it changed, then delete this object and apply it anew",
        )
    )


def _is_to_start(rollout: Rollout, row: RunRow | None, looked: Looked | None, now: float) -> bool:
    if row is not None and origin_version(row) == version_of(rollout):
        return False
    if looked is None or looked.version != version_of(rollout):
        return True
    return looked.refusal is not None and looked.refusal.again_at is not None and looked.refusal.again_at <= now


def origin_version(row: RunRow) -> Version:
    origin = row.summary["origin"]
    return int(origin["generation"]), origin["bundle"]
