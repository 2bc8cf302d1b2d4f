"""The second Deployment of a version whose plan names none: a copy of the first, and gone when it is not needed.

Its pods have all labels of the first one's pods, so Services send requests to both, and one more, which its selector
asks for too. Which pods are whose is told by their owners, as Kubernetes itself tells it. The copy is owned by the
first: who deletes that deletes the application, and no pods of the new image shall go on without it.

A copy is told from a stranger's Deployment of the same name by an annotation that names what it was made of. A copy
that an earlier run has left is taken over: its pods get the template of the first one as it is now.

It is made without pods, and gets them by a write with a precondition. So what was sent to make it, and arrives when it
has long been deleted again, leaves nothing that runs. It is deleted with a precondition as well.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any

from orchestrator.adapters.kubernetes.bringing import (
    LOOKS,
    MOST_NAMED,
    Attempt,
    Change,
    Unready,
    check_origin,
)
from orchestrator.adapters.kubernetes.client import STRATEGIC_MERGE_PATCH, Cluster
from orchestrator.adapters.kubernetes.errors import Absent, Exists, Stale
from orchestrator.adapters.kubernetes.marks import RUN
from orchestrator.adapters.kubernetes.pods import pods_of
from orchestrator.adapters.kubernetes.sending import answered
from orchestrator.adapters.kubernetes.wishes import Wish, list_of
from orchestrator.adapters.kubernetes.workloads import RESOURCES, Workload, path_of
from orchestrator.cluster_facts import AT_ONCE, is_at_once, is_taken
from orchestrator.errors import Permanent, Temporary
from stages.cluster import FIELD_MANAGER

ARM = {f"{FIELD_MANAGER}/arm": "canary"}
MADE_OF = f"{FIELD_MANAGER}/made-of"
LOOK_IF_GONE_SECONDS = 0.5
_APPS = RESOURCES["deployment"]
_NOTHING: Mapping[str, Any] = {"spec": {"replicas": 0}}


async def look(cluster: Cluster, title: str, original: str) -> Workload:
    """The copy of *original*. If there is none, or a stranger's Deployment in its place, one without anything."""
    found = await _found(cluster, title)
    return found if found is not None and is_made_of(found.annotations, original) else Workload(title, _NOTHING)


def is_made_of(annotations: Mapping[str, str], original: str) -> bool:
    return annotations.get(MADE_OF) == original


async def check_place(attempt: Attempt, change: Change, original: Workload) -> None:
    """Raises ``Permanent`` if no copy can be there."""
    await _own(attempt.cluster, change.title, original.title)
    if original.strategy.get("type") == AT_ONCE:
        raise Permanent(is_at_once(original.title))


async def make(attempt: Attempt, original: Workload, change: Change) -> None:
    """The copy is there, as *original* is now but for the wished image. Its pods are not made here."""
    for _ in range(LOOKS):
        try:
            await _make(attempt, original, change)
        except (Exists, Stale):
            continue
        return
    raise Temporary(f"others keep writing {change.title}")


async def remove(attempt: Attempt, change: Change, original: str) -> None:
    """The copy and its pods are gone. A stranger's Deployment stays. Raises as ``bring`` does."""
    for _ in range(LOOKS):
        found = await look(attempt.cluster, change.title, original)
        if not found.exists:
            return
        check_origin(attempt, change, found)
        try:
            await _delete(attempt, found)
        except Stale:
            continue
        await _until_gone(attempt, found, original)
        return
    raise Temporary(f"others keep writing {change.title}")


def missing_at_most(workload: Workload, replicas: int) -> int:
    """How many of so many pods a Deployment may lack while it replaces them, by its strategy: a share is rounded down,
    and is 1 where no pod may be too many either.

    Reference: the API reference of Kubernetes on ``RollingUpdateDeployment``.
    """
    rolling = workload.strategy.get("rollingUpdate") or {}
    lacking = _share(rolling.get("maxUnavailable", "25%"), replicas, math.floor)
    surplus = _share(rolling.get("maxSurge", "25%"), replicas, math.ceil)
    return min(lacking if lacking or surplus else 1, replicas)


def _share(number: int | str, replicas: int, whole: Callable[[float], int]) -> int:
    if isinstance(number, int):
        return number
    return whole(int(number.removesuffix("%")) * replicas / 100)


