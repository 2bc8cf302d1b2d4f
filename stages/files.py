"""The files that travel with a plan: SQL, and the first word of a command where it is a path relative to the plan."""

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stages.actions import Action, ApplyAction, CommandAction, JobAction, SqlAction
from stages.checks import Source
from stages.data_loss import losses
from stages.kinds.backfill import BackfillStage, table_of
from stages.kinds.base import Backup
from stages.kinds.migration import Migration, MigrationStage
from stages.manifests import job_of, objects_of
from stages.problems import Path
from stages.success import SuccessCriterion
from stages.walk import Place

MAX_FILE_BYTES = 1 << 20
SQL = ".sql"
_COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
MAX_BYTES = 8 << 20

ReadFile = Callable[[str], bytes]  # raises OSError


def named_files(places: Iterable[Place]) -> Iterator[tuple[str, Path]]:
    """Every path to bundle, as written, with where it is named."""
    for place in places:
        part: Any = place.part
        if isinstance(part, SqlAction):
            yield from _present(place.path, sql=part.sql, down=part.down)
        elif isinstance(part, Migration):
            yield from _present(place.path, up=part.up, down=part.down)
            yield from _commands(place.path, command=part.command, probe=part.probe)
        elif isinstance(part, BackfillStage):
            yield from _present(place.path, update=part.update)
        elif isinstance(part, ApplyAction):
            yield from _present(place.path, apply=part.apply)
        elif isinstance(part, JobAction):
            yield from _present(place.path, job=part.job)
        elif isinstance(part, CommandAction):
            yield from _commands(place.path, command=part.command, observe=part.observe, probe=part.probe)
        elif isinstance(part, Source | Backup | SuccessCriterion):
            yield from _commands(place.path, command=part.command)
        if isinstance(part, Action) and isinstance(part.undo, tuple):
            yield from _commands(place.path, undo=part.undo)


def _present(path: Path, **files: str | None) -> Iterator[tuple[str, Path]]:
    return ((file, (*path, name)) for name, file in files.items() if file is not None)


def _commands(path: Path, **commands: tuple[str, ...] | None) -> Iterator[tuple[str, Path]]:
    for name, words in commands.items():
        if words and "/" in words[0] and not words[0].startswith("/"):
            yield words[0], (*path, name, 0)


@dataclass(slots=True)
class Bundle:
    """Reads each file once, within the limits. ``files`` maps a path as written to its text."""

    read_file: ReadFile
    files: dict[str, str] = field(default_factory=dict)
    size: int = 0
    _failed: dict[str, str] = field(default_factory=dict)

    def add(self, path: str) -> str | None:
        """The reason why the file cannot travel along, or None if it does."""
        if path in self._failed:
            return self._failed[path]
        if path in self.files:
            return None
        reason = self._read(path)
        if reason is not None:
            self._failed[path] = reason
        return reason

    def _read(self, path: str) -> str | None:
        if posixpath.normpath(path).startswith("../"):
            return f"{path} lies outside the plan's folder; files that travel with a plan lie beside it or beneath"
        try:
            content = self.read_file(path)
        except FileNotFoundError:
            return f"there is no file {path} (paths are relative to the plan)"
        except IsADirectoryError:
            return f"{path} is a folder; a file is expected"
        except (OSError, ValueError) as error:
            return f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        return self._take(path, content)

    def _take(self, path: str, content: bytes) -> str | None:
        if len(content) > MAX_FILE_BYTES:
            return f"{path} has more than 1 MiB; name a large program by its absolute path"
        if self.size + len(content) > MAX_BYTES:
            return f"with {path} the files of the plan have more than 8 MiB"
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            if path.endswith(SQL):
                line = content.count(b"\n", 0, error.start) + 1
                return f"{path}, line {line}: this is no UTF-8; save the file as UTF-8"
            return f"{path} is no UTF-8 text; name a binary program by its absolute path"
        if path.endswith(SQL) and not _COMMENTS.sub("", text).strip("; \t\r\n\ufeff"):
            return f"{path} has no statement in it; write one, or take the file out of the plan"
        self.size += len(content)
        self.files[path] = text
        return None


def bundle_findings(bundle: Bundle, places: Iterable[Place]) -> Iterator[tuple[Path, str]]:
    places = tuple(places)
    for file, path in named_files(places):
        reason = bundle.add(file)
        if reason is not None:
            yield path, reason
    for place in places:
        if isinstance(place.part, BackfillStage) and place.part.update in bundle.files:
            yield from _backfill(place.part, place.path, bundle)
        if isinstance(place.part, ApplyAction | JobAction):
            yield from _manifest(place.part, place.path, bundle)
        if isinstance(place.part, MigrationStage) and place.part.on_rollback == "down":
            yield from _data_loss(place.part, place.path, bundle)


def _manifest(action: ApplyAction | JobAction, path: Path, bundle: Bundle) -> Iterator[tuple[Path, str]]:
    field, file, read = (
        ("apply", action.apply, objects_of) if isinstance(action, ApplyAction) else ("job", action.job, job_of)
    )
    if file not in bundle.files:
        return
    try:
        read(bundle.files[file])
    except ValueError as error:
        yield (*path, field), f"{file}: {error}"


def _data_loss(stage: MigrationStage, path: Path, bundle: Bundle) -> Iterator[tuple[Path, str]]:
    """A rollback drops nothing by itself that the plan does not allow it to."""
    if stage.allow_data_loss:
        return
    for index, entry in enumerate(stage.migrations):
        lost = losses(bundle.files.get(entry.down or "", "")) if entry.stays is None else []
        if lost:
            message = (
                f"with on_rollback: down, a rollback runs {entry.down} by itself, which drops {', '.join(lost)}; "
                "allow_data_loss: true allows it, on_rollback: {ask: ...} leaves it to a person"
            )
            yield (*path, "migrations", index, "down"), message


def _backfill(stage: BackfillStage, path: Path, bundle: Bundle) -> Iterator[tuple[Path, str]]:
    try:
        table_of(bundle.files[stage.update])
    except ValueError as error:
        yield (*path, "update"), f"{stage.update}: {error}"
