"""Versions without a canary of their own, on a real API server: the run makes a copy of the Deployment, and takes it
away again, whatever happens on the way.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from orchestrator.core.effect import EffectState, Outcome
from stages.cluster import ObserveVersion, SetVersion, VersionArm
from tests.support.api_proxy import ApiProxy, Asked, Disturbance, Exchange
from tests.support.workloads import WorkloadWorld, workload

UNDO = "undo:workload"
ENOUGH_SECONDS = 60.0
Pods = tuple[int, str]


@pytest.fixture
def world(world_behind: WorkloadWorld) -> WorkloadWorld:
    """All of these tests may disturb the way."""
    return world_behind


def moved(name: str, stable: Pods, copy: Pods | None, total: int | None = None, seconds: float = 60.0) -> SetVersion:
    return SetVersion(
        workload=f"deployment/{name}",
        canary_workload=f"deployment/{name}-rollout",
        is_made=True,
        stable=VersionArm(replicas=stable[0], image=stable[1]),
        canary=VersionArm(replicas=copy[0], image=copy[1]) if copy is not None else None,
        total=total,
        timeout_seconds=seconds,
    )


def stood(stable: Pods, copy: Pods | None = None, total: int | None = None) -> dict[str, Any]:
    """As a version is observed."""
    value = moved("api", stable, copy, total).version.value()
    assert isinstance(value, dict)
    return value


async def observed(world: WorkloadWorld, name: str) -> dict[str, Any]:
    asked = ObserveVersion(
        kubernetes=world.place,
        workload=f"deployment/{name}",
        canary_workload=f"deployment/{name}-rollout",
        is_made=True,
    )
    value = (await world.performer.observe(asked, world._scene())).value
    assert isinstance(value, dict)
    return value


def assert_done(outcome: Outcome) -> None:
    assert outcome.state is EffectState.DONE, outcome.detail


def names(world: WorkloadWorld, kind: str) -> set[str]:
    found = world.cluster.get(kind, "--namespace", world.namespace)
    return {str(one["metadata"]["name"]) for one in found["items"]}


class Ready(NamedTuple):
    """How many pods are ready and stay."""

    own: int
    of_copy: int

    @property
    def all(self) -> int:
        return self.own + self.of_copy


@asynccontextmanager
async def counted(world: WorkloadWorld, name: str) -> AsyncIterator[list[Ready]]:
    """The pods of an application, looked at again and again."""
    cluster, counts = await world.clusters.open(world.place), list[Ready]()
    path = f"/api/v1/namespaces/{world.namespace}/pods"

    async def count() -> None:
        while True:
            found = await cluster.get(path, labelSelector=f"app={name}")
            serving = [one for one in found["items"] if _serves(one)]
            of_copy = sum("stagedrollout.io/arm" in one["metadata"]["labels"] for one in serving)
            counts.append(Ready(len(serving) - of_copy, of_copy))
            await asyncio.sleep(0.1)

    counting = asyncio.create_task(count())
    try:
        yield counts
    finally:
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)


def _serves(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or ()
    is_ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return is_ready and "deletionTimestamp" not in pod["metadata"]


async def test_a_copy_takes_pods_over_step_by_step_and_goes_when_the_deployment_itself_is_new(
    world: WorkloadWorld,
) -> None:
    steps = [
        ((4, "shop:1"), None),
        ((3, "shop:1"), (1, "shop:2")),
        ((2, "shop:1"), (2, "shop:2")),
        ((4, "shop:2"), None),
    ]
    world.deploy(workload("api", "shop:1", replicas=4))
    world.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"}, "spec": SERVICE})
    async with counted(world, "api") as ready:
        for index in range(1, len(steps)):
            before, wanted = steps[index - 1], steps[index]
            outcome = await world.perform(moved("api", *wanted), stood(*before), effect=f"step-{index}")
            assert_done(outcome)
            assert outcome.observed == stood(*wanted) == await observed(world, "api")
            if index == 2:
                _assert_copy(world)
    assert min(one.all for one in ready) >= 4
    assert names(world, "deployments") == {"api"}
    assert world.get("deployment/api")["status"]["readyReplicas"] == 4

    assert_done(await world.perform(moved("api", *steps[0]), stood(*steps[-1]), effect="back", node=UNDO))

    assert await observed(world, "api") == stood(*steps[0])
    assert names(world, "deployments") == {"api"}


SERVICE = {"selector": {"app": "api"}, "ports": [{"port": 80}]}


def _assert_copy(world: WorkloadWorld) -> None:
    """Its pods are met by whom the first one's are, and belong to nobody else."""
    api, copy = world.get("deployment/api"), world.get("deployment/api-rollout")
    assert [one["uid"] for one in copy["metadata"]["ownerReferences"]] == [api["metadata"]["uid"]]
    assert copy["spec"]["selector"]["matchLabels"] == {"app": "api", "stagedrollout.io/arm": "canary"}
    assert (api["status"]["replicas"], copy["status"]["replicas"]) == (2, 2)
    sets = world.cluster.get("replicasets", "--namespace", world.namespace)["items"]
    owners = {one["metadata"]["name"].rpartition("-")[0]: one["metadata"]["ownerReferences"][0]["name"] for one in sets}
    assert owners == {"api": "api", "api-rollout": "api-rollout"}
    slices = world.cluster.get("endpointslices", "--namespace", world.namespace)["items"]
    named = [one["targetRef"]["name"] for entry in slices for one in entry.get("endpoints") or ()]
    assert sum(name.startswith("api-rollout-") for name in named) == 2


