"""Prometheus is away for an hour, or in a bad mood: nothing moves, and it goes on within 15 s of its return. The real
service walks the run; the hour is virtual.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.ports import Scene
from orchestrator.rehearse.loop import VirtualLoop
from orchestrator.rehearse.world import VirtualClock
from orchestrator.service import Service
from stages.checks import Source
from stages.criteria.base import NOTHING_WANTED, Measurement, MeasurementState, SeriesValue, Wanted
from tests.orchestrator.house import ANN, House, Outside, submission

HOUR, ON_AGAIN_SECONDS = 3600.0, 15.0
STAGE = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [10, 50, 100], "gate": "health"}
GATE = {"every": "15s", "criteria": [{"name": "errors", "query": "errors", "pass": "< 0.1", "fail": "> 0.5"}]}
Answer = Callable[[float], Measurement]


def error(at: float) -> Measurement:
    return Measurement(MeasurementState.ERROR, at, detail="connection refused")


def nothing(at: float) -> Measurement:
    return Measurement(MeasurementState.MISSING, at)


def not_a_number(at: float) -> Measurement:
    return Measurement(MeasurementState.OK, at, (SeriesValue("", math.nan, at),))


def long_ago(at: float) -> Measurement:
    return Measurement(MeasurementState.STALE, at, (SeriesValue("", 0.0, at - HOUR),))


class Moody(Outside):
    def __init__(self) -> None:
        super().__init__()
        self.mood: Answer | None = None

    async def measure(self, source: Source, scene: Scene, at: float, wanted: Wanted = NOTHING_WANTED) -> Measurement:
        return self.mood(at) if self.mood is not None else await super().measure(source, scene, at, wanted)


async def _until(service: Service, run: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    while True:
        shown = await service.status(run)
        if is_so(shown):
            return shown
        await asyncio.sleep(1.0)


def _inconclusive(shown: dict[str, Any]) -> bool:
    return any(hold["reason"] == "inconclusive" for hold in shown["holds"])


async def _an_hour_of(mood: Answer) -> tuple[set[float], list[str], float, str]:
    """Percentages during that hour, what was asked for, how long it took to go on, and how the run ended."""
    house = House(VirtualClock())
    house.outside = outside = Moody()
    service = await house.move_in()
    stage = {**STAGE, "bake": "5m", "settle": "0s"}
    run, _ = await service.start(submission(gates={"health": GATE}, stages=[stage], watch="0s"), ANN)
    await _until(service, run, lambda shown: shown["percentages"].get("beta") == 10.0 and shown["leg"] == "baking")
    outside.mood = mood
    await _until(service, run, _inconclusive)
    before = len(await house.store.read(run))
    seen = set()
    for _ in range(int(HOUR / ON_AGAIN_SECONDS)):
        await asyncio.sleep(ON_AGAIN_SECONDS)
        seen.add((await service.status(run))["percentages"]["beta"])
    moved = [one.event.type_name for one in (await house.store.read(run))[before:]]
    outside.mood, back_at = None, house.clock.now()
    await _until(service, run, lambda shown: not _inconclusive(shown))
    took = house.clock.now() - back_at
    ended = await _until(service, run, lambda shown: shown["outcome"] is not None)
    await service.close()
    return seen, moved, took, str(ended["outcome"])


@pytest.mark.parametrize("mood", (error, nothing, not_a_number, long_ago))
def test_an_hour_without_a_usable_measurement_moves_nothing_and_it_goes_on_within_fifteen_seconds(mood: Answer) -> None:
    loop = VirtualLoop(horizon_seconds=3 * HOUR)
    try:
        seen, moved, took_seconds, outcome = loop.run_until_complete(_an_hour_of(mood))
    finally:
        loop.close()
    assert seen == {10.0}
    assert not {"EffectRequested", "LegEntered", "GateFailed", "RollbackStarted"} & set(moved)
    assert took_seconds <= ON_AGAIN_SECONDS
    assert outcome == "promoted"
