"""A real controller on a real API server: what is applied runs, once, and its object says how it went."""

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_proxy import ApiProxy
from tests.support.cluster import Cluster
from tests.support.in_cluster import FLAG_STAGE, Shop, plan, shop_in
from tests.support.manifests import command, install_definitions, try_create
from tests.support.process import rollout_in, wait_until

LONG = {**FLAG_STAGE, "bake": "1h"}
BAD = {"name": "deploy", "kind": "steps", "steps": [{"image": "deployment/web", "to": "shop:broken", "timeout": "30s"}]}
GOOD = {"name": "deploy", "kind": "steps", "steps": [{"image": "deployment/web", "to": "shop:2"}]}


def web(namespace: str) -> dict[str, Any]:
    labels = {"app": "web"}
    containers = [{"name": "web", "image": "shop:1"}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }


@pytest.fixture(scope="module")
def cluster(control_plane: Cluster) -> Cluster:
    install_definitions(control_plane)
    return control_plane


@pytest.fixture
def shop(cluster: Cluster, tmp_path: Path) -> Iterator[Shop]:
    with cluster.namespace() as namespace, shop_in(cluster, namespace, tmp_path) as made:
        yield made


def image(shop: Shop) -> str:
    found = shop.cluster.get("deployment", "web", "--namespace", shop.namespace)
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


# --- from apply to the end --------------------------------------------------------------------------------------------


def test_a_plan_that_is_applied_ends_promoted_and_whoever_waits_for_ready_hears_of_it(shop: Shop) -> None:
    shop.cluster.apply(web(shop.namespace))
    shop.serve()
    shop.apply(plan("demo", FLAG_STAGE, GOOD))
    assert "condition met" in shop.wait_ready("demo")
    assert image(shop) == "shop:2"
    described = shop.kubectl("describe", "sro", "demo")
    for word in ("Started", "StepRaised", "StepDone", "Promoted", "by alice"):
        assert word in described
    (row,) = shop.kubectl("get", "sro", "--no-headers").splitlines()
    assert row.split()[:3] == ["demo", "ended", "promoted"]


def test_a_bad_image_is_taken_back_and_describe_tells_why_in_words(shop: Shop) -> None:
    shop.cluster.apply(web(shop.namespace))
    shop.serve()
    shop.apply(plan("demo", {**FLAG_STAGE, "percentages": [50]}, BAD))
    shop.kubectl("wait", "--for=condition=Stalled", "sro/demo", "--timeout=60s")
    assert image(shop) == "shop:1"
    described = shop.kubectl("describe", "sro", "demo")
    assert "rolled back (on fail): set the image of deployment/web to shop:broken: " in described
    assert "ImagePullBackOff (shop:broken)" in described
    assert {"RollingBack", "RolledBack"} <= set(described.split())
    assert shop.status("demo")["percentages"] == {"beta": 0}


def test_what_alice_may_not_do_is_not_done_for_her(shop: Shop) -> None:
    shop.cluster.apply(web(shop.namespace))
    shop.cluster.kubectl("delete", "rolebinding", "people-workloads", "--namespace", shop.namespace)
    shop.serve()
    shop.apply(plan("demo", GOOD))
    shop.kubectl("wait", "--for=condition=Stalled", "sro/demo", "--timeout=60s")
    words = f"alice, who asks for it, may not patch deployment/web in {shop.namespace}; bind alice to a Role"
    assert shop.message("demo").startswith(words)
    assert image(shop) == "shop:1"
    assert shop.runs() == []


def test_a_plan_that_only_the_controller_can_find_fault_with_says_so_and_may_be_mended(shop: Shop) -> None:
    shop.serve()
    shop.apply(plan("demo", {"name": "s", "kind": "steps", "steps": [{"command": ["true"], "undo": "none"}]}))
    shop.kubectl("wait", "--for=condition=Stalled", "sro/demo", "--timeout=60s")
    assert "a plan from a cluster runs no commands" in shop.message("demo")
    shop.apply(plan("demo", FLAG_STAGE))
    shop.wait_ready("demo")


# --- crashes and outages ----------------------------------------------------------------------------------------------


def test_a_controller_that_is_killed_again_and_again_starts_every_run_once(shop: Shop) -> None:
    names = [f"demo-{number}" for number in range(4)]
    stages = [{**FLAG_STAGE, "flag": f"flag-{number}"} for number in range(4)]
    for round_, (name, stage) in enumerate(zip(names, stages, strict=True)):
        child = shop.serve()
        shop.apply(plan(name, stage))
        if round_ % 2 == 0:
            shop.until(name, phase="running")
        child.kill()
    shop.serve()
    for name in names:
        shop.wait_ready(name)
    assert sorted(run["plan"] for run in shop.runs()) == names
    assert {run["outcome"] for run in shop.runs()} == {"promoted"}


