"""`python -m tests.faults.kill --times N [--store postgresql]`: kill -9 at N random moments of real controllers.

In each world some people make changes at the same time, one after the other, and give commands meanwhile; a controller
dies every few moments and is started again. On SQLite there is one; on PostgreSQL there are three, and one of them is
killed at a time. When a change has ended, every promise is checked: no run lost, no effect twice, no acknowledged
command gone, the world as the plan says.

*Time to go on* is from the kill to the next event in the journal of a run that the dead one acted for. On SQLite it
is taken only where the real command was started (every fifth time; the others are forked, see `lives`).
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.faults.changes import Change, Parts
from tests.faults.rows import Rows, rows_of
from tests.faults.world import Drive, World, broken_promises, world_in
from tests.support.postgres import PostgresServer
from tests.support.process import DEADLINE_SECONDS
from tests.support.stores import schema_in

PEOPLE = 3
CONTROLLERS = {"sqlite": 1, "postgresql": 3}
LIFE_SECONDS = {"sqlite": (0.0, 1.5), "postgresql": (0.5, 7.0)}
REAL_EVERY = 5
GIVEN_UP_SECONDS = 60.0
PATIENCE_SECONDS = 1800.0  # a change may be under way as long as there is killing
_NAMES = count(1)


@dataclass
class Tally:
    """Of all worlds together."""

    wanted: int
    kills: int = 0
    changes: int = 0
    broken: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    began: float = field(default_factory=time.monotonic)

    def may_kill(self) -> bool:
        with self.lock:
            if self.kills >= self.wanted or self.broken:
                return False
            self.kills += 1
            if self.kills % 25 == 0:
                spent = time.monotonic() - self.began
                print(f"{self.kills} kills, {self.changes} changes made, {spent:.0f} s", flush=True)
            return True

    def note(self, change: Change, complaints: list[str]) -> None:
        with self.lock:
            self.changes += 1
            if complaints:
                self.broken.append(f"{change.name}: {'; '.join(complaints)}")
                print(f"BROKEN {self.broken[-1]}", flush=True)

    def went_on(self, seconds: float) -> None:
        with self.lock:
            self.seconds.append(seconds)

    def told(self, store: str) -> str:
        times = sorted(self.seconds)
        spread = "no time to go on was measured"
        if times:
            p99 = times[min(round(0.99 * len(times)), len(times) - 1)]
            spread = (
                f"time to go on p50 {statistics.median(times):.2f} s, p99 {p99:.2f} s, max {times[-1]:.2f} s "
                f"({len(times)} samples)"
            )
        return (
            f"{self.kills} kills -9 on {store}, {self.changes} changes, {len(self.broken)} with a broken promise; "
            f"{spread}; {time.monotonic() - self.began:.0f} s"
        )


class Killer:
    """Kills in one world until the tally is full, and sees to it that whoever died is started again."""

    def __init__(self, world: World, rows: Rows, tally: Tally, dice: random.Random, store: str) -> None:
        self._world, self._rows, self._tally, self._dice = world, rows, tally, dice
        self._store = store
        self._waiting: list[tuple[float, dict[str, int]]] = []
        self._number = 0

    def work(self) -> None:
        world = self._world
        while self._tally.may_kill():
            self._let_live()
            life = self._dice.choice([one for one in world.lives if one.running])
            note = life.note()
            before = self._rows.revisions(note["url"] if note is not None else None)
            began = time.monotonic()
            life.kill()
            self._number += 1
            is_real = self._store == "sqlite" and self._number % REAL_EVERY == 0
            if before and (is_real or self._store != "sqlite"):
                self._waiting.append((began, before))
            if self._store != "sqlite":
                self._look(self._dice.uniform(0.0, 3.0))
            life.start(forked=not is_real)
        self._look(GIVEN_UP_SECONDS / 2)

    def _let_live(self) -> None:
        """Until somebody could do something, and for a random time from then on."""
        until = time.monotonic() + DEADLINE_SECONDS
        while not any(life.is_ready for life in self._world.lives) and time.monotonic() < until:
            self._look(0.0)
        self._look(self._dice.uniform(*LIFE_SECONDS[self._store]))

    def _look(self, seconds: float) -> None:
        """For so long, at who goes on."""
        until = time.monotonic() + seconds
        while True:
            if self._waiting:
                now = self._rows.revisions()
                for entry in list(self._waiting):
                    began, before = entry
                    if any(now.get(run, rev) != rev for run, rev in before.items()):
                        self._tally.went_on(time.monotonic() - began)
                        self._waiting.remove(entry)
                    elif time.monotonic() - began > GIVEN_UP_SECONDS or not before.keys() & now.keys():
                        self._waiting.remove(entry)
            if time.monotonic() >= until:
                return
            time.sleep(0.02)


@dataclass(frozen=True)
class Person:
    """*database*: for the schema changes of this one alone, and the variable that holds it."""

    world: World
    folder: Path
    database: tuple[str, str]
    dice: random.Random
    patience_seconds: float = PATIENCE_SECONDS


def live(person: Person, tally: Tally, killing: threading.Event) -> None:
    """One person's changes, one after the other, as long as there is killing."""
    world, folder, dice = person.world, person.folder, person.dice
    variable, dsn = person.database
    while killing.is_set():
        name = f"n{next(_NAMES)}"
        place = folder / name
        place.mkdir()
        parts = Parts(
            goes_back=dice.random() < 0.5,
            postgres=dsn if dice.random() < 0.3 else None,
            postgres_in=variable,
            counting=world.counting.url,
            bake="100ms",
        )
        drive = Drive(world, Change(name, place, parts), on_tick=lambda: None, patience_seconds=person.patience_seconds)
        try:
            drive.begin()
            for command in ("pause", "resume"):
                time.sleep(dice.uniform(0.0, 1.0))
                drive.send(command)
            drive.wait(lambda status: bool(status["waiting"]), "to be asked")
            drive.send("approve")
            drive.end()
            complaints = broken_promises(drive)
        except Exception as problem:  # noqa: BLE001 - it is told
            complaints = [f"{type(problem).__name__}: {problem}"]
        tally.note(drive.change, complaints)


