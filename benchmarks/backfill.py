"""A backfill in batches beside one single UPDATE, on a real PostgreSQL: rows a second, and how long others had to wait.

The same table is filled twice, once each way, in turn. Meanwhile an application updates single rows of it; its longest
wait is what a user would have felt. A single UPDATE is the faster of the two and holds every row until it is over.
"""

import asyncio
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg

from benchmarks._machine import machine, versions
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sql.backfill import BackfillPerformer
from orchestrator.core.effect import Effect, EffectState
from orchestrator.ports import Scene
from stages.actions.sql import checksum
from stages.effects import RunBackfill, TargetKind
from tests.support.postgres import PostgresServer

ROWS, QUICK_ROWS = 5_000_000, 200_000
BATCH = 5000
PROBES_PER_SECOND = 50
FILL = "UPDATE measured SET filled = number * 2 WHERE id BETWEEN :from AND :to"


@dataclass
class Application:
    """Updates one row after the other, so many a second, and remembers its longest wait in seconds."""

    dsn: str
    rows: int
    longest_seconds: float = 0.0
    updates: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def run(self) -> None:
        dice = random.Random(1)
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not self._stop.wait(1 / PROBES_PER_SECOND):
                began = time.monotonic()
                connection.execute(
                    "UPDATE measured SET touched = touched + 1 WHERE id = %s", (dice.randint(1, self.rows),)
                )
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
                self.updates += 1

    def __enter__(self) -> "Application":
        self._thread = threading.Thread(target=self.run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()


def run(quick: bool) -> dict[str, Any]:
    rows = QUICK_ROWS if quick else ROWS
    with PostgresServer() as server, server.database() as dsn:
        ours = _measure(dsn, rows, _in_batches)
        single = _measure(dsn, rows, _at_once)
        with psycopg.connect(dsn) as connection:
            version = connection.info.server_version
    return {
        "rows": rows,
        "ours": ours,
        "single_update": single,
        "longest_wait_ratio": round(ours["longest_wait_ms"] / single["longest_wait_ms"], 4),
        "rows_per_second_ratio": round(ours["rows_per_second"] / single["rows_per_second"], 2),
        "machine": machine(),
        "versions": {**versions(), "postgresql": version},
    }


def _measure(dsn: str, rows: int, fill: Any) -> dict[str, float]:
    _prepare(dsn, rows)
    with Application(dsn, rows) as application:
        began = time.monotonic()
        fill(dsn)
        spent = time.monotonic() - began
    return {
        "seconds": round(spent, 2),
        "rows_per_second": round(rows / spent),
        "longest_wait_ms": round(application.longest_seconds * 1000, 1),
        "updates_meanwhile": application.updates,
    }


def _prepare(dsn: str, rows: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS measured, rollout_backfills")
        connection.execute(
            "CREATE TABLE measured (id bigint PRIMARY KEY, number bigint NOT NULL, filled bigint,"
            " touched bigint NOT NULL DEFAULT 0)"
        )
        connection.execute("INSERT INTO measured (id, number) SELECT i, i FROM generate_series(1, %s) AS i", (rows,))
        connection.execute("VACUUM ANALYZE measured")
        connection.execute("CHECKPOINT")


def _in_batches(dsn: str) -> None:
    performer = BackfillPerformer(Secrets())
    operation = RunBackfill(
        database=dsn, name="fill.sql", table="measured", key="id", sql=FILL, checksum=checksum(FILL), batch=BATCH
    )
    effect = Effect(
        id="e1", target="t", target_kind=TargetKind.SCHEMA, label="fill", operation=operation, environment="production"
    )
    while True:
        outcome = asyncio.run(performer.perform(effect, Scene(run="benchmark", environment="production"), False))
        if outcome.state is EffectState.DONE and outcome.observed["done"]:
            return
        if outcome.state is EffectState.REFUSED:
            raise RuntimeError(outcome.detail)


def _at_once(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE measured SET filled = number * 2")


def table(result: dict[str, Any]) -> str:
    lines = [
        f"Backfill of {result['rows']:,} rows on PostgreSQL, beside an application that updates single rows",
        f"{result['machine']}; {result['versions']}",
        "",
        f"{'way':<24}{'seconds':>10}{'rows/s':>12}{'longest wait of others':>26}",
    ]
    for name, key in ((f"batches of {BATCH:,}", "ours"), ("one UPDATE", "single_update")):
        one = result[key]
        wait = f"{one['longest_wait_ms']:,.1f} ms"
        lines.append(f"{name:<24}{one['seconds']:>10}{one['rows_per_second']:>12,}{wait:>26}")
    lines += ["", f"longest wait, ours / one UPDATE: {result['longest_wait_ratio']}"]
    return "\n".join(lines)
