"""`.ci/provide/chromium` with stand-ins for the programs that it looks for."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import ROOT
from tests.support.providing import provided

PROVIDER = ROOT / ".ci" / "provide" / "chromium"
CHROMIUM = "#!/bin/sh\necho 'Chromium {}.0.1 built on Debian'\n"


class Machine:
    """A machine with nothing on PATH."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bin"
        self.path.mkdir()
        self.calls = folder / "calls"
        self.calls.touch()
        self.environment = {"PATH": str(self.path), "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}

    def put(self, name: str, text: str) -> Path:
        binary = self.path / name
        binary.write_text(text)
        binary.chmod(0o755)
        return binary

    def put_apt(self, *, fails_before_update: bool = False) -> None:
        """One that installs a Chromium, at once or only with new lists; and a sudo that asks for no password."""
        for name in ("env", "sh", "cat", "chmod", "grep", "true"):
            (self.path / name).symlink_to(str(shutil.which(name)))
        until = f'grep -q update "{self.calls}" || exit 100' if fails_before_update else ":"
        browser = CHROMIUM.format(150).replace("\n", "\\n")
        self.put(
            "apt-get",
            f'#!/bin/sh\necho "$@" >> "{self.calls}"\n'
            f'case "$*" in *install*) {until}; printf "{browser}" > "{self.path}/chromium"; '
            f'chmod +x "{self.path}/chromium";; esac\n',
        )
        self.put("sudo", '#!/bin/sh\nshift\nexec "$@"\n')

    def provide(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return provided(PROVIDER, *arguments, environment=self.environment | environment)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("name", ("chromium", "chromium-browser", "google-chrome"))
def test_the_one_on_path_is_taken(machine: Machine, name: str) -> None:
    binary = machine.put(name, CHROMIUM.format(140))
    assert machine.provide().stdout.splitlines()[-1] == str(binary)


def test_one_that_is_too_old_is_passed_by(machine: Machine) -> None:
    machine.put("chromium", CHROMIUM.format(90))
    newer = machine.put("google-chrome", "#!/bin/sh\necho 'Google Chrome 141.0.2'\n")
    assert machine.provide().stdout.splitlines()[-1] == str(newer)


def test_the_one_that_is_named_ends_the_search(machine: Machine) -> None:
    machine.put("chromium", CHROMIUM.format(140))
    named = machine.put("mine", CHROMIUM.format(130))
    assert machine.provide(CHROMIUM=str(named)).stdout.splitlines()[-1] == str(named)
    refused = machine.provide(CHROMIUM="/bin/echo")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "/bin/echo is no Chromium" in refused.stderr


@pytest.mark.parametrize("is_stale", (False, True))
def test_without_one_the_systems_package_is_installed_with_new_lists_if_need_be(
    machine: Machine, is_stale: bool
) -> None:
    machine.put_apt(fails_before_update=is_stale)
    done = machine.provide()
    assert done.stdout.splitlines()[-1:] == [str(machine.path / "chromium")], done.stderr
    asked = [line.split()[1] for line in machine.calls.read_text().splitlines()]
    assert asked == (["install", "update", "install"] if is_stale else ["install"])


def test_who_only_wants_to_find_one_has_nothing_installed(machine: Machine) -> None:
    machine.put_apt()
    assert machine.provide("--find").returncode == 1
    assert machine.calls.read_text() == ""


def test_without_any_way_one_sentence_says_why_and_what_to_do(machine: Machine) -> None:
    done = machine.provide()
    assert (done.returncode, done.stdout) == (1, "")
    sentence = done.stderr.splitlines()[-1]
    for part in ("none on PATH", "there is no apt-get", "Install Chromium 120 or later", "name its binary in CHROMIUM"):
        assert part in sentence


def test_who_may_not_install_is_told_so(machine: Machine) -> None:
    machine.put("apt-get", "#!/bin/sh\nexit 1\n")
    nobody = "import os, runpy, sys; os.geteuid = lambda: 1000; sys.path.insert(0, os.path.dirname(sys.argv[1]));"
    words: list[str | Path] = [
        sys.executable,
        "-c",
        f"{nobody} runpy.run_path(sys.argv.pop(), run_name='__main__')",
        PROVIDER,
    ]
    done = subprocess.run(words, env=machine.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "only root may install packages" in done.stderr
