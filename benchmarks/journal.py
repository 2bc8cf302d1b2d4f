"""How many appends a second the journal acknowledges, beside plain SQLite with one commit for each.

Both sides write one event and the run's row, durably (write-ahead log, ``synchronous=FULL``), on the same disk, taking
turns. The peer is the standard library's ``sqlite3`` without hash chain, fence, savepoints or typed events: from one
producer called directly, from a hundred through one thread, since SQLite has one writer. ``group`` is the same with one
commit for all that wait at that moment: the floor under any journal on SQLite. ``memory`` is our store without a disk:
what the events themselves cost.
"""

import asyncio
import json
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from orchestrator.core.events import CheckAnswered
from orchestrator.journal.memory import MemoryStore
from orchestrator.journal.sqlite import SqliteStore
from orchestrator.ports import Batch, Journal, NewRun
from stages.checks import Standing

PRODUCERS = (1, 100)
_EVENT = CheckAnswered(
    item="plan", name="backup is fresh", standing=Standing.YES, detail="3 hours old", by="controller"
)
_DATA = json.dumps(_EVENT.model_dump(mode="json"))
_SUMMARY = {"phase": "running", "leg": "baking", "stage": "monitoring", "percentages": {"embeddingMonitoring": 25}}

Append = Callable[[int, int], Awaitable[object]]
"""Of the producer's number and how many it has appended before."""


def run(quick: bool) -> dict[str, Any]:
    rounds, seconds = (3, 0.4) if quick else (7, 3.0)
    rates: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="journal-", dir=Path.cwd()) as folder:
        sync_ms = _sync_ms(Path(folder))
        for number in range(rounds):
            for producers in PRODUCERS:
                for name, side in (("sqlite3", _peer), ("group", _group), ("ours", _ours), ("memory", _memory)):
                    path = Path(folder, f"{name}-{producers}-{number}.db")
                    rate = asyncio.run(side(path, producers, seconds))
                    rates.setdefault((name, producers), []).append(rate)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "versions": {
            "python": platform.python_version(),
            "sqlite (ours, apsw)": apsw.sqlite_lib_version(),
            "sqlite (peer, sqlite3)": sqlite3.sqlite_version,
        },
        "sync_ms": sync_ms,
        "rounds": rounds,
        "seconds": seconds,
        "results": [_result(name, producers, measured) for (name, producers), measured in rates.items()],
        "events_per_s": round(statistics.median(rates["ours", PRODUCERS[-1]])),
        "raw_per_s": round(statistics.median(rates["group", PRODUCERS[-1]])),
        "ratio": _ratio(rates["ours", PRODUCERS[-1]], rates["group", PRODUCERS[-1]]),
        "peers": {"sqlite3": {"events_per_s": round(statistics.median(rates["sqlite3", PRODUCERS[-1]]))}},
        "ours_to_peer": {str(n): _ratio(rates["ours", n], rates["sqlite3", n]) for n in PRODUCERS},
    }


def table(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        f"Journal: durable appends per second ({result['rounds']} rounds of {result['seconds']} s, taking turns)",
        f"{result['machine']}; {versions}; write and fsync of 4 KB: {result['sync_ms']:.2f} ms",
        "",
        f"{'store':<10}{'producers':>10}{'median':>12}{'least':>12}{'most':>12}",
    ]
    for one in result["results"]:
        numbers = "".join(f"{one[name]:>12,.0f}" for name in ("median", "least", "most"))
        lines.append(f"{one['store']:<10}{one['producers']:>10}{numbers}")
    ratios = (f"{ratio:.2f} x with {producers}" for producers, ratio in result["ours_to_peer"].items())
    lines += ["", f"ours to sqlite3, median of the rounds: {', '.join(ratios)}"]
    lines.append(f"ours to the group commit: {result['ratio']:.2f} x with {PRODUCERS[-1]}")
    return "\n".join(lines)


def _result(name: str, producers: int, rates: list[float]) -> dict[str, Any]:
    return {
        "store": name,
        "producers": producers,
        "median": round(statistics.median(rates), 1),
        "least": round(min(rates), 1),
        "most": round(max(rates), 1),
    }


