"""What every store judges alike: may this be written here, and what is said if not."""

from collections.abc import Sequence
from dataclasses import replace

from flags.model import Version
from orchestrator.errors import Conflict, Fenced, KeptAsReport, NotFound, TargetBusy
from orchestrator.keeping_port import Cut
from orchestrator.ports import Batch, FlagRecord, FlagWrite

FIRST_GENERATION = 1


def no_run(run: str) -> NotFound:
    return NotFound(f"There is no run {run!r} in this store; `rollout list` shows those there are.")


def name_taken(run: str) -> Conflict:
    return Conflict(f"There is a run {run!r} already; start again to get another name.")


def busy(claim: str, words: str, holder: str) -> TargetBusy:
    what = words or claim
    return TargetBusy(
        f"{what} belongs to the active run {holder!r}: wait until it has ended, stop it or roll it back, or take it "
        f"over with `rollout start --supersede {holder}`."
    )


def check_place(batch: Batch, rev: int, epoch: int) -> None:
    if batch.epoch != epoch:
        raise Fenced(
            f"Run {batch.run!r} belongs to another controller by now (epoch {epoch}, this one has {batch.epoch}): "
            "nothing was written."
        )
    if batch.after != rev:
        raise Conflict(
            f"Run {batch.run!r} stands at event {rev}, not at {batch.after}: somebody else wrote first; read again."
        )


def check_whole(run: str, kept: float | None) -> None:
    if kept is not None:
        raise KeptAsReport(f"Of run {run!r} only its report is kept: nothing can be appended to its journal.")


def check_cut(cut: Cut, rev: int, epoch: int, active: bool, heir: str | None) -> None:
    """*heir*: an active run that took this one over or back, if there is one."""
    if cut.epoch != epoch:
        raise Fenced(f"Run {cut.run!r} was taken up since (epoch {epoch}, not {cut.epoch}): its journal stays whole.")
    if cut.rev != rev:
        raise Conflict(f"Run {cut.run!r} went on since (event {rev}, not {cut.rev}): its journal stays whole.")
    if active:
        raise Conflict(f"Run {cut.run!r} is active: its journal stays whole.")
    if heir is not None:
        raise Conflict(f"The active run {heir!r} refers to {cut.run!r}: its journal stays whole.")


def check_entries(cut: Cut, hashes: Sequence[str], head: str) -> None:
    """What is not as it was written stays, for whoever wants to know what became of it."""
    if len(hashes) != cut.rev or not hashes or hashes[-1] != head:
        raise Conflict(f"The journal of run {cut.run!r} is not what was written: it stays as it is.")


def check_epoch(write: FlagWrite, epoch: int) -> None:
    if write.epoch is not None and write.epoch != epoch:
        raise Fenced(
            f"Run {write.run!r} belongs to another controller by now (epoch {epoch}, this one has {write.epoch}): flag "
            f"{write.document.key!r} was not written."
        )


def not_claimed(run: str, name: str) -> Fenced:
    return Fenced(f"Run {run!r} is not claimed by controller {name!r}: another one acts for it, or nobody yet.")


def lapsed(name: str) -> Fenced:
    return Fenced(f"The lease of controller {name!r} has lapsed: it acts for no run until it has begun a new one.")


def already_answered(run: str, key: str) -> Conflict:
    return Conflict(f"Run {run!r} has answered the command with idempotency key {key!r} already; ask for that answer.")


def check_version(write: FlagWrite, stored: Version | None) -> None:
    if stored == write.expected:
        return
    flag = f"Flag {write.document.key!r} in {write.document.environment!r}"
    if stored is None:
        raise Conflict(f"{flag} does not exist, version {write.expected} was expected; read it again.")
    if write.expected is None:
        raise Conflict(f"{flag} exists already, with version {stored}; read it again.")
    raise Conflict(f"{flag} has version {stored}, not {write.expected}: somebody else changed it first; read it again.")


def numbered(write: FlagWrite, version: Version, at: float) -> FlagRecord:
    document = replace(write.document, version=version)
    return FlagRecord(document, write.by, write.reason, float(at), write.run, write.effect)
