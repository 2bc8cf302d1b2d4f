"""Workloads as an API server describes them, how they are found, and what "rolled out" means: what it means for
``kubectl rollout status``.
"""

import asyncio
import difflib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.adapters.kubernetes.client import Cluster, Resource
from orchestrator.adapters.kubernetes.errors import Absent, Forbidden
from orchestrator.errors import Permanent, Temporary

RESOURCES = {
    "deployment": Resource("apps/v1", "Deployment", "deployments", namespaced=True),
    "statefulset": Resource("apps/v1", "StatefulSet", "statefulsets", namespaced=True),
    "daemonset": Resource("apps/v1", "DaemonSet", "daemonsets", namespaced=True),
}
PAUSE_SECONDS = 0.5  # between a watch that ended and the look after it
MOST_NAMES = 5
REPLACED_BY_HAND = "OnDelete"


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment, StatefulSet or DaemonSet as it was read. *title* as plans name it: ``deployment/api``."""

    title: str
    content: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return self.title.partition("/")[0]

    @property
    def name(self) -> str:
        return self.title.partition("/")[2]

    @property
    def exists(self) -> bool:
        """Or it only stands for a copy that is not there."""
        return bool(self.metadata)

    @property
    def metadata(self) -> Mapping[str, Any]:
        return _mapping(self.content, "metadata")

    @property
    def annotations(self) -> Mapping[str, str]:
        return _mapping(self.metadata, "annotations")

    @property
    def resource_version(self) -> str:
        return str(self.metadata["resourceVersion"])

    @property
    def spec(self) -> Mapping[str, Any]:
        return _mapping(self.content, "spec")

    @property
    def status(self) -> Mapping[str, Any]:
        return _mapping(self.content, "status")

    @property
    def template(self) -> Mapping[str, Any]:
        return _mapping(self.spec, "template")

    @property
    def strategy(self) -> Mapping[str, Any]:
        """Of a Deployment."""
        return _mapping(self.spec, "strategy")

    @property
    def replicas(self) -> int:
        """How many it shall have; of a DaemonSet, one for each of its nodes."""
        if self.kind == "daemonset":
            return self.count("desiredNumberScheduled")
        return int(self.spec.get("replicas", 1))

    @property
    def ready(self) -> int:
        return self.count("numberReady" if self.kind == "daemonset" else "readyReplicas")

    def count(self, name: str) -> int:
        """A number of its status; the API leaves out what is 0."""
        return int(self.status.get(name) or 0)

    def containers(self, field: str = "containers") -> Mapping[str, str]:
        """The image of each container by its name; *field* may be ``initContainers``."""
        found = _mapping(self.template, "spec").get(field) or ()
        return {str(one["name"]): str(one.get("image", "")) for one in found}

    def condition(self, kind: str) -> Mapping[str, Any]:
        found = (one for one in self.status.get("conditions") or () if one.get("type") == kind)
        return next(found, {})


def _mapping(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}


# --- rolled out -------------------------------------------------------------------------------------------------------


class Progress(StrEnum):
    DONE = "done"
    UNDER_WAY = "under_way"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far the newest change of a workload is; *reason* says what is still missing, to follow its name."""

    progress: Progress
    reason: str = ""


_DONE = Rollout(Progress.DONE)


def rollout_of(workload: Workload, changed_at: str = "") -> Rollout:
    """*changed_at*: when it was changed last, in the API server's own words; what failed before does not count."""
    if workload.count("observedGeneration") < int(workload.metadata.get("generation") or 0):
        return Rollout(Progress.UNDER_WAY, "has not been taken up by its controller yet")
    missing = _MISSING[workload.kind](workload)
    if not missing:
        return _DONE
    if workload.spec.get("paused"):
        return Rollout(Progress.FAILED, f"is paused, and {missing}; end that with kubectl rollout resume")
    progressing = workload.condition("Progressing")
    if (
        progressing.get("reason") == "ProgressDeadlineExceeded"
        and str(progressing.get("lastUpdateTime", "")) > changed_at
    ):
        return Rollout(Progress.FAILED, f"exceeded its progress deadline: {missing}")
    return Rollout(Progress.UNDER_WAY, missing)


def _missing_of_deployment(workload: Workload) -> str:
    wanted, there = workload.replicas, workload.count("replicas")
    updated, available = workload.count("updatedReplicas"), workload.count("availableReplicas")
    if updated < wanted:
        return f"{updated} of {wanted} pods are of its newest template"
    if there > updated:
        return f"{there - updated} of its old pods still run"
    if there > wanted:  # its controller has seen the new number, and not yet acted on it
        return f"{there - wanted} of its pods are too many"
    if available < updated:
        return f"{available} of {updated} pods are available"
    return ""


