"""One run that has gone on for very long: what it costs to look at it, to take it up again, and to keep it.

A run is started and walked until its bake. Then it is paused and resumed again and again through the core (``accept``,
``apply``) and the store's own calls, until its journal has the events that are asked for, and a controller is started
on it. Measured are the time until that one has taken the run up (beside that of one with the short run); `rollout
status` with the controller, after it has ended, and from the journal alone, where no controller left a snapshot; what
HTTP answers, one request after the other: the run, pieces of its history and of its timeline at either end, the
commands, the page's first byte, and all that the page asks for when it is opened; the controller's memory before and
after many such requests; and everything at once (history and report), with the longest that anybody else waits
meanwhile for ``/healthz``.
"""

import asyncio
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks._fleet import Fleet, fleet_of
from benchmarks._machine import load, machine, stated, versions
from benchmarks._stored_fleet import READY_SECONDS, STORE, has_passed
from orchestrator.core import evidence as ev
from orchestrator.core.afterwards import is_settled
from orchestrator.core.commands import Actor, Command, accept
from orchestrator.core.events import Event
from orchestrator.core.fold import apply, fold
from orchestrator.core.moment import Moment
from orchestrator.core.phases import CommandName
from orchestrator.core.state import State
from orchestrator.core.view import summary
from orchestrator.journal.sqlite import SqliteStore
from orchestrator.ports import Batch
from tests.support.process import ROOT, isolated_environment, wait_until

QUICK, USUAL = 5_000, 100_000
TOGETHER = 500  # events in one write
PIECE = 500
QUICK_ROUNDS, ROUNDS, ROUNDS_FOLDED = 5, 30, 3
REQUESTS = 200  # between two looks at the memory
STATUS = "from orchestrator.cli import main; raise SystemExit(main())"
ANN = Actor("ann", "operator")
Ask = Callable[[], object]


def run(quick: bool) -> dict[str, Any]:
    events = QUICK if quick else USUAL
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with tempfile.TemporaryDirectory(prefix="rollout-long-") as folder, fleet_of(1, Path(folder)) as fleet:
        fleet.start_all()
        wait_until(lambda: has_passed(fleet), what="the gate to pass in the bake", every_seconds=0.2)
        short = _restarted(fleet)
        _end(fleet)
        name = asyncio.run(lengthen(fleet.life.state_dir / STORE, events))
        folded = _statuses(name, fleet.life.folder, ROUNDS_FOLDED)
        long = _restarted(fleet)
        beside = _statuses(name, fleet.life.folder, rounds)
        looked_at = _looked_at(fleet, name, events, rounds)
        _end(fleet)
        return {
            "events": events,
            "start_short_s": short,
            "start_long_s": long,
            "status_ms": beside,
            "status_without_controller_ms": _statuses(name, fleet.life.folder, rounds),
            "status_folded_ms": folded,
            **looked_at,
            "rounds": rounds,
            "load": load(),
            "machine": machine(),
            "versions": versions(),
        }


def table(result: dict[str, Any]) -> str:
    head = f"a run of {result['events']:,} events, milliseconds"
    lines = [f"{head:<48}{'p50':>9}{'most':>9}"]
    rows = {
        "rollout status": result["status_ms"],
        "the same after it has ended": result["status_without_controller_ms"],
        "the same from the journal alone": result["status_folded_ms"],
    }
    for words, one in {**rows, **result["requests_ms"]}.items():
        lines.append(f"{words:<48}{one['p50']:>9.1f}{one['most']:>9.1f}")
    for words, one in result["whole_ms"].items():
        lines.append(f"{words:<48}{one['took']:>9.1f}   others waited {one['others_waited']:.0f}")
    lines.append(
        f"controller ready after {result['start_long_s']:.2f} s, with a short run {result['start_short_s']:.2f} s"
    )
    before, after = result["rss_mb"]
    lines.append(f"memory {before:.0f} MB, {after:.0f} MB after {result['requests']} requests")
    lines.append(stated(result))
    return "\n".join(lines)


async def lengthen(path: Path, events: int) -> str:
    """Of a store with one run in its bake, which nobody walks: pauses and resumes it until there are so many events.
    Its name."""
    store = SqliteStore(path)
    try:
        (row,) = await store.rows()
        records = await store.read(row.run)
        state = fold((one.event, one.at) for one in records)
        epoch, evidence = await store.take(row.run), ev.from_text(await store.evidence(row.run))
        while (left := events - state.seq) > 0:
            before, at, said = state, time.time(), list[Event]()
            while len(said) < min(TOGETHER, left):
                state, more = _turned(Moment(state, evidence, at))
                said += more
            shown = {**summary(state), "settled": is_settled(state)}
            await store.append(Batch(row.run, before.seq, epoch, at, said, shown))
        return row.run
    finally:
        await store.close()


