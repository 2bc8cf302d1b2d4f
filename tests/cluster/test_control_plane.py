"""The control plane that other tests stand on: what its pods do, who may do what, and that it leaves nothing behind."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import CONTAINER_LOG, Cluster, ControlPlane
from tests.support.process import ROOT, Child, wait_until
from tests.support.shared_cluster import shared_cluster

EVENTUALLY_SECONDS = 60.0
PROGRAMS = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"]


def deployment(namespace: str, image: str, replicas: int = 2, **labels: str) -> dict[str, object]:
    labels = {"app": "web"} | labels
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    }


def job(namespace: str, name: str, image: str) -> dict[str, object]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "task", "image": image}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def containers(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    """The status of each container of each pod of the Deployment, those that have none yet left out."""
    pods = cluster.get("pods", "--namespace", namespace, "--selector", "app=web")["items"]
    return [status for pod in pods for status in pod["status"].get("containerStatuses", [])]


def waiting_reasons(cluster: Cluster, namespace: str) -> set[str]:
    return {status["state"].get("waiting", {}).get("reason", "") for status in containers(cluster, namespace)}


def programs_of(folder: str) -> list[str]:
    """The programs of a control plane that run, by what is in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = process.read_text().split("\0")
            if any(folder in part for part in command[1:]):
                found.append(Path(command[0]).name)
    return sorted(found)


def test_the_pods_of_a_deployment_become_ready(control_plane: Cluster, cluster_namespace: str) -> None:
    control_plane.apply(deployment(cluster_namespace, "shop:1", replicas=3))
    control_plane.kubectl("rollout", "status", "deployment/web", "--namespace", cluster_namespace, "--timeout", "60s")
    found = control_plane.get("deployment/web", "--namespace", cluster_namespace)
    assert found["status"]["availableReplicas"] == 3


def test_a_new_image_replaces_every_pod(control_plane: Cluster, cluster_namespace: str) -> None:
    where = ("--namespace", cluster_namespace)
    control_plane.apply(deployment(cluster_namespace, "shop:1"))
    control_plane.kubectl("rollout", "status", "deployment/web", *where, "--timeout", "60s")
    control_plane.kubectl("set", "image", "deployment/web", "web=shop:2", *where)
    control_plane.kubectl("rollout", "status", "deployment/web", *where, "--timeout", "60s")
    wait_until(
        lambda: [status["image"] for status in containers(control_plane, cluster_namespace)] == ["shop:2"] * 2,
        what="the pods of the old image to be gone",
        deadline_seconds=EVENTUALLY_SECONDS,
    )


def test_a_broken_image_is_never_pulled(control_plane: Cluster, cluster_namespace: str) -> None:
    control_plane.apply(deployment(cluster_namespace, "shop:broken"))
    wait_until(
        lambda: waiting_reasons(control_plane, cluster_namespace) == {"ImagePullBackOff"},
        what="ImagePullBackOff",
        deadline_seconds=EVENTUALLY_SECONDS,
    )
    assert not any(status["ready"] for status in containers(control_plane, cluster_namespace))


def test_a_pod_labelled_as_crashing_starts_again_and_again(control_plane: Cluster, cluster_namespace: str) -> None:
    control_plane.apply(deployment(cluster_namespace, "shop:1", replicas=1, behaviour="crashing"))
    wait_until(
        lambda: any(status["restartCount"] >= 2 for status in containers(control_plane, cluster_namespace)),
        what="two restarts",
        deadline_seconds=EVENTUALLY_SECONDS,
    )
    assert waiting_reasons(control_plane, cluster_namespace) == {"CrashLoopBackOff"}


@pytest.mark.parametrize(("image", "condition"), (("migrate:1", "Complete"), ("migrate:failing", "Failed")))
def test_a_job_ends_as_its_image_says_and_leaves_its_log(
    control_plane: Cluster, cluster_namespace: str, image: str, condition: str
) -> None:
    where = ("--namespace", cluster_namespace)
    control_plane.apply(job(cluster_namespace, "migrate", image))
    control_plane.kubectl("wait", "--for", f"condition={condition}", "job/migrate", *where, "--timeout", "60s")
    assert control_plane.kubectl("logs", "job/migrate", *where).split("\n") == [*CONTAINER_LOG, ""]
    control_plane.kubectl("delete", "job/migrate", *where, "--cascade=foreground", "--timeout", "60s")
    assert control_plane.get("pods", *where)["items"] == []


def test_an_endless_job_still_runs_when_a_later_one_is_complete(control_plane: Cluster, cluster_namespace: str) -> None:
    where = ("--namespace", cluster_namespace)
    control_plane.apply(job(cluster_namespace, "endless", "migrate:endless"))
    control_plane.kubectl("wait", "--for", "jsonpath={.status.ready}=1", "job/endless", *where, "--timeout", "60s")
    control_plane.apply(job(cluster_namespace, "migrate", "migrate:1"))
    control_plane.kubectl("wait", "--for", "condition=Complete", "job/migrate", *where, "--timeout", "60s")
    assert control_plane.get("job/endless", *where)["status"]["active"] == 1


def test_who_has_no_role_is_refused_with_a_sentence(control_plane: Cluster, cluster_namespace: str) -> None:
    refused = control_plane.try_kubectl("get", "deployments", "--namespace", cluster_namespace, user="alice")
    assert refused.code == 1
    assert (
        'deployments.apps is forbidden: User "alice" cannot list resource "deployments" in API group "apps" in the'
        f' namespace "{cluster_namespace}"'
    ) in refused.errors


