"""A fleet of runs that is found in the store, not started: as many as are asked for in a minute or two.

One run is started, and walked by a controller until its gate has passed in the bake. That controller ends, and the
run's journal is told again for each other run, with what is that one's own in place of the first one's: name, plan,
digest, flag, service. Each is written by the store's own calls: the row with its claims, the epoch, the flag, event for
event, the checkpoint of evidence. So the store is what as many starts would have left, but that all of them came at the
same time (``tests/benchmarks/test_stored_fleet.py`` compares the two). Then a controller is started on it.
"""

import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks._fleet import SHARED_BY, Fleet, fleet_of
from flags.model import FlagDocument
from orchestrator.core.events import RunStarted, from_json, to_json
from orchestrator.core.fold import program_of
from orchestrator.journal.postgresql import PostgresStore
from orchestrator.journal.sqlite import SqliteStore
from orchestrator.ports import Batch, FlagRecord, FlagWrite, NewRun, Recorded, RunRow
from orchestrator.submission import new_name
from stages.load import digest_of
from tests.support.process import wait_until

STORE = "rollout.db"
TOGETHER = 200  # runs that are written side by side: the store makes few commits of that
READY_SECONDS = 900.0
Store = SqliteStore | PostgresStore


@contextmanager
def stored_fleet_of(runs: int, folder: Path, *, different: bool = False) -> Iterator[Fleet]:
    """As ``fleet_of``, but that all runs are there and walked already."""
    with fleet_of(1, folder, different=different) as fleet:
        store_fleet(fleet, runs, lambda: SqliteStore(fleet.life.state_dir / STORE))
        fleet.life.start(forked=False)
        fleet.life.wait_until_ready(READY_SECONDS)
        yield fleet


def store_fleet(fleet: Fleet, runs: int, open_store: Callable[[], Store]) -> None:
    """Of a fleet of one run that is not started yet; its controller has ended afterwards."""
    fleet.start_all()
    wait_until(lambda: has_passed(fleet), what="the first run's gate to pass in its bake", every_seconds=0.2)
    fleet.life.send(signal.SIGTERM)
    wait_until(lambda: not fleet.life.running, what="the controller to end")
    began = time.monotonic()
    asyncio.run(multiply(open_store, runs, shared_by=1 if fleet.different else SHARED_BY))
    print(f"fleet: {runs} runs stored in {time.monotonic() - began:.0f} s", file=sys.stderr)
    fleet.runs = runs


def has_passed(fleet: Fleet) -> bool:
    """Whether the gates of all runs have, each in its bake."""
    runs = [one["run"] for one in fleet.ask("GET", "/api/v1/runs").json()]
    found = [fleet.ask("GET", f"/api/v1/runs/{run}").json() for run in runs]
    return all(one["leg"] == "baking" and one["gate"]["verdict"] == "pass" for one in found)


async def multiply(open_store: Callable[[], Store], runs: int, *, shared_by: int) -> None:
    """Of a store with one run, number 0, that nobody walks; afterwards it has so many."""
    store = open_store()
    try:
        told = await read(store)
        for first in range(1, runs, TOGETHER):
            numbers = range(first, min(first + TOGETHER, runs))
            await asyncio.gather(*(write(store, told.as_number(one, one // shared_by)) for one in numbers))
    finally:
        await store.close()


@dataclass(frozen=True, slots=True)
class Told:
    """A run as the store has it."""

    row: RunRow
    claims: dict[str, str]
    records: Sequence[Recorded]
    flags: Sequence[FlagRecord]
    evidence: str

    def as_number(self, number: int, service: int) -> "Told":
        """As it would be if the same had happened to another plan of the fleet."""
        plan = f"run-{number}"
        names = {
            self.row.run: new_name(plan),
            self.row.plan: plan,
            "flag-0": f"flag-{number}",
            "s0": f"s{service}",
        }
        started = _retold(to_json(self.records[0].event), _renaming(names))
        names[self.row.digest] = digest_of(
            [(one["environment"], one["plan"]) for one in started["documents"]], started.get("files", {})
        )
        rename = _renaming(names)
        return Told(
            row=replace(
                self.row,
                run=names[self.row.run],
                plan=plan,
                digest=names[self.row.digest],
                summary=_retold(self.row.summary, rename),
            ),
            claims=_retold(self.claims, rename),
            records=[replace(one, event=from_json(_retold(to_json(one.event), rename))) for one in self.records],
            flags=[_retold_flag(one, rename) for one in self.flags],
            evidence=rename(self.evidence),
        )


def _renaming(names: dict[str, str]) -> Callable[[str], str]:
    """Whole words alone; of two that begin alike, the longer one."""
    words = re.compile(rf"\b({'|'.join(re.escape(one) for one in sorted(names, key=len, reverse=True))})\b")
    return lambda text: words.sub(lambda found: names[found[0]], text)


def _retold(data: Any, rename: Callable[[str], str]) -> Any:
    return json.loads(rename(json.dumps(data)))


def _retold_flag(record: FlagRecord, rename: Callable[[str], str]) -> FlagRecord:
    document = FlagDocument.from_json(_retold(record.document.to_json(), rename))
    run, effect = rename(record.run or ""), rename(record.effect or "")
    return FlagRecord(document, rename(record.by), rename(record.reason), record.at, run, effect)


async def read(store: Store) -> Told:
    """Number 0 of a fleet."""
    row = next(one for one in await store.rows() if one.plan == "run-0")
    records = await store.read(row.run)
    first = records[0].event
    assert isinstance(first, RunStarted)
    own = [one for one in await store.all() if one.run == row.run]
    flags = [one for flag in own for one in reversed(await store.history(*_place(flag)))]
    return Told(row, program_of(first).claims(), records, flags, await store.evidence(row.run) or "")


def _place(record: FlagRecord) -> tuple[str, str]:
    return record.document.environment, record.document.key


async def write(store: Store, told: Told) -> None:
    row, summary = told.row, told.row.summary
    first, *later = [list(together) for _, together in groupby(told.records, lambda one: one.at)]
    new = NewRun(row.run, row.plan, row.digest, told.claims)
    await store.start(new, 1, first[0].at, [one.event for one in first], summary)
    epoch = await store.take(row.run)
    for record in told.flags:
        await store.write(_flag_write(record, epoch), record.at)
    for batch in later:
        events = [one.event for one in batch]
        await store.append(Batch(row.run, batch[0].seq - 1, epoch, batch[0].at, events, summary))
    await store.save_evidence({row.run: (epoch, told.evidence)})


def _flag_write(record: FlagRecord, epoch: int) -> FlagWrite:
    return FlagWrite(record.document, None, record.by, record.reason, record.run, record.effect, epoch)
