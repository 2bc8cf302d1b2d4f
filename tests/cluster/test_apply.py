"""Manifests applied and taken back, on a real API server with its controllers."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.core.effect import EffectState, Outcome
from orchestrator.ports import Scene
from stages.cluster import ApplyManifest, ObserveManifest, ScaleWorkload
from stages.values import Json
from tests.support.api_proxy import ApiProxy, after, lose_the_answer
from tests.support.process import wait_until
from tests.support.workloads import RUN, WorkloadWorld, workload

FILE = "k8s/limits.yaml"
UNDO = "undo:objects"
LIMITS = "configmap/limits"


def manifest(*objects: Mapping[str, Any]) -> str:
    return "\n---\n".join(json.dumps(one) for one in objects)


def config(name: str = "limits", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def service(**ports: int) -> dict[str, Any]:
    listed = [{"name": name, "port": port} for name, port in ports.items()]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "api"},
        "spec": {"selector": {"app": "api"}, "ports": listed},
    }


def with_containers(*containers: Mapping[str, Any], replicas: int | None = 1) -> dict[str, Any]:
    return workload("api", "", replicas=replicas, pod={"containers": list(containers)})


async def seen(world: WorkloadWorld, text: str) -> Json:
    observation = ObserveManifest(kubernetes=world.place, manifest=FILE, text=text)
    return (await world.performer.observe(observation, Scene(run=RUN, environment="production"))).value


async def apply(world: WorkloadWorld, text: str, before: Json = None, **more: Any) -> Outcome:
    """As a run does: what is there is looked at first, unless *before* says what was seen."""
    before = before if before is not None else await seen(world, text)
    return await world.carry_out(ApplyManifest(manifest=FILE, text=text, timeout_seconds=60), before, **more)


async def take_back(world: WorkloadWorld, text: str, before: Json, left: Json, **more: Any) -> Outcome:
    operation = ApplyManifest(manifest=FILE, text=text, restore=before, timeout_seconds=60)
    return await world.carry_out(operation, left, **{"effect": "effect-9", "node": UNDO, **more})


async def there_and_back(world: WorkloadWorld, *objects: Mapping[str, Any]) -> tuple[Json, Outcome]:
    """What was seen before, and how the way back ended."""
    text = manifest(*objects)
    before = await seen(world, text)
    done = assert_done(await apply(world, text, before))
    return before, await take_back(world, text, before, done.observed)


def assert_done(outcome: Outcome) -> Outcome:
    assert outcome.state is EffectState.DONE, outcome.detail
    return outcome


def managers(world: WorkloadWorld, title: str) -> list[str]:
    """Who manages fields of it, but for the cluster's own controllers."""
    shown = json.loads(world.kubectl("get", title, "--show-managed-fields", "--output", "json"))
    found = {entry["manager"] for entry in shown["metadata"]["managedFields"] if entry.get("subresource") != "status"}
    return sorted(found - {"kube-controller-manager"})


def is_there(world: WorkloadWorld, title: str) -> bool:
    return world.kubectl("get", title, "--ignore-not-found", "--output", "name") != ""


def edit(world: WorkloadWorld, title: str, patch: Mapping[str, Any]) -> None:
    """As a person does, under the name kubectl-edit."""
    arguments = ("--type=merge", "--field-manager=kubectl-edit", "--patch", json.dumps(patch))
    world.kubectl("patch", *title.split("/"), *arguments)


def sent(world: WorkloadWorld, verb: str) -> int:
    """How often the performer changed something in the namespace, as the audit log has it; what it only tried is left
    out."""
    lines = [json.loads(line) for line in world.cluster.audit_log.read_text().splitlines()]
    return sum(
        one["verb"] == verb
        and one.get("objectRef", {}).get("namespace") == world.namespace
        and one.get("userAgent", "").startswith("staged-rollout")
        and "dryRun" not in one["requestURI"]
        for one in lines
    )


# --- forward ----------------------------------------------------------------------------------------------------------