def _turned(moment: Moment) -> tuple[State, list[Event]]:
    """Paused, or resumed where it is: what it says, and the state behind that."""
    is_paused = any(hold.reason == "paused" for hold in moment.state.holds.values())
    asked = CommandName.RESUME if is_paused else CommandName.PAUSE
    said = accept(moment, Command(command=asked, reason="to see whether anybody notices"), ANN)
    state = moment.state
    for event in said:
        state = apply(state, event, moment.now)
    return state, said


# --- what is measured -------------------------------------------------------------------------------------------------


def _end(fleet: Fleet) -> None:
    fleet.life.send(signal.SIGTERM)
    wait_until(lambda: not fleet.life.running, what="the controller to end")


def _restarted(fleet: Fleet) -> float:
    """Seconds until it answers, with its run taken up."""
    if fleet.life.running:
        _end(fleet)
    began = time.monotonic()
    fleet.life.start(forked=False)
    fleet.life.wait_until_ready(READY_SECONDS)
    return round(time.monotonic() - began, 2)


def _statuses(name: str, folder: Path, rounds: int) -> dict[str, float]:
    """Of the command, as a process of its own."""
    words = [sys.executable, "-c", STATUS, "status", name]
    environment = {**isolated_environment(folder), "PYTHONPATH": str(ROOT)}
    return _times(lambda: subprocess.run(words, env=environment, cwd=folder, check=True, capture_output=True), rounds)


def _looked_at(fleet: Fleet, name: str, events: int, rounds: int) -> dict[str, Any]:
    api = f"/api/v1/runs/{name}"
    with _asking(fleet) as ask:
        requests: dict[str, Ask] = {
            "the run": lambda: ask(api),
            f"its first {PIECE} entries": lambda: ask(f"{api}/events?limit={PIECE}"),
            f"its last {PIECE} entries": lambda: ask(f"{api}/events?after={events - PIECE}&limit={PIECE}"),
            "its timeline, the newest": lambda: ask(f"{api}/timeline?limit=100"),
            "its timeline, the oldest": lambda: ask(f"{api}/timeline?before=101&limit=100"),
            "its commands": lambda: ask(f"{api}/commands"),
            "the page's first byte": lambda: ask(f"/runs/{name}"),
            "the page and all that it asks for": lambda: _open_page(ask, name),
        }
        first = _once(requests["its timeline, the newest"])
        found = {"its timeline, asked for first": {"p50": first, "most": first}}
        found |= {words: _times(one, rounds) for words, one in requests.items()}
        before = fleet.memory_mib
        for number in range(REQUESTS):
            list(requests.values())[number % len(requests)]()
        after = fleet.memory_mib
    whole = {
        words: _alone(fleet, path) for words, path in (("all entries", f"{api}/events"), ("report", f"{api}/report"))
    }
    return {
        "requests_ms": found,
        "requests": REQUESTS,
        "rss_mb": [round(mib * 1.048576, 1) for mib in (before, after)],
        "whole_ms": whole,
    }


def _open_page(ask: Callable[[str], httpx.Response], name: str) -> None:
    api = f"/api/v1/runs/{name}"
    for path in (f"/runs/{name}", api, f"{api}/timeline?limit=100", f"{api}/commands"):
        ask(path)


def _alone(fleet: Fleet, path: str) -> dict[str, float]:
    """Milliseconds that one large request takes, and the longest that somebody else waits for an answer meanwhile."""
    is_over, waited = threading.Event(), [0.0]

    def others() -> None:
        with _asking(fleet) as ask:
            while not is_over.is_set():
                waited.append(_once(lambda: ask("/healthz")))
                time.sleep(0.01)

    thread = threading.Thread(target=others)
    thread.start()
    try:
        with _asking(fleet) as ask:
            took = _once(lambda: ask(path))
    finally:
        is_over.set()
        thread.join()
    return {"took": took, "others_waited": max(waited)}


@contextmanager
def _asking(fleet: Fleet) -> Iterator[Callable[[str], httpx.Response]]:
    """Over one connection, as a browser does."""
    note = fleet.life.note()
    assert note is not None, fleet.life.log[-3000:]
    headers = {"Authorization": f"Bearer {note['token']}"}
    with httpx.Client(base_url=note["url"], headers=headers, trust_env=False, timeout=120.0) as client:

        def ask(path: str) -> httpx.Response:
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.status_code, answer.text[:300])
            return answer

        yield ask


def _once(what: Ask) -> float:
    began = time.perf_counter()
    what()
    return round(1000 * (time.perf_counter() - began), 1)


def _times(what: Ask, rounds: int) -> dict[str, float]:
    return _spread([_once(what) for _ in range(rounds)])


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"p50": round(statistics.median(values), 1), "most": round(max(values), 1)}
