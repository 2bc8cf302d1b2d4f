"""A queue stage from outside: the real command, Prometheus and API server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.worlds.host import host_in
from tests.support.cluster import Cluster
from tests.support.metrics_app import MetricsApp
from tests.support.process import Rollout, wait_until
from tests.support.prometheus import Prometheus
from tests.support.workloads import workload

WORKERS = "deployment/workers"
EVENTUALLY_SECONDS = 60.0


@pytest.fixture
def prometheus(prometheus_binary: Path, tmp_path: Path, metrics_app: MetricsApp) -> Iterator[Prometheus]:
    for name, value in (("depth", 0.0), ("errors", 0.0)):
        metrics_app.set(name, value)
    with Prometheus(prometheus_binary, tmp_path, [metrics_app.address]) as server:
        server.wait_for("depth == 0")
        yield server


@pytest.fixture
def in_cluster(control_plane: Cluster, cluster_namespace: str, tmp_path: Path) -> Iterator[Rollout]:
    control_plane.apply({**(made := workload("workers", "worker:1", replicas=1)), "metadata": {
        **made["metadata"], "namespace": cluster_namespace
    }})  # fmt: skip
    control_plane.kubectl("rollout", "status", WORKERS, "--namespace", cluster_namespace, "--timeout", "60s")
    with host_in(tmp_path, KUBECONFIG=str(control_plane.kubeconfig)) as host:
        yield host.rollout


def plan(prometheus: Prometheus, namespace: str, **stage: Any) -> dict[str, Any]:
    return {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": "queue"},
        "spec": {
            "prometheus": {"url": prometheus.url, "scrape_interval": "1s"},
            "kubernetes": {"namespace": namespace},
            "flags": {"beta": {}},
            "gates": {
                "health": {"every": "1s", "criteria": [{"name": "errors", "query": "errors", "fail": "> 0.5"}]}
            },
            "stages": [
                {
                    "name": "queue", "kind": "queue", "flag": "beta", "percentages": [10, 50], "gate": "health",
                    "bake": "1s", "final_bake": "1h", "settle": "1s", "workload": WORKERS, "replicas": {"start": 3},
                    "drain": {"query": "depth", "until": "== 0", "timeout": "5m"}, **stage,
                }
            ],
        },
    }  # fmt: skip


class World:
    def __init__(self, cluster: Cluster, namespace: str, rollout: Rollout) -> None:
        self.cluster, self.namespace, self.rollout = cluster, namespace, rollout
        self.run = ""

    def start(self, document: dict[str, Any]) -> None:
        file = self.rollout.folder / "plan.yaml"
        file.write_text(json.dumps(document))
        started = self.rollout.run("start", file, "--detach", deadline_seconds=EVENTUALLY_SECONDS)
        assert started.code == 0, started.errors or started.output
        self.run = started.last_line

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.rollout.json("status", self.run))

    @property
    def percentage(self) -> float:
        return float(self.status["percentages"].get("beta", 0.0))

    @property
    def replicas(self) -> int:
        found = self.cluster.get(WORKERS, "--namespace", self.namespace)
        return int(found["spec"]["replicas"])


@pytest.fixture
def world(control_plane: Cluster, cluster_namespace: str, in_cluster: Rollout) -> World:
    return World(control_plane, cluster_namespace, in_cluster)


def eventually(condition: Any, what: str) -> None:
    wait_until(condition, what=what, deadline_seconds=EVENTUALLY_SECONDS)


def test_workers_start_before_the_flag_and_go_after_the_queue_has_drained(
    world: World, prometheus: Prometheus, metrics_app: MetricsApp
) -> None:
    world.start(plan(prometheus, world.namespace))
    eventually(lambda: world.percentage == 50, "50 %")
    assert world.replicas == 3
    metrics_app.set("depth", 7)
    prometheus.wait_for("depth == 7")
    metrics_app.set("errors", 1)
    eventually(lambda: world.percentage == 0, "the flag to be off")
    eventually(lambda: world.status["phase"] == "rolling_back", "the way back")
    assert world.replicas == 3
    metrics_app.set("depth", 0)
    eventually(lambda: world.status["outcome"] == "rolled_back", "the end")
    assert world.replicas == 1


def test_workers_follow_their_load(world: World, prometheus: Prometheus, metrics_app: MetricsApp) -> None:
    scaled = {"start": 2, "max": 6, "query": "depth", "per_replica": 10}
    world.start(plan(prometheus, world.namespace, replicas=scaled))
    eventually(lambda: world.percentage == 50, "50 %")
    assert world.replicas == 2
    metrics_app.set("depth", 45)
    eventually(lambda: world.replicas == 5, "five workers")
    metrics_app.set("depth", 1000)
    eventually(lambda: world.replicas == 6, "as many as there may be")
    told = [one for one in world.rollout.json("history", world.run) if one["type"] == "EffectRequested"]
    assert any("from 2 to 5" in json.dumps(one) for one in told)


def test_workers_that_somebody_scaled_by_hand_hold_the_run(
    world: World, prometheus: Prometheus, metrics_app: MetricsApp
) -> None:
    world.start(plan(prometheus, world.namespace, bake="1h"))
    eventually(lambda: world.percentage == 10, "10 %")
    scaled = ("scale", WORKERS, "--replicas", "5", "--namespace", world.namespace)
    world.cluster.kubectl(*scaled)
    eventually(lambda: [one["reason"] for one in world.status["holds"]] == ["changed_elsewhere"], "the hold")
    assert "kubectl" in json.dumps(world.rollout.json("history", world.run))
    target = next(one["item"] for one in world.status["holds"])
    resolved = world.rollout.run("resolve", world.run, target, "--reason", "we need five")
    assert resolved.code == 0, resolved.errors
    eventually(lambda: not world.status["holds"], "the hold to be over")
    assert world.replicas == 5
