"""Flags in objects of a cluster: somebody in between, an API server that is away, what is not allowed or not there,
what an older life of a controller may still send, and whole runs.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.flag_systems.port import Moved, Wish
from orchestrator.adapters.kubernetes.client import Clusters
from orchestrator.adapters.kubernetes.marks import Author
from orchestrator.core.effect import EffectState
from orchestrator.errors import Permanent, Temporary
from stages.cluster import FIELD_MANAGER, Kubernetes
from stages.flag_systems import FlagdSystem
from tests.acceptance.worlds.host import host_in
from tests.contract.flag_sites import (
    DOCUMENT,
    KEY,
    PATCHER,
    ConfigMapSite,
    Desk,
    FeatureFlagSite,
    ObjectSite,
    desk_at,
    operators,
    valued,
)
from tests.support.api_proxy import ApiProxy, after, lose_the_answer, on, refuse
from tests.support.cluster import Cluster
from tests.support.process import wait_until

SITES: dict[str, type[ObjectSite]] = {"configmaps": ConfigMapSite, "featureflags.core.openfeature.dev": FeatureFlagSite}


@pytest.fixture(params=SITES)
async def site(
    request: pytest.FixtureRequest, control_plane: Cluster, cluster_namespace: str
) -> AsyncIterator[ObjectSite]:
    made = SITES[request.param](control_plane, cluster_namespace)
    yield made
    await made.clusters.close()


@pytest.fixture
async def config_map(control_plane: Cluster, cluster_namespace: str) -> AsyncIterator[ConfigMapSite]:
    made = ConfigMapSite(control_plane, cluster_namespace)
    yield made
    await made.clusters.close()


@pytest.fixture
async def behind(site: ObjectSite, proxy: ApiProxy) -> AsyncIterator[Desk]:
    """The flag at 5 %, seen and changed through the proxy."""
    await site.put(True, 5)
    clusters = Clusters(str(proxy.kubeconfig))
    yield desk_at(site.place(), clusters=clusters)
    await clusters.close()


def desk_of(site: ObjectSite, place: FlagdSystem | None = None, epoch: int = 0) -> Desk:
    desk = desk_at(place or site.place(), clusters=site.clusters)
    desk.scene = replace(desk.scene, epoch=epoch)
    return desk


def annotations(site: ObjectSite) -> dict[str, str]:
    """Ours alone."""
    found = site.content()["metadata"].get("annotations") or {}
    return {name.partition("/")[2]: value for name, value in found.items() if name.startswith(f"{FIELD_MANAGER}/")}


# --- somebody else ----------------------------------------------------------------------------------------------------


async def test_an_edit_between_look_and_write_is_seen_by_the_api_server_and_stays(
    site: ObjectSite, proxy: ApiProxy, behind: Desk
) -> None:
    before = (await behind.look()).value
    proxy.disturb(on("PATCH"), after(lambda: site.edit(40)))
    outcome = await behind.set({**before, "percentage": 60.0}, before)
    assert (outcome.state, outcome.changed_by) == (EffectState.REFUSED, PATCHER)
    assert outcome.observed["percentage"] == (await behind.look()).value["percentage"] == 40


async def test_an_edit_of_another_flag_in_between_is_kept_and_this_one_raised(
    site: ObjectSite, proxy: ApiProxy, behind: Desk
) -> None:
    def edit() -> None:
        content = site.content()
        if isinstance(site, ConfigMapSite):
            site.patch({"data": {"flags.json": content["data"]["flags.json"].replace("1.50", "7.25")}})
        else:
            site.patch({"spec": {"flagSpec": {"flags": {"other": {"variants": {"a": 7.25}}}}}})

    proxy.disturb(on("PATCH"), after(lambda: asyncio.to_thread(edit)))
    assert (await behind.raised(60))["percentage"] == 60
    assert "7.25" in json.dumps(await site.exactly())
    assert proxy.heard(on("PATCH")) == 2


async def test_a_change_says_in_whose_name_it_was_made(site: ObjectSite) -> None:
    await site.put(False, 0)
    await desk_of(site, epoch=4).raised(25)
    assert annotations(site) == {"effect": "r1-e3", "run": "r1", "epoch": "4"}
    assert (await desk_of(site).look()).changed_by is None  # it was us


async def test_flags_of_one_object_all_go_back_at_once(control_plane: Cluster, cluster_namespace: str) -> None:
    keys = [f"flag-{number}" for number in range(10)]
    flag = operators(DOCUMENT)[KEY]
    text = json.dumps({"flags": dict.fromkeys(keys, flag)})
    site = ConfigMapSite(control_plane, cluster_namespace)
    site.patch(site.flags(text))
    performer = desk_of(site).performer
    desks = [Desk(performer, site.place(), key) for key in keys]
    try:
        befores = [(await desk.look()).value for desk in desks]
        raised = [await desk.raised(50) for desk in desks]
        outcomes = await asyncio.gather(
            *(desk.set(*values, node="flags") for desk, *values in zip(desks, befores, raised, strict=True))
        )
        assert [outcome.state for outcome in outcomes] == [EffectState.DONE] * len(keys)
        assert site.content()["data"]["flags.json"] == text
    finally:
        await site.clusters.close()


# --- an API server that is away ---------------------------------------------------------------------------------------


async def test_while_the_api_server_is_away_nothing_is_lost(site: ObjectSite, proxy: ApiProxy, behind: Desk) -> None:
    before = (await behind.look()).value
    await proxy.down()
    with pytest.raises(Temporary, match="can't be reached"):
        await behind.look()
    assert (await behind.set({**before, "percentage": 60.0}, before)).state is EffectState.TEMPORARY
    await proxy.up()
    outcome = await behind.set({**before, "percentage": 60.0}, before)
    assert (outcome.state, outcome.observed["percentage"]) == (EffectState.DONE, 60)


async def test_a_change_whose_answer_was_lost_is_looked_for_and_not_made_again(proxy: ApiProxy, behind: Desk) -> None:
    before = (await behind.look()).value
    proxy.disturb(on("PATCH"), lose_the_answer)
    assert (await behind.set({**before, "percentage": 60.0}, before)).state is EffectState.TEMPORARY
    outcome = await behind.set({**before, "percentage": 60.0}, before)
    assert (outcome.state, outcome.observed["percentage"]) == (EffectState.DONE, 60)
    assert proxy.heard(on("PATCH")) == 1


async def test_a_busy_api_server_is_asked_again_when_it_says(proxy: ApiProxy, behind: Desk) -> None:
    before = (await behind.look()).value
    proxy.disturb(on("PATCH"), refuse(429, {"Retry-After": "7"}))
    outcome = await behind.set({**before, "percentage": 60.0}, before)
    assert (outcome.state, outcome.retry_after_seconds) == (EffectState.TEMPORARY, 7)


# --- what an older life may still send --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ({"node": "flags"}, {"resumed": True}))
async def test_what_was_sent_before_a_way_back_or_a_crash_is_refused_when_it_arrives_after(
    site: ObjectSite, how: dict[str, Any]
) -> None:
    """Also where the flag stood as wanted, since it had not arrived."""
    await site.put(False, 0)
    system = desk_of(site).performer._systems.open(site.place(), desk_of(site).scene)  # type: ignore[attr-defined]
    seen = await system.look(KEY)
    before = seen.value
    outcome = await desk_of(site, epoch=1).set(before, before, **how)
    assert (outcome.state, outcome.observed) == (EffectState.DONE, before)
    with pytest.raises(Moved):
        await system.step(KEY, seen, Wish(True, 60, {"of": 100}), Author("r1-e2", "r1", 0))
    assert (await desk_of(site).look()).value == before


async def test_a_controller_whose_run_another_one_has_taken_over_changes_nothing_more(site: ObjectSite) -> None:
    await site.put(False, 0)
    standing = await desk_of(site, epoch=3).raised(25)
    there = await site.exactly()
    outcome = await desk_of(site, epoch=2).set({**standing, "percentage": 60.0}, standing)
    assert (outcome.state, await site.exactly()) == (EffectState.TEMPORARY, there)
    assert "another controller has taken r1 over" in outcome.detail


# --- what is not allowed, or not there --------------------------------------------------------------------------------


async def test_a_missing_permission_is_named_with_the_role_that_grants_it(
    request: pytest.FixtureRequest, site: ObjectSite, control_plane: Cluster
) -> None:
    await site.put(True, 5)
    resource = request.node.callspec.params["site"]
    clusters = Clusters(str(control_plane.kubeconfig_of("controller")))
    desk, owner = desk_at(site.place(), clusters=clusters), desk_of(site)
    before = (await owner.look()).value
    rule = rf"{resource.partition('.')[0]}\"\], verbs: \[\"%s\"\]\}}; for flags .* verbs get and patch of flags"
    try:
        with pytest.raises(Permanent, match=f"does not let controller get {resource}.*a Role .*{rule % 'get'}"):
            await desk.look()
        grant(site, "reads", "get", resource)
        assert (await desk.look()).value == before
        outcome = await desk.set({**before, "percentage": 60.0}, before)
        assert (outcome.state, (await owner.look()).value) == (EffectState.REFUSED, before)
        assert f"does not let controller patch {resource}" in outcome.detail
        grant(site, "changes", "get,patch", resource)
        assert (await desk.set({**before, "percentage": 60.0}, before)).state is EffectState.DONE
    finally:
        await clusters.close()


def grant(site: ObjectSite, name: str, verbs: str, resource: str) -> None:
    site.kubectl("create", "role", name, f"--verb={verbs}", f"--resource={resource}", "--resource-name=flags")
    site.kubectl("create", "rolebinding", name, f"--role={name}", "--user=controller")
    asked = ("--namespace", site.namespace, "auth", "can-i", verbs.rpartition(",")[2], f"{resource}/flags")
    wait_until(
        lambda: site.cluster.try_kubectl(*asked, user="controller").code == 0, what="the API server to hear of the role"
    )


async def refusal(site: ObjectSite, place: FlagdSystem | None = None) -> str:
    """Of a look; and a change is refused with the same sentence."""
    desk = desk_of(site, place)
    with pytest.raises(Permanent) as found:
        await desk.look()
    outcome = await desk.set(valued(True, 50), None)
    assert (outcome.state, outcome.detail) == (EffectState.REFUSED, str(found.value))
    return outcome.detail


async def test_an_object_that_is_not_there_is_named_with_where_it_would_be(site: ObjectSite) -> None:
    absent = site.place().within("production", "other", Kubernetes())
    where = f"namespace {site.namespace} of Kubernetes (test)"
    assert await refusal(site, absent) == f"there is no {site.kind} other in {where}; make it first"


async def test_a_cluster_without_the_operator_is_named(
    proxy: ApiProxy, control_plane: Cluster, cluster_namespace: str
) -> None:
    proxy.disturb(on("GET", "/apis/core.openfeature.dev"), refuse(404), times=10)
    clusters = Clusters(str(proxy.kubeconfig))
    place = FlagdSystem(feature_flag="flags", kubernetes=Kubernetes(namespace=cluster_namespace))
    try:
        with pytest.raises(Permanent, match=r"has no kind FeatureFlag of core\.openfeature\.dev/v1beta1; .*install"):
            await desk_at(place, clusters=clusters).look()
    finally:
        await clusters.close()


async def test_a_context_that_is_not_there_is_named(config_map: ConfigMapSite) -> None:
    place = FlagdSystem(config_map="flags", kubernetes=Kubernetes(context="lost"))
    assert "has no context lost; it has test" in await refusal(config_map, place)


@pytest.mark.parametrize(
    ("data", "sentence"),
    (
        ({}, "ConfigMap flags in {} has no key flags.json; its keys are: other"),
        ({"flags.json": "flags: {}"}, "flags.json of ConfigMap flags in {} is no flagd document in JSON: Expecting"),
        ({"flags.json": "[]"}, "ConfigMap flags in {} is no flagd document: it has no object flags"),
        ({"flags.json": '{"flags": {}}'}, f"there is no flag '{KEY}' in ConfigMap flags in {{}}; add it there, with a"),
        (
            {"flags.json": DOCUMENT.replace('["on",0], ', "")},
            f"ConfigMap flags in {{}}: flags.{KEY}.targeting: a fraction of two is expected, the default variant",
        ),
    ),
)
async def test_what_is_no_flag_is_refused_with_its_place(
    config_map: ConfigMapSite, data: dict[str, str], sentence: str
) -> None:
    config_map.patch({"data": {"flags.json": None, **data}})
    assert (await refusal(config_map)).startswith(sentence.format(config_map.namespace))


async def test_a_config_map_that_nobody_can_change_is_refused_before_a_run(config_map: ConfigMapSite) -> None:
    config_map.patch({"immutable": True, **config_map.flags(DOCUMENT)})
    assert "is immutable, so no flag in it can be raised" in await refusal(config_map)


async def test_every_other_byte_of_a_config_map_stays(config_map: ConfigMapSite) -> None:
    config_map.patch(config_map.flags(DOCUMENT))
    await desk_of(config_map).raised(25)
    expected = DOCUMENT.replace("DISABLED", "ENABLED").replace('["on",0], ["off", 100]', '["on",25], ["off", 75]')
    assert config_map.content()["data"] == {"flags.json": expected, "other": "kept"}


async def test_targets_and_what_else_an_object_has_stay(control_plane: Cluster, cluster_namespace: str) -> None:
    site = FeatureFlagSite(control_plane, cluster_namespace)
    draw = {"fractional": [["on", 0], ["off", 100]]}
    targeting = {"if": [{"in": [{"var": "team"}, ["qa"]]}, "on", draw]}
    evaluators = {"isStaff": {"in": ["@example.com", {"var": "email"}]}}
    flags = {KEY: {**operators(DOCUMENT)[KEY], "targeting": targeting}}
    site.patch({"spec": {"flagSpec": {"$evaluators": evaluators, "flags": flags}}})
    there = await site.exactly()
    try:
        before = (await desk_of(site).look()).value
        standing = await desk_of(site).raised(0.125)
        found = (await site.exactly())["spec"]["flagSpec"]
        assert found["flags"][KEY]["targeting"]["if"][:2] == targeting["if"][:2]
        assert found["flags"][KEY]["targeting"]["if"][2] == {"fractional": [["on", 125], ["off", 99875]]}
        assert found["$evaluators"] == evaluators
        await desk_of(site).set(before, standing, node="flags")
        assert await site.exactly() == there
    finally:
        await site.clusters.close()


# --- whole runs -------------------------------------------------------------------------------------------------------

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {{name: in-cluster}}
spec:
  kubernetes: {{namespace: {namespace}}}
  flag_systems:
    files: {{flagd: {{config_map: flags}}}}
    operator: {{flagd: {{feature_flag: flags}}}}
  flags:
    {key}: {{system: files}}
    fasterSearch: {{system: operator}}
  stages:
    - {{name: batches, kind: batch, flag: {key}, percentages: [50, 100], bake: 1s, settle: 0s}}
    - {{name: search, kind: monitoring, flag: fasterSearch, percentages: [0.5, 100], bake: 1s, settle: 0s}}
  watch: 10m
"""


