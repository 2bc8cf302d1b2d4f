"""What it costs and brings when three controllers on PostgreSQL share the runs that one had.

First one controller has all runs, then three, measured once each has its share. The runs are found in the store
(``_stored_fleet.py``), for to start thousands takes longer than to measure them. Per look (a criterion of a run, every
15 s) stands the processor time of all controllers together.
Then the one with most runs is killed, and the time runs until others have claimed all of its runs and taken them up.

For throughput there are runs of which each asks every second for something that no other asks, more than a third of a
processor can look at; each controller has so much, by a control group. Where none may be made, that is not measured.
"""

import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks._fleet import ASKED, EVERY_SECONDS, Fleet, steady_server
from benchmarks._machine import load, machine, stated, versions
from benchmarks._quota import Unlimited, limited
from benchmarks._stored_fleet import READY_SECONDS, store_fleet
from tests.faults.lives import Life
from tests.support.postgres import PostgresServer
from tests.support.process import isolated_environment, wait_until
from tests.support.stores import PostgresSchema, schema_in

CONTROLLERS = 3
QUICK, USUAL, FULL = 60, 3000, 10_000
TAKES_MINUTES = "it takes minutes, which --quick does not have"
THIRD, BUSY_RUNS, BUSY_SECONDS = 1 / 3, 400, 30.0
NEARLY = 0.9  # more than that is what there was to ask, and not what they can
UNEVEN = 0.10  # of a share; but ten runs, from which on any is moved at all, are even enough
PROMISED_SECONDS, TAKEN_UP = 10.5, 2  # epochs: one for the claim, one when the run is taken up


class Cluster:
    """Controllers of one store, with a fleet of runs that all of them have together."""

    def __init__(self, schema: PostgresSchema, fleets: Sequence[Fleet]) -> None:
        self.schema = schema
        self.fleets = list(fleets)

    @property
    def processor_seconds(self) -> float:
        return sum(one.processor_seconds for one in self.fleets)

    def start_all(self) -> None:
        self.fleets[0].start_all()

    def store_all(self) -> None:
        """As ``start_all``, but that all runs are there and walked already."""
        first, runs = self.fleets[0], self.fleets[0].runs
        for fleet in self.fleets[1:]:
            fleet.life.end()
        first.runs = 1
        store_fleet(first, runs, lambda: self.schema.store("stored"))
        for fleet in self.fleets:
            fleet.life.start(forked=False)
            fleet.life.wait_until_ready(READY_SECONDS)
        wait_until(self.are_taken_up, what="all runs to be taken up", deadline_seconds=READY_SECONDS)

    def are_taken_up(self) -> bool:
        """Whether all were claimed and taken up by others than who stored them, as a run of a fleet was once."""
        return not self.schema.execute("SELECT 1 FROM runs WHERE active AND epoch < %s LIMIT 1", 2 * TAKEN_UP)

    def shares(self) -> list[int]:
        """Of each controller that has any, the most first."""
        found = self.schema.execute("SELECT count(*) FROM runs WHERE active AND owner IS NOT NULL GROUP BY owner")
        return sorted((count for (count,) in found), reverse=True)

    def is_even(self) -> bool:
        """Whether every controller is near enough to its share."""
        shares = self.shares()
        even = self.fleets[0].runs / len(self.fleets)
        shares += [0] * (len(self.fleets) - len(shares))
        return sum(shares) == self.fleets[0].runs and max(abs(one - even) for one in shares) <= max(UNEVEN * even, 10)

    def even_out(self) -> float:
        """Seconds until every controller has its share."""
        began = time.monotonic()
        wait_until(self.is_even, what="even shares", deadline_seconds=600.0, every_seconds=0.2)
        return time.monotonic() - began

    def cost(self, seconds: float) -> dict[str, float]:
        """Of a look."""
        began, spent = time.monotonic(), self.processor_seconds
        self.fleets[0].asked()
        time.sleep(seconds)
        looks = self.fleets[0].runs * len(ASKED) * (time.monotonic() - began) / EVERY_SECONDS
        told = self.fleets[0].asked()
        return {
            "us_per_look": round((self.processor_seconds - spent) / looks * 1e6),
            "questions_per_look": round(told["count"] / looks, 2),
        }

    def lose_one(self) -> float:
        """Seconds from the death of the controller with most runs until others have all of them."""
        owner, _ = self.schema.execute(
            "SELECT owner, count(*) FROM runs WHERE active GROUP BY owner ORDER BY 2 DESC LIMIT 1"
        )[0]
        before = dict(self.schema.execute("SELECT run, epoch FROM runs WHERE active AND owner = %s", owner))
        lost = next(one for one in self.fleets if self._is(one, owner))
        began = time.monotonic()
        lost.life.send(signal.SIGKILL)

        def are_taken_up() -> bool:
            now = self.schema.execute("SELECT run, epoch FROM runs WHERE run = ANY(%s)", list(before))
            return all(epoch >= before[run] + TAKEN_UP for run, epoch in now)

        wait_until(are_taken_up, what="all runs to be taken up", deadline_seconds=120.0, every_seconds=0.1)
        self.fleets.remove(lost)
        return time.monotonic() - began

    def _is(self, fleet: Fleet, owner: str) -> bool:
        answer = fleet.ask("GET", "/readyz").json()
        return bool(answer["controller"] == owner)


