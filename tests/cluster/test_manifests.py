"""The manifests on a real API server: taken as they are, and doing what they are there for."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from orchestrator.adapters.kubernetes.client import Clusters
from orchestrator.adapters.kubernetes.objects import ClusterObjects
from orchestrator.cluster_port import Access, Identity
from orchestrator.errors import Permanent
from stages.cluster import (
    ApplyManifest,
    ClusterOperation,
    Kubernetes,
    ObserveManifest,
    RestartWorkload,
    RunJob,
    ScaleWorkload,
    SetImage,
)
from tests.support.api import api_of, bare_namespace
from tests.support.cluster import Cluster
from tests.support.manifests import (
    EMBEDDED,
    MANIFESTS,
    SHARED,
    command,
    create,
    install_definitions,
    overlay_in,
    rollout,
    try_create,
)
from tests.support.process import ROOT, rollout_in, wait_until
from tests.support.workloads import WorkloadWorld, workload

EVENTUALLY_SECONDS = 60.0
WAIT = {"name": "go", "kind": "steps", "steps": [{"wait": "1m"}]}
CONTROLLER = "staged-rollout"


@pytest.fixture(scope="module")
def cluster(control_plane: Cluster) -> Cluster:
    install_definitions(control_plane)
    return control_plane


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    with bare_namespace(cluster) as name:
        yield name


@pytest.fixture(scope="module")
def installed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The namespace of a controller, installed as a user does it, on a volume that is there."""
    with cluster.namespace() as namespace:
        _install(cluster, namespace, overlay_in(tmp_path_factory.mktemp("overlay"), namespace))
        yield namespace


def _install(cluster: Cluster, namespace: str, folder: Path) -> None:
    cluster.kubectl("apply", "--validate=strict", "--kustomize", folder)
    cluster.kubectl(
        "create", "secret", "generic", "staged-rollout-tokens", "--from-literal=tokens.json=[]", "-n", namespace
    )
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": namespace},
        "spec": {
            "capacity": {"storage": "5Gi"},
            "accessModes": ["ReadWriteOnce"],
            "claimRef": {"namespace": namespace, "name": CONTROLLER},
            "hostPath": {"path": f"/var/lib/{namespace}"},
        },
    }
    cluster.apply(volume)


# --- the API server takes them ----------------------------------------------------------------------------------------


def test_every_manifest_is_taken_with_strict_validation(cluster: Cluster, installed: str) -> None:
    """Those of the overlay were, when it was installed."""
    example = MANIFESTS / "examples" / "workloads.yaml"
    cluster.kubectl("apply", "--validate=strict", "--dry-run=server", "--namespace", installed, "--filename", example)


def test_the_overlay_for_several_controllers_is_taken_as_well(cluster: Cluster, installed: str, tmp_path: Path) -> None:
    folder = overlay_in(tmp_path, installed, overlay=SHARED)
    taken = cluster.kubectl("apply", "--validate=strict", "--dry-run=server", "--output=yaml", "--kustomize", folder)
    items = YAML(typ="safe", pure=True).load(taken)["items"]
    (deployment,) = (one["spec"] for one in items if one["kind"] == "Deployment")
    (container,) = deployment["template"]["spec"]["containers"]
    given = {one["name"] for one in container["env"]}
    assert (deployment["replicas"], deployment["strategy"]["type"]) == (3, "RollingUpdate")
    assert {"ROLLOUT_STORE", "POD_IP"} <= given
    assert "http://$(POD_IP):8040" in container["args"]


def test_no_manifest_is_left_out_of_a_kustomization(cluster: Cluster) -> None:
    base = YAML(typ="safe", pure=True).load((MANIFESTS / "base" / "kustomization.yaml").read_text())
    files = {path.name for path in (MANIFESTS / "base").glob("*.yaml")}
    assert files - {"kustomization.yaml"} == set(base["resources"])