@pytest.fixture
def sites(control_plane: Cluster, cluster_namespace: str) -> tuple[ConfigMapSite, FeatureFlagSite]:
    """Both flags, off at 0 %. They are looked at by kubectl alone."""
    files = ConfigMapSite(control_plane, cluster_namespace)
    operator = FeatureFlagSite(control_plane, cluster_namespace)
    files.patch(files.flags(DOCUMENT))
    operator.patch(operator.flags(DOCUMENT.replace(KEY, "fasterSearch")))
    return files, operator


@pytest.mark.acceptance
def test_a_run_raises_flags_in_a_config_map_and_a_feature_flag_step_by_step_and_takes_both_back(
    sites: tuple[ConfigMapSite, FeatureFlagSite], control_plane: Cluster, cluster_namespace: str, tmp_path: Path
) -> None:
    there = [site.content() for site in sites]
    with host_in(tmp_path, KUBECONFIG=str(control_plane.kubeconfig)) as host:
        plan = host.write("plan.yaml", PLAN.format(namespace=cluster_namespace, key=KEY))
        assert "stands at 0 %" in host.ok("validate", plan).output
        _, run = host.started(plan)
        seen: list[tuple[Any, Any]] = []

        def is_watched() -> bool:
            now = (weight_of(sites[0]), weight_of(sites[1]))
            if now not in seen[-1:]:
                seen.append(now)
            return (host.status(run) or {}).get("phase") == "watching"

        wait_until(is_watched, what=f"{run} to be watched", deadline_seconds=90)
        steps = [(0, 0), (50, 0), (100, 0), (100, 500), (100, 100_000)]
        assert [one for one in steps if one in seen] == seen
        assert seen[-1] == steps[-1]
        host.ok("rollback", run, "--reason", "because of the test")
        host.wait_for_end(run, "rolled_back")
    for before, now in zip(there, [site.content() for site in sites], strict=True):
        assert (now.get("data"), now.get("spec")) == (before.get("data"), before.get("spec"))


