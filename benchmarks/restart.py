"""How soon a controller that was killed looks at everything again: SIGKILL under many active runs, then a new start.

Every run is in its bake, and judged by three criteria every 15 s (``_fleet.py``). Measured from the start of the new
process: until HTTP answers, and until the gate of each run was looked at again. That it was, and since when the new
life walks the run, is in the run's own evidence, which this process reads from the store afterwards, so that nothing is
asked of the controller; when each question was first answered as of a second of that life, the server knows. Processor
time is what the controller had used by then.
"""

import asyncio
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx

from benchmarks._fleet import ASKED, SHARED_BY, Fleet
from benchmarks._machine import load, machine, stated, versions
from benchmarks._stored_fleet import STORE, stored_fleet_of
from orchestrator.core import evidence as ev
from orchestrator.journal import open_reading
from orchestrator.journal.sqlite import ReadingStore
from orchestrator.ports import RunRow

QUICK, USUAL = 100, 10_000
QUICK_SECONDS = 3.0
LONGEST_SECONDS = 1800.0
SAMPLED_SECONDS = 0.1
MOST_RUNS = 1_000_000
Look = tuple[float, list[str]]
"""Since when a new life walks a run, and the question of each criterion that it has asked since."""


def run(quick: bool) -> dict[str, Any]:
    runs = QUICK if quick else USUAL
    with (
        tempfile.TemporaryDirectory(prefix="rollout-restart-") as folder,
        stored_fleet_of(runs, Path(folder)) as fleet,
    ):
        if quick:
            time.sleep(QUICK_SECONDS)
        else:
            asyncio.run(_looks_since(fleet, time.time()))
        return {
            "runs": runs,
            **_restarted(fleet),
            "load": load(),
            "machine": machine(),
            "versions": versions(),
        }


def table(result: dict[str, Any]) -> str:
    heads = ("runs", "HTTP answers, s", "half seen, s", "all seen, s", "processor s", "MB", "held")
    names = ("runs", "http_s", "half_s", "seconds", "processor_s", "rss_mb", "held")
    lines = ["".join(f"{word:>16}" for word in heads), "".join(f"{result[name]:>16}" for name in names)]
    lines.append(stated(result))
    return "\n".join(lines)


def _restarted(fleet: Fleet) -> dict[str, Any]:
    fleet.life.kill()
    fleet.asked()  # what was asked before is forgotten
    began, monotonic = time.time(), time.monotonic()
    fleet.life.start(forked=False)
    with _used(fleet, monotonic) as used:
        fleet.life.wait_until_ready(LONGEST_SECONDS)
        http = time.monotonic() - monotonic
        looks = asyncio.run(_looks_since(fleet, began))
    seen = sorted(at - began for at in _answered(fleet, looks))
    return {
        "seconds": round(seen[-1], 2),
        "half_s": round(seen[len(seen) // 2], 2),
        "http_s": round(http, 2),
        "processor_s": round(used.at(seen[-1]), 2),
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


async def _looks_since(fleet: Fleet, since: float) -> list[Look]:
    """The first of each run after *since*; waits until all were looked at, and have said so in the store."""
    store = open_reading(f"sqlite:///{fleet.life.state_dir / STORE}")
    assert isinstance(store, ReadingStore)
    try:
        rows = await store.rows(active=True, limit=MOST_RUNS)
        assert len(rows) == fleet.runs, f"{len(rows)} of {fleet.runs} runs are active"
        return [await _first_look(store, row, since) for row in rows]
    finally:
        await store.close()


async def _first_look(store: ReadingStore, row: RunRow, since: float) -> Look:
    until = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < until:
        evidence = ev.from_text(await store.evidence(row.run))
        looked = {key.rpartition("/")[2] for key, look in evidence.looks.items() if look.at > since}
        if looked == ASKED.keys():
            service = int(row.plan.removeprefix("run-")) // SHARED_BY
            return evidence.life_at, [query.format(f"s{service}") for query in ASKED.values()]
        await asyncio.sleep(0.5)
    raise RuntimeError(f"{row.run} was not looked at within {LONGEST_SECONDS:g} s")


def _answered(fleet: Fleet, looks: Sequence[Look]) -> list[float]:
    """When the last question of each look had been asked and answered; the server does both in one. Who shares a
    question asks it as of the same second."""
    listed = httpx.get(f"{fleet.prometheus}/first", trust_env=False, timeout=60.0).json()
    when: dict[str, list[tuple[float, float]]] = {}
    for query, second, at in listed:
        when.setdefault(query, []).append((float(second), at))
    return [
        max(min(at for second, at in when[query] if second >= math.floor(life_at)) for query in queries)
        for life_at, queries in looks
    ]