def test_the_component_for_the_prometheus_operator_fits(cluster: Cluster, tmp_path: Path) -> None:
    component = ROOT / "manifests" / "components" / "prometheus-operator"
    relative = Path("/".join([".."] * len(tmp_path.parts[1:]))) / component.relative_to("/")
    folder = overlay_in(tmp_path, "rollouts", lines=f"components: [{relative}]\n")
    texts = cluster.kubectl("kustomize", folder).split("\n---\n")
    monitor, service = (
        YAML(typ="safe", pure=True).load(next(text for text in texts if f"\nkind: {kind}\n" in text))
        for kind in ("ServiceMonitor", "Service")
    )
    assert service["metadata"]["name"] == CONTROLLER
    assert monitor["metadata"]["namespace"] == "rollouts"
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert wanted <= service["metadata"]["labels"].items()
    assert [port["name"] for port in service["spec"]["ports"]] == [monitor["spec"]["endpoints"][0]["port"]]


def test_a_pod_that_may_do_more_is_refused_there(cluster: Cluster, installed: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "loose"},
        "spec": {"containers": [{"name": "a", "image": "a"}]},
    }
    assert "violates PodSecurity" in try_create(cluster, installed, pod).errors


# --- what the controller may do ---------------------------------------------------------------------------------------