async def test_an_image_that_does_not_run_is_found_in_the_copy_and_the_deployment_is_never_touched(
    world: WorkloadWorld,
) -> None:
    world.deploy(workload("api", "shop:1", replicas=4))
    before, wanted = ((4, "shop:1"), None), ((4, "broken:2"), None)  # all at once, without a step before

    async with counted(world, "api") as ready:
        outcome = await world.carry_out(moved("api", *wanted, seconds=8), stood(*before))
        stands = stood((4, "shop:1"), (1, "broken:2"))
        assert (outcome.state, outcome.observed) == (EffectState.REFUSED, stands)
        assert "1 of 1 pods of deployment/api-rollout is not ready" in outcome.detail
        assert_done(await world.perform(moved("api", *before), stands, effect="back", node=UNDO))

    assert min(one.all for one in ready) == 4
    assert world.revision("deployment/api") == 1
    assert await observed(world, "api") == stood(*before)
    assert names(world, "deployments") == {"api"}


# --- crashes ----------------------------------------------------------------------------------------------------------

START = ((4, "shop:1"), None)
HALF = ((2, "shop:1"), (2, "shop:2"))
ALL = ((4, "shop:2"), None)


@dataclass(frozen=True)
class Case:
    """The controller dies once the write with this *number* has been carried out, on the way from *now* to *wanted*;
    and the next one goes to where it *ends*. *is_last*: nothing is left to be written on that way."""

    app: str
    now: Any
    wanted: Any
    is_back: bool
    number: int
    is_last: bool
    ends: Any


WAYS: tuple[tuple[Any, Any, bool, int], ...] = (
    (START, HALF, False, 3),  # the copy is made, and given pods, and the first loses some
    (HALF, ALL, False, 2),  # the first gets the image, and the copy goes
    (START, ALL, False, 4),
    (HALF, START, True, 2),
    (ALL, START, True, 1),
)
CASES = tuple(
    Case(
        f"way{way}-write{number}-{'on' if ends == wanted else 'back'}",
        now,
        wanted,
        is_back,
        number,
        number == writes - 1,
        ends,
    )
    for way, (now, wanted, is_back, writes) in enumerate(WAYS)
    for number in range(writes)
    for ends in dict.fromkeys((wanted, START))
)


async def test_a_version_goes_on_or_back_from_each_of_its_writes(world: WorkloadWorld, proxy: ApiProxy) -> None:
    world.apply(*(workload(case.app, "shop:1", replicas=4) for case in CASES))
    world.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s")
    at_once = asyncio.Semaphore(6)

    async def one(case: Case) -> None:
        async with at_once:
            await _crash(world, proxy, case)

    async with asyncio.TaskGroup() as group:
        for case in CASES:
            group.create_task(one(case))

    left = {f"{case.app}-rollout" for case in CASES if case.ends is HALF}
    assert names(world, "deployments") == {case.app for case in CASES} | left


