"""Actions on Kubernetes workloads and objects: scale, image, apply, restart, job; and what stages do to workloads."""

import math
from dataclasses import replace
from typing import Any

from pydantic import Field

from stages.actions.base import Action, Site, declared_undo
from stages.cluster import (
    MADE_SUFFIX,
    ROLLED_OUT_SECONDS,
    ApplyManifest,
    Deployment,
    Kubernetes,
    ObserveImage,
    ObserveManifest,
    ObserveReplicas,
    ObserveVersion,
    RestartWorkload,
    RunJob,
    Scalable,
    ScaleWorkload,
    SetImage,
    SetVersion,
    Version,
    VersionArm,
    Workload,
)
from stages.effects import AnyOperation, Operation, Target, TargetKind
from stages.manifests import objects_of
from stages.values import Json


class ClusterAction(Action):
    """Base of the actions on a cluster; ``kubernetes`` says where, before what its stage says."""

    kubernetes: Kubernetes | None = None

    def place(self, site: Site) -> Kubernetes:
        return self.kubernetes.or_else(site.kubernetes) if self.kubernetes is not None else site.kubernetes

    def common(self, site: Site) -> dict[str, Any]:
        """The fields of its operations that say where, and for how long."""
        return {"kubernetes": self.place(site), "timeout_seconds": self.timeout or ROLLED_OUT_SECONDS}

    def workload_target(self, site: Site, workload: str, what: str) -> Target:
        place = self.place(site)
        name = place.path(workload)
        title = place.words(f"{what} of {workload}")
        return Target(f"{what}:{site.environment}/{name}", TargetKind.WORKLOAD, title, claim=f"workload:{name}")


class ScaleAction(ClusterAction):
    scale: Scalable
    replicas: int = Field(ge=0)

    @property
    def has_undo(self) -> bool:
        return True

    def describe(self) -> str:
        return f"scale {self.scale} to {self.replicas}"

    def target(self, site: Site) -> Target:
        return self.workload_target(site, self.scale, "replicas")

    def observation(self, site: Site) -> ObserveReplicas:
        return ObserveReplicas(kubernetes=self.place(site), workload=self.scale)

    def wanted(self, current: Json) -> int:
        return self.replicas

    def forward(self, site: Site, current: Json) -> Operation:
        return ScaleWorkload(workload=self.scale, replicas=self.wanted(current), **self.common(site))

    def is_done(self, site: Site, current: Json) -> bool:
        return isinstance(current, dict) and current.get("replicas") == self.wanted(current)

    def backward(self, site: Site, before: Json) -> Operation | None:
        if self.undo is not None:
            return declared_undo(self, site, before)
        return ScaleWorkload(workload=self.scale, replicas=_replicas(before), **self.common(site))


class StartWorkersAction(ScaleAction):
    """What a queue stage does before it feeds its workers: at least so many run, and none of those that run goes."""

    def describe(self) -> str:
        return f"start {self.scale} with {self.replicas} or more"

    def wanted(self, current: Json) -> int:
        return max(self.replicas, _replicas(current))


class ImageAction(ClusterAction):
    image: Workload
    to: str = Field(min_length=1)
    container: str | None = None

    @property
    def has_undo(self) -> bool:
        return True

    def describe(self) -> str:
        return f"set the image of {self.image} to {self.to}"

    def target(self, site: Site) -> Target:
        return self.workload_target(site, self.image, f"image of {self.container}" if self.container else "image")

    def observation(self, site: Site) -> ObserveImage:
        return ObserveImage(kubernetes=self.place(site), workload=self.image, container=self.container)

    def forward(self, site: Site, current: Json) -> Operation:
        return self._set(site, _text(current, "container"), self.to)

    def is_done(self, site: Site, current: Json) -> bool:
        return isinstance(current, dict) and current.get("image") == self.to

    def backward(self, site: Site, before: Json) -> Operation | None:
        if self.undo is not None:
            return declared_undo(self, site, before)
        return self._set(site, _text(before, "container"), _text(before, "image"))

    def _set(self, site: Site, container: str, image: str) -> SetImage:
        return SetImage(workload=self.image, container=container, image=image, **self.common(site))


class ApplyAction(ClusterAction):
    apply: str

    @property
    def has_undo(self) -> bool:
        return True

    def describe(self) -> str:
        return f"apply {self.apply}"

    def target(self, site: Site) -> Target:
        place = self.place(site)
        names = sorted(f"{one.namespace or place.namespace or ''}/{one.title}" for one in objects_of(self._text(site)))
        claim = f"objects:{place.context or ''}/{','.join(names)}"
        name = f"manifest:{site.environment}/{place.path(self.apply)}"
        return Target(name, TargetKind.OBJECT, place.words(f"objects of {self.apply}"), claim)

    def observation(self, site: Site) -> ObserveManifest:
        return ObserveManifest(kubernetes=self.place(site), manifest=self.apply, text=self._text(site))

    def forward(self, site: Site, current: Json) -> Operation:
        return ApplyManifest(manifest=self.apply, text=self._text(site), **self.common(site))

    def backward(self, site: Site, before: Json) -> Operation | None:
        if self.undo is not None:
            return declared_undo(self, site, before)
        return ApplyManifest(manifest=self.apply, text=self._text(site), restore=before, **self.common(site))

    def _text(self, site: Site) -> str:
        return site.files.get(self.apply, "")


