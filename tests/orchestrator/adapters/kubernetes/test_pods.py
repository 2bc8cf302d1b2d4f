"""Why the pods of a workload are not ready, in words, from what the API server says of them."""

from typing import Any

import pytest

from orchestrator.adapters.kubernetes.client import Cluster
from orchestrator.adapters.kubernetes.errors import Forbidden
from orchestrator.adapters.kubernetes.pods import Severity, Trouble, missing_of, pods_of, trouble_of
from orchestrator.adapters.kubernetes.workloads import Workload

UID = "11-22"


class FakeCluster(Cluster):
    """Lists what it was given, by the last word of the path."""

    def __init__(self, **lists: list[dict[str, Any]] | Exception) -> None:
        self.namespace = "shop"
        self.title = "Kubernetes (test)"
        self.lists = lists
        self.asked: list[dict[str, str]] = []

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        self.asked.append(query)
        found = self.lists.get(path.rpartition("/")[2], [])
        if isinstance(found, Exception):
            raise found
        return {"items": found}


def statefulset(conditions: list[dict[str, str]] | None = None, **selector: object) -> Workload:
    content = {
        "metadata": {"name": "db", "uid": UID},
        "spec": {"replicas": 3, "selector": selector or {"matchLabels": {"app": "db"}}},
        "status": {"conditions": conditions or []},
    }
    return Workload("statefulset/db", content)


def deployment(conditions: list[dict[str, str]] | None = None) -> Workload:
    return Workload("deployment/api", {**statefulset(conditions).content, "metadata": {"name": "api", "uid": UID}})


def pod(name: str, status: dict[str, Any] | None = None, **metadata: object) -> dict[str, Any]:
    owner = {"kind": "StatefulSet", "name": "db", "uid": UID, "controller": True}
    return {"metadata": {"name": name, "ownerReferences": [owner], **metadata}, "status": status or {}}


READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
UNSCHEDULED = {
    "phase": "Pending",
    "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node\nat all"}
    ],
}


def waiting(reason: str, message: str = "", **more: object) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": "app", "image": "shop:9", "state": state, **more}]}


async def trouble(*pods: dict[str, Any], workload: Workload | None = None) -> Trouble | None:
    return await trouble_of(FakeCluster(pods=list(pods)), workload or statefulset())


async def test_pods_that_are_ready_are_no_trouble() -> None:
    assert await trouble(pod("db-0", READY), pod("db-1", READY)) is None


@pytest.mark.parametrize(
    ("status", "words", "severity"),
    (
        (waiting("ErrImagePull", "timed out"), "ImagePullBackOff (shop:9)", Severity.STUCK),
        (waiting("ImagePullBackOff", "Back-off pulling image"), "ImagePullBackOff (shop:9)", Severity.STUCK),
        (waiting("ErrImagePull", "docker.io/shop:9: not found"), "ImagePullBackOff (shop:9)", Severity.HOPELESS),
        (waiting("ImagePullBackOff", "manifest unknown"), "ImagePullBackOff (shop:9)", Severity.HOPELESS),
        (waiting("InvalidImageName", "no tag"), "InvalidImageName (shop:9)", Severity.HOPELESS),
        (waiting("CreateContainerConfigError", "no secret"), "CreateContainerConfigError (no secret)", Severity.STUCK),
        (
            waiting("CrashLoopBackOff", lastState={"terminated": {"reason": "OOMKilled", "exitCode": 137}}),
            "CrashLoopBackOff (app: OOMKilled, exit code 137)",
            Severity.STUCK,
        ),
        (waiting("CrashLoopBackOff"), "CrashLoopBackOff (app: ended)", Severity.STUCK),
        (UNSCHEDULED, "Unschedulable (no node)", Severity.UNSCHEDULED),
        (waiting("ContainerCreating"), "starts", Severity.STARTING),
        ({"phase": "Pending"}, "starts", Severity.STARTING),
        ({"phase": "Running"}, "runs, and is not ready yet", Severity.STARTING),
    ),
)
async def test_a_pod_says_why_it_is_not_ready(status: dict[str, Any], words: str, severity: Severity) -> None:
    found = await trouble(pod("db-0", READY), pod("db-1", status))
    assert found == Trouble(f"1 of 2 pods of statefulset/db is not ready: db-1: {words}", severity)


async def test_a_container_that_comes_before_the_others_counts_too() -> None:
    status = waiting("ImagePullBackOff")
    found = await trouble(pod("db-0", {"phase": "Pending", "initContainerStatuses": status["containerStatuses"]}))
    assert found is not None
    assert found.severity is Severity.STUCK


async def test_of_many_pods_the_worst_are_named_first_and_not_all() -> None:
    starting = [pod(f"db-{index}", {"phase": "Pending"}) for index in range(4)]
    found = await trouble(*starting, pod("db-7", waiting("CrashLoopBackOff")))
    assert found is not None
    assert found.severity is Severity.STUCK
    assert found.words == (
        "5 of 5 pods of statefulset/db are not ready: "
        "db-7: CrashLoopBackOff (app: ended); db-0: starts; db-1: starts; and 2 more"
    )


