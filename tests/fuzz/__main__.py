"""`python -m tests.fuzz --times N`: N made-up requests and N made-up plans, with progress and a summary."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.asking import OFTEN, ask, cases
from tests.fuzz.planning import plan
from tests.hostile.served import served

AT_ONCE = 500


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--times", type=int, default=10_000)
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="SEED")
    parser.add_argument("--only", choices=("requests", "plans"))
    given = parser.parse_args()
    if given.only != "plans":
        _requests(given.times, given.first)
    if given.only != "requests":
        _plans(given.times, given.first)


def _requests(times: int, first: int) -> None:
    answers: Counter[tuple[str, int]] = Counter()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), often=OFTEN) as here:
        strategy = cases(here)
        for done in range(0, times, AT_ONCE):
            answers += ask(here, min(AT_ONCE, times - done), first + done, strategy)
            print(f"{answers.total():,} requests, {time.monotonic() - began:.0f} s", flush=True)
        assert here.lives()
        assert "Traceback" not in here.said(), here.said()
    routes = len({route for route, _ in answers})
    statuses = Counter[int]()
    for (_, status), count in answers.items():
        statuses[status] += count
    print(f"{answers.total():,} requests to {routes} routes: no 5xx, every answer as described; {_listed(statuses)}")


def _plans(times: int, first: int) -> None:
    found: Counter[str] = Counter()
    began = time.monotonic()
    for done in range(0, times, AT_ONCE):
        found += plan(min(AT_ONCE, times - done), first + done)
        print(f"{found.total():,} plans, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{found.total():,} plans: no traceback; {_listed(found)}")


def _listed(counts: Counter[int] | Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda one: str(one[0])))


if __name__ == "__main__":
    main()
