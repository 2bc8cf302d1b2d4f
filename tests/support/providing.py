"""Running what provides the tests' own needs (``.ci/provide``), as on a machine that a test has made."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

LIMIT_SECONDS = 60.0


def provided(script: Path, *arguments: str | Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """With nothing of our own environment but what is in *environment*."""
    return subprocess.run(
        [sys.executable, script, *arguments],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
