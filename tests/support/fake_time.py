"""The wall clock of one process, set by a test (libfaketime). Its other clocks go on as they are."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import ROOT

PROVIDER = ROOT / ".ci" / "provide" / "faketime"
_FILE = "clock"


def provide_faketime() -> Path:
    """The library, fetched the first time; RuntimeError with the reason where it can't be had."""
    done = subprocess.run([sys.executable, PROVIDER], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError((done.stderr or "no libfaketime").strip().splitlines()[-1])
    return Path(done.stdout.strip().splitlines()[-1])


def with_clock(library: Path) -> dict[str, str]:
    """The environment of a process whose clock a `Clock` in its working folder sets."""
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": _FILE,
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",  # its name in older versions
        "FAKETIME_DISABLE_SHM": "1",  # else processes share one
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # with it, Python's threads wait for each other for ever so long
        "NO_FAKE_STAT": "1",
    }


@dataclass(frozen=True)
class Clock:
    """Of the processes that work in *folder*."""

    folder: Path

    def ahead(self, seconds: float) -> None:
        """By so much of the real one, from now on; negative behind it."""
        arriving = self.folder / f".{_FILE}"
        arriving.write_text(f"{seconds:+.0f}\n")
        arriving.replace(self.folder / _FILE)
