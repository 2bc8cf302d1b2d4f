"""The app's git repository: what runs today, and the release that the plan brings.

`app` beside this file is the release. What ran before it had no caches, no queue and no migration.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from examples.git import commit, git

SOURCES = Path(__file__).parent / "app"
RELEASED_LATER = (
    "src/services/enrichment/EnrichmentResultCache.ts",
    "src/services/enrichment/MemoizationCache.ts",
    "src/services/enrichment/ParallelEnrichmentQueue.ts",
    "src/migrations",
    "docs/sessions-rewrite",
)
BEFORE, RELEASE = "0.9.0", "0.10.0"


@dataclass(frozen=True, slots=True)
class Repository:
    origin: Path
    checkout: Path
    before: str


def make(folder: Path) -> Repository:
    """*folder*: `origin` has both versions, `checkout` what runs today."""
    origin, checkout = folder / "origin", folder / "checkout"
    shutil.copytree(SOURCES, origin)
    git(origin, "init", "--quiet", "--initial-branch", "main")
    for path in RELEASED_LATER:
        (shutil.rmtree if (origin / path).is_dir() else os.remove)(origin / path)
    package = origin / "package.json"
    package.write_text(package.read_text().replace(RELEASE, BEFORE))
    service = origin / "src/services/enrichment/EnrichmentService.ts"
    lines = service.read_text().splitlines(keepends=True)
    service.write_text("".join(line for line in lines if not line.startswith("import")))
    before = commit(origin, "The app as it runs")
    git(folder, "clone", "--quiet", str(origin), str(checkout))
    shutil.copytree(SOURCES, origin, dirs_exist_ok=True)
    commit(origin, "Enrich sessions in parallel, and from caches")
    return Repository(origin, checkout, before)
