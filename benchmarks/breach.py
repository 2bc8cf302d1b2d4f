"""How long it takes from the answer of Prometheus that decides until a flag is off in an application.

One try: a run stands in the bake of its flag's only step, at 50 %, with a gate of one criterion that is looked at every
second; the server that answers like Prometheus is flipped at a random moment; the first look that sees it fails, and
the run is rolled back. An application, a process of its own with a `FlagClient`, notes when it evaluates a user's flag
as off. The controller is the real `rollout serve` with its SQLite store, and everything is made durable as ever.
*decided* is when the first bad answer is written by the server, *breach* is when that was flipped: the wait for the
next look lies between them. A second row has a look every 5 s.

Beside it, in the same run and of the same server, between two halves of our tries: Flagger at its shortest interval of
10 s and with the least threshold, 1, until the canary's weight in the route is 0; and, where one is named, Argo
Rollouts with an analysis every second that fails at once, until the canary's ReplicaSet is told to be 0. Both as a
watch on a real API server sees it.
"""

import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks._argo import argo, argo_folder, version_in
from benchmarks._canaries import Canaries
from benchmarks._flag_server import percentile
from benchmarks._flagger import flagger, pinned_version, provide_flagger
from benchmarks._machine import load, machine, stated, versions
from tests.faults.lives import Life
from tests.faults.world import submission
from tests.support.cluster import Cluster, ControlPlane, provide_programs
from tests.support.process import Child, isolated_environment, wait_until

QUICK, USUAL, FULL = (10, 0, 0), (60, 4, 10), (300, 20, 30)
"""Tries with a look every second, with one every 5 s, and of a peer."""
OFTEN_SECONDS, SELDOM_SECONDS = 1, 5
AT_ONCE = 5  # runs that are active while one is measured
CANARIES = 10  # of a peer, at once
PAUSE_SECONDS = 1.5  # from one of them to the next: enough for one to go back before, if it is looked at every second
LIMITS = {"p50_s": 0.030, "p99_s": 0.100}
QUERY = 'sum(rate(failures_total{{service="{0}"}}[1m])) / sum(rate(requests_total{{service="{0}"}}[1m]))'


@dataclass(frozen=True, slots=True)
class Try:
    """Monotonic moments."""

    flipped_at: float
    decided_at: float
    off_at: float

    @property
    def decided_to_off(self) -> float:
        return self.off_at - self.decided_at

    @property
    def breach_to_off(self) -> float:
        return self.off_at - self.flipped_at


def run(quick: bool, full: bool = False) -> dict[str, Any]:
    return measured(*(QUICK if quick else FULL if full else USUAL))