async def test_while_the_api_server_is_away_runs_go_on_and_the_object_catches_up(
    cluster: Cluster, shop: Shop, tmp_path: Path
) -> None:
    async with ApiProxy(cluster, "controller", tmp_path) as proxy:
        _give_token(proxy.kubeconfig, shop)
        await asyncio.to_thread(shop.serve, kubeconfig=proxy.kubeconfig)
        await asyncio.to_thread(shop.apply, plan("demo", {**FLAG_STAGE, "bake": "3s"}))
        running = await asyncio.to_thread(lambda: shop.until("demo", phase="running", leg="baking"))
        await proxy.down()
        await asyncio.to_thread(_until_ended, shop, str(running["run"]))
        assert (await asyncio.to_thread(shop.status, "demo"))["phase"] == "running"
        await proxy.up()
        await asyncio.to_thread(shop.wait_ready, "demo")
        assert "Promoted" in await asyncio.to_thread(shop.kubectl, "describe", "sro", "demo")


def _give_token(kubeconfig: Path, shop: Shop) -> None:
    config, own = json.loads(kubeconfig.read_text()), json.loads(shop.kubeconfig.read_text())
    config["users"] = own["users"]
    config["contexts"][0]["context"]["user"] = own["users"][0]["name"]
    kubeconfig.write_text(json.dumps(config))


def _until_ended(shop: Shop, run: str) -> None:
    wait_until(
        lambda: next(one for one in shop.runs() if one["run"] == run)["phase"] == "ended",
        what=f"{run} to end",
    )


# --- people -----------------------------------------------------------------------------------------------------------


def holds_of(shop: Shop) -> list[tuple[str, str, str]]:
    shown = shop.command_line("status", "demo", "--output", "json").json()
    return [(hold["reason"], hold["by"], hold["detail"]) for hold in shown["holds"]]


def test_bob_commands_a_run_by_the_cluster_alone_and_alice_may_not(shop: Shop) -> None:
    shop.serve()
    shop.apply(plan("demo", LONG))
    shop.until("demo", leg="baking")
    refused = shop.command_line("pause", "demo", "--reason", "lunch")
    assert refused.code == 1
    assert "does not let alice create stagedrolloutcommands" in refused.errors
    paused = shop.command_line("pause", "demo", "--reason", "lunch", user="bob")
    assert paused.output.startswith("pause accepted for demo-"), paused.errors
    wait_until(lambda: holds_of(shop) == [("paused", "bob", "lunch")], what="the pause to be seen in the object")
    again = shop.command_line("pause", "demo", "--reason", "lunch", user="bob")
    assert again.code == 1
    assert "is paused already, by bob; resume goes on" in again.errors
    not_his = shop.command_line("approve", "demo", user="bob")
    assert not_his.code == 1
    assert "bob may not approve the rollout demo" in not_his.errors
    rolled_back = shop.command_line("rollback", "demo", "--reason", "enough", user="bob")
    assert rolled_back.code == 0, rolled_back.errors
    assert shop.command_line("watch", "demo").code == 3
    (listed,) = shop.command_line("list", "--output", "json").json()
    assert (listed["plan"], listed["outcome"], listed["reason"]) == ("demo", "rolled_back", "RolledBack")


def test_an_approval_of_a_group_is_given_by_somebody_whom_the_cluster_knows_to_be_in_it(shop: Shop) -> None:
    role = ("--clusterrole=stagedrollout-approver", "--user=bob", "--namespace", shop.namespace)
    shop.cluster.kubectl("create", "rolebinding", "approvers", *role)
    shop.serve()
    shop.apply(plan("demo", FLAG_STAGE, approval={"any_of": ["developers"]}))
    wait_until(lambda: shop.status("demo").get("waiting"), what="an approval")
    (waits,) = shop.status("demo")["waiting"]
    assert (waits["kind"], waits["by"]) == ("approval", ["developers"])
    approved = shop.command_line("approve", "demo", "--reason", "fine", user="bob")
    assert approved.code == 0, approved.errors
    shop.wait_ready("demo")


def test_nobody_speaks_for_a_group_that_he_is_not_in(shop: Shop) -> None:
    body = command("demo", "pause", requested_by="bob", groups=["developers", "managers"])
    refused = try_create(shop.cluster, shop.namespace, body, user="bob")
    assert "bob is not in managers: a command counts for groups of who gives it" in refused.errors


