"""An API server in memory, as far as the controller speaks to one: objects with versions, finalizers and a status of
their own, merge patches, RBAC as a list. It can be away, and it can break at a chosen write.
"""

import copy
from collections.abc import Callable
from itertools import count
from typing import Any, Generic, TypeVar

from orchestrator.cluster_port import Access, Body, Identity, Kind, Named, Review
from orchestrator.errors import Permanent, Temporary
from tests.orchestrator.cluster.wishes import NAMESPACE

T = TypeVar("T", bound=Named)
Object = dict[str, Any]


class FakeCache(Generic[T]):
    def __init__(
        self,
        api: "FakeApi",
        kind: Kind,
        read: Callable[[Body], T],
        changed: Callable[[T | None, T | None], None],
        listed: Callable[[], None],
    ) -> None:
        self.objects: dict[str, T] = {}
        self.is_whole = False
        self._api, self._kind, self._read = api, kind, read
        self._changed, self._listed = changed, listed

    async def run(self) -> None:
        for (kind, name), body in self._api.stored.items():
            if kind == self._kind:
                self.put(name, body)
        self.is_whole = True
        self._listed()
        await self._api.for_ever()

    def put(self, name: str, body: Object | None) -> None:
        before = self.objects.pop(name, None)
        after = None if body is None else self._read(copy.deepcopy(body))
        if after is not None:
            self.objects[name] = after
        self._changed(before, after)

    def hear(self, kind: Kind, name: str, body: Object | None) -> None:
        if kind == self._kind and self.is_whole:
            self.put(name, body)


class FakeApi:
    """*before_write* and *before_read* are called before each of them; what they raise, the caller sees."""

    def __init__(self) -> None:
        self.namespace = NAMESPACE
        self.stored: dict[tuple[Kind, str], Object] = {}
        self.denied: set[tuple[str, str]] = set()  # verb, name
        self.granted_to: str | None = None  # a group to which this is allowed nevertheless
        self.away = False
        self.policies: list[str] | None = []  # what is missing of them; None: that is not to be seen
        self.before_write: Callable[[Kind, Body], None] = lambda kind, body: None
        self.before_read: Callable[[Kind, str], None] = lambda kind, name: None
        self.writes: list[tuple[Kind, str]] = []
        self.caches: list[Any] = []
        self._versions = count(1)
        self._uid = count(1)

    # --- what people do -------------------------------------------------------------------------------------------

    def put(self, kind: Kind, body: Object) -> Object:
        """Created, or its spec and annotations replaced, as ``kubectl apply`` would."""
        name = body["metadata"]["name"]
        there = self.stored.get((kind, name))
        metadata = {"namespace": NAMESPACE, **body["metadata"]}
        if there is None:
            metadata = {"uid": self._new_uid(), "generation": 1, **metadata}
            there = {**body, "metadata": metadata}
        else:
            generation = there["metadata"]["generation"] + (there["spec"] != body["spec"])
            there = {
                **there,
                "spec": body["spec"],
                "metadata": {**there["metadata"], **metadata, "generation": generation},
            }
        return self._store(kind, name, there)

    def remove(self, kind: Kind, name: str) -> None:
        there = self.stored[kind, name]
        if there["metadata"].get("finalizers"):
            metadata = {**there["metadata"], "deletionTimestamp": "2026-03-01T12:00:00Z"}
            self._store(kind, name, {**there, "metadata": metadata})
            return
        self._drop(kind, name)

    def body(self, kind: Kind, name: str) -> Object:
        return self.stored[kind, name]

    def status(self, name: str, kind: Kind = Kind.ROLLOUT) -> Object:
        found: Object = self.stored[kind, name].get("status") or {}
        return found

    # --- what the controller does ---------------------------------------------------------------------------------

    def cache(
        self,
        kind: Kind,
        read: Callable[[Body], T],
        changed: Callable[[T | None, T | None], None],
        listed: Callable[[], None],
    ) -> FakeCache[T]:
        made = FakeCache(self, kind, read, changed, listed)
        self.caches.append(made)
        return made

    async def read(self, kind: Kind, name: str) -> Body | None:
        self._reach()
        self.before_read(kind, name)
        return copy.deepcopy(self.stored.get((kind, name)))

    async def every(self, kind: Kind) -> list[Body]:
        self._reach()
        return [copy.deepcopy(body) for (one, _), body in self.stored.items() if one == kind]

    async def create(self, kind: Kind, body: Body) -> Body | None:
        self._write(kind, body)
        name = str(body["metadata"].get("name") or f"{body['metadata']['generateName']}{next(self._uid)}")
        if (kind, name) in self.stored:
            return None
        metadata = {"uid": self._new_uid(), "generation": 1, **body["metadata"], "name": name}
        return self._store(kind, name, {**copy.deepcopy(dict(body)), "metadata": metadata})

    async def apply(self, kind: Kind, body: Body) -> Body:
        self._write(kind, body)
        return self.put(kind, copy.deepcopy(dict(body)))

    async def patch(self, kind: Kind, name: str, body: Body, *, status: bool = False) -> Body | None:
        self._write(kind, body)
        there = self.stored.get((kind, name))
        if there is None or not _is_meant(there, body.get("metadata") or {}):
            return None
        only = {"status": body["status"]} if status else {key: body[key] for key in body if key != "status"}
        after: Object = _merged(there, copy.deepcopy(only))
        if "deletionTimestamp" in after["metadata"] and not after["metadata"].get("finalizers"):
            self._drop(kind, name)
            return after
        return self._store(kind, name, after)

    async def delete(self, kind: Kind, name: str, uid: str) -> None:
        self._write(kind, {})
        if (kind, name) in self.stored and self.stored[kind, name]["metadata"]["uid"] == uid:
            self._drop(kind, name)

    async def whoami(self) -> Identity:
        return Identity("alice", ())

    async def unguarded(self) -> list[str]:
        self._reach()
        if self.policies is None:
            raise Permanent("may not get validatingadmissionpolicies")
        return self.policies

    async def review(self, who: Identity, access: Access) -> Review:
        self._reach()
        return Review(access, (access.verb, access.name) not in self.denied or self.granted_to in who.groups)

    async def for_ever(self) -> None:
        import asyncio

        await asyncio.Event().wait()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _new_uid(self) -> str:
        """Another one in each cluster."""
        return f"{id(self):x}-{next(self._uid)}"

    def _reach(self) -> None:
        if self.away:
            raise Temporary("Kubernetes can't be reached: Connection refused")

    def _write(self, kind: Kind, body: Body) -> None:
        self._reach()
        self.before_write(kind, body)

    def _store(self, kind: Kind, name: str, body: Object) -> Object:
        body = {**body, "metadata": {**body["metadata"], "resourceVersion": str(next(self._versions))}}
        self.stored[kind, name] = body
        self.writes.append((kind, name))
        for cache in self.caches:
            cache.hear(kind, name, body)
        return copy.deepcopy(body)

    def _drop(self, kind: Kind, name: str) -> None:
        del self.stored[kind, name]
        for cache in self.caches:
            cache.hear(kind, name, None)


def _is_meant(there: Object, metadata: Body) -> bool:
    return all(
        metadata.get(name, there["metadata"][name]) == there["metadata"][name] for name in ("uid", "resourceVersion")
    )


def _merged(there: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    found = dict(there) if isinstance(there, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = _merged(found.get(name), value)
    return found