async def test_what_is_not_there_is_made_and_carries_its_effect_run_and_epoch(world: WorkloadWorld) -> None:
    outcome = assert_done(await apply(world, manifest(config(most="5")), effect="effect-7", epoch=4))

    assert outcome.detail == f"{FILE} is applied: {LIMITS}"
    assert world.get(LIMITS)["data"] == {"most": "5"}
    marks = world.annotations(LIMITS)
    assert marks.pop("since")
    assert marks == {"effect": "effect-7", "run": RUN, "epoch": "4"}


async def test_it_is_done_once_the_workloads_in_it_are_rolled_out(world: WorkloadWorld) -> None:
    assert_done(await apply(world, manifest(config(most="5"), workload("api", "shop:1", replicas=3))))

    assert world.get("deployment/api")["status"]["availableReplicas"] == 3


async def test_a_workload_that_does_not_become_ready_is_refused_with_its_pods_and_as_it_stands(
    world: WorkloadWorld,
) -> None:
    text = manifest(config(most="5"), workload("api", "shop:broken", replicas=1))
    operation = ApplyManifest(manifest=FILE, text=text, timeout_seconds=8)

    outcome = await world.carry_out(operation, await seen(world, text))

    assert outcome.state is EffectState.REFUSED
    assert "1 of 1 pods of deployment/api is not ready" in outcome.detail
    assert "ImagePullBackOff (shop:broken)" in outcome.detail
    assert outcome.observed == await seen(world, text)


async def test_what_is_there_is_changed_where_the_manifest_says_and_nowhere_else(world: WorkloadWorld) -> None:
    world.apply(config(a="1", kept="yes"))

    outcome = assert_done(await apply(world, manifest(config(a="1", b="2"))))

    assert world.get(LIMITS)["data"] == {"a": "1", "b": "2", "kept": "yes"}
    assert outcome.observed == {
        "objects": [{"name": LIMITS, "exists": True, "applied": True, "fields": {"data": {"a": "1", "b": "2"}}}]
    }


async def test_a_field_that_somebody_else_manages_is_left_and_he_is_named_before_anything_is_changed(
    world: WorkloadWorld,
) -> None:
    world.apply(config(a="1"))

    outcome = await apply(world, manifest(config("others", x="1"), config(a="2")))

    assert outcome.state is EffectState.REFUSED
    assert outcome.detail == (
        f"{LIMITS} in {world.namespace}: data.a belongs to kubectl-client-side-apply, with another value; "
        f"take that out of {FILE}, or out of what kubectl-client-side-apply applies"
    )
    assert (outcome.changed_by, outcome.observed) == ("kubectl-client-side-apply", None)
    assert not is_there(world, "configmap/others")
    assert world.annotations(LIMITS) == {}


async def test_what_the_plan_itself_has_written_before_is_overwritten(world: WorkloadWorld) -> None:
    text = manifest(workload("api", "shop:1", replicas=1))
    assert_done(await apply(world, text, effect="effect-1"))
    assert_done(
        await world.carry_out(ScaleWorkload(workload="deployment/api", replicas=3), {"replicas": 1}, effect="e2")
    )

    assert_done(await apply(world, text, effect="effect-3"))

    assert world.replicas("deployment/api") == 1


async def test_what_the_cluster_does_not_take_is_refused_before_anything_is_changed(world: WorkloadWorld) -> None:
    broken = workload("api", "shop:1", replicas=1, progressDeadlineSecond=5)

    outcome = await apply(world, manifest(config(most="5"), broken))

    assert outcome.state is EffectState.REFUSED
    assert outcome.detail.startswith(f"deployment/api of {FILE}: ")
    assert ".spec.progressDeadlineSecond: field not declared in schema" in outcome.detail
    assert outcome.observed is None
    assert not is_there(world, LIMITS)


async def test_a_kind_that_the_cluster_lacks_is_refused_with_its_name(world: WorkloadWorld) -> None:
    other = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}}
    text = manifest(other)

    outcome = await world.perform(ApplyManifest(manifest=FILE, text=text), {"objects": []})

    assert outcome.state is EffectState.REFUSED
    assert "has no kind Widget of example.org/v1" in outcome.detail


