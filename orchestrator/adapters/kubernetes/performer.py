"""What runs do in clusters, and how they look at it: one door for all of it.

Every operation looks before it writes, writes with a precondition, and may be performed again under its effect's id:
nothing here is ever unknown.
"""

from typing import assert_never, get_args

from orchestrator.adapters.kubernetes import applying, images, jobs, scaling, versions
from orchestrator.adapters.kubernetes.bringing import USUAL_PACE, Attempt, Pace
from orchestrator.adapters.kubernetes.client import Cluster, Clusters
from orchestrator.adapters.kubernetes.marks import Author
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.errors import RolloutError, Temporary
from orchestrator.ports import Clock, Scene, Seen
from stages.cluster import (
    ApplyManifest,
    ClusterObservation,
    ClusterOperation,
    ObserveImage,
    ObserveManifest,
    ObserveReplicas,
    ObserveVersion,
    RestartWorkload,
    RunJob,
    ScaleWorkload,
    SetImage,
    SetVersion,
)
from stages.effects import AnyObservation


class ClusterPerformer:
    """Implements ``Performer`` for all operations on Kubernetes."""

    def __init__(self, clusters: Clusters, clock: Clock, pace: Pace = USUAL_PACE) -> None:
        self._clusters = clusters
        self._clock = clock
        self._pace = pace

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        operation = effect.operation
        assert isinstance(operation, get_args(ClusterOperation)), f"{operation.op} is not for a cluster"
        try:
            cluster = await self._clusters.open(operation.kubernetes, scene.run)
            return await self._perform(cluster, operation, effect, scene, resumed)
        except Temporary as problem:
            again = problem.retry_after_seconds or self._pace.again_seconds
            return Outcome(state=EffectState.TEMPORARY, detail=str(problem), retry_after_seconds=again)
        except RolloutError as problem:
            return Outcome(state=EffectState.REFUSED, detail=str(problem))

    async def end(self, effect: Effect, scene: Scene) -> None:
        operation = effect.operation
        if isinstance(operation, RunJob):
            cluster = await self._clusters.open(operation.kubernetes, scene.run)
            await jobs.end(self._attempt(cluster, operation, effect, scene), operation)

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        assert isinstance(observation, get_args(ClusterObservation)), f"{observation.op} is not for a cluster"
        cluster = await self._clusters.open(observation.kubernetes, scene.run)
        match observation:
            case ObserveReplicas():
                return await scaling.observe(cluster, observation)
            case ObserveImage():
                return await images.observe(cluster, observation)
            case ObserveVersion():
                return await versions.observe(cluster, observation)
            case ObserveManifest():
                return await applying.observe(cluster, observation)
            case _:
                assert_never(observation)

    async def _perform(
        self, cluster: Cluster, operation: ClusterOperation, effect: Effect, scene: Scene, resumed: bool
    ) -> Outcome:
        attempt = self._attempt(cluster, operation, effect, scene, resumed=resumed)
        match operation:
            case ScaleWorkload():
                return await scaling.perform(attempt, operation, effect.before)
            case SetImage():
                return await images.perform(attempt, operation, effect.before)
            case RestartWorkload():
                return await images.restart(attempt, operation)
            case SetVersion():
                return await versions.perform(attempt, operation, effect.before)
            case ApplyManifest():
                return await applying.perform(attempt, operation, effect.before)
            case RunJob():
                return await jobs.perform(attempt, operation)
            case _:
                assert_never(operation)

    def _attempt(
        self, cluster: Cluster, operation: ClusterOperation, effect: Effect, scene: Scene, *, resumed: bool = False
    ) -> Attempt:
        return Attempt(
            cluster,
            Author(effect.id, scene.run, scene.epoch),
            self._clock,
            operation.timeout_seconds,
            is_resumed=resumed,
            is_undo=effect.node is not None,
            pace=self._pace,
        )
