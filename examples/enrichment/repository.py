"""The backend's git repository: the commit that runs today, and the release that the plan brings.

`backend` beside this file is the release. What ran before it had the bugs that the release mends: agents that wrote
small letters where the database knows capitals, one asset a batch, answers without metrics, no migration 096.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from examples.enrichment.release import AGENTS, ENDPOINTS, PIPELINE
from examples.git import commit, git

BACKEND = Path(__file__).parent / "backend"
VERSIONS = Path("alembic") / "versions"
RELEASED_LATER = (
    VERSIONS / "096_add_enrichment_pattern_types.py",
    Path("docs") / "planning",
    Path("docs") / "api.md",
)


@dataclass(frozen=True, slots=True)
class Repository:
    folder: Path
    before: str
    release: str


def make(folder: Path) -> Repository:
    shutil.copytree(BACKEND, folder / "backend", ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "--quiet", "--initial-branch", "main")
    _go_back(folder / "backend")
    before = commit(folder, "The backend as it runs")
    shutil.copytree(BACKEND, folder / "backend", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    return Repository(folder, before, commit(folder, "Enrich assets in batches, by six agents that work"))


def clone(repository: Repository, folder: Path) -> None:
    """An environment's checkout, at what runs today."""
    git(repository.folder, "clone", "--quiet", "--no-checkout", str(repository.folder), str(folder))
    git(folder, "checkout", "--quiet", "--detach", repository.before)


def _go_back(backend: Path) -> None:
    for path in RELEASED_LATER:
        (shutil.rmtree if (backend / path).is_dir() else os.remove)(backend / path)
    for agent in (backend / AGENTS).glob("*_agent.py"):
        lines = agent.read_text().splitlines(keepends=True)
        agent.write_text(
            "".join(line.lower() if line.startswith("PATTERN_TYPE") else line for line in lines).replace(
                "pattern_type =", "PATTERN_TYPE ="
            )
        )
    _rewrite(backend / PIPELINE, "BATCH_SIZE = 10", "BATCH_SIZE = 1")
    _rewrite(backend / PIPELINE, "RUNS_BY_ITSELF = True", "RUNS_BY_ITSELF = False")
    _rewrite(backend / ENDPOINTS, '        "batches": len(batch_seconds),\n', "")
    constraint = backend / VERSIONS / "094_add_architecture_standards_unique_constraint.py"
    _rewrite(constraint, "from alembic import op\n", "import sqlalchemy as sa\nfrom alembic import op\n")


def _rewrite(file: Path, released: str, before: str) -> None:
    text = file.read_text()
    if released not in text:
        raise ValueError(f"{file.name} has no {released!r}; say here what it was before the release")
    file.write_text(text.replace(released, before))
