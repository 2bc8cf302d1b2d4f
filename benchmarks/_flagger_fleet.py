"""What many canaries of Flagger cost: three metrics each, every 10 s, its shortest interval.

    python -m benchmarks._flagger_fleet CANARIES SECONDS

Every canary stands in its steps of 1 %, on a real API server and a node that runs nothing, and every metric asks a
question of its own. Measured are the controller's processor time and memory, how late its checks come (by how much the
time between two of a question is more than 10 s), and what the API server and its store spend on it.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from benchmarks._canaries import processor_seconds
from benchmarks._flagger import INTERVAL_SECONDS, Flagger, flagger, pinned_version
from benchmarks._machine import load
from tests.support.cluster import ControlPlane, provide_programs
from tests.support.process import Child, wait_until

QUERIES = {
    "errors": 'sum(rate(failures_total{service="{{ target }}"}[2m])) / '
    'sum(rate(requests_total{service="{{ target }}"}[2m]))',
    "latency": 'histogram_quantile(0.99, sum by (le) (rate(request_seconds_bucket{service="{{ target }}"}[2m])))',
    "saturation": 'worker_saturation{service="{{ target }}"}',
}
SETTLE_SECONDS = 2.5 * INTERVAL_SECONDS
LONGEST_SECONDS = 40 * INTERVAL_SECONDS  # then the first ones are promoted
STORES = ("kube-apiserver", "etcd")


def measure(canaries: int, seconds: float) -> dict[str, Any]:
    """RuntimeError where Flagger or the control plane can't be had."""
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"seconds: at most {LONGEST_SECONDS:g}, got {seconds:g}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flagger-fleet-")))
        server = stack.enter_context(Child([sys.executable, "-m", "benchmarks._flipped_server"], folder))
        wait_until(lambda: bool(server.output.strip()), what=f"the server's address; it says {server.errors}")
        prometheus = server.output.strip()
        plane = stack.enter_context(ControlPlane(provide_programs(show_progress=True)))
        peer = stack.enter_context(flagger(plane, prometheus, folder, QUERIES))
        names = [f"canary-{number}" for number in range(canaries)]
        peer.make(names)
        print(f"flagger: {canaries} canaries are made", file=sys.stderr)
        peer.release(names)
        peer.wait_until_shared(names)
        time.sleep(SETTLE_SECONDS)
        return {"canaries": canaries, **_steady(peer, plane, prometheus, seconds), "flagger": pinned_version()}


def _steady(peer: Flagger, plane: ControlPlane, prometheus: str, seconds: float) -> dict[str, Any]:
    stores = [pid for name, pid in plane.parts.items() if name in STORES]
    _asked(prometheus)
    began, spent = time.monotonic(), peer.processor_seconds
    spent_by_stores = sum(map(processor_seconds, stores))
    time.sleep(seconds)
    passed, spent = time.monotonic() - began, peer.processor_seconds - spent
    spent_by_stores = sum(map(processor_seconds, stores)) - spent_by_stores
    asked = _asked(prometheus)
    judged = sum(weight > 0 for weight in peer.watch.weights.values())
    return {
        "judged": judged,
        "cores": round(spent / passed, 3),
        "rss_mb": round(peer.memory_mb),
        "lateness_p99_s": round(max(asked["gap_p99_ms"] / 1000 - INTERVAL_SECONDS, 0.0), 2),
        "asked_share": round(asked["count"] / (judged * len(QUERIES) * passed / INTERVAL_SECONDS), 2),
        "api_server_cores": round(spent_by_stores / passed, 3),
        "load": load(),
    }


def _asked(prometheus: str) -> dict[str, Any]:
    told: dict[str, Any] = httpx.get(f"{prometheus}/asked", trust_env=False, timeout=60.0).json()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks._flagger_fleet", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("canaries", type=int)
    parser.add_argument("seconds", type=float)
    given = parser.parse_args()
    print(json.dumps(measure(given.canaries, given.seconds)))


if __name__ == "__main__":
    main()
