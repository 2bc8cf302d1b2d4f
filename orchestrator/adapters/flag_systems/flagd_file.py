"""A flagd document in a file, as flagd's file source reads it.

Every byte that is not of a state or a weight stays as it is. A change holds a lock on the file's folder against other
controllers, prepares the new document beside the old one, looks once more whether the old one is still what was looked
at, and replaces it in one step: readers see the old document or the new one, whole.
"""

import asyncio
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.adapters.flag_systems import json_places
from orchestrator.adapters.flag_systems.flagd import Changes, Copy
from orchestrator.adapters.flag_systems.port import Moved
from orchestrator.adapters.kubernetes.marks import Author
from orchestrator.errors import Permanent, Temporary
from orchestrator.failpoints import Point, reach

MOST_BYTES = 16 * 1024 * 1024
LOCK_TRIES = 100
LOCK_TRY_SECONDS = 0.02


class FlagdFile:
    """Implements ``DocumentPlace``. The origin of its copies is their text."""

    is_fenced = False  # but nothing is sent: a write ends with the process

    def __init__(self, file: Path) -> None:
        self.title = str(file)
        self._file = file

    async def read(self) -> Copy:
        content = await asyncio.to_thread(self._read)
        try:
            text = content.decode()
            return Copy(json_places.parsed(text), text)
        except ValueError as problem:
            raise Temporary(f"{self.title} is no flagd document now: {problem}") from problem

    async def write(self, copy: Copy, changes: Changes, author: Author) -> None:
        text: str = copy.origin
        await asyncio.to_thread(self._replace, text.encode(), json_places.replaced(text, changes).encode())

    async def changed_by(self, key: str) -> str | None:
        return None  # a file does not say who wrote it

    def _read(self) -> bytes:
        try:
            with self._file.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise Temporary(f"{self.title} can't be read: {error.strerror}") from error
        if len(content) > MOST_BYTES:
            raise Permanent(f"{self.title} is larger than {MOST_BYTES // 1024 // 1024} MiB")
        return content

    def _replace(self, expected: bytes, content: bytes) -> None:
        """Raises ``Moved`` if the file is no longer the expected one."""
        file = self._file.resolve()  # of a link, what it leads to is replaced, and the link stays
        try:
            with _locked(file.parent), _beside(file, content) as new:
                if self._read() != expected:
                    raise Moved
                reach(Point.FLAG_FILE_WRITTEN)
                new.replace(file)
                reach(Point.FLAG_FILE_REPLACED)
                _sync(file.parent)
        except PermissionError as error:
            raise Permanent(f"{self.title} can't be replaced: {error.strerror}") from error
        except OSError as error:
            raise Temporary(f"{self.title} can't be replaced: {error.strerror}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """A lock on the folder itself, since the file is another one after each change. Goes with the process."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    """Others hold it for milliseconds; one that is stuck must not hold us too."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_TRY_SECONDS)
        else:
            return
    raise Temporary(f"another process holds the lock on {folder}")


@contextmanager
def _beside(file: Path, content: bytes) -> Iterator[Path]:
    """A file with this content, on the disk, with mode and owner of *file*. It is removed unless it was moved away."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as new:
            stat = file.stat()
            os.fchmod(handle, stat.st_mode & 0o7777)
            with suppress(PermissionError):
                os.fchown(handle, stat.st_uid, stat.st_gid)
            new.write(content)
            new.flush()
            os.fsync(handle)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """So that the new name outlives a loss of power."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
