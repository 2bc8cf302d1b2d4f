"""What a controller inside a cluster costs while nothing happens: memory, processor and requests with 1,000 rollouts.

A real control plane, and a real `rollout serve --in-cluster` that has run them all to their end. Measured is its time
to do that; then it rests, then it is started anew and rests again. Requests are counted by the API server, in its audit
log. Beside it a controller that drives nothing (`rollout serve`) says what of the memory is not the cluster's.
"""

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks._machine import machine, versions
from tests.support.cluster import ControlPlane, provide_programs
from tests.support.manifests import MANIFESTS
from tests.support.process import Child, Rollout, rollout_in, wait_until

USER = "controller"
NAMESPACE = "idle"
DRIVEN = ("--in-cluster", "--namespace", NAMESPACE)
START_SECONDS = 120.0
ALL_RUN_SECONDS = 3600.0
SETTLE_SECONDS = 30.0
TICKS = os.sysconf("SC_CLK_TCK")


def run(quick: bool) -> dict[str, Any]:
    count, seconds = (50, 60.0) if quick else (1000, 300.0)
    programs = provide_programs(show_progress=True)
    with ControlPlane(programs) as plane, tempfile.TemporaryDirectory(prefix="rollout-idle-") as folder:
        _install(plane)
        with rollout_in(Path(folder), KUBECONFIG=str(plane.kubeconfig_of(USER))) as rollout:
            with _served(rollout) as alone:
                plain_mib = _memory_mib(alone)
            with _served(rollout, *DRIVEN) as child:
                all_run_seconds = _run_all(plane, count)
                rested = _rest(plane, child, seconds)
            begins = datetime.now(UTC)
            with _served(rollout, *DRIVEN) as child:
                restarted = _rest(plane, child, seconds)
            restarted["requests_in_all"] = sum(_requests(plane, begins).values())
    return {
        "rollouts": count,
        "all_run_seconds": round(all_run_seconds, 1),
        "plain_mib": plain_mib,
        "rested": rested,
        "restarted": restarted,
        "seconds": seconds,
        "machine": machine(),
        "versions": versions(kubernetes="1.34"),
    }


@contextmanager
def _served(rollout: Rollout, *arguments: str) -> Iterator[Child]:
    child = rollout.start("serve", "--listen", "127.0.0.1:0", *arguments)
    try:
        child.wait_for("controller at ", START_SECONDS)
        yield child
    finally:
        child.stop()


def _run_all(plane: ControlPlane, count: int) -> float:
    """How long it takes until all are promoted, from the first one that is applied."""
    began = time.monotonic()
    for part in _parts(count):
        plane.kubectl("create", "--filename", "-", given=json.dumps(part))
    wait_until(
        lambda: _promoted(plane) == count, what="all runs to end", deadline_seconds=ALL_RUN_SECONDS, every_seconds=5
    )
    return time.monotonic() - began


def _install(plane: ControlPlane) -> None:
    for name in ("stagedrollouts", "stagedrolloutcommands"):
        plane.kubectl("apply", "--server-side", "--filename", MANIFESTS / "base" / f"crd-{name}.yaml")
        wait_until(lambda: plane.try_kubectl("get", name).code == 0, what=f"{name} to be served")  # noqa: B023
    plane.kubectl("create", "namespace", NAMESPACE)
    plane.kubectl("create", "clusterrolebinding", "idle", "--clusterrole=cluster-admin", f"--user={USER}")


def _parts(count: int, size: int = 100) -> Iterator[dict[str, Any]]:
    for first in range(0, count, size):
        items = [_rollout(number) for number in range(first, min(first + size, count))]
        yield {"apiVersion": "v1", "kind": "List", "items": items}


def _rollout(number: int) -> dict[str, Any]:
    """A flag in three steps, at once, and as much text as a plan has."""
    flag = f"flag-{number}"
    stage = {"name": "open", "kind": "monitoring", "flag": flag, "percentages": [5, 25, 100]}
    stage |= {"bake": "0s", "settle": "0s"}
    return {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": f"idle-{number}", "namespace": NAMESPACE},
        "spec": {"owner": "search", "description": "x" * 2000, "flags": {flag: {}}, "stages": [stage]},
    }


def _promoted(plane: ControlPlane) -> int:
    template = "{range .items[*]}{.status.outcome} {end}"
    return plane.kubectl("get", "sro", "--namespace", NAMESPACE, "--output", f"jsonpath={template}").count("promoted")


def _rest(plane: ControlPlane, child: Child, seconds: float) -> dict[str, Any]:
    """What it takes while nothing happens for so long."""
    time.sleep(SETTLE_SECONDS)
    since, cpu = datetime.now(UTC), _cpu_seconds(child)
    time.sleep(seconds)
    requests = _requests(plane, since)
    minutes = seconds / 60
    return {
        "memory_mib": _memory_mib(child),
        "processor_ms_a_minute": round((_cpu_seconds(child) - cpu) * 1000 / minutes),
        "requests_a_minute": round(sum(requests.values()) / minutes, 1),
        "requests": dict(requests.most_common()),
    }


def _requests(plane: ControlPlane, since: datetime) -> Counter[str]:
    """Those of the controller that arrived after *since*, by verb and resource."""
    found: dict[str, str] = {}
    with plane.audit_log.open() as lines:
        for line in lines:
            entry = json.loads(line)
            arrived = datetime.fromisoformat(entry["requestReceivedTimestamp"])
            if entry["user"]["username"] == USER and arrived >= since:
                found[entry["auditID"]] = f"{entry['verb']} {entry.get('objectRef', {}).get('resource', 'other')}"
    return Counter(found.values())


def _memory_mib(child: Child) -> float:
    (line,) = (one for one in Path(f"/proc/{child.pid}/status").read_text().splitlines() if one.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1024, 1)


def _cpu_seconds(child: Child) -> float:
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def table(result: dict[str, Any]) -> str:
    head = f"with {result['rollouts']:,} rollouts"
    lines = [f"{head:<22}{'MiB':>8}{'CPU ms/min':>12}{'requests/min':>14}"]
    for name in ("rested", "restarted"):
        one = result[name]
        words = {"rested": "after running them", "restarted": "after a restart"}[name]
        lines.append(
            f"{words:<22}{one['memory_mib']:>8}{one['processor_ms_a_minute']:>12}{one['requests_a_minute']:>14}"
        )
    lines.append(f"{'driving nothing':<22}{result['plain_mib']:>8}")
    each = ", ".join(f"{count} {what}" for what, count in result["restarted"]["requests"].items())
    lines.append(
        f"requests in {result['seconds']:g} s: {each}; {result['restarted']['requests_in_all']} since its start"
    )
    lines.append(f"all of them ran in {result['all_run_seconds']:g} s; {result['machine']}")
    return "\n".join(lines)
