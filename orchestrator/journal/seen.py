"""The newest version of a flag that a store gave out, in a small file beside it.

A store that is restored from a backup does not know that it was; this file does, for it was not restored with it. It
is a hint and no record: what can't be read or written is passed over, with a line in the log.
"""

import os
from pathlib import Path

import structlog

from flags.errors import FlagError
from flags.model import Version

log = structlog.get_logger()


class SeenFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._newest: Version | None = None

    def read(self) -> Version | None:
        try:
            self._newest = Version.parse(self.path.read_text(encoding="ascii").strip())
        except FileNotFoundError:
            pass
        except (OSError, ValueError, FlagError) as problem:
            log.warning("flags.seen_unreadable", path=str(self.path), error=str(problem))
        return self._newest

    def note(self, version: Version) -> None:
        """Replaced as a whole; not synced, for a version that is lost with the machine's power is one write."""
        if self._newest is not None and version <= self._newest:
            return
        self._newest = version
        made = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            made.write_text(f"{version}\n", encoding="ascii")
            made.replace(self.path)
        except OSError as problem:
            log.warning("flags.seen_unwritable", path=str(self.path), error=str(problem))
