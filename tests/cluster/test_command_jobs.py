"""Commands of plans that name an image, as Jobs on a real API server whose namespace takes restricted pods alone."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from posixpath import normpath
from typing import Any

import pytest

from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.command import CommandPerformer
from orchestrator.adapters.kubernetes.client import Clusters
from orchestrator.adapters.kubernetes.command_runner import JobRunner, name_of
from orchestrator.adapters.kubernetes.review import ClusterReview
from orchestrator.adapters.secrets import Secrets
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.errors import Temporary
from orchestrator.ports import UNWANTED, Scene
from orchestrator.survey_cluster import survey_cluster
from stages.cluster import Kubernetes
from stages.command_pod import CommandPod
from stages.effects import ObserveCommand, RunCommand, TargetKind
from stages.load import load_data
from stages.values import SecretRef
from tests.support.cluster import COMMAND_LOG, Cluster
from tests.support.in_cluster import plan, shop_in
from tests.support.manifests import install_definitions
from tests.support.process import wait_until
from tests.support.workloads import QUICK

(ANSWER,) = COMMAND_LOG
TOKEN = "not-for-everybody"
FILES = {"deploy.sh": "#!/bin/sh\n", "lib.sh": "true\n"}


@dataclass
class World:
    """A namespace, and commands that are run in it. Each scene has an effect of its own."""

    cluster: Cluster
    namespace: str
    clusters: Clusters = field(init=False)
    count: int = 0
    user: str = "admin"

    def __post_init__(self) -> None:
        self.clusters = Clusters(str(self.cluster.kubeconfig_of(self.user)))

    def performer(self, token: str = TOKEN) -> CommandPerformer:
        return CommandPerformer(self.runner(token))

    def runner(self, token: str = TOKEN) -> JobRunner:
        return JobRunner(self.clusters, Secrets(environ={"TOKEN": token}), SystemClock(), QUICK)

    def scene(self, image: str = "tools:1", epoch: int = 1, **more: Any) -> Scene:
        self.count += 1
        pod = CommandPod(image, Kubernetes(namespace=self.namespace))
        return Scene("shop-1a2b", "production", effect_id=f"e{self.count}", epoch=epoch, command_pod=pod, **more)

    async def perform(self, operation: RunCommand, scene: Scene, *, resumed: bool = False) -> Outcome:
        """As a run does: tried again as long as that may help."""
        tried: list[Outcome] = []
        for _ in range(60):
            tried.append(await self.performer().perform(effect_of(operation, scene), scene, resumed))
            if tried[-1].state is not EffectState.TEMPORARY:
                return tried[-1]
            await asyncio.sleep(0.5)
        raise AssertionError(tried[-1].detail)

    def get(self, *what: str) -> Any:
        return self.cluster.get(*what, "--namespace", self.namespace)

    def job(self, scene: Scene) -> dict[str, Any]:
        found: dict[str, Any] = self.get("job", name_of(scene))
        return found

    def jobs(self) -> list[str]:
        return [one["metadata"]["name"] for one in self.get("jobs")["items"]]

    def has_pod(self, scene: Scene) -> bool:
        found = self.get("pods", "--selector", f"batch.kubernetes.io/job-name={name_of(scene)}")["items"]
        return any(one["status"].get("containerStatuses") for one in found)


def effect_of(operation: RunCommand, scene: Scene) -> Effect:
    return Effect(
        id=scene.effect_id,
        target="command:production/backend",
        target_kind=TargetKind.COMMAND,
        label="deploy",
        operation=operation,
        environment="production",
        stage="deploy",
    )


@pytest.fixture(scope="module")
def namespace(control_plane: Cluster) -> Iterator[str]:
    with control_plane.namespace() as name:
        control_plane.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield name


@pytest.fixture
async def world(control_plane: Cluster, namespace: str, request: pytest.FixtureRequest) -> Any:
    made = World(control_plane, namespace, count=100 * (1 + sum(map(ord, request.node.name)) % 1000))
    yield made
    await made.clusters.close()


async def test_a_command_runs_once_with_the_plans_files_and_its_secrets_are_in_its_secret_alone(world: World) -> None:
    scene = world.scene(files=FILES)
    operation = RunCommand(
        argv=("./deploy.sh", "$(HOME) $1"),
        vars={"TOKEN": SecretRef(env="TOKEN"), "APP_ENV": "production"},
        observe=("cat", "version"),
    )

    outcome = await world.perform(operation, scene)

    assert (outcome.state, outcome.observed) == (EffectState.DONE, {"text": ANSWER})
    job = world.job(scene)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["/rollout/plan/deploy.sh", "$$(HOME) $$1"]
    assert container["workingDir"] == "/rollout/plan"
    assert {"name": "APP_ENV", "value": "production"} in container["env"]
    assert (job["metadata"]["annotations"]["stagedrollout.io/effect"], job["spec"]["backoffLimit"]) == (
        scene.effect_id,
        0,
    )
    assert job["spec"]["ttlSecondsAfterFinished"] == 7 * 86_400
    parts = job["metadata"]["annotations"]["stagedrollout.io/parts"]
    assert set(world.get("configmap", parts)["data"].values()) == set(FILES.values())
    secret = world.get("secret", parts)
    assert list(secret["data"]) == ["TOKEN"]
    assert secret["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    everything = [world.get(kind) for kind in ("jobs", "pods", "configmaps", "events")]
    assert TOKEN not in json.dumps(everything)
    assert world.jobs() == [name_of(scene)]  # what was looked at besides is gone

    again = await world.perform(operation, replace(scene, epoch=2), resumed=True)

    assert again.state is EffectState.DONE
    assert world.job(scene)["metadata"]["uid"] == job["metadata"]["uid"]
    assert world.job(scene)["metadata"]["annotations"]["stagedrollout.io/epoch"] == "2"


async def test_a_command_that_fails_is_refused_with_its_exit_code_and_what_it_printed(world: World) -> None:
    outcome = await world.perform(RunCommand(argv=("deploy",)), world.scene("tools:failing"))
    assert (outcome.state, outcome.detail) == (EffectState.REFUSED, f"deploy ended with exit code 1: {ANSWER}")


async def test_what_a_command_prints_is_read_and_what_it_was_read_by_is_gone(world: World) -> None:
    before = world.jobs()

    seen = await world.performer().observe(ObserveCommand(argv=("cat", "version")), world.scene())
    checked = await world.runner().run((), world.scene("tools:failing"), None, {}, 60.0, script="exit 1\n")

    assert seen.value == {"text": ANSWER}
    assert (checked.exit_code, checked.stdout.strip(), checked.timed_out) == (1, ANSWER, False)
    await asyncio.to_thread(wait_until, lambda: world.jobs() == before, what="the Jobs of looks to be gone")


async def test_why_a_command_cannot_run_is_told_in_the_words_of_its_pods(world: World) -> None:
    scene = world.scene("tools:broken")
    outcome = await world.performer().perform(effect_of(RunCommand(argv=("deploy",)), scene), scene, False)
    assert outcome.state is EffectState.TEMPORARY
    assert "ImagePullBackOff (tools:broken)" in outcome.detail
    with pytest.raises(Temporary, match="ImagePullBackOff"):
        await world.runner().run(("true",), world.scene("tools:broken"), None, {}, 60.0)
    crowded = world.scene()
    assert crowded.command_pod is not None
    crowded = replace(crowded, command_pod=replace(crowded.command_pod, requests={"cpu": "100000"}))
    outcome = await world.performer().perform(effect_of(RunCommand(argv=("deploy",)), crowded), crowded, False)
    assert outcome.state is EffectState.TEMPORARY
    assert "Unschedulable (0/1 nodes are available: 1 Insufficient cpu" in outcome.detail
    quota = ("create", "quota", "none", "--hard=count/pods=0,pods=0", "--namespace", world.namespace)
    world.cluster.kubectl(*quota)
    await asyncio.to_thread(
        wait_until, lambda: "hard" in world.get("quota", "none").get("status", {}), what="the quota to hold"
    )
    with pytest.raises(Temporary, match=r"can't be made: .*exceeded quota: none"):
        await world.runner().run(("true",), world.scene(), None, {}, 60.0)
    world.cluster.kubectl("delete", "quota", "none", "--namespace", world.namespace)
    await world.performer().end(effect_of(RunCommand(argv=("deploy",)), scene), scene)
    assert name_of(scene) not in world.jobs()


async def test_a_command_whose_time_is_over_has_ended_for_sure_and_its_probe_says_whether_it_did_it(
    world: World,
) -> None:
    operation = RunCommand(argv=("deploy",), timeout_seconds=2.0)
    outcome = await world.perform(operation, world.scene("tools:endless"))
    assert outcome.state is EffectState.REFUSED
    assert outcome.detail.startswith("deploy was ended after 2 s, its time limit")
    assert not [pod for pod in world.get("pods")["items"] if pod["status"]["phase"] == "Running"]


async def begun(world: World, scene: Scene, why: str | None = None) -> None:
    """A life of the controller that goes down while the command runs."""
    operation = RunCommand(argv=("deploy",), vars={"TOKEN": SecretRef(env="TOKEN")})
    task = asyncio.create_task(world.performer().perform(effect_of(operation, scene), scene, False))
    await asyncio.to_thread(wait_until, lambda: world.has_pod(scene), what="the pod of the command")
    task.cancel(why)
    await asyncio.gather(task, return_exceptions=True)


async def test_a_command_runs_on_while_the_controller_is_down_and_the_next_one_waits_for_it_or_ends_it(
    world: World,
) -> None:
    scene = world.scene("tools:endless")
    await begun(world, scene)
    task = asyncio.create_task(world.perform(RunCommand(argv=("deploy",)), replace(scene, epoch=2), resumed=True))
    labelled = ("label", "pods", "--selector", f"batch.kubernetes.io/job-name={name_of(scene)}", "behaviour=failing")
    await asyncio.to_thread(world.cluster.kubectl, *labelled, "--namespace", world.namespace)
    outcome = await asyncio.wait_for(task, timeout=60)
    assert (outcome.state, outcome.detail) == (EffectState.REFUSED, f"deploy ended with exit code 1: {ANSWER}")

    other = world.scene("tools:endless")
    await begun(world, other)
    await world.performer().end(effect_of(RunCommand(argv=("deploy",)), other), replace(other, epoch=2))
    assert name_of(other) not in world.jobs()
    third = world.scene("tools:endless")
    await begun(world, third, UNWANTED)
    assert name_of(third) not in world.jobs()


async def findings(world: World, **commands: Any) -> list[str]:
    body = plan("demo", *STAGES, **{**SPEC, "commands": {**SPEC["commands"], **commands}})
    body["metadata"]["namespace"] = world.namespace
    loaded = load_data(body, "demo", {}, read_file=lambda path: FILES[normpath(path)].encode())
    found = await survey_cluster("demo", loaded.to_program().environment("production"), ClusterReview(world.clusters))
    return [f"{one.level}: {one.sentence}" for one in found]


async def test_validation_tries_the_job_and_names_the_role_with_which_commands_run(
    control_plane: Cluster, cluster_namespace: str
) -> None:
    world = World(control_plane, cluster_namespace, user="controller")
    needs_both = {"vars": {"TOKEN": {"env": "TOKEN"}}, "dir": "."}
    error, _ = await findings(world, **needs_both)
    said, _, role = error.partition(". This grants all that the plan needs: ")
    assert said == (
        "error: controller may not get jobs.batch, create jobs.batch, patch jobs.batch, delete jobs.batch, list pods, "
        "get pods/log, create configmaps, create secrets"
    )
    role, _, binding = role.partition(" (bind it with kubectl ")
    control_plane.kubectl("apply", "--filename", "-", given=role)
    control_plane.kubectl(*binding.removesuffix(")").split())
    assert await findings(world, **needs_both) == []
    (refused,) = await findings(world, **needs_both, resources={"limits": {"memory": "1Mi"}})
    assert refused.startswith("error: the Job of a command: ")
    assert "must be less than or equal to memory limit" in refused

    operation = RunCommand(argv=("./deploy.sh",), vars={"TOKEN": SecretRef(env="TOKEN")}, observe=("version",))
    outcome = await world.perform(operation, world.scene(files=FILES))
    await world.clusters.close()

    assert (outcome.state, outcome.observed) == (EffectState.DONE, {"text": ANSWER})


SPEC: dict[str, Any] = {
    "commands": {"image": "registry.example/tools:1"},
    "checks": [{"name": "the answer", "command": ["answer"], "expect": {"number": "== 42"}}],
    "gates": {"fine": {"every": "1s", "criteria": [{"name": "c", "command": ["measure"], "pass": "> 41"}]}},
}
DEPLOY = {"command": ["./deploy.sh", "v2"], "observe": ["version"], "undo": ["./deploy.sh", "{before}"]}
STAGES = [{"name": "do", "kind": "steps", "steps": [DEPLOY], "gate": "fine", "bake": "1s"}]


def test_a_plan_that_is_applied_runs_its_commands_in_an_image_that_the_controller_allows(
    control_plane: Cluster, tmp_path: Path
) -> None:
    install_definitions(control_plane)
    with control_plane.namespace() as namespace, shop_in(control_plane, namespace, tmp_path) as shop:
        control_plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        shop.rollout.environment["ROLLOUT_COMMAND_IMAGES"] = "registry.example/tools:*"
        shop.serve()
        files = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "files"}, "data": FILES}
        shop.apply(files)
        for name, image in (("other", "registry.example/more:1"), ("demo", "registry.example/tools:1")):
            body = plan(name, *STAGES, **{**SPEC, "commands": {"image": image}})
            body["metadata"]["annotations"] = {"stagedrollout.io/bundle": "files"}
            shop.apply(body)
        blind = {"command": ["./deploy.sh", "v2"], "undo": ["./deploy.sh", "v1"]}
        never = [{"command": ["verify"], "expect": {"number": "== 43"}}]
        back = plan("back", {**STAGES[0], "steps": [blind], "verify": never}, **SPEC)
        back["metadata"]["annotations"] = {"stagedrollout.io/bundle": "files"}
        shop.apply(back)
        shop.wait_ready("demo")
        shop.kubectl("wait", "--for=condition=Stalled", "sro/other", "--timeout=60s")
        assert "the image registry.example/more:1 is not among the images" in shop.message("other")
        assert "ROLLOUT_COMMAND_IMAGES of the controller lists them" in shop.message("other")
        shop.until("back", outcome="rolled_back")
        jobs = control_plane.get("jobs", "--namespace", namespace)["items"]
        assert {job["metadata"]["labels"]["stagedrollout.io/command"] for job in jobs} == {"effect"}
        ran = [job["spec"]["template"]["spec"]["containers"][0]["command"][1] for job in jobs]
        assert sorted(ran) == ["v1", "v2", "v2"]
