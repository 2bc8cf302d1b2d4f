"""How long a person waits for `rollout --help` and `rollout status`, beside a Python that does nothing.

Every round runs each command once, in turn, so that all meet the same weather. `status` is asked of a controller
that runs (``status_ms``), and read from the store when none does (``store_status_ms``). For comparison, what importing
typer and rich would cost before a line of ours has run (``typer_rich_ms``).
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._machine import machine, stated, versions

ROLLOUT = Path(sys.executable).with_name("rollout")
LIMITS_MS = {"help_ms": 150.0, "status_ms": 300.0, "store_status_ms": 300.0}
DEADLINE_SECONDS = 60.0
PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: measured}
spec:
  flags: {measured: {}}
  checks: [{name: somebody says go, manual: "Go?"}]
  stages: [{name: raise, kind: monitoring, flag: measured, percentages: [5, 50]}]
"""


def run(quick: bool) -> dict[str, Any]:
    rounds = 5 if quick else 25
    with tempfile.TemporaryDirectory(prefix="bench-cli-") as folder:
        environment = _environment(Path(folder))
        plan = Path(folder, "plan.yaml")
        plan.write_text(PLAN)
        served = _with_controller(plan, environment, rounds)
        alone = _measure({"store_status_ms": [ROLLOUT, "status", "measured"]}, environment, rounds)
    spans = {**served, **alone}
    medians = {name: round(statistics.median(measured), 1) for name, measured in spans.items()}
    return {
        **medians,
        "spread_ms": {name: [round(min(measured), 1), round(max(measured), 1)] for name, measured in spans.items()},
        "rounds": rounds,
        "machine": machine(),
        "versions": versions("staged-rollout", "typer", "rich"),
    }


def table(result: dict[str, Any]) -> str:
    words = {
        "python_ms": "python -c pass",
        "help_ms": "rollout --help",
        "status_ms": "rollout status, controller running",
        "store_status_ms": "rollout status, from the store",
        "typer_rich_ms": "python -c 'import typer, rich.table'",
    }
    lines = [
        f"Command line: milliseconds from start to end ({result['rounds']} rounds, taking turns)",
        stated(result),
        "",
        f"{'command':<40}{'median':>9}{'least':>9}{'most':>9}{'wanted':>9}",
    ]
    for name, what in words.items():
        if name not in result:
            continue
        least, most = result["spread_ms"][name]
        limit = f"{LIMITS_MS[name]:.0f}" if name in LIMITS_MS else ""
        lines.append(f"{what:<40}{result[name]:>9.1f}{least:>9.1f}{most:>9.1f}{limit:>9}")
    return "\n".join(lines)


def _with_controller(plan: Path, environment: Mapping[str, str], rounds: int) -> dict[str, list[float]]:
    """Starts a run that waits for a person, so that there is something to show and nothing else goes on."""
    serve = subprocess.Popen(
        [ROLLOUT, "serve", "--listen", "127.0.0.1:0"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await_controller(environment, serve)
        subprocess.run([ROLLOUT, "start", plan, "--detach"], env=environment, check=True, capture_output=True)
        commands: dict[str, Sequence[str | Path]] = {
            "python_ms": [sys.executable, "-c", "pass"],
            "help_ms": [ROLLOUT, "--help"],
            "status_ms": [ROLLOUT, "status", "measured"],
        }
        if {"typer", "rich"} <= versions("typer", "rich").keys():
            commands["typer_rich_ms"] = [sys.executable, "-c", "import typer, rich.table"]
        return _measure(commands, environment, rounds)
    finally:
        serve.terminate()
        serve.wait(DEADLINE_SECONDS)


def _await_controller(environment: Mapping[str, str], serve: "subprocess.Popen[bytes]") -> None:
    note = Path(environment["ROLLOUT_STATE_DIR"], "controller.json")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not note.exists():
        if serve.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("rollout serve did not start")
        time.sleep(0.05)


def _measure(
    commands: Mapping[str, Sequence[str | Path]], environment: Mapping[str, str], rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of each command in each round; the first round only warms up."""
    spans: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=DEADLINE_SECONDS)
            if number:
                spans[name].append((time.perf_counter() - began) * 1000)
    return spans


def _environment(folder: Path) -> dict[str, str]:
    """A world of its own: no controller or store of the user's has a part in this."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROLLOUT_")}
    return {**kept, "ROLLOUT_STATE_DIR": str(folder / "state"), "NO_COLOR": "1"}
