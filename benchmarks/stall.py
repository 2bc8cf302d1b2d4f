"""How a controller of many runs comes back from standing still: a machine that paused, or had no time for it.

Every run is judged by three criteria every 15 s, each question shared by five runs (``_fleet.py``). The controller is
stopped (SIGSTOP) for twenty seconds and goes on with every look overdue. Measured in windows of five seconds: by how
much looks are late, 99 times of 100 at most, and how many questions reach the server. It is back with the first window
of a whole interval in which they are late by less than a second. How many questions a second are asked while it is
late stands beside how many are on time: runs that ask the same share a question then too, or it would not come back.
"""

import math
import os
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._fleet import EVERY_SECONDS, Fleet
from benchmarks._machine import load, machine, stated, versions
from benchmarks._stored_fleet import stored_fleet_of

QUICK, USUAL = 100, 10_000  # runs
STOPPED_SECONDS, QUICK_STOPPED_SECONDS = 20.0, 16.0
WINDOW_SECONDS = 5.0
ON_TIME_SECONDS = 1.0
SETTLE_SECONDS = 2.5 * EVERY_SECONDS
LONGEST_SECONDS = 300.0
INTERVAL = math.ceil(EVERY_SECONDS / WINDOW_SECONDS)  # in windows
Window = dict[str, float]


def run(quick: bool) -> dict[str, Any]:
    runs, stopped = (QUICK, QUICK_STOPPED_SECONDS) if quick else (USUAL, STOPPED_SECONDS)
    with (
        tempfile.TemporaryDirectory(prefix="rollout-stall-") as folder,
        stored_fleet_of(runs, Path(folder)) as fleet,
    ):
        if not quick:
            time.sleep(SETTLE_SECONDS)
            _until_on_time(fleet)
        usual = _window(fleet, EVERY_SECONDS)
        os.kill(fleet.life.pid, signal.SIGSTOP)
        time.sleep(stopped)
        os.kill(fleet.life.pid, signal.SIGCONT)
        after = _until_on_time(fleet)
    return {
        "runs": runs,
        "stopped_s": stopped,
        "seconds": after[-INTERVAL]["at"] if _are_on_time(after) else None,
        "late_p99_s": usual["late_p99_s"],
        "most_late_p99_s": max(one["late_p99_s"] for one in after),
        "asked_per_s": usual["asked_per_s"],
        "asked_per_s_late": round(statistics.fmean(one["asked_per_s"] for one in after), 1),
        "cores": usual["cores"],
        "windows": after,
        "load": load(),
        "machine": machine(),
        "versions": versions(),
    }


def table(result: dict[str, Any]) -> str:
    def shown(seconds: float | None) -> str:
        return f"not within {LONGEST_SECONDS:g}" if seconds is None else f"{seconds:.1f}"

    heads = ("runs", "cores", "stopped, s", "on time after, s", "questions/s", "while late")
    values = (
        str(result["runs"]),
        f"{result['cores']:.2f}",
        f"{result['stopped_s']:g}",
        shown(result["seconds"]),
        f"{result['asked_per_s']:.0f}",
        f"{result['asked_per_s_late']:.0f}",
    )
    lines = ["".join(f"{head:>24}" for head in heads), "".join(f"{value:>24}" for value in values)]
    return "\n".join([*lines, stated(result)])


def _until_on_time(fleet: Fleet) -> list[Window]:
    """Each window until looks have been on time for an interval. *at*: seconds from now to its end."""
    fleet.asked()  # what was asked before is forgotten
    began, found = time.monotonic(), list[Window]()
    while not found or (not _are_on_time(found) and found[-1]["at"] < LONGEST_SECONDS):
        seen = _window(fleet, WINDOW_SECONDS)
        found.append({"at": round(time.monotonic() - began, 1), **seen})
    return found


def _window(fleet: Fleet, seconds: float) -> Window:
    began, spent = time.monotonic(), fleet.processor_seconds
    time.sleep(seconds)
    asked, passed = fleet.asked(), time.monotonic() - began
    return {
        "late_p99_s": round(max(asked["gap_p99_ms"] / 1000 - EVERY_SECONDS, 0.0), 2),
        "asked_per_s": round(asked["count"] / passed, 1),
        "cores": round((fleet.processor_seconds - spent) / passed, 2),
    }


def _are_on_time(windows: list[Window]) -> bool:
    newest = windows[-INTERVAL:]
    return len(newest) == INTERVAL and all(one["late_p99_s"] < ON_TIME_SECONDS for one in newest)
