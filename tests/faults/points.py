"""`python -m tests.faults.points --times N`: a crash at each failpoint, N times, each at another passing of it.

Each time a world of its own is made, with a controller that dies at the point and is started again (or two others that
take over), and a change goes through it, operated by a person. At the end every promise is checked.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from orchestrator.failpoints import Action, Point
from tests.faults.scenarios import Case, Scenario, Services, scenarios_of

LOG_CHARACTERS = 3000
_LIFE = "event=failpoints.armed"


@dataclass(frozen=True)
class Result:
    scenario: Scenario
    case: Case
    complaints: tuple[str, ...]
    was_reached: bool
    kills: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.case} ({self.scenario.name}): {'; '.join(self.complaints) or 'kept'}"


def passings(scenario: Scenario, services: Services) -> Counter[str]:
    """How often each point is passed in one life of the first controller at most, when nothing goes wrong."""
    every = ",".join(f"{point}={Action.NOTE}" for point in Point)
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as folder,
        scenario.world(services, Path(folder)) as (world, drive),
    ):
        world.failpoints = {0: [every] * 2}
        scenario.drive(drive)
        complaints = scenario.complaints(services, drive)
        assert not complaints, f"{scenario.name}, with nothing going wrong: {complaints}"
        found: Counter[str] = Counter()
        for life in world.lives[0].log.split(_LIFE):
            found |= Counter(re.findall(r"^failpoint (\S+): note", life, re.MULTILINE))
        return found


def carry_out(scenario: Scenario, case: Case, services: Services) -> Result:
    """Never raises."""
    began = time.monotonic()
    complaints: list[str] = []
    kills, was_reached = 0, False
    try:
        with (
            tempfile.TemporaryDirectory(prefix="faults-") as folder,
            scenario.world(services, Path(folder)) as (world, drive),
        ):
            world.failpoints = scenario.arm(case)
            try:
                scenario.drive(drive)
                complaints = scenario.complaints(services, drive)
            except Exception as problem:  # noqa: BLE001 - it is told, with what the controller said
                complaints.append(f"{type(problem).__name__}: {problem}; {world.log[-LOG_CHARACTERS:]}")
            kills = len(world.ended)
            was_reached = f"failpoint {case.point}: {case.action}" in world.log
    except Exception as problem:  # noqa: BLE001 - as above
        complaints.append(f"{type(problem).__name__}: {problem}")
    return Result(scenario, case, tuple(complaints), was_reached, kills, time.monotonic() - began)


def spread(passed: int, times: int) -> list[int]:
    """Which passings to take, of so many: the first, and others evenly."""
    return [1 + index * passed // times for index in range(times)]


def cases(points: Iterable[Point], action: str, times: int, services: Services) -> Iterator[tuple[Scenario, Case]]:
    known: dict[str, Counter[str]] = {}
    for point in points:
        for scenario in scenarios_of(point):
            plain = scenario.plain
            if plain.name not in known:
                known[plain.name] = passings(plain, services)
            passed = known[plain.name][scenario.counted or point]
            for nth in spread(max(passed, 1), times):
                yield scenario, Case(point, action, nth)


def run(points: list[Point], action: str, times: int, workers: int) -> int:
    failed: list[Result] = []
    done: Counter[Point] = Counter(dict.fromkeys(points, 0))
    made = kills = 0
    began = time.monotonic()
    with Services() as services, ThreadPoolExecutor(workers) as pool:
        planned = list(cases(points, action, times, services))
        waiting = {pool.submit(carry_out, scenario, case, services) for scenario, case in planned}
        for future in as_completed(waiting):
            result = future.result()
            made += 1
            done[result.case.point] += result.was_reached  # a passing that is one too many is no failure of anything
            kills += result.kills
            if result.complaints:
                failed.append(result)
                print(f"BROKEN {result}", flush=True)
            if made % 20 == 0:
                spent = time.monotonic() - began
                print(f"{made} of {len(waiting)} cases, {len(failed)} broken, {spent:.0f} s", flush=True)
    least, most = min(done.values()), max(done.values())
    never = [str(point) for point, count in done.items() if not count]
    print(
        f"{made} cases of {action} at {len(done)} points, each reached {least} to {most} times, "
        f"{kills} ends and stops of controllers on the way, {len(failed)} with a broken promise, "
        f"in {time.monotonic() - began:.0f} s{f'; never reached: {never}' if never else ''}"
    )
    return 1 if failed or never else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.points", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=1, help="of each point (1)")
    parser.add_argument("--action", default=str(Action.KILL), help="kill, stop, error, or delay:SECONDS")
    parser.add_argument("--points", default="", help="those whose names begin so, with commas; else all")
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1), help="worlds at a time")
    given = parser.parse_args()
    starts = tuple(given.points.split(","))
    points = [point for point in Point if point.startswith(starts)]
    return run(points, given.action, given.times, given.workers)


if __name__ == "__main__":
    sys.exit(main())
