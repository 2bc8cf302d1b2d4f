"""What the files at the root promise."""

import re
import subprocess
import tomllib
from typing import Any

import pytest

from tests.support.process import ROOT


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    """Name of each locked package to its whole entry."""
    entries = re.split(r"^(?=\S)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    return {entry.split("==")[0]: entry for entry in entries if entry}


def test_the_lock_names_no_address(locked: dict[str, str]) -> None:
    assert [name for name, entry in locked.items() if "://" in entry or " @ " in entry or name.startswith("-")] == []


def test_every_locked_package_has_a_hash(locked: dict[str, str]) -> None:
    assert [name for name, entry in locked.items() if "--hash=sha256:" not in entry] == []


def test_every_dependency_is_locked(project: dict[str, Any], locked: dict[str, str]) -> None:
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[\[<>=~! ]", requirement)[0].lower().replace(".", "-") for requirement in wanted}
    assert names - set(locked) == set()


def test_make_alone_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
    assert re.findall(r"^  make ([\w-]+)", listed, re.MULTILINE) == phony[1].split()


def test_continuous_integration_runs_what_people_run() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if line.startswith("make ")] == [
        "make setup",
        "make lint",
        "make types",
        "make test && exit 0",
        'make test WORKERS=1 ARGS="--last-failed"',
    ]
    assert "set -euo pipefail" in lines