MAY = (
    ("list", "stagedrollouts.stagedrollout.io"),
    ("watch", "stagedrollouts.stagedrollout.io"),
    ("patch", "stagedrollouts.stagedrollout.io"),
    ("patch", "stagedrollouts.stagedrollout.io/status"),
    ("watch", "stagedrolloutcommands.stagedrollout.io"),
    ("delete", "stagedrolloutcommands.stagedrollout.io"),
    ("patch", "stagedrolloutcommands.stagedrollout.io/status"),
    ("get", "configmaps"),
    ("create", "events"),
    ("patch", "leases.coordination.k8s.io/staged-rollout-controller"),
    ("create", "leases.coordination.k8s.io"),
    ("create", "localsubjectaccessreviews.authorization.k8s.io"),
    ("create", "subjectaccessreviews.authorization.k8s.io"),
    ("get", "validatingadmissionpolicies.admissionregistration.k8s.io/authors.stagedrollout.io"),
    ("get", "validatingadmissionpolicybindings.admissionregistration.k8s.io/commands.stagedrollout.io"),
)
OF_THE_CLUSTER = ("reviews", "validatingadmission")
MAY_NOT = (
    ("get", "secrets"),
    ("list", "secrets"),
    ("list", "configmaps"),
    ("create", "stagedrollouts.stagedrollout.io"),
    ("create", "stagedrolloutcommands.stagedrollout.io"),
    ("create", "stagedrollouts.stagedrollout.io/approve"),
    ("patch", "deployments.apps"),
    ("create", "pods"),
    ("patch", "leases.coordination.k8s.io/another"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("get", "validatingadmissionpolicies.admissionregistration.k8s.io/another"),
    ("patch", "validatingadmissionpolicies.admissionregistration.k8s.io/authors.stagedrollout.io"),
)


def can(cluster: Cluster, namespace: str, who: str, verb: str, resource: str) -> bool:
    kind, _, rest = resource.partition("/")
    is_subresource = rest in ("status", "approve")
    asked, name = (resource, "") if is_subresource else (kind, rest)
    return api_of(cluster).may(namespace, who, verb, asked, name=name, groups=("system:authenticated",))


def test_the_controller_may_do_what_it_does_and_nothing_else(cluster: Cluster, installed: str) -> None:
    account = f"system:serviceaccount:{installed}:{CONTROLLER}"
    assert [one for one in MAY if not can(cluster, installed, account, *one)] == []
    assert [one for one in MAY_NOT if can(cluster, installed, account, *one)] == []
    of_a_namespace = [one for one in MAY if not any(word in one[1] for word in OF_THE_CLUSTER)]
    assert [one for one in of_a_namespace if can(cluster, "default", account, *one)] == []


def test_the_docs_list_what_the_controller_may_do(cluster: Cluster, installed: str) -> None:
    """As kubectl lists it, without what every service account may do."""
    account = f"system:serviceaccount:{installed}:{CONTROLLER}"
    listed = cluster.kubectl("auth", "can-i", "--list", "--namespace", installed, "--as", account).splitlines()
    docs = (ROOT / "docs" / "kubernetes.md").read_text()
    shown = docs.partition("kubectl auth can-i --list --namespace staged-rollout --as")[2].split("```text\n")[1]
    told = [line.split() for line in shown.partition("\n```")[0].splitlines()]
    own = [line.split() for line in listed if "[/" not in line and not line.startswith("self")]
    assert sorted(told) == sorted(own)


@pytest.mark.acceptance
def test_what_is_installed_is_enough_for_a_controller(cluster: Cluster, installed: str, tmp_path: Path) -> None:
    """With the rights of its service account alone, a plan of alice's runs to its end, and a command is answered."""
    grant(cluster, installed, "alice", "stagedrollout-author")
    grant(cluster, installed, "alice", "stagedrollout-operator")
    kubeconfig = account_kubeconfig(cluster, installed, tmp_path / "kubeconfig")
    with rollout_in(tmp_path, KUBECONFIG=str(kubeconfig)) as program:
        program.start("serve", "--in-cluster", "--namespace", installed, "--listen", "127.0.0.1:0")
        create(cluster, installed, rollout("plan", WAIT, created_by="alice"), user="alice")
        wait_until(lambda: shown(cluster, installed, "sro", "phase") == ["running"], what="the run to begin")
        create(cluster, installed, command("plan", "stop", "alice"), user="alice")
        wait_until(lambda: shown(cluster, installed, "sroc", "accepted") == [True], what="an answer")
        wait_until(lambda: shown(cluster, installed, "sro", "outcome") == ["stopped"], what="the end of the run")
        assert "stopped" in cluster.kubectl("get", "events", "--namespace", installed)
    account = f"system:serviceaccount:{installed}:{CONTROLLER}"
    asked = [json.loads(line) for line in cluster.audit_log.read_text().splitlines() if account in line]
    refused = [one["requestURI"] for one in asked if one["responseStatus"]["code"] == 403]
    assert asked
    assert refused == []


def account_kubeconfig(cluster: Cluster, namespace: str, file: Path) -> Path:
    content = json.loads(cluster.kubeconfig.read_text())
    content["users"][0]["user"] = {"token": cluster.service_account_token(namespace, CONTROLLER)}
    file.write_text(json.dumps(content))
    return file


def shown(cluster: Cluster, namespace: str, kind: str, field: str) -> list[Any]:
    """A field of the status of each object."""
    items = cluster.get(kind, "--namespace", namespace)["items"]
    return [one.get("status", {}).get(field) for one in items]


def test_no_role_has_a_wildcard(cluster: Cluster, installed: str) -> None:
    roles = cluster.get("roles", "--namespace", installed)["items"]
    of_ours = [one for one in cluster.get("clusterroles")["items"] if "staged" in one["metadata"]["name"]]
    assert len(of_ours) == 5
    assert "*" not in json.dumps([role["rules"] for role in (*roles, *of_ours)])


# --- what a team grants it --------------------------------------------------------------------------------------------


@pytest.fixture
async def world(cluster: Cluster, cluster_namespace: str) -> AsyncIterator[WorkloadWorld]:
    """Changed by a user who has the example's Role and nothing else."""
    granted = list(YAML(typ="safe", pure=True).load_all((MANIFESTS / "examples" / "workloads.yaml").read_text()))
    role, binding = granted
    binding["subjects"] = [{"kind": "User", "name": "controller", "apiGroup": "rbac.authorization.k8s.io"}]
    for one in (role, binding):
        one["metadata"]["namespace"] = cluster_namespace
    cluster.apply(role, binding)
    made = WorkloadWorld(cluster, cluster_namespace, cluster.kubeconfig_of("controller"))
    yield made
    await made.clusters.close()


async def test_the_example_role_is_enough_for_workloads(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "web:1"))
    operations: tuple[ClusterOperation, ...] = (
        ScaleWorkload(workload="deployment/api", replicas=3),
        SetImage(workload="deployment/api", container="app", image="web:2"),
        RestartWorkload(workload="deployment/api"),
    )
    for index, operation in enumerate(operations):
        outcome = await world.carry_out(operation, effect=f"effect-{index}")
        assert outcome.state == "done", outcome
    assert (world.replicas("deployment/api"), world.image("deployment/api")) == (3, "web:2")


