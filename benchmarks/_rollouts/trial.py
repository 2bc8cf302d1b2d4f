"""One rollout: a service of its own under load, and the real command.

The flag exists before, at 0 %, and the service serves for a while before the run starts, as services do: gates compare
with what was before the step.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks._rollouts.outcome import Notes, Outcome, outcome_of, story_of
from benchmarks._rollouts.world import DIES_WITH_US, READY_SECONDS, ROLLOUT, SCRAPE_SECONDS, World
from examples.demo.processes import Processes

GATE = "errors-compared"
ENDED = "RunEnded"
POLL_SECONDS = 1.0
SPARE_SECONDS = 60.0  # of a service's life, beyond what a trial may take


@dataclass(frozen=True, slots=True)
class Conditions:
    """What all rollouts have in common. *errors* is the rate of errors without the flag, *regression* its multiple in
    a regressed canary; *history_seconds* is how long a service serves before its run starts."""

    rate: float = 200.0
    keys: int = 4000
    errors: float = 0.05
    regression: float = 2.0
    percentages: tuple[float, ...] = (25.0, 50.0)
    history_seconds: float = 120.0
    bake_seconds: float = 90.0
    warmup_seconds: float = 5.0
    every_seconds: float = 5.0
    deadline_seconds: float = 420.0

    @property
    def service_seconds(self) -> float:
        return self.history_seconds + self.deadline_seconds + SPARE_SECONDS


@dataclass(frozen=True, slots=True)
class Trial:
    """A rollout to be made: whether its canary fails more often, and where its dice start."""

    name: str
    regressed: bool
    seed: int


async def perform(trial: Trial, port: int, world: World, conditions: Conditions) -> Outcome:
    """RuntimeError if a part of it does not start or ends too soon."""
    folder = world.folder / trial.name
    processes = world.processes(folder)
    try:
        off = ("--percentage", "0", "--state", "enabled", "--reason", "so that it is known before the rollout")
        await _rollout(processes, "flag", "set", trial.name, *off)
        service = _start_service(trial, port, processes, world, conditions)
        await _until_it_listens(port, service, processes)
        load = _start_load(trial, port, processes, folder, conditions)
        await asyncio.sleep(conditions.history_seconds)
        plan = folder / "plan.yaml"
        plan.write_text(json.dumps(plan_of(trial.name, world.prometheus_url, conditions), indent=1))  # JSON is YAML
        run = (await _rollout(processes, "start", str(plan), "--detach")).split()[-1]
        events = await _until_ended(run, world, conditions.deadline_seconds)
        _check_alive(processes, service=service, load=load)
        if events[-1]["type"] != ENDED:
            with contextlib.suppress(RuntimeError):  # it ended just now
                await _rollout(processes, "stop", run, "--reason", "it took too long")
        load.terminate()
        await asyncio.sleep(2 * SCRAPE_SECONDS + 0.5)
        counted = await asyncio.to_thread(_counted, trial.name, world)
        lines = (folder / "load.jsonl").read_text().splitlines()
        notes = Notes(json.loads(line) for line in lines)
        found = outcome_of(trial.name, trial.regressed, story_of(events), notes, counted)
        return replace(found, crashes=world.crashes(run))
    finally:
        processes.stop()


def plan_of(name: str, prometheus_url: str, conditions: Conditions) -> dict[str, Any]:
    gate = {
        "every": f"{conditions.every_seconds:g}s",
        "warmup": f"{conditions.warmup_seconds:g}s",
        "criteria": [{"name": "errors", "compare": {}}],
    }
    stage = {
        "name": "raise",
        "kind": "monitoring",
        "flag": name,
        "percentages": list(conditions.percentages),
        "gate": GATE,
        "bake": f"{conditions.bake_seconds:g}s",
        "settle": "1s",
    }
    spec = {
        "prometheus": {"url": prometheus_url, "timeout": "2s", "scrape_interval": f"{SCRAPE_SECONDS}s"},
        "flags": {name: {}},
        "gates": {GATE: gate},
        "stages": [stage],
        "watch": "0s",
    }
    return {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": name},
        "spec": spec,
    }


async def _rollout(processes: Processes, *arguments: str) -> str:
    return await asyncio.to_thread(processes.run, [ROLLOUT, *arguments])


def _start_service(
    trial: Trial, port: int, processes: Processes, world: World, conditions: Conditions
) -> subprocess.Popen[str]:
    settings = {
        "port": port,
        "flags": world.controller_url,
        "flag": trial.name,
        "errors": conditions.errors,
        "factor": conditions.regression if trial.regressed else 1.0,
        "seed": trial.seed,
        "most-seconds": conditions.service_seconds,
    }
    return _start(processes, "service", settings)


def _start_load(
    trial: Trial, port: int, processes: Processes, folder: Path, conditions: Conditions
) -> subprocess.Popen[str]:
    settings = {
        "port": port,
        "rate": conditions.rate,
        "keys": conditions.keys,
        "seed": trial.seed + 1,
        "notes": folder / "load.jsonl",
        "most-seconds": conditions.service_seconds,
    }
    return _start(processes, "load", settings)


def _start(processes: Processes, name: str, settings: Mapping[str, object]) -> subprocess.Popen[str]:
    arguments = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    return processes.start(name, [*DIES_WITH_US, sys.executable, "-m", f"benchmarks._rollouts.{name}", *arguments])


async def _until_it_listens(port: int, service: subprocess.Popen[str], processes: Processes) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        _check_alive(processes, service=service)
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"the service did not listen within {READY_SECONDS:g} s")


def _check_alive(processes: Processes, **started: subprocess.Popen[str]) -> None:
    for name, process in started.items():
        if process.poll() is not None:
            said = processes.log(name).read_text()[-2000:]
            raise RuntimeError(f"the {name} ended with code {process.returncode}. It said:\n{said}")


async def _until_ended(run: str, world: World, deadline_seconds: float) -> list[dict[str, Any]]:
    """The run's events when it has ended, or at the deadline."""
    deadline = time.monotonic() + deadline_seconds
    events: list[dict[str, Any]] = []
    while time.monotonic() < deadline:
        after = events[-1]["seq"] if events else 0
        events += await asyncio.to_thread(world.ask, f"/api/v1/runs/{run}/events?after={after}") or []
        if events and events[-1]["type"] == ENDED:
            return events
        await asyncio.sleep(POLL_SECONDS)
    return events


def _counted(flag: str, world: World) -> float:
    """All answers that the exposure counters have, as Prometheus saw them."""
    arms = 'arm=~"canary|control"'
    return sum(world.measure(f'sum(rollout_exposures_total{{flag="{flag}",{arms}}})', time.time()).values())
