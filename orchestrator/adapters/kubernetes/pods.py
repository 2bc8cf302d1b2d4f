"""The pods of a workload, and why they are not ready, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from orchestrator.adapters.kubernetes.client import Cluster, Resource
from orchestrator.adapters.kubernetes.errors import Forbidden
from orchestrator.adapters.kubernetes.workloads import Workload

REPLICA_SETS = Resource("apps/v1", "ReplicaSet", "replicasets", namespaced=True)
MOST_PODS_NAMED = 3
LONGEST_MESSAGE = 200
_IMAGE = {"ErrImagePull": "ImagePullBackOff"}  # one trouble that shows two faces in turn
_STUCK = frozenset(
    {
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
_HOPELESS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_NO_SUCH_IMAGE = ("not found", "manifest unknown", "does not exist")


class Severity(IntEnum):
    STARTING = 0
    UNSCHEDULED = 1  # a node may come
    STUCK = 2  # waiting alone will hardly do; Kubernetes itself goes on trying
    HOPELESS = 3  # nor will trying again


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why pods are not ready, and how bad that is."""

    words: str
    severity: Severity = Severity.STARTING


@dataclass(frozen=True, slots=True)
class _PodTrouble(Trouble):
    pod: str = ""


async def pods_of(cluster: Cluster, workload: Workload) -> list[dict[str, Any]]:
    """Those that still end as well. Other workloads' pods with the same labels are left out."""
    selector = _selector(workload.spec.get("selector") or {})
    found = await cluster.get(f"/api/v1/namespaces/{cluster.namespace}/pods", labelSelector=selector)
    return [pod for pod in found.get("items") or () if _is_owned(pod, workload)]


def _selector(selector: Mapping[str, Any]) -> str:
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or ():
        key, values = one["key"], ",".join(one.get("values") or ())
        match one["operator"]:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case _:
                parts.append(f"!{key}")
    return ",".join(parts)


def _is_owned(pod: Mapping[str, Any], workload: Workload) -> bool:
    """A Deployment owns its pods by a ReplicaSet, whose name is made of its own and of a hash that the pod bears."""
    owner = _controller_of(pod)
    if workload.kind == "deployment":
        template = (pod["metadata"].get("labels") or {}).get("pod-template-hash", "")
        return owner.get("kind") == "ReplicaSet" and owner.get("name") == f"{workload.name}-{template}"
    return owner.get("uid") == workload.metadata.get("uid")


def _controller_of(one: Mapping[str, Any]) -> Mapping[str, Any]:
    owners = [owner for owner in one["metadata"].get("ownerReferences") or () if owner.get("controller")]
    return owners[0] if owners else {}


async def missing_of(cluster: Cluster, workload: Workload) -> str:
    """What its status does not show yet, to follow its name; empty if its pods are as the status says.

    The status of a Deployment repeats what its ReplicaSets said last, and they count before they delete: brought from 4
    to 2 and at once back to 4, it reads as rolled out while two pods are about to end. A ReplicaSet that has taken up
    its newest number has sent whatever an older one asked for, so its pods, read after that, are what is there.
    """
    if workload.kind == "daemonset":
        return ""
    if workload.kind == "deployment" and not await _are_taken_up(cluster, workload):
        return "has ReplicaSets that have not taken up their newest number yet"
    pods = await pods_of(cluster, workload)
    ready = sum(_is_ready(pod) and not is_ending(pod) for pod in pods)
    return f"{ready} of {workload.replicas} pods are ready" if ready < workload.replicas else ""


async def _are_taken_up(cluster: Cluster, workload: Workload) -> bool:
    selector = _selector(workload.spec.get("selector") or {})
    found = await cluster.get(REPLICA_SETS.collection(cluster.namespace), labelSelector=selector)
    return all(
        int((one.get("status") or {}).get("observedGeneration") or 0) >= int(one["metadata"]["generation"])
        for one in found.get("items") or ()
        if _controller_of(one).get("uid") == workload.metadata.get("uid")
    )


