"""A disk whose power can be cut: what was not synced by then may be there, or not, or in part.

`PowerCutDisk` is a layer over SQLite's own access to files (a VFS). It passes everything on, and remembers of each file
what the last sync made durable and what was written since. `after_cut` lays the files out as a machine may find them
when it is switched on again.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512


@dataclass
class _Remembered:
    durable: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes] | int] = field(default_factory=list)  # writes, and sizes that it was cut to

    def settle(self) -> None:
        for change in self.since:
            _apply(self.durable, change)
        self.since.clear()


def _apply(content: bytearray, change: tuple[int, bytes] | int) -> None:
    if isinstance(change, int):
        del content[change:]
        return
    offset, data = change
    if len(content) < offset:
        content += bytes(offset - len(content))
    content[offset : offset + len(data)] = data


class PowerCutDisk(apsw.VFS):
    """The default way to files while it is entered. At the *cut_at*-th write or sync, `at_cut` is called once."""

    def __init__(self, name: str, cut_at: int) -> None:
        self._base = apsw.vfs_names()[0]
        super().__init__(name, self._base, makedefault=True)
        self._lock = threading.Lock()
        self._files: dict[str, _Remembered] = {}
        self._left = cut_at
        self.frozen: dict[str, _Remembered] | None = None
        self.at_cut: Callable[[], None] = lambda: None

    def xOpen(self, name: Any, flags: list[int]) -> "_File":  # noqa: N802 - SQLite's names, here and below
        return _File(self, self._base, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        with self._lock:
            self._files.pop(filename, None)

    def remember(self, path: str) -> _Remembered:
        with self._lock:
            if path not in self._files:
                there = Path(path)
                self._files[path] = _Remembered(bytearray(there.read_bytes() if there.exists() else b""))
            return self._files[path]

    def changed(self, path: str, change: tuple[int, bytes] | int | None) -> None:
        """*change* is about to be made to a file; None: what was is about to be synced."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self.at_cut()
                self.frozen = {
                    name: _Remembered(bytearray(one.durable), list(one.since)) for name, one in self._files.items()
                }
            file = self._files[path]
            if change is None:
                file.settle()
            else:
                file.since.append(change)

    def after_cut(self, folder: Path, dice: random.Random) -> None:
        """The files as they may be found, into *folder*: a part of what was not synced is there, in any order, and of
        one write perhaps only some sectors."""
        assert self.frozen is not None, "the power was not cut"
        for name, file in self.frozen.items():
            content = bytearray(file.durable)
            share = dice.choice((0.0, 0.0, 0.5, 0.9, 1.0))
            for change in file.since:
                if dice.random() < share:
                    _apply(content, _torn(change, dice) if dice.random() < 0.1 else change)
            (folder / Path(name).name).write_bytes(content)


def _torn(change: tuple[int, bytes] | int, dice: random.Random) -> tuple[int, bytes] | int:
    if isinstance(change, int):
        return change
    offset, data = change
    return offset, data[: dice.randrange(len(data) // SECTOR + 1) * SECTOR]


class _File(apsw.VFSFile):
    def __init__(self, disk: PowerCutDisk, base: str, name: Any, flags: list[int]) -> None:
        super().__init__(base, name, flags)
        self._disk = disk
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        disk.remember(self._path)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.changed(self._path, (offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._disk.changed(self._path, newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._disk.changed(self._path, None)
