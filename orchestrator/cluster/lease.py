"""One controller for a namespace: whoever holds its Lease starts runs and obeys commands, others wait and say so.

This keeps two stores off one namespace. Whoever comes with the store of the holder (it bears an id) takes over at once
if the holder is gone: on a store that one controller has alone its lock has proved that, on a shared one the members of
the store do. While the holder is there, it is our sibling, which drives the namespace for us as well. Anybody else
waits until the Lease was not renewed for its whole duration, by his own clock: clocks of machines may differ.

While the API server is away nobody can renew, and nothing can be started; the runs that are under way go on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from orchestrator.cluster.objects import seconds
from orchestrator.cluster_port import Body, Kind, Objects
from orchestrator.crd.objects import GROUP
from orchestrator.errors import Permanent, RolloutError, StoreError, Temporary
from orchestrator.ports import Clock

log = structlog.get_logger()

NAME = "staged-rollout-controller"
STORE_ANNOTATION = f"{GROUP}/store"
DURATION_SECONDS = 60.0
RENEW_SECONDS = 20.0
AGAIN_SECONDS = 5.0
RELEASE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Holder:
    """Who we are: the process, and the store that it has."""

    name: str
    store: str


@dataclass(slots=True)
class LeaseKeeper:
    """Holds the Lease as long as ``run`` runs. *changed* is told when it was got or lost. *members* gives the names of
    the controllers that share our store; None if it is ours alone."""

    objects: Objects
    me: Holder
    clock: Clock
    changed: Callable[[], None]
    members: Callable[[], Awaitable[Collection[str]]] | None = None
    is_ours: bool = False
    is_siblings: bool = False
    """Whether another controller of our store has it."""
    has_history: bool = False
    """Whether the controller that held it before had this very store: then what is missing was deleted meanwhile."""
    _good_until: float = 0.0  # monotonic
    _seen: tuple[str, str] | None = None  # who renewed it when
    _seen_at: float = 0.0
    _told: str = ""
    _record: Body | None = field(default=None, repr=False)

    @property
    def is_held(self) -> bool:
        """Whether nobody else can have it now."""
        return self.is_ours and self.clock.monotonic() < self._good_until

    async def run(self) -> None:
        while True:
            await self.clock.sleep(await self.look())

    async def look(self) -> float:
        """Takes or renews it if that is possible; after how many seconds to look again."""
        at = self.clock.monotonic()
        try:
            await self._look(at)
        except (Temporary, Permanent, StoreError) as error:
            self._tell(f"the lease {NAME} of namespace {self.objects.namespace} can't be had: {error}")
            return AGAIN_SECONDS
        return RENEW_SECONDS if self.is_ours else AGAIN_SECONDS

    async def release(self) -> None:
        """So that the next one need not wait. What can't be done is left: it expires."""
        if not self.is_ours or self._record is None:
            return
        self.is_ours = False
        body = {
            "metadata": {"resourceVersion": self._record["metadata"]["resourceVersion"]},
            "spec": {"holderIdentity": ""},
        }
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self.objects.patch(Kind.LEASE, NAME, body)
        except (RolloutError, TimeoutError) as error:
            log.warning("cluster.lease_left", error=str(error))

    async def _look(self, at: float) -> None:
        if self._record is not None and await self._write(self._record, at):
            return  # renewed, and nobody was asked
        found = await self.objects.read(Kind.LEASE, NAME)
        if found is None:
            body = {**_KIND, **self._wanted(None)}
            self._take(await self.objects.create(Kind.LEASE, body), at, None)
        elif await self._is_siblings(found):
            self._lose()
            self._tell(f"another controller of our store drives namespace {self.objects.namespace}")
            if not self.is_siblings:
                self.is_siblings = True
                self.changed()
        elif self._belongs_to_another(found, at):
            self.is_siblings = False
            self._lose()
        else:
            await self._write(found, at)

    async def _write(self, found: Body, at: float) -> bool:
        """Whether it was still as it was *found*."""
        wanted = self._wanted(found)
        wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
        written = await self.objects.patch(Kind.LEASE, NAME, wanted)
        return self._take(written, at, found)

    async def _is_siblings(self, found: Body) -> bool:
        holder = str((found.get("spec") or {}).get("holderIdentity") or "")
        if self.members is None or holder in ("", self.me.name) or _store(found) != self.me.store:
            return False
        return holder in await self.members()

    def _belongs_to_another(self, found: Body, at: float) -> bool:
        spec = found.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        if not holder or _store(found) == self.me.store:
            return False
        seen = (holder, str(spec.get("renewTime")))
        if seen != self._seen:
            self._seen, self._seen_at = seen, at
        duration_seconds = float(spec.get("leaseDurationSeconds") or DURATION_SECONDS)
        if at - self._seen_at >= duration_seconds:
            return False
        self._tell(
            f"another controller ({holder}, with another store) drives namespace {self.objects.namespace}; this one "
            "waits until that one has ended, and starts nothing meanwhile"
        )
        return True

    def _take(self, written: Body | None, at: float, before: Body | None) -> bool:
        """*written* is None if somebody else was faster, or it is gone: the next look tells which."""
        self._record = written
        if written is None:
            return False
        self._good_until = at + DURATION_SECONDS
        self.is_siblings = False
        if not self.is_ours:
            self.is_ours = True
            self.has_history = before is not None and _store(before) == self.me.store
            self._tell(f"this controller drives namespace {self.objects.namespace}")
            self.changed()
        return True

    def _lose(self) -> None:
        self._record = None
        if self.is_ours:
            self.is_ours = False
            self.changed()

    def _wanted(self, found: Body | None) -> dict[str, Any]:
        now = datetime.fromtimestamp(self.clock.now(), UTC)
        time = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec = {
            "holderIdentity": self.me.name,
            "leaseDurationSeconds": int(DURATION_SECONDS),
            "renewTime": time,
            "acquireTime": found["spec"].get("acquireTime") if found is not None and self.is_ours else time,
        }
        return {"metadata": {"name": NAME, "annotations": {STORE_ANNOTATION: self.me.store}}, "spec": spec}

    def _tell(self, words: str) -> None:
        if words != self._told:
            self._told = words
            log.warning("cluster.lease", words=words)


_KIND = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}


def is_alive(lease: Body | None, now: float) -> bool:
    """Whether somebody renews it, by the reader's clock: for people who look, not for who wants to have it."""
    spec = lease.get("spec") or {} if lease is not None else {}
    renewed = seconds(spec.get("renewTime"))
    return bool(spec.get("holderIdentity")) and renewed is not None and now - renewed < 2 * DURATION_SECONDS


def _store(body: Body) -> str | None:
    found: Mapping[str, Any] = body["metadata"].get("annotations") or {}
    return found.get(STORE_ANNOTATION)
