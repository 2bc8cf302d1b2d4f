"""From a breach to workers that are as they were: a real controller, Prometheus and API server, again and again.

Each time a run scales a Deployment from one worker to four and raises a flag to 25 %; then a gauge goes over the level
of a trigger that rolls back. Measured are the seconds from that moment until the flag is off, and until the Deployment
has one replica again, in the API server's spec and in ready pods. Scrapes and looks come once a second, which is most
of it; nothing settles or drains. The pods are kwok's, which end at once.
"""

import contextlib
import json
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from benchmarks._machine import machine, versions
from examples.demo.world import find_prometheus
from tests.support.cluster import Cluster, ControlPlane, provide_programs
from tests.support.metrics_app import MetricsApp
from tests.support.process import Rollout, rollout_in
from tests.support.prometheus import Prometheus

LOOKS_SECONDS = 1
DEADLINE_SECONDS = 120.0
POLL_SECONDS = 0.02
WORKERS = "workers"
FLAG = "feedWorkers"


def run(quick: bool) -> dict[str, Any]:
    times = 3 if quick else 20
    measured = []
    with tempfile.TemporaryDirectory(prefix="rollout-workers-") as folder, _world(Path(folder)) as world:
        for index in range(times):
            measured.append(world.once(index))
            print(f"workers: {index + 1} of {times}", file=sys.stderr, flush=True)
    names = ("flag_off", "replicas_back", "pods_back")
    return {
        "times": times,
        "seconds": {name: _spread([one[name] for one in measured]) for name in names},
        "machine": machine(),
        "versions": versions(),
    }


def table(result: dict[str, Any]) -> str:
    lines = [f"{'seconds from the breach':<34}{'median':>8}{'least':>8}{'most':>8}"]
    words = {"flag_off": "flag off", "replicas_back": "replicas back (spec)", "pods_back": "one ready pod, others gone"}
    for name, said in words.items():
        one = result["seconds"][name]
        lines.append(f"{said:<34}{one['median']:>8}{one['least']:>8}{one['most']:>8}")
    lines.append(f"{result['times']} times, scrapes and looks every {LOOKS_SECONDS} s; {result['machine']}")
    return "\n".join(lines)


def _spread(values: list[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, 2) for name, value in found.items()}


@contextlib.contextmanager
def _world(folder: Path) -> Iterator["_World"]:
    with (
        ControlPlane(provide_programs()) as cluster,
        cluster.namespace() as namespace,
        MetricsApp() as app,
        rollout_in(folder, KUBECONFIG=str(cluster.kubeconfig)) as rollout,
    ):
        app.set("backlog", 0)
        every_ms = 1000 * LOOKS_SECONDS
        with Prometheus(find_prometheus(), folder, [app.address], scrape_interval_ms=every_ms) as prometheus:
            prometheus.wait_for("backlog == 0")
            yield _World(folder, cluster, namespace, app, rollout, prometheus.url)


class _World:
    def __init__(
        self, folder: Path, cluster: Cluster, namespace: str, app: MetricsApp, rollout: Rollout, prometheus: str
    ) -> None:
        self._folder, self._cluster, self._namespace = folder, cluster, namespace
        self._app, self._rollout, self._prometheus = app, rollout, prometheus
        self._kubernetes = httpx.Client(
            base_url=f"{cluster.url}/apis/apps/v1/namespaces/{namespace}/deployments",
            headers={"authorization": f"Bearer {cluster.token('admin')}"},
            verify=ssl.create_default_context(cafile=cluster.authority),
            trust_env=False,
        )
        self._controller = self._served()

    def _served(self) -> httpx.Client:
        self._rollout.start("serve", "--listen", "127.0.0.1:0")
        file = self._rollout.state / "staged-rollout" / "controller.json"
        self._until(file.exists)
        note = json.loads(file.read_text())
        headers = {"authorization": f"Bearer {note['token']}"}
        return httpx.Client(base_url=note["url"], headers=headers, trust_env=False)

    def once(self, index: int) -> dict[str, float]:
        name = f"{WORKERS}-{index}"
        self._app.set("backlog", 0)
        self._cluster.apply(_deployment(self._namespace, name))
        self._until(lambda: self._ready(name) == 1)
        plan = self._folder / f"plan-{index}.yaml"
        plan.write_text(json.dumps(self._plan(name, index)))
        started = self._rollout.run("start", plan, "--detach", deadline_seconds=DEADLINE_SECONDS)
        if started.code != 0:
            raise RuntimeError(f"the run did not start: {started.errors or started.output}")
        run = started.last_line
        self._until(lambda: self._percentage(run, index) == 25 and self._is_watched(run), run)
        return self._breach(name, run, index)

    def _breach(self, name: str, run: str, index: int) -> dict[str, float]:
        began = time.monotonic()
        self._app.set("backlog", 1000)
        waits: dict[str, Callable[[], bool]] = {
            "flag_off": lambda: self._percentage(run, index) == 0,
            "replicas_back": lambda: bool(self._deployment(name)["spec"]["replicas"] == 1),
            "pods_back": lambda: self._ready(name) == 1 and self._deployment(name)["status"]["replicas"] == 1,
        }
        found = {}
        for what, is_so in waits.items():
            self._until(is_so, run)
            found[what] = time.monotonic() - began
        self._until(lambda: self._status(run)["outcome"] == "rolled_back", run)
        return found

    def _plan(self, workers: str, index: int) -> dict[str, Any]:
        every = f"{LOOKS_SECONDS}s"
        return {
            "apiVersion": "stagedrollout.io/v1alpha1",
            "kind": "StagedRollout",
            "metadata": {"name": f"workers-{index}"},
            "spec": {
                "prometheus": {"url": self._prometheus, "scrape_interval": every},
                "kubernetes": {"namespace": self._namespace},
                "flags": {f"{FLAG}{index}": {}},
                "triggers": [
                    {"name": "backlog", "query": "backlog", "fail": "> 500", "every": every, "action": "rollback"}
                ],
                "stages": [
                    {
                        "name": "queue",
                        "kind": "queue",
                        "flag": f"{FLAG}{index}",
                        "workload": f"deployment/{workers}",
                        "replicas": {"start": 4},
                        "percentages": [25, 50],
                        "bake": "1h",
                        "settle": "0s",
                    }
                ],
            },
        }

    def _deployment(self, name: str) -> Any:
        return self._kubernetes.get(f"/{name}").raise_for_status().json()

    def _ready(self, name: str) -> int:
        return int(self._deployment(name)["status"].get("readyReplicas", 0))

    def _status(self, run: str) -> Any:
        return self._controller.get(f"/api/v1/runs/{run}").raise_for_status().json()

    def _is_watched(self, run: str) -> bool:
        return bool(self._status(run)["leg"] == "baking")

    def _percentage(self, run: str, index: int) -> float:
        return float(self._status(run)["percentages"].get(f"{FLAG}{index}", 0.0))

    def _until(self, is_so: Callable[[], bool], run: str | None = None) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not is_so():
            if time.monotonic() > deadline:
                stands = f"; the run stands so: {self._status(run)}" if run is not None else ""
                raise RuntimeError(f"it did not come about within {DEADLINE_SECONDS:g} s{stands}")
            time.sleep(POLL_SECONDS)


def _deployment(namespace: str, name: str) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"containers": [{"name": "worker", "image": "worker:v1"}], "terminationGracePeriodSeconds": 0}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
