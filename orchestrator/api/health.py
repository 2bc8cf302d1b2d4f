"""What machines ask of the controller: does it live, can it work, and how much of it is there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from orchestrator.api.context import context_of
from orchestrator.api.encoding import Json
from orchestrator.core.phases import Phase

router = APIRouter(tags=["operation"])

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/healthz", responses={200: {"description": "The process serves"}})
async def healthz() -> Response:
    """Whether the process serves at all."""
    return Json({"status": "ok"})


@router.get(
    "/readyz", responses={200: {"description": "It can work"}, 503: {"description": "Its store does not answer"}}
)
async def readyz(request: Request) -> Response:
    """Whether it can do its work: its store answers."""
    if await context_of(request).service.ready():
        return Json({"status": "ready"})
    return Json({"status": "not ready", "message": "The store does not answer; the log says why."}, 503)


@router.get("/metrics", responses={200: {"description": "Prometheus' text format", "content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    counts = await context_of(request).service.counts()
    runs = [(f'{{phase="{phase}"}}', counts.runs.get(phase, 0)) for phase in Phase]
    lines = [
        *_family("rollout_runs", "gauge", "Runs by phase.", runs),
        *_family("rollout_events_total", "counter", "Events in the journals of all runs.", [("", counts.events)]),
        *_family("rollout_effects_outstanding", "gauge", "Effects without an outcome.", [("", counts.outstanding)]),
        *_family("process_start_time_seconds", "gauge", "Start of the process, Unix time.", [("", STARTED_AT)]),
    ]
    return PlainTextResponse("\n".join(lines) + "\n", media_type=EXPOSITION)


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> list[str]:
    shown = [f"{name}{labels} {value}" for labels, value in samples]
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *shown]


def _started_at() -> float:
    """Linux counts a process's start in clock ticks since boot, in the 22nd field of its stat (proc(5))."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return float(boot.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _start() -> float:
    import time

    try:
        return _started_at()
    except (OSError, ValueError, StopIteration):
        return time.time()  # elsewhere: when this module was loaded, which is soon after


STARTED_AT = _start()