def one_world(server: PostgresServer, folder: Path, store: str, tally: Tally, seed: int) -> None:
    dice = random.Random(seed)
    with ExitStack() as stack:
        databases = {f"PG_URL_{number}": stack.enter_context(server.database()) for number in range(PEOPLE)}
        url = None
        if store == "postgresql":
            url = stack.enter_context(schema_in(stack.enter_context(server.database()), "store")).url
        world = stack.enter_context(world_in(folder, store=url, controllers=CONTROLLERS[store], **databases))
        world.keep_alive()
        for life in world.lives:
            life.wait_until_ready()
        rows = stack.enter_context(rows_of(world.store))
        killing = threading.Event()
        killing.set()
        with ThreadPoolExecutor(PEOPLE) as people:
            for database in databases.items():
                person = Person(world, folder, database, random.Random(dice.random()))
                people.submit(live, person, tally, killing)
            try:
                Killer(world, rows, tally, dice, store).work()
            finally:
                killing.clear()
                world.keep_alive()


def run(times: int, store: str, worlds: int, seed: int) -> int:
    tally = Tally(times)
    with (
        PostgresServer(max_connections="400") as server,
        tempfile.TemporaryDirectory(prefix="faults-") as folder,
        ThreadPoolExecutor(worlds) as pool,
    ):
        going = [
            pool.submit(one_world, server, Path(folder, f"w{number}"), store, tally, seed + number)
            for number in range(worlds)
        ]
        for one in going:
            one.result()
    print(f"{tally.told(store)}; seed {seed}")
    return 1 if tally.broken else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kill", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=100, help="how many kills (100)")
    parser.add_argument("--store", choices=sorted(CONTROLLERS), default="sqlite")
    parser.add_argument("--worlds", type=int, default=os.cpu_count() or 1, help="at a time")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"), help="of the moments")
    given = parser.parse_args()
    return run(given.times, given.store, given.worlds, given.seed)


if __name__ == "__main__":
    sys.exit(main())