@pytest.mark.acceptance
def test_what_stands_in_the_way_is_told_before_a_run(
    sites: tuple[ConfigMapSite, FeatureFlagSite], control_plane: Cluster, cluster_namespace: str, tmp_path: Path
) -> None:
    for site in sites:
        grant(site, f"reads-{site.kind.lower()}", "get", next(name for name in SITES if SITES[name] is type(site)))
    sites[0].kubectl("annotate", "configmap", "flags", "argocd.argoproj.io/tracking-id=shop:/ConfigMap:x/flags")
    with host_in(tmp_path, KUBECONFIG=str(control_plane.kubeconfig_of("controller"))) as host:
        plan = host.write("plan.yaml", PLAN.format(namespace=cluster_namespace, key=KEY))
        said = " ".join(host.run("validate", plan).output.split())
    assert "controller may not patch configmaps flags, patch featureflags.core.openfeature.dev flags" in said
    assert '"resourceNames": ["flags"], "verbs": ["get", "patch"]' in said
    assert f"flag {KEY}: Argo CD (Application shop) may put the key flags.json of ConfigMap flags back" in said


@pytest.mark.acceptance
def test_an_edit_by_hand_holds_the_run_and_is_told_with_a_name(
    sites: tuple[ConfigMapSite, FeatureFlagSite], control_plane: Cluster, cluster_namespace: str, tmp_path: Path
) -> None:
    with host_in(tmp_path, KUBECONFIG=str(control_plane.kubeconfig)) as host:
        plan = host.write(
            "plan.yaml", PLAN.format(namespace=cluster_namespace, key=KEY).replace("bake: 1s", "bake: 5m")
        )
        _, run = host.started(plan)
        host.wait_for(run, leg="baking")
        sites[0].patch(sites[0].flags(DOCUMENT.replace('["on",0], ["off", 100]', '["on",7], ["off", 93]')))
        host.wait_for(run, hold="changed_elsewhere")
        assert f"flag {KEY} in production was changed by {PATCHER}" in json.dumps(host.json("history", run))
        assert weight_of(sites[0]) == 7


def weight_of(site: ObjectSite) -> Any:
    content = site.content()
    if isinstance(site, ConfigMapSite):
        return json.loads(content["data"]["flags.json"])["flags"][KEY]["targeting"]["fractional"][0][1]
    return content["spec"]["flagSpec"]["flags"]["fasterSearch"]["targeting"]["fractional"][0][1]
