"""What stands in for the tool: its repository, its poetry, and the script that reads its log."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.giflab import repository
from examples.git import git

HERE = Path(repository.__file__).parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> repository.Repository:
    return repository.make(tmp_path_factory.mktemp("giflab") / "origin")


def told(folder: Path, *words: str, **variables: str) -> str:
    path = os.pathsep.join([str(HERE / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {**os.environ, "PATH": path, **variables}
    return subprocess.run(words, cwd=folder, env=own, capture_output=True, text=True, check=True).stdout


def test_each_branch_has_one_fault(made: repository.Repository) -> None:
    for branch, (file, _, _) in repository.FAULTS.items():
        assert git(made.origin, "diff", "--name-only", made.release, branch) == str(file)


def test_a_checkout_is_what_runs_today_and_the_release_exchanges_it(
    made: repository.Repository, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    repository.clone(made, checkout)
    told(checkout, "poetry", "install")
    before = told(checkout, "poetry", "run", "python", "-m", "giflab", "--help")
    assert "debug-failures" in before
    assert "deps" not in before
    told(checkout, str(HERE / "scripts" / "release.sh"), "install", "release", "--no-dev", RELEASE="origin/main")
    assert told(checkout, "poetry", "show") == f"giflab 0.2.0 {made.release} main\n"
    assert told(checkout, str(HERE / "scripts" / "commands.sh"), "deps status", "debug-failures") == "1\n"
    assert git(checkout, "status", "--porcelain") == ""


def test_errors_in_the_log_count_since_the_installed_version_is_used(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "giflab.log").write_text(
        "1 ERROR run error: old\n2 INFO now giflab 0.2.0\n3 ERROR run error: new\n4 ERROR run import_error: new\n"
    )
    script = str(HERE / "scripts" / "log-errors.sh")
    assert told(tmp_path, script, GIFLAB_HOME=str(tmp_path)) == "2\n"
    assert told(tmp_path, script, "import_error", GIFLAB_HOME=str(tmp_path)) == "1\n"