def _ratio(ours: list[float], peer: list[float]) -> float:
    """Round by round, since both met the same weather there."""
    return round(statistics.median(a / b for a, b in zip(ours, peer, strict=True)), 3)


def _sync_ms(folder: Path) -> float:
    spans = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            spans.append(time.perf_counter() - began)
    return round(statistics.median(spans) * 1000, 3)


async def _rate(append: Append, producers: int, seconds: float) -> float:
    began = time.perf_counter()
    end = began + seconds

    async def produce(producer: int) -> int:
        count = 0
        while time.perf_counter() < end:
            await append(producer, count)
            count += 1
        return count

    counts = await asyncio.gather(*(produce(producer) for producer in range(producers)))
    return sum(counts) / (time.perf_counter() - began)


async def _ours(path: Path, producers: int, seconds: float) -> float:
    store = SqliteStore(path)
    try:
        return await _journal(store, producers, seconds)
    finally:
        await store.close()


async def _memory(_: Path, producers: int, seconds: float) -> float:
    return await _journal(MemoryStore(), producers, seconds)


async def _journal(journal: Journal, producers: int, seconds: float) -> float:
    for producer in range(producers):
        await journal.start(NewRun(f"run-{producer}", "plan", "digest", {}), 1, 0.0, [], {})

    async def append(producer: int, count: int) -> object:
        return await journal.append(Batch(f"run-{producer}", count, 1, 1.0, [_EVENT], _SUMMARY))

    return await _rate(append, producers, seconds)


class _Plain:
    """The tables as the standard library's SQLite writes them, durably."""

    def __init__(self, path: Path, producers: int) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE runs (run TEXT PRIMARY KEY, rev INTEGER, summary TEXT)")
        self._connection.execute(
            "CREATE TABLE events (run TEXT, seq INTEGER, at REAL, data TEXT, PRIMARY KEY (run, seq))"
        )
        runs = [(f"run-{number}",) for number in range(producers)]
        self._connection.executemany("INSERT INTO runs VALUES (?, 0, '')", runs)

    def append(self, *wanted: tuple[int, int]) -> None:
        """In one commit, each of a producer that has appended so often before."""
        self._connection.execute("BEGIN IMMEDIATE")
        for producer, count in wanted:
            run, summary = f"run-{producer}", json.dumps(_SUMMARY)
            self._connection.execute("INSERT INTO events VALUES (?,?,?,?)", (run, count + 1, 1.0, _DATA))
            self._connection.execute(
                "UPDATE runs SET rev = ?, summary = ? WHERE run = ? AND rev = ?", (count + 1, summary, run, count)
            )
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


async def _peer(path: Path, producers: int, seconds: float) -> float:
    plain = _Plain(path, producers)

    async def directly(producer: int, count: int) -> None:
        plain.append((producer, count))

    try:
        if producers == 1:
            return await _rate(directly, 1, seconds)
        return await _through_a_thread(lambda *wanted: plain.append(wanted), producers, seconds)
    finally:
        plain.close()


async def _group(path: Path, producers: int, seconds: float) -> float:
    plain, loop = _Plain(path, producers), asyncio.get_running_loop()
    waiting: list[tuple[tuple[int, int], asyncio.Future[None]]] = []

    async def commit_all(thread: ThreadPoolExecutor) -> None:
        while waiting:
            group = waiting[:]
            waiting.clear()
            await loop.run_in_executor(thread, partial(plain.append, *(one for one, _ in group)))
            for _, done in group:
                done.set_result(None)
            await asyncio.sleep(0)  # whoever waited comes with the next one

    with ThreadPoolExecutor(1) as thread:
        committing: asyncio.Task[None] | None = None

        async def append(producer: int, count: int) -> None:
            nonlocal committing
            done = loop.create_future()
            waiting.append(((producer, count), done))
            if committing is None or committing.done():
                committing = asyncio.create_task(commit_all(thread))
            await done

        try:
            return await _rate(append, producers, seconds)
        finally:
            plain.close()


async def _through_a_thread(append_now: Callable[[int, int], None], producers: int, seconds: float) -> float:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:

        async def append(producer: int, count: int) -> None:
            await loop.run_in_executor(thread, append_now, producer, count)

        return await _rate(append, producers, seconds)
