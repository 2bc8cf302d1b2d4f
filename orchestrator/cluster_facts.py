"""What validation asks of a cluster, and the plain facts that it is told. What they mean for a plan is judged in
``survey_cluster.py``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from stages.cluster import Kubernetes, ObjectRef
from stages.command_pod import CommandPod


@dataclass(frozen=True, slots=True)
class Need:
    """What the controller must be allowed. *namespace* None: the place's own. *name*: of the one object, if not of all.
    Without what is not *is_needed* a run goes on, and less is seen and said."""

    verb: str
    api_version: str
    kind: str
    subresource: str = ""
    namespace: str | None = None
    is_needed: bool = True
    name: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """To be tried, as an apply of all its objects or, if it *is_job*, as a Job to be made."""

    file: str
    text: str
    is_job: bool = False


@dataclass(frozen=True, slots=True)
class Questions:
    """All that a plan wants to know of one place. *workloads* as plans name them: ``deployment/api``. *objects*: those
    that hold flags. *commands*: in what commands run there, to be tried.
    """

    place: Kubernetes
    workloads: tuple[str, ...] = ()
    objects: tuple[ObjectRef, ...] = ()
    needs: tuple[Need, ...] = ()
    manifests: tuple[Manifest, ...] = ()
    commands: CommandPod | None = None


class NamespaceState(StrEnum):
    ACTIVE = "active"
    TERMINATING = "terminating"
    ABSENT = "absent"
    HIDDEN = "hidden"  # the controller may not look


@dataclass(frozen=True, slots=True)
class Right:
    """A need as RBAC has it, and its answer. *resource* is a plural, with its subresource: ``pods/log``. *namespace* is
    empty for what is in none."""

    verb: str
    group: str
    resource: str
    namespace: str
    is_needed: bool
    is_granted: bool
    name: str = ""

    @property
    def words(self) -> str:
        plain, _, subresource = self.resource.partition("/")
        named = (f"{plain}.{self.group}" if self.group else plain) + (f"/{subresource}" if subresource else "")
        return f"{self.verb} {named}" + (f" {self.name}" if self.name else "")


class Keeping(StrEnum):
    """What becomes of a change of a field that Git has."""

    PUT_BACK = "put_back"  # by itself, within minutes
    AT_NEXT_SYNC = "at_next_sync"  # with the next change in Git, or by hand
    LEFT = "left"  # it is suspended, or told to ignore it
    HIDDEN = "hidden"  # whether it is put back can't be seen


@dataclass(frozen=True, slots=True)
class Keeper:
    """Argo CD or Flux, which keeps an object as Git has it. *name*: ``Application shop``. *fields*: what becomes of
    those that it manages: ``replicas``, ``image of app``, ``key flags.json``, ``flag new``. *path*: where its settings
    are read."""

    tool: str
    name: str
    fields: Mapping[str, Keeping]
    remedy: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Scaler:
    """What sets the replicas of a workload. *name*: ``HorizontalPodAutoscaler api``."""

    name: str
    workload: str
    least: int
    most: int
    remedy: str


@dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """*containers*: name -> image. *strategy*: how its pods are replaced. *made_of*: of which workload a run has made
    it as a copy; empty if none has."""

    replicas: int
    containers: Mapping[str, str]
    keepers: tuple[Keeper, ...] = ()
    strategy: str = ""
    made_of: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """One object of a manifest, as the cluster took it in a dry run; *failure* is empty if it did. Without a *file* it
    is the Job of a command."""

    file: str
    title: str
    failure: str = ""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """*failure*: why nothing more could be asked. *workloads*: None for one that is not there; one that may not be
    looked at is left out. *names*: of workloads that there are (of namespaces, if there is no such one), for who
    misspelt one. *keepers*: of objects that hold flags."""

    title: str
    namespace: str
    failure: str = ""
    namespace_state: NamespaceState = NamespaceState.HIDDEN
    user: str = ""
    rights: tuple[Right, ...] = ()
    workloads: Mapping[str, WorkloadFacts | None] = field(default_factory=dict)
    keepers: Mapping[ObjectRef, tuple[Keeper, ...]] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    scalers: tuple[Scaler, ...] = ()
    trials: tuple[Trial, ...] = ()


AT_ONCE = "Recreate"
"""The strategy by which all old pods end before a new one begins."""


def is_at_once(workload: str) -> str:
    """Why there is no version of such a workload, in words."""
    return (
        f"{workload} has the strategy {AT_ONCE}, so its old and new pods may not run together, as they do on the way "
        "of a version; set RollingUpdate, or use an image action"
    )


def is_taken(copy: str, workload: str) -> str:
    """Why no copy can be made, in words."""
    return (
        f"there is a {copy} that no run has made, so no copy of {workload} can have that name; delete or rename it, or "
        "name a second Deployment as canary"
    )


class ClusterReader(Protocol):
    async def look(self, questions: Questions) -> ClusterFacts:
        """Changes nothing. Never raises for what the cluster does."""
        ...
