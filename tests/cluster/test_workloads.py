"""What runs do to workloads, on a real API server with its controllers: replicas, images, restarts and versions."""

import asyncio
import json
import re
from itertools import pairwise

import pytest

from orchestrator.adapters.kubernetes.errors import Absent
from orchestrator.core.effect import EffectState, Outcome
from orchestrator.errors import Permanent
from stages.cluster import RestartWorkload, ScaleWorkload, SetImage, SetVersion, VersionArm
from tests.support.api_proxy import ApiProxy, Exchange, after, hang, on, refuse
from tests.support.cluster import Cluster
from tests.support.process import wait_until
from tests.support.workloads import RUN, WorkloadWorld, workload

API = "deployment/api"
CANARY = "deployment/api-canary"
UNDO = "undo:workload"


def scale(replicas: int, timeout_seconds: float = 60.0, title: str = API) -> ScaleWorkload:
    return ScaleWorkload(workload=title, replicas=replicas, timeout_seconds=timeout_seconds)


def image(to: str, timeout_seconds: float = 60.0, title: str = API) -> SetImage:
    return SetImage(workload=title, container="app", image=to, timeout_seconds=timeout_seconds)


def at(image: str) -> dict[str, str]:
    """As an image is observed."""
    return {"container": "app", "image": image}


def assert_done(outcome: Outcome) -> None:
    assert outcome.state is EffectState.DONE, outcome.detail


# --- scaling ----------------------------------------------------------------------------------------------------------


