"""DBOS beside the journal, where it is installed: workflows at the same time, whose steps each record what they return.

`python -m benchmarks._dbos URL WORKFLOWS SECONDS` in a process of its own, since it is one of its kind in a process: it
takes a database as its system database, starts the workflows, lets each do one step after the other, and prints how
many steps a second were on record. A step does nothing but return what an event of ours says.
"""

import asyncio
import json
import subprocess
import sys
import time
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks._plain_journals import EVENT
from tests.support.process import ROOT

DISTRIBUTION = "dbos"
_LONGEST_SECONDS = 120.0


def is_there() -> bool:
    try:
        return bool(version(DISTRIBUTION))
    except PackageNotFoundError:
        return False


def steps_per_second(url: str, workflows: int, seconds: float) -> float:
    command = [sys.executable, "-m", "benchmarks._dbos", url, str(workflows), str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_LONGEST_SECONDS, check=False)
    assert done.returncode == 0, f"DBOS ended with code {done.returncode}:\n{done.stdout[-1500:]}{done.stderr[-3000:]}"
    found: float = json.loads(done.stdout.splitlines()[-1])
    return found


def main(url: str, workflows: int, seconds: float) -> None:
    dbos = import_module("dbos")
    dbos.DBOS(config={"name": "journal", "system_database_url": url, "log_level": "ERROR"})
    data = EVENT.model_dump(mode="json")

    @dbos.DBOS.step()  # type: ignore[untyped-decorator]
    async def note(_: int) -> dict[str, Any]:
        return data

    all_there, ended = asyncio.Event(), list[float]()

    @dbos.DBOS.workflow()  # type: ignore[untyped-decorator]
    async def produce() -> int:
        await all_there.wait()
        count, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            await note(count)
            count += 1
        ended.append(time.perf_counter())
        return count

    async def all_of_them() -> float:
        handles = [await dbos.DBOS.start_workflow_async(produce) for _ in range(workflows)]
        began = time.perf_counter()
        all_there.set()
        counts = [await handle.get_result() for handle in handles]
        return float(sum(counts) / (max(ended) - began))

    dbos.DBOS.launch()
    try:
        print(json.dumps(round(asyncio.run(all_of_them()), 1)), flush=True)
    finally:
        dbos.DBOS.destroy()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