async def test_objects_that_stand_in_a_namespace_of_the_same_manifest_are_made_after_it(
    world: WorkloadWorld,
) -> None:
    name = f"{world.namespace}-more"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    inside = config(most="5")
    inside["metadata"]["namespace"] = name

    before, back = await there_and_back(world, namespace, inside)
    try:
        assert [one["exists"] for one in before["objects"]] == [False, False]
        assert_done(back)
        assert back.detail.endswith(f"namespace/{name} stays: others may have put something into it")
        assert "limits" not in world.cluster.kubectl("get", "configmaps", "--namespace", name)
    finally:
        world.cluster.kubectl("delete", "namespace", name, "--wait=false")


async def test_an_object_of_the_whole_cluster_is_applied_and_taken_back(world: WorkloadWorld) -> None:
    name = f"{world.namespace}-first"
    first = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": 5,
    }
    _, back = await there_and_back(world, first)
    assert_done(back)
    assert world.cluster.kubectl("get", "priorityclass", name, "--ignore-not-found") == ""


# --- again, and after a crash -----------------------------------------------------------------------------------------


async def test_to_perform_it_again_changes_nothing(world: WorkloadWorld) -> None:
    text = manifest(config(most="5"), service(http=80))
    before = await seen(world, text)
    assert_done(await apply(world, text, before))
    written = sent(world, "patch")

    again = assert_done(await apply(world, text, before, resumed=True))

    assert sent(world, "patch") == written
    assert again.observed == await seen(world, text)


async def test_after_a_crash_in_between_it_goes_on_with_what_is_missing(world: WorkloadWorld) -> None:
    text = manifest(config("first", a="1"), config("second", a="1"))
    before = await seen(world, text)
    assert_done(await apply(world, manifest(config("first", a="1"))))
    assert is_there(world, "configmap/first")

    outcome = assert_done(await apply(world, text, before, resumed=True, epoch=2))

    assert world.get("configmap/second")["data"] == {"a": "1"}
    assert world.annotations("configmap/first")["epoch"] == "2"
    assert_done(await take_back(world, text, before, outcome.observed, epoch=2))
    assert not is_there(world, "configmap/first")
    assert not is_there(world, "configmap/second")


async def test_a_controller_that_was_replaced_changes_nothing(world: WorkloadWorld) -> None:
    text = manifest(config(most="5"))
    before = await seen(world, text)
    assert_done(await apply(world, text, before, epoch=2))

    outcome = await world.perform(ApplyManifest(manifest=FILE, text=manifest(config(most="6"))), before, epoch=1)

    assert outcome.state is EffectState.TEMPORARY
    assert f"another controller has taken {RUN} over" in outcome.detail
    assert world.get(LIMITS)["data"] == {"most": "5"}


async def test_an_object_that_is_still_being_deleted_is_waited_for(world: WorkloadWorld) -> None:
    held = config(most="5")
    held["metadata"]["finalizers"] = ["test.example/held"]
    world.apply(held)
    world.kubectl("delete", LIMITS, "--wait=false")
    text = manifest(config(most="5"))
    try:
        outcome = await world.perform(ApplyManifest(manifest=FILE, text=text), await seen(world, text))
    finally:
        world.kubectl("patch", LIMITS, "--type=merge", "--patch", '{"metadata": {"finalizers": null}}')
    assert outcome.state is EffectState.TEMPORARY
    assert outcome.detail == f"{LIMITS} in {world.namespace} is still being deleted"


async def test_an_apply_whose_answer_is_lost_is_found_done(world_behind: WorkloadWorld, proxy: ApiProxy) -> None:
    world = world_behind
    text = manifest(config("first", a="1"), config("second", a="1"))
    before = await seen(world, text)
    proxy.disturb(lambda asked: asked.method == "PATCH" and "dryRun" not in asked.target, lose_the_answer)

    outcome = await world.perform(ApplyManifest(manifest=FILE, text=text), before)
    again = await apply(world, text, before)

    assert outcome.state is EffectState.TEMPORARY
    assert_done(again)
    assert world.get("configmap/second")["data"] == {"a": "1"}


