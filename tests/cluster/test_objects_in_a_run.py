"""Manifests and Jobs in a run, from outside: the real command and API server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.process import Rollout, rollout_in, wait_until
from tests.support.workloads import workload

EVENTUALLY_SECONDS = 90.0


class Shop:
    """A namespace with a ConfigMap, and a plan that changes it, adds a Deployment, and runs a Job."""

    def __init__(self, cluster: Cluster, namespace: str, rollout: Rollout) -> None:
        self.cluster, self.namespace, self.rollout = cluster, namespace, rollout
        self.cluster.apply(self._config(a="1", kept="yes") | {"metadata": {"name": "limits", "namespace": namespace}})

    def _config(self, **data: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "limits"}, "data": data}

    def plan(self, job_image: str) -> Path:
        folder = self.rollout.folder
        objects = (self._config(b="2"), workload("api", "shop:1", replicas=2))
        (folder / "objects.yaml").write_text("\n---\n".join(map(json.dumps, objects)))
        pod = {"restartPolicy": "Never", "containers": [{"name": "task", "image": job_image}]}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "fill"}}
        (folder / "job.yaml").write_text(json.dumps({**job, "spec": {"backoffLimit": 0, "template": {"spec": pod}}}))
        steps = [{"apply": "objects.yaml"}, {"job": "job.yaml", "undo": "none"}]
        document = {
            "apiVersion": "stagedrollout.io/v1alpha1",
            "kind": "StagedRollout",
            "metadata": {"name": "shop"},
            "spec": {
                "kubernetes": {"namespace": self.namespace},
                "stages": [{"name": "go", "kind": "steps", "steps": steps, "settle": "0s"}],
            },
        }
        file = folder / "plan.yaml"
        file.write_text(json.dumps(document))
        return file

    def names(self, kind: str) -> list[str]:
        found = self.cluster.get(kind, "--namespace", self.namespace)["items"]
        return [one["metadata"]["name"] for one in found]

    @property
    def limits(self) -> dict[str, str]:
        found: dict[str, str] = self.cluster.get("configmap/limits", "--namespace", self.namespace)["data"]
        return found

    def is_as_before(self) -> bool:
        return self.limits == {"a": "1", "kept": "yes"} and self.names("deployments") == []


@pytest.fixture
def shop(control_plane: Cluster, cluster_namespace: str, tmp_path: Path) -> Iterator[Shop]:
    with rollout_in(tmp_path, KUBECONFIG=str(control_plane.kubeconfig)) as rollout:
        yield Shop(control_plane, cluster_namespace, rollout)


def test_objects_are_applied_and_a_job_is_run_to_its_end(shop: Shop) -> None:
    ended = shop.rollout.run("start", shop.plan("fill:1"), deadline_seconds=EVENTUALLY_SECONDS)

    assert ended.code == 0, ended.errors or ended.output
    assert shop.limits == {"a": "1", "b": "2", "kept": "yes"}
    assert shop.names("deployments") == ["api"]
    assert len(shop.names("jobs")) == 1


def test_a_job_that_fails_brings_the_objects_back(shop: Shop) -> None:
    ended = shop.rollout.run("start", shop.plan("fill:failing"), deadline_seconds=EVENTUALLY_SECONDS)

    assert ended.code == 3, ended.errors or ended.output
    assert "BackoffLimitExceeded" in ended.output
    assert shop.is_as_before()


def test_a_rollback_while_a_job_runs_ends_the_job_and_brings_the_objects_back(shop: Shop) -> None:
    started = shop.rollout.run("start", shop.plan("fill:endless"), "--detach", deadline_seconds=EVENTUALLY_SECONDS)
    assert started.code == 0, started.errors or started.output
    run = started.last_line
    wait_until(lambda: shop.names("jobs"), what="the job", deadline_seconds=EVENTUALLY_SECONDS)

    rolled_back = shop.rollout.run("rollback", run, "--reason", "enough", deadline_seconds=EVENTUALLY_SECONDS)

    assert rolled_back.code == 0, rolled_back.errors or rolled_back.output
    wait_until(
        lambda: shop.rollout.json("status", run)["outcome"] == "rolled_back",
        what="the end of the run",
        deadline_seconds=EVENTUALLY_SECONDS,
    )
    assert shop.names("jobs") == []
    assert shop.is_as_before()
