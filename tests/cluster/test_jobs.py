"""Jobs that a run waits for, on a real API server with its controllers."""

import asyncio
import json
from dataclasses import replace
from typing import Any

from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.kubernetes.jobs import name_of
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.ports import UNWANTED, Scene
from stages.cluster import RunJob
from stages.effects import TargetKind
from stages.manifests import job_of
from tests.support.api_proxy import ApiProxy, after, lose_the_answer, on
from tests.support.cluster import CONTAINER_LOG
from tests.support.process import wait_until
from tests.support.workloads import RUN, WorkloadWorld

FILE = "k8s/fill-job.yaml"


def job(image: str, name: str = "fill", timeout_seconds: float = 60.0, **spec: object) -> RunJob:
    pod = {"restartPolicy": "Never", "containers": [{"name": "task", "image": image}]}
    content = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"team": "search"}},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}, **spec},
    }
    return RunJob(manifest=FILE, text=json.dumps(content), timeout_seconds=timeout_seconds)


def named(operation: RunJob, effect: str = "effect-1") -> str:
    return name_of(job_of(operation.text), effect)


def jobs(world: WorkloadWorld) -> dict[str, Any]:
    found = world.cluster.get("jobs", "--namespace", world.namespace)
    return {one["metadata"]["name"]: one for one in found["items"]}


def has_pod(world: WorkloadWorld) -> bool:
    return bool(world.cluster.get("pods", "--namespace", world.namespace)["items"])


def pod_that_waits(world: WorkloadWorld) -> str:
    """Its name; empty as long as there is none."""
    found = world.cluster.get("pods", "--namespace", world.namespace)["items"]
    return next((one["metadata"]["name"] for one in found if one["status"].get("containerStatuses")), "")


async def test_a_job_is_done_when_it_is_complete_and_bears_the_marks_of_its_effect(world: WorkloadWorld) -> None:
    operation = job("fill:1")

    outcome = await world.carry_out(operation, effect="effect-7", epoch=4)

    name = named(operation, "effect-7")
    assert (outcome.state, outcome.detail) == (EffectState.DONE, f"job/{name} in {world.namespace} is complete")
    assert outcome.observed == {"job": name}
    (made,) = jobs(world).values()
    assert made["metadata"]["labels"]["team"] == "search"
    assert made["status"]["succeeded"] == 1
    marks = world.annotations(f"job/{name}")
    assert (marks["effect"], marks["run"], marks["epoch"]) == ("effect-7", RUN, "4")


async def test_a_job_that_fails_is_refused_with_its_reason_and_its_last_words_and_stays(world: WorkloadWorld) -> None:
    outcome = await world.carry_out(job("fill:failing"))

    assert outcome.state is EffectState.REFUSED
    assert "failed (BackoffLimitExceeded: Job has reached the specified backoff limit); the last that" in outcome.detail
    assert outcome.detail.endswith("\n".join(CONTAINER_LOG))
    assert len(jobs(world)) == 1


async def test_where_logs_may_not_be_read_that_is_said(world: WorkloadWorld) -> None:
    world.kubectl("create", "role", "runner", "--verb=get,list,watch,create,delete", "--resource=jobs,pods")
    world.kubectl("create", "rolebinding", "runner", "--role=runner", "--user=bob")
    as_bob = WorkloadWorld(world.cluster, world.namespace, world.cluster.kubeconfig_of("bob"))

    outcome = await as_bob.carry_out(job("fill:failing"))
    await as_bob.clusters.close()

    assert "failed (BackoffLimitExceeded" in outcome.detail
    assert "its log can't be read: " in outcome.detail
    assert 'resources: ["pods/log"]' in outcome.detail


async def test_a_job_is_looked_for_before_it_is_made(world: WorkloadWorld) -> None:
    operation = job("fill:1")
    assert (await world.carry_out(operation)).state is EffectState.DONE
    uid = next(iter(jobs(world).values()))["metadata"]["uid"]

    again = await world.carry_out(operation, resumed=True, epoch=2)

    assert again.state is EffectState.DONE
    (still,) = jobs(world).values()
    assert still["metadata"]["uid"] == uid


