"""``scale_workload`` and ``observe_replicas``."""

from collections.abc import Sequence

from orchestrator.adapters.kubernetes.bringing import Attempt, Change, write
from orchestrator.adapters.kubernetes.client import Cluster
from orchestrator.adapters.kubernetes.outcomes import Task, carry_out, one_by_one
from orchestrator.adapters.kubernetes.wishes import Wish, seen
from orchestrator.adapters.kubernetes.workloads import Workload, find
from orchestrator.core.effect import Outcome
from orchestrator.ports import Seen
from stages.cluster import ObserveReplicas, ScaleWorkload
from stages.values import Json


async def perform(attempt: Attempt, operation: ScaleWorkload, before: Json) -> Outcome:
    wanted = operation.replicas
    change = Change(operation.workload, Wish(replicas=wanted), _wish_of(before))
    pods = "1 replica" if wanted == 1 else f"{wanted} replicas"
    task = Task((change,), _value, f"{operation.workload} has {pods}")
    return await carry_out(attempt, task, one_by_one if operation.is_awaited else _written)


async def _written(attempt: Attempt, changes: Sequence[Change]) -> list[Workload]:
    return [await write(attempt, change) for change in changes]


async def observe(cluster: Cluster, observation: ObserveReplicas) -> Seen:
    workload = await find(cluster, observation.workload)
    return seen(_value([workload]), [(workload, _wish_of(_value([workload])))])


def _value(workloads: Sequence[Workload]) -> Json:
    return {"replicas": workloads[0].replicas}


def _wish_of(value: Json) -> Wish:
    return Wish(replicas=int(value["replicas"])) if isinstance(value, dict) else Wish()
