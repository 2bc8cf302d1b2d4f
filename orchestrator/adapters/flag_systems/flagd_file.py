"""Flags in a flagd document in a file, as flagd's file source reads it.

Ours to raise is a flag whose targeting is a ``fractional`` of two shares, the second one its default variant's, or an
``if`` over targets that ends in such a one. A change puts the state and the two weights, and leaves every other byte of
the document as it is.

A change holds a lock on the file's folder against other controllers, prepares the new document beside the old one,
looks once more whether the old one is still what was looked at, and replaces it in one step: readers see the old
document or the new one, whole. What was looked at is known by its SHA-256, so an edit by whatever else writes the file
is seen.
"""

import asyncio
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flags.flagd_rules import Unsayable, read_targeting
from orchestrator.adapters.flag_systems import json_places
from orchestrator.adapters.flag_systems.json_places import replaced
from orchestrator.adapters.flag_systems.port import Moved, Sight, Wish
from orchestrator.errors import Permanent, Temporary
from stages.values import Json

MOST_BYTES = 16 * 1024 * 1024
FINEST = 100_000  # weights that add up to this have a step of 0.001 %
DEEPEST = 50
LOCK_TRIES = 100
LOCK_TRY_SECONDS = 0.02
STATES = {True: '"ENABLED"', False: '"DISABLED"'}


@dataclass(frozen=True, slots=True)
class _Found:
    """The document that was read, and where in it the flag's numbers are."""

    text: str
    digest: str
    state: json_places.Path
    weights: tuple[json_places.Path, json_places.Path]
    on: int
    total: int


class FlagdFile:
    """Implements ``FlagSystem``. The parameters of its values: ``{"of": N}``, what the two weights add up to."""

    kind = "flagd"
    mark = "of"

    def __init__(self, file: Path) -> None:
        self._file = file

    async def look(self, key: str) -> Sight:
        return await asyncio.to_thread(self._look, key)

    async def changed_by(self, key: str) -> str | None:
        return None  # a file does not say who wrote it

    def is_reached(self, sight: Sight, wish: Wish) -> bool:
        """Also in what the weights add up to, where the wish can say it: a way back ends at the same bytes."""
        found: _Found = sight.detail
        return sight.enabled is wish.enabled and (found.on, found.total) == _weights(wish, found.total)

    def is_between(self, sight: Sight, before: Json, wish: Wish) -> bool:
        return False  # one write changes all of it

    async def step(self, key: str, sight: Sight, wish: Wish, run: str) -> None:
        found: _Found = sight.detail
        on, total = _weights(wish, found.total)
        first, second = found.weights
        changes = {found.state: STATES[wish.enabled], first: str(on), second: str(total - on)}
        new = replaced(found.text, changes)
        await asyncio.to_thread(self._replace, new.encode(), found.digest)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _look(self, key: str) -> Sight:
        content = self._read()
        try:
            text = content.decode()
            document = json_places.parsed(text)
        except ValueError as problem:
            raise Temporary(f"{self._file} is no flagd document now: {problem}") from problem
        flag = _flag_in(document, key)
        if flag is None:
            raise Permanent(f"there is no flag {key!r} in {self._file}; add it there, with a fractional at 0")
        try:
            return _sight(key, flag, text, hashlib.sha256(content).hexdigest())
        except Unsayable as problem:
            raise Permanent(f"{self._file}: {problem.place}: {problem}") from None

    def _read(self) -> bytes:
        try:
            with self._file.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise Temporary(f"{self._file} can't be read: {error.strerror}") from error
        if len(content) > MOST_BYTES:
            raise Permanent(f"{self._file} is larger than {MOST_BYTES // 1024 // 1024} MiB")
        return content

    # --- writing ------------------------------------------------------------------------------------------------------

    def _replace(self, content: bytes, expected: str) -> None:
        """Raises ``Moved`` if the file is no longer the expected one."""
        file = self._file.resolve()  # of a link, what it leads to is replaced, and the link stays
        try:
            with _locked(file.parent), _beside(file, content) as new:
                if hashlib.sha256(self._read()).hexdigest() != expected:
                    raise Moved
                new.replace(file)
                _sync(file.parent)
        except PermissionError as error:
            raise Permanent(f"{self._file} can't be replaced: {error.strerror}") from error
        except OSError as error:
            raise Temporary(f"{self._file} can't be replaced: {error.strerror}") from error


# --- the document -----------------------------------------------------------------------------------------------------


def _flag_in(document: Any, key: str) -> Any:
    flags = document.get("flags") if isinstance(document, dict) else None
    return flags.get(key) if isinstance(flags, dict) else None


def _sight(key: str, flag: Any, text: str, digest: str) -> Sight:
    """Raises ``Unsayable``."""
    place = f"flags.{key}"
    if not isinstance(flag, dict):
        raise Unsayable(place, "an object is expected")
    state, variants, default = flag.get("state"), flag.get("variants"), flag.get("defaultVariant")
    if state not in ("ENABLED", "DISABLED"):
        raise Unsayable(f"{place}.state", "ENABLED or DISABLED is expected")
    if not isinstance(variants, dict) or not isinstance(default, str) or default not in variants:
        raise Unsayable(f"{place}.defaultVariant", "one of the flag's variants is expected")
    rule = read_targeting(flag.get("targeting"), default, variants, f"{place}.targeting")
    where = _fraction(flag.get("targeting"))
    shares: Any = _at(flag["targeting"], where) if where is not None else None
    if where is None or not _are_two(shares, default):
        raise Unsayable(
            f"{place}.targeting",
            f"a fraction of two is expected, the default variant second, such as {_example(variants, default)}",
        )
    on, total = shares[0][1], shares[0][1] + shares[1][1]
    whole: json_places.Path = ("flags", key, "targeting", *where)
    found = _Found(text, digest, ("flags", key, "state"), ((*whole, 0, 1), (*whole, 1, 1)), on, total)
    return Sight(state == "ENABLED", rule.weight * 100 / FINEST, {"of": total}, found)


def _fraction(targeting: Any) -> json_places.Path | None:
    """The way to the shares: through what each ``if`` ends in."""
    path: json_places.Path = ()
    for _ in range(DEEPEST):
        match targeting:
            case {"fractional": list()}:
                return (*path, "fractional")
            case {"if": [*_, last] as arguments} if len(arguments) % 2:
                path, targeting = (*path, "if", len(arguments) - 1), last
            case _:
                return None
    return None


def _at(value: Any, path: json_places.Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _are_two(shares: Any, default: str) -> bool:
    match shares:
        case [[str(on), int(first)], [str(rest), int(second)]]:
            are_weights = not isinstance(first, bool) and not isinstance(second, bool)
            return are_weights and on != default == rest and min(first, second) >= 0 and first + second > 0
        case _:
            return False


def _example(variants: Mapping[str, Any], default: str) -> str:
    on = next((name for name in variants if name != default), "on")
    return f'{{"fractional": [["{on}", 0], ["{default}", 100]]}}'


def _weights(wish: Wish, total: int) -> tuple[int, int]:
    """The weight of the share, and what both add up to: as before the run or as it is where that can say it."""
    thousandths = round(wish.percentage * 1000)
    for candidate in (wish.parameters.get("of"), total):
        if isinstance(candidate, int) and candidate > 0 and thousandths * candidate % FINEST == 0:
            return thousandths * candidate // FINEST, candidate
    return thousandths, FINEST


# --- the file ---------------------------------------------------------------------------------------------------------


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
