"""`python -m tests.faults.month` lives through a month of runs in virtual time, and says how much memory each day took.

One run is watched for the whole time, others are started, walked and ended all the while; gates look every 15 seconds,
commands and flags are changed, people read status, history, pages and metrics. What a store keeps on its disk is
dropped here when it is a day old, for the store of the tests is memory.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import resource
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import structlog

from orchestrator.api.app import create_app
from orchestrator.api.limits import RateLimit
from orchestrator.api.tokens import Token, TokenStore
from orchestrator.core.commands import Command
from orchestrator.core.phases import CommandName
from orchestrator.journal.memory import MemoryStore
from orchestrator.rehearse.loop import VirtualLoop, run_in
from orchestrator.service import Service
from orchestrator.submission import Submission
from tests.orchestrator.house import ANN, House, submission
from tests.simulation.world import SimulatedClock

DAY: Final = 86_400.0
RUNS_A_DAY: Final = 4
SETTLED_DAYS: Final = 3
MOST_GROWTH: Final = 0.03
SECRET: Final = "a-token-of-the-month"
PAGE_BYTES: Final = resource.getpagesize()


class Kept(MemoryStore):
    """A store of which only what is young is in memory, as of one on a disk."""

    def forget(self, before: float) -> None:
        for name, run in list(self._runs.items()):
            if not run.row.active and run.row.created < before:
                del self._runs[name]
        for records in self._history.values():
            del records[:-10]


@dataclass(frozen=True, slots=True)
class Day:
    """At the end of a virtual day: objects by type, and the memory of the process in MiB."""

    number: int
    objects: Counter[str]
    resident_mib: float
    runs: int
    looks: int
    kept: Mapping[str, int]
    """How much the service itself keeps, by the name of what it keeps it in."""

    @property
    def count(self) -> int:
        return self.objects.total()


class Month:
    """*every* is how often gates look, in seconds; a *day* may be shorter than others."""

    def __init__(self, every: float = 15.0, day: float = DAY) -> None:
        self.day = day
        self.house = House(SimulatedClock())
        self.house.store = self.store = Kept()
        self.every = every
        self.started = 0
        self.looks = 0
        measure = self.house.outside.measure

        async def counted(*asked: Any) -> Any:
            self.looks += 1
            return await measure(*asked)

        self.house.outside.measure = counted  # type: ignore[method-assign, assignment]

    async def live(self, days: int) -> AsyncIterator[Day]:
        service = await self.house.move_in()
        tokens = TokenStore([Token.of(SECRET, "ann", "admin")])
        app = create_app(service, tokens, listen_is_loopback=True, rate_limit=RateLimit(1000.0, 1000))
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://localhost",
            headers={"Authorization": f"Bearer {SECRET}"},
        )
        await service.start(self._plan("long", "watched", bake=f"{days + 10}d"), ANN)
        for day in range(1, days + 1):
            for part in range(RUNS_A_DAY):
                await self._run(service, client, f"{day}-{part}")
            self.store.forget(self.house.clock.now() - self.day)
            yield self._day(day, service)
        await client.aclose()
        await service.close(0.0)

    def _plan(self, name: str, flag: str, bake: str) -> Submission:
        stage = {"name": "open", "kind": "monitoring", "flag": flag, "percentages": [50], "bake": bake, "gate": "g"}
        criteria = [
            {"name": "errors", "query": f"errors_of_{name}", "fail": "> 5", "for": "1m"},
            {"name": "late", "query": "rate(late[5m])", "fail": "> 5"},
        ]
        return submission(
            name,
            name,
            flag,
            prometheus={"url": "http://localhost:9090"},
            gates={"g": {"every": f"{self.every:.0f}s", "criteria": criteria}},
            stages=[
                {"name": "do", "kind": "steps", "steps": [{"command": ["true"], "undo": "none"}]},
                stage,
            ],
            watch="10m",
        )

    async def _run(self, service: Service, client: httpx.AsyncClient, name: str) -> None:
        """A quarter of a day: one run to its end, with people who look."""
        began = self.house.clock.now()
        run, _ = await service.start(self._plan(f"short-{name}", "beta", bake=f"{self.day / 6 / 60:.0f}m"), ANN)
        self.started += 1
        following = asyncio.create_task(_follow(service, run))
        for part in (0.02, 0.1, 0.5):
            await self.house.clock.sleep(part * self.day / RUNS_A_DAY)
            for path in ("", "/events", "/journal", "/report"):
                assert (await client.get(f"/api/v1/runs/{run}{path}")).status_code == 200
            for path in ("/", f"/runs/{run}", "/metrics", "/api/v1/runs", "/flags/v1/feed"):
                assert (await client.get(path)).status_code == 200
            assert (await client.get("/nowhere", headers={"Authorization": f"Bearer no-{name}-{part}"})).status_code
        if self.started % 3 == 0:
            await service.command(run, Command(command=CommandName.ROLLBACK, reason="one in three"), ANN)
        await self.house.clock.sleep(began + self.day / RUNS_A_DAY - self.house.clock.now())
        assert (await service.status(run))["phase"] == "ended", await service.status(run)
        assert await following > 0

    def _day(self, number: int, service: Service) -> Day:
        self.house.outside.done.clear()
        gc.collect()
        objects = Counter(type(one).__name__ for one in gc.get_objects())
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        kept = {name: len(held) for name, held in vars(service).items() if isinstance(held, dict | list | set)}
        return Day(number, objects, pages * PAGE_BYTES / 2**20, self.started, self.looks, kept)


async def _follow(service: Service, run: str) -> int:
    """As a stream does, to the end; how many entries there were."""
    return len([entry async for entry in service.follow(run)])


def month(days: int, every: float = 15.0, day_seconds: float = DAY) -> list[Day]:
    """The days of it. Each is printed by whoever wants to, as it ends."""
    found: list[Day] = []

    async def live() -> None:
        async for day in Month(every, day_seconds).live(days):
            found.append(day)
            if __name__ == "__main__":
                print(_line(day), flush=True)

    run_in(VirtualLoop((days + 1) * DAY), live)
    return found


def growth(first: Day, last: Day) -> float:
    """As a share of *first*, in objects."""
    return (last.count - first.count) / first.count


def _line(day: Day) -> str:
    done = f"day {day.number:3}  {day.runs:5} runs  {day.looks:9,} looks"
    return f"{done}  {day.count:9,} objects  {day.resident_mib:7.1f} MiB"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.month", description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--every", type=float, default=15.0, help="seconds between two looks of a gate")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    days = month(asked.days, asked.every)
    first, last = days[min(SETTLED_DAYS, len(days)) - 1], days[-1]
    objects, resident = growth(first, last), last.resident_mib / first.resident_mib - 1
    print(f"from day {first.number} to day {last.number}: {objects:+.2%} objects, {resident:+.2%} memory")
    for name, more in (last.objects - first.objects).most_common(5):
        print(f"  {more:+8,} {name}")
    return 1 if max(objects, resident) > MOST_GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