def _missing_of_statefulset(workload: Workload) -> str:
    wanted, there = workload.replicas, workload.count("replicas")
    ready, updated = workload.count("readyReplicas"), workload.count("updatedReplicas")
    if there > wanted:
        return f"{there - wanted} of its pods are too many"
    if ready < wanted:
        return f"{ready} of {wanted} pods are ready"
    strategy = _mapping(workload.spec, "updateStrategy")
    if strategy.get("type") == REPLACED_BY_HAND:
        return ""
    partition = int(_mapping(strategy, "rollingUpdate").get("partition") or 0)
    if updated < wanted - partition:
        return f"{updated} of {wanted - partition} pods are of its newest template"
    is_behind = workload.status.get("updateRevision") != workload.status.get("currentRevision")
    return "its old pods still run" if not partition and is_behind and wanted else ""


def _missing_of_daemonset(workload: Workload) -> str:
    wanted, updated = workload.count("desiredNumberScheduled"), workload.count("updatedNumberScheduled")
    if _mapping(workload.spec, "updateStrategy").get("type") != REPLACED_BY_HAND and updated < wanted:
        return f"{updated} of {wanted} pods are of its newest template"
    available = workload.count("numberAvailable")
    return f"{available} of {wanted} pods are available" if available < wanted else ""


_MISSING = {
    "deployment": _missing_of_deployment,
    "statefulset": _missing_of_statefulset,
    "daemonset": _missing_of_daemonset,
}


def check_replaces_pods(workload: Workload) -> None:
    """Raises ``Permanent`` if a new template would not be rolled out."""
    if workload.spec.get("paused"):
        raise Permanent(f"{workload.title} is paused, so no pod would change; end that with kubectl rollout resume")
    if _mapping(workload.spec, "updateStrategy").get("type") == REPLACED_BY_HAND:
        raise Permanent(
            f"the pods of {workload.title} are replaced by hand only (its updateStrategy is OnDelete); "
            "set it to RollingUpdate"
        )


# --- finding them -----------------------------------------------------------------------------------------------------


def path_of(cluster: Cluster, title: str) -> str:
    kind, _, name = title.partition("/")
    return RESOURCES[kind].object(cluster.namespace, name)


async def find(cluster: Cluster, title: str) -> Workload:
    """Raises ``Absent``, which says what there is instead."""
    try:
        return Workload(title, await cluster.get(path_of(cluster, title)))
    except Absent as error:
        raise Absent(await _what_there_is(cluster, title)) from error


async def _what_there_is(cluster: Cluster, title: str) -> str:
    where = f"namespace {cluster.namespace} of {cluster.title}"
    try:
        namespace = await cluster.get(f"/api/v1/namespaces/{cluster.namespace}")
    except Absent:
        return f"there is no namespace {cluster.namespace} in {cluster.title}, so there is no {title}"
    except Forbidden:
        namespace = {}
    if _mapping(namespace, "status").get("phase") == "Terminating":
        return f"there is no {title} any more: {where} is being deleted"
    return f"there is no {title} in {where}; {await _names(cluster, title)}"


async def _names(cluster: Cluster, title: str) -> str:
    kind, _, name = title.partition("/")
    try:
        found = await cluster.get(RESOURCES[kind].collection(cluster.namespace), limit="500")
    except Forbidden:
        return f"its {kind}s may not be listed"
    names = [str(one["metadata"]["name"]) for one in found.get("items") or ()]
    similar = difflib.get_close_matches(name, names, n=MOST_NAMES) or sorted(names)[:MOST_NAMES]
    more = ", ..." if len(names) > len(similar) else ""
    return f"it has {', '.join(f'{kind}/{one}' for one in similar)}{more}" if names else f"it has no {kind} at all"


async def looks(cluster: Cluster, title: str, idle_seconds: float) -> AsyncGenerator[Workload, None]:
    """A workload as it is, then again whenever it changes, or if nothing is heard of it for so long. The watch only
    makes it faster: one that breaks, ends or is not allowed is answered by a look.
    """
    while True:
        workload = await find(cluster, title)
        yield workload
        async with aclosing(_changes(cluster, workload, idle_seconds)) as changes:
            async for newer in changes:
                yield newer
        await asyncio.sleep(PAUSE_SECONDS)


async def _changes(cluster: Cluster, workload: Workload, idle_seconds: float) -> AsyncGenerator[Workload, None]:
    collection = RESOURCES[workload.kind].collection(cluster.namespace)
    only = {"fieldSelector": f"metadata.name={workload.name}"}
    events = cluster.watch(collection, workload.resource_version, idle_seconds=idle_seconds, **only)
    try:
        async with aclosing(events):
            async for event in events:
                if event.get("type") == "DELETED":
                    return
                if event.get("type") in ("ADDED", "MODIFIED"):
                    yield Workload(workload.title, event["object"])
    except Temporary:
        return
    except Forbidden:
        await asyncio.sleep(idle_seconds)