async def test_another_effect_runs_it_anew(world: WorkloadWorld) -> None:
    await world.carry_out(job("fill:failing"), effect="effect-1")
    assert (await world.carry_out(job("fill:1"), effect="effect-2")).state is EffectState.DONE
    assert len(jobs(world)) == 2


async def test_a_long_name_is_cut(world: WorkloadWorld) -> None:
    operation = job("fill:1", name=f"{'fill-' * 12}end")
    assert (await world.carry_out(operation)).state is EffectState.DONE
    (name,) = jobs(world)
    assert len(name) <= 63
    assert name.startswith("fill-fill-")


async def test_a_job_that_does_not_end_in_time_is_deleted_with_its_pods(world: WorkloadWorld) -> None:
    outcome = await world.carry_out(job("fill:endless", timeout_seconds=3))

    assert outcome.state is EffectState.REFUSED
    assert "had not ended after 3 s and was deleted; the last that" in outcome.detail
    await asyncio.to_thread(
        wait_until, lambda: not jobs(world) and not has_pod(world), what="the job and its pods to be gone"
    )


async def test_a_job_that_ended_while_nobody_looked_is_taken_as_it_ended_although_its_time_is_over(
    world: WorkloadWorld,
) -> None:
    operation = job("fill:1")
    assert (await world.carry_out(operation)).state is EffectState.DONE

    hurried = operation.model_copy(update={"timeout_seconds": 0.001})
    outcome = await asyncio.wait_for(world.perform(hurried, resumed=True), timeout=20)

    assert outcome.state is EffectState.DONE
    assert len(jobs(world)) == 1


async def test_a_job_whose_pods_cannot_run_is_told_of_with_the_reason(world: WorkloadWorld) -> None:
    operation = job("fill:broken", timeout_seconds=30)

    outcome = await world.perform(operation)

    assert outcome.state is EffectState.TEMPORARY
    assert f"1 of 1 pods of job/{named(operation)} is not ready" in outcome.detail
    assert "ImagePullBackOff (fill:broken)" in outcome.detail
    assert len(jobs(world)) == 1


async def test_a_job_whose_image_can_never_be_had_is_refused_before_its_time_and_deleted(world: WorkloadWorld) -> None:
    operation = job("fill:broken", timeout_seconds=600)
    task = asyncio.create_task(world.carry_out(operation))
    pod = await asyncio.to_thread(wait_until, lambda: pod_that_waits(world), what="a pod that waits for its image")
    waiting = {"reason": "InvalidImageName", "message": "couldn't parse image name"}
    container = {"name": "task", "image": "fill:broken", "imageID": "", "ready": False, "restartCount": 0}
    status = {"containerStatuses": [{**container, "state": {"waiting": waiting}}]}
    patch = ("--subresource=status", "--type=merge", "--patch", json.dumps({"status": status}))
    world.kubectl("patch", "pod", pod, *patch)

    outcome = await asyncio.wait_for(task, timeout=60)

    assert outcome.state is EffectState.REFUSED
    assert "InvalidImageName (fill:broken); it was deleted" in outcome.detail
    await asyncio.to_thread(wait_until, lambda: not jobs(world), what="the job to be gone")


async def test_a_new_life_of_the_controller_gives_a_job_no_new_time(world: WorkloadWorld) -> None:
    operation = job("fill:endless", timeout_seconds=600)
    await begun(world, operation)
    later = replace_clock(world, seconds=3600)

    outcome = await asyncio.wait_for(later.carry_out(operation, resumed=True, epoch=2), timeout=60)
    await later.clusters.close()

    assert outcome.state is EffectState.REFUSED
    assert "had not ended after 600 s and was deleted" in outcome.detail


class Later(SystemClock):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        return super().now() + self._seconds


def replace_clock(world: WorkloadWorld, seconds: float) -> WorkloadWorld:
    return replace(world, clock=Later(seconds))


async def begun(world: WorkloadWorld, operation: RunJob, why: str | None = None) -> None:
    """Performs it until its pod is there, and cancels that then."""
    task: asyncio.Task[Outcome] = asyncio.create_task(world.perform(operation))
    await asyncio.to_thread(wait_until, lambda: has_pod(world), what="the pod of the job")
    task.cancel(why)
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_a_job_that_nobody_wants_any_more_is_deleted(world: WorkloadWorld) -> None:
    await begun(world, job("fill:endless"), UNWANTED)
    assert not jobs(world)


