"""What every benchmark says of where it was measured: the machine, how busy it was, and of which versions."""

import itertools
import os
import platform
import random
import statistics
import time
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACE_OBJECTS, PACE_STEPS = 2_000_000, 100_000
PACE_EVERY_SECONDS = 15.0
"""The fixed piece of work: so many objects, of which so many are read each time; some 25 ms."""


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def load() -> list[float]:
    """Of the last minute, of five and of fifteen."""
    return [round(number, 1) for number in os.getloadavg()]


def pace_ms_over(seconds: float) -> float:
    """Waits so long, and tells how long a fixed piece of work took meanwhile, in ms: the median of some. A virtual
    machine is slower at times, with all that is measured on it; what is slower than this tells is slower itself."""
    until, found = time.monotonic() + seconds, list[float]()
    while (left := until - time.monotonic()) > 0:
        found.append(_pace_ms())
        time.sleep(min(PACE_EVERY_SECONDS, left))
    return round(statistics.median(found), 1)


def _pace_ms() -> float:
    """Of the processor's time: a walk through objects all over the memory, as a controller with many runs has them."""
    objects, first = _objects(), next(_firsts())
    began, total = time.thread_time(), 0.0
    for place in range(first, first + PACE_STEPS):
        total += objects[place]
    return (time.thread_time() - began) * 1000


@cache
def _objects() -> list[float]:
    objects = [float(number) for number in range(PACE_OBJECTS)]
    random.Random(1).shuffle(objects)
    return objects


@cache
def _firsts() -> Iterator[int]:
    """Elsewhere each time, or they would be in the processor's cache."""
    return itertools.cycle(range(0, PACE_OBJECTS, PACE_STEPS))


def versions(*distributions: str, **others: str) -> dict[str, str]:
    """Python's and those of installed *distributions*; what is not installed is left out. *others* as they are."""
    found = {"python": platform.python_version()}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**found, **others}


def stated(result: Mapping[str, Any]) -> str:
    """What a result says of all this, as a line of its table."""
    said = [result["machine"]]
    if "load" in result:
        loads = result["load"] if isinstance(result["load"], list) else [result["load"]]
        said.append(f"load {', '.join(map(str, loads))}")
    if "versions" in result:
        said.append(", ".join(f"{name} {number}" for name, number in result["versions"].items()))
    return "; ".join(said)
