"""`python -m tests.faults.failover --times N`: the store's PostgreSQL falls over N times under three controllers.

The store is on a primary with a synchronous standby, and the controllers know both by their address. People make
changes as in :mod:`.kill`; at random moments the primary is shut down immediately and started again, or it is gone and
the standby promoted, or the old primary even comes back as one, on the host that is named first, while the new one
restarts. When a change has ended every promise is checked, among them that no acknowledged command is lost. Nobody may
have written anything to the old primary once it came back.

*Time to go on* is from the fault to the next event in any run's journal, the server's own recovery included.
"""

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path

from tests.faults.kill import PEOPLE, Person, Tally, live
from tests.faults.world import world_in
from tests.support.postgres import PostgresServer
from tests.support.postgres_pair import Pair
from tests.support.process import wait_until

CONTROLLERS = 3
CALM_SECONDS = (1.0, 6.0)
GOES_ON_SECONDS = 90.0
PATIENCE_SECONDS = 2 * GOES_ON_SECONDS  # of a person, with one change
LEASES = "SELECT name, lease_until FROM store.controllers"
WRITTEN = "SELECT (SELECT count(*) FROM store.events), (SELECT array_agg(c ORDER BY name) FROM store.controllers c)"


class Fault(StrEnum):
    RESTART = "restart"
    FAILOVER = "failover"
    RETURN = "failover and return"
    RETURN_WAITING = "failover and return, without its standby"


def bring(fault: Fault, pair: Pair, meanwhile: Callable[[], object] = lambda: None) -> list[str]:
    """What the old primary was told that it should not have been. *meanwhile* is done when it is back."""
    if fault is Fault.RESTART:
        pair.restart()
        return []
    leases = dict(pair.ask(pair.primary, f"{LEASES} WHERE lease_until > clock_timestamp()"))
    pair.fail_over()
    if fault is Fault.FAILOVER:
        return []
    assert pair.old is not None
    wait_until(
        lambda: not leases.items() & dict(pair.ask(pair.primary, LEASES)).items(),
        what="every controller to see the new primary, for only who saw it knows that the old one is old",
        deadline_seconds=GOES_ON_SECONDS,
    )
    pair.let_the_old_one_return(waits=fault is Fault.RETURN_WAITING)
    before = pair.ask(pair.old, WRITTEN)
    pair.restart()  # so that every controller has to choose again
    meanwhile()
    seconds_to_go_on(pair)
    after = pair.ask(pair.old, WRITTEN)
    return [] if after == before else [f"the old primary was written to: {before} became {after}"]


def events(pair: Pair) -> int:
    return int(pair.ask(pair.primary, "SELECT count(*) FROM store.events")[0][0])


def seconds_to_go_on(pair: Pair) -> float:
    began, before = time.monotonic(), events(pair)
    wait_until(
        lambda: events(pair) > before, what="somebody to go on", deadline_seconds=GOES_ON_SECONDS, every_seconds=0.1
    )
    return time.monotonic() - began


def fall(pair: Pair, tally: Tally, dice: random.Random) -> None:
    """Again and again, until the tally is full."""
    while tally.may_kill():
        time.sleep(dice.uniform(*CALM_SECONDS))
        fault = dice.choice(list(Fault))
        began = time.monotonic()
        try:
            broken = bring(fault, pair)
            seconds_to_go_on(pair)
        except AssertionError as problem:
            broken = [str(problem)]
        if broken:
            tally.broken.extend(broken)
            print(f"BROKEN after {fault}: {'; '.join(broken)}", flush=True)
            return
        tally.went_on(time.monotonic() - began)
        print(f"{fault}: on after {time.monotonic() - began:.1f} s", flush=True)
        if fault is not Fault.RESTART:
            pair.add_standby()


def run(times: int, seed: int) -> int:
    tally, dice, working = Tally(times), random.Random(seed), threading.Event()
    working.set()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="failover-")))
        pair, server = stack.enter_context(Pair()), stack.enter_context(PostgresServer())
        databases = {f"PG_URL_{number}": stack.enter_context(server.database()) for number in range(PEOPLE)}
        world = stack.enter_context(world_in(folder, store=pair.url, controllers=CONTROLLERS, **databases))
        world.keep_alive()
        for life in world.lives:
            life.wait_until_ready()
        with ThreadPoolExecutor(PEOPLE) as people:
            for database in databases.items():
                own = random.Random(dice.random())
                people.submit(live, Person(world, folder, database, own, PATIENCE_SECONDS), tally, working)
            try:
                fall(pair, tally, dice)
            finally:
                working.clear()
    print(f"{tally.told('PostgreSQL').replace('kills -9 on', 'falls of')}; seed {seed}")
    return 1 if tally.broken else 0


def main() -> int:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m tests.faults.failover", description=summary)
    parser.add_argument("--times", type=int, default=20, help="how many falls (20)")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"), help="of the moments")
    given = parser.parse_args()
    return run(given.times, given.seed)


if __name__ == "__main__":
    sys.exit(main())
