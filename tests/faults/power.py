"""`python -m tests.faults.power --times N`: the power is cut N times under a store that is written to.

Some runs append events, answer commands under their keys, save flags and take epochs, all at once. At a random write
to the disk the power goes. Whatever had been acknowledged by then must be there when the store is opened again, and
the journals must verify. To see that the disk does lose what was not synced, `--unsafe` opens the store with
``synchronous=NORMAL``, which says that a commit is done before it is on the disk.
"""

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import apsw

from flags.model import Version
from orchestrator.journal import chain
from orchestrator.journal.sqlite import SqliteStore, schema
from tests.support.journals import answered, batch, flag_write, started
from tests.support.power import PowerCutDisk

RUNS = 6
LATEST_CUT = 900  # writes and syncs; a store is made with about 60 of them
_NAMES = count(1)


@dataclass
class Acknowledged:
    """What was told to be durable."""

    events: dict[str, int] = field(default_factory=dict)  # the newest seq by run
    keys: set[tuple[str, str]] = field(default_factory=set)
    flags: dict[str, Version] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)

    def copy(self) -> "Acknowledged":
        return Acknowledged(dict(self.events), set(self.keys), dict(self.flags), dict(self.epochs))

    @property
    def count(self) -> int:
        return sum(self.events.values()) + len(self.keys) + len(self.flags) + len(self.epochs)


class _Over(Exception):
    """The power is gone; what goes on here is of no interest any more."""


async def _work(store: SqliteStore, run: str, told: Acknowledged, is_over: asyncio.Event) -> None:
    told.events[run] = len(await started(store, run))
    told.epochs[run] = epoch = await store.take(run)
    version: Version | None = None
    for number in count(1):
        if is_over.is_set():
            return
        key = f"k{number}"
        answer = answered(key, run=run, seq=told.events[run] + 1)
        records = await store.append(batch(run, told.events[run], epoch=epoch, answer=answer))
        told.events[run] = records[-1].seq
        told.keys.add((run, key))
        record = await store.write(flag_write(run, version, float(number % 100)), 1.0)
        told.flags[run] = version = record.document.version
        await store.save_evidence({run: (epoch, f"{number}")})


async def _until_cut(path: Path, disk: PowerCutDisk) -> Acknowledged:
    told, found = Acknowledged(), Acknowledged()
    loop, is_over = asyncio.get_running_loop(), asyncio.Event()

    def at_cut() -> None:  # in the thread that writes: nothing is acknowledged between this and the cut
        nonlocal found
        found = told.copy()
        loop.call_soon_threadsafe(is_over.set)

    disk.at_cut = at_cut
    store = SqliteStore(path)
    try:
        await asyncio.gather(*(_work(store, f"run{number}", told, is_over) for number in range(RUNS)))
    finally:
        await store.close()
    return found


async def _lost(path: Path, told: Acknowledged) -> list[str]:
    """What is not there of what was acknowledged."""
    store = SqliteStore(path)
    found = []
    try:
        for run, seq in told.events.items():
            records = await store.read(run)
            if len(records) < seq:
                found.append(f"{run} has {len(records)} of {seq} events")
            if (place := chain.verify(records)) is not None:
                found.append(f"the chain of {run} breaks: {place}")
            row = await store.row(run)
            if row is None or row.rev != len(records) or row.epoch < told.epochs.get(run, 0):
                found.append(f"the row of {run}: {row}")
        for run, key in told.keys:
            if await store.answer(run, key) is None:
                found.append(f"the answer {key} of {run}")
        for key, version in told.flags.items():
            record = await store.get("production", key)
            if record is None or record.document.version < version:
                found.append(f"flag {key}: {record}")
    finally:
        await store.close()
    return found


def cut_once(dice: random.Random) -> tuple[int, list[str]]:
    """How much was acknowledged before the power went, and what of it was lost."""
    with tempfile.TemporaryDirectory(prefix="power-") as before, tempfile.TemporaryDirectory(prefix="power-") as after:
        usual = apsw.vfs_names()[0]
        disk = PowerCutDisk(f"power{next(_NAMES)}", dice.randint(1, LATEST_CUT))
        try:
            told = asyncio.run(_until_cut(Path(before, "store.db"), disk))
        finally:
            disk.unregister()
            assert apsw.vfs_names()[0] == usual
        disk.after_cut(Path(after), dice)
        return told.count, asyncio.run(_lost(Path(after, "store.db"), told))


@contextmanager
def unsafe() -> Iterator[None]:
    """Stores are opened so that a commit is told before it is on the disk."""
    durable = schema._make_durable

    def less(connection: apsw.Connection, path: Path) -> None:
        durable(connection, path)
        connection.pragma("synchronous", "NORMAL")

    schema._make_durable = less
    try:
        yield
    finally:
        schema._make_durable = durable


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.power", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=200, help="how many cuts (200)")
    parser.add_argument("--unsafe", action="store_true", help="with synchronous=NORMAL, to see what is lost then")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"), help="of moments and losses")
    given = parser.parse_args()
    dice, losses, acknowledged, began = random.Random(given.seed), 0, 0, time.monotonic()
    with unsafe() if given.unsafe else contextlib.nullcontext():
        for number in range(1, given.times + 1):
            told, lost = cut_once(dice)
            acknowledged += told
            losses += bool(lost)
            if lost and not given.unsafe:
                print(f"cut {number} lost {'; '.join(lost)[:500]}", flush=True)
            if number % 50 == 0:
                print(f"{number} cuts, {losses} with a loss", flush=True)
    print(
        f"{given.times} cuts, {acknowledged} things acknowledged before them, {losses} cuts with a loss; "
        f"{time.monotonic() - began:.0f} s, seed {given.seed}"
    )
    return 1 if losses and not given.unsafe else 0


if __name__ == "__main__":
    sys.exit(main())
