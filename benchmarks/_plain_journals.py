"""The journal's two tables without a journal: as anybody writes them, durably, into SQLite and into PostgreSQL.

Each appends one event and moves the run's row, for every producer that waits, in one transaction.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import psycopg

from orchestrator.core.events import CheckAnswered
from stages.checks import Standing

EVENT = CheckAnswered(item="plan", name="backup is fresh", standing=Standing.YES, detail="3 hours old", by="controller")
SUMMARY = {"phase": "running", "leg": "baking", "stage": "monitoring", "percentages": {"embeddingMonitoring": 25}}
DATA = json.dumps(EVENT.model_dump(mode="json"))

Place = tuple[int, int]
"""A producer's number, and how many it has appended before."""

Append = Callable[[int, int], Awaitable[object]]
"""Of the same."""


class Plain(Protocol):
    def append(self, wanted: Sequence[Place]) -> None: ...

    def close(self) -> None: ...


class PlainSqlite:
    """The standard library's."""

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

    def append(self, wanted: Sequence[Place]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        for producer, count in wanted:
            run, summary = f"run-{producer}", json.dumps(SUMMARY)
            self._connection.execute("INSERT INTO events VALUES (?,?,?,?)", (run, count + 1, 1.0, DATA))
            self._connection.execute(
                "UPDATE runs SET rev = ?, summary = ? WHERE run = ? AND rev = ?", (count + 1, summary, run, count)
            )
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


def prepare_postgres(dsn: str, producers: int) -> None:
    """The tables, once for all connections."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE runs (run text PRIMARY KEY, rev bigint, summary text)")
        connection.execute(
            "CREATE TABLE events (run text, seq bigint, at double precision, data text, PRIMARY KEY (run, seq))"
        )
        connection.execute(
            "INSERT INTO runs SELECT 'run-' || number, 0, '' FROM generate_series(0, %s) AS number", (producers - 1,)
        )


class PlainPostgres:
    """One connection of psycopg."""

    def __init__(self, dsn: str) -> None:
        self._connection: psycopg.Connection[tuple[Any, ...]] = psycopg.connect(dsn)

    def append(self, wanted: Sequence[Place]) -> None:
        """In two statements, however many wait."""
        runs = [f"run-{producer}" for producer, _ in wanted]
        befores = [count for _, count in wanted]
        summaries = [json.dumps(SUMMARY) for _ in wanted]
        self._connection.execute(
            "INSERT INTO events SELECT run, before + 1, 1.0, data FROM "
            "unnest(%s::text[], %s::bigint[], %s::text[]) AS new (run, before, data)",
            (runs, befores, [DATA] * len(wanted)),
        )
        self._connection.execute(
            "UPDATE runs SET rev = before + 1, summary = new.summary FROM "
            "unnest(%s::text[], %s::bigint[], %s::text[]) AS new (run, before, summary) "
            "WHERE runs.run = new.run AND runs.rev = before",
            (runs, befores, summaries),
        )
        self._connection.commit()

    def close(self) -> None:
        self._connection.close()


async def rate(append: Append, producers: int, seconds: float) -> float:
    """Appends a second, of producers that begin the next one as soon as the last is acknowledged."""
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


async def rate_one_by_one(plains: Sequence[Plain], producers: int, seconds: float) -> float:
    """A commit for each append, through as many threads as there are connections."""
    loop, idle = asyncio.get_running_loop(), SimpleQueue[Plain]()
    for plain in plains:
        idle.put(plain)

    def append_now(place: Place) -> None:
        plain = idle.get()
        try:
            plain.append([place])
        finally:
            idle.put(plain)

    with ThreadPoolExecutor(len(plains)) as threads:

        async def append(producer: int, count: int) -> None:
            await loop.run_in_executor(threads, append_now, (producer, count))

        return await rate(append, producers, seconds)


async def rate_of_groups(plain: Plain, producers: int, seconds: float) -> float:
    """One commit for all that wait at that moment: the floor under any journal on this database."""
    loop = asyncio.get_running_loop()
    waiting: list[tuple[Place, asyncio.Future[None]]] = []

    async def commit_all(thread: ThreadPoolExecutor) -> None:
        while waiting:
            group = waiting[:]
            waiting.clear()
            await loop.run_in_executor(thread, partial(plain.append, [place for place, _ in group]))
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

        return await rate(append, producers, seconds)