def test_a_viewer_looks_and_touches_nothing(control_plane: Cluster, cluster_namespace: str) -> None:
    control_plane.apply(deployment(cluster_namespace, "shop:1"))
    where = ("--namespace", cluster_namespace)
    assert control_plane.get("deployment/web", *where, user="viewer")["metadata"]["name"] == "web"
    refused = control_plane.try_kubectl("scale", "deployment/web", "--replicas", "5", *where, user="viewer")
    assert 'User "viewer" cannot patch resource "deployments/scale"' in refused.errors


def test_a_service_account_has_the_role_it_was_given(control_plane: Cluster, cluster_namespace: str) -> None:
    where = ("--namespace", cluster_namespace)
    account = f"{cluster_namespace}:in-cluster"
    control_plane.kubectl("create", "serviceaccount", "in-cluster", *where)
    control_plane.kubectl("create", "role", "scaler", "--verb=get", "--resource=deployments", *where)
    control_plane.kubectl("create", "rolebinding", "scaler", "--role=scaler", f"--serviceaccount={account}", *where)
    control_plane.apply(deployment(cluster_namespace, "shop:1"))
    token = control_plane.service_account_token(cluster_namespace, "in-cluster")
    seen = control_plane.kubectl("get", "deployment/web", *where, "--token", token, "--output", "name", user="bob")
    assert seen == "deployment.apps/web\n"
    refused = control_plane.try_kubectl("delete", "deployment/web", *where, "--token", token, user="bob")
    assert f'User "system:serviceaccount:{account}" cannot delete resource "deployments"' in refused.errors


def test_the_audit_log_names_who_did_what_and_whether_it_was_allowed(
    control_plane: Cluster, cluster_namespace: str
) -> None:
    control_plane.try_kubectl("get", "secrets", "--namespace", cluster_namespace, user="bob")
    entries = [json.loads(line) for line in control_plane.audit_log.read_text().splitlines()]
    [entry] = [
        entry
        for entry in entries
        if entry["user"]["username"] == "bob" and entry.get("objectRef", {}).get("namespace") == cluster_namespace
    ]
    assert (entry["verb"], entry["objectRef"]["resource"]) == ("list", "secrets")
    assert entry["annotations"]["authorization.k8s.io/decision"] == "forbid"


def test_definitions_of_others_can_be_applied(control_plane: Cluster, cluster_namespace: str) -> None:
    control_plane.apply_crds("scaledobjects.keda.sh", "httproutes.gateway.networking.k8s.io")
    where = ("--namespace", cluster_namespace)
    assert control_plane.get("scaledobjects.keda.sh", *where)["items"] == []
    assert control_plane.get("httproutes.gateway.networking.k8s.io", *where)["items"] == []


@pytest.fixture(scope="module")
def own(kubernetes_programs: Path) -> Iterator[ControlPlane]:
    with ControlPlane(kubernetes_programs) as plane:
        yield plane


@pytest.mark.parametrize("ending", (signal.SIGTERM, signal.SIGKILL))
def test_an_api_server_that_comes_back_has_its_objects_and_everybody_finds_it(
    own: ControlPlane, ending: signal.Signals
) -> None:
    with own.namespace() as namespace:
        own.apply(deployment(namespace, "shop:1"))
        if ending is signal.SIGTERM:
            own.stop_apiserver()
        else:
            own.kill_apiserver()
        assert "refused" in own.try_kubectl("get", "deployments").errors
        own.start_apiserver()
        own.kubectl("scale", "deployment/web", "--replicas", "4", "--namespace", namespace)
        own.kubectl("rollout", "status", "deployment/web", "--namespace", namespace, "--timeout", "60s")
        assert own.get("deployment/web", "--namespace", namespace)["status"]["readyReplicas"] == 4


def test_a_part_that_ends_is_named_with_its_last_words(tmp_path: Path) -> None:
    for name, script in {"etcd": "exec sleep 60", "kube-apiserver": "echo no such etcd >&2; exit 3"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(AssertionError, match=r"kube-apiserver ended with code 3(.|\n)*no such etcd"):
        ControlPlane(tmp_path).__enter__()


HOLD = """
import signal
import sys
from pathlib import Path
from tests.support.shared_cluster import shared_cluster

with shared_cluster(Path(sys.argv[1]), Path(sys.argv[2])) as cluster:
    print(cluster.kubectl("get", "namespaces", "--output", "name"), cluster.folder, sep="", flush=True)
    signal.pause()
"""


def test_what_workers_share_outlives_the_first_and_leaves_nothing_behind_when_the_last_was_killed(
    kubernetes_programs: Path, tmp_path: Path
) -> None:
    hold: list[str | Path] = [sys.executable, "-c", HOLD, tmp_path / "shared", kubernetes_programs]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (
        Child(hold, tmp_path, environment=environment) as first,
        Child(hold, tmp_path, environment=environment) as second,
    ):
        for worker in (first, second):
            worker.wait_for("rollout-cluster-", deadline_seconds=120)
        folder = first.output.splitlines()[-1]
        assert second.output.splitlines()[-1] == folder
        first.kill()
        with shared_cluster(tmp_path / "shared", kubernetes_programs) as cluster:
            assert "namespace/default" in cluster.kubectl("get", "namespaces", "--output", "name")
        assert programs_of(folder) == PROGRAMS
        second.kill()
        wait_until(lambda: not Path(folder).exists(), what="the end", deadline_seconds=EVENTUALLY_SECONDS)
    assert programs_of(folder) == []
