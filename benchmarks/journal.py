"""How many appends a second the journal acknowledges, beside a plain database, on SQLite and on PostgreSQL.

All sides write one event and the run's row, durably, on the same disk, taking turns: SQLite with its write-ahead log
and ``synchronous=FULL``, PostgreSQL with ``fsync`` and ``synchronous_commit``. Plain is the same without hash chain,
fence or typed events: with one commit for each append (``sqlite3`` directly from one producer and through one thread
from a hundred, since SQLite has one writer; ``insert`` through as many connections as our store has), and as ``group``
with one commit for all that wait at that moment, the floor under any journal on that database. ``memory`` is our store
without a disk: what the events themselves cost. ``dbos`` is DBOS, where it is installed: a hundred workflows, each of
whose steps is put on record before the next one begins.
"""

import asyncio
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from benchmarks import _dbos
from benchmarks._machine import load, machine, stated, versions
from benchmarks._plain_journals import (
    EVENT,
    SUMMARY,
    PlainPostgres,
    PlainSqlite,
    prepare_postgres,
    rate,
    rate_of_groups,
    rate_one_by_one,
)
from orchestrator.journal.memory import MemoryStore
from orchestrator.journal.postgresql.store import CONNECTIONS, PostgresStore
from orchestrator.journal.sqlite import SqliteStore
from orchestrator.ports import Batch, Journal, Member, NewRun
from tests.support.postgres import PostgresServer

PRODUCERS = (1, 100)
MOST = PRODUCERS[-1]
DBOS_ROUNDS, QUICK_DBOS_ROUNDS = 3, 1
POSTGRESQL = "on PostgreSQL"

Rates = dict[tuple[str, int], list[float]]
"""By side and number of producers, one for each round."""


def run(quick: bool) -> dict[str, Any]:
    rounds, seconds = (3, 0.4) if quick else (5, 2.0)
    dbos_rounds = (QUICK_DBOS_ROUNDS if quick else DBOS_ROUNDS) if _dbos.is_there() else 0
    with (
        tempfile.TemporaryDirectory(prefix="journal-", dir=Path.cwd()) as name,
        PostgresServer(fsync="on", full_page_writes="on", synchronous_commit="on", shared_buffers="128MB") as server,
    ):
        folder, rates = Path(name), Rates()
        sync_ms = _sync_ms(folder)
        for number in range(rounds):
            _sqlite_round(folder / str(number), seconds, rates)
            _postgres_round(server, seconds, rates)
            if number < dbos_rounds:
                _dbos_round(folder / f"{number}.db", server, max(seconds, 1.0), rates)
        ((postgresql,),) = server.execute("SHOW server_version")
    sqlite = {"sqlite (ours, apsw)": apsw.sqlite_lib_version(), "sqlite (peer, sqlite3)": sqlite3.sqlite_version}
    return {
        "machine": machine(),
        "load": load(),
        "versions": {**versions(_dbos.DISTRIBUTION), **sqlite, "postgresql": postgresql},
        "sync_ms": sync_ms,
        "rounds": rounds,
        "seconds": seconds,
        "results": [_result(side, producers, measured) for (side, producers), measured in rates.items()],
        **_compared(rates, "ours", "group", {"sqlite3": "sqlite3", "dbos": "dbos"}),
        "postgresql": _compared(rates, f"ours {POSTGRESQL}", f"group {POSTGRESQL}", _PEERS_THERE),
        "ours_to_peer": {str(n): _ratio(rates["ours", n], rates["sqlite3", n]) for n in PRODUCERS},
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"Journal: durable appends per second ({result['rounds']} rounds of {result['seconds']} s, taking turns)",
        f"{stated(result)}; write and fsync of 4 KB: {result['sync_ms']:.2f} ms",
        "",
        f"{'store':<24}{'producers':>10}{'median':>12}{'least':>12}{'most':>12}",
    ]
    for one in result["results"]:
        numbers = "".join(f"{one[name]:>12,.0f}" for name in ("median", "least", "most"))
        lines.append(f"{one['store']:<24}{one['producers']:>10}{numbers}")
    ratios = (f"{ratio:.2f} x with {producers}" for producers, ratio in result["ours_to_peer"].items())
    lines += ["", f"ours to sqlite3, median of the rounds: {', '.join(ratios)}"]
    groups = f"{result['ratio']:.2f} x, {POSTGRESQL} {result['postgresql']['ratio']:.2f} x"
    lines.append(f"ours to the group commit with {MOST}: {groups}")
    if "dbos" not in result["peers"]:
        lines.append("DBOS is not installed: .venv/bin/pip install --group bench")
    return "\n".join(lines)


