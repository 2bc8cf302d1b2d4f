"""``set_image`` and ``observe_image``; and ``restart_workload``, which is a new template as well."""

from collections.abc import Sequence

from orchestrator.adapters.kubernetes.bringing import Attempt, Change
from orchestrator.adapters.kubernetes.client import Cluster
from orchestrator.adapters.kubernetes.outcomes import Task, carry_out
from orchestrator.adapters.kubernetes.wishes import Wish, image_of, only_container, seen
from orchestrator.adapters.kubernetes.workloads import Workload, find
from orchestrator.core.effect import Outcome
from orchestrator.ports import Seen
from stages.cluster import ObserveImage, RestartWorkload, SetImage
from stages.values import Json


async def perform(attempt: Attempt, operation: SetImage, before: Json) -> Outcome:
    name, container = operation.workload, operation.container
    change = Change(name, Wish(container=container, image=operation.image), _wish_of(before))

    def value(workloads: Sequence[Workload]) -> Json:
        return _value(workloads[0], container)

    return await carry_out(attempt, Task((change,), value, f"container {container} of {name} has {operation.image}"))


async def observe(cluster: Cluster, observation: ObserveImage) -> Seen:
    workload = await find(cluster, observation.workload)
    value = _value(workload, only_container(workload, observation.container))
    return seen(value, [(workload, _wish_of(value))])


async def restart(attempt: Attempt, operation: RestartWorkload) -> Outcome:
    change = Change(operation.workload, Wish(restarted_by=attempt.author.effect), Wish())
    return await carry_out(attempt, Task((change,), lambda _: None, f"{operation.workload} has new pods"))


def _value(workload: Workload, container: str) -> Json:
    return {"container": container, "image": image_of(workload, container)}


def _wish_of(value: Json) -> Wish:
    if not isinstance(value, dict):
        return Wish()
    return Wish(container=str(value["container"]), image=str(value["image"]))
