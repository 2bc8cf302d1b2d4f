"""The kill switch: a latch above all flag documents, kept in one small file that needs no store.

Theory of operation. A latch belongs to an environment, or with ``*`` to all of them. Lifting removes it; lifting less
than it covers (one flag, or one environment of ``*``) leaves it set with an exception. A flag is killed if any latch
covers it, so whatever several people and processes set adds up. Setting a latch again forgets its exceptions.

Controllers of one store have a file each, and merge them: a latch is known by its place, who set it and when, so the
union of two files is that of their latches and exceptions, without the latches that either has seen lifted. What one
lifts while another sets it anew stays set.

The file is replaced atomically and synced with its folder, so a crash leaves the old or the new one; changes are made
under a lock beside it, and re-read what others wrote first. Asking costs one ``stat``: the file is parsed again only
when that shows another one.

**Whatever can't be read counts as killed, everywhere.** A switch whose position nobody knows must not turn things on:
a file that is damaged, unreadable or of a newer version reads as a latch on ``*`` whose reason says what is wrong and
how it is lifted. A file that was never there is a switch never used; one that vanishes while a process looks at it
stays, for that process, as it was: removing a file is not the way to lift.
"""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from orchestrator.errors import StoreError
from orchestrator.failpoints import Point, reach
from orchestrator.ports import Latch
from stages.values import Part

EVERYWHERE: Final = "*"
_MOST_NOTES: Final = 100
_MOST_LIFTED: Final = 1000
_LOCK_SECONDS: Final = 1.0
_GUESSED: Final = ("controller", 0.0)  # by whom and when a latch was set that stands for a file that can't be read


class Exemption(Part):
    """What a latch leaves out: a whole environment, or one flag in it (in all, with ``*``)."""

    environment: str
    key: str | None = None


class StoredLatch(Part):
    """Over all flags, or over *keys* alone; over permanent ones only with *include_permanent*."""

    environment: str
    by: str
    reason: str
    at: float
    keys: tuple[str, ...] = ()
    include_permanent: bool = False
    exemptions: tuple[Exemption, ...] = ()

    def covers(self, environment: str, key: str | None, *, permanent: bool = False) -> bool:
        """Without a *key*: whether the environment as a whole is killed, single flags aside."""
        if self.environment not in {EVERYWHERE, environment} or (permanent and not self.include_permanent):
            return False
        if self.keys and key not in self.keys:
            return False
        return not any(
            one.environment in {EVERYWHERE, environment} and one.key in {None, key} for one in self.exemptions
        )

    @property
    def identity(self) -> str:
        """Of the latch that was set then: set again at its place it is another."""
        return "/".join((self.environment, *self.keys, self.by, repr(self.at)))

    @property
    def place(self) -> tuple[str, tuple[str, ...]]:
        """A latch that is set again at its place is the same one."""
        return (self.environment, self.keys)

    def shown(self) -> Latch:
        return Latch(self.environment, self.by, self.reason, self.at, self.keys, self.include_permanent)

    def without(self, environment: str, key: str | None) -> "StoredLatch | None":
        if environment not in {EVERYWHERE, self.environment} and self.environment != EVERYWHERE:
            return self
        if key is None and environment in {EVERYWHERE, self.environment}:
            return None
        exemption = Exemption(environment=environment, key=key)
        return self if exemption in self.exemptions else self.exempting(exemption)

    def exempting(self, *more: Exemption) -> "StoredLatch":
        found = sorted({*self.exemptions, *more}, key=lambda one: (one.environment, one.key or ""))
        return self.model_copy(update={"exemptions": tuple(found)})


class Note(Part):
    """Who did what; the newest are kept in the file, for whoever looks there."""

    what: Literal["disabled", "lifted"]
    environment: str
    key: str | None = None
    by: str
    reason: str
    at: float

    def order(self) -> tuple[float, str, str, str, str, str]:
        """Oldest first, and of one moment the same order everywhere: else controllers would overwrite each other's
        text for ever."""
        return (self.at, self.what, self.environment, self.key or "", self.by, self.reason)


