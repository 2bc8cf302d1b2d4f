"""What "rolled out" means of a workload as the API server describes it, and what is said while it is not."""

from typing import Any

import pytest

from orchestrator.adapters.kubernetes.workloads import Progress, Workload, rollout_of

DONE = {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3, "readyReplicas": 3}


def deployment(spec: dict[str, Any] | None = None, **status: object) -> Workload:
    content = {
        "metadata": {"name": "api", "generation": 5},
        "spec": {"replicas": 3, **(spec or {})},
        "status": {"observedGeneration": 5, **DONE, **status},
    }
    return Workload("deployment/api", content)


def statefulset(spec: dict[str, Any] | None = None, **status: object) -> Workload:
    revisions = {"currentRevision": "api-2", "updateRevision": "api-2"}
    content = {
        "metadata": {"name": "api", "generation": 5},
        "spec": {"replicas": 3, "updateStrategy": {"type": "RollingUpdate"}, **(spec or {})},
        "status": {"observedGeneration": 5, **DONE, **revisions, **status},
    }
    return Workload("statefulset/api", content)


def daemonset(spec: dict[str, Any] | None = None, **status: object) -> Workload:
    counts = {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3, "numberReady": 3}
    content = {
        "metadata": {"name": "api", "generation": 5},
        "spec": {"updateStrategy": {"type": "RollingUpdate"}, **(spec or {})},
        "status": {"observedGeneration": 5, **counts, **status},
    }
    return Workload("daemonset/api", content)


@pytest.mark.parametrize(
    "workload",
    (
        deployment(),
        deployment({"replicas": 0}, replicas=0, updatedReplicas=0, availableReplicas=0),
        statefulset(),
        statefulset({"replicas": 0}, replicas=0, updatedReplicas=0, readyReplicas=0, currentRevision="api-1"),
        statefulset(
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}},
            updatedReplicas=1,
            currentRevision="api-1",
        ),
        statefulset({"updateStrategy": {"type": "OnDelete"}}, updatedReplicas=0, currentRevision="api-1"),
        daemonset(),
        daemonset(desiredNumberScheduled=0, updatedNumberScheduled=0, numberAvailable=0),
    ),
)
def test_it_is_rolled_out(workload: Workload) -> None:
    assert rollout_of(workload).progress is Progress.DONE


@pytest.mark.parametrize(
    ("workload", "reason"),
    (
        (deployment(observedGeneration=4), "has not been taken up by its controller yet"),
        (deployment(updatedReplicas=1), "1 of 3 pods are of its newest template"),
        (deployment(replicas=5), "2 of its old pods still run"),
        (deployment(replicas=5, updatedReplicas=5, availableReplicas=5), "2 of its pods are too many"),
        (deployment(availableReplicas=2), "2 of 3 pods are available"),
        (deployment(availableReplicas=None), "0 of 3 pods are available"),
        (statefulset(observedGeneration=4), "has not been taken up by its controller yet"),
        (statefulset(replicas=4), "1 of its pods are too many"),
        (statefulset(readyReplicas=2), "2 of 3 pods are ready"),
        (statefulset(updatedReplicas=2), "2 of 3 pods are of its newest template"),
        (statefulset(currentRevision="api-1"), "its old pods still run"),
        (daemonset(updatedNumberScheduled=1), "1 of 3 pods are of its newest template"),
        (daemonset(numberAvailable=2), "2 of 3 pods are available"),
    ),
)
def test_it_is_under_way_and_says_what_is_missing(workload: Workload, reason: str) -> None:
    rollout = rollout_of(workload)
    assert (rollout.progress, rollout.reason) == (Progress.UNDER_WAY, reason)


def _exceeded(at: str) -> list[dict[str, str]]:
    return [{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "lastUpdateTime": at}]


def test_a_deployment_over_its_progress_deadline_has_failed() -> None:
    rollout = rollout_of(deployment(updatedReplicas=1, conditions=_exceeded("2026-01-01T00:10:00Z")))
    assert rollout.progress is Progress.FAILED
    assert rollout.reason == "exceeded its progress deadline: 1 of 3 pods are of its newest template"


def test_a_deadline_that_passed_before_the_change_does_not_count() -> None:
    late = deployment(updatedReplicas=1, conditions=_exceeded("2026-01-01T00:10:00Z"))
    assert rollout_of(late, changed_at="2026-01-01T00:11:00Z").progress is Progress.UNDER_WAY


def test_one_that_is_paused_on_its_way_has_failed() -> None:
    rollout = rollout_of(deployment({"paused": True}, updatedReplicas=0))
    assert rollout.progress is Progress.FAILED
    assert "end that with kubectl rollout resume" in rollout.reason
    assert rollout_of(deployment({"paused": True})).progress is Progress.DONE
