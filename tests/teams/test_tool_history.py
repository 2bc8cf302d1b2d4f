"""The scripts of the tool history's plan that change the repository, on a repository like the team's."""

import os
import subprocess
from pathlib import Path

import pytest

from examples.git import git
from examples.tool_history.repository import DOCUMENTS, HERE, make_repository

NOBODY = {f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    make_repository(tmp_path)
    return tmp_path / "work"


def script(work: Path, name: str, *words: str) -> str:
    command: list[str | Path] = [HERE / "scripts" / name, *words]
    done = subprocess.run(command, cwd=work, env=os.environ | NOBODY, capture_output=True, text=True, check=True)
    return str(done.stdout).strip()


def test_the_change_has_as_many_lines_as_the_checklist_says(work: Path) -> None:
    assert script(work, "added.sh", "backend") == "1736"
    assert script(work, "added.sh", "PHASE4_*.md") == str(sum(DOCUMENTS.values())) == "2306"


def test_what_was_pushed_is_reverted_once_and_what_others_pushed_stays(work: Path) -> None:
    before = script(work, "main.sh")
    script(work, "push.sh")
    script(work, "push.sh")
    assert git(work, "rev-list", "--count", f"{before}..origin/main") == "1"
    git(work, "checkout", "--quiet", "-B", "other", "origin/main")
    (work / "other.txt").write_text("somebody else's\n")
    git(work, "add", "other.txt")
    git(work, "-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "-m", "Something else")
    git(work, "push", "--quiet", "origin", "other:main")
    with pytest.raises(subprocess.CalledProcessError):
        script(work, "is-reverted.sh", before)
    script(work, "revert.sh", before)
    script(work, "revert.sh", before)
    script(work, "is-reverted.sh", before)
    assert git(work, "diff", "--name-only", before, script(work, "main.sh")) == "other.txt"
    assert git(work, "rev-list", "--count", f"{before}..origin/main") == "3"