async def test_scaling_up_is_done_once_every_pod_is_ready(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1", replicas=2))

    outcome = await world.perform(scale(5), {"replicas": 2})

    assert_done(outcome)
    assert outcome.observed == {"replicas": 5}
    assert world.get(API)["status"]["availableReplicas"] == 5
    assert (await world.observe_replicas(API)).value == {"replicas": 5}


async def test_scaling_that_is_awaited_by_nobody_is_done_once_it_is_written(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1", replicas=2))
    world.kubectl("set", "image", API, "app=shop:broken")

    outcome = await world.perform(scale(5).model_copy(update={"is_awaited": False}), {"replicas": 2})

    assert_done(outcome)
    assert outcome.observed == {"replicas": 5}
    assert world.replicas(API) == 5


async def test_scaling_down_is_done_once_the_pods_are_gone(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1", replicas=5))

    assert_done(await world.perform(scale(1), {"replicas": 5}))

    assert len(world.pods(API)) == 1


async def test_a_pod_that_does_not_end_is_named(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1", replicas=1))
    (pod,) = (one["metadata"]["name"] for one in world.pods(API))
    world.kubectl("patch", "pod", pod, "--type=merge", "--patch", '{"metadata": {"finalizers": ["test/held"]}}')
    try:
        outcome = await world.perform(scale(0, timeout_seconds=10), {"replicas": 1})
    finally:
        world.kubectl("patch", "pod", pod, "--type=merge", "--patch", '{"metadata": {"finalizers": null}}')

    assert outcome.state is EffectState.REFUSED
    assert outcome.detail == f"{API} still has pods that end: {pod}"
    assert outcome.observed == {"replicas": 0}


@pytest.mark.parametrize(("kind", "title"), (("StatefulSet", "statefulset/api"), ("Deployment", "deployment/api")))
async def test_whatever_has_replicas_is_scaled_up_and_down(world: WorkloadWorld, kind: str, title: str) -> None:
    world.deploy(workload("api", "shop:1", replicas=2, kind=kind))

    assert_done(await world.perform(scale(3, title=title), {"replicas": 2}, effect="up"))
    assert_done(await world.perform(scale(0, title=title), {"replicas": 3}, effect="down"))

    assert world.pods(title) == []


async def test_what_is_as_wanted_is_done_without_a_write(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1", replicas=3))

    assert_done(await world.perform(scale(3), {"replicas": 1}))

    assert world.writes("api") == 0


async def test_a_change_carries_its_effect_run_and_epoch(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1"))

    await world.perform(scale(3), {"replicas": 2}, effect="effect-7", epoch=4)

    marks = world.annotations(API)
    assert marks.pop("since")
    assert marks == {"effect": "effect-7", "run": RUN, "epoch": "4"}


async def test_nothing_but_what_is_named_is_changed(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1", minReadySeconds=0, revisionHistoryLimit=4, pod={"hostNetwork": False}))
    before = world.get(API)

    await world.perform(scale(3), {"replicas": 2})

    now = world.get(API)
    assert now["spec"] == {**before["spec"], "replicas": 3}


# --- somebody else ----------------------------------------------------------------------------------------------------


async def test_replicas_that_somebody_else_changed_are_left_and_he_is_named(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1", replicas=2))
    world.kubectl("scale", API, "--replicas=4")

    outcome = await world.perform(scale(3), {"replicas": 2})

    assert outcome.state is EffectState.REFUSED
    assert (outcome.observed, outcome.changed_by) == ({"replicas": 4}, "kubectl")
    assert outcome.detail == f"{API} was changed by kubectl meanwhile (replicas: 4); it is left as it is"
    assert world.replicas(API) == 4
    assert world.writes("api") == 0


async def test_an_image_that_somebody_else_changed_is_left_on_the_way_back_too(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1"))
    await world.perform(image("shop:2"), at("shop:1"))
    world.kubectl("set", "image", API, "app=shop:hotfix")

    outcome = await world.perform(image("shop:1"), at("shop:2"), effect="back", node=UNDO)

    assert outcome.state is EffectState.REFUSED
    assert (outcome.observed, outcome.changed_by) == (at("shop:hotfix"), "kubectl-set")
    assert world.image(API) == "shop:hotfix"


async def test_a_change_by_somebody_else_is_seen_while_the_rollout_is_waited_for(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1"))
    trying = asyncio.create_task(world.perform(image("broken:2"), at("shop:1")))
    await world.until(lambda: world.image(API) == "broken:2", "the new image")
    world.kubectl("set", "image", API, "app=shop:hotfix")

    outcome = await trying

    assert (outcome.state, outcome.changed_by) == (EffectState.REFUSED, "kubectl-set")


async def test_who_brought_a_workload_where_it_is_is_observed(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1", replicas=2))
    world.kubectl("scale", API, "--replicas=3")
    assert (await world.observe_replicas(API)).changed_by == "kubectl"

    await world.perform(scale(4), {"replicas": 3})

    assert (await world.observe_replicas(API)).changed_by is None


async def test_what_is_written_between_look_and_write_is_seen(world_behind: WorkloadWorld, proxy: ApiProxy) -> None:
    world = world_behind
    world.deploy(workload("api", "shop:1", replicas=2))

    async def meanwhile() -> None:
        world.kubectl("annotate", API, "note=seen")

    proxy.disturb(on("PATCH"), after(meanwhile))
    assert_done(await world.perform(scale(3), {"replicas": 2}))

    assert proxy.heard(on("PATCH")) >= 2  # its controllers may write in between as well
    assert world.writes("api") == 1
    assert world.get(API)["metadata"]["annotations"]["note"] == "seen"


async def test_who_keeps_writing_does_not_keep_an_effect_for_ever(world_behind: WorkloadWorld, proxy: ApiProxy) -> None:
    world = world_behind
    world.deploy(workload("api", "shop:1", replicas=2))
    notes = iter(range(100))

    async def meanwhile() -> None:
        world.kubectl("annotate", "--overwrite", API, f"note={next(notes)}")

    proxy.disturb(on("PATCH"), after(meanwhile), times=100)
    outcome = await world.perform(scale(3), {"replicas": 2})

    assert (outcome.state, outcome.detail) == (EffectState.TEMPORARY, f"others keep writing {API}")


# --- images and restarts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ("Deployment", "StatefulSet", "DaemonSet"))
async def test_an_image_is_done_once_no_pod_has_the_old_one(world: WorkloadWorld, kind: str) -> None:
    title = f"{kind.lower()}/api"
    world.deploy(workload("api", "shop:1", replicas=None if kind == "DaemonSet" else 2, kind=kind))

    outcome = await world.perform(image("shop:2", title=title), at("shop:1"))

    assert_done(outcome)
    assert outcome.observed == at("shop:2")
    left = [pod for pod in world.pods(title) if "deletionTimestamp" not in pod["metadata"]]
    assert {one["image"] for pod in left for one in pod["spec"]["containers"]} == {"shop:2"}


async def test_of_several_containers_only_the_named_one_changes(world: WorkloadWorld) -> None:
    both = [{"name": "app", "image": "shop:1"}, {"name": "proxy", "image": "envoy:1"}]
    first = [{"name": "migrate", "image": "tool:1"}]
    world.deploy(workload("api", "shop:1", pod={"containers": both, "initContainers": first}))

    assert_done(await world.perform(image("shop:2"), at("shop:1"), effect="1"))
    tool = SetImage(workload=API, container="migrate", image="tool:2")
    assert_done(await world.perform(tool, {"container": "migrate", "image": "tool:1"}, effect="2"))

    pod = world.get(API)["spec"]["template"]["spec"]
    assert [one["image"] for one in pod["containers"]] == ["shop:2", "envoy:1"]
    assert [one["image"] for one in pod["initContainers"]] == ["tool:2"]


async def test_without_a_name_the_container_must_be_the_only_one(world: WorkloadWorld) -> None:
    both = [{"name": "app", "image": "shop:1"}, {"name": "proxy", "image": "envoy:1"}]
    world.deploy(workload("api", "shop:1"), workload("two", "shop:1", pod={"containers": both}))

    assert (await world.observe_image(API)).value == at("shop:1")
    with pytest.raises(Permanent, match="several containers; say which one with container: app, proxy"):
        await world.observe_image("deployment/two")
    with pytest.raises(Permanent, match="has no container web; it has app, proxy"):
        await world.observe_image("deployment/two", "web")


async def test_a_restart_replaces_every_pod_once_for_its_effect(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1"))
    old = {pod["metadata"]["name"] for pod in world.pods(API)}
    restart = RestartWorkload(workload=API)

    assert_done(await world.perform(restart, effect="restart-1"))
    new = {pod["metadata"]["name"] for pod in world.pods(API) if "deletionTimestamp" not in pod["metadata"]}
    assert not old & new
    assert_done(await world.perform(restart, effect="restart-1"))
    assert world.writes("api") == 1
    assert_done(await world.perform(restart, effect="restart-2"))
    assert world.revision(API) == 3


async def test_what_would_replace_no_pod_is_refused_before_anything_is_written(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1"), workload("db", "shop:1", kind="StatefulSet"))
    world.kubectl("rollout", "pause", API)
    by_hand = '{"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}}'
    world.kubectl("patch", "statefulset/db", "--type=merge", "--patch", by_hand)

    paused = await world.perform(image("shop:2"), at("shop:1"))
    unreplaced = await world.perform(RestartWorkload(workload="statefulset/db"))

    assert paused.state is EffectState.REFUSED
    assert "is paused" in paused.detail
    assert unreplaced.state is EffectState.REFUSED
    assert "OnDelete" in unreplaced.detail
    assert (paused.observed, unreplaced.observed) == (None, None)
    assert world.writes("api") == world.writes("db") == 0


# --- what does not become ready ---------------------------------------------------------------------------------------


async def test_an_image_that_cannot_be_pulled_is_reported_early_and_refused_when_its_time_is_over(
    world: WorkloadWorld,
) -> None:
    world.deploy(workload("api", "shop:1", replicas=1))

    early = await world.perform(image("broken:2", timeout_seconds=12), at("shop:1"))
    late = await world.carry_out(image("broken:2", timeout_seconds=12), at("shop:1"))

    assert early.state is EffectState.TEMPORARY
    assert re.fullmatch(rf"1 of 2 pods of {API} is not ready: api-\S+: ImagePullBackOff \(broken:2\)", early.detail), (
        early.detail
    )
    assert (late.state, late.detail) == (EffectState.REFUSED, early.detail)
    assert (late.observed, late.changed_by) == (at("broken:2"), None)
    assert world.writes("api") == 1


async def test_a_crash_does_not_give_an_effect_its_time_anew(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1", replicas=1))
    await _cut_short(world, image("broken:2"), at("shop:1"))
    ago = '{"metadata": {"annotations": {"stagedrollout.io/since": "2026-01-01T00:00:00+00:00"}}}'
    world.kubectl("patch", API, "--type=merge", "--patch", ago)
    world.performer._pace = world.pace.__class__(stuck_seconds=1000.0, look_seconds=0.5, least_wait_seconds=2.0)

    outcome = await world.perform(image("broken:2", timeout_seconds=1000), at("shop:1"), resumed=True, epoch=2)

    assert outcome.state is EffectState.REFUSED
    assert "ImagePullBackOff" in outcome.detail


async def _cut_short(world: WorkloadWorld, operation: SetImage, before: dict[str, str]) -> None:
    """As by a kill, once the image is written."""
    trying = asyncio.create_task(world.perform(operation, before))
    await world.until(lambda: world.image(API) == operation.image, "the new image")
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)


async def test_containers_that_crash_are_reported_with_how_they_ended(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1", replicas=1))

    outcome = await world.perform(image("crashing:2"), at("shop:1"))

    assert outcome.state is EffectState.TEMPORARY
    assert "CrashLoopBackOff (app: Error, exit code 1)" in outcome.detail


async def test_a_rollout_over_its_progress_deadline_is_refused(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1", replicas=1, progressDeadlineSeconds=8))
    world.performer._pace = world.pace.__class__(stuck_seconds=1000.0)

    outcome = await world.perform(image("broken:2"), at("shop:1"))

    assert outcome.state is EffectState.REFUSED
    assert "exceeded its progress deadline" in outcome.detail
    assert "ImagePullBackOff" in outcome.detail
    assert_done(await world.perform(image("shop:3"), at("broken:2"), effect="again"))  # that deadline is past


async def test_a_quota_that_allows_no_more_pods_is_named(world: WorkloadWorld) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"pods": "2"}},
    }
    world.deploy(workload("api", "shop:1", replicas=2))
    world.apply(quota)

    outcome = await world.perform(scale(4), {"replicas": 2})

    assert outcome.state is EffectState.TEMPORARY
    assert f"pods of {API} can't be made: " in outcome.detail
    assert "exceeded quota: few" in outcome.detail


async def test_pods_without_a_node_are_named_when_the_time_is_over(world: WorkloadWorld) -> None:
    apart = {"labelSelector": {"matchLabels": {"app": "api"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
    world.deploy(workload("api", "shop:1", replicas=1, pod={"affinity": affinity}))

    outcome = await world.perform(scale(2, timeout_seconds=8), {"replicas": 1})

    assert outcome.state is EffectState.REFUSED
    assert re.search(r"1 of 2 pods of deployment/api is not ready: api-\S+: Unschedulable \(0/1 nodes", outcome.detail)


async def test_pods_of_another_workload_with_the_same_labels_do_not_count(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1", replicas=1))
    canary = workload("api-canary", "broken:1", replicas=1)
    labels = {"app": "api", "track": "canary"}
    canary["spec"]["selector"]["matchLabels"] = canary["spec"]["template"]["metadata"]["labels"] = labels
    world.apply(canary)

    outcome = await world.perform(image("broken:2"), at("shop:1"))

    assert f"1 of 2 pods of {API} is not ready" in outcome.detail


# --- the way back -----------------------------------------------------------------------------------------------------


async def test_on_the_way_back_an_image_is_done_even_if_its_pods_cannot_become_well(world: WorkloadWorld) -> None:
    both = [{"name": "app", "image": "shop:2"}, {"name": "side", "image": "broken:1"}]
    world.apply(workload("api", "shop:2", pod={"containers": both}))

    outcome = await world.perform(image("shop:1"), at("shop:2"), node=UNDO)

    assert_done(outcome)
    assert outcome.observed == at("shop:1")
    assert "ImagePullBackOff" in outcome.detail


async def test_on_the_way_back_a_paused_workload_gets_its_image_all_the_same(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:2"))
    world.kubectl("rollout", "pause", API)

    outcome = await world.perform(image("shop:1"), at("shop:2"), node=UNDO)

    assert_done(outcome)
    assert world.image(API) == "shop:1"
    assert "is paused" in outcome.detail


async def test_on_the_way_back_replicas_that_grow_are_done_once_their_pods_are_ready(world: WorkloadWorld) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"pods": "1"}},
    }
    world.deploy(workload("api", "shop:1", replicas=1))
    world.apply(quota)

    first = await world.perform(scale(3), {"replicas": 1}, node=UNDO)
    world.kubectl("delete", "resourcequota", "few")
    second = await world.carry_out(scale(3), {"replicas": 1}, node=UNDO)

    assert first.state is EffectState.TEMPORARY
    assert "exceeded quota" in first.detail
    assert_done(second)
    assert world.get(API)["status"]["readyReplicas"] == 3


async def test_on_the_way_back_what_shrinks_is_done_even_if_the_rest_is_not_well(world: WorkloadWorld) -> None:
    world.apply(workload("api", "broken:1", replicas=4))

    outcome = await world.perform(scale(2), {"replicas": 4}, node=UNDO)

    assert_done(outcome)
    assert outcome.observed == {"replicas": 2}
    assert "ImagePullBackOff" in outcome.detail


async def test_an_effect_that_was_cut_short_is_taken_back_as_ours(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1"))
    await _cut_short(world, image("shop:2"), at("shop:1"))

    outcome = await world.perform(image("shop:1"), at("shop:1"), effect="back", node=UNDO)

    assert_done(outcome)
    assert world.image(API) == "shop:1"


async def test_a_write_that_arrives_after_the_way_back_is_refused(world_behind: WorkloadWorld, proxy: ApiProxy) -> None:
    world = world_behind
    world.deploy(workload("api", "shop:1"))
    released = asyncio.Event()
    proxy.disturb(on("PATCH"), after(released.wait))
    trying = asyncio.create_task(world.perform(image("shop:2"), at("shop:1")))
    await proxy.until(on("PATCH"))
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)

    assert_done(await world.perform(image("shop:1"), at("shop:1"), effect="back", node=UNDO))
    released.set()
    late = asyncio.create_task(world.perform(scale(3), {"replicas": 2}, effect="next"))  # well after it arrived
    assert_done(await late)

    assert world.image(API) == "shop:1"


async def test_a_cancelled_effect_ends_although_the_cluster_does_not_answer(
    world_behind: WorkloadWorld, proxy: ApiProxy
) -> None:
    world = world_behind
    world.deploy(workload("api", "shop:1"))
    proxy.disturb(on("PATCH"), hang)
    trying = asyncio.create_task(world.perform(image("shop:2"), at("shop:1")))
    await proxy.until(on("PATCH"))

    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(trying, timeout=5)


# --- who may act ------------------------------------------------------------------------------------------------------


async def test_a_controller_that_lost_the_run_cannot_write_what_it_had_prepared(
    world: WorkloadWorld, world_behind: WorkloadWorld, proxy: ApiProxy
) -> None:
    world.deploy(workload("api", "shop:1"))
    taken_over = asyncio.Event()
    proxy.disturb(on("PATCH"), after(taken_over.wait))
    old = asyncio.create_task(world_behind.perform(image("shop:2"), at("shop:1"), epoch=1))
    await proxy.until(on("PATCH"))

    assert_done(await world.perform(image("shop:2"), at("shop:1"), resumed=True, epoch=2))
    taken_over.set()
    outcome = await old

    assert outcome.state is EffectState.TEMPORARY
    assert "another controller has taken shop-1a2b over (epoch 2, and this one has 1)" in outcome.detail
    assert world.writes("api") == 1
    assert world.annotations(API)["epoch"] == "2"


async def test_taking_over_marks_what_is_done_already(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1"))
    await world.perform(image("shop:2"), at("shop:1"), epoch=1)
    since = world.annotations(API)["since"]

    assert_done(await world.perform(image("shop:2"), at("shop:1"), resumed=True, epoch=2))

    assert world.annotations(API)["epoch"] == "2"
    assert world.annotations(API)["since"] == since
    assert world.revision(API) == 2


async def test_a_missing_permission_is_named_with_the_rule_that_grants_it(
    control_plane: Cluster, world: WorkloadWorld
) -> None:
    world.deploy(workload("api", "shop:1"))
    bobs = WorkloadWorld(control_plane, world.namespace, control_plane.kubeconfig_of("bob"))
    rules: list[dict[str, list[str]]] = []
    outcome = await bobs.perform(scale(3), {"replicas": 2})
    for _ in range(10):
        if outcome.state is EffectState.DONE:
            break
        rules.append(_rule_in(outcome.detail))
        _grant(world, rules)
        await asyncio.sleep(1)  # until the API server's authorizer knows it
        outcome = await bobs.perform(scale(3), {"replicas": 2})
    await bobs.clusters.close()

    assert_done(outcome)
    assert rules[:2] == [
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["patch"]},
    ]
    assert world.replicas(API) == 3


def _rule_in(detail: str) -> dict[str, list[str]]:
    found = re.search(r"does not let bob .* with the rule (\{.*\})$", detail)
    assert found is not None, detail
    return dict(json.loads(re.sub(r"(\w+):", r'"\1":', found[1])))


def _grant(world: WorkloadWorld, rules: list[dict[str, list[str]]]) -> None:
    rbac = "rbac.authorization.k8s.io"
    world.apply(
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": {"name": "bob"}, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "bob"},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "bob"},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": "bob"}],
        },
    )


# --- what is not there ------------------------------------------------------------------------------------------------


async def test_a_missing_workload_is_named_with_what_there_is(world: WorkloadWorld) -> None:
    world.apply(workload("workers", "shop:1", replicas=0), workload("web", "shop:1", replicas=0))

    with pytest.raises(Absent) as raised:
        await world.observe_replicas("deployment/worker")

    assert str(raised.value) == (
        f"there is no deployment/worker in namespace {world.namespace} of Kubernetes (test); "
        "it has deployment/workers, ..."
    )
    with pytest.raises(Absent, match="it has no statefulset at all"):
        await world.observe_replicas("statefulset/worker")


async def test_a_missing_namespace_is_named(control_plane: Cluster) -> None:
    world = WorkloadWorld(control_plane, "nowhere", control_plane.kubeconfig)
    with pytest.raises(Absent, match=r"there is no namespace nowhere in Kubernetes \(test\)"):
        await world.observe_replicas(API)
    await world.clusters.close()


async def test_a_namespace_that_is_being_deleted_is_named(world: WorkloadWorld) -> None:
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["test/held"]}}
    world.apply(held)
    world.cluster.kubectl("delete", "namespace", world.namespace, "--wait=false")
    try:
        with pytest.raises(Absent, match=r"any more: namespace .* is being deleted"):
            await world.observe_replicas(API)
    finally:
        world.kubectl("patch", "configmap/held", "--type=merge", "--patch", '{"metadata": {"finalizers": null}}')


async def test_a_workload_that_vanishes_while_it_is_waited_for_ends_the_wait(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "shop:1"))
    trying = asyncio.create_task(world.perform(image("broken:2"), at("shop:1")))
    await world.until(lambda: world.image(API) == "broken:2", "the new image")
    world.kubectl("delete", API)

    outcome = await trying

    assert outcome.state is EffectState.REFUSED
    assert f"there is no {API} in namespace" in outcome.detail


# --- versions ---------------------------------------------------------------------------------------------------------


def version(stable: tuple[int, str], canary: tuple[int, str], timeout_seconds: float = 60.0) -> SetVersion:
    return SetVersion(
        workload=API,
        canary_workload=CANARY,
        stable=VersionArm(replicas=stable[0], image=stable[1]),
        canary=VersionArm(replicas=canary[0], image=canary[1]),
        timeout_seconds=timeout_seconds,
    )


def stood(stable: tuple[int, str], canary: tuple[int, str]) -> dict[str, dict[str, object]]:
    """As a version is observed."""
    arms = {"stable": stable, "canary": canary}
    return {name: {"replicas": replicas, "image": image} for name, (replicas, image) in arms.items()}


def both(stable: tuple[int, str], canary: tuple[int, str]) -> tuple[dict[str, object], dict[str, object]]:
    return (
        workload("api", stable[1], replicas=stable[0]),
        workload("api-canary", canary[1], replicas=canary[0]),
    )


async def test_a_version_moves_from_step_to_step_and_back(world: WorkloadWorld) -> None:
    steps = [
        ((4, "shop:1"), (0, "shop:0")),
        ((3, "shop:1"), (1, "shop:2")),
        ((2, "shop:1"), (2, "shop:2")),
        ((4, "shop:2"), (0, "shop:2")),
    ]
    world.deploy(*both(*steps[0]))

    for index, (before, wanted) in enumerate(pairwise(steps)):
        outcome = await world.perform(version(*wanted), stood(*before), effect=f"step-{index}")
        assert_done(outcome)
        assert outcome.observed == stood(*wanted)
        assert (await world.observe_version(API, CANARY)).value == stood(*wanted)
    outcome = await world.perform(version(*steps[0]), stood(*steps[-1]), effect="back", node=UNDO)

    assert_done(outcome)
    assert outcome.observed == stood(*steps[0])


async def test_the_other_keeps_its_pods_until_what_grows_is_rolled_out(world: WorkloadWorld) -> None:
    before = (4, "shop:1"), (0, "shop:0")
    world.deploy(*both(*before))

    outcome = await world.perform(version((2, "shop:1"), (2, "broken:2")), stood(*before))

    assert outcome.state is EffectState.TEMPORARY
    assert f"2 of 2 pods of {CANARY} are not ready" in outcome.detail
    assert (world.replicas(API), world.replicas(CANARY)) == (4, 2)


async def test_a_version_that_failed_is_refused_as_it_stands_and_taken_back(world: WorkloadWorld) -> None:
    before, wanted = ((4, "shop:1"), (0, "shop:0")), ((2, "shop:1"), (2, "broken:2"))
    world.deploy(*both(*before))

    outcome = await world.carry_out(version(*wanted, timeout_seconds=8), stood(*before))
    stands = stood((4, "shop:1"), (2, "broken:2"))
    assert (outcome.state, outcome.observed, outcome.changed_by) == (EffectState.REFUSED, stands, None)
    back = await world.perform(version(*before), stands, effect="back", node=UNDO)

    assert_done(back)
    assert back.observed == stood(*before)


async def test_an_edit_of_the_other_while_one_does_not_become_ready_is_not_taken_for_our_own(
    world: WorkloadWorld,
) -> None:
    before, wanted = ((4, "shop:1"), (0, "shop:0")), ((2, "shop:1"), (2, "broken:2"))
    world.deploy(*both(*before))
    world.performer._pace = world.pace.__class__(stuck_seconds=1000.0, look_seconds=0.5)
    trying = asyncio.create_task(world.perform(version(*wanted, timeout_seconds=12), stood(*before)))
    await asyncio.to_thread(wait_until, lambda: world.replicas(CANARY) == 2, what="the growing one to be written")
    await asyncio.to_thread(world.kubectl, "set", "image", API, "app=shop:hot-fix")

    outcome = await trying

    assert (outcome.state, outcome.changed_by) == (EffectState.REFUSED, "kubectl-set")
    assert f"{API} was changed by kubectl-set" in outcome.detail
    assert world.image(API) == "shop:hot-fix"


async def test_an_edit_of_the_other_before_its_write_is_refused_is_not_taken_for_our_own(
    world_behind: WorkloadWorld, proxy: ApiProxy
) -> None:
    world = world_behind
    before, wanted = ((4, "shop:1"), (0, "shop:0")), ((2, "shop:1"), (2, "shop:2"))
    world.deploy(*both(*before))

    async def edited_and_forbidden(exchange: Exchange) -> None:
        await asyncio.to_thread(world.kubectl, "set", "image", API, "app=shop:hot-fix")
        await refuse(403, reason="Forbidden")(exchange)

    proxy.disturb(on("PATCH", "deployments/api?"), edited_and_forbidden)
    outcome = await world.perform(version(*wanted), stood(*before))

    assert (outcome.state, outcome.changed_by) == (EffectState.REFUSED, "kubectl-set")
    assert outcome.observed == stood((4, "shop:hot-fix"), (2, "shop:2"))
    assert world.image(API) == "shop:hot-fix"


@pytest.mark.parametrize("moment", ("after the first", "before the second"))
async def test_a_version_goes_on_where_a_crash_left_it(
    world_behind: WorkloadWorld, proxy: ApiProxy, moment: str
) -> None:
    world = world_behind
    before, wanted = ((4, "shop:1"), (0, "shop:0")), ((2, "shop:1"), (2, "shop:2"))
    world.deploy(*both(*before))
    path = "deployments/api?" if moment == "before the second" else "deployments/api-canary?"
    held = on("PATCH", path) if moment == "before the second" else on("WATCH", "api-canary")
    proxy.disturb(held, hang)
    trying = asyncio.create_task(world.perform(version(*wanted), stood(*before), epoch=1))
    await proxy.until(held)
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)

    outcome = await world.perform(version(*wanted), stood(*before), resumed=True, epoch=2)

    assert_done(outcome)
    assert outcome.observed == stood(*wanted)
    assert (world.revision(API), world.revision(CANARY)) == (1, 2)


async def test_on_the_way_back_pods_that_serve_nobody_do_not_stand_in_the_way(world: WorkloadWorld) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"pods": "4"}},
    }
    now, wanted = ((2, "shop:1"), (2, "broken:2")), ((4, "shop:1"), (0, "shop:0"))
    world.apply(quota)
    world.apply(*both(*now))
    world.rolled_out(API)
    await world.until(lambda: len(world.pods(CANARY)) == 2, "the pods of the canary")

    assert_done(await world.perform(version(*wanted), stood(*now), node=UNDO))

    assert world.get(API)["status"]["readyReplicas"] == 4


async def test_on_the_way_back_the_other_half_goes_back_although_the_first_cannot_become_well(
    world: WorkloadWorld,
) -> None:
    now, wanted = ((2, "shop:2"), (1, "shop:2")), ((2, "broken:1"), (0, "shop:0"))
    world.deploy(*both(*now))

    outcome = await world.perform(version(*wanted), stood(*now), node=UNDO)

    assert_done(outcome)
    assert outcome.observed == stood(*wanted)
    assert "ImagePullBackOff" in outcome.detail
    assert (world.replicas(CANARY), world.image(CANARY)) == (0, "shop:0")


async def test_on_the_way_back_what_serves_keeps_its_pods_until_the_other_is_well(world: WorkloadWorld) -> None:
    now, wanted = ((3, "shop:1"), (2, "broken:2")), ((2, "shop:1"), (1, "broken:1"))
    world.apply(*both(*now))
    world.rolled_out(API)
    world.performer._pace = world.pace.__class__(stuck_seconds=1000.0, look_seconds=0.5)

    trying = asyncio.create_task(world.perform(version(*wanted), stood(*now), node=UNDO))
    await world.until(lambda: world.image(CANARY) == "broken:1", "the old image of the canary")
    for _ in range(3):  # looks
        await asyncio.sleep(0.5)
        assert world.replicas(API) == 3
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)


async def test_a_version_of_which_somebody_changed_one_half_is_left_whole(world: WorkloadWorld) -> None:
    before = (4, "shop:1"), (0, "shop:0")
    world.deploy(*both(*before))
    world.kubectl("scale", API, "--replicas=6")

    outcome = await world.perform(version((3, "shop:1"), (1, "shop:2")), stood(*before))

    assert outcome.state is EffectState.REFUSED
    assert (outcome.observed, outcome.changed_by) == (stood((6, "shop:1"), (0, "shop:0")), "kubectl")
    assert world.writes("api") == world.writes("api-canary") == 0