@pytest.mark.parametrize("made_before", (True, False))
async def test_an_apply_that_arrives_after_the_way_back_is_refused(
    world_behind: WorkloadWorld, proxy: ApiProxy, made_before: bool
) -> None:
    world = world_behind
    world.apply(config(a="1"))
    if made_before:
        assert_done(await apply(world, manifest(config(b="1")), effect="earlier"))
    text = manifest(config(b="2"))
    before = await seen(world, text)
    released = asyncio.Event()
    proxy.disturb(lambda asked: asked.method == "PATCH" and "dryRun" not in asked.target, after(released.wait))
    trying = asyncio.create_task(world.perform(ApplyManifest(manifest=FILE, text=text), before))
    await proxy.until(lambda asked: asked.method == "PATCH" and "dryRun" not in asked.target)
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    whole = world.get(LIMITS)["data"]

    assert_done(await take_back(world, text, before, before))
    released.set()
    await asyncio.to_thread(wait_until, lambda: refusals(world) > 0, what="the late apply to be refused")

    assert world.get(LIMITS)["data"] == whole
    assert (await seen(world, text)) == before


def refusals(world: WorkloadWorld) -> int:
    """How many of the performer's writes met another resourceVersion."""
    lines = [json.loads(line) for line in world.cluster.audit_log.read_text().splitlines()]
    return sum(
        one["verb"] == "patch"
        and one.get("objectRef", {}).get("namespace") == world.namespace
        and one["responseStatus"]["code"] == 409
        for one in lines
    )


# --- somebody else on the way there -----------------------------------------------------------------------------------


async def test_an_object_that_was_changed_since_the_core_saw_it_is_left_and_who_did_it_is_named(
    world: WorkloadWorld,
) -> None:
    world.apply(config(a="1", other="1"))
    text = manifest(config(b="2", other="1"))
    before = await seen(world, text)
    edit(world, LIMITS, {"data": {"other": "5"}})

    outcome = await apply(world, text, before)

    assert outcome.state is EffectState.REFUSED
    assert outcome.detail == f"{LIMITS} in {world.namespace} was changed by kubectl-edit meanwhile; it is left as it is"
    assert (outcome.changed_by, outcome.observed) == ("kubectl-edit", None)
    assert world.get(LIMITS)["data"] == {"a": "1", "other": "5"}


async def test_an_object_that_was_made_or_deleted_meanwhile_is_left(world: WorkloadWorld) -> None:
    text = manifest(config(b="2"))
    nothing = await seen(world, text)
    world.apply(config(a="1"))
    made = await apply(world, text, nothing)
    there = await seen(world, text)
    world.kubectl("delete", LIMITS)
    deleted = await apply(world, text, there)

    assert "was made by kubectl-client-side-apply meanwhile" in made.detail
    assert "was deleted by somebody else meanwhile" in deleted.detail
    assert not is_there(world, LIMITS)


async def test_an_object_that_stands_as_the_manifest_says_is_taken_whoever_did_it(world: WorkloadWorld) -> None:
    world.apply(config(a="1"))
    text = manifest(config(a="1", b="2"))
    before = await seen(world, text)
    edit(world, LIMITS, {"data": {"b": "2"}})

    assert_done(await apply(world, text, before))


# --- back -------------------------------------------------------------------------------------------------------------


async def test_objects_that_were_not_there_go_with_their_pods(world: WorkloadWorld) -> None:
    before, back = await there_and_back(world, config(most="5"), workload("api", "shop:1"), service(http=80))

    assert_done(back)
    assert back.observed == before
    for title in (LIMITS, "deployment/api", "service/api"):
        assert not is_there(world, title)
    assert world.pods("deployment/api") == []


async def test_a_config_map_gets_back_what_it_had_and_nothing_of_ours_stays(world: WorkloadWorld) -> None:
    world.apply(config(a="1", kept="yes"))
    whole = world.get(LIMITS)

    before, back = await there_and_back(world, config(a="1", b="2"))

    assert_done(back)
    assert back.observed == before
    now = world.get(LIMITS)
    assert (now["data"], now["metadata"]["annotations"]) == (whole["data"], whole["metadata"]["annotations"])
    assert managers(world, LIMITS) == ["kubectl-client-side-apply"]


