"""What a database is asked to do with one SQL file, and what its rows of bookkeeping say about that."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.adapters.sql.text import Dialect, Statement, split
from orchestrator.errors import Permanent
from stages.effects import RunSql

TABLE = "rollout_migrations"
PROGRESS = "rollout_migration_progress"
APPLIED_BY_OTHERS = (
    f"if somebody else applied this file, take that back, write IF NOT EXISTS, or note it in {TABLE} as applied by hand"
)


class Uncertain(Exception):
    """Something may have happened, and nobody can be asked about it now."""


class PartlyRun(Permanent):
    """Some statements of a file ran, and the next was refused."""

    def __init__(self, detail: str, statements: int) -> None:
        super().__init__(detail)
        self.statements = statements


@dataclass(frozen=True, slots=True)
class Standing:
    """The *checksum* with which a file is applied; *statements* counts those of one that is half way."""

    checksum: str | None = None
    statements: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a file has come that runs in steps: *done* of its statements, and the next if it was *begun*.

    *digest* is that of the texts of all these.
    """

    direction: str
    digest: str
    done: int
    begun: bool = False

    @property
    def statements(self) -> int:
        return self.done + self.begun


def digest_of(statements: Sequence[Statement]) -> str:
    return hashlib.sha256("\0".join(statement.text for statement in statements).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Job:
    """One SQL file to run, for one effect of one run."""

    operation: RunSql
    effect: str
    run: str

    @property
    def name(self) -> str:
        return self.operation.name

    @property
    def file(self) -> str:
        """For sentences: which file's text is run."""
        return self.name if self.operation.direction == "up" else f"the down file of {self.name}"

    @property
    def is_up(self) -> bool:
        return self.operation.direction == "up"

    @property
    def neighbours(self) -> tuple[str, ...]:
        return self.operation.after + self.operation.before

    def statements(self, dialect: Dialect) -> list[Statement]:
        try:
            statements = split(self.operation.sql, dialect)
        except Permanent as problem:
            raise Permanent(f"{self.file}, {problem}") from None
        if not statements:
            raise Permanent(f"{self.file} has no statement in it; write one, or take the file out of the plan")
        return statements

    def settled(self, applied: str | None) -> str | None:
        """Why nothing is to be done, given the *applied* checksum in the row; None if the file is to be run."""
        operation = self.operation
        if applied is None:
            return f"{self.name} is not applied" if operation.direction == "down" else None
        if applied != operation.checksum:
            raise Permanent(
                f"{self.name} was applied with other contents (checksum {applied[:12]}, now {operation.checksum[:12]});"
                " put the file back as it was, and the change into a new one"
            )
        return f"{self.name} is applied" if operation.direction == "up" else None

    def check_order(self, applied: Sequence[str]) -> None:
        """Refuse what is not linear. *applied* are the neighbours that are applied, in the order in which they were."""
        operation = self.operation
        missing = [name for name in operation.after if name not in applied]
        if missing:
            raise Permanent(
                f"{self.name} comes after {missing[0]} in the plan, which is not applied in this database; apply that "
                f"first (if it was applied by hand, note it in {TABLE})"
            )
        later = [name for name in applied if name in operation.before]
        if later:
            raise Permanent(
                f"{self.name} is new, but {later[0]}, which comes after it in the plan, is applied already; "
                "new files go to the end: list it behind what is applied"
            )
        wanted = [name for name in operation.after if name in applied]
        for ours, theirs in zip(wanted, applied, strict=True):
            if ours != theirs:
                raise Permanent(
                    f"the plan lists {ours} before {theirs}, but {theirs} was applied first; "
                    "list the files in the order in which they were applied"
                )


class Stop:
    """Asks a thread to stop: it is woken from waiting, and what it waits for in the database is cancelled."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._cancel: Callable[[], None] | None = None

    @property
    def asked(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait so long; True as soon as it is asked."""
        return self._event.wait(seconds)

    def arm(self, cancel: Callable[[], None] | None) -> None:
        """What to call, from another thread, when it is asked; None while there is nothing that may be cancelled."""
        with self._lock:
            self._cancel = cancel

    def ask(self) -> None:
        self._event.set()
        with self._lock:
            if self._cancel is not None:
                self._cancel()
