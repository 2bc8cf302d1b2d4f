"""All objects of a kind, kept as a real API server has them, whatever happens on the way to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.adapters.kubernetes import informer
from orchestrator.adapters.kubernetes.client import Clusters
from orchestrator.adapters.kubernetes.informer import Informer
from orchestrator.cluster_port import Body
from stages.cluster import Kubernetes
from tests.support.api_proxy import ApiProxy, break_off, expire, fall_silent, on, refuse, reset
from tests.support.cluster import Cluster
from tests.support.process import DEADLINE_SECONDS

WATCH = on("WATCH", "/configmaps")


@dataclass(frozen=True)
class Seen:
    name: str
    uid: str
    value: str

    @classmethod
    def of(cls, body: Body) -> "Seen":
        metadata = body["metadata"]
        return cls(metadata["name"], metadata["uid"], (body.get("data") or {}).get("value", ""))


@dataclass
class Watched:
    """An informer over the ConfigMaps of a namespace, and what it told."""

    cluster: Cluster
    namespace: str
    proxy: ApiProxy
    told: list[tuple[str | None, str | None]] = field(default_factory=list)
    listings: int = 0
    informer: Any = None
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self, before: Seen | None, after: Seen | None) -> None:
        self.told.append((before.value if before else None, after.value if after else None))
        self._moved.set()

    def listed(self) -> None:
        self.listings += 1
        self._moved.set()

    async def until(self, **values: str | None) -> None:
        """Until these objects have these values (None: there is no such object)."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while any(self.value(name) != value for name, value in values.items()):
                self._moved.clear()
                await self._moved.wait()

    def value(self, name: str) -> str | None:
        found = self.informer.objects.get(name)
        return None if found is None else found.value

    async def until_listed(self, times: int) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while self.listings < times:
                self._moved.clear()
                await self._moved.wait()

    async def put(self, name: str, value: str) -> None:
        metadata = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}}
        await asyncio.to_thread(self.cluster.apply, body)

    async def remove(self, name: str) -> None:
        await asyncio.to_thread(self.cluster.kubectl, "delete", "configmap", name, "--namespace", self.namespace)


@asynccontextmanager
async def watching(cluster: Cluster, namespace: str, proxy: ApiProxy) -> AsyncIterator[Watched]:
    clusters = Clusters(str(proxy.kubeconfig))
    watched = Watched(cluster, namespace, proxy)
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    opened = await clusters.open(Kubernetes(namespace=namespace))
    watched.informer = Informer(opened, path, Seen.of, watched.changed, watched.listed)
    task = asyncio.create_task(watched.informer.run())
    try:
        await watched.until_listed(1)
        yield watched
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await clusters.close()


async def test_what_comes_changes_and_goes_is_heard_of_without_listing_again(
    control_plane: Cluster, cluster_namespace: str, proxy: ApiProxy
) -> None:
    async with watching(control_plane, cluster_namespace, proxy) as watched:
        await watched.put("one", "a")
        await watched.until(one="a")
        await watched.put("one", "b")
        await watched.until(one="b")
        await watched.remove("one")
        await watched.until(one=None)
        assert [change for change in watched.told if change != (None, "")] == [(None, "a"), ("a", "b"), ("b", None)]
        assert watched.listings == 1


async def test_more_objects_than_one_page_holds_are_all_listed(
    control_plane: Cluster, cluster_namespace: str, proxy: ApiProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(informer, "PAGE", "2")
    metadata = [{"name": f"m{number}", "namespace": cluster_namespace} for number in range(5)]
    bodies = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": one, "data": {"value": "x"}} for one in metadata]
    await asyncio.to_thread(control_plane.apply, *bodies)
    async with watching(control_plane, cluster_namespace, proxy) as watched:
        await watched.until(m0="x", m1="x", m2="x", m3="x", m4="x")
        assert proxy.heard(on("GET", "/configmaps?limit")) >= 3


@pytest.mark.parametrize(
    ("disturbance", "lists"),
    (
        (expire, 2),
        (fall_silent, 1),
        (break_off, 1),
        (reset, 1),
        (refuse(429, {"Retry-After": "1"}), 1),
        (refuse(500), 1),
    ),
    ids=("expire", "fall_silent", "break_off", "reset", "too_many", "broken"),
)
async def test_whatever_becomes_of_a_watch_nothing_is_missed_and_only_one_that_expired_is_listed_again(
    control_plane: Cluster,
    cluster_namespace: str,
    proxy: ApiProxy,
    monkeypatch: pytest.MonkeyPatch,
    disturbance: Any,
    lists: int,
) -> None:
    monkeypatch.setattr(informer, "IDLE_SECONDS", 2.0)
    await asyncio.to_thread(control_plane.kubectl, "create", "configmap", "old", "--namespace", cluster_namespace)
    proxy.disturb(WATCH, disturbance)
    async with watching(control_plane, cluster_namespace, proxy) as watched:
        await proxy.until(WATCH)
        await watched.put("new", "a")
        await watched.remove("old")
        await watched.until(new="a", old=None)
        assert watched.listings == lists


async def test_what_went_and_came_anew_while_nobody_could_look_is_known_by_its_uid(
    control_plane: Cluster, cluster_namespace: str, proxy: ApiProxy
) -> None:
    async with watching(control_plane, cluster_namespace, proxy) as watched:
        await watched.put("one", "a")
        await watched.until(one="a")
        first = watched.informer.objects["one"].uid
        await proxy.down()
        await watched.remove("one")
        await watched.put("one", "b")
        await proxy.up()
        await watched.until(one="b")
        assert watched.informer.objects["one"].uid != first
