"""Three teams' migrations on real PostgreSQL with 200 statements a second on the same tables: how long did they wait?

The same files are applied by the `rollout` command and, beside it in the same run, by psql (or, where there is none, by
a connection without any limit), each to a fresh database. The application also writes reports now and then, whose
transactions keep locks for one to three seconds: a change of a table has to wait for them, and whoever waits in the
queue makes everybody behind wait too. Their times are random, and the same for each way of a round. A time without any
migration shows what the machine itself makes them wait.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._machine import machine, versions
from tests.migrations.teams import UP, Traffic, by_hand, by_psql, catalogue, prepare, rows, write_plan
from tests.support.postgres import PostgresServer
from tests.support.process import rollout_in

ROUNDS, QUICK_ROUNDS = 5, 1
QUIET_SECONDS = 6.0
PER_SECOND = 200.0

Apply = Callable[[str], None]


def run(quick: bool) -> dict[str, Any]:
    naive = ("psql -f", _by_psql) if shutil.which("psql") else ("psycopg, autocommit, no limits", _by_hand)
    ways: dict[str, Apply] = {"no migration": _nothing, "rollout": _by_rollout, naive[0]: naive[1]}
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    with PostgresServer() as server:
        version = rows(server.dsn(), "SHOW server_version")[0][0]
        for seed in range(QUICK_ROUNDS if quick else ROUNDS):
            reached = []
            for name, apply in ways.items():
                with server.database() as dsn:
                    results[name].append(_measured(dsn, apply, seed))
                    reached.append(catalogue(dsn))
            assert reached[1] == reached[2], "the two did not do the same"
    return {
        **versions(),
        "postgresql": version,
        "machine": machine(),
        "per_second": PER_SECOND,
        "ways": {name: _summary(measured) for name, measured in results.items()},
    }


def _measured(dsn: str, apply: Apply, seed: int) -> dict[str, Any]:
    prepare(dsn)
    with Traffic(dsn, PER_SECOND, seed).going_on() as traffic:
        began = time.monotonic()
        apply(dsn)
        took_seconds = time.monotonic() - began
    assert not traffic.problems, traffic.problems
    waits = sorted(traffic.waits_seconds)
    return {
        "took_seconds": took_seconds,
        "statements": len(waits),
        "per_second": len(waits) / took_seconds,
        "longest_ms": waits[-1] * 1000,
        "p99_ms": waits[int(len(waits) * 0.99)] * 1000,
        "over_1s": sum(1 for wait in waits if wait > 1.0),
        "slowest": traffic.slowest[1],
    }


def _summary(measured: list[dict[str, Any]]) -> dict[str, Any]:
    longest = [one["longest_ms"] for one in measured]
    return {
        "rounds": len(measured),
        "longest_ms": max(longest),
        "median_longest_ms": statistics.median(longest),
        "median_p99_ms": statistics.median(one["p99_ms"] for one in measured),
        "statements": sum(one["statements"] for one in measured),
        "over_1s": sum(one["over_1s"] for one in measured),
        "median_took_seconds": statistics.median(one["took_seconds"] for one in measured),
        "slowest": max(measured, key=lambda one: float(one["longest_ms"]))["slowest"],
    }


def _nothing(_: str) -> None:
    time.sleep(QUIET_SECONDS)


def _by_psql(dsn: str) -> None:
    by_psql(dsn, UP)


def _by_hand(dsn: str) -> None:
    by_hand(dsn, UP)


def _by_rollout(dsn: str) -> None:
    with tempfile.TemporaryDirectory() as folder, rollout_in(Path(folder), DATABASE_URL=dsn) as rollout:
        result = rollout.run("start", write_plan(Path(folder)), deadline_seconds=300.0)
        assert result.code == 0, result.output + result.errors


def table(result: dict[str, Any]) -> str:
    head = (
        f"Waits of an application's statements ({result['per_second']:g}/s) while migrations are applied; "
        f"PostgreSQL {result['postgresql']}, Python {result['python']}, {result['machine']}"
    )
    columns = f"{'longest':>12}{'median of':>12}{'99 %':>12}{'over 1 s':>10}{'statements':>12}{'took':>10}"
    lines = [head, f"{'':32}{columns}", f"{'':32}{'':>12}{'longest':>12}"]
    for name, one in result["ways"].items():
        lines.append(
            f"{name:32}{one['longest_ms']:>9.0f} ms{one['median_longest_ms']:>9.0f} ms{one['median_p99_ms']:>9.1f} ms"
            f"{one['over_1s']:>10}{one['statements']:>12}{one['median_took_seconds']:>8.1f} s"
        )
    return "\n".join(lines)
