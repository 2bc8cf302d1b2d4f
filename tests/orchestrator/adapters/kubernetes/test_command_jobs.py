"""What the Job of a command looks like."""

from typing import Any

import pytest

from orchestrator.adapters.kubernetes.command_jobs import Task
from orchestrator.adapters.kubernetes.command_runner import name_of
from orchestrator.adapters.process import NotStartable
from orchestrator.ports import Scene
from stages.cluster import Kubernetes
from stages.command_pod import CommandPod

POD = CommandPod("tools:1", Kubernetes(namespace="shop"))
OWNER = {"name": "demo-1", "uid": "u1", "labels": {"a": "b"}}


def task(
    *argv: str, files: dict[str, str] | None = None, command_dir: str | None = None, pod: CommandPod = POD, **more: Any
) -> Task:
    scene = Scene("demo-1a2b", "production", "deploy", "e1", files=files or {}, command_dir=command_dir)
    settings: dict[str, Any] = {"timeout_seconds": 90.5, **more}
    return Task("demo-1", "demo-1-parts", argv or ("true",), pod, scene, **settings)


def container(one: Task) -> dict[str, Any]:
    (found,) = one.job()["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_a_command_alone_is_one_pod_that_is_never_tried_again_and_ends_with_its_time() -> None:
    spec = task().job()["spec"]
    pod = spec["template"]["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["suspend"]) == (0, 91, False)
    assert (pod["restartPolicy"], pod["automountServiceAccountToken"]) == ("Never", False)
    assert "serviceAccountName" not in pod
    assert "ttlSecondsAfterFinished" not in spec
    assert task(is_look=True).job()["spec"]["ttlSecondsAfterFinished"] == 300


def test_a_service_account_a_user_and_resources_are_as_the_plan_says() -> None:
    wanted = {"cpu": "1"}
    pod = CommandPod("tools:1", Kubernetes(), "deployer", 1000, requests=wanted, limits={"memory": "1Gi"})
    spec = task(pod=pod).job()["spec"]["template"]["spec"]
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("deployer", True)
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsNonRoot"]) == (1000, True)
    assert container(task(pod=pod))["resources"] == {"requests": wanted, "limits": {"memory": "1Gi"}}
    assert container(task())["resources"] == {"requests": {"cpu": "50m", "memory": "64Mi"}}


def test_what_kubernetes_would_replace_in_words_and_variables_stays_as_it_is_written() -> None:
    found = container(task("echo", "$(TOKEN)", "$$", plain={"PRICE": "$(X)"}))
    assert found["command"] == ["echo", "$$(TOKEN)", "$$$$"]
    assert {"name": "PRICE", "value": "$$(X)"} in found["env"]


def test_a_secret_is_named_in_the_job_and_stands_in_its_secret() -> None:
    one = task(plain={"A": "b"}, secret={"TOKEN": "s3cret", "ROLLOUT_RUN": "mine"})
    assert "s3cret" not in str(one.job())
    env = {entry["name"]: entry for entry in container(one)["env"]}
    assert env["TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "demo-1-parts", "key": "TOKEN"}}
    assert env["ROLLOUT_RUN"] == {"name": "ROLLOUT_RUN", "value": "demo-1a2b"}
    assert env["HOME"]["value"] == "/tmp"
    (secret,) = one.companions(OWNER)
    assert (secret["kind"], secret["metadata"]["name"]) == ("Secret", "demo-1-parts")
    assert secret["stringData"]["TOKEN"] == "s3cret"
    assert secret["metadata"]["ownerReferences"] == [
        {"apiVersion": "batch/v1", "kind": "Job", "name": "demo-1", "uid": "u1"}
    ]
    assert one.job()["spec"]["suspend"]


def test_files_lie_as_they_lay_around_the_plan_and_the_command_runs_among_them() -> None:
    files = {"bin/deploy.sh": "#!/bin/sh\n", "../shared/lib.sh": "lib\n"}
    one = task("bin/deploy.sh", files=files, command_dir="bin")
    found = container(one)
    assert found["command"] == ["/rollout/plan/up/bin/deploy.sh"]
    assert found["workingDir"] == "/rollout/plan/up/bin"
    assert {"name": "plan", "mountPath": "/rollout/plan", "readOnly": True} in found["volumeMounts"]
    volumes = one.job()["spec"]["template"]["spec"]["volumes"]
    mapped = next(volume["configMap"] for volume in volumes if volume["name"] == "plan")
    (companion,) = one.companions(OWNER)
    texts = {entry["path"]: companion["data"][entry["key"]] for entry in mapped["items"]}
    assert texts == {"up/bin/deploy.sh": "#!/bin/sh\n", "shared/lib.sh": "lib\n"}
    assert mapped["defaultMode"] == 0o555


def test_a_script_is_a_file_that_sh_reads() -> None:
    one = task(script="exit 1\n")
    assert container(one)["command"] == ["sh", "-eu", "/rollout/script/script", "true"]
    (companion,) = one.companions(OWNER)
    assert companion["data"] == {"script": "exit 1\n"}


def test_without_files_a_command_runs_where_its_image_says_or_in_a_whole_path() -> None:
    assert "workingDir" not in container(task())
    assert container(task(command_dir="/app"))["workingDir"] == "/app"


@pytest.mark.parametrize(
    ("one", "sentence"),
    (
        (
            task("./missing.sh"),
            r"\./missing\.sh did not travel with the plan; what is in the image is named by its whole",
        ),
        (task("true", dir="backend"), "no file in the folder backend travelled with the plan"),
        (task(""), "the command is empty"),
        (task(plain={"A B": "c"}), "'A B' is no name that a variable may have in a pod"),
        (task(files={"/etc/passwd": ""}), "under an absolute path"),
    ),
)
def test_what_no_pod_could_run_is_told_before_there_is_one(one: Task, sentence: str) -> None:
    with pytest.raises(NotStartable, match=sentence):
        one.job()


def test_files_that_no_config_map_holds_are_told() -> None:
    with pytest.raises(NotStartable, match="the plan's files have 1,000,001 bytes, and a ConfigMap holds 1,000,000"):
        task(files={"a": "x" * 1_000_001}).companions(OWNER)


def test_names_follow_from_the_run_and_the_effect_and_are_no_longer_than_a_label() -> None:
    scenes = [Scene(run, "production", effect_id=effect) for run in ("a-1", "b-1") for effect in ("e1", "e2")]
    assert len({name_of(scene) for scene in scenes}) == 4
    assert name_of(scenes[0]) == name_of(Scene("a-1", "staging", effect_id="e1"))
    assert len(name_of(Scene("long-" * 20, "production", effect_id="e1"))) <= 63
    assert len(task().job()["metadata"]["labels"]["stagedrollout.io/run"]) <= 63
