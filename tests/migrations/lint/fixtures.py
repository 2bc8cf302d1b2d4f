"""The SQL beside this module: one file for each thing that is found, and migrations in which nothing may be found.

A file of ``families`` says in its first lines what it stands for: ``-- family: ...``, ``-- item: ...`` and the rules
that find it, ``-- finds: RULE, RULE``.
"""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.sql.text import Dialect

FOLDER = Path(__file__).with_name("fixtures")


@dataclass(frozen=True, slots=True)
class Fixture:
    path: Path
    dialect: Dialect

    @property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def name(self) -> str:
        return f"{self.dialect}: {self.path.stem}"

    def said(self, word: str) -> str:
        mark = f"-- {word}: "
        return next(line.removeprefix(mark) for line in self.text.splitlines() if line.startswith(mark))

    @property
    def rules(self) -> set[str]:
        return set(self.said("finds").split(", "))


def fixtures(kind: str) -> list[Fixture]:
    """Of *kind* ``families`` or ``harmless``."""
    return [
        Fixture(path, dialect)
        for dialect in Dialect
        for path in sorted((FOLDER / kind / dialect.lower()).glob("*.sql"))
    ]
