"""The lock that keeps a second controller off the same store: ``flock`` on ``<path>.lock``, which ends with its holder.

The file stays when the lock goes (removing it would race with whoever opens it); only a held lock means anything.
"""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path

from orchestrator.errors import StoreError, StoreHeld


class FileLock:
    def __init__(self, path: Path) -> None:
        """Raises StoreHeld if another controller holds it. The file then says which: its pid and when it began."""
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise StoreError(
                f"The lock {path} can't be opened ({problem.strerror}): check folder and rights."
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._holder()
            os.close(self._file)
            raise StoreHeld(_held(path, holder)) from None
        except OSError as problem:
            os.close(self._file)
            raise StoreError(f"The lock {path} can't be taken: {problem.strerror}; use a local disk.") from None
        with contextlib.suppress(OSError):  # no room to say who holds it: held it is all the same
            self._sign({"pid": os.getpid(), "started": time.time()})

    def release(self) -> None:
        os.close(self._file)  # which gives the lock up too

    def _sign(self, holder: dict[str, float]) -> None:
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(holder).encode(), 0)

    def _holder(self) -> str:
        """Of a lock that somebody else holds; he may be about to sign."""
        try:
            return str(int(json.loads(os.pread(self._file, 4096, 0))["pid"]))
        except (ValueError, KeyError, TypeError):
            return "unknown"


def _held(path: Path, pid: str) -> str:
    store = path.with_name(path.name.removesuffix(".lock"))
    return (
        f"Another controller (pid {pid}) holds the store {store}: use that one, or end it first, or give this one "
        "a store of its own with ROLLOUT_STORE."
    )