async def test_what_an_earlier_controller_began_and_nobody_wants_any_more_is_deleted(world: WorkloadWorld) -> None:
    operation = world.in_place(job("fill:endless"))
    await begun(world, job("fill:endless"))
    effect = Effect.model_validate(
        {
            "id": "effect-1",
            "target": "job:fill",
            "target_kind": TargetKind.WORKLOAD,
            "label": "fill",
            "operation": operation,
            "environment": "production",
        }
    )
    scene = Scene(RUN, "production", effect_id="effect-1", epoch=2)

    await world.performer.end(effect, scene)
    await world.performer.end(effect, scene)

    assert not jobs(world)


async def test_a_job_that_comes_to_be_after_nobody_wants_it_any_more_is_deleted_too(
    world_behind: WorkloadWorld, proxy: ApiProxy
) -> None:
    released = asyncio.Event()
    proxy.disturb(on("POST", "/jobs"), after(released.wait))
    task = asyncio.create_task(world_behind.perform(job("fill:endless")))
    await proxy.until(on("POST", "/jobs"))
    task.cancel(UNWANTED)
    await asyncio.sleep(0)
    released.set()

    await asyncio.gather(task, return_exceptions=True)

    assert not jobs(world_behind)


async def test_a_job_whose_making_had_no_answer_is_found_and_not_made_twice(
    world_behind: WorkloadWorld, proxy: ApiProxy
) -> None:
    proxy.disturb(on("POST", "/jobs"), lose_the_answer)

    lost = await world_behind.perform(job("fill:1"))
    outcome = await world_behind.carry_out(job("fill:1"))

    assert (lost.state, outcome.state) == (EffectState.TEMPORARY, EffectState.DONE)
    assert proxy.heard(on("POST", "/jobs")) == 1
    assert len(jobs(world_behind)) == 1


async def test_a_job_runs_on_while_the_controller_is_down_and_the_next_one_waits_for_it(world: WorkloadWorld) -> None:
    operation = job("fill:endless")
    await begun(world, operation)
    (name,) = jobs(world)

    task = asyncio.create_task(world.perform(operation, resumed=True, epoch=2))
    world.kubectl("label", "pods", "--all", "behaviour=failing")
    outcome = await asyncio.wait_for(task, timeout=60)

    assert f"job/{name} in {world.namespace} failed" in outcome.detail


async def test_a_job_that_somebody_deletes_while_it_runs_is_refused(world: WorkloadWorld) -> None:
    operation = job("fill:endless")
    task = asyncio.create_task(world.perform(operation))
    await asyncio.to_thread(wait_until, lambda: has_pod(world), what="the pod of the job")
    world.kubectl("delete", "job", named(operation))

    outcome = await asyncio.wait_for(task, timeout=60)

    assert outcome.state is EffectState.REFUSED
    assert outcome.detail.endswith("was deleted by somebody else while it ran")
    assert not jobs(world)


async def test_a_job_of_that_name_that_is_not_the_runs_is_left(world: WorkloadWorld) -> None:
    operation = job("fill:1")
    world.kubectl("create", "job", named(operation), "--image=other:1")

    outcome = await world.perform(operation)

    assert outcome.state is EffectState.REFUSED
    assert outcome.detail.endswith("already, which is not of this run; delete it")


async def test_an_ended_job_is_removed_by_its_time_only_after_its_end_was_read(world: WorkloadWorld) -> None:
    operation = job("fill:1", ttlSecondsAfterFinished=3600)
    task = asyncio.create_task(world.perform(operation))
    await asyncio.to_thread(wait_until, lambda: bool(jobs(world)), what="the job")
    assert "ttlSecondsAfterFinished" not in next(iter(jobs(world).values()))["spec"]

    assert (await asyncio.wait_for(task, timeout=60)).state is EffectState.DONE

    assert next(iter(jobs(world).values()))["spec"]["ttlSecondsAfterFinished"] == 3600


async def test_a_job_that_the_cluster_does_not_take_is_refused(world: WorkloadWorld) -> None:
    outcome = await world.perform(job("fill:1", backofLimit=1))

    assert outcome.state is EffectState.REFUSED
    assert 'unknown field "spec.backofLimit"' in outcome.detail
    assert not jobs(world)
