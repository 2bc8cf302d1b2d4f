"""Whole runs of the real command that change workloads of a real cluster: to the end, back, and through outages."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.worlds.host import Host, host_in
from tests.support.api_proxy import ApiProxy
from tests.support.process import wait_until
from tests.support.workloads import WorkloadWorld, workload

pytestmark = pytest.mark.acceptance
API = "deployment/api"
CANARY = "deployment/api-canary"
WORKERS = "deployment/workers"
RUN_SECONDS = 120.0


@pytest.fixture
def host(world: WorkloadWorld, tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path, KUBECONFIG=str(world.kubeconfig)) as made:
        yield made


@pytest.fixture
def host_behind(proxy: ApiProxy, tmp_path: Path) -> Iterator[Host]:
    """A machine that reaches the API server through the proxy."""
    with host_in(tmp_path, KUBECONFIG=str(proxy.kubeconfig)) as made:
        yield made


def plan(host: Host, namespace: str, *stages: object) -> Path:
    document = {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": "shop"},
        "spec": {"kubernetes": {"namespace": namespace}, "stages": stages, "watch": "1s"},
    }
    return host.write("plan.yaml", json.dumps(document))


def steps(name: str, *actions: object) -> dict[str, object]:
    return {"name": name, "kind": "steps", "steps": actions}


def image(to: str, timeout: str = "60s") -> dict[str, str]:
    return {"image": API, "to": to, "timeout": timeout}


MANUAL = steps("look", {"manual": "Everything is up"})


def end_of(host: Host, run: str) -> str:
    def look() -> str:
        rows = host.query("SELECT json_extract(summary, '$.outcome') FROM runs WHERE run = ?", run)
        return str(rows[0][0] or "") if rows else ""

    return wait_until(look, what=f"{run} to end", deadline_seconds=RUN_SECONDS)


def told(host: Host, run: str) -> str:
    """The history as people read it."""
    return host.ok("history", run).output


def test_a_plan_takes_workloads_forward_and_ends_promoted(host: Host, world: WorkloadWorld) -> None:
    world.deploy(
        workload("workers", "shop:1", replicas=1),
        workload("api", "shop:1", replicas=4),
        workload("api-canary", "shop:1", replicas=0),
    )
    version = {
        "name": "version",
        "kind": "version",
        "workload": API,
        "canary": CANARY,
        "image": "shop:2",
        "percentages": [25, 100],
        "bake": "1s",
    }
    start = plan(host, world.namespace, steps("workers", {"scale": WORKERS, "replicas": 3}), version)

    done = host.run("start", start, deadline_seconds=RUN_SECONDS)

    assert done.code == 0, done.errors + done.output
    assert world.replicas(WORKERS) == 3
    assert (world.replicas(API), world.image(API), world.replicas(CANARY)) == (4, "shop:2", 0)
    assert world.get(API)["status"]["readyReplicas"] == 4


async def test_a_version_without_a_canary_stands_without_its_copy_and_a_rollback_leaves_none(
    host: Host, world: WorkloadWorld
) -> None:
    world.deploy(workload("api", "shop:1", replicas=4))
    version = {"name": "version", "kind": "version", "workload": API, "image": "shop:2", "percentages": [25, 100]}
    start = plan(host, world.namespace, {**version, "bake": "1s"}, MANUAL)
    run = await asyncio.to_thread(host.detached, start)
    await asyncio.to_thread(host.wait_for, run, hold="manual")
    stands = (world.replicas(API), world.image(API), _deployments(world))

    await asyncio.to_thread(host.ok, "rollback", run, "--reason", "enough")

    assert await asyncio.to_thread(end_of, host, run) == "rolled_back"
    assert stands == (4, "shop:2", [API])
    assert (world.replicas(API), world.image(API), _deployments(world)) == (4, "shop:1", [API])
    assert "shop:2 on 25 %: done" in told(host, run)


def _deployments(world: WorkloadWorld) -> list[str]:
    found = world.kubectl("get", "deployments", "--output", "name").split()
    return [one.replace("deployment.apps/", "deployment/") for one in found]


def test_an_image_that_does_not_become_ready_takes_all_back_by_itself_and_says_why(
    host: Host, world: WorkloadWorld
) -> None:
    world.deploy(workload("workers", "shop:1", replicas=1), workload("api", "shop:1"))
    scale = steps("workers", {"scale": WORKERS, "replicas": 3})
    start = plan(host, world.namespace, scale, steps("image", image("broken:2", timeout="5s")))

    done = host.run("start", start, deadline_seconds=RUN_SECONDS)

    assert done.code == 3, done.errors + done.output
    assert (world.replicas(WORKERS), world.image(API)) == (1, "shop:1")
    assert "ImagePullBackOff (broken:2)" in told(host, host.json("list")[0]["run"])


def test_a_controller_that_is_killed_while_it_waits_goes_on_without_another_rollout(
    host: Host, world: WorkloadWorld
) -> None:
    world.deploy(workload("api", "shop:1", minReadySeconds=4))
    start = plan(host, world.namespace, steps("image", image("shop:2")))
    child, run = host.started(start)
    wait_until(lambda: world.image(API) == "shop:2", what="the new image", deadline_seconds=RUN_SECONDS)
    child.kill()

    done = host.run("start", start, deadline_seconds=RUN_SECONDS)

    assert done.code == 0, done.errors + done.output
    assert end_of(host, run) == "promoted"
    assert world.revision(API) == 2


async def test_a_run_holds_while_the_cluster_is_away_and_goes_on_when_it_is_back(
    host_behind: Host, proxy: ApiProxy, world: WorkloadWorld
) -> None:
    host = host_behind
    world.deploy(workload("api", "shop:1", minReadySeconds=4))
    start = plan(host, world.namespace, steps("image", image("shop:2")))
    run = await asyncio.to_thread(host.detached, start)
    await world.until(lambda: world.image(API) == "shop:2", "the new image")

    await proxy.down()
    held = await asyncio.to_thread(host.wait_for, run, hold="effect_failing")
    await proxy.up()

    why = ("Connection refused", "Server disconnected")  # whichever the first try met that could not get through
    assert held["holds"][0]["detail"].endswith(tuple(f"can't be reached: {one}" for one in why))
    assert await asyncio.to_thread(end_of, host, run) == "promoted"
    assert (world.writes("api"), world.revision(API)) == (1, 2)


async def test_a_rollback_that_begins_while_the_cluster_is_away_ends_when_it_is_back(
    host_behind: Host, proxy: ApiProxy, world: WorkloadWorld
) -> None:
    host = host_behind
    world.deploy(workload("workers", "shop:1", replicas=1), workload("api", "shop:1"))
    scale = steps("workers", {"scale": WORKERS, "replicas": 3})
    start = plan(host, world.namespace, scale, steps("image", image("shop:2")), MANUAL)
    run = await asyncio.to_thread(host.detached, start)
    await asyncio.to_thread(host.wait_for, run, hold="manual")

    await proxy.down()
    await asyncio.to_thread(host.ok, "rollback", run, "--reason", "enough")
    await asyncio.to_thread(host.wait_for, run, phase="rolling_back", hold="undo_failing")
    await proxy.up()

    assert await asyncio.to_thread(end_of, host, run) == "rolled_back"
    assert (world.replicas(WORKERS), world.image(API)) == (1, "shop:1")
    assert (world.writes("workers"), world.writes("api")) == (2, 2)


async def test_a_rollback_cuts_short_what_waits_for_pods_that_never_come(host: Host, world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1"))
    start = plan(host, world.namespace, steps("image", image("broken:2", timeout="1h")))
    run = await asyncio.to_thread(host.detached, start)
    await world.until(lambda: world.image(API) == "broken:2", "the new image")

    await asyncio.to_thread(host.ok, "rollback", run, "--reason", "enough")

    assert await asyncio.to_thread(end_of, host, run) == "rolled_back"
    assert world.image(API) == "shop:1"


async def test_what_somebody_else_changes_holds_the_run_and_is_left(host: Host, world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1"))
    start = plan(host, world.namespace, steps("image", image("shop:2")), MANUAL)
    run = await asyncio.to_thread(host.detached, start)
    await asyncio.to_thread(host.wait_for, run, hold="manual")

    world.kubectl("set", "image", API, "app=shop:hotfix")
    held = await asyncio.to_thread(host.wait_for, run, hold="changed_elsewhere")
    await asyncio.to_thread(host.ok, "rollback", run, "--reason", "enough")
    asked = await asyncio.to_thread(host.wait_for, run, phase="rolling_back", hold="manual")
    await asyncio.to_thread(host.ok, "reject", run, "--reason", "the fix stays")

    assert "kubectl-set" in json.dumps(held) + told(host, run)
    assert asked["waiting"]
    assert await asyncio.to_thread(end_of, host, run) == "rolled_back"
    assert world.image(API) == "shop:hotfix"
