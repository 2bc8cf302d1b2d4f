"""Objects of a manifest as they stand in a cluster: looked at, and what a run remembers of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.adapters.kubernetes.client import APPLY_PATCH, Cluster, Resource
from orchestrator.adapters.kubernetes.errors import Absent, Stale
from orchestrator.adapters.kubernetes.fields import Managers, content_of, seen_fields
from orchestrator.adapters.kubernetes.marks import EFFECT, RUN, SINCE, Author
from orchestrator.adapters.kubernetes.sending import answered
from orchestrator.adapters.kubernetes.workloads import RESOURCES
from orchestrator.errors import Permanent
from stages.manifests import ManifestObject, objects_of
from stages.values import Json

MOST_BYTES = 4 << 20
"""Of what is remembered of one manifest: it goes into the journal."""


@dataclass(frozen=True, slots=True)
class Placed:
    """*cluster* is within the object's own namespace. *live*: the object as it is there, None if it is not."""

    written: ManifestObject
    cluster: Cluster
    resource: Resource
    live: Mapping[str, Any] | None = None

    @property
    def title(self) -> str:
        where = f" in {self.cluster.namespace}" if self.resource.namespaced else ""
        return f"{self.written.title}{where}"

    @property
    def path(self) -> str:
        return self.resource.object(self.cluster.namespace, self.written.name)

    @property
    def content(self) -> dict[str, Any]:
        return content_of(self.written)

    @property
    def workload(self) -> str | None:
        """As workloads are named, if it is one that is rolled out."""
        kind = self.written.kind.lower()
        is_workload = kind in RESOURCES and self.resource.api_version == RESOURCES[kind].api_version
        return self.written.title if is_workload else None

    @property
    def metadata(self) -> Mapping[str, Any]:
        return (self.live or {}).get("metadata") or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.metadata.get("annotations") or {}

    @property
    def run(self) -> str | None:
        """The run that applied it last."""
        return self.annotations.get(RUN)

    @property
    def effect(self) -> str | None:
        return self.annotations.get(EFFECT)

    @property
    def seen(self) -> Json:
        """What is remembered of it; see ``stages.cluster.ApplyManifest``."""
        if self.live is None:
            return {"name": self.written.title, "exists": False, "applied": False, "fields": {}}
        is_applied = Managers.of(self.live).ours is not None
        fields = seen_fields(self.content, self.live)
        return {"name": self.written.title, "exists": True, "applied": is_applied, "fields": fields}

    async def looked_at(self) -> "Placed":
        try:
            live = await self.cluster.get(self.path)
        except Absent:
            live = None
        return Placed(self.written, self.cluster, self.resource, live)

    def body(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """*content* as an object to be applied, if it is still the one that was looked at."""
        identity = {"name": self.written.name}
        if self.resource.namespaced:
            identity["namespace"] = self.cluster.namespace
        if self.live is not None:
            identity["resourceVersion"] = str(self.metadata["resourceVersion"])
        metadata = {**(content.get("metadata") or {}), **identity}
        return {**content, "apiVersion": self.written.api_version, "kind": self.written.kind, "metadata": metadata}

    async def apply(self, body: Mapping[str, Any], **query: str) -> "Placed":
        """Raises ``Stale`` if it was changed since it was looked at, or fields of it belong to others."""
        live = await answered(self.cluster.send("PATCH", self.path, body, APPLY_PATCH, **query))
        return Placed(self.written, self.cluster, self.resource, live)


def marked(content: Mapping[str, Any], placed: Placed, author: Author, now: float) -> dict[str, Any]:
    """*content* with the marks of an effect that is begun *now*, or was begun when its marks say."""
    marks = author.annotations(now)
    if author.has_marked(placed.annotations):
        marks[SINCE] = placed.annotations.get(SINCE, marks[SINCE])
    metadata = content.get("metadata") or {}
    annotations = {**(metadata.get("annotations") or {}), **marks}
    return {**content, "metadata": {**metadata, "annotations": annotations}}


async def placed_object(cluster: Cluster, one: ManifestObject) -> Placed:
    """An object of a manifest as it is. Raises ``Permanent`` for a kind that the cluster lacks."""
    resource = await cluster.resource(one.api_version, one.kind)
    return await Placed(one, cluster.within(one.namespace or cluster.namespace), resource).looked_at()


async def placed_objects(cluster: Cluster, text: str) -> list[Placed]:
    """All of them, in the manifest's order."""
    return [await placed_object(cluster, one) for one in objects_of(text)]


def value_of(objects: Sequence[Placed], manifest: str) -> Json:
    """What is remembered of a manifest. Raises ``Permanent`` if that is too much for a journal."""
    value = {"objects": [one.seen for one in objects]}
    size = len(json.dumps(value))
    if size > MOST_BYTES:
        raise Permanent(
            f"what {manifest} names takes {size >> 20} MiB in the cluster, and 4 MiB are the most; split it"
        )
    return value


def owners_in(error: Stale) -> dict[str, list[str]]:
    """Manager -> the fields that belong to him, of an apply that met others'. Empty if that is not what was stale."""
    found: dict[str, list[str]] = {}
    for cause in error.causes:
        if cause.get("reason") == "FieldManagerConflict":
            manager = str(cause.get("message", "")).partition('"')[2].partition('"')[0]
            found.setdefault(manager, []).append(str(cause.get("field", "")).lstrip("."))
    return found