_PEERS_THERE = {"insert": f"insert {POSTGRESQL}", "dbos": f"dbos {POSTGRESQL}"}


def _compared(rates: Rates, ours: str, group: str, peers: dict[str, str]) -> dict[str, Any]:
    return {
        "events_per_s": round(statistics.median(rates[ours, MOST])),
        "raw_per_s": round(statistics.median(rates[group, MOST])),
        "ratio": _ratio(rates[ours, MOST], rates[group, MOST]),
        "peers": {
            name: {"events_per_s": round(statistics.median(rates[side, MOST]))}
            for name, side in peers.items()
            if (side, MOST) in rates
        },
    }


def _result(side: str, producers: int, measured: list[float]) -> dict[str, Any]:
    return {
        "store": side,
        "producers": producers,
        "median": round(statistics.median(measured), 1),
        "least": round(min(measured), 1),
        "most": round(max(measured), 1),
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


# --- the rounds -------------------------------------------------------------------------------------------------------


def _sqlite_round(folder: Path, seconds: float, rates: Rates) -> None:
    folder.mkdir()
    sides = {"sqlite3": _peer, "group": _group, "ours": _ours, "memory": _memory}
    for producers in PRODUCERS:
        for name, side in sides.items():
            path = folder / f"{name}-{producers}.db"
            _note(rates, name, producers, asyncio.run(side(path, producers, seconds)))


def _postgres_round(server: PostgresServer, seconds: float, rates: Rates) -> None:
    sides: dict[str, Callable[[str, float], Coroutine[None, None, float]]] = {
        "insert": _postgres_peer,
        "group": _postgres_group,
        "ours": _postgres_ours,
    }
    for name, side in sides.items():
        with server.database() as dsn:
            _note(rates, f"{name} {POSTGRESQL}", MOST, asyncio.run(side(dsn, seconds)))


def _dbos_round(path: Path, server: PostgresServer, seconds: float, rates: Rates) -> None:
    _note(rates, "dbos", MOST, _dbos.steps_per_second(f"sqlite:///{path}", MOST, seconds))
    with server.database() as dsn:
        _note(rates, f"dbos {POSTGRESQL}", MOST, _dbos.steps_per_second(dsn, MOST, seconds))


def _note(rates: Rates, side: str, producers: int, measured: float) -> None:
    rates.setdefault((side, producers), []).append(measured)


async def _ours(path: Path, producers: int, seconds: float) -> float:
    store = SqliteStore(path)
    try:
        return await _journal(store, producers, seconds)
    finally:
        await store.close()


async def _postgres_ours(dsn: str, seconds: float) -> float:
    store = PostgresStore(dsn, Member("measured", ""))
    try:
        return await _journal(store, MOST, seconds)
    finally:
        await store.close()


async def _memory(_: Path, producers: int, seconds: float) -> float:
    return await _journal(MemoryStore(), producers, seconds)


async def _journal(journal: Journal, producers: int, seconds: float) -> float:
    for producer in range(producers):
        await journal.start(NewRun(f"run-{producer}", "plan", "digest", {}), 1, 0.0, [], {})

    async def append(producer: int, count: int) -> object:
        return await journal.append(Batch(f"run-{producer}", count, 1, 1.0, [EVENT], SUMMARY))

    return await rate(append, producers, seconds)


async def _peer(path: Path, producers: int, seconds: float) -> float:
    with closing(PlainSqlite(path, producers)) as plain:

        async def directly(producer: int, count: int) -> None:
            plain.append([(producer, count)])

        if producers == 1:
            return await rate(directly, 1, seconds)
        return await rate_one_by_one([plain], producers, seconds)


async def _group(path: Path, producers: int, seconds: float) -> float:
    with closing(PlainSqlite(path, producers)) as plain:
        return await rate_of_groups(plain, producers, seconds)


async def _postgres_peer(dsn: str, seconds: float) -> float:
    prepare_postgres(dsn, MOST)
    plains = [PlainPostgres(dsn) for _ in range(CONNECTIONS)]
    try:
        return await rate_one_by_one(plains, MOST, seconds)
    finally:
        for plain in plains:
            plain.close()


async def _postgres_group(dsn: str, seconds: float) -> float:
    prepare_postgres(dsn, MOST)
    with closing(PlainPostgres(dsn)) as plain:
        return await rate_of_groups(plain, MOST, seconds)
