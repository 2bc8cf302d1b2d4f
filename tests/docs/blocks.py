"""The blocks of code in the pages that people read: fenced, or set in by four columns."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import ROOT

_FENCE = re.compile(r"^( *)```(\w*)\s*$")
_INDENT = "    "


@dataclass(frozen=True, slots=True)
class Block:
    """*language*: what stands behind the fence; ``indented`` for a block without one."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """But for docs/reference, which a test of its own makes again from the models."""
    examples = sorted((ROOT / "examples").glob("*/README.md"))
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), *examples]


def blocks() -> list[Block]:
    return [block for page in pages() for block in blocks_of(str(page.relative_to(ROOT)), page.read_text())]


def blocks_of(page: str, text: str) -> Iterator[Block]:
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence:
            end = next(row for row in range(at + 1, len(lines)) if lines[row].strip() == "```")
            content = [line.removeprefix(fence[1]) for line in lines[at + 1 : end]]
            yield Block(page, at + 2, fence[2], "\n".join(content) + "\n")
            at = end + 1
        elif lines[at].startswith(_INDENT) and not lines[at - 1].strip():
            end = next((row for row in range(at, len(lines)) if not _goes_on(lines, row)), len(lines))
            yield Block(page, at + 1, "indented", "\n".join(line[4:] for line in lines[at:end]).rstrip() + "\n")
            at = end
        else:
            at += 1


def _goes_on(lines: list[str], row: int) -> bool:
    return lines[row].startswith(_INDENT) or not lines[row].strip()