async def trouble_of(cluster: Cluster, workload: Workload) -> Trouble | None:
    """Why not all pods are ready, the worst of it first; None if no pod says so.

    ``2 of 4 pods of deployment/api are not ready: api-7c: ImagePullBackOff (app:9)``
    """
    pods = [pod for pod in await pods_of(cluster, workload) if not is_ending(pod) and not _is_over(pod)]
    found = [_trouble_of(pod) for pod in pods if not _is_ready(pod)]
    troubles = sorted(found, key=lambda one: (-one.severity, one.pod))
    if not troubles or troubles[0].severity < Severity.STUCK:
        refused = await _why_no_pods(cluster, workload)
        if refused:
            return Trouble(f"pods of {workload.title} can't be made: {refused}", Severity.STUCK)
    return Trouble(_words_for(workload, len(pods), troubles), troubles[0].severity) if troubles else None


def _words_for(workload: Workload, total: int, troubles: Sequence[_PodTrouble]) -> str:
    named = [f"{one.pod}: {one.words}" for one in troubles[:MOST_PODS_NAMED]]
    more = [f"and {len(troubles) - MOST_PODS_NAMED} more"] if len(troubles) > MOST_PODS_NAMED else []
    are = "is" if len(troubles) == 1 else "are"
    return f"{len(troubles)} of {total} pods of {workload.title} {are} not ready: {'; '.join([*named, *more])}"


def _trouble_of(pod: Mapping[str, Any]) -> _PodTrouble:
    name, status = str(pod["metadata"]["name"]), _status(pod)
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        said = str(waiting.get("reason") or "")
        reason, message = _IMAGE.get(said, said), str(waiting.get("message") or "")
        if reason in _STUCK:
            words = f"{reason} ({_about(reason, container, message)})"
            return _PodTrouble(words, Severity.HOPELESS if _is_hopeless(reason, message) else Severity.STUCK, name)
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            words = f"{condition.get('reason')} ({_short(condition.get('message') or '')})"
            return _PodTrouble(words, Severity.UNSCHEDULED, name)
    is_running = status.get("phase") == "Running"
    return _PodTrouble("runs, and is not ready yet" if is_running else "starts", Severity.STARTING, name)


def _is_hopeless(reason: str, message: str) -> bool:
    if reason in _HOPELESS:
        return True
    return reason == "ImagePullBackOff" and any(words in message for words in _NO_SUCH_IMAGE)


def _about(reason: str, container: Mapping[str, Any], message: str) -> str:
    if "Image" in reason:
        return str(container.get("image", ""))
    if reason == "CrashLoopBackOff":
        last = (container.get("lastState") or {}).get("terminated") or {}
        how = f"{last.get('reason', 'ended')}, exit code {last['exitCode']}" if "exitCode" in last else "ended"
        return f"{container.get('name')}: {how}"
    return _short(message)


async def _why_no_pods(cluster: Cluster, workload: Workload) -> str:
    """Why its controller can't make pods (a quota, an admission policy); empty if it can, or nobody may know."""
    failure = workload.condition("ReplicaFailure")
    if failure.get("status") == "True":
        return _short(str(failure.get("message", "")))
    if workload.kind == "deployment":
        return ""
    about = {"involvedObject.uid": str(workload.metadata.get("uid")), "reason": "FailedCreate"}
    selector = ",".join(f"{key}={value}" for key, value in about.items())
    try:
        found = await cluster.get(f"/api/v1/namespaces/{cluster.namespace}/events", fieldSelector=selector)
    except Forbidden:
        return ""
    events = sorted(found.get("items") or (), key=lambda one: str(one.get("lastTimestamp") or ""))
    return _short(str(events[-1].get("message", ""))) if events else ""


def is_ending(pod: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _is_over(pod: Mapping[str, Any]) -> bool:
    """Ended and left behind, as after an eviction: nobody waits for it."""
    return _status(pod).get("phase") in ("Failed", "Succeeded")


def _is_ready(pod: Mapping[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in _status(pod).get("conditions") or ())


def _status(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    status = pod.get("status")
    return status if isinstance(status, dict) else {}


def _short(message: str) -> str:
    lines = message.strip().splitlines()
    return lines[0][:LONGEST_MESSAGE] if lines else ""
