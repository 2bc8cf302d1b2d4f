"""What SQLite's errors mean to somebody who runs a rollout."""

from pathlib import Path

import apsw

from orchestrator.errors import StoreError


def as_store_error(problem: Exception, path: Path) -> StoreError:
    return StoreError(f"The store {path} {_sentence(problem)}")


def _sentence(problem: Exception) -> str:
    match problem:
        case apsw.FullError():
            return "is out of room: nothing was written; free some disk space, the controller then goes on by itself."
        case apsw.NotADBError():
            return "is not a database: restore it from a backup, or move it away to begin with an empty one."
        case apsw.CorruptError():
            return (
                f"is corrupted ({problem}): stop the controller, then restore the store from a backup, "
                "or move it away to begin with an empty one."
            )
        case apsw.BusyError() | apsw.LockedError():
            return "is kept busy by another program, nothing was written: close whatever else writes to it."
        case apsw.CantOpenError() | apsw.PermissionsError() | apsw.ReadOnlyError() | apsw.AuthError():
            return f"can't be opened or written ({problem}): check that its folder exists and the rights of this user."
        case apsw.IOError():
            return f"met an error of its disk ({problem}), nothing was written: check the disk and the room on it."
        case _:
            return f"failed: {problem}."