def measured(often: int, seldom: int, of_peers: int) -> dict[str, Any]:
    """*often* and *seldom* are tries with a look every second and every 5 s; one half before the peers, one after."""
    tries: dict[int, list[Try]] = {OFTEN_SECONDS: [], SELDOM_SECONDS: []}
    with tempfile.TemporaryDirectory(prefix="rollout-breach-") as folder, world_in(Path(folder)) as world:
        tries[OFTEN_SECONDS] += world.tries(often - often // 2, OFTEN_SECONDS)
        tries[SELDOM_SECONDS] += world.tries(seldom - seldom // 2, SELDOM_SECONDS)
        peers, missing = _peers(world, of_peers)
        tries[OFTEN_SECONDS] += world.tries(often // 2, OFTEN_SECONDS)
        tries[SELDOM_SECONDS] += world.tries(seldom // 2, SELDOM_SECONDS)
    found = {str(every): of_tries(made) for every, made in tries.items() if made}
    ours = found[str(OFTEN_SECONDS)]
    return {
        "decided_to_off_p50_s": ours["decided_to_off"]["p50_s"],
        "decided_to_off_p99_s": ours["decided_to_off"]["p99_s"],
        "breach_to_off_p50_s": ours["breach_to_off"]["p50_s"],
        "by_every": found,
        "peers": peers,
        "not_measured": missing,
        "runs_at_once": AT_ONCE,
        "load": load(),
        "machine": machine(),
        "versions": versions("uvicorn"),
    }


def table(result: dict[str, Any]) -> str:
    rows = [
        _row(f"a look every {every} s", one["tries"], one["decided_to_off"], one["breach_to_off"])
        for every, one in result["by_every"].items()
    ]
    peers = [
        _row(f"{name.title()} {one['version']}, every {one['every_s']} s", one["tries"], one, one["breach"])
        for name, one in result["peers"].items()
    ]
    lines = [
        f"Seconds until a flag is off in an application; {result['runs_at_once']} runs at once, one flipped",
        stated(result),
        "",
        f"{'':<28}{'tries':>6}   {'from the answer that decides':<36}{'from the breach':<16}",
        f"{'':<28}{'':>6}{'p50':>9}{'p99':>9}{'least':>9}{'most':>9}{'p50':>9}{'p99':>9}",
        *rows,
        *peers,
        f"{f'wanted, every {OFTEN_SECONDS} s':<28}{'':>6}{LIMITS['p50_s']:>9.3f}{LIMITS['p99_s']:>9.3f}",
        *(_ratio(name, result) for name in result["peers"]),
        *(["theirs end when a watch on the API server sees the canary at 0"] if result["peers"] else []),
        *(f"{name.title()}: not measured: {why}" for name, why in result["not_measured"].items()),
    ]
    return "\n".join(lines)


def _row(words: str, tries: int, decided: dict[str, float], breach: dict[str, float]) -> str:
    numbers = [decided[name] for name in ("p50_s", "p99_s", "least_s", "most_s")] + [breach["p50_s"], breach["p99_s"]]
    return f"{words:<28}{tries:>6}" + "".join(f"{number:>9.3f}" for number in numbers)


def _ratio(name: str, result: dict[str, Any]) -> str:
    ours, theirs = result["decided_to_off_p50_s"], result["peers"][name]["p50_s"]
    return f"from the answer that decides {name.title()} takes {theirs / ours:,.1f} times as long (medians)"


def peer_of(found: dict[str, Any]) -> dict[str, Any]:
    return {"tries": found["tries"], **found["decided_to_off"], "breach": found["breach_to_off"]}


def of_tries(tries: Sequence[Try]) -> dict[str, Any]:
    return {
        "tries": len(tries),
        "decided_to_off": spread([one.decided_to_off for one in tries]),
        "breach_to_off": spread([one.breach_to_off for one in tries]),
    }


def spread(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50_s": round(statistics.median(ordered), 4),
        "p99_s": round(percentile(ordered, 0.99), 4),
        "least_s": round(ordered[0], 4),
        "most_s": round(ordered[-1], 4),
    }


# --- ours -------------------------------------------------------------------------------------------------------------


@dataclass
class World:
    folder: Path
    life: Life
    prometheus: str
    application: Child
    made: int = 0

    def tries(self, wanted: int, every_seconds: int) -> list[Try]:
        """Some runs at once, flipped one after the other."""
        made: list[Try] = []
        while len(made) < wanted:
            flags = [self._start(every_seconds) for _ in range(min(AT_ONCE, wanted - len(made)))]
            for flag in flags:
                self._moment("on", flag)
            time.sleep(every_seconds)  # each is looked at
            for flag in flags:
                time.sleep(random.uniform(0, every_seconds))
                made.append(self._try(flag))
            print(f"breach: {len(made)} of {wanted} tries, every {every_seconds} s", file=sys.stderr)
        return made

    def _start(self, every_seconds: int) -> str:
        self.made += 1
        flag = f"flag-{self.made}"
        body = submission(json.dumps(plan_of(flag, self.prometheus, every_seconds)), self.folder)
        reply = self.life.ask("POST", "/api/v1/runs", body)
        if reply is None or reply.status != 201:
            raise RuntimeError(f"{flag} was not started: {reply}; {self.life.log[-2000:]}")
        return flag

    def _try(self, flag: str) -> Try:
        tell(self.prometheus, "flip", flag)
        off_at = self._moment("off", flag)
        told = tell(self.prometheus, "told", flag)
        return Try(told["flipped_at"], told["bad_at"], off_at)

    def _moment(self, what: str, flag: str) -> float:
        def found() -> float:
            lines = (line.split() for line in self.application.output.splitlines())
            return next((float(line[2]) for line in lines if line[:2] == [what, flag] and len(line) == 3), 0.0)

        return wait_until(found, what=f"{flag} to be {what} in the application; it says {self.application.errors}")


def tell(prometheus: str, what: str, service: str) -> dict[str, float]:
    """*what*: flip, mend or told."""
    told: dict[str, float] = httpx.get(f"{prometheus}/{what}", params={"service": service}, trust_env=False).json()
    return told


def plan_of(flag: str, prometheus: str, every_seconds: int) -> dict[str, Any]:
    criterion = {"name": "errors", "query": QUERY.format(flag), "pass": "< 0.05", "fail": "> 0.10"}
    stage = {"name": "only", "kind": "monitoring", "flag": flag, "percentages": [50], "gate": "health", "bake": "7d",
             "settle": "0s"}  # fmt: skip
    return {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": flag},
        "spec": {
            "prometheus": {"url": prometheus},
            "flags": {flag: {}},
            "gates": {"health": {"every": f"{every_seconds}s", "criteria": [criterion]}},
            "stages": [stage],
        },
    }


@contextmanager
def world_in(folder: Path) -> Iterator[World]:
    with ExitStack() as stack:
        prometheus = stack.enter_context(Child([sys.executable, "-m", "benchmarks._flipped_server"], folder))
        wait_until(lambda: bool(prometheus.output.strip()), what=f"the server's address; it says {prometheus.errors}")
        life = Life(folder, isolated_environment(folder))
        stack.callback(life.end)
        life.start(forked=False)
        life.wait_until_ready()
        note = life.note()
        assert note is not None
        application = Child([sys.executable, "-m", "benchmarks._flag_watcher", note["url"]], folder)
        yield World(folder, life, prometheus.output.strip(), stack.enter_context(application))


# --- peers ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    version: Callable[[], str]
    """RuntimeError with the reason where it can't be had."""
    started: Callable[[Cluster, World], AbstractContextManager[Canaries]]


def _version_of_flagger() -> str:
    provide_flagger(show_progress=True)
    return pinned_version()


PEERS = {
    "flagger": Peer(_version_of_flagger, lambda cluster, world: flagger(cluster, world.prometheus, world.folder)),
    "argo": Peer(
        lambda: version_in(argo_folder()),
        lambda cluster, world: argo(cluster, world.prometheus, world.folder, OFTEN_SECONDS),
    ),
}


def _peers(world: World, tries: int) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """What was measured of each, and why others were not."""
    if tries == 0:
        return {}, dict.fromkeys(PEERS, "it takes minutes, which --quick does not have")
    there, missing = {}, {}
    for name, peer in PEERS.items():
        try:
            there[name] = peer.version()
        except RuntimeError as error:
            missing[name] = str(error)
    if not there:
        return {}, missing
    try:
        programs = provide_programs(show_progress=True)
    except RuntimeError as error:
        return {}, missing | dict.fromkeys(there, str(error))
    found = {}
    with ControlPlane(programs) as cluster:
        for name, version in there.items():
            print(f"breach: {name} begins; it takes a minute or two", file=sys.stderr)
            with PEERS[name].started(cluster, world) as canaries:
                made = _tries_of(canaries, world.prometheus, name, tries)
                found[name] = {**peer_of(of_tries(made)), "every_s": canaries.every_seconds, "version": version}
    return found, missing


def _tries_of(peer: Canaries, prometheus: str, prefix: str, wanted: int) -> list[Try]:
    """Some canaries at once, flipped one after the other: a peer may look at all of them together."""
    names = [f"{prefix}-{number}" for number in range(min(CANARIES, wanted))]
    peer.make(names)
    made: list[Try] = []
    while len(made) < wanted:
        chosen = names[: wanted - len(made)]
        for name in chosen:
            tell(prometheus, "mend", name)
        peer.release(chosen)
        peer.wait_until_shared(chosen)
        for name in chosen:
            time.sleep(PAUSE_SECONDS)
            tell(prometheus, "flip", name)
        for name in chosen:
            zero_at = peer.wait_until_zero(name)
            told = tell(prometheus, "told", name)
            made.append(Try(told["flipped_at"], told["bad_at"], zero_at))
        print(f"breach: {len(made)} of {wanted} tries of {prefix}", file=sys.stderr)
    return made
