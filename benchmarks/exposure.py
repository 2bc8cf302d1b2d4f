"""What one exposure costs: one line that asks a flag and counts outcome and latency, beside the same by hand.

By hand is what an application would write without it, and as fast as prometheus_client lets it be: ask the compiled
flag, take the time twice, increment a counter and observe into a histogram whose children were looked up before. It has
one counter for each side of the flag, and no arm, no band, no error, and no bound. Both count in one process or, with
``multiprocess``, into prometheus_client's memory-mapped files.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks._machine import machine, stated, versions

CALLS = 20_000
MODES = ("in one process", "multiprocess")


def run(quick: bool) -> dict[str, Any]:
    rounds = 5 if quick else 25
    modes = {mode: _measured_apart(rounds, mode) for mode in MODES}
    first = modes[MODES[0]]
    return {
        "ours_us": first["ours"]["median"],
        "by_hand_us": first["by_hand"]["median"],
        "ratio": first["ratio"],
        "modes": modes,
        "rounds": rounds,
        "calls": CALLS,
        "machine": machine(),
        "versions": versions("prometheus-client"),
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"Exposure: microseconds for one ({result['rounds']} rounds of {result['calls']:,} taking turns, one thread)",
        stated(result),
        "",
        f"{'':<16}{'':<12}{'median':>9}{'least':>9}{'most':>9}",
    ]
    for mode, measured in result["modes"].items():
        for name in ("ours", "by_hand", "answer"):
            numbers = "".join(f"{measured[name][which]:>9.2f}" for which in ("median", "least", "most"))
            lines.append(f"{mode:<16}{name.replace('_', ' '):<12}{numbers}")
        lines.append(f"{mode:<16}ours to by hand, median of the rounds: {measured['ratio']:.2f} x")
    return "\n".join(lines)


def _measured_apart(rounds: int, mode: str) -> dict[str, Any]:
    """In a process of its own, for prometheus_client decides when it is imported where it counts."""
    with tempfile.TemporaryDirectory(prefix="exposure-") as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
        if mode == "multiprocess":
            environment["PROMETHEUS_MULTIPROC_DIR"] = folder
        command = [sys.executable, "-m", "benchmarks.exposure", str(rounds)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _measured(rounds: int) -> dict[str, Any]:
    sides = _sides()
    spans: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side(CALLS // 10)
    for _ in range(rounds):
        for name, side in sides.items():
            began = time.perf_counter()
            side(CALLS)
            spans[name].append((time.perf_counter() - began) / CALLS * 1e6)
    ratios = [ours / by_hand for ours, by_hand in zip(spans["ours"], spans["by_hand"], strict=True)]
    return {name: _spread(measured) for name, measured in spans.items()} | {
        "ratio": round(statistics.median(ratios), 3)
    }


def _sides() -> dict[str, Callable[[int], None]]:
    """Keys are all different, as users are."""
    from prometheus_client import CollectorRegistry, Counter, Histogram

    from flags import FlagDocument, Snapshot
    from flags.exposure import BUCKETS, Exposure

    snapshot = Snapshot([FlagDocument("new-api", percentage=30, targets={"team": ("search",)})])
    registry = CollectorRegistry()
    flags = Exposure(snapshot, registry=registry)
    flag = snapshot.get("new-api")
    assert flag is not None
    requests = Counter("requests_total", "", ["variant"], registry=registry)
    seconds = Histogram("request_seconds", "", ["variant"], registry=registry, buckets=BUCKETS)
    counters = [requests.labels(variant) for variant in ("off", "on")]
    histograms = [seconds.labels(variant) for variant in ("off", "on")]
    contexts: list[dict[str, object]] = [{"targetingKey": f"user-{number}", "team": "shop"} for number in range(CALLS)]

    def ours(calls: int) -> None:
        for context in contexts[:calls]:
            with flags.exposure("new-api", context):
                pass

    def by_hand(calls: int) -> None:
        for context in contexts[:calls]:
            on = flag.is_on(context)
            began = time.perf_counter()
            counters[on].inc()
            histograms[on].observe(time.perf_counter() - began)

    def answer(calls: int) -> None:
        for context in contexts[:calls]:
            flag.is_on(context)

    return {"ours": ours, "by_hand": by_hand, "answer": answer}


def _spread(spans: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(spans), 3),
        "least": round(min(spans), 3),
        "most": round(max(spans), 3),
    }


if __name__ == "__main__":
    print(json.dumps(_measured(int(sys.argv[1]))))