def test_start_with_a_context_takes_the_files_along_and_follows_the_run_to_its_end(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    limits = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: limits}\ndata: {most: '${MOST}'}\n"
    (tmp_path / "objects" / "limits.yaml").write_text(limits)
    stage = {"name": "apply", "kind": "steps", "steps": [{"name": "set ${WHAT}", "apply": "objects/limits.yaml"}]}
    written = tmp_path / "plan.yaml"
    written.write_text(json.dumps(plan("files", stage)))
    shop.rollout.environment["WHAT"] = "the limits"
    shop.serve()
    started = shop.command_line("start", written)
    assert started.code == 0, started.errors + started.output
    assert "promoted: it went all the way" in started.output
    found = shop.cluster.get("configmap", "limits", "--namespace", shop.namespace)
    assert found["data"] == {"most": "${MOST}"}
    annotations = shop.cluster.get("sro", "files", "--namespace", shop.namespace)["metadata"]["annotations"]
    assert annotations["stagedrollout.io/created-by"] == "alice"
    assert annotations["stagedrollout.io/bundle"].startswith("files-files-")
    again = shop.command_line("start", written)
    assert again.code == 0, again.errors
    assert len(shop.runs()) == 1


def test_what_bundle_prints_is_what_kubectl_takes(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: limits}\n")
    stage = {"name": "apply", "kind": "steps", "steps": [{"apply": "limits.yaml"}]}
    written = tmp_path / "plan.yaml"
    written.write_text(json.dumps(plan("files", stage)))
    bundled = shop.rollout.run("bundle", written, "--namespace", shop.namespace, "--created-by", "alice")
    assert bundled.code == 0, bundled.errors
    shop.serve()
    shop.cluster.kubectl("apply", "--validate=strict", "--filename", "-", user="alice", given=bundled.output)
    shop.wait_ready("files")


# --- objects that go --------------------------------------------------------------------------------------------------


def test_a_deleted_object_ends_its_run_and_the_world_stays(shop: Shop) -> None:
    shop.serve()
    shop.apply(plan("demo", LONG))
    run = str(shop.until("demo", percentages={"beta": 50})["run"])
    shop.kubectl("delete", "sro", "demo", "--timeout=30s")
    _until_ended(shop, run)
    assert next(one for one in shop.runs() if one["run"] == run)["outcome"] == "stopped"
    flag = shop.rollout.json("flag", "get", "beta")
    assert (flag["state"], flag["percentage"]) == ("enabled", 50)


def test_one_whose_plan_wants_it_is_gone_when_everything_is_back(shop: Shop) -> None:
    shop.cluster.apply(web(shop.namespace))
    shop.serve()
    shop.apply(plan("demo", GOOD, LONG, deletionPolicy="rollback"))
    run = str(shop.until("demo", percentages={"beta": 50})["run"])
    assert image(shop) == "shop:2"
    shop.kubectl("delete", "sro", "demo", "--timeout=60s")
    assert image(shop) == "shop:1"
    assert next(one for one in shop.runs() if one["run"] == run)["outcome"] == "rolled_back"


# --- one controller ---------------------------------------------------------------------------------------------------


def test_a_second_controller_in_the_namespace_says_so_waits_and_takes_over_when_the_first_has_ended(
    cluster: Cluster, shop: Shop, tmp_path: Path
) -> None:
    first = shop.serve()
    shop.apply(plan("demo", LONG))
    shop.until("demo", leg="baking")
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    with shop_beside(shop, other_folder) as other:
        second = other.serve()
        second.wait_for(f"drives namespace {shop.namespace}; this one waits")
        shop.apply(plan("more", {**FLAG_STAGE, "flag": "more"}))
        shop.wait_ready("more")
        assert other.runs() == []
        first.stop(signal.SIGTERM)
        second.wait_for(f"this controller drives namespace {shop.namespace}")
        shop.kubectl("wait", "--for=condition=Stalled", "sro/demo", "--timeout=60s")
        assert "is not in the store of this controller" in shop.message("demo")
        assert shop.status("demo")["phase"] == "running"
        assert other.runs() == []


@contextmanager
def shop_beside(shop: Shop, folder: Path) -> Iterator[Shop]:
    """Another machine with a store of its own, before the same namespace and in the same name."""
    with rollout_in(folder) as rollout:
        yield Shop(shop.cluster, shop.namespace, rollout, shop.kubeconfig)
