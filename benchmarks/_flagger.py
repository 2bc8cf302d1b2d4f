"""Flagger, the real controller, on a real API server: as many canaries as are asked for, and when their weight is 0.

    with ControlPlane(provide_programs()) as cluster, flagger(cluster, prometheus.url, folder) as peer:
        peer.make(["shop-1", "shop-2"])     # applications, each with a canary that routes by an HTTPRoute
        peer.release(["shop-1", "shop-2"])  # a new version of each
        peer.wait_until_shared(["shop-1", "shop-2"])
        ... the answers turn bad ...
        peer.wait_until_zero("shop-1")      # monotonic

The queries of a canary name its application by the label `service`. Weights are those of the route that Gateway API
gives to whatever carries the traffic; nothing does here, and nothing that Flagger does waits for that. Flagger looks at
a canary every 10 s, not more often, and at a threshold of 1 it goes back at the look after the first bad one: it allows
no less. Of what is set by default only the number of its requests to the API server is raised.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._canaries import (
    REQUESTS_A_SECOND,
    deployment_of,
    memory_mb,
    portions,
    processor_seconds,
    watched,
)
from tests.support.cluster import Cluster
from tests.support.ports import free_port
from tests.support.process import ROOT, Child, wait_until

PROVIDER = ROOT / ".ci" / "provide" / "flagger"
INTERVAL_SECONDS = 10
READY_SECONDS = 300.0
ROUTES = "httproutes.gateway.networking.k8s.io"
OURS = ("canaries.flagger.app", "metrictemplates.flagger.app", "alertproviders.flagger.app")
GROUP = "/apis/flagger.app/v1beta1"
QUERIES: Mapping[str, str] = {
    "errors": 'sum(rate(failures_total{service="{{ target }}"}[1m])) / '
    'sum(rate(requests_total{service="{{ target }}"}[1m]))'
}


def provide_flagger(*, show_progress: bool = False) -> Path:
    """The folder of the controller and its definitions, built the first time; RuntimeError with the reason where it
    can't be had."""
    progress = None if show_progress else subprocess.PIPE
    done = subprocess.run([sys.executable, PROVIDER], stdout=subprocess.PIPE, stderr=progress, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError((done.stderr or "no Flagger").strip().splitlines()[-1])
    return Path(done.stdout.strip().splitlines()[-1])


def pinned_version() -> str:
    found = re.search(r"fluxcd/flagger v(\S+)", (PROVIDER.with_name("flagger-module") / "go.mod").read_text())
    assert found is not None, "go.mod pins Flagger"
    return found[1]


@contextmanager
def flagger(
    cluster: Cluster, prometheus: str, folder: Path, queries: Mapping[str, str] = QUERIES
) -> Iterator["Flagger"]:
    """A controller that judges every canary by *queries*, in a namespace of its own."""
    programs = provide_flagger()
    cluster.apply_crds(ROUTES)
    cluster.kubectl("apply", "--server-side", "--filename", programs / "crd.yaml")
    for name in OURS:
        cluster.wait_established(name)
    with cluster.namespace() as namespace:
        command: list[str | Path] = [
            programs / "flagger",
            f"-kubeconfig={cluster.kubeconfig}",
            f"-namespace={namespace}",
            f"-kubeconfig-qps={REQUESTS_A_SECOND}",
            f"-kubeconfig-burst={2 * REQUESTS_A_SECOND}",
            "-mesh-provider=gatewayapi:v1",
            f"-metrics-server={prometheus}",
            f"-port={free_port()}",
            "-log-level=info",
        ]
        cluster.apply(*(template_of(namespace, prometheus, name, query) for name, query in queries.items()))
        routes, watch = f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes", Watch()
        with Child(command, folder) as child, watched(cluster, routes, watch.note):
            yield Flagger(cluster, namespace, child, tuple(queries), watch)


@dataclass
class Flagger:
    cluster: Cluster
    namespace: str
    child: Child
    metrics: Sequence[str]
    watch: "Watch"
    every_seconds: int = INTERVAL_SECONDS
    _versions: dict[str, int] = field(default_factory=dict)

    def make(self, names: Sequence[str]) -> None:
        """Applications with a canary each, until Flagger has a primary of every one."""
        for chosen in portions(names):
            self._versions.update(dict.fromkeys(chosen, 1))
            objects = [deployment_of(self.namespace, name, 1) for name in chosen]
            self.cluster.apply(*objects, *(canary_of(self.namespace, name, self.metrics) for name in chosen))
        self._wait_for("Initialized", names)

    def release(self, names: Sequence[str]) -> None:
        """A new version of each, which Flagger finds by itself."""
        for chosen in portions(names):
            self._versions.update({name: self._versions[name] + 1 for name in chosen})
            self.cluster.apply(*(deployment_of(self.namespace, name, self._versions[name]) for name in chosen))

    def wait_until_shared(self, names: Sequence[str]) -> None:
        """Until each has a share of the traffic, so that the next look asks the server."""
        wait_until(
            lambda: all(self.watch.weights.get(name, 0) > 0 for name in names),
            what=f"a share for each canary; Flagger says {self.said}",
            deadline_seconds=READY_SECONDS,
        )

    def wait_until_zero(self, name: str) -> float:
        """The monotonic moment at which the watch saw that *name* has no share any more."""
        return wait_until(
            lambda: self.watch.zero_at.get(name, 0.0),
            what=f"{name} to be back at 0; Flagger says {self.said}",
            deadline_seconds=READY_SECONDS,
        )

    def phases(self) -> dict[str, str]:
        items = self.cluster.request("GET", f"{GROUP}/namespaces/{self.namespace}/canaries")["items"]
        return {one["metadata"]["name"]: one.get("status", {}).get("phase", "") for one in items}

    @property
    def said(self) -> str:
        return (self.child.output + self.child.errors)[-3000:]

    @property
    def processor_seconds(self) -> float:
        return processor_seconds(self.child.pid)

    @property
    def memory_mb(self) -> float:
        return memory_mb(self.child.pid)

    def _wait_for(self, phase: str, names: Sequence[str]) -> None:
        def met() -> bool:
            if not self.child.running:
                raise RuntimeError(f"Flagger ended with code {self.child.exit_code}: {self.said}")
            phases = self.phases()
            return all(phases.get(name) == phase for name in names)

        what = f"{len(names)} canaries to be {phase}; Flagger says {self.said}"
        wait_until(met, what=what, deadline_seconds=READY_SECONDS, every_seconds=1.0)


# --- what the API server says -----------------------------------------------------------------------------------------


@dataclass
class Watch:
    """Shares of canaries, as a watch of their routes sees them, and when each fell to 0 last."""

    weights: dict[str, int] = field(default_factory=dict)
    zero_at: dict[str, float] = field(default_factory=dict)

    def note(self, route: Mapping[str, Any], moment: float) -> None:
        name = route["metadata"]["name"]
        backends = route["spec"]["rules"][0]["backendRefs"]
        weight = next(one["weight"] for one in backends if one["name"] == f"{name}-canary")
        before = self.weights.get(name, 0)
        self.weights[name] = weight
        if weight > 0:
            self.zero_at.pop(name, None)
        elif before > 0:
            self.zero_at[name] = moment


# --- objects ----------------------------------------------------------------------------------------------------------


def template_of(namespace: str, prometheus: str, name: str, query: str) -> dict[str, Any]:
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "MetricTemplate",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"provider": {"type": "prometheus", "address": prometheus}, "query": query},
    }


def canary_of(namespace: str, name: str, metrics: Iterable[str]) -> dict[str, Any]:
    """One step of 1 % after the other up to 50 %: it stays long enough to be measured."""
    judged = [
        {"name": metric, "templateRef": {"name": metric}, "thresholdRange": {"max": 0.1}, "interval": "1m"}
        for metric in metrics
    ]
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            # headless: a cluster has addresses for few hundred services only, and each canary has three
            "service": {"port": 80, "targetPort": 8000, "headless": True, "gatewayRefs": [{"name": "gateway"}]},
            "analysis": {
                "interval": f"{INTERVAL_SECONDS}s",
                "threshold": 1,
                "stepWeight": 1,
                "maxWeight": 50,
                "metrics": judged,
            },
        },
    }
