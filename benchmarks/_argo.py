"""Argo Rollouts, the real controller, on a real API server: rollouts with background analysis, and when their canary's
ReplicaSet is told to be 0.

Used like `_flagger`, where ROLLOUT_ARGO_ROLLOUTS names a folder with the controller as `rollouts-controller` and its
custom resource definitions as `*-crd.yaml`. Half of two pods are the canary; one analysis asks every so many seconds
and fails at the first bad answer, and the canary's pod goes without waiting for one of the stable version to come:
the quickest that can be set. Of what is set by default only the number of requests to the API server is raised.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._canaries import REQUESTS_A_SECOND, pods_of, portions, watched
from tests.support.cluster import Cluster
from tests.support.ports import free_port
from tests.support.process import Child, wait_until

VARIABLE = "ROLLOUT_ARGO_ROLLOUTS"
CONTROLLER = "rollouts-controller"
API_VERSION = "argoproj.io/v1alpha1"
READY_SECONDS = 300.0
QUERY = (
    'sum(rate(failures_total{service="{{args.service}}"}[1m])) / '
    'sum(rate(requests_total{service="{{args.service}}"}[1m]))'
)


def argo_folder() -> Path:
    """RuntimeError with the reason where none is named, or what is named is none."""
    named = os.environ.get(VARIABLE)
    if not named:
        raise RuntimeError(f"{VARIABLE} names no folder with its controller and definitions")
    folder = Path(named).absolute()
    if not os.access(folder / CONTROLLER, os.X_OK) or not any(folder.glob("*-crd.yaml")):
        raise RuntimeError(f"{VARIABLE} names {folder}, where {CONTROLLER} or the definitions *-crd.yaml are missing")
    return folder


def version_in(folder: Path) -> str:
    done = subprocess.run([folder / CONTROLLER, "--version"], capture_output=True, text=True, timeout=30, check=True)
    found = re.search(r"v(\d[\d.]*)", done.stdout)
    return found[1] if found is not None else "of unknown version"


@contextmanager
def argo(cluster: Cluster, prometheus: str, folder: Path, every_seconds: int) -> Iterator["Argo"]:
    """A controller in a namespace of its own, whose analyses ask every so many seconds."""
    programs = argo_folder()
    for file in sorted(programs.glob("*-crd.yaml")):
        cluster.kubectl("apply", "--server-side", "--filename", file)
        named = re.search(r"^  name: (\S+)$", file.read_text(), re.MULTILINE)
        assert named is not None, f"{file} defines something with a name"
        cluster.wait_established(named[1])
    with cluster.namespace() as namespace:
        command: list[str | Path] = [
            programs / CONTROLLER,
            f"--kubeconfig={cluster.kubeconfig}",
            f"--namespace={namespace}",
            "--namespaced",
            "--leader-elect=false",
            f"--qps={REQUESTS_A_SECOND}",
            f"--burst={2 * REQUESTS_A_SECOND}",
            f"--metricsPort={free_port()}",
            f"--healthzPort={free_port()}",
        ]
        cluster.apply(analysis_of(namespace, prometheus, every_seconds))
        sets, watch = f"/apis/apps/v1/namespaces/{namespace}/replicasets", ReplicaSets()
        with Child(command, folder) as child, watched(cluster, sets, watch.note):
            yield Argo(cluster, namespace, child, watch, every_seconds)


@dataclass
class Argo:
    cluster: Cluster
    namespace: str
    child: Child
    watch: "ReplicaSets"
    every_seconds: int
    _versions: dict[str, int] = field(default_factory=dict)

    def make(self, names: Sequence[str]) -> None:
        self._apply(names)
        self._wait(lambda: all(phase == "Healthy" for phase in self._phases(names)), "rollouts to be healthy")

    def release(self, names: Sequence[str]) -> None:
        self._apply(names)

    def wait_until_shared(self, names: Sequence[str]) -> None:
        self._wait(lambda: all(self.watch.is_shared(name) for name in names), "a pod of each canary")
        self._wait(lambda: all(phase == "Paused" for phase in self._phases(names)), "rollouts at their step")

    def wait_until_zero(self, name: str) -> float:
        self._wait(lambda: name in self.watch.zero_at, f"the canary of {name} to be told 0")
        return self.watch.zero_at[name]

    def _apply(self, names: Sequence[str]) -> None:
        for chosen in portions(names):
            self._versions.update({name: self._versions.get(name, 0) + 1 for name in chosen})
            self.cluster.apply(*(rollout_of(self.namespace, name, self._versions[name]) for name in chosen))

    def _phases(self, names: Sequence[str]) -> list[str]:
        items = self.cluster.request("GET", f"/apis/{API_VERSION}/namespaces/{self.namespace}/rollouts")["items"]
        found = {one["metadata"]["name"]: one.get("status", {}).get("phase", "") for one in items}
        return [found.get(name, "") for name in names]

    def _wait(self, met: Any, what: str) -> None:
        said = (self.child.output + self.child.errors)[-3000:]
        wait_until(met, what=f"{what}; Argo says {said}", deadline_seconds=READY_SECONDS, every_seconds=0.2)


@dataclass
class ReplicaSets:
    """Replicas that are wanted of each, by rollout, and when a rollout's canary was told to be 0 last."""

    wanted: dict[str, dict[str, int]] = field(default_factory=dict)
    zero_at: dict[str, float] = field(default_factory=dict)

    def note(self, found: dict[str, Any], moment: float) -> None:
        owner = found["metadata"]["ownerReferences"][0]["name"]
        wanted = self.wanted.setdefault(owner, {})
        name, replicas = found["metadata"]["name"], found["spec"]["replicas"]
        before = wanted.get(name, 0)
        wanted[name] = replicas
        if self.is_shared(owner):
            self.zero_at.pop(owner, None)
        elif before > 0 and replicas == 0:
            self.zero_at[owner] = moment

    def is_shared(self, owner: str) -> bool:
        return sum(replicas > 0 for replicas in self.wanted.get(owner, {}).values()) > 1


# --- objects ----------------------------------------------------------------------------------------------------------


def analysis_of(namespace: str, prometheus: str, every_seconds: int) -> dict[str, Any]:
    metric = {
        "name": "errors",
        "interval": f"{every_seconds}s",
        "failureLimit": 0,
        "successCondition": "result[0] < 0.1",
        "provider": {"prometheus": {"address": prometheus, "query": QUERY}},
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "AnalysisTemplate",
        "metadata": {"name": "errors", "namespace": namespace},
        "spec": {"args": [{"name": "service"}], "metrics": [metric]},
    }


def rollout_of(namespace: str, name: str, version: int) -> dict[str, Any]:
    analysis = {"templates": [{"templateName": "errors"}], "args": [{"name": "service", "value": name}]}
    return {
        "apiVersion": API_VERSION,
        "kind": "Rollout",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": pods_of(name, version),
            "strategy": {
                "canary": {"analysis": analysis, "maxUnavailable": "100%", "steps": [{"setWeight": 50}, {"pause": {}}]}
            },
        },
    }