async def test_an_earlier_runs_fields_come_back_also_those_that_the_manifest_does_not_name(
    world: WorkloadWorld,
) -> None:
    assert_done(await apply(world, manifest(config(a="1", gone="1", same="1")), effect="earlier"))

    before, back = await there_and_back(world, config(a="2", new="2", same="1"))

    assert before["objects"][0]["fields"] == {"data": {"a": "1", "gone": "1", "same": "1"}}
    assert_done(back)
    assert world.get(LIMITS)["data"] == {"a": "1", "gone": "1", "same": "1"}


APP = {"name": "app", "image": "shop:1", "env": [{"name": "MODE", "value": "calm"}]}
SIDECAR = {"name": "sidecar", "image": "proxy:1"}


async def test_a_deployments_containers_come_back_as_a_list(world: WorkloadWorld) -> None:
    world.deploy(with_containers(APP, SIDECAR))
    spec = world.get("deployment/api")["spec"]
    changed = {"name": "app", "image": "shop:1", "env": [{"name": "LEVEL", "value": "debug"}], "tty": True}
    added = {"name": "more", "image": "more:1"}

    _, back = await there_and_back(world, with_containers(changed, added, replicas=None))

    assert_done(back)
    assert world.get("deployment/api")["spec"] == spec
    assert managers(world, "deployment/api") == ["kubectl-client-side-apply"]


async def test_a_deployment_of_an_earlier_run_gets_its_image_and_replicas_back(world: WorkloadWorld) -> None:
    assert_done(await apply(world, manifest(with_containers(APP, SIDECAR, replicas=2)), effect="earlier"))
    spec = world.get("deployment/api")["spec"]
    changed = {"name": "app", "image": "shop:2"}

    before, back = await there_and_back(world, with_containers(changed, replicas=1))

    assert_done(back)
    assert back.observed == before
    assert world.get("deployment/api")["spec"] == spec
    assert world.get("deployment/api")["status"]["availableReplicas"] == 2


async def test_a_services_ports_come_back(world: WorkloadWorld) -> None:
    world.apply(service(http=80))
    spec = world.get("service/api")["spec"]

    _, back = await there_and_back(world, service(http=80, metrics=9090))

    assert_done(back)
    assert world.get("service/api")["spec"] == spec


async def test_a_service_of_an_earlier_run_gets_its_port_back(world: WorkloadWorld) -> None:
    assert_done(await apply(world, manifest(service(http=80)), effect="earlier"))
    spec = world.get("service/api")["spec"]

    _, back = await there_and_back(world, service(http=8080))

    assert_done(back)
    assert world.get("service/api")["spec"] == spec


async def test_after_the_way_back_who_applied_it_before_meets_no_conflict_with_us(world: WorkloadWorld) -> None:
    world.cluster.kubectl(
        "apply", "--server-side", "--field-manager=pipeline", "--namespace", world.namespace, "--filename", "-",
        given=json.dumps(config(a="1")),
    )  # fmt: skip
    assert_done((await there_and_back(world, config(a="1", b="2")))[1])

    world.cluster.kubectl(
        "apply", "--server-side", "--field-manager=pipeline", "--namespace", world.namespace, "--filename", "-",
        given=json.dumps(config(a="5")),
    )  # fmt: skip

    assert world.get(LIMITS)["data"] == {"a": "5"}


async def test_what_is_back_already_stays_so(world: WorkloadWorld) -> None:
    world.apply(config(a="1"))
    text = manifest(config(b="2"), config("new", a="1"))
    before = await seen(world, text)
    done = await apply(world, text, before)
    assert_done(await take_back(world, text, before, done.observed))
    deleted = sent(world, "delete")

    again = assert_done(await take_back(world, text, before, done.observed, resumed=True))

    assert again.observed == before
    assert sent(world, "delete") == deleted


