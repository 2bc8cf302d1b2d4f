"""`python -m tests.migrations.kill --times N`: SIGKILL to the controller at N random moments of migration plans.

Each world is a database with some traffic and long reports, a plan that goes forward or (every second one) all the way
back, and a controller that is killed a few times and started again each time. At the end the run is promoted or rolled
back, the catalogue is what the same files applied by hand make of it, and every change of it was committed as often as
by hand: none twice, none missing.

Moments are random in what the journal has reached, so that they spread over the run on fast and slow machines.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.worlds.host import Host, host_in
from tests.acceptance.worlds.journals import assert_sound
from tests.migrations.teams import FAILS, KEPT, UP, Traffic, by_hand_on, catalogue, changes, prepare, rows, write_plan
from tests.support.postgres import PostgresServer
from tests.support.process import Child

KILLS_IN_A_WORLD = 5
MOST_EVENTS_BETWEEN_KILLS = 8
LONGEST_BEGINNING_SECONDS = 15.0
LONGEST_LIFE_SECONDS = 3.0
END_SECONDS = 120.0


@dataclass(frozen=True)
class Expectation:
    forward: set[str]
    back: set[str]
    forward_changes: Counter[str]

    @classmethod
    def of(cls, server: PostgresServer) -> "Expectation":
        forward, forward_changes = by_hand_on(server, UP)
        return cls(forward, by_hand_on(server, KEPT)[0], forward_changes)


def kill_in_one_world(server: PostgresServer, wanted: Expectation, dice: random.Random, kills: int, back: bool) -> str:
    """Where each kill fell, in words. AssertionError if the world does not end as it must."""
    with server.database() as dsn, tempfile.TemporaryDirectory() as folder:
        prepare(dsn)
        with host_in(Path(folder), DATABASE_URL=dsn) as host, Traffic(dsn, per_second=20.0).going_on() as traffic:
            plan = write_plan(host.folder, on_rollback="down" if back else "keep", last=FAILS if back else "")
            moments = _kill_often(host, plan, dice, kills, dsn)
            code, said = _end(host, plan)
            _judge(host, dsn, wanted, back, code, said)
            assert traffic.problems == [], traffic.problems
    return ", ".join(moments)


def _kill_often(host: Host, plan: Path, dice: random.Random, kills: int, dsn: str) -> list[str]:
    moments = []
    for _ in range(kills):
        if _is_over(host):
            break  # it has come to its end; the kills that are left go to the next world
        child = host.start(plan)
        _let_it_live(host, child, dice)
        child.kill()
        moments.append(_moment(dsn))
    return moments


def _is_over(host: Host) -> bool:
    """Whether there was a run, and none goes on."""
    outcomes = host.query("SELECT json_extract(summary, '$.outcome') FROM runs")
    return bool(outcomes) and all(outcome is not None for (outcome,) in outcomes)


def _let_it_live(host: Host, child: Child, dice: random.Random) -> None:
    """Until the journal has grown by some events and a moment longer, or (every second time) for some time from its
    first new event on: so kills fall between statements and into those that wait long.
    """
    by_time = dice.random() < 0.5
    until = host.length() + (1 if by_time else dice.randint(1, MOST_EVENTS_BETWEEN_KILLS))
    latest = time.monotonic() + LONGEST_BEGINNING_SECONDS
    while child.running and host.length() < until and time.monotonic() < latest:
        time.sleep(0.005)
    time.sleep(dice.uniform(0.0, LONGEST_LIFE_SECONDS) if by_time else 0.1 * dice.random())


def _moment(dsn: str) -> str:
    """What the database knows of the migration right after a kill."""
    tables = (
        "SELECT to_regclass('rollout_migrations') IS NOT NULL, to_regclass('rollout_migration_progress') IS NOT NULL"
    )
    noted, partly = rows(dsn, tables)[0]
    files = rows(dsn, "SELECT count(*) FROM rollout_migrations")[0][0] if noted else 0
    steps = rows(dsn, "SELECT direction, done, begun FROM rollout_migration_progress") if partly else []
    inside = "".join(f" +{direction} {done}{' begun' if begun else ''}" for direction, done, begun in steps)
    half = rows(dsn, "SELECT count(*) FROM pg_index WHERE NOT indisvalid")[0][0]
    return f"{files} files{inside}{' half-built' if half else ''}"


def _end(host: Host, plan: Path) -> tuple[int, str]:
    if _is_over(host):
        return -1, ""
    with host.start(plan) as child:
        return child.wait(END_SECONDS), child.output + child.errors


def _judge(host: Host, dsn: str, wanted: Expectation, back: bool, code: int, said: str) -> None:
    found = host.query("SELECT run, json_extract(summary, '$.outcome') FROM runs")
    # a run that was killed at its very end may end before the next `start` looks for it, which then begins another
    assert {outcome for _, outcome in found} == {"rolled_back" if back else "promoted"}, f"{found} {code} {said}"
    for run, _ in found:
        assert_sound(host, str(run))
    there = catalogue(dsn)
    expected = wanted.back if back else wanted.forward
    assert there == expected, f"too much: {there - expected}; missing: {expected - there}"
    assert rows(dsn, "SELECT * FROM rollout_migration_progress") == []
    # what is taken back is there to be applied by each run
    most = Counter({what: count * (len(found) if back else 1) for what, count in wanted.forward_changes.items()})
    more = _forward_only(changes(dsn)) - most
    assert not more, f"committed more than once: {more}"
    assert _forward_only(wanted.forward_changes) - changes(dsn) == Counter(), "a change is missing in the log"


def _forward_only(log: Counter[str]) -> Counter[str]:
    """Without what the way back changes too, where drops of columns are logged under the same words."""
    return Counter({what: count for what, count in log.items() if not what.startswith("ALTER TABLE")})


def run(times: int, seed: int) -> int:
    dice = random.Random(seed)
    done = worlds = 0
    with PostgresServer() as server:
        wanted = Expectation.of(server)
        while done < times:
            back = worlds % 2 == 1
            kills = min(KILLS_IN_A_WORLD, times - done)
            moments = kill_in_one_world(server, wanted, dice, kills, back)
            worlds += 1
            done += moments.count(",") + 1 if moments else 0
            print(f"{done:4d} kills, world {worlds} ({'back' if back else 'forward'}): {moments}", flush=True)
    print(f"{done} kills in {worlds} worlds: every run ended as it must, no change twice or missing (seed {seed})")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.migrations.kill", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--times", type=int, default=100, help="how many kills (100)")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"), help="to repeat the moments")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    return run(arguments.times, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
