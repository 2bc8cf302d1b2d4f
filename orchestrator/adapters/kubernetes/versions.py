"""``set_version`` and ``observe_version``: replicas and images of two Deployments, so that capacity never falls.

Which of the two goes first follows from what the effect wants and from what was there when it was asked for, so a crash
between them changes nothing about it: what grows comes first, and the other keeps its pods until it is rolled out. Of
two that shrink, as on the way back from a step that failed, the one that lacks pods that are ready comes first. On the
way back a Deployment of which no pod is ready is not kept for that long: it serves nobody, and may stand in the way
(a quota, a node that is full). Nor is one kept for a Deployment that only gets its old image, and can't become well.

A canary that the run makes (``making.py``) goes for good when the first Deployment has all pods. Before that one gets
the new image, the canary has at least as many pods as it may lack while it replaces its own, and one in any case: a
new image that does not run is found there.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from orchestrator.adapters.kubernetes import making
from orchestrator.adapters.kubernetes.bringing import (
    Attempt,
    Change,
    ChangedElsewhere,
    Unready,
    bring,
    check_origin,
    settle,
    write,
)
from orchestrator.adapters.kubernetes.client import Cluster
from orchestrator.adapters.kubernetes.marks import RUN
from orchestrator.adapters.kubernetes.outcomes import Bring, Look, Task, carry_out, lacks_capacity
from orchestrator.adapters.kubernetes.wishes import Wish, image_of, only_container, seen, total_of
from orchestrator.adapters.kubernetes.workloads import Progress, Workload, find, rollout_of
from orchestrator.core.effect import Outcome
from orchestrator.ports import Seen
from stages.cluster import ObserveVersion, SetVersion, Version, VersionArm
from stages.values import Json


async def perform(attempt: Attempt, operation: SetVersion, before: Json) -> Outcome:
    titles, look = (operation.workload, operation.canary_workload), _look(operation)
    containers = await _containers(attempt.cluster, operation)
    wishes = _wishes(operation.version, containers)
    changes = tuple(map(Change, titles, wishes, _wishes_of(before, containers)))

    def value(workloads: Sequence[Workload]) -> Json:
        return _value(workloads, containers)

    words = " and ".join(map(_words, titles, (operation.stable, operation.canary)))
    return await carry_out(attempt, Task(changes, value, words, look), _way(operation))


async def observe(cluster: Cluster, observation: ObserveVersion) -> Seen:
    look = _look(observation)
    workloads = [await look(cluster, title) for title in (observation.workload, observation.canary_workload)]
    containers = await _containers(cluster, observation)
    value = _value(workloads, containers)
    stands = zip(workloads, _wishes_of(value, containers), strict=True)
    return seen(value, [(workload, wish) for workload, wish in stands if workload.exists])


def _look(asked: SetVersion | ObserveVersion) -> Look:
    async def one(cluster: Cluster, title: str) -> Workload:
        if asked.is_made and title == asked.canary_workload:
            return await making.look(cluster, title, asked.workload)
        return await find(cluster, title)

    return one


async def _containers(cluster: Cluster, asked: SetVersion | ObserveVersion) -> list[str]:
    """Of the two; a copy has those of the first."""
    titles = [asked.workload, asked.workload if asked.is_made else asked.canary_workload]
    return [only_container(await find(cluster, title), asked.container) for title in titles]


def _way(operation: SetVersion) -> Bring:
    if not operation.is_made:
        return partial(_growing_first, look=_look(operation))
    return partial(_beside_a_copy if operation.canary is not None else _without_a_copy, look=_look(operation))


# --- two that stay ----------------------------------------------------------------------------------------------------


async def _growing_first(attempt: Attempt, changes: Sequence[Change], look: Look) -> list[Workload]:
    now = {change.title: await look(attempt.cluster, change.title) for change in changes}
    for change in changes:
        check_origin(attempt, change, now[change.title])
    first, second = sorted(changes, key=lambda change: _growth(change, now[change.title]), reverse=True)
    written = await write(attempt, first)
    if attempt.is_undo and now[second.title].ready == 0:
        await write(attempt, second)
    await _settle_or(attempt, first, written, lambda: write(attempt, second))
    await settle(attempt, second, await write(attempt, second))
    return [await look(attempt.cluster, change.title) for change in changes]


async def _settle_or(
    attempt: Attempt, first: Change, written: Workload, go_on: Callable[[], Awaitable[object]]
) -> None:
    """What keeps *first* from becoming well does not keep the rest from going back, unless pods are missing."""
    try:
        await settle(attempt, first, written)
    except Unready:
        if attempt.is_undo and not lacks_capacity(first, await find(attempt.cluster, first.title)):
            await go_on()
        raise


def _growth(change: Change, now: Workload) -> tuple[int, int, int]:
    """By how many pods it grows; where neither does, which one lacks more that are ready."""
    wanted = change.wish.replicas or 0
    before = change.before.replicas
    grows = max(wanted - before, 0) if before is not None else 0
    return (grows, wanted - now.ready, wanted - now.replicas)


# --- one, and a copy on the way ---------------------------------------------------------------------------------------


async def _beside_a_copy(attempt: Attempt, changes: Sequence[Change], look: Look) -> list[Workload]:
    original, copy = await _checked(attempt, changes, look), changes[1]
    await making.make(attempt, original, copy)
    return await _growing_first(attempt, changes, look)


async def _without_a_copy(attempt: Attempt, changes: Sequence[Change], look: Look) -> list[Workload]:
    stable, copy = changes
    original = await _checked(attempt, changes, look)
    if not attempt.is_undo and not (stable.wish.is_met(original) and rollout_of(original).progress is Progress.DONE):
        await _stand_in(attempt, original, changes)
    written = await write(attempt, stable)

    async def remove() -> None:
        await making.remove(attempt, copy, stable.title)

    if attempt.is_undo and (await look(attempt.cluster, copy.title)).ready == 0:
        await remove()
    await _settle_or(attempt, stable, written, remove)
    await remove()
    return [await look(attempt.cluster, change.title) for change in changes]


async def _checked(attempt: Attempt, changes: Sequence[Change], look: Look) -> Workload:
    """The first Deployment, if all of this is ours to change."""
    stable, copy = changes
    original = await find(attempt.cluster, stable.title)
    check_origin(attempt, stable, original)
    if not attempt.is_undo:
        await making.check_place(attempt, copy, original)
    found = await look(attempt.cluster, copy.title)
    if found.exists:
        check_origin(attempt, copy, found)
    elif copy.wish.image is not None and copy.before.image is not None and not _moved_by_run(attempt, stable, original):
        raise ChangedElsewhere(f"{copy.title} was deleted by somebody else meanwhile", "somebody else")
    return original


def _moved_by_run(attempt: Attempt, change: Change, workload: Workload) -> bool:
    """Whether this run has written the first Deployment on its way to 100 %, and may so have deleted the copy too."""
    return not change.before.is_met(workload) and workload.annotations.get(RUN) == attempt.author.run


async def _stand_in(attempt: Attempt, original: Workload, changes: Sequence[Change]) -> None:
    """The copy has pods enough for those that the first one may lack while it replaces its own."""
    stable, copy = changes
    total = stable.wish.replicas or 0
    if total == 0:
        return
    replicas = max(copy.before.replicas or 0, making.missing_at_most(original, total), 1)
    wish = Wish(replicas, stable.wish.container, stable.wish.image)
    standing_in = Change(copy.title, wish, copy.before)
    await making.make(attempt, original, standing_in)
    check_origin(attempt, stable, await find(attempt.cluster, stable.title))
    await bring(attempt, standing_in)


# --- what is observed -------------------------------------------------------------------------------------------------


def _value(workloads: Sequence[Workload], containers: Sequence[str]) -> Json:
    stable, canary = (
        VersionArm(replicas=workload.replicas, image=image_of(workload, container)) if workload.exists else None
        for workload, container in zip(workloads, containers, strict=True)
    )
    assert stable is not None, "only a copy may be missing"
    return Version(stable=stable, canary=canary, total=total_of(workloads[1])).value()


def _wishes_of(value: Json, containers: Sequence[str]) -> list[Wish]:
    if not isinstance(value, dict):
        return [Wish(), Wish()]
    return _wishes(Version.model_validate(value), containers)


def _wishes(version: Version, containers: Sequence[str]) -> list[Wish]:
    stable = Wish(version.stable.replicas, containers[0], version.stable.image)
    if version.canary is None:
        return [stable, Wish(replicas=0)]
    return [stable, Wish(version.canary.replicas, containers[1], version.canary.image, total=version.total or 0)]


def _words(title: str, arm: VersionArm | None) -> str:
    if arm is None:
        return f"there is no {title} any more"
    return f"{title} has {arm.replicas} {'replica' if arm.replicas == 1 else 'replicas'} of {arm.image}"