class Position(Part):
    """How the switch stands: the file's content."""

    version: Literal[1] = 1
    revision: int = Field(default=0, ge=0)
    latches: tuple[StoredLatch, ...] = ()
    notes: tuple[Note, ...] = Field(default=(), max_length=_MOST_NOTES)
    lifted_latches: tuple[str, ...] = Field(default=(), max_length=_MOST_LIFTED)  # identities, the newest last

    def killed(self, environment: str, key: str | None, permanent: bool) -> bool:
        return any(latch.covers(environment, key, permanent=permanent) for latch in self.latches)

    def disabled(self, latch: StoredLatch) -> "Position":
        note = Note(what="disabled", environment=latch.environment, by=latch.by, reason=latch.reason, at=latch.at)
        return self._with((*(one for one in self.latches if one.place != latch.place), latch), note)

    def lifted(self, note: Note) -> "Position":
        left = (latch.without(note.environment, note.key) for latch in self.latches)
        return self._with(tuple(latch for latch in left if latch is not None), note)

    def merged(self, other: "Position") -> "Position":
        """Of both, see ``KillSwitch.merge``."""
        gone = {*self.lifted_latches, *other.lifted_latches}
        found: dict[str, StoredLatch] = {}
        for latch in (*self.latches, *other.latches):
            if latch.identity not in gone:
                known = found.get(latch.identity, latch)
                found[latch.identity] = latch.exempting(*known.exemptions)
        latches = _ordered(found.values())
        notes = sorted({*self.notes, *other.notes}, key=Note.order)
        newest = max(self.revision, other.revision)
        is_known = all(one.latches == latches for one in (self, other) if one.revision == newest)
        return Position(
            revision=newest if is_known else newest + 1,
            latches=latches,
            notes=tuple(notes[-_MOST_NOTES:]),
            lifted_latches=tuple(sorted(gone, key=_age)[-_MOST_LIFTED:]),
        )

    def shown(self) -> tuple[Latch, ...]:
        return tuple(one.shown() for one in self.latches)

    def _with(self, latches: tuple[StoredLatch, ...], note: Note) -> "Position":
        """The revision is a time in milliseconds, so that it rises over a file that somebody removed as well."""
        here = {latch.identity for latch in latches}
        gone = {*self.lifted_latches, *(latch.identity for latch in self.latches)} - here
        return Position(
            revision=max(self.revision + 1, int(note.at * 1000)),
            latches=_ordered(latches),
            notes=(*self.notes, note)[-_MOST_NOTES:],
            lifted_latches=tuple(sorted(gone, key=_age)[-_MOST_LIFTED:]),
        )


def _ordered(latches: Iterable[StoredLatch]) -> tuple[StoredLatch, ...]:
    return tuple(sorted(latches, key=lambda latch: (latch.place, latch.at, latch.by)))


def _age(identity: str) -> tuple[float, str]:
    return float(identity.rpartition("/")[2]), identity


def _read(text: str | None) -> Position:
    if text is None:
        return Position()
    try:
        return Position.model_validate_json(text)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        raise StoreError(
            f"the kill switch in the store can't be read ({first['msg']}): was it written by a newer controller? "
            "Each controller goes by its own file until then"
        ) from None


def _stored(latch: Latch) -> StoredLatch:
    return StoredLatch(
        environment=latch.environment,
        by=latch.by,
        reason=latch.reason,
        at=latch.at,
        keys=tuple(sorted(latch.keys)),
        include_permanent=latch.include_permanent,
    )


class MemoryKillSwitch:
    """For tests and the simulation."""

    def __init__(self) -> None:
        self._position = Position()

    def latches(self) -> tuple[Latch, ...]:
        return self._position.shown()

    def revision(self) -> int:
        return self._position.revision

    def is_killed(self, environment: str, key: str | None = None, *, permanent: bool = False) -> bool:
        return self._position.killed(environment, key, permanent)

    def disable_all(self, latch: Latch) -> None:
        self._position = self._position.disabled(_stored(latch))

    def lift(self, environment: str, by: str, reason: str, at: float, key: str | None = None) -> None:
        note = Note(what="lifted", environment=environment, key=key, by=by, reason=reason, at=at)
        self._position = self._position.lifted(note)

    def merge(self, text: str | None) -> str | None:
        self._position = self._position.merged(_read(text))
        return self._position.model_dump_json() if self._position.revision else None


_Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Look:
    """What the file was when it was last read; ``signature`` None: it was not there, or could not be read."""

    signature: _Signature | None = None
    position: Position = field(default_factory=Position)


