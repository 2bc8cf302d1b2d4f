"""Kubernetes in a plan: where it is, how workloads are named, and what is changed there, as plain data.

Values that are observed there say no more than what a run changes: the replicas of a workload, the image of one of its
containers, the fields that a manifest names. Two runs may not touch one workload at the same time, whichever fields.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema

from stages.tagged import Tagged
from stages.values import Json, Part

ROLLED_OUT_SECONDS = 600.0
"""So long a change of a workload may take until it is rolled out, if the plan says nothing."""

MADE_SUFFIX = "-rollout"
"""After the name of a Deployment: that of the copy which a version stage makes of it."""

LONGEST_COPIED_NAME = 49
"""With the suffix and the hyphen after it the 58 characters that Kubernetes keeps of a name when it names pods: by
longer ones the pods of the two could not be told apart."""

_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
_WORKLOAD = re.compile(rf"(deployment|statefulset|daemonset)/{_NAME}")
_SCALABLE = re.compile(rf"(deployment|statefulset)/{_NAME}")


def written(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})


def _workload(text: str) -> str:
    if not _WORKLOAD.fullmatch(text):
        raise ValueError(f"a workload is written as deployment/NAME, statefulset/NAME or daemonset/NAME, not {text!r}")
    return text


def _scalable(text: str) -> str:
    if _workload(text).startswith("daemonset/"):
        raise ValueError("a DaemonSet runs one pod on each node and has no replicas to scale")
    if not _SCALABLE.fullmatch(text):
        raise ValueError(f"what is scaled is written as deployment/NAME or statefulset/NAME, not {text!r}")
    return text


def _deployment(text: str) -> str:
    if not text.startswith("deployment/"):
        raise ValueError(f"a version moves between Deployments, written as deployment/NAME, not {text!r}")
    return _workload(text)


Workload = Annotated[str, AfterValidator(_workload), written(_WORKLOAD.pattern)]
Scalable = Annotated[str, AfterValidator(_scalable), written(_SCALABLE.pattern)]
Deployment = Annotated[str, AfterValidator(_deployment), written(rf"deployment/{_NAME}")]


FIELD_MANAGER: Final = "stagedrollout.io"
"""Whose changes of objects are ours, as API servers keep them."""


class Kubernetes(Part):
    """A context of the kubeconfig (its current one, or the cluster that the controller runs in, if none is named) and
    a namespace (the context's own if none is named)."""

    context: str | None = None
    namespace: str | None = None

    def or_else(self, other: Self | None) -> Self:
        """What is not said here is as *other* says."""
        if other is None:
            return self
        own = {key: value for key, value in self.model_dump().items() if value is not None}
        return other.model_copy(update=own)

    def path(self, thing: str) -> str:
        """``prod/search/deployment/workers``, without what is not said."""
        return "/".join(part for part in (self.context, self.namespace, thing) if part)

    def words(self, thing: str) -> str:
        """``deployment/workers in search (prod)``."""
        namespace = f" in {self.namespace}" if self.namespace else ""
        return f"{thing}{namespace}" + (f" ({self.context})" if self.context else "")


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """An object of a place, whatever its kind."""

    api_version: str
    kind: str
    name: str

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}"


class InCluster(Tagged):
    """What all changes of a cluster say. *timeout_seconds*: until what was changed is rolled out, or done."""

    kubernetes: Kubernetes = Kubernetes()
    timeout_seconds: float = ROLLED_OUT_SECONDS


class ScaleWorkload(InCluster):
    """Give a workload so many replicas, and wait until they are ready, or gone; unless it *is_awaited* by nobody.

    What was observed is ``{"replicas": int}``.
    """

    op: Literal["scale_workload"] = "scale_workload"
    workload: str
    replicas: int = Field(ge=0)
    is_awaited: bool = True


class SetImage(InCluster):
    """Set the image of one container and wait until it is rolled out.

    What was observed is ``{"container": str, "image": str}``.
    """

    op: Literal["set_image"] = "set_image"
    workload: str
    container: str
    image: str


class RestartWorkload(InCluster):
    """Replace all pods of a workload, once for this effect, and wait until that is rolled out."""

    op: Literal["restart_workload"] = "restart_workload"
    workload: str


class VersionArm(Part):
    """Replicas and image of one of the two Deployments of a version stage."""

    replicas: int = Field(ge=0)
    image: str


class Version(Part):
    """The two Deployments of a version stage. *canary* None: there is none, for a run makes it when it needs it.
    *total*: how many pods there were at first, if the two together have another number meanwhile.
    """

    stable: VersionArm
    canary: VersionArm | None = None
    total: int | None = Field(default=None, ge=0)

    def value(self) -> Json:
        """As it is observed: without what there is none of."""
        return self.model_dump(exclude_none=True)


class SetVersion(InCluster):
    """Bring two Deployments to so many replicas of these images, the growing one first: until its pods are ready, the
    other keeps its own. A canary that *is_made* is a copy of the workload, and is deleted if *canary* is None: then
    the workload is rolled out before it goes.

    What was observed is ``{"stable": {"replicas": int, "image": str}, "canary": {...}, "total": int}``, the last two if
    there are any.
    """

    op: Literal["set_version"] = "set_version"
    workload: str
    canary_workload: str
    is_made: bool = False
    container: str | None = None
    stable: VersionArm
    canary: VersionArm | None = None
    total: int | None = None

    @property
    def version(self) -> Version:
        return Version(stable=self.stable, canary=self.canary, total=self.total)


class ApplyManifest(InCluster):
    """Apply the objects of a manifest under our field manager.

    What was observed is ``{"objects": [{"name": "kind/name", "exists": bool, "applied": bool, "fields": {...}}]}``: of
    what the manifest names, and of what our field manager manages (*applied*: whether it does), what was there.
    *restore* is such a value: fields go back to it, and objects that were not there go.
    """

    op: Literal["apply_manifest"] = "apply_manifest"
    manifest: str
    text: str
    restore: Json = None


class RunJob(InCluster):
    """Run a Job from a manifest under a name of this effect, and wait for its end."""

    op: Literal["run_job"] = "run_job"
    manifest: str
    text: str


ClusterOperation = ScaleWorkload | SetImage | RestartWorkload | SetVersion | ApplyManifest | RunJob


class ObserveReplicas(Tagged):
    """As ``ScaleWorkload`` observes it."""

    op: Literal["observe_replicas"] = "observe_replicas"
    kubernetes: Kubernetes = Kubernetes()
    workload: str


class ObserveImage(Tagged):
    """As ``SetImage`` observes it. Without *container* the workload must have only one."""

    op: Literal["observe_image"] = "observe_image"
    kubernetes: Kubernetes = Kubernetes()
    workload: str
    container: str | None = None


class ObserveVersion(Tagged):
    """As ``SetVersion`` observes it."""

    op: Literal["observe_version"] = "observe_version"
    kubernetes: Kubernetes = Kubernetes()
    workload: str
    canary_workload: str
    is_made: bool = False
    container: str | None = None


class ObserveManifest(Tagged):
    """As ``ApplyManifest`` observes it."""

    op: Literal["observe_manifest"] = "observe_manifest"
    kubernetes: Kubernetes = Kubernetes()
    manifest: str
    text: str


ClusterObservation = ObserveReplicas | ObserveImage | ObserveVersion | ObserveManifest
