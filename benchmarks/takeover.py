"""How long runs stand still when the controller that acts for them dies or freezes: three real ones on PostgreSQL.

Each world has three controllers and some runs that raise a flag by one percent a second, so that somebody has something
to do all the time. Again and again the one that acts for most of them is killed (SIGKILL, then started again) or frozen
(SIGSTOP, and woken up when others go on). Measured is, for each run that it had, the time from the signal until another
controller has taken the run up, and until it writes the first event for it: the plan's next percentage, after a bake of
a second that begins anew. One that was frozen must have changed nothing when it wakes up: the journal verifies, and
each percentage was set once, in order.
"""

import json
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks._machine import load, machine, stated, versions
from orchestrator.journal import chain
from tests.faults.lives import Life
from tests.faults.world import World, submission, world_in
from tests.support.postgres import PostgresServer
from tests.support.process import wait_until
from tests.support.stores import PostgresSchema, schema_in

CONTROLLERS, RUNS, WORLDS = 3, 4, 2  # more of them than that need more than two processors
KINDS = {"killed": signal.SIGKILL, "frozen": signal.SIGSTOP}
STEADY_SECONDS = 3.0  # of writing by the one that acts, before it is hit
LONGEST_SECONDS = 60.0
PROMISED_SECONDS = 10.5
TAKEN_UP = 2  # epochs: one for the claim, one when the run is taken up
_NAMES = count(1)


@dataclass
class Tally:
    left: dict[str, int]
    deaths: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)  # by kind, until it is taken up
    writes: dict[str, list[float]] = field(default_factory=dict)
    frozen_wrote: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_kind(self) -> str | None:
        with self.lock:
            kind = max(self.left, key=lambda one: self.left[one])
            if self.left[kind] == 0:
                return None
            self.left[kind] -= 1
            return kind

    def note(self, kind: str, seconds: Sequence[tuple[float, float]]) -> None:
        with self.lock:
            self.deaths[kind] = self.deaths.get(kind, 0) + 1
            self.seconds.setdefault(kind, []).extend(taken for taken, _ in seconds)
            self.writes.setdefault(kind, []).extend(written for _, written in seconds)
            done = ", ".join(f"{number} {name}" for name, number in self.deaths.items())
            print(f"takeover: {done}; longest {max(max(one) for one in self.seconds.values()):.2f} s", file=sys.stderr)


def run(quick: bool) -> dict[str, Any]:
    times, worlds = (3, 2) if quick else (50, WORLDS)
    tally = Tally(dict.fromkeys(KINDS, times))
    with (
        PostgresServer(max_connections="400") as server,
        tempfile.TemporaryDirectory(prefix="rollout-takeover-") as folder,
        ThreadPoolExecutor(worlds) as pool,
    ):
        going = [pool.submit(_one_world, server, Path(folder, str(number)), tally, number) for number in range(worlds)]
        for one in going:
            one.result()
    return {
        "controllers": CONTROLLERS,
        "worlds": worlds,
        "deaths": tally.deaths,
        "seconds": {kind: _spread(found) for kind, found in tally.seconds.items()},
        "seconds_to_write": {kind: _spread(found) for kind, found in tally.writes.items()},
        "samples": {kind: len(found) for kind, found in tally.seconds.items()},
        "changed_by_the_frozen": tally.frozen_wrote,
        "promised_seconds": PROMISED_SECONDS,
        "load": load(),
        "machine": machine(),
        "versions": versions(),
    }


def table(result: dict[str, Any]) -> str:
    lines = [f"{'seconds from the signal':<28}{'deaths':>8}{'runs':>8}{'median':>9}{'p99':>9}{'most':>9}"]
    for what, words in (("seconds", "another acts"), ("seconds_to_write", "it writes")):
        for kind, one in result[what].items():
            numbers = "".join(f"{one[name]:>9.2f}" for name in ("median", "p99", "most"))
            lines.append(f"{f'{kind}: {words}':<28}{result['deaths'][kind]:>8}{result['samples'][kind]:>8}{numbers}")
    lines.append(f"changes by a frozen one after it woke up: {result['changed_by_the_frozen']}")
    lines.append(
        f"promised: {result['promised_seconds']} s at most; {result['worlds']} times three controllers at once"
    )
    lines.append(stated(result))
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    p99 = ordered[min(round(0.99 * len(ordered)), len(ordered) - 1)]
    return {"median": round(statistics.median(ordered), 2), "p99": round(p99, 2), "most": round(ordered[-1], 2)}


