"""What many active runs cost: one controller, three criteria a run every 15 s, each question shared by five runs.

Measured are the controller's processor time and memory, how many questions reach the server (of runs that ask the same
at the same second there is one), and how late looks are: by how much the time between two of a question is more than
15 s. How long a fixed piece of work took meanwhile is told beside them, for a virtual machine is slower at times. From
the last two numbers of runs an exponent is told: 1 is a cost that grows as the runs do; below that the cost of being
there at all still hides it. Beside it runs that all ask something different. A thousand and more are found in the store
(`_stored_fleet`), for to start them takes longer than to measure them. With `--full` the most are walked for an hour,
and measured every ten minutes.

Flagger's canaries stand beside them, with as many metrics, every 10 s (`_flagger_fleet`), where it can be built. They
are no more than a hundred, since it takes minutes to make more; compare the cost of a look, not of the whole.
"""

import math
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import _flagger_fleet
from benchmarks._flagger import INTERVAL_SECONDS
from benchmarks._fleet import ASKED, EVERY_SECONDS, Fleet, fleet_of
from benchmarks._machine import load, machine, pace_ms_over, stated, versions
from benchmarks._stored_fleet import stored_fleet_of

SETTLE_SECONDS = 2.5 * EVERY_SECONDS
QUICK, USUAL = (10, 100), (10, 100, 1000, 10_000)
APART = 1000  # of those that share nothing; more than a core can look at show how late they come, and little else
PERIODS, PERIOD_SECONDS = 6, 600.0
STORED_FROM = 1000
CANARIES, CANARY_SECONDS = 100, 60.0


def run(quick: bool, full: bool = False) -> dict[str, Any]:
    sizes, seconds = (QUICK, 2 * EVERY_SECONDS) if quick else (USUAL, 4 * EVERY_SECONDS)
    periods = {sizes[-1]: PERIODS} if full else {}
    measured = [_measured(size, seconds, periods=periods.get(size, 0)) for size in sizes]
    apart = [_measured(size, seconds, different=True) for size in dict.fromkeys((min(APART, sizes[-1]), sizes[-1]))]
    largest = measured[-1]
    peers, missing = ({}, "not measured with --quick") if quick else _peers()
    return {
        "runs": largest["runs"],
        "cores": largest["cores"],
        "rss_mb": largest["rss_mb"],
        "lateness_p99_s": largest["lateness_p99_s"],
        "by_runs": measured,
        "all_different": apart,
        "exponent": _exponent(measured),
        "peers": peers,
        "peers_missing": missing,
        "load": load(),
        "machine": machine(),
        "versions": versions(),
    }


def _peers() -> tuple[dict[str, Any], str]:
    """What was measured, and why nothing was."""
    try:
        found = _flagger_fleet.measure(CANARIES, CANARY_SECONDS)
    except (RuntimeError, AssertionError) as error:
        return {}, str(error)
    looks = found["judged"] * len(_flagger_fleet.QUERIES) / INTERVAL_SECONDS
    return {"flagger": {"runs": found["canaries"], "us_per_look": _us(found["cores"], looks), **found}}, ""


def _us(cores: float, looks_per_s: float) -> int:
    return round(cores / looks_per_s * 1e6)


def table(result: dict[str, Any]) -> str:
    heads = ("cores", "MB", "us a look", "questions a look", "late p99, s", "a fixed work, ms")
    lines = [f"{'':<28}" + "".join(f"{head:>18}" for head in heads)]
    rows = {f"{one['runs']} runs": one for one in result["by_runs"]}
    rows |= {f"  minute {one['minute']}": one for one in result["by_runs"][-1].get("later", ())}
    rows |= {f"{one['runs']} runs, all different": one for one in result["all_different"]}
    rows |= {f"{one['runs']} canaries of {name}": one for name, one in result["peers"].items()}
    for words, one in rows.items():
        numbers = (f"{one['cores']:.3f}", one["rss_mb"], one["us_per_look"], f"{one['asked_share']:.2f}")
        rest = (f"{one['lateness_p99_s']:.2f}", one.get("pace_ms", ""))
        lines.append(f"{words:<28}" + "".join(f"{number:>18}" for number in (*numbers, *rest)))
    lines += [
        f"{name}: its API server and store spend {one['api_server_cores']:.3f} cores more"
        for name, one in result["peers"].items()
    ]
    if result["peers_missing"]:
        lines.append(f"Flagger: {result['peers_missing']}")
    lines.append(f"cost grows as runs to the power of {result['exponent']:.2f}")
    lines.append(stated(result))
    return "\n".join(lines)


def _measured(runs: int, seconds: float, *, different: bool = False, periods: int = 0) -> dict[str, Any]:
    print(f"scale: {runs} runs{', all different' if different else ''}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="rollout-scale-") as name, ExitStack() as stack:
        if runs >= STORED_FROM:
            fleet = stack.enter_context(stored_fleet_of(runs, Path(name), different=different))
        else:
            fleet = stack.enter_context(fleet_of(runs, Path(name), different=different))
            fleet.start_all()
        time.sleep(SETTLE_SECONDS)
        measured = {"runs": fleet.runs, **_steady(fleet, seconds)}
        return measured | ({"later": _later(fleet, periods)} if periods else {})


def _later(fleet: Fleet, periods: int) -> list[dict[str, Any]]:
    found = []
    for number in range(1, periods + 1):
        found.append({"minute": round(number * PERIOD_SECONDS / 60), **_steady(fleet, PERIOD_SECONDS)})
        print(f"scale: {found[-1]}", file=sys.stderr)
    return found


def _steady(fleet: Fleet, seconds: float) -> dict[str, Any]:
    fleet.asked()
    began, spent = time.monotonic(), fleet.processor_seconds
    pace_ms = pace_ms_over(seconds)
    passed, spent = time.monotonic() - began, fleet.processor_seconds - spent
    asked = fleet.asked()
    looks = fleet.runs * len(ASKED) * passed / EVERY_SECONDS
    return {
        "cores": round(spent / passed, 3),
        "us_per_look": _us(spent, looks),
        "rss_mb": round(fleet.memory_mib * 1.048576),
        "lateness_p99_s": round(max(asked["gap_p99_ms"] / 1000 - EVERY_SECONDS, 0.0), 2),
        "asked_share": round(asked["count"] / looks, 2),
        "pace_ms": pace_ms,
    }


def _exponent(measured: list[dict[str, Any]]) -> float:
    """Slope of the logarithm of the cores over that of the runs."""
    few, many = measured[-2:]
    return round(math.log(many["cores"] / max(few["cores"], 1e-3)) / math.log(many["runs"] / few["runs"]), 2)
