"""What validation asks of a cluster, without changing anything: what is there, what is allowed, what would be taken.

Manifests are tried by a dry run on the server, permissions asked of the API server itself. What one may not look at is
said, and stops nothing but what would need it.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from orchestrator.adapters.kubernetes.applying import DRY_RUN, STRICT, Owned, can_not_be_tried, send
from orchestrator.adapters.kubernetes.client import Cluster, Clusters
from orchestrator.adapters.kubernetes.command_jobs import JOBS, Task
from orchestrator.adapters.kubernetes.errors import Absent, Forbidden, Invalid, Stale
from orchestrator.adapters.kubernetes.jobs import name_of
from orchestrator.adapters.kubernetes.keepers import keeper_of, owners_of
from orchestrator.adapters.kubernetes.making import MADE_OF
from orchestrator.adapters.kubernetes.manifest_objects import Placed, placed_object
from orchestrator.adapters.kubernetes.scalers import scalers_of
from orchestrator.adapters.kubernetes.workloads import RESOURCES, Workload, path_of
from orchestrator.cluster_facts import (
    ClusterFacts,
    Keeper,
    Manifest,
    NamespaceState,
    Need,
    Questions,
    Right,
    Scaler,
    Trial,
    WorkloadFacts,
)
from orchestrator.errors import Permanent, RolloutError
from orchestrator.ports import Scene
from stages.cluster import ObjectRef
from stages.command_pod import CommandPod
from stages.manifests import ManifestObject, objects_of

MOST_AT_ONCE = 8
MOST_NAMES = "500"
_AUTHORIZATION = "authorization.k8s.io/v1"
_AUTHENTICATION = "authentication.k8s.io/v1"
_AUTOSCALERS = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers"
_SCALED_OBJECTS = "/apis/keda.sh/v1alpha1/namespaces/{}/scaledobjects"

T = TypeVar("T")


class ClusterReview:
    """Implements ``ClusterReader``."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    async def look(self, questions: Questions) -> ClusterFacts:
        title = questions.place.words("Kubernetes")
        try:
            cluster = await self._clusters.open(questions.place)
            title = cluster.title
            return await _Look(cluster, questions).facts()
        except RolloutError as error:
            return ClusterFacts(title, questions.place.namespace or "", failure=str(error))


