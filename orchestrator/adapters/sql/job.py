"""What a database is asked to do with one SQL file, and what its row of bookkeeping says about that."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.adapters.sql.text import Dialect, Statement, split
from orchestrator.errors import Permanent
from stages.effects import RunSql

TABLE = "rollout_migrations"


class Uncertain(Exception):
    """The connection was lost while the transaction was committed, and nobody can be asked about it now."""


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

    def statements(self, dialect: Dialect) -> list[Statement]:
        try:
            return split(self.operation.sql, dialect)
        except Permanent as problem:
            raise Permanent(f"{self.file}, {problem}") from None

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