class RestartAction(ClusterAction):
    restart: Workload

    def describe(self) -> str:
        return f"restart {self.restart}"

    def target(self, site: Site) -> Target:
        return self.workload_target(site, self.restart, "pods")

    def forward(self, site: Site, current: Json) -> AnyOperation:
        return RestartWorkload(workload=self.restart, **self.common(site))


class JobAction(ClusterAction):
    job: str

    def describe(self) -> str:
        return f"run the job {self.job}"

    def target(self, site: Site) -> Target:
        place = self.place(site)
        name = f"job:{site.environment}/{place.path(f'{site.stage}/{self.label}')}"
        return Target(name, TargetKind.OBJECT, place.words(f"job {self.job}"))

    def forward(self, site: Site, current: Json) -> AnyOperation:
        return RunJob(manifest=self.job, text=site.files.get(self.job, ""), **self.common(site))


class VersionAction(ClusterAction):
    """What a version stage does at a step: so many per cent of the pods of two Deployments run the new image.

    The two together keep their number. On the way the canary has the new image, and at least one pod each; at 100 % the
    first Deployment has it, with all of the pods, and the canary none. Without a *canary* there is one only on the way:
    a copy of the first.
    """

    workload: Deployment
    canary: Deployment | None = None
    container: str | None = None
    to: str
    percentage: float

    @property
    def has_undo(self) -> bool:
        return True

    @property
    def second(self) -> str:
        """The canary, whoever makes it."""
        return self.canary or f"{self.workload}{MADE_SUFFIX}"

    @property
    def is_made(self) -> bool:
        """Whether the canary is made by the run."""
        return self.canary is None

    def describe(self) -> str:
        return f"{self.to} on {self.percentage:g} % of {self.workload}"

    def target(self, site: Site) -> Target:
        beside = self.workload_target(site, self.second, "version")
        assert beside.claim is not None
        return replace(self.workload_target(site, self.workload, "version"), more_claims=(beside.claim,))

    def observation(self, site: Site) -> ObserveVersion:
        return ObserveVersion(
            kubernetes=self.place(site),
            workload=self.workload,
            canary_workload=self.second,
            is_made=self.is_made,
            container=self.container,
        )

    def forward(self, site: Site, current: Json) -> Operation:
        return self._set(site, self._wanted(_version(current)))

    def is_done(self, site: Site, current: Json) -> bool:
        return self._wanted(_version(current)) == _version(current)

    def backward(self, site: Site, before: Json) -> Operation:
        return self._set(site, _version(before))

    def _wanted(self, now: Version) -> Version:
        total = _total(now)
        if self.percentage >= 100:
            none_left = None if self.is_made else VersionArm(replicas=0, image=self.to)
            return Version(stable=VersionArm(replicas=total, image=self.to), canary=none_left)
        fed = min(max(math.ceil(total * self.percentage / 100), 1), max(total - 1, 1))
        if total == 0 or _pods_of(now, self.to) >= fed:
            return now  # there is nothing to share, or a step would lower what users meet
        kept = max(total - fed, 1)
        return Version(
            stable=now.stable.model_copy(update={"replicas": kept}),
            canary=VersionArm(replicas=fed, image=self.to),
            total=total if kept + fed != total else None,
        )

    def _set(self, site: Site, version: Version) -> SetVersion:
        return SetVersion(
            workload=self.workload,
            canary_workload=self.second,
            is_made=self.is_made,
            container=self.container,
            stable=version.stable,
            canary=version.canary,
            total=version.total,
            **self.common(site),
        )


def _replicas(value: Json) -> int:
    return int(value["replicas"]) if isinstance(value, dict) else 0


def _text(value: Json, field: str) -> str:
    return str(value[field]) if isinstance(value, dict) else ""


def _version(value: Json) -> Version:
    assert isinstance(value, dict), "a version is seen before it is changed"
    return Version.model_validate(value)


def _total(now: Version) -> int:
    """How many pods the two have together, but for those that there are only while there are both."""
    arms = [one.replicas for one in (now.stable, now.canary) if one is not None]
    return now.total if now.total is not None and arms == [1, 1] else sum(arms)


def _pods_of(now: Version, image: str) -> int:
    return sum(one.replicas for one in (now.stable, now.canary) if one is not None and one.image == image)
