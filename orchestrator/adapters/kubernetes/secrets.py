"""Secrets of Kubernetes that plans refer to: read one by one by their names, watched, never listed.

A reference is resolved without waiting, deep inside of whatever needs it. So what a plan refers to is read before its
run begins, and kept in memory; from then on a watch on that one object follows it, so that a password that is changed
is used from the next login on. While the cluster is away the last known value holds.
"""

import asyncio
import base64
import binascii
import itertools
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from urllib.parse import quote

import structlog

from orchestrator.adapters.kubernetes.client import Cluster, Clusters
from orchestrator.adapters.kubernetes.errors import Absent, Gone
from orchestrator.errors import Permanent, RolloutError, Temporary
from stages.cluster import Kubernetes
from stages.values import SecretRef

log = structlog.get_logger()

MOST_SECRETS = 500
FIRST_READ_SECONDS = 5.0
FIRST_AGAIN_SECONDS, LONGEST_AGAIN_SECONDS = 1.0, 30.0


class ClusterSecrets:
    """Those of one namespace: the controller's own."""

    def __init__(self, clusters: Clusters, place: Kubernetes | None = None) -> None:
        self._clusters = clusters
        self._place = place or Kubernetes()
        self._values: dict[str, Mapping[str, str] | RolloutError] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._used: dict[str, int] = {}  # when, counted in uses
        self._uses = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def prepare(self, references: Iterable[SecretRef]) -> None:
        """Begins to read what is not watched yet, and waits for that a little. What is not there :meth:`get` tells."""
        self._loop = asyncio.get_running_loop()
        names = {one.secret.partition("/")[0] for one in references if one.secret is not None}
        first = [self._begin(name) for name in sorted(names - self._watches.keys())]
        if first:
            await asyncio.wait(first, timeout=FIRST_READ_SECONDS)

    def get(self, reference: str) -> str:
        """The value at ``NAME/KEY``. Raises ``Permanent`` or ``Temporary``, naming the reference and never a value. In
        any thread."""
        name, _, key = reference.partition("/")
        self._used[name] = next(self._uses)
        found = self._values.get(name)
        if found is None:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._begin_again, name)  # it was forgotten
            raise Temporary(f"the secret {name} was not read from Kubernetes yet")
        if isinstance(found, RolloutError):
            raise type(found)(str(found))
        if key not in found:
            there = ", ".join(sorted(found)) or "none"
            raise Permanent(f"the secret {name} in Kubernetes has no key {key}; its keys are {there}")
        return found[key]

    async def close(self) -> None:
        tasks = list(self._watches.values())
        self._watches.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, name: str) -> asyncio.Future[None]:
        """Done when it was read, or could not be, for the first time."""
        if len(self._watches) >= MOST_SECRETS:
            self._forget(min(self._watches, key=lambda one: self._used.get(one, -1)))
        self._used[name] = next(self._uses)
        looked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watches[name] = asyncio.create_task(self._follow(name, looked), name=f"secret {name}")
        return looked

    def _begin_again(self, name: str) -> None:
        if name not in self._watches:
            self._begin(name)

    def _forget(self, name: str) -> None:
        """One that nobody has used for longest: whoever does use it again has it read anew."""
        self._watches.pop(name).cancel()
        self._values.pop(name, None)
        self._used.pop(name, None)

    async def _read(self, name: str) -> str | None:
        """The version that was read; None if it could not be. What was known before is kept while it is away."""
        try:
            cluster = await self._clusters.open(self._place)
            found = await cluster.get(f"{_collection(cluster)}/{quote(name, safe='')}")
        except Absent:
            self._values[name] = Permanent(f"there is no secret {name} in the namespace of the controller")
        except Permanent as error:
            self._values[name] = Permanent(f"the secret {name} can't be read: {error}")
        except Temporary as error:
            if not isinstance(self._values.get(name), Mapping):
                self._values[name] = Temporary(f"the secret {name} can't be read now: {error}")
        else:
            self._values[name] = _decoded(found)
            return str(found["metadata"]["resourceVersion"])
        return None

    async def _follow(self, name: str, looked: asyncio.Future[None]) -> None:
        version = await self._read(name)
        looked.set_result(None)
        failures = 0
        while True:
            try:
                if version is None:
                    await asyncio.sleep(_again_seconds(failures))
                    failures += 1
                    version = await self._read(name)
                    continue
                version = await self._watch(name, version)
                failures = 0
            except Gone:
                version = None
            except (Temporary, Permanent) as error:
                log.warning("secret.unwatched", secret=name, error=str(error))
                version = None

    async def _watch(self, name: str, version: str) -> str | None:
        """The version after what was heard; None if it is gone."""
        cluster = await self._clusters.open(self._place)
        selector = f"metadata.name={name}"
        async with aclosing(cluster.watch(_collection(cluster), version, fieldSelector=selector)) as events:
            async for event in events:
                content = event.get("object") or {}
                version = str((content.get("metadata") or {}).get("resourceVersion") or version)
                if event.get("type") in ("ADDED", "MODIFIED"):
                    self._values[name] = _decoded(content)
                elif event.get("type") == "DELETED":
                    self._values[name] = Permanent(f"the secret {name} was deleted in Kubernetes")
                    return None
        return version


def _again_seconds(failures: int) -> float:
    return min(FIRST_AGAIN_SECONDS * 2.0 ** min(failures, 10), LONGEST_AGAIN_SECONDS)


def _collection(cluster: Cluster) -> str:
    return f"/api/v1/namespaces/{quote(cluster.namespace, safe='')}/secrets"


def _decoded(content: Mapping[str, object]) -> dict[str, str]:
    """Keys whose values are no text are left out: no plan has a use for them."""
    data = content.get("data")
    found: dict[str, str] = {}
    for key, value in (data if isinstance(data, dict) else {}).items():
        try:
            found[str(key)] = base64.b64decode(str(value), validate=True).decode().rstrip("\r\n")
        except (binascii.Error, UnicodeDecodeError):
            continue
    return found
