"""The files that travelled with a plan, laid out on this machine so that they can be run.

Each set of files has a folder of its own, named by their digest and laid out as they stood around the plan. It is
checked at every use: a folder that a power cut or somebody's hand left different is made anew.
"""

import hashlib
import json
import os
import posixpath
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import Permanent, Temporary


class Bundles:
    """All sets of files, under *root*."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def place(self, files: Mapping[str, str]) -> Path:
        """The folder that stands for the plan's own, with *files* (relative path -> text) in it, all executable."""
        wanted = {normal(path): text for path, text in files.items()}
        digest = hashlib.sha256(json.dumps(sorted(wanted.items())).encode()).hexdigest()[:32]
        target = self._root / digest
        base = target.joinpath(*["up"] * _levels_up(wanted))
        if not _is_as_wanted(base, wanted):
            try:
                self._make(target, base, wanted)
            except OSError as problem:
                raise Temporary(f"the plan's files cannot be laid out in {target}: {problem.strerror}") from problem
        return base

    def _make(self, target: Path, base: Path, wanted: Mapping[str, str]) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".new-", dir=self._root))
        try:
            start = made / base.relative_to(target)
            start.mkdir(parents=True, exist_ok=True)
            for path, text in wanted.items():
                file = Path(os.path.normpath(start / path))
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(text.encode())
                file.chmod(0o700)
            self._swap_in(made, target, base, wanted)
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _swap_in(self, made: Path, target: Path, base: Path, wanted: Mapping[str, str]) -> None:
        for _ in range(3):  # another controller on this machine may do the same right now
            try:
                made.rename(target)
            except OSError:
                if _is_as_wanted(base, wanted):
                    return
                shutil.rmtree(target, ignore_errors=True)
            else:
                return
        raise Permanent(f"the plan's files cannot be laid out in {target}; is something else writing there?")


def normal(path: str) -> str:
    return posixpath.normpath(path)


def _levels_up(wanted: Mapping[str, str]) -> int:
    """How far above the plan its files reach: ``../shared/x.sh`` is one level up."""
    for path in wanted:
        if path.startswith("/"):
            raise Permanent(f"{path} travelled with the plan under an absolute path; submit the plan again")
    return max((path.split("/").count("..") for path in wanted), default=0)


def _is_as_wanted(base: Path, wanted: Mapping[str, str]) -> bool:
    try:
        return base.is_dir() and all((base / path).read_bytes() == text.encode() for path, text in wanted.items())
    except OSError:
        return False