@dataclass(frozen=True, slots=True)
class _Look:
    cluster: Cluster
    questions: Questions

    async def facts(self) -> ClusterFacts:
        found = ClusterFacts(self.cluster.title, self.cluster.namespace, user=await self._user())
        state, names = await self._namespace()
        found = replace(found, namespace_state=state, names=names)
        if state is NamespaceState.ABSENT:
            return replace(found, rights=await self._rights(), trials=await self._trials())
        workloads, more_names = await self._workloads()
        return replace(
            found,
            rights=await self._rights(),
            workloads=workloads,
            keepers=await self._of_objects(),
            names=more_names,
            scalers=await self._scalers(),
            trials=await self._trials(),
        )

    async def _user(self) -> str:
        """Whom the cluster takes us for; empty where it does not tell. The first that is asked: raises ``Temporary`` if
        it is away."""
        body = {"apiVersion": _AUTHENTICATION, "kind": "SelfSubjectReview"}
        try:
            answer = await self.cluster.send("POST", f"/apis/{_AUTHENTICATION}/selfsubjectreviews", body)
        except Permanent:
            return ""
        return str(((answer.get("status") or {}).get("userInfo") or {}).get("username") or "")

    # --- the namespace and who may do what in it

    async def _namespace(self) -> tuple[NamespaceState, tuple[str, ...]]:
        """Its state, and if it is not there those that are."""
        try:
            found = await self.cluster.get(f"/api/v1/namespaces/{self.cluster.namespace}")
        except Absent:
            return NamespaceState.ABSENT, await _names(self.cluster, "/api/v1/namespaces")
        except Forbidden:
            return NamespaceState.HIDDEN, ()
        is_ending = (found.get("status") or {}).get("phase") == "Terminating"
        return NamespaceState.TERMINATING if is_ending else NamespaceState.ACTIVE, ()

    async def _rights(self) -> tuple[Right, ...]:
        found = await _together(self._right(need) for need in self.questions.needs)
        return tuple(dict.fromkeys(one for one in found if one is not None))

    async def _right(self, need: Need) -> Right | None:
        """None for a kind that the cluster lacks: that is told by a trial of the manifest."""
        try:
            resource = await self.cluster.resource(need.api_version, need.kind)
        except Permanent:
            return None
        group = need.api_version.rpartition("/")[0]
        namespace = (need.namespace or self.cluster.namespace) if resource.namespaced else ""
        attributes = {"verb": need.verb, "group": group, "resource": resource.plural, "namespace": namespace}
        if need.subresource:
            attributes["subresource"] = need.subresource
        if need.name:
            attributes["name"] = need.name
        body = {
            "apiVersion": _AUTHORIZATION,
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = await self.cluster.send("POST", f"/apis/{_AUTHORIZATION}/selfsubjectaccessreviews", body)
        named = resource.plural + (f"/{need.subresource}" if need.subresource else "")
        is_granted = bool((answer.get("status") or {}).get("allowed"))
        return Right(need.verb, group, named, namespace, need.is_needed, is_granted, need.name)

    # --- workloads, and who else sets them

    async def _workloads(self) -> tuple[Mapping[str, WorkloadFacts | None], tuple[str, ...]]:
        """Each that may be looked at, and if one is not there the names of those of its kind."""
        found: dict[str, WorkloadFacts | None] = {}
        names: dict[str, None] = {}
        for title in self.questions.workloads:
            try:
                content = await self.cluster.get(path_of(self.cluster, title))
            except Forbidden:
                continue
            except Absent:
                found[title] = None
                kind = title.partition("/")[0]
                collection = RESOURCES[kind].collection(self.cluster.namespace)
                names |= dict.fromkeys(f"{kind}/{name}" for name in await _names(self.cluster, collection))
                continue
            workload = Workload(title, content)
            found[title] = WorkloadFacts(
                workload.replicas,
                workload.containers(),
                await self._keepers(content),
                strategy=str(workload.strategy.get("type", "")),
                made_of=workload.annotations.get(MADE_OF, ""),
            )
        return found, tuple(names)

    async def _of_objects(self) -> Mapping[ObjectRef, tuple[Keeper, ...]]:
        """Of those that may be looked at: what else is wrong with them is told where their flags are looked up."""
        found: dict[ObjectRef, tuple[Keeper, ...]] = {}
        for one in self.questions.objects:
            try:
                resource = await self.cluster.resource(one.api_version, one.kind)
                content = await self.cluster.get(resource.object(self.cluster.namespace, one.name))
            except Permanent:
                continue
            found[one] = await self._keepers(content)
        return found

    async def _keepers(self, workload: Mapping[str, Any]) -> tuple[Keeper, ...]:
        found = []
        for owner in owners_of(workload):
            settings = None
            if owner.path:
                try:
                    settings = await self.cluster.get(owner.path)
                except Permanent:
                    settings = None
            found.append(keeper_of(owner, settings, workload))
        return tuple(found)

    async def _scalers(self) -> tuple[Scaler, ...]:
        """Those that may be listed."""
        if not self.questions.workloads:
            return ()
        lists = [await self._listed(path.format(self.cluster.namespace)) for path in (_AUTOSCALERS, _SCALED_OBJECTS)]
        return tuple(scalers_of(*lists))

    async def _listed(self, path: str) -> list[dict[str, Any]]:
        try:
            found = await self.cluster.get(path, limit=MOST_NAMES)
        except Permanent:
            return []
        return list(found.get("items") or ())

    # --- manifests

    async def _trials(self) -> tuple[Trial, ...]:
        found = await _together(self._tried(manifest) for manifest in self.questions.manifests)
        command = [await self._tried_command(self.questions.commands)] if self.questions.commands is not None else []
        return (*(trial for trials in found for trial in trials), *command)

    async def _tried_command(self, pod: CommandPod) -> Trial:
        scene = Scene("trial", "trial")
        task = Task("trial", "trial", ("true",), pod, scene, timeout_seconds=60.0)
        content = task.job()
        made = {**content, "apiVersion": JOBS.api_version, "kind": JOBS.kind}
        job = ManifestObject(JOBS.api_version, JOBS.kind, "rollout-trial", None, made)
        return Trial("", "the Job of a command", await self._failure(Manifest("", "", is_job=True), job))

    async def _tried(self, manifest: Manifest) -> list[Trial]:
        objects = objects_of(manifest.text)
        made = {one.name for one in objects if one.kind == "Namespace"}
        return [
            Trial(manifest.file, one.title, await self._failure(manifest, one))
            for one in objects
            if one.namespace not in made  # else there is nothing to try it in yet
        ]

    async def _failure(self, manifest: Manifest, one: ManifestObject) -> str:
        try:
            if manifest.is_job:
                await self._make(replace(one, name=name_of(one, "trial")))
            else:
                placed = await placed_object(self.cluster, one)
                await send(placed, placed.body(placed.content), STRICT | DRY_RUN, may_force=False)
        except Owned as owned:
            return owned.sentence(manifest.file)
        except Stale:
            return ""  # somebody writes it just now
        except Invalid as error:
            return "" if can_not_be_tried(error) else str(error)
        except Forbidden as error:
            return "" if error.is_for_want_of_rights else str(error)  # rights are asked for by themselves
        except Permanent as error:
            return str(error)
        return ""

    async def _make(self, job: ManifestObject) -> None:
        resource = await self.cluster.resource(job.api_version, job.kind)
        placed = Placed(job, self.cluster.within(job.namespace or self.cluster.namespace), resource)
        collection = resource.collection(placed.cluster.namespace)
        await self.cluster.send("POST", collection, placed.body(placed.content), **STRICT, **DRY_RUN)


async def _names(cluster: Cluster, collection: str) -> tuple[str, ...]:
    """Those that may be listed."""
    try:
        found = await cluster.get(collection, limit=MOST_NAMES)
    except Permanent:
        return ()
    return tuple(str(one["metadata"]["name"]) for one in found.get("items") or ())


async def _together(asked: Iterable[Awaitable[T]]) -> list[T]:
    slots = asyncio.Semaphore(MOST_AT_ONCE)

    async def one(awaited: Awaitable[T]) -> T:
        async with slots:
            return await awaited

    return await asyncio.gather(*map(one, asked))
