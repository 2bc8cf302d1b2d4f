"""One run of a Job: made once, looked at until it has ended, taken away; whoever wrote what it does."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from orchestrator.adapters.kubernetes.bringing import Attempt
from orchestrator.adapters.kubernetes.client import MERGE_PATCH, Cluster
from orchestrator.adapters.kubernetes.errors import Absent, Exists, Forbidden
from orchestrator.adapters.kubernetes.manifest_objects import Placed, marked
from orchestrator.adapters.kubernetes.pods import pods_of
from orchestrator.adapters.kubernetes.sending import answered
from orchestrator.adapters.kubernetes.workloads import Workload
from orchestrator.errors import Permanent, RolloutError, Temporary
from orchestrator.failpoints import Point, reach

PAUSE_SECONDS = 0.5  # between a watch that ended and the look after it
CANCEL_SECONDS = 5.0
LONGEST_NAME = 63  # the Job's pods bear it in a label
LAST_LINES = 20
LONGEST_LOG = 2000
TTL = "ttlSecondsAfterFinished"


@dataclass(frozen=True, slots=True)
class Job:
    """As it was read."""

    content: Mapping[str, Any]

    @property
    def workload(self) -> Workload:
        """What its pods are looked at by."""
        return Workload(f"job/{self.content['metadata']['name']}", self.content)

    @property
    def is_complete(self) -> bool:
        return self.workload.condition("Complete").get("status") == "True"

    @property
    def is_failing(self) -> bool:
        """It has failed, and pods of it may still be there: the last moment at which they can be read."""
        return self.workload.condition("FailureTarget").get("status") == "True"

    @property
    def is_late(self) -> bool:
        """It was ended by the cluster, for its time was over."""
        return self.workload.condition("Failed").get("reason") == "DeadlineExceeded"

    @property
    def failure(self) -> str:
        """Empty if it did not fail."""
        condition = self.workload.condition("Failed")
        if condition.get("status") != "True":
            return ""
        return f"{condition.get('reason') or 'Failed'}: {condition.get('message') or 'no reason was given'}".rstrip(".")

    @property
    def has_ended(self) -> bool:
        return self.is_complete or bool(self.failure)


async def made(attempt: Attempt, placed: Placed, content: Mapping[str, Any]) -> Job:
    """The Job of this effect, which is made of *content* if there is none. Raises ``Permanent`` if the name is another
    one's."""
    now = await placed.looked_at()
    if now.live is None:
        body = placed.body(marked(content, placed, attempt.author, attempt.clock.now()))
        collection = placed.resource.collection(placed.cluster.namespace)
        try:
            reach(Point.JOB_MAKING)
            job = Job(await answered(placed.cluster.send("POST", collection, body, fieldValidation="Strict")))
        except Exists:
            now = await placed.looked_at()
        else:
            reach(Point.JOB_MADE)
            return job
    if now.live is None:
        raise Temporary(f"{placed.title} was there, and is gone")
    if not attempt.author.has_marked(now.annotations):
        raise Permanent(f"there is a {placed.title} already, which is not of this run; delete it")
    attempt.author.check(now.annotations, placed.title)
    return Job(now.live)


# --- waiting ----------------------------------------------------------------------------------------------------------


async def looks(placed: Placed, every_seconds: float) -> AsyncGenerator[Job, None]:
    """The Job as it is, again whenever it changes, and every few seconds if nothing is heard of it. Raises ``Absent``
    if it is gone."""
    while True:
        job = Job(await placed.cluster.get(placed.path))
        yield job
        async with aclosing(_changes(placed, job, every_seconds)) as changes:
            async for newer in changes:
                yield newer
        await asyncio.sleep(PAUSE_SECONDS)


async def _changes(placed: Placed, job: Job, idle_seconds: float) -> AsyncGenerator[Job, None]:
    events = placed.cluster.watch(
        placed.resource.collection(placed.cluster.namespace),
        job.workload.resource_version,
        idle_seconds=idle_seconds,
        fieldSelector=f"metadata.name={placed.written.name}",
    )
    try:
        async with aclosing(events):
            async for event in events:
                if event.get("type") == "DELETED":
                    return
                if event.get("type") in ("ADDED", "MODIFIED"):
                    yield Job(event["object"])
    except Temporary:
        return
    except Forbidden:
        await asyncio.sleep(idle_seconds)


# --- what its pods say ------------------------------------------------------------------------------------------------


async def last_words(cluster: Cluster, job: Job) -> str:
    """The end of the newest pod's log, as the end of a sentence."""
    try:
        pod = await newest_pod(cluster, job)
        if pod is None:
            return "; it has no pod whose log could be read"
        name = str(pod["metadata"]["name"])
        text = (await log_of(cluster, pod, _container(pod), tailLines=str(LAST_LINES))).strip()
    except RolloutError as error:
        return f"; its log can't be read: {error}"
    return f"; the last that {name} said: {text[-LONGEST_LOG:]}" if text else f"; {name} said nothing"


async def newest_pod(cluster: Cluster, job: Job) -> Mapping[str, Any] | None:
    pods = await pods_of(cluster, job.workload)
    return max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)


async def log_of(cluster: Cluster, pod: Mapping[str, Any], container: str, **query: str) -> str:
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod['metadata']['name']}/log"
    return await cluster.text(path, container=container, **query)


def _container(pod: Mapping[str, Any]) -> str:
    """The one that failed, else the first."""
    status = pod.get("status") or {}
    states = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    failed = (one for one in states if ((one.get("state") or {}).get("terminated") or {}).get("exitCode"))
    return str(next((one["name"] for one in failed), pod["spec"]["containers"][0]["name"]))


# --- taking it away ---------------------------------------------------------------------------------------------------


async def may_go(placed: Placed, job: Job, seconds: int) -> None:
    """From now on the cluster may remove it, so long after its end."""
    if TTL in job.workload.spec:
        return
    with suppress(Absent):
        await answered(placed.cluster.send("PATCH", placed.path, {"spec": {TTL: seconds}}, MERGE_PATCH))


async def delete(placed: Placed) -> None:
    """With its pods, in the foreground: as long as it is there, they may run."""
    with suppress(Absent):
        await answered(placed.cluster.send("DELETE", placed.path, {"propagationPolicy": "Foreground"}))


async def ended(placed: Placed, *, may_come: bool = True) -> bool:
    """Nobody wants it any more: deleted, and waited for a moment until it is gone. One that is not there *may come*,
    if it was being made just now. Whether it is gone for sure."""
    was_there = not may_come
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            while True:
                placed = await placed.looked_at()
                if placed.live is None and was_there:
                    return True
                if placed.live is not None and not placed.metadata.get("deletionTimestamp"):
                    await delete(placed)
                was_there |= placed.live is not None
                await asyncio.sleep(PAUSE_SECONDS)
    except (TimeoutError, RolloutError):
        return False