def _one_world(server: PostgresServer, folder: Path, tally: Tally, seed: int) -> None:
    dice = random.Random(seed)
    with ExitStack() as stack:
        schema = stack.enter_context(schema_in(stack.enter_context(server.database()), "store"))
        world = stack.enter_context(world_in(folder, store=schema.url, controllers=CONTROLLERS))
        world.keep_alive()
        for life in world.lives:
            life.wait_until_ready()
        place = _Place(world, schema, dice)
        while (kind := tally.next_kind()) is not None:
            tally.note(kind, place.hit(KINDS[kind]))
        with tally.lock:
            tally.frozen_wrote += place.wrong_changes()


@dataclass
class _Place:
    world: World
    schema: PostgresSchema
    dice: random.Random
    runs: list[str] = field(default_factory=list)

    def hit(self, number: signal.Signals) -> list[tuple[float, float]]:
        """Seconds until another had taken it up, and had written, of each run that the one which is hit had."""
        self._keep_runs_going()
        life, mine = self._leader()
        time.sleep(STEADY_SECONDS * (1 + self.dice.random()))
        mine = [run for run in mine if run in self._rows()]
        began = time.monotonic()
        life.send(number)
        time.sleep(1.0)  # what was on its way to the server has arrived
        before = self._rows()
        taken: dict[str, float] = {}
        written: dict[str, float] = {}
        while len(written) < len(mine):
            spent = time.monotonic() - began
            if spent > LONGEST_SECONDS:
                raise RuntimeError(f"nobody went on with {set(mine) - written.keys()}: {self.world.log[-2000:]}")
            now = self._rows()
            for run in set(mine) - written.keys():
                epoch, rev, _ = now.get(run, (before[run][0] + TAKEN_UP, before[run][1] + 1, ""))
                if epoch >= before[run][0] + TAKEN_UP:
                    taken.setdefault(run, spent)
                    if rev > before[run][1]:
                        written[run] = spent
            time.sleep(0.01)
        self._revive(life)
        return [(taken[run], written[run]) for run in mine]

    def _revive(self, life: Life) -> None:
        life.send(signal.SIGCONT)
        time.sleep(0.1)
        if not life.running:
            life.start()
        life.wait_until_ready()

    def _rows(self) -> dict[str, tuple[int, int, str]]:
        """Of each active run: epoch, rev and the address of who acts for it."""
        query = (
            "SELECT run, epoch, rev, coalesce(address, '') FROM runs LEFT JOIN controllers ON name = owner WHERE active"
        )
        return {str(run): (epoch, rev, address) for run, epoch, rev, address in self.schema.execute(query)}

    def _leader(self) -> tuple[Life, list[str]]:
        """Who acts for most runs, once somebody acts for each."""

        def of_each() -> dict[str, list[str]]:
            owned: dict[str, list[str]] = {}
            for run, (_, _, address) in self._rows().items():
                owned.setdefault(address, []).append(run)
            return owned if owned and "" not in owned else {}

        owned = wait_until(of_each, what="somebody to act for each run")
        address = max(owned, key=lambda one: len(owned[one]))
        life = next(one for one in self.world.lives if (one.note() or {"url": ""})["url"] == address)
        return life, owned[address]

    def _keep_runs_going(self) -> None:
        """So many runs with enough left to do."""
        rows = self._rows()
        fresh = [run for run, (_, rev, _) in rows.items() if rev < 200]
        for _ in range(RUNS - len(fresh)):
            body = _submission(f"climb{next(_NAMES)}", self.world.folder)
            reply = wait_until(lambda body=body: self.world.ask("POST", "/api/v1/runs", body), what="a run")  # type: ignore[misc]
            assert reply is not None
            assert reply.status == 201, reply
            self.runs.append(reply.body["run"])

    def wrong_changes(self) -> int:
        """Percentages that were set twice or out of order, and journals that do not verify."""
        wrong = 0
        for run in self.runs:
            records = self.world.records(run)
            wrong += chain.verify(records) is not None
            flag = run.rpartition("-")[0]
            query = (
                "SELECT (document::jsonb ->> 'percentage')::numeric FROM flag_history WHERE key = %s ORDER BY number"
            )
            levels = [float(row[0]) for row in self.schema.execute(query, flag)]
            wrong += levels != sorted(set(levels))
        return wrong


def _submission(name: str, folder: Path) -> dict[str, Any]:
    steps = {
        "name": "climb",
        "kind": "batch",
        "flag": name,
        "percentages": list(range(1, 101)),
        "bake": "1s",
        "settle": "0s",
    }
    document = {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": name},
        "spec": {"flags": {name: {}}, "stages": [steps], "watch": "0s"},
    }
    return submission(json.dumps(document), folder)
