"""Says hostile words to the command line, in this process."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.cli import main
from tests.hostile.shapes import Command


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


def say(command: Command, folder: Path) -> Said:
    """In a folder of its own, without settings of the user's and without a terminal."""
    for name, content in command.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ROLLOUT_SERVER", "ROLLOUT_TOKEN", "ROLLOUT_STORE", "ROLLOUT_CACERT"):
            patch.delenv(name, raising=False)
        for name, value in {"ROLLOUT_STATE_DIR": str(folder / "state"), **command.environment}.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        patch.setattr("sys.stdin", io.StringIO(""))
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(command.arguments)
            except SystemExit as ended:  # argparse's own
                code = int(ended.code or 0)
    return Said(code, out.getvalue(), err.getvalue())
