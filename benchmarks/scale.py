"""What many active runs cost: one controller, three criteria a run every 15 s, each question shared by five runs.

Measured are the controller's processor time and memory, how many questions reach the server (of runs that ask the same
at the same second there is one), and how late looks are: by how much the time between two of a question is more than
15 s. From the last two numbers of runs an exponent is told: 1 is a cost that grows as the runs do; below that the cost
of being there at all still hides it. Beside it the same number of runs that all ask something different.
"""

import math
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._fleet import EVERY_SECONDS, Fleet, fleet_of

SETTLE_SECONDS = 2.5 * EVERY_SECONDS
QUICK, USUAL, FULL = (10, 100), (10, 100, 1000), (10, 100, 1000, 10_000)


def run(quick: bool, full: bool = False) -> dict[str, Any]:
    sizes, seconds = (QUICK, 2 * EVERY_SECONDS) if quick else (FULL if full else USUAL, 4 * EVERY_SECONDS)
    measured = [_measured(size, seconds, different=False) for size in sizes]
    apart = _measured(sizes[-1], seconds, different=True)
    largest = measured[-1]
    return {
        "runs": largest["runs"],
        "cores": largest["cores"],
        "rss_mb": largest["rss_mb"],
        "lateness_p99_s": largest["lateness_p99_s"],
        "by_runs": measured,
        "all_different": apart,
        "exponent": _exponent(measured),
        "peers": {},
        "load": [round(number, 1) for number in os.getloadavg()],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "versions": {"python": platform.python_version()},
    }


def table(result: dict[str, Any]) -> str:
    lines = [f"{'runs':<22}{'cores':>8}{'MB':>8}{'questions a look':>18}{'late p99, s':>13}{'starts/s':>10}"]
    for one in (*result["by_runs"], {**result["all_different"], "apart": True}):
        words = f"{one['runs']}{', all different' if one.get('apart') else ''}"
        lines.append(
            f"{words:<22}{one['cores']:>8.3f}{one['rss_mb']:>8.0f}{one['asked_share']:>18.2f}"
            f"{one['lateness_p99_s']:>13.2f}{one['starts_per_s']:>10.1f}"
        )
    lines.append(f"cost grows as runs to the power of {result['exponent']:.2f}")
    lines.append(f"{result['machine']}; load {', '.join(map(str, result['load']))}")
    return "\n".join(lines)


def _measured(runs: int, seconds: float, *, different: bool) -> dict[str, Any]:
    print(f"scale: {runs} runs{', all different' if different else ''}", file=sys.stderr)
    with (
        tempfile.TemporaryDirectory(prefix="rollout-scale-") as folder,
        fleet_of(runs, Path(folder), different=different) as fleet,
    ):
        starts = fleet.start_all()
        time.sleep(SETTLE_SECONDS)
        return {"runs": runs, "starts_per_s": round(starts, 1), **_steady(fleet, seconds)}


def _steady(fleet: Fleet, seconds: float) -> dict[str, Any]:
    fleet.asked()
    began, spent = time.monotonic(), fleet.processor_seconds
    time.sleep(seconds)
    passed, spent = time.monotonic() - began, fleet.processor_seconds - spent
    asked = fleet.asked()
    looks = fleet.runs * 3 * passed / EVERY_SECONDS
    return {
        "cores": round(spent / passed, 3),
        "rss_mb": round(fleet.memory_mib * 1.048576),
        "lateness_p99_s": round(max(asked["gap_p99_ms"] / 1000 - EVERY_SECONDS, 0.0), 2),
        "asked_share": round(asked["count"] / looks, 2),
    }


def _exponent(measured: list[dict[str, Any]]) -> float:
    """Slope of the logarithm of the cores over that of the runs."""
    few, many = measured[-2:]
    return round(math.log(many["cores"] / max(few["cores"], 1e-3)) / math.log(many["runs"] / few["runs"]), 2)
