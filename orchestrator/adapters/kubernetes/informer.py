"""All objects of one kind in one namespace, kept as the API server has them: listed once, then watched.

A watch goes on where the one before ended, so a connection that was lost costs no listing. One that is silent for
longer than bookmarks are apart may be dead without either side knowing, and is begun anew. Only when the server no
longer remembers so far back (410) everything is listed again, and what is gone by then is found by comparing.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Generic, TypeVar

import structlog

from orchestrator.adapters.kubernetes.client import Cluster
from orchestrator.adapters.kubernetes.errors import Gone
from orchestrator.cluster_port import Body, Named
from orchestrator.errors import Permanent, Temporary

log = structlog.get_logger()
T = TypeVar("T", bound=Named)

PAGE = "200"
FIRST_AGAIN_SECONDS = 1.0
LONGEST_AGAIN_SECONDS = 30.0
IDLE_SECONDS = 90.0
"""The API server sends a bookmark each minute."""


class Informer(Generic[T]):
    """*read* makes of an object what is kept of it; *changed* hears what it was and what it is."""

    def __init__(
        self,
        cluster: Cluster,
        path: str,
        read: Callable[[Body], T],
        changed: Callable[[T | None, T | None], None],
        listed: Callable[[], None],
    ) -> None:
        self.objects: dict[str, T] = {}
        self.is_whole = False
        self._cluster = cluster
        self._path = path
        self._read = read
        self._changed = changed
        self._listed = listed
        self._version: str | None = None
        self._failures = 0

    async def run(self) -> None:
        while True:
            try:
                if self._version is None:
                    await self._list()
                await self._watch()
            except Gone:
                self._version = None
            except (Temporary, Permanent) as error:
                await self._wait(error)

    async def _list(self) -> None:
        found: dict[str, T] = {}
        version = ""
        async for page in pages(self._cluster, self._path):
            found |= {one.name: one for one in map(self._read, page["items"])}
            version = str(page["metadata"]["resourceVersion"])
        for name in self.objects.keys() - found.keys():
            self._put(name, None)
        for name, one in found.items():
            self._put(name, one)
        self._version = version
        self.is_whole = True
        self._well()
        self._listed()

    async def _watch(self) -> None:
        assert self._version is not None
        events: AsyncGenerator[dict[str, Any], None] = self._cluster.watch(
            self._path, self._version, idle_seconds=IDLE_SECONDS
        )
        async with aclosing(events):
            async for event in events:
                self._take(str(event["type"]), event["object"])
                self._well()
        self._well()

    def _take(self, kind: str, body: Mapping[str, Any]) -> None:
        self._version = str(body["metadata"]["resourceVersion"])
        if kind in ("ADDED", "MODIFIED"):
            one = self._read(body)
            self._put(one.name, one)
        elif kind == "DELETED":
            self._put(str(body["metadata"]["name"]), None)

    def _put(self, name: str, after: T | None) -> None:
        before = self.objects.get(name)
        if before == after:
            return
        if after is None:
            del self.objects[name]
        else:
            self.objects[name] = after
        self._changed(before, after)

    def _well(self) -> None:
        if self._failures:
            log.warning("cluster.back", path=self._path)
        self._failures = 0

    async def _wait(self, error: Temporary | Permanent) -> None:
        if self._failures == 0:
            log.warning("cluster.away", path=self._path, error=str(error))
        asked = error.retry_after_seconds if isinstance(error, Temporary) else None
        delay = min(FIRST_AGAIN_SECONDS * 2.0**self._failures, LONGEST_AGAIN_SECONDS)
        self._failures = min(self._failures + 1, 10)
        await asyncio.sleep(max(delay, asked or 0.0))


async def pages(cluster: Cluster, path: str) -> AsyncIterator[dict[str, Any]]:
    """A collection as it was at one moment, some hundred objects at a time."""
    query = {"limit": PAGE}
    while True:
        page = await cluster.get(path, **query)
        yield page
        after = page["metadata"].get("continue")
        if not after:
            return
        query = {"limit": PAGE, "continue": str(after)}
