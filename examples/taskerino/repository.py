"""The app's git repository: what runs today, and the release that the plan brings.

`app` beside this file is the release. What ran before it had no caches, no queue and no migration.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "app"
RELEASED_LATER = (
    "src/services/enrichment/EnrichmentResultCache.ts",
    "src/services/enrichment/MemoizationCache.ts",
    "src/services/enrichment/ParallelEnrichmentQueue.ts",
    "src/migrations",
    "docs/sessions-rewrite",
)
BEFORE, RELEASE = "0.9.0", "0.10.0"
NAMES = {"NAME": "Taskerino", "EMAIL": "taskerino@example.org"}


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
    before = _commit(origin, "The app as it runs")
    git(folder, "clone", "--quiet", str(origin), str(checkout))
    shutil.copytree(SOURCES, origin, dirs_exist_ok=True)
    _commit(origin, "Enrich sessions in parallel, and from caches")
    return Repository(origin, checkout, before)


def git(folder: Path, *words: str) -> str:
    """Under a name of its own: whoever runs the example needs no settings of git."""
    done = subprocess.run(
        ["git", "-C", str(folder), *words],  # noqa: S607 - the git of whoever runs the example
        env={**os.environ, **identity()},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def identity() -> dict[str, str]:
    return {f"GIT_{who}_{what}": said for who in ("AUTHOR", "COMMITTER") for what, said in NAMES.items()}


def _commit(folder: Path, subject: str) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", subject)
    return git(folder, "rev-parse", "HEAD")
