"""git, as the repositories of the examples are made with it."""

import os
import subprocess
from pathlib import Path

_IDENTITY = {
    f"GIT_{who}_{what}": said
    for who in ("AUTHOR", "COMMITTER")
    for what, said in (("NAME", "A team"), ("EMAIL", "team@example.org"))
}


def git(folder: Path, *words: str) -> str:
    """What it says. Under a name of its own: whoever runs an example needs no settings of git. Raises RuntimeError."""
    done = subprocess.run(
        ["git", "-C", str(folder), *words],  # noqa: S607 - the git of whoever runs the example
        env={**os.environ, **_IDENTITY},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def commit(folder: Path, subject: str) -> str:
    """Everything that is there; the commit's name."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", subject)
    return git(folder, "rev-parse", "HEAD")
