"""flagd documents in a cluster: under a key of a ConfigMap, and as a ``FeatureFlag`` of the OpenFeature operator.

An object is read once and patched where the flag's numbers are, with the ``resourceVersion`` that was read: if anybody
wrote in between, the API server refuses the patch. Who wrote a flag last, ``managedFields`` say; of a ConfigMap that is
who wrote the document, whichever of its flags.
"""

import copy as copies
from collections.abc import Mapping
from typing import Any

from orchestrator.adapters.flag_systems import json_places
from orchestrator.adapters.flag_systems.flagd import Changes, Copy, value_at
from orchestrator.adapters.flag_systems.port import Moved
from orchestrator.adapters.kubernetes.client import MERGE_PATCH, Cluster, Clusters, Resource
from orchestrator.adapters.kubernetes.errors import Absent, Forbidden, Stale
from orchestrator.adapters.kubernetes.marks import Author, Path, owner_of
from orchestrator.adapters.kubernetes.sending import answered
from orchestrator.errors import Permanent
from stages.cluster import FIELD_MANAGER, Kubernetes
from stages.flag_systems import FEATURE_FLAGS

CONFIG_MAPS = Resource("v1", "ConfigMap", "configmaps", namespaced=True)
FLAGS = Resource(FEATURE_FLAGS, "FeatureFlag", "featureflags", namespaced=True)
OPERATORS = ("if", "fractional")  # of a targeting that we read; a list of arguments has one owner


class _Object:
    """What the two have in common. The origin of copies is the object."""

    is_fenced = True

    def __init__(self, clusters: Clusters, kubernetes: Kubernetes, resource: Resource, name: str) -> None:
        self.title = kubernetes.words(f"{resource.kind} {name}")
        self._clusters = clusters
        self._kubernetes = kubernetes
        self._resource = resource
        self._name = name
        self._last: Mapping[str, Any] = {}  # as it was read

    async def get(self) -> dict[str, Any]:
        cluster = await self._clusters.open(self._kubernetes)
        try:
            content = await cluster.get(self._path(cluster))
        except Absent as problem:
            await cluster.resource(self._resource.api_version, self._resource.kind)
            where = f"namespace {cluster.namespace} of {cluster.title}"
            raise Permanent(f"there is no {self._resource.kind} {self._name} in {where}; make it first") from problem
        except Forbidden as problem:
            raise self._denied(problem) from problem
        self._last = content
        return content

    async def patch(self, content: Mapping[str, Any], author: Author, changes: Mapping[str, Any]) -> None:
        """Raises ``Moved`` if the object is no longer *content*."""
        metadata = content["metadata"]
        author.check(metadata.get("annotations") or {}, self.title)
        ours = {"resourceVersion": metadata["resourceVersion"], "annotations": author.names}
        cluster = await self._clusters.open(self._kubernetes)
        try:
            await answered(cluster.send("PATCH", self._path(cluster), {"metadata": ours, **changes}, MERGE_PATCH))
        except (Stale, Absent):
            raise Moved from None
        except Forbidden as problem:
            raise self._denied(problem) from problem

    def owner(self, *paths: Path) -> str | None:
        """Who had written one of these fields last when it was read; None for us, and where it can't be told."""
        owner = owner_of(self._last.get("metadata") or {}, *paths)
        return owner if owner != FIELD_MANAGER else None

    def _path(self, cluster: Cluster) -> str:
        return self._resource.object(cluster.namespace, self._name)

    def _denied(self, problem: Forbidden) -> Permanent:
        return Permanent(f"{problem}; for flags the rule needs the verbs get and patch of {self._name}")


class ConfigMapDocument(_Object):
    """Implements ``DocumentPlace``. Every character of the document that is not of a state or a weight stays."""

    def __init__(self, clusters: Clusters, kubernetes: Kubernetes, name: str, key: str) -> None:
        super().__init__(clusters, kubernetes, CONFIG_MAPS, name)
        self._key = key

    async def read(self) -> Copy:
        content = await self.get()
        if content.get("immutable"):
            raise Permanent(f"{self.title} is immutable, so no flag in it can be raised; make another one that is not")
        data = content.get("data") or {}
        if self._key not in data:
            there = ", ".join(sorted(data)) or "none"
            raise Permanent(f"{self.title} has no key {self._key}; its keys are: {there}")
        try:
            return Copy(json_places.parsed(data[self._key]), content)
        except ValueError as problem:
            raise Permanent(f"{self._key} of {self.title} is no flagd document in JSON: {problem}") from problem

    async def write(self, copy: Copy, changes: Changes, author: Author) -> None:
        text: str = copy.origin["data"][self._key]
        await self.patch(copy.origin, author, {"data": {self._key: json_places.replaced(text, changes)}})

    async def changed_by(self, key: str) -> str | None:
        return self.owner(("f:data", f"f:{self._key}"))


class FeatureFlagDocument(_Object):
    """Implements ``DocumentPlace``."""

    def __init__(self, clusters: Clusters, kubernetes: Kubernetes, name: str) -> None:
        super().__init__(clusters, kubernetes, FLAGS, name)

    async def read(self) -> Copy:
        content = await self.get()
        return Copy((content.get("spec") or {}).get("flagSpec"), content)

    async def write(self, copy: Copy, changes: Changes, author: Author) -> None:
        changed = copies.deepcopy(copy.document)
        for path, new in changes.items():
            value_at(changed, path[:-1])[path[-1]] = new
        keys = {path[1] for path in changes}  # of ("flags", KEY, ...)
        flags = {key: {name: changed["flags"][key][name] for name in ("state", "targeting")} for key in keys}
        await self.patch(copy.origin, author, {"spec": {"flagSpec": {"flags": flags}}})

    async def changed_by(self, key: str) -> str | None:
        flag = ("f:spec", "f:flagSpec", "f:flags", f"f:{key}")
        return self.owner((*flag, "f:state"), *((*flag, "f:targeting", f"f:{one}") for one in OPERATORS))
