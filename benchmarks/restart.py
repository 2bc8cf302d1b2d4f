"""How soon a controller that was killed looks at everything again: SIGKILL under many active runs, then a new start.

Every run is in its bake, and judged by three criteria every 15 s (``_fleet.py``). Measured from the start of the new
process: until HTTP answers, and until the gate of each run was looked at again, which is the time of the first look in
the run's own evidence, read from the store afterwards by this process, so that nothing is asked of the controller. Its
processor time is what it had used by then. A gate that was looked at just before the kill is due only 15 s after that.
"""

import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

from benchmarks._fleet import EVERY_SECONDS, Fleet
from benchmarks._stored_fleet import STORE, stored_fleet_of
from orchestrator.core import evidence as ev
from orchestrator.journal import open_reading
from orchestrator.journal.sqlite import ReadingStore

QUICK, USUAL, FULL = 100, 1000, 10_000
SETTLED_SECONDS, QUICK_SECONDS = 2.0 * EVERY_SECONDS, 3.0
LONGEST_SECONDS = 1800.0
SAMPLED_SECONDS = 0.1
MOST_RUNS = 1_000_000


def run(quick: bool, full: bool = False) -> dict[str, Any]:
    runs = QUICK if quick else FULL if full else USUAL
    with (
        tempfile.TemporaryDirectory(prefix="rollout-restart-") as folder,
        stored_fleet_of(runs, Path(folder)) as fleet,
    ):
        if not quick:
            asyncio.run(_seen_since(fleet, time.time()))
        time.sleep(QUICK_SECONDS if quick else SETTLED_SECONDS)
        return {
            "runs": runs,
            **_restarted(fleet),
            "load": [round(number, 1) for number in os.getloadavg()],
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
            "versions": {"python": platform.python_version()},
        }


def table(result: dict[str, Any]) -> str:
    heads = ("runs", "HTTP answers, s", "half seen, s", "all seen, s", "processor s", "MB", "held")
    names = ("runs", "http_s", "half_s", "seconds", "processor_s", "rss_mb", "held")
    lines = ["".join(f"{word:>16}" for word in heads), "".join(f"{result[name]:>16}" for name in names)]
    lines.append(f"{result['machine']}; load {', '.join(map(str, result['load']))}")
    return "\n".join(lines)


def _restarted(fleet: Fleet) -> dict[str, Any]:
    fleet.life.kill()
    began, monotonic = time.time(), time.monotonic()
    fleet.life.start(forked=False)
    with _used(fleet, monotonic) as used:
        fleet.life.wait_until_ready(LONGEST_SECONDS)
        http = time.monotonic() - monotonic
        looks = sorted(at - began for at in asyncio.run(_seen_since(fleet, began)))
    return {
        "seconds": round(looks[-1], 2),
        "half_s": round(looks[len(looks) // 2], 2),
        "http_s": round(http, 2),
        "processor_s": round(used.at(looks[-1]), 2),
        "processor_to_http_s": round(used.at(http), 2),
        "rss_mb": round(fleet.memory_mib * 1.048576),
        "held": asyncio.run(_held(fleet)),
    }


async def _held(fleet: Fleet) -> int:
    """How many runs something holds: nothing would, had nobody been away."""
    store = open_reading(f"sqlite:///{fleet.life.state_dir / STORE}")
    try:
        return sum(bool(row.summary["holds"]) for row in await store.rows(active=True, limit=MOST_RUNS))
    finally:
        await store.close()


@dataclass
class _Used:
    """How much processor time the controller had used when: pairs of seconds."""

    samples: list[tuple[float, float]] = field(default_factory=list)

    def at(self, seconds: float) -> float:
        return next((used for when, used in self.samples if when >= seconds), self.samples[-1][1])


@contextmanager
def _used(fleet: Fleet, began: float) -> Iterator[_Used]:
    """Looked at beside what the body waits for."""
    found, is_over = _Used(), Event()

    def look() -> None:
        while not is_over.wait(SAMPLED_SECONDS):
            found.samples.append((time.monotonic() - began, fleet.processor_seconds))

    thread = Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


async def _seen_since(fleet: Fleet, since: float) -> list[float]:
    """When each run was first looked at after *since*; waits until all were. Seconds since the epoch."""
    store = open_reading(f"sqlite:///{fleet.life.state_dir / STORE}")
    assert isinstance(store, ReadingStore)
    try:
        rows = await store.rows(active=True, limit=MOST_RUNS)
        assert len(rows) == fleet.runs, f"{len(rows)} of {fleet.runs} runs are active"
        return [await _first_look(store, row.run, since) for row in rows]
    finally:
        await store.close()


async def _first_look(store: ReadingStore, run: str, since: float) -> float:
    """Of the gate as a whole: the last of its criteria's first looks."""
    until = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < until:
        evidence = ev.from_text(await store.evidence(run))
        first = [next((one.at for one in look.trail if one.at > since), None) for look in evidence.looks.values()]
        seen = [at for at in first if at is not None]
        if seen and len(seen) == len(first):
            return max(seen)
        await asyncio.sleep(0.5)
    raise RuntimeError(f"{run} was not looked at within {LONGEST_SECONDS:g} s")
