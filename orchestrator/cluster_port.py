"""What the controller needs of an API server, as Protocols: objects of its own namespace, and questions to RBAC."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

Body = Mapping[str, Any]


class Kind(StrEnum):
    """The kinds that the controller reads or writes, all in its namespace."""

    ROLLOUT = "StagedRollout"
    COMMAND = "StagedRolloutCommand"
    CONFIG_MAP = "ConfigMap"
    EVENT = "Event"
    LEASE = "Lease"


@dataclass(frozen=True, slots=True)
class Identity:
    """A user of the cluster."""

    name: str
    groups: tuple[str, ...]


class Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def uid(self) -> str: ...


T = TypeVar("T", bound=Named)
Kept_co = TypeVar("Kept_co", bound=Named, covariant=True)


class Cache(Protocol, Generic[Kept_co]):
    """All objects of one kind, by name, kept as the API server has them. ``is_whole`` once they were listed."""

    @property
    def objects(self) -> Mapping[str, Kept_co]: ...

    @property
    def is_whole(self) -> bool: ...

    async def run(self) -> None:
        """Keeps it, until it is cancelled. Never raises for what the API server does."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """One question to RBAC. *namespace* is empty where nobody said one, *name* where any is meant."""

    verb: str
    api_version: str
    kind: str
    namespace: str
    name: str

    @property
    def words(self) -> str:
        what = f"{self.kind.lower()}/{self.name}" if self.name else f"any {self.kind}"
        return f"{self.verb} {what} in {self.namespace}"


@dataclass(frozen=True, slots=True)
class Review:
    """RBAC's answer."""

    access: Access
    is_allowed: bool
    reason: str = ""


class Objects(Protocol):
    """One namespace. Everything raises ``Temporary`` or ``Permanent`` if it can't be done now, or at all."""

    namespace: str

    def cache(
        self,
        kind: Kind,
        read: Callable[[Body], T],
        changed: Callable[[T | None, T | None], None],
        listed: Callable[[], None],
    ) -> Cache[T]:
        """*changed* hears of each object that came, changed or went: as it was, and as it is. *listed* is called each
        time that all of them were looked at."""
        ...

    async def read(self, kind: Kind, name: str) -> Body | None: ...

    async def every(self, kind: Kind) -> list[Body]: ...

    async def create(self, kind: Kind, body: Body) -> Body | None:
        """None if there is an object of that name already."""
        ...

    async def apply(self, kind: Kind, body: Body) -> Body:
        """A server-side apply in the name of the command line. Raises ``Permanent`` if others own fields of it."""
        ...

    async def patch(self, kind: Kind, name: str, body: Body, *, status: bool = False) -> Body | None:
        """A merge patch. With ``metadata.uid`` or ``metadata.resourceVersion`` in it only if the object is that very
        one; None if it is not, or there is none."""
        ...

    async def delete(self, kind: Kind, name: str, uid: str) -> None:
        """No error if it is gone, or another one has its name."""
        ...

    async def whoami(self) -> Identity:
        """Whom the API server takes us for."""
        ...

    async def unguarded(self) -> Sequence[str]:
        """What is missing, or not in force, of the admission policies that hold names on objects to be true. Raises
        ``Permanent`` if we may not see them."""
        ...

    async def review(self, who: Identity, access: Access) -> Review:
        """Whether RBAC allows somebody this, by name and groups. Groups that follow from the name need not be named."""
        ...
