"""Workloads of a test's namespace on a real control plane, and effects on them as a run performs them."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.kubernetes.bringing import Pace
from orchestrator.adapters.kubernetes.client import Clusters
from orchestrator.adapters.kubernetes.performer import ClusterPerformer
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.ports import Clock, Scene, Seen
from stages.cluster import ClusterOperation, Kubernetes, ObserveImage, ObserveReplicas, ObserveVersion
from stages.effects import TargetKind
from stages.values import Json
from tests.support.cluster import Cluster
from tests.support.process import wait_until

RUN = "shop-1a2b"
MOST_TRIES = 200
EVENTUALLY_SECONDS = 60.0
QUICK = Pace(stuck_seconds=1.0, look_seconds=0.5, least_wait_seconds=2.0, again_seconds=0.5)


def workload(
    name: str, image: str, replicas: int | None = 2, kind: str = "Deployment", **spec: object
) -> dict[str, Any]:
    """*spec* goes into the workload's; ``pod`` into that of its pods, beside one container called ``app``."""
    labels = {"app": name}
    pod = {"containers": [{"name": "app", "image": image}], **spec.pop("pod", {})}  # type: ignore[dict-item]
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            **({"replicas": replicas} if replicas is not None else {}),
            **({"serviceName": name} if kind == "StatefulSet" else {}),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
            **spec,
        },
    }


@dataclass
class WorkloadWorld:
    """One namespace, looked at with kubectl, and changed by the performer under test with *kubeconfig*."""

    cluster: Cluster
    namespace: str
    kubeconfig: Path
    clock: Clock = field(default_factory=SystemClock)
    pace: Pace = QUICK

    def __post_init__(self) -> None:
        self.clusters = Clusters(str(self.kubeconfig))
        self.performer = ClusterPerformer(self.clusters, self.clock, self.pace)
        self.place = Kubernetes(namespace=self.namespace)
        self.outcomes: list[Outcome] = []
        """Of all tries, oldest first."""

    # --- the world, as kubectl shows it

    def kubectl(self, *arguments: str, user: str = "admin") -> str:
        return self.cluster.kubectl(*arguments, "--namespace", self.namespace, user=user)

    def deploy(self, *manifests: Mapping[str, Any]) -> None:
        """Applies workloads and waits until they are rolled out."""
        self.apply(*manifests)
        for manifest in manifests:
            self.rolled_out(f"{manifest['kind'].lower()}/{manifest['metadata']['name']}")

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        self.cluster.apply(
            *({**one, "metadata": {**one["metadata"], "namespace": self.namespace}} for one in manifests)
        )

    def rolled_out(self, title: str) -> None:
        self.kubectl("rollout", "status", title, "--timeout", "60s")

    def get(self, title: str) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.get(title, "--namespace", self.namespace)
        return found

    def replicas(self, title: str) -> int:
        return int(self.get(title)["spec"]["replicas"])

    def image(self, title: str, container: str = "app") -> str:
        containers = self.get(title)["spec"]["template"]["spec"]["containers"]
        return str(next(one["image"] for one in containers if one["name"] == container))

    def revision(self, title: str) -> int:
        """How many templates a Deployment has had."""
        return int(self.get(title)["metadata"]["annotations"]["deployment.kubernetes.io/revision"])

    def annotations(self, title: str) -> dict[str, str]:
        found: dict[str, str] = self.get(title)["metadata"].get("annotations", {})
        return {key.partition("/")[2]: value for key, value in found.items() if key.startswith("stagedrollout.io/")}

    def pods(self, title: str) -> list[dict[str, Any]]:
        """Also those that still end."""
        name = title.partition("/")[2]
        found = self.cluster.get("pods", "--namespace", self.namespace, "--selector", f"app={name}")
        return list(found["items"])

    def writes(self, name: str, user: str = "admin") -> int:
        """How often the performer wrote to a workload, with success, as the API server's audit log has it."""
        count = 0
        for line in self.cluster.audit_log.read_text().splitlines():
            event = json.loads(line)
            what = event.get("objectRef", {})
            count += (
                event["verb"] == "patch"
                and event.get("userAgent", "").startswith("staged-rollout")
                and event["user"]["username"] == user
                and (what.get("namespace"), what.get("name")) == (self.namespace, name)
                and event["responseStatus"]["code"] == 200
            )
        return count

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        await asyncio.to_thread(wait_until, condition, what=what, deadline_seconds=EVENTUALLY_SECONDS)

    # --- effects

    def in_place(self, operation: ClusterOperation) -> ClusterOperation:
        return operation.model_copy(update={"kubernetes": self.place})

    async def perform(
        self,
        operation: ClusterOperation,
        before: Json = None,
        *,
        effect: str = "effect-1",
        node: str | None = None,
        resumed: bool = False,
        epoch: int = 1,
        run: str = RUN,
    ) -> Outcome:
        """One try. With a *node* it is on the way back."""
        asked = Effect(
            id=effect,
            target=f"target:{operation.op}",
            target_kind=TargetKind.WORKLOAD,
            label=operation.op,
            operation=self.in_place(operation),
            before=before,
            environment="production",
            node=node,
        )
        scene = Scene(run=run, environment="production", effect_id=effect, epoch=epoch)
        outcome = await self.performer.perform(asked, scene, resumed)
        self.outcomes.append(outcome)
        return outcome

    async def carry_out(self, operation: ClusterOperation, before: Json = None, **more: Any) -> Outcome:
        """As a run does: tried again, after what the outcome asks for, as long as it is temporary."""
        outcome = await self.perform(operation, before, **more)
        for _ in range(MOST_TRIES):
            if outcome.state is not EffectState.TEMPORARY:
                return outcome
            await self.clock.sleep(outcome.retry_after_seconds or 1.0)
            outcome = await self.perform(operation, before, **more)
        raise AssertionError(f"after {MOST_TRIES} tries: {outcome.detail}")

    async def observe_replicas(self, title: str) -> Seen:
        return await self.performer.observe(ObserveReplicas(kubernetes=self.place, workload=title), self._scene())

    async def observe_image(self, title: str, container: str | None = None) -> Seen:
        observation = ObserveImage(kubernetes=self.place, workload=title, container=container)
        return await self.performer.observe(observation, self._scene())

    async def observe_version(self, stable: str, canary: str, container: str | None = None) -> Seen:
        observation = ObserveVersion(
            kubernetes=self.place, workload=stable, canary_workload=canary, container=container
        )
        return await self.performer.observe(observation, self._scene())

    def _scene(self) -> Scene:
        return Scene(run=RUN, environment="production")
