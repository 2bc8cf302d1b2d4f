"""Effects on workloads while the API server, or the way to it, does what such things do: nothing is lost, nothing is
done twice, and it goes on soon after all is well again. Forward and on the way back.
"""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.effect import EffectState, Outcome
from orchestrator.errors import Temporary
from stages.cluster import ScaleWorkload, SetImage, SetVersion, VersionArm
from tests.acceptance.worlds.host import host_in
from tests.support.api_proxy import (
    ApiProxy,
    Disturbance,
    break_off,
    expire,
    fall_silent,
    hang,
    lose_the_answer,
    on,
    refuse,
    reset,
)
from tests.support.cluster import ControlPlane
from tests.support.workloads import WorkloadWorld, workload

OUTAGE = "ROLLOUT_OUTAGE_SECONDS"
OUTAGE_SECONDS = os.environ.get(OUTAGE)
RETURN_SECONDS = 60.0
API = "deployment/api"
CANARY = "deployment/api-canary"
UNDO = "undo:workload"
FORWARD: dict[str, Any] = {"effect": "forward"}
BACK: dict[str, Any] = {"effect": "back", "node": UNDO}
BOTH_WAYS = pytest.mark.parametrize("way", (FORWARD, BACK), ids=("forward", "back"))


@pytest.fixture
def world(world_behind: WorkloadWorld) -> WorkloadWorld:
    """All of these tests may disturb the way."""
    return world_behind


def image(to: str) -> SetImage:
    return SetImage(workload=API, container="app", image=to, timeout_seconds=120.0)


def at(image: str) -> dict[str, str]:
    return {"container": "app", "image": image}


def assert_done(outcome: Outcome) -> None:
    assert outcome.state is EffectState.DONE, outcome.detail


# --- one call that goes wrong -----------------------------------------------------------------------------------------

WRITES_THAT_FAIL: dict[str, Disturbance] = {
    "refused as stale": refuse(409),
    "too many requests": refuse(429, {"Retry-After": "1"}),
    "internal error": refuse(500),
    "unavailable": refuse(503),
    "reset before it arrived": reset,
    "answer lost": lose_the_answer,
}


@BOTH_WAYS
@pytest.mark.parametrize("failure", tuple(WRITES_THAT_FAIL))
async def test_a_write_that_fails_is_done_once_in_the_end(
    world: WorkloadWorld, proxy: ApiProxy, failure: str, way: dict[str, Any]
) -> None:
    world.deploy(workload("api", "shop:1"))
    proxy.disturb(on("PATCH"), WRITES_THAT_FAIL[failure])

    assert_done(await world.carry_out(image("shop:2"), at("shop:1"), **way))

    assert world.image(API) == "shop:2"
    assert world.writes("api") == 1
    assert world.revision(API) == 2


@pytest.mark.parametrize("failure", tuple(WRITES_THAT_FAIL))
async def test_two_workloads_are_each_written_once_although_writes_fail(
    world: WorkloadWorld, proxy: ApiProxy, failure: str
) -> None:
    world.deploy(workload("api", "shop:1", replicas=3), workload("api-canary", "shop:0", replicas=0))
    before = {"stable": {"replicas": 3, "image": "shop:1"}, "canary": {"replicas": 0, "image": "shop:0"}}
    wanted = SetVersion(
        workload=API,
        canary_workload=CANARY,
        stable=VersionArm(replicas=2, image="shop:1"),
        canary=VersionArm(replicas=1, image="shop:2"),
    )
    proxy.disturb(on("PATCH", "/api-canary?"), WRITES_THAT_FAIL[failure])
    proxy.disturb(on("PATCH", "/api?"), WRITES_THAT_FAIL[failure])

    assert_done(await world.carry_out(wanted, before))

    assert (world.replicas(API), world.replicas(CANARY), world.image(CANARY)) == (2, 1, "shop:2")
    assert (world.writes("api"), world.writes("api-canary")) == (1, 1)


