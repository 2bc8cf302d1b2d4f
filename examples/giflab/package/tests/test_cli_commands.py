"""Every command answers, and says what is amiss and what to do."""

# ruff: noqa: INP001 - tests of the tool
import importlib
from pathlib import Path

import pytest

cli = importlib.import_module("giflab.cli")
frames = importlib.import_module("giflab.frames")
gif = importlib.import_module("giflab.gif")
COMMANDS = (
    "cache",
    "deps",
    "metrics",
    "organize-directories",
    "run",
    "select-pipelines",
    "tag",
    "validate",
    "view-failures",
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIFLAB_HOME", str(tmp_path))
    for name in ("inbox", "collector"):
        (tmp_path / name).mkdir()
    for number in range(3):
        gif.write(tmp_path / "inbox" / f"{number}.gif", [frames.Frame((bytes(range(number, number + 8)),) * 8)])
    return tmp_path


def test_these_are_all() -> None:
    assert tuple(cli.COMMANDS) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_tells_of_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: giflab {command}" in capsys.readouterr().out


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("command", [one for one in COMMANDS if one != "deps"])
def test_a_command_works(command: str) -> None:
    assert cli.main(["run"]) == 0
    assert cli.main([command]) == 0


@pytest.mark.parametrize("command", [one for one in COMMANDS if one != "deps"])
def test_settings_that_cannot_be_read_are_named(home: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "config.json").write_text("{")
    assert cli.main([command]) == 1
    assert "config.json can't be read" in capsys.readouterr().err


@pytest.mark.parametrize("number", range(3))
def test_a_gif_that_is_broken_is_a_failure_until_it_is_mended(
    home: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "inbox" / f"{number}.gif").write_bytes(b"GIF89a")
    assert cli.main(["run"]) == 1
    capsys.readouterr()
    cli.main([COMMANDS[-1]])
    assert f"{number}.gif: {number}.gif ends too early" in capsys.readouterr().out
    (home / "inbox" / f"{number}.gif").unlink()
    assert cli.main(["run"]) == 0
    cli.main([COMMANDS[-1]])
    assert f"{number}.gif" not in capsys.readouterr().out.partition("failed")[2]