async def test_pods_that_end_or_have_ended_do_not_count() -> None:
    ending = pod("db-0", {"phase": "Running"}, deletionTimestamp="2026-01-01T00:00:00Z")
    assert await trouble(ending, pod("db-1", {"phase": "Failed", "reason": "Evicted"})) is None


async def test_a_deployment_that_may_make_no_pods_says_why() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: few"}
    found = await trouble_of(FakeCluster(), deployment([condition]))
    assert found == Trouble("pods of deployment/api can't be made: exceeded quota: few", Severity.STUCK)


async def test_of_other_workloads_the_newest_event_says_why_no_pods_are_made() -> None:
    events = [
        {"lastTimestamp": "2026-01-01T00:02:00Z", "message": "exceeded quota: few"},
        {"lastTimestamp": "2026-01-01T00:01:00Z", "message": "older"},
    ]
    cluster = FakeCluster(events=list(events))
    found = await trouble_of(cluster, statefulset())
    assert found == Trouble("pods of statefulset/db can't be made: exceeded quota: few", Severity.STUCK)
    assert cluster.asked[-1] == {"fieldSelector": f"involvedObject.uid={UID},reason=FailedCreate"}


async def test_who_may_not_list_events_still_hears_of_pods() -> None:
    cluster = FakeCluster(pods=[pod("db-0", {"phase": "Pending"})], events=Forbidden("no"))
    found = await trouble_of(cluster, statefulset())
    assert found == Trouble("1 of 1 pods of statefulset/db is not ready: db-0: starts", Severity.STARTING)


async def test_a_selector_is_asked_for_as_it_is_written() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "track", "operator": "NotIn", "values": ["canary"]},
        {"key": "app", "operator": "Exists"},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    cluster = FakeCluster()
    await pods_of(cluster, statefulset(matchLabels={"app": "db"}, matchExpressions=expressions))
    assert cluster.asked == [{"labelSelector": "app=db,tier in (a,b),track notin (canary),app,!old"}]


async def test_pods_of_others_with_the_same_labels_are_left_out() -> None:
    def of_replica_set(name: str, owner: str, template: str) -> dict[str, Any]:
        reference = {"kind": "ReplicaSet", "name": owner, "uid": "99", "controller": True}
        return pod(name, ownerReferences=[reference], labels={"pod-template-hash": template})

    pods = [
        of_replica_set("api-1f-x", "api-1f", "1f"),
        of_replica_set("api-canary-1f-x", "api-canary-1f", "1f"),
        pod("api-by-hand", ownerReferences=[]),
    ]
    found = await pods_of(FakeCluster(pods=pods), deployment())
    assert [one["metadata"]["name"] for one in found] == ["api-1f-x"]


# --- what the status does not show yet --------------------------------------------------------------------------------


def replica_set(generation: int, observed: int, uid: str = UID) -> dict[str, Any]:
    owner = {"kind": "Deployment", "name": "api", "uid": uid, "controller": True}
    metadata = {"name": "api-7c", "generation": generation, "ownerReferences": [owner]}
    return {"metadata": metadata, "status": {"observedGeneration": observed}}


def pod_of_deployment(name: str, status: dict[str, Any], **metadata: object) -> dict[str, Any]:
    owner = {"kind": "ReplicaSet", "name": "api-7c", "uid": "33-44", "controller": True}
    return pod(name, status, ownerReferences=[owner], labels={"pod-template-hash": "7c"}, **metadata)


THREE = [pod_of_deployment(f"api-7c-{index}", READY) for index in range(3)]
ENDING = pod_of_deployment("api-7c-2", READY, deletionTimestamp="2026-11-01T00:00:00Z")


@pytest.mark.parametrize(
    ("sets", "pods", "missing"),
    (
        ([replica_set(3, 3)], THREE, ""),
        ([replica_set(3, 2)], THREE, "has ReplicaSets that have not taken up their newest number yet"),
        ([replica_set(3, 3), replica_set(2, 1, uid="of another one")], THREE, ""),
        ([replica_set(3, 3)], THREE[:2], "2 of 3 pods are ready"),
        ([replica_set(3, 3)], [*THREE[:2], ENDING], "2 of 3 pods are ready"),
        ([replica_set(3, 3)], [*THREE, ENDING], ""),
    ),
)
async def test_a_deployment_stands_once_its_replica_sets_have_acted_and_its_pods_are_ready(
    sets: list[dict[str, Any]], pods: list[dict[str, Any]], missing: str
) -> None:
    assert await missing_of(FakeCluster(replicasets=sets, pods=pods), deployment()) == missing


async def test_a_statefulset_makes_its_pods_itself() -> None:
    ready = [pod(f"db-{index}", READY) for index in range(3)]
    assert await missing_of(FakeCluster(replicasets=[replica_set(3, 2)], pods=ready), statefulset()) == ""
    assert await missing_of(FakeCluster(pods=ready[:2]), statefulset()) == "2 of 3 pods are ready"