async def _crash(world: WorkloadWorld, proxy: ApiProxy, case: Case) -> None:
    app, node = case.app, UNDO if case.is_back else None
    if case.now is not START:
        assert_done(await world.perform(moved(app, *case.now), stood(*START), effect=f"{app}-first"))
    async with counted(world, app) as ready:
        died = asyncio.Event()
        proxy.disturb(_numbered(app, case.number), _carried_out(died))
        trying = asyncio.create_task(
            world.perform(moved(app, *case.wanted), stood(*case.now), effect=f"{app}-cut", node=node)
        )
        await asyncio.wait_for(died.wait(), ENOUGH_SECONDS)
        looks = len(ready)
        trying.cancel()
        await asyncio.gather(trying, return_exceptions=True)
        goes_on = case.ends == case.wanted
        again = {"effect": f"{app}-cut", "node": node} if goes_on else {"effect": f"{app}-back", "node": UNDO}
        operation = moved(app, *case.ends)
        assert_done(await world.carry_out(operation, stood(*case.now), resumed=True, epoch=2, **again))
    assert await observed(world, app) == stood(*case.ends), case
    if (goes_on and not case.is_back) or ALL not in (case.now, case.wanted):
        assert min(one.all for one in ready) >= 4, case
        return
    if case.wanted is ALL and case.is_last:
        return  # the copy had been deleted, with pods that were still ending
    # How many of its own pods a Deployment lacks while it takes back an image is up to Kubernetes, and its limit
    # does not hold where a rollout is turned round half way: it counts what ReplicaSets said last. The copy is ours.
    before = ready[looks - 1].of_copy
    assert all(one.own >= 4 or one.of_copy >= before for one in ready[looks:]), case


def _numbered(app: str, number: int) -> Any:
    left = iter(range(number, -1, -1))

    def matches(asked: Asked) -> bool:
        is_write = asked.method in ("POST", "PATCH", "DELETE")
        is_its = f"/deployments/{app}?" in asked.target or f"{app}-rollout" in asked.target + asked.body.decode()
        return is_write and is_its and next(left, None) == 0

    return matches


def _carried_out(died: asyncio.Event) -> Disturbance:
    async def disturb(exchange: Exchange) -> None:
        await exchange.forward()
        died.set()
        await asyncio.Event().wait()

    return disturb


# --- what is there already --------------------------------------------------------------------------------------------


async def test_what_somebody_else_made_or_deleted_in_the_place_of_the_copy_is_left_so(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1", replicas=4), workload("api-rollout", "other:1", replicas=1))
    world.deploy(workload("web", "shop:1", replicas=4))
    strangers = world.get("deployment/api-rollout")["spec"]

    assert await observed(world, "api") == stood((4, "shop:1"))
    outcomes = [await world.perform(moved("api", *wanted), stood((4, "shop:1"))) for wanted in (HALF, ALL)]
    back = await world.perform(moved("api", *START), stood((4, "shop:1")), effect="back", node=UNDO)
    assert_done(await world.perform(moved("web", *HALF), stood(*START)))
    world.kubectl("delete", "deployment/web-rollout")
    deleted = await world.perform(moved("web", (1, "shop:1"), (3, "shop:2")), stood(*HALF), effect="next")

    for outcome in outcomes:
        assert (outcome.state, outcome.observed) == (EffectState.REFUSED, None)
        assert "there is a deployment/api-rollout that no run has made" in outcome.detail
    assert_done(back)
    assert world.get("deployment/api-rollout")["spec"] == strangers
    assert world.image("deployment/api") == "shop:1"
    assert (deleted.state, deleted.observed) == (EffectState.REFUSED, stood((2, "shop:1")))
    assert deleted.detail == "deployment/web-rollout was deleted by somebody else meanwhile"
    assert deleted.changed_by == "somebody else"


async def test_a_copy_that_another_run_left_is_taken_over_as_the_deployment_is_now_and_one_pod_ends_as_one(
    world: WorkloadWorld,
) -> None:
    world.deploy(workload("api", "shop:1", replicas=1))
    two = ((1, "shop:1"), (1, "shop:2"))
    assert_done(await world.perform(moved("api", *two, total=1), stood((1, "shop:1")), run="earlier"))
    world.kubectl("set", "env", "deployment/api", "COLOUR=blue")
    world.rolled_out("deployment/api")
    left = await observed(world, "api")
    assert left == stood(*two, total=1)

    newer = moved("api", (1, "shop:1"), (1, "shop:3"), total=1)
    assert_done(await world.perform(newer, left, effect="step"))
    template = world.get("deployment/api-rollout")["spec"]["template"]
    now = await observed(world, "api")
    assert_done(await world.perform(moved("api", (1, "shop:3"), None), now, effect="all"))

    assert template["spec"]["containers"][0]["env"] == [{"name": "COLOUR", "value": "blue"}]
    assert template["spec"]["containers"][0]["image"] == "shop:3"
    assert await observed(world, "api") == stood((1, "shop:3"))
    assert names(world, "deployments") == {"api"}
