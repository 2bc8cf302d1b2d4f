"""What a controller and a command write down beside results has a bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli import crash, hosting
from orchestrator.cli.crash import keep_traceback
from orchestrator.cli.hosting import LogFile


def test_a_log_that_has_become_large_is_set_aside_once_and_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "MOST_LOG_BYTES", 100)
    path = tmp_path / "controller.log"
    with path.open("a", encoding="utf-8", buffering=1) as stream:
        log = LogFile(path, stream)
        for number in range(10):
            log.write(f"{number} {'x' * 40}\n")
    kept = path.with_name("controller.log.1").read_text() + path.read_text()
    assert kept.endswith(f"9 {'x' * 40}\n")
    assert {one.name for one in tmp_path.iterdir()} == {"controller.log", "controller.log.1"}
    assert len(kept) < 300
    assert path.stat().st_mode & 0o077 == 0


def test_tracebacks_of_commands_are_kept_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash, "MOST_BYTES", 1000)
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path))
    for number in range(50):
        assert keep_traceback(ValueError(f"number {number}")) == tmp_path / "errors.log"
    kept = sum(one.stat().st_size for one in tmp_path.iterdir())
    assert kept < 3000
    assert "number 49" in (tmp_path / "errors.log").read_text()
