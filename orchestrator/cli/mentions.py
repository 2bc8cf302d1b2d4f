"""Where a folder's files name flags: the places to look at before a flag is taken out of the code."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.errors import UsageError

MOST_BYTES = 1 << 20
MOST_PLACES = 20  # of one flag
_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "build", "dist", "target"})


def mentions(folder: Path, keys: Sequence[str]) -> dict[str, list[str]]:
    """Key -> ``path:line: text`` of the lines that have it as a word. Hidden folders, what was built or installed, and
    files that are large or no text are left out."""
    if not folder.is_dir():
        raise UsageError(f"--search {folder}: there is no such folder")
    found: dict[str, list[str]] = {key: [] for key in keys}
    if not keys:
        return found
    longest_first = sorted(keys, key=len, reverse=True)
    word = re.compile(r"(?<![\w.-])(" + "|".join(map(re.escape, longest_first)) + r")(?![\w-])")
    for path in _files(folder):
        for number, line in enumerate(_lines(path), 1):
            for key in dict.fromkeys(word.findall(line)):
                if len(found[key]) < MOST_PLACES:
                    found[key].append(f"{path.relative_to(folder)}:{number}: {line.strip()[:120]}")
    return found


def _files(folder: Path) -> Iterator[Path]:
    for at, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith(".") and one not in _SKIPPED)
        yield from (Path(at) / name for name in sorted(files))


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > MOST_BYTES:
            return []
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
