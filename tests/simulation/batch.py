"""Many seeds over the machine's cores, each in a process that others share; a seed that hangs is ended and told."""

import gc
import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tests.simulation.run import run_seed

KEPT = Path(__file__).with_name("seeds.txt")
MOST_CPU_SECONDS = 60.0  # for one seed; most take a quarter of one


class _Hangs(SystemExit):
    """More processor time was spent on one seed than any needs. (An exit, for an event loop lets it through.)"""


@dataclass(frozen=True)
class Verdict:
    """*digest* stands for every journal of the seed: the newest hash of each run."""

    seed: int
    violations: tuple[str, ...]
    digest: str
    outcomes: tuple[str, ...] = ()
    events: int = 0


def judge(seed: int) -> Verdict:
    signal.signal(signal.SIGPROF, _hang)
    signal.setitimer(signal.ITIMER_PROF, MOST_CPU_SECONDS)
    try:
        result = run_seed(seed)
    except BaseException:  # noqa: BLE001 - also what ends a seed that hangs
        return Verdict(seed, (f"it crashed: {traceback.format_exc()}",), "")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    digest = " ".join(f"{run}:{head}" for run, head in sorted(result.heads.items()))
    outcomes = tuple(str(outcome) for outcome in result.outcomes.values())
    return Verdict(seed, tuple(result.violations), digest, outcomes, result.events)


def _hang(number: int, frame: FrameType | None) -> None:
    raise _Hangs


def judge_all(seeds: Iterable[int], processes: int | None = None) -> Iterator[Verdict]:
    """In whatever order they are done; behind everything else on the machine, whose time is real."""
    with multiprocessing.get_context("spawn").Pool(processes or os.cpu_count(), _prepare) as pool:
        yield from pool.imap_unordered(judge, seeds, chunksize=4)


def _prepare() -> None:
    os.nice(10)
    gc.freeze()  # what the modules hold lives as long as the process: a tenth of the time went into looking at it again
    gc.set_threshold(100_000, 50, 50)


def kept_seeds() -> list[int]:
    """Seeds that failed once: they are run first, for ever."""
    lines = (line.partition("#")[0].strip() for line in KEPT.read_text(encoding="utf-8").splitlines())
    return [int(line) for line in lines if line]
