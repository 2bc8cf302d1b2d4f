"""A controller that does nothing but append: prints each acknowledged event as `run seq hash` until it is killed."""

import asyncio
import os
import sys
from pathlib import Path

from orchestrator.journal.sqlite import SqliteStore
from tests.support.journals import batch, started

RUNS = 10


async def _append_for_ever(store: SqliteStore, run: str) -> None:
    if await store.row(run) is None:
        await started(store, run)
    epoch = await store.take(run)
    row = await store.row(run)
    assert row is not None
    after = row.rev
    while True:
        for record in await store.append(batch(run, after=after, epoch=epoch)):
            os.write(1, f"{record.run} {record.seq} {record.hash}\n".encode())
            after = record.seq


async def _main(path: Path) -> None:
    store = SqliteStore(path)
    await asyncio.gather(*(_append_for_ever(store, f"run-{number}") for number in range(RUNS)))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
