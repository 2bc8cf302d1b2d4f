"""Alembic projects in a folder of the test's own, and plans over them."""

import shutil
import sys
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent / "fixtures"
ALEMBIC = [sys.executable, "-m", "alembic"]


class Project:
    """A copy of a fixture, with which a test may do what it likes."""

    def __init__(self, fixture: str, folder: Path) -> None:
        self.folder = folder / fixture
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(FIXTURES / fixture, self.folder, ignore=ignored)

    def add(self, revision: str, below: str, upgrade: str, downgrade: str = "pass") -> None:
        """One more revision, of Python statements."""
        text = (
            f'"""revision {revision}"""\n\nimport time  # noqa: F401\n\nfrom alembic import op  # noqa: F401\n\n'
            f"revision = {revision!r}\ndown_revision = {below!r}\n\n\n"
            f"def upgrade():\n    {upgrade}\n\n\ndef downgrade():\n    {downgrade}\n"
        )
        (self.folder / "versions" / f"{revision}_added.py").write_text(text)

    def alembic(self, **fields: Any) -> dict[str, Any]:
        """``alembic:`` of a stage."""
        return {"dir": str(self.folder), "command": ALEMBIC, **fields}