async def test_with_the_example_role_it_is_told_why_pods_are_not_ready(world: WorkloadWorld) -> None:
    world.deploy(workload("api", "web:1"))
    broken = SetImage(workload="deployment/api", container="app", image="broken:1", timeout_seconds=8)
    outcome = await world.carry_out(broken)
    assert outcome.state == "refused"
    assert "ImagePullBackOff" in outcome.detail


async def test_the_example_role_is_enough_for_manifests_there_and_back(world: WorkloadWorld) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "limits"}, "data": {"a": "1"}})
    observed = await world.performer.observe(
        ObserveManifest(kubernetes=world.place, manifest="limits.yaml", text=text), world._scene()
    )
    there = ApplyManifest(manifest="limits.yaml", text=text)
    assert (await world.carry_out(there, observed.value)).state == "done"
    assert world.get("configmap/limits")["data"] == {"a": "1"}
    back = there.model_copy(update={"restore": observed.value})
    assert (await world.carry_out(back, observed.value, effect="effect-2", node="undo:limits")).state == "done"


@pytest.mark.parametrize(("image", "state"), (("task:1", "done"), ("failing:1", "refused")))
async def test_the_example_role_is_enough_for_jobs(world: WorkloadWorld, image: str, state: str) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "task", "image": image}]}
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    text = json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "task"}, "spec": spec})
    outcome = await world.carry_out(RunJob(manifest="job.yaml", text=text, timeout_seconds=60))
    assert outcome.state == state, outcome
    assert "forbidden" not in outcome.detail.lower()


# --- who writes a plan ------------------------------------------------------------------------------------------------


def grant(cluster: Cluster, namespace: str, user: str, role: str) -> None:
    bind(cluster, namespace, role, "ClusterRole", {"kind": "User", "name": user})


def bind(cluster: Cluster, namespace: str, role: str, kind: str, subject: dict[str, str]) -> None:
    group = "rbac.authorization.k8s.io"
    body = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{subject['name']}-{role}"},
        "roleRef": {"apiGroup": group, "kind": kind, "name": role},
        "subjects": [{"apiGroup": group, **subject}],
    }
    create(cluster, namespace, body)


def allow(cluster: Cluster, namespace: str, role: str, verbs: list[str], resource: str, *names: str) -> None:
    """A Role for alice."""
    plural, _, group = resource.partition(".")
    _, _, subresource = group.partition("/")
    rule = {"apiGroups": [group.partition("/")[0]], "resources": [f"{plural}/{subresource}" if subresource else plural]}
    body = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": role},
        "rules": [{**rule, "verbs": verbs, **({"resourceNames": list(names)} if names else {})}],
    }
    create(cluster, namespace, body)
    bind(cluster, namespace, role, "Role", {"kind": "User", "name": "alice"})


def patch(cluster: Cluster, namespace: str, body: object, user: str = "admin") -> str:
    return api_of(cluster, user).patch("StagedRollout", namespace, "plan", body).refusal


@pytest.fixture
def authors(cluster: Cluster, namespace: str) -> str:
    for user in ("alice", "bob"):
        grant(cluster, namespace, user, "stagedrollout-author")
    return namespace


def test_who_writes_a_plan_is_named_in_it(cluster: Cluster, authors: str) -> None:
    create(cluster, authors, rollout("plan", WAIT, created_by="alice"), user="alice")
    nobody = try_create(cluster, authors, rollout("other", WAIT, created_by=None), user="alice")
    assert 'write metadata.annotations: {stagedrollout.io/created-by: "alice"}' in nobody.errors
    another = try_create(cluster, authors, rollout("other", WAIT, created_by="bob"), user="alice")
    assert "this plan is said to be by bob, and you are alice" in another.errors


