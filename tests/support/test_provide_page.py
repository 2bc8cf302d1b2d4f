"""`.ci/provide/page` with stand-ins for Node.js and npm."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import ROOT
from tests.support.providing import provided

PROVIDE = ROOT / ".ci" / "provide"
NPM = "#!/bin/sh\n/bin/mkdir -p node_modules/typescript/bin\n"
NODE = """#!/bin/sh
[ "$1" = --version ] && { echo v20.1.0; exit 0; }
echo "$@" >> "$NODE_CALLS"
[ -z "$NODE_FAILS" ] || { echo "src/main.tsx: something is wrong" >&2; exit 1; }
[ "$1" = build.mjs ] || exit 0
/bin/head -c "${SCRIPT_BYTES:-100}" /dev/urandom > "$2/page-1.js"
echo "body {}" > "$2/page-1.css"
"""


class Machine:
    """A clone with sources of a page, an empty cache folder, and what stands in for Node.js on PATH."""

    def __init__(self, folder: Path) -> None:
        self.script = folder / ".ci" / "provide" / "page"
        self.script.parent.mkdir(parents=True)
        for name in ("page", "node", "providing.py"):
            shutil.copyfile(PROVIDE / name, self.script.with_name(name))
        self.web = folder / "orchestrator" / "web"
        (self.web / "src" / "pages").mkdir(parents=True)
        for name in ("build.mjs", "package.json", "package-lock.json", "tsconfig.json", "src/main.tsx"):
            (self.web / name).write_text("{}")
        self.path = folder / "bin"
        self.path.mkdir()
        self.calls = folder / "calls"
        self.calls.touch()
        self.environment = {
            "PATH": str(self.path),
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "NODE_CALLS": str(self.calls),
        }
        self.put("node", NODE)
        self.put("npm", NPM)

    def put(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o755)

    def provide(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return provided(self.script, *arguments, environment=self.environment | environment)

    @property
    def builds(self) -> int:
        return self.calls.read_text().count("build.mjs")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_was_built_is_named_with_the_size_that_a_browser_fetches(machine: Machine) -> None:
    done = machine.provide()
    assert done.returncode == 0, done.stderr
    dist = Path(done.stdout.splitlines()[-1])
    assert dist == machine.web / "dist"
    assert {file.name for file in dist.iterdir()} == {"page-1.js", "page-1.css", "sources.sha256"}
    assert "page-1.js 0.1 kB gzipped" in done.stderr
    assert [file.name for file in machine.web.iterdir() if file.name.startswith("dist.")] == []


def test_nothing_is_built_while_nothing_changed(machine: Machine) -> None:
    first = machine.provide()
    (machine.path / "node").unlink()  # nobody needs it now
    second = machine.provide()
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert machine.builds == 1


@pytest.mark.parametrize("change", ("src/pages/new.tsx", "build.mjs"))
def test_a_change_of_any_source_is_built(machine: Machine, change: str) -> None:
    machine.provide()
    (machine.web / change).write_text("other")
    assert machine.provide().returncode == 0
    assert machine.builds == 2


def test_a_source_that_is_renamed_is_built(machine: Machine) -> None:
    machine.provide()
    (machine.web / "src" / "main.tsx").rename(machine.web / "src" / "other.tsx")
    machine.provide()
    assert machine.builds == 2


def test_packages_of_another_lock_take_the_place_of_those_before(machine: Machine) -> None:
    machine.provide()
    before = (machine.web / "node_modules").readlink()
    (machine.web / "package-lock.json").write_text("[]")
    machine.provide()
    after = (machine.web / "node_modules").readlink()
    assert after != before
    assert after.is_dir()


def test_without_node_one_sentence_says_what_is_served_instead(machine: Machine) -> None:
    (machine.path / "node").unlink()
    done = machine.provide()
    assert (done.returncode, done.stdout) == (1, "")
    assert "none on PATH" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("the controller serves pages without a script")


def test_sources_that_are_wrong_are_told_apart_and_leave_what_was_built(machine: Machine) -> None:
    machine.provide()
    (machine.web / "src" / "main.tsx").write_text("wrong")
    done = machine.provide(NODE_FAILS="yes")
    assert (done.returncode, done.stdout) == (2, "")
    assert "something is wrong" in done.stderr
    assert (machine.web / "dist" / "page-1.js").exists()
    assert [file.name for file in machine.web.iterdir() if file.name.startswith("dist.")] == []


def test_more_than_a_telephone_should_fetch_is_wrong(machine: Machine) -> None:
    done = machine.provide(SCRIPT_BYTES="250000")
    assert done.returncode == 2
    assert "more than the 200,000" in done.stderr
    assert not (machine.web / "dist").exists()


def test_types_are_looked_at_and_nothing_is_built(machine: Machine) -> None:
    assert machine.provide("--check").returncode == 0
    assert "typescript/bin/tsc --project" in machine.calls.read_text()
    assert machine.builds == 0
    assert machine.provide("--check", NODE_FAILS="yes").returncode == 2


@pytest.mark.parametrize(
    ("target", "node", "ci", "status"),
    (("page", False, "", 2), ("setup", False, "", 0), ("setup", False, "true", 2), ("setup", True, "true", 0)),
)
def test_people_go_on_without_node_and_continuous_integration_does_not(
    machine: Machine, target: str, node: bool, ci: str, status: int
) -> None:
    folder = machine.web.parent.parent
    shutil.copyfile(ROOT / "Makefile", folder / "Makefile")
    machine.script.chmod(0o755)
    (machine.path / "python3").symlink_to(sys.executable)
    if not node:
        (machine.path / "node").unlink()
    stamp = folder / ".venv" / ".ready"
    (stamp.parent / "bin").mkdir(parents=True)
    (stamp.parent / "bin" / "python").symlink_to(sys.executable)
    stamp.touch()
    make = shutil.which("make")
    assert make is not None
    options = ("-o", ".venv/.ready")  # nothing is installed here
    environment = {**machine.environment, "CI": ci}
    done = subprocess.run(
        [make, *options, target], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stderr
