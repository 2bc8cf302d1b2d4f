"""``giflab deps``."""

# ruff: noqa: INP001 - tests of the tool
import importlib
import json
from pathlib import Path

import pytest

cli = importlib.import_module("giflab.cli")
lazy_imports = importlib.import_module("giflab.lazy_imports")
KNOWN = ("sqlite3", "hashlib", "PIL", "matplotlib", "rich")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIFLAB_HOME", str(tmp_path))
    (tmp_path / "collector").mkdir()
    return tmp_path


@pytest.mark.parametrize("action", ("check", "status"))
def test_all_that_is_known_is_told(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["deps", action, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert tuple(told["dependencies"]) == KNOWN
    assert told["memory"]["reported"] is True


@pytest.mark.parametrize("name", KNOWN)
def test_there_is_help_for(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["deps", "install-help", name]) == 0
    assert capsys.readouterr().out == f"{name}: {lazy_imports.help_for(name)}\n"


def test_what_nothing_needs_is_refused_with_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["deps", "install-help", "abacus"]) == 1
    assert "nothing needs abacus; known are sqlite3" in capsys.readouterr().err


def test_verbose_has_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["deps", "check", "--verbose"]) == 0
    assert "memory monitoring: {" in capsys.readouterr().out


def test_a_collector_that_takes_nothing_is_told_of(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "collector").rmdir()
    assert cli.main(["deps", "status", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["memory"]["reported"] is False
    assert "the collector takes no report" in told.err