class FileKillSwitch:
    """One file, shared by whatever processes of this machine use it. What can't be read counts as killed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._look = _Look()
        self._unwritten: tuple[StoredLatch, ...] = ()  # set here while the file could not be written

    def latches(self) -> tuple[Latch, ...]:
        return self._position().shown()

    def revision(self) -> int:
        return self._position().revision

    def is_killed(self, environment: str, key: str | None = None, *, permanent: bool = False) -> bool:
        position = self._position()
        return bool(position.latches) and position.killed(environment, key, permanent)

    def disable_all(self, latch: Latch) -> None:
        """If the file can't be written, raises StoreError, and the latch holds for as long as this process lives."""
        stored = _stored(latch)
        self._unwritten = (*(one for one in self._unwritten if one.place != stored.place), stored)
        with self._locked():  # got or not: killing waits for nobody
            self._write(self._position())

    def lift(self, environment: str, by: str, reason: str, at: float, key: str | None = None) -> None:
        """Raises StoreError if the file can't be written or another process keeps it locked: nothing is lifted then.

        Lifting ``*`` lifts every latch there is. Lifting what no latch covers does nothing.
        """
        note = Note(what="lifted", environment=environment, key=key, by=by, reason=reason, at=at)
        with self._locked() as mine:
            if not mine:
                raise StoreError(f"The kill switch {self.path} is being changed by another process: try again.")
            position = self._position()
            if any(latch.without(environment, key) is not latch for latch in position.latches):
                self._write(position.lifted(note))

    def merge(self, text: str | None) -> str | None:
        """See ``KillSwitch.merge``. A file that can't be read is a matter of this controller alone: nothing is merged.
        Raises StoreError if it can't be written, or *text* can't be read.
        """
        other, position = _read(text), self._position()
        if any((latch.by, latch.at) == _GUESSED for latch in position.latches):
            return text
        if position.merged(other) != position:
            with self._locked() as mine:
                if not mine:
                    raise StoreError(f"The kill switch {self.path} is being changed by another process.")
                position = self._position().merged(other)
                self._write(position)
        return position.model_dump_json() if position.revision else None

    def _position(self) -> Position:
        try:
            if _signature(os.stat(self.path)) != self._look.signature:  # noqa: PTH116 - faster, asked at every evaluation
                self._look = self._read()
        except FileNotFoundError:  # never used, or removed: it stays as it was
            pass
        except OSError:
            self._look = self._read()
        position = self._look.position
        for latch in self._unwritten:
            position = position.disabled(latch)
        return position

    def _read(self) -> _Look:
        try:
            with self.path.open("rb") as file:
                signature = _signature(os.fstat(file.fileno()))
                return _Look(signature, self._parsed(file.read()))
        except FileNotFoundError:
            return self._look
        except OSError as problem:
            return _Look(None, self._unknown(problem.strerror or "unreadable"))

    def _parsed(self, text: bytes) -> Position:
        try:
            return Position.model_validate_json(text)
        except ValidationError as problem:
            first = problem.errors(include_url=False)[0]
            return self._unknown(f"{'.'.join(map(str, first['loc'])) or 'the document'}: {first['msg']}")

    def _unknown(self, problem: str) -> Position:
        reason = (
            f"the kill switch {self.path} can't be read ({problem}), so everything counts as killed; "
            "`rollout flag lift` writes it anew"
        )
        by, at = _GUESSED
        latches = (StoredLatch(environment=EVERYWHERE, by=by, reason=reason, at=at),)
        if self._look.position.latches == latches:
            return self._look.position
        return Position(revision=max(self._look.position.revision + 1, self._touched_ms()), latches=latches)

    def _touched_ms(self) -> int:
        try:
            return int(self.path.stat().st_mtime * 1000)
        except OSError:
            return 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
        """Whether the lock was got: nobody holds it for longer than a write takes, unless it is frozen."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield False
            return
        try:
            yield _got(lock)
        finally:
            os.close(lock)

    def _write(self, position: Position) -> None:
        try:
            self._replace(position.model_dump_json(indent=2).encode())
        except OSError as problem:
            raise StoreError(
                f"The kill switch {self.path} can't be written ({problem.strerror}): check its folder and the disk. "
                "What was killed by this process stays killed while it lives."
            ) from None
        self._unwritten = ()
        self._look = self._read()

    def _replace(self, text: bytes) -> None:
        reach(Point.SWITCH_BEFORE)
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with open(handle, "wb") as file:  # noqa: PTH123 - it is open already
                file.write(text)
                file.flush()
                reach(Point.SWITCH_WRITTEN)
                os.fsync(file.fileno())
            reach(Point.SWITCH_SYNCED)
            os.replace(name, self.path)  # noqa: PTH105
            reach(Point.SWITCH_REPLACED)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)  # noqa: PTH108
            raise
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        reach(Point.SWITCH_AFTER)


def _signature(stat: os.stat_result) -> _Signature:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _got(lock: int) -> bool:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True