def test_who_changes_a_plan_is_named_from_then_on(cluster: Cluster, authors: str) -> None:
    create(cluster, authors, rollout("plan", WAIT, created_by="alice"), user="alice")
    mine = {"metadata": {"annotations": {"stagedrollout.io/created-by": "bob"}}}
    files = {"metadata": {"annotations": {"stagedrollout.io/bundle": "files"}}}
    assert "said to be by alice, and you are bob" in patch(cluster, authors, {"spec": {"owner": "x"}}, user="bob")
    assert "said to be by alice, and you are bob" in patch(cluster, authors, files, user="bob")
    assert patch(cluster, authors, {"spec": {"owner": "x"}, **mine}, user="bob") == ""


def test_nobody_is_made_the_author_of_what_another_wrote(cluster: Cluster, authors: str) -> None:
    create(cluster, authors, rollout("plan", WAIT, created_by="alice"), user="alice")
    theirs = {"metadata": {"annotations": {"stagedrollout.io/created-by": "admin"}}}
    nobodys = {"metadata": {"annotations": {"stagedrollout.io/created-by": None}}}
    assert "can't put another name than your own" in patch(cluster, authors, theirs, user="bob")
    assert "can't put another name than your own" in patch(cluster, authors, nobodys, user="bob")
    assert patch(cluster, authors, {"metadata": {"labels": {"team": "search"}}}, user="bob") == ""


GROUPS = "stagedrollout.io/created-by-groups"


def with_groups(name: str, author: str, *groups: str) -> dict[str, Any]:
    body = rollout(name, WAIT, created_by=author)
    body["metadata"]["annotations"][GROUPS] = "\n".join(groups)
    return body


def test_who_writes_a_plan_may_name_groups_of_theirs(cluster: Cluster, authors: str) -> None:
    assert try_create(cluster, authors, with_groups("a", "alice", "developers"), user="alice").errors == ""
    assert try_create(cluster, authors, with_groups("a", "alice", " developers", "", "system:authenticated")).errors
    mixed = with_groups("a", "alice", "developers ", "", "system:authenticated")
    assert try_create(cluster, authors, mixed, user="alice").errors == ""
    foreign = try_create(
        cluster, authors, with_groups("a", "alice", "developers", "viewers", "sre"), user="alice"
    ).errors
    assert "alice is not in viewers, sre, which stagedrollout.io/created-by-groups names" in foreign


def test_groups_of_a_plan_are_changed_by_who_wrote_it_alone(cluster: Cluster, authors: str) -> None:
    create(cluster, authors, with_groups("plan", "alice", "developers"), user="alice")
    none, admins = ({"metadata": {"annotations": {GROUPS: value}}} for value in (None, "system:masters"))
    assert "only they can change stagedrollout.io/created-by-groups" in patch(cluster, authors, none, user="bob")
    assert "only they can change stagedrollout.io/created-by-groups" in patch(cluster, authors, admins)
    assert "alice is not in system:masters" in patch(cluster, authors, admins, user="alice")
    assert patch(cluster, authors, {"metadata": {"labels": {"team": "search"}}}, user="bob") == ""
    assert patch(cluster, authors, none, user="alice") == ""


def test_who_changes_a_plan_names_groups_of_their_own(cluster: Cluster, authors: str) -> None:
    """admin is in none of alice's groups, and can't run her plan, or one of their own, with their rights."""
    create(cluster, authors, with_groups("plan", "alice", "developers"), user="alice")
    mine: dict[str, Any] = {"stagedrollout.io/created-by": "admin"}
    edit = {"spec": {"owner": "x"}}
    taken_over = patch(cluster, authors, {**edit, "metadata": {"annotations": mine}})
    assert "admin is not in developers" in taken_over
    assert "admin is not in developers" in patch(cluster, authors, {"metadata": {"annotations": mine}})
    own = {**mine, GROUPS: "system:masters"}
    assert patch(cluster, authors, {**edit, "metadata": {"annotations": own}}) == ""


