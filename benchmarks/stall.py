"""How a controller of many runs comes back from standing still: a machine that paused, or had no time for it.

Every run is judged by three criteria every 15 s, each question shared by five runs (``_fleet.py``). The controller is
stopped (SIGSTOP) for twenty seconds and goes on with every look overdue. Measured in windows of five seconds: by how
much looks are late, 99 times of 100 at most, and how many questions reach the server. It is back in the first window in
which they are late by less than a second. That runs share their questions while they are late as they do on time is
what lets it come back: what is asked then, in the time that it took, stands beside what is asked in as long before.
"""

import os
import signal
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
LONGEST_SECONDS = 300.0
Window = dict[str, float]


def run(quick: bool) -> dict[str, Any]:
    runs, stopped = (QUICK, QUICK_STOPPED_SECONDS) if quick else (USUAL, STOPPED_SECONDS)
    with (
        tempfile.TemporaryDirectory(prefix="rollout-stall-") as folder,
        stored_fleet_of(runs, Path(folder)) as fleet,
    ):
        before = _until_on_time(fleet)
        usual = _window(fleet, EVERY_SECONDS)
        os.kill(fleet.life.pid, signal.SIGSTOP)
        time.sleep(stopped)
        os.kill(fleet.life.pid, signal.SIGCONT)
        after = _until_on_time(fleet)
    back = after[-1]["at"] if _is_on_time(after[-1]) else None
    return {
        "runs": runs,
        "stopped_s": stopped,
        "started_s": before[-1]["at"] if _is_on_time(before[-1]) else None,
        "seconds": back,
        "late_p99_s": usual["late_p99_s"],
        "most_late_p99_s": max(one["late_p99_s"] for one in after),
        "asked_per_s": usual["asked_per_s"],
        "asked_per_s_late": round(sum(one["asked_per_s"] for one in after) / len(after), 1),
        "cores": usual["cores"],
        "windows": after,
        "load": load(),
        "machine": machine(),
        "versions": versions(),
    }


def table(result: dict[str, Any]) -> str:
    def shown(seconds: float | None) -> str:
        return f"not within {LONGEST_SECONDS:g}" if seconds is None else f"{seconds:.1f}"

    heads = ("runs", "cores", "stopped, s", "on time after, s", "questions/s", "while late", "on time after start, s")
    values = (
        str(result["runs"]),
        f"{result['cores']:.2f}",
        f"{result['stopped_s']:g}",
        shown(result["seconds"]),
        f"{result['asked_per_s']:.0f}",
        f"{result['asked_per_s_late']:.0f}",
        shown(result["started_s"]),
    )
    lines = ["".join(f"{head:>24}" for head in heads), "".join(f"{value:>24}" for value in values)]
    return "\n".join([*lines, stated(result)])


def _until_on_time(fleet: Fleet) -> list[Window]:
    """Each window until looks are on time again. *at*: seconds from now to its end."""
    fleet.asked()  # what was asked before is forgotten
    began, found = time.monotonic(), list[Window]()
    while not found or (not _is_on_time(found[-1]) and found[-1]["at"] < LONGEST_SECONDS):
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


def _is_on_time(window: Window) -> bool:
    return window["late_p99_s"] < ON_TIME_SECONDS and window["asked_per_s"] > 0