async def test_what_never_happened_is_back_and_bears_no_trace(world: WorkloadWorld) -> None:
    world.apply(config(a="1"))
    text = manifest(config(b="2"), config("new", a="1"))
    before = await seen(world, text)
    whole = world.get(LIMITS)

    back = assert_done(await take_back(world, text, before, before))

    assert back.observed == before
    now = world.get(LIMITS)
    assert (now["data"], now["metadata"]["annotations"]) == (whole["data"], whole["metadata"]["annotations"])
    assert managers(world, LIMITS) == ["kubectl-client-side-apply"]


async def test_an_object_that_was_replaced_by_somebody_elses_is_left_and_told_of(world: WorkloadWorld) -> None:
    text = manifest(config(a="1"))
    before = await seen(world, text)
    done = await apply(world, text, before)
    world.kubectl("delete", LIMITS)
    world.apply(config(a="7"))

    back = assert_done(await take_back(world, text, before, done.observed))

    assert back.detail.endswith(f"{LIMITS} in {world.namespace} is left as it is: it bears no marks of this run")
    assert world.get(LIMITS)["data"] == {"a": "7"}


@pytest.fixture
async def edited(world: WorkloadWorld) -> tuple[str, Json, Json]:
    """A manifest that was applied, what was there before, and how it was left; after that somebody changed a field."""
    assert_done(await apply(world, manifest(config(a="1")), effect="earlier"))
    text = manifest(config(a="2"))
    before = await seen(world, text)
    done = assert_done(await apply(world, text, before))
    edit(world, LIMITS, {"data": {"a": "3"}})
    return text, before, done.observed


async def test_an_edit_that_nobody_was_asked_about_is_not_overwritten(
    world: WorkloadWorld, edited: tuple[str, Json, Json]
) -> None:
    back = await take_back(world, *edited)

    assert back.state is EffectState.REFUSED
    assert back.detail == f"{LIMITS} in {world.namespace} does not go back: data.a belongs to kubectl-edit now"
    assert world.get(LIMITS)["data"] == {"a": "3"}


async def test_an_edit_that_a_person_has_seen_and_wants_gone_is_taken_back(
    world: WorkloadWorld, edited: tuple[str, Json, Json]
) -> None:
    text, before, _ = edited

    assert_done(await take_back(world, text, before, await seen(world, text)))

    assert world.get(LIMITS)["data"] == {"a": "1"}


async def test_a_value_that_somebody_else_applies_too_by_now_is_not_taken_away(world: WorkloadWorld) -> None:
    assert_done(await apply(world, manifest(config(a="1")), effect="earlier"))
    text = manifest(config(a="2"))
    before = await seen(world, text)
    done = assert_done(await apply(world, text, before))
    world.cluster.kubectl(
        "apply", "--server-side", "--field-manager=pipeline", "--namespace", world.namespace, "--filename", "-",
        given=json.dumps(config(a="2")),
    )  # fmt: skip

    back = await take_back(world, text, before, done.observed)

    assert back.state is EffectState.REFUSED
    assert "data.a belongs to pipeline now" in back.detail


async def test_an_object_that_somebody_deleted_is_not_made_anew_and_the_others_go_back(world: WorkloadWorld) -> None:
    world.apply(config(a="1"))
    text = manifest(config(b="2"), config("new", a="1"))
    before = await seen(world, text)
    done = await apply(world, text, before)
    world.kubectl("delete", LIMITS)

    back = await take_back(world, text, before, done.observed)

    assert back.state is EffectState.REFUSED
    assert "was there before the run, and was deleted since" in back.detail
    assert not is_there(world, "configmap/new")


async def test_a_run_that_takes_an_earlier_one_back_finds_what_it_left(world: WorkloadWorld) -> None:
    world.apply(config(a="1"))
    text = manifest(config(b="2"), config("new", a="1"))
    before = await seen(world, text)
    done = await apply(world, text, before)

    assert_done(await take_back(world, text, before, done.observed, run="reverse-9z"))

    assert world.get(LIMITS)["data"] == {"a": "1"}
    assert not is_there(world, "configmap/new")