def test_rights_of_a_group_are_asked_for_where_it_is_named(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, SCALERS)
    bind(cluster, namespace, "scalers", "Role", {"kind": "Group", "name": "developers"})
    scale = Access("patch", "apps/v1", "Deployment", namespace, "web")

    async def is_allowed(*groups: str) -> bool:
        clusters = Clusters(str(cluster.kubeconfig))
        try:
            objects = ClusterObjects(await clusters.open(Kubernetes(namespace=namespace)))
            return (await objects.review(Identity("alice", groups), scale)).is_allowed
        finally:
            await clusters.close()

    assert asyncio.run(is_allowed()) is False
    assert asyncio.run(is_allowed("viewers")) is False
    assert asyncio.run(is_allowed("developers")) is True


SCALERS = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "scalers"},
    "rules": [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["patch"]}],
}


# --- whether names are held to be true --------------------------------------------------------------------------------

ADMISSION = "admissionregistration.k8s.io/v1"
MATCH = {
    "resourceRules": [
        {"apiGroups": ["example.com"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["x"]}
    ]
}


def _guard(name: str, failure: str, action: str, binding: Mapping[str, Any] = {}) -> list[dict[str, Any]]:
    """A policy that concerns nobody, and its binding; none of the two where its word is empty."""
    metadata = {"name": name}
    policy = {"failurePolicy": failure, "matchConstraints": MATCH, "validations": [{"expression": "true"}]}
    bound = {"policyName": name, "validationActions": [action], **binding}
    kind = "ValidatingAdmissionPolicy"
    return [
        *([{"apiVersion": ADMISSION, "kind": kind, "metadata": metadata, "spec": policy}] if failure else ()),
        *([{"apiVersion": ADMISSION, "kind": f"{kind}Binding", "metadata": metadata, "spec": bound}] if action else ()),
    ]


LIMITED = {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}


@pytest.mark.parametrize(
    ("guard", "words"),
    (
        (("Fail", "Deny"), None),
        (("", "Deny"), "there is no ValidatingAdmissionPolicy {}"),
        (("Ignore", "Deny"), "the ValidatingAdmissionPolicy {} has failurePolicy: Ignore"),
        (("Fail", ""), "there is no ValidatingAdmissionPolicyBinding {}"),
        (("Fail", "Warn"), "the ValidatingAdmissionPolicyBinding {0} does not deny by the policy {0}"),
        (("Fail", "Deny", LIMITED), "the ValidatingAdmissionPolicyBinding {} is limited to some objects"),
    ),
)
def test_a_policy_that_is_not_in_force_is_found(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch, guard: tuple[Any, ...], words: str | None
) -> None:
    monkeypatch.setattr("orchestrator.adapters.kubernetes.objects.GUARDS", (namespace,))
    made = _guard(namespace, *guard)
    cluster.apply(*made)
    try:
        assert _unguarded(cluster.kubeconfig) == ([] if words is None else [words.format(namespace)])
    finally:
        cluster.kubectl(
            "delete", "--filename", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
        )


def test_the_controllers_account_sees_that_the_policies_of_the_manifests_are_in_force(
    cluster: Cluster, installed: str, tmp_path: Path
) -> None:
    assert _unguarded(account_kubeconfig(cluster, installed, tmp_path / "kubeconfig")) == []


def test_who_may_not_see_the_policies_is_told_so(cluster: Cluster) -> None:
    with pytest.raises(Permanent, match="validatingadmissionpolicies"):
        _unguarded(cluster.kubeconfig_of("viewer"))


def _unguarded(kubeconfig: Path) -> list[str]:
    async def asked() -> list[str]:
        clusters = Clusters(str(kubeconfig))
        try:
            return await ClusterObjects(await clusters.open(Kubernetes())).unguarded()
        finally:
            await clusters.close()

    return asyncio.run(asked())


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def commanded(cluster: Cluster, namespace: str) -> str:
    """alice may pause, and approve one rollout; bob may do what operators may."""
    allow(cluster, namespace, "pausers", ["create"], "stagedrollouts.stagedrollout.io/pause")
    allow(cluster, namespace, "approvers", ["create"], "stagedrollouts.stagedrollout.io/approve", "search")
    allow(cluster, namespace, "sayers", ["create"], "stagedrolloutcommands.stagedrollout.io")
    grant(cluster, namespace, "bob", "stagedrollout-operator")
    return namespace


def test_a_command_bears_the_name_of_who_gives_it(cluster: Cluster, commanded: str) -> None:
    assert try_create(cluster, commanded, command("search", "pause", "alice"), user="alice").code == 0
    refused = try_create(cluster, commanded, command("search", "pause", "bob"), user="alice")
    assert "requestedBy is bob, and you are alice: a command bears the name of who gives it" in refused.errors


def test_a_command_is_given_only_by_who_may(cluster: Cluster, commanded: str) -> None:
    refused = try_create(cluster, commanded, command("search", "rollback", "alice"), user="alice")
    assert "alice may not rollback the rollout search" in refused.errors
    assert "create on stagedrollouts.stagedrollout.io/rollback" in refused.errors
    assert try_create(cluster, commanded, command("search", "rollback", "bob"), user="bob").code == 0
    assert (
        "bob may not approve" in try_create(cluster, commanded, command("search", "approve", "bob"), user="bob").errors
    )


def test_a_role_may_name_the_rollout(cluster: Cluster, commanded: str) -> None:
    assert try_create(cluster, commanded, command("search", "approve", "alice"), user="alice").code == 0
    refused = try_create(cluster, commanded, command("billing", "approve", "alice"), user="alice")
    assert "alice may not approve the rollout billing" in refused.errors


def test_who_may_give_no_commands_at_all_is_told_so_by_rbac(cluster: Cluster, commanded: str) -> None:
    refused = try_create(cluster, commanded, command("search", "pause", "viewer"), user="viewer")
    assert 'cannot create resource "stagedrolloutcommands"' in refused.errors


def test_viewers_of_a_namespace_see_its_rollouts(cluster: Cluster, namespace: str) -> None:
    assert can(cluster, namespace, "anybody", "list", "stagedrollouts.stagedrollout.io") is False
    grant(cluster, namespace, "anybody", "view")

    def seen() -> bool:
        return can(cluster, namespace, "anybody", "list", "stagedrollouts.stagedrollout.io")

    wait_until(seen, what="the role view to be aggregated", deadline_seconds=EVENTUALLY_SECONDS)


def test_can_i_lists_the_commands_that_somebody_may_give(cluster: Cluster, commanded: str) -> None:
    listed = cluster.kubectl("auth", "can-i", "--list", "--namespace", commanded, user="alice")
    assert re.search(r"^stagedrollouts\.stagedrollout\.io/approve +\[\] +\[search\] +\[create\]$", listed, re.MULTILINE)
    assert re.search(r"^stagedrollouts\.stagedrollout\.io/pause +\[\] +\[\] +\[create\]$", listed, re.MULTILINE)


def test_the_controllers_pod_may_run_where_pods_have_to_be_restricted(cluster: Cluster, installed: str) -> None:
    labels = cluster.get("namespace", installed)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    cluster.kubectl("rollout", "status", f"deployment/{CONTROLLER}", "--namespace", installed, "--timeout", "60s")
    pod = cluster.get("pods", "--namespace", installed, "--selector", f"app.kubernetes.io/name={CONTROLLER}")["items"][
        0
    ]
    container = pod["spec"]["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/var/lib/staged-rollout", "/tmp"}
    state = next(volume for volume in pod["spec"]["volumes"] if volume["name"] == "state")
    assert state["persistentVolumeClaim"] == {"claimName": CONTROLLER}


def test_the_overlay_is_where_the_docs_say(cluster: Cluster) -> None:
    assert f"kubectl apply -k {EMBEDDED.relative_to(ROOT)}" in (ROOT / "docs" / "kubernetes.md").read_text()