@pytest.mark.parametrize(
    ("failure", "words"),
    (
        (refuse(429, {"Retry-After": "7"}), "made up by a test: 429"),
        (refuse(500), "made up by a test: 500"),
        (reset, "can't be reached"),
    ),
    ids=("429", "500", "reset"),
)
async def test_a_look_that_fails_says_why_and_when_to_look_again(
    world: WorkloadWorld, proxy: ApiProxy, failure: Disturbance, words: str
) -> None:
    world.deploy(workload("api", "shop:1"))
    proxy.disturb(on("GET"), failure, times=2)  # a connection that was reset is tried twice

    with pytest.raises(Temporary, match=words) as raised:
        await world.observe_replicas(API)

    assert raised.value.retry_after_seconds == (7.0 if "429" in words else None)


async def test_a_server_that_does_not_answer_is_not_waited_for_beyond_a_deadline(
    world: WorkloadWorld, proxy: ApiProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deploy(workload("api", "shop:1"))
    monkeypatch.setattr("orchestrator.adapters.kubernetes.client.CALL_SECONDS", 0.5)
    proxy.disturb(on("PATCH"), hang)

    first = await world.perform(image("shop:2"), at("shop:1"))
    second = await world.carry_out(image("shop:2"), at("shop:1"))

    assert (first.state, first.detail) == (EffectState.TEMPORARY, "Kubernetes (test) did not answer in time")
    assert_done(second)


# --- watches ----------------------------------------------------------------------------------------------------------

WATCHES_THAT_FAIL: dict[str, Disturbance] = {
    "silent": fall_silent,
    "never answered": hang,
    "reset": reset,
    "cut in the middle": break_off,
    "too old, in the stream": expire,
    "too old, at once": refuse(410),
    "too many requests": refuse(429, {"Retry-After": "1"}),
    "internal error": refuse(500),
    "forbidden": refuse(403),
}


@pytest.mark.parametrize("failure", tuple(WATCHES_THAT_FAIL))
async def test_a_watch_that_fails_is_made_good_by_looking(world: WorkloadWorld, proxy: ApiProxy, failure: str) -> None:
    world.deploy(workload("api", "shop:1", replicas=1))
    proxy.disturb(on("WATCH"), WATCHES_THAT_FAIL[failure], times=1000)

    assert_done(await world.perform(ScaleWorkload(workload=API, replicas=3), {"replicas": 1}))

    assert proxy.heard(on("WATCH")) > 0
    assert world.get(API)["status"]["readyReplicas"] == 3


# --- all of it away ---------------------------------------------------------------------------------------------------


@BOTH_WAYS
async def test_an_effect_goes_on_when_the_way_to_the_cluster_is_back(
    world: WorkloadWorld, proxy: ApiProxy, way: dict[str, Any]
) -> None:
    world.deploy(workload("api", "shop:1"))
    await proxy.down()
    away = await world.perform(image("shop:2"), at("shop:1"), **way)
    assert away.state is EffectState.TEMPORARY
    assert "can't be reached: Connection refused" in away.detail
    assert away.retry_after_seconds == world.pace.again_seconds

    await proxy.up()
    assert_done(await world.carry_out(image("shop:2"), at("shop:1"), **way))

    assert world.writes("api") == 1


@BOTH_WAYS
async def test_a_wait_that_is_torn_off_goes_on_without_another_write(
    world: WorkloadWorld, proxy: ApiProxy, way: dict[str, Any]
) -> None:
    world.deploy(workload("api", "shop:1"))
    proxy.disturb(on("WATCH"), hang)
    trying = asyncio.create_task(world.perform(image("shop:2"), at("shop:1"), **way))
    await proxy.until(on("WATCH"))
    await proxy.down()
    torn = await trying
    await proxy.up()

    done = await world.carry_out(image("shop:2"), at("shop:1"), **way)

    assert torn.state is EffectState.TEMPORARY
    assert_done(done)
    assert world.writes("api") == 1


@pytest.fixture(scope="module")
def own_control_plane(kubernetes_programs: Path) -> Iterator[ControlPlane]:
    """Of these tests alone, since they end its API server."""
    with ControlPlane(kubernetes_programs) as plane:
        yield plane


@BOTH_WAYS
async def test_an_effect_outlives_an_api_server_that_is_killed_before_and_after_its_write(
    own_control_plane: ControlPlane, way: dict[str, Any]
) -> None:
    plane = own_control_plane
    with plane.namespace() as namespace:
        world = WorkloadWorld(plane, namespace, plane.kubeconfig)
        world.deploy(workload("api", "shop:1", minReadySeconds=5))

        plane.kill_apiserver()
        carrying = asyncio.create_task(world.carry_out(image("shop:2"), at("shop:1"), **way))
        await _temporary(world)
        plane.start_apiserver()  # here: it ends with the thread that starts it
        await world.until(lambda: world.image(API) == "shop:2", "the new image")
        plane.kill_apiserver()
        await _temporary(world)
        plane.start_apiserver()
        outcome = await carrying

        await world.clusters.close()
        assert_done(outcome)
        assert world.writes("api") == 1
        assert world.revision(API) == 2


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.skipif(OUTAGE_SECONDS is None, reason=f"{OUTAGE} says for how many seconds the API server is to be away")
@pytest.mark.timeout(4000)
async def test_a_rollback_ends_within_a_minute_of_the_return_of_an_api_server_that_was_away_for_long(
    own_control_plane: ControlPlane, tmp_path: Path
) -> None:
    plane = own_control_plane
    with plane.namespace() as namespace, host_in(tmp_path, KUBECONFIG=str(plane.kubeconfig)) as host:
        world = WorkloadWorld(plane, namespace, plane.kubeconfig)
        world.deploy(workload("workers", "shop:1", replicas=1), workload("api", "shop:1", minReadySeconds=10))
        run = await asyncio.to_thread(host.detached, host.write("plan.yaml", json.dumps(_shop(namespace))))
        await asyncio.to_thread(host.wait_for, run, hold="manual")
        await asyncio.to_thread(host.ok, "rollback", run, "--reason", "enough")
        await world.until(lambda: world.image(API) == "shop:1", "the first target to be on its way back")

        plane.kill_apiserver()
        await asyncio.sleep(float(OUTAGE_SECONDS or 0))
        held = host.status(run)
        returned = time.monotonic()
        plane.start_apiserver()
        _say_that_pods_are_ready(plane, namespace)
        try:
            ended = await asyncio.to_thread(host.wait_for, run, RETURN_SECONDS, phase="ended")
        except AssertionError as error:
            cluster = plane.kubectl("get", "nodes,deployments,pods", "--namespace", namespace)
            raise AssertionError(f"{error}\n{host.ok('history', run).output}\n{cluster}") from None
        print(f"ended {time.monotonic() - returned:.1f} s after the API server was started again")

        await world.clusters.close()
        assert held is not None
        assert (held["phase"], [one["reason"] for one in held["holds"]]) == ("rolling_back", ["undo_failing"])
        assert ended["outcome"] == "rolled_back"
        assert (world.replicas("deployment/workers"), world.image(API)) == (1, "shop:1")
        assert (world.writes("workers"), world.writes("api"), world.revision(API)) == (2, 2, 3)


def _say_that_pods_are_ready(plane: ControlPlane, namespace: str) -> None:
    """A node that was silent for a minute has its pods marked as not ready, and its kubelet says otherwise when it is
    back. kwok, which plays it here, does not."""
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    arguments = (
        "--namespace",
        namespace,
        "--subresource",
        "status",
        "--type",
        "strategic",
        "--patch",
        json.dumps(ready),
    )
    for pod in plane.get("pods", "--namespace", namespace)["items"]:
        is_marked = any(
            one["type"] == "Ready" and one["status"] == "False" for one in pod["status"].get("conditions", ())
        )
        if is_marked and pod["status"]["phase"] == "Running":
            plane.try_kubectl("patch", "pod", pod["metadata"]["name"], *arguments)  # it may be gone meanwhile


def _shop(namespace: str) -> dict[str, Any]:
    scale = {"scale": "deployment/workers", "replicas": 3}
    steps = [scale, {"image": API, "to": "shop:2", "timeout": "2h"}, {"manual": "Everything is up"}]
    spec = {"kubernetes": {"namespace": namespace}, "stages": [{"name": "shop", "kind": "steps", "steps": steps}]}
    metadata = {"name": "shop"}
    return {"apiVersion": "stagedrollout.io/v1alpha1", "kind": "StagedRollout", "metadata": metadata, "spec": spec}


async def _temporary(world: WorkloadWorld) -> None:
    """One more try has ended because nobody answered."""
    before = len(world.outcomes)
    await world.until(lambda: len(world.outcomes) > before, "one more try")
    assert world.outcomes[-1].state is EffectState.TEMPORARY