async def _found(cluster: Cluster, title: str) -> Workload | None:
    try:
        return Workload(title, await cluster.get(path_of(cluster, title)))
    except Absent:
        return None


async def _own(cluster: Cluster, title: str, original: str) -> Workload | None:
    """The copy, if there is one. Raises ``Permanent`` if a stranger's Deployment has its name."""
    found = await _found(cluster, title)
    if found is not None and not is_made_of(found.annotations, original):
        raise Permanent(is_taken(title, original))
    return found


async def _make(attempt: Attempt, original: Workload, change: Change) -> None:
    found = await _own(attempt.cluster, change.title, original.title)
    if found is None:
        await _create(attempt, original, change)
        return
    attempt.author.check(found.annotations, found.title)
    if _is_ending(found):
        raise Temporary(f"{change.title} is still being deleted")
    if not attempt.is_undo and found.annotations.get(RUN) != attempt.author.run:
        await _renew(attempt, original, found, change.wish)


def _is_ending(copy: Workload) -> bool:
    return "deletionTimestamp" in copy.metadata


async def _create(attempt: Attempt, original: Workload, change: Change) -> None:
    body = {
        "apiVersion": _APPS.api_version,
        "kind": _APPS.kind,
        "metadata": {
            "name": change.title.partition("/")[2],
            "labels": ARM,
            "annotations": attempt.author.annotations(attempt.clock.now()) | {MADE_OF: original.title},
            "ownerReferences": [_owner(original)],
        },
        "spec": spec_of_copy(original, change.wish),
    }
    await answered(attempt.cluster.send("POST", _APPS.collection(attempt.cluster.namespace), body))


async def _renew(attempt: Attempt, original: Workload, copy: Workload, wish: Wish) -> None:
    template = {"$patch": "replace", **spec_of_copy(original, wish)["template"]}
    marks = attempt.author.annotations(attempt.clock.now())
    metadata = {"resourceVersion": copy.resource_version, "annotations": marks}
    body = {"metadata": metadata, "spec": {"template": template}}
    path = path_of(attempt.cluster, copy.title)
    await answered(attempt.cluster.send("PATCH", path, body, STRATEGIC_MERGE_PATCH))


def _owner(original: Workload) -> dict[str, str]:
    uid = str(original.metadata["uid"])
    return {"apiVersion": _APPS.api_version, "kind": _APPS.kind, "name": original.name, "uid": uid}


def spec_of_copy(original: Workload, wish: Wish) -> dict[str, Any]:
    """The spec of *original* with the wished image, labels of its own, and no pods yet."""
    spec = deepcopy(dict(original.spec))
    spec.pop("paused", None)
    spec["replicas"] = 0
    selector, metadata = spec["selector"], spec["template"].setdefault("metadata", {})
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), **ARM}
    metadata["labels"] = {**(metadata.get("labels") or {}), **ARM}
    if wish.image is not None:
        for one in spec["template"]["spec"][list_of(original, wish.container)]:
            if one["name"] == wish.container:
                one["image"] = wish.image
    return spec


async def _delete(attempt: Attempt, copy: Workload) -> None:
    if _is_ending(copy):
        return
    which = {"uid": copy.metadata["uid"], "resourceVersion": copy.resource_version}
    options = {"propagationPolicy": "Foreground", "preconditions": which}
    with suppress(Absent):
        await answered(attempt.cluster.send("DELETE", path_of(attempt.cluster, copy.title), options))


async def _until_gone(attempt: Attempt, copy: Workload, original: str) -> None:
    try:
        async with asyncio.timeout(attempt.timeout_seconds):
            while await _is_there(attempt.cluster, copy, original):  # noqa: ASYNC110 - its end is heard from nobody
                await asyncio.sleep(LOOK_IF_GONE_SECONDS)
    except TimeoutError:
        names = sorted(str(pod["metadata"]["name"]) for pod in await pods_of(attempt.cluster, copy))
        waiting = f": {', '.join(names[:MOST_NAMED])} still end" if names else ""
        raise Unready(f"{copy.title} is still being deleted{waiting}", is_final=True) from None


async def _is_there(cluster: Cluster, copy: Workload, original: str) -> bool:
    return bool((await look(cluster, copy.title, original)).metadata.get("uid") == copy.metadata["uid"])