@contextmanager
def cluster_of(
    controllers: int, server: PostgresServer, runs: int, *, every_seconds: int = EVERY_SECONDS, different: bool = False
) -> Iterator[Cluster]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rollout-cluster-")))
        schema = stack.enter_context(schema_in(stack.enter_context(server.database()), "store"))
        url = stack.enter_context(steady_server(folder))
        fleets = []
        for number in range(controllers):
            place = folder / str(number)
            place.mkdir()
            life = Life(place, {**isolated_environment(place), "ROLLOUT_STORE": schema.url})
            stack.callback(life.end)
            life.start(forked=False)
            life.wait_until_ready()
            fleets.append(Fleet(life, url, runs, different, every_seconds))
        yield Cluster(schema, fleets)


def run(quick: bool, full: bool = False) -> dict[str, Any]:
    runs, seconds = (QUICK, 2.0 * EVERY_SECONDS) if quick else (FULL if full else USUAL, 4.0 * EVERY_SECONDS)
    with PostgresServer(max_connections="200") as server:
        alone = _costs(1, server, runs, seconds)
        shared = _costs(CONTROLLERS, server, runs, seconds)
        throughput, why = ({}, TAKES_MINUTES) if quick else _throughputs(server)
    return {
        "runs": runs,
        "controllers": CONTROLLERS,
        "speedup": round(throughput[CONTROLLERS] / throughput[1], 2) if throughput else None,
        "not_measured": why,
        "questions_per_s": {str(count): round(rate, 1) for count, rate in throughput.items()},
        "alone": alone,
        "shared": shared,
        "cost_ratio": round(shared["us_per_look"] / alone["us_per_look"], 2),
        "load": load(),
        "machine": machine(),
        "versions": versions(),
    }


def _costs(controllers: int, server: PostgresServer, runs: int, seconds: float) -> dict[str, Any]:
    with cluster_of(controllers, server, runs) as cluster:
        cluster.store_all()
        found: dict[str, Any] = {"even_after_s": round(cluster.even_out(), 1)} if controllers > 1 else {}
        print(f"cluster: {runs} runs with {controllers}, shares {cluster.shares()}", file=sys.stderr)
        time.sleep(2.0 * EVERY_SECONDS)
        found |= cluster.cost(seconds)
        found["shares"] = cluster.shares()
        if controllers > 1:
            found["takeover_s"] = round(cluster.lose_one(), 1)
        return found


def _throughputs(server: PostgresServer) -> tuple[dict[int, float], str]:
    """By number of controllers; or nothing, and why."""
    try:
        found = {count: _throughput(count, server) for count in (1, CONTROLLERS)}
    except Unlimited as error:
        return {}, str(error)
    most = BUSY_RUNS * len(ASKED)
    if max(found.values()) > NEARLY * most:
        return {}, f"the controllers asked nearly all of the {most} questions that there were each second"
    return found, ""


def _throughput(controllers: int, server: PostgresServer) -> float:
    """Questions a second, of controllers with a third of a processor each."""
    with cluster_of(controllers, server, BUSY_RUNS, every_seconds=1, different=True) as cluster:
        cluster.start_all()
        if controllers > 1:
            cluster.even_out()
        with ExitStack() as stack:
            for fleet in cluster.fleets:
                stack.enter_context(limited(fleet.life.pid, THIRD))
            time.sleep(BUSY_SECONDS / 3)
            cluster.fleets[0].asked()
            began = time.monotonic()
            time.sleep(BUSY_SECONDS)
            return float(cluster.fleets[0].asked()["count"]) / (time.monotonic() - began)


def table(result: dict[str, Any]) -> str:
    alone, shared = result["alone"], result["shared"]
    runs = f"{result['runs']} runs, three criteria every {EVERY_SECONDS} s"
    rows = [
        (runs, "one controller", f"{CONTROLLERS} controllers", ""),
        ("processor time of a look, us", alone["us_per_look"], shared["us_per_look"], f"{result['cost_ratio']} x"),
        ("questions of a look", alone["questions_per_look"], shared["questions_per_look"], ""),
        ("runs of each", _words(alone["shares"]), _words(shared["shares"]), ""),
        ("even after the last start, s", "", shared["even_after_s"], ""),
        ("others have all after a SIGKILL, s", "", shared["takeover_s"], f"promised: {PROMISED_SECONDS}"),
    ]
    if result["speedup"] is not None:
        rates = result["questions_per_s"]
        busy = "questions a second, with a third of a core each"
        rows.append((busy, rates["1"], rates[str(CONTROLLERS)], f"{result['speedup']} x"))
    lines = [f"{what:<48}{one:>16}{three:>16}   {more}".rstrip() for what, one, three, more in rows]
    if result["speedup"] is None:
        lines.append(f"throughput was not measured: {result['not_measured']}")
    lines.append(stated(result))
    return "\n".join(lines)


def _words(shares: Sequence[int]) -> str:
    return "/".join(map(str, shares))
