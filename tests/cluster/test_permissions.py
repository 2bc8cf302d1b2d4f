"""What the controller may do against what it does: the audit log of an API server on which one plan does everything
that plans can do there.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.cluster import Cluster
from tests.support.in_cluster import ACCOUNT, FLAG_STAGE, Shop, plan, shop_in
from tests.support.manifests import MANIFESTS, install_definitions
from tests.support.process import wait_until
from tests.support.workloads import workload

pytestmark = [pytest.mark.acceptance]


@dataclass(frozen=True, slots=True, order=True)
class Right:
    group: str
    resource: str
    verb: str


NOT_USED = {
    Right("stagedrollout.io", "stagedrollouts/finalizers", "update"): "asked for where the API server runs the plugin "
    "OwnerReferencesPermissionEnforcement",
    Right("stagedrollout.io", "stagedrollouts", "get"): "kubectl and people read one; the controller lists and watches",
    Right("stagedrollout.io", "stagedrolloutcommands", "get"): "likewise",
    Right("stagedrollout.io", "stagedrolloutcommands", "delete"): "a day after a command was answered",
    Right("", "events", "get"): "an Event that is told again",
    Right("", "events", "patch"): "likewise",
    Right("authorization.k8s.io", "subjectaccessreviews", "create"): "a plan that applies what is in no namespace",
}
"""What the manifests grant and this scenario has no use for, and why it is granted."""
JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "task"},
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "task", "image": "task:1"}]}}},
}
LIMITS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "limits"}, "data": {"most": "1"}}
HOOK = {"webhook": {"url": {"secret": "hook/url"}}}


def documents(file: Path) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all(file.read_text()))


def granted(file: Path) -> set[Right]:
    """By all Roles and ClusterRoles of a manifest."""
    rules = [rule for one in documents(file) for rule in one.get("rules", ())]
    return {
        Right(group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


OWN = granted(MANIFESTS / "base" / "rbac.yaml")
OF_TEAMS = granted(MANIFESTS / "examples" / "workloads.yaml") | {
    Right("", "secrets", verb) for verb in ("get", "watch")
}


@pytest.fixture(scope="module")
def cluster(control_plane: Cluster) -> Cluster:
    install_definitions(control_plane)
    return control_plane


@pytest.fixture(scope="module")
def requests(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """All that the controller's account asked for while one plan went forward and came back."""
    with cluster.namespace() as namespace, shop_in(cluster, namespace, tmp_path_factory.mktemp("shop")) as shop:
        cluster.apply(*(_in(namespace, one) for one in (workload("web", "shop:1"), *_secrets(namespace))))
        shop.serve()
        _go_there_and_back(shop)
        account = f"system:serviceaccount:{namespace}:{ACCOUNT}"
        renewed = Right("coordination.k8s.io", "leases", "patch")  # each 20 s, and the plan may be quicker than that
        wait_until(lambda: renewed in used(_asked(cluster, account)), what="the lease to be renewed")
        yield _asked(cluster, account)


def _asked(cluster: Cluster, account: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in cluster.audit_log.read_text().splitlines() if account in line)
    return [one for one in lines if one["user"]["username"] == account]


def _in(namespace: str, body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "metadata": {**body["metadata"], "namespace": namespace}}


def _secrets(namespace: str) -> list[dict[str, Any]]:
    rbac = "rbac.authorization.k8s.io"
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["hook"], "verbs": ["get", "watch"]}
    account = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}
    subjects = [account, {"kind": "User", "name": "alice", "apiGroup": rbac}]
    role = {"apiGroup": rbac, "kind": "Role", "name": "plan-secrets"}
    metadata = {"name": "plan-secrets"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook"}}
    return [
        {**secret, "stringData": {"url": "http://127.0.0.1:1/"}},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": role,
            "subjects": subjects,
        },
    ]


def _go_there_and_back(shop: Shop) -> None:
    folder = shop.rollout.folder
    (folder / "job.json").write_text(json.dumps(JOB))
    (folder / "limits.json").write_text(json.dumps(LIMITS))
    web = "deployment/web"
    actions = [
        {"scale": web, "replicas": 3},
        {"image": web, "to": "shop:2"},
        {"restart": web, "undo": "none"},
        {"apply": "limits.json"},
        {"job": "job.json", "undo": "none"},
        {"manual": "Everything is up"},
    ]
    written = plan("all", {**FLAG_STAGE, "percentages": [50]}, {"name": "do", "kind": "steps", "steps": actions})
    news = [{"when": ["started"], "channels": ["ops"]}]
    written["spec"] |= {"deletionPolicy": "rollback", "notify": {"channels": {"ops": HOOK}, "news": news}}
    file = folder / "plan.json"
    file.write_text(json.dumps(written))
    started = shop.command_line("start", file, "--detach")
    assert started.code == 0, started.errors
    shop.until("all", phase="running", stage="do", step="Everything is up")
    back = shop.command_line("rollback", "all", "--reason", "enough", user="bob")
    assert back.code == 0, back.errors
    shop.until("all", phase="ended", outcome="rolled_back")
    shop.kubectl("delete", "sro", "all", "--timeout=60s")


def used(requests: list[dict[str, Any]]) -> set[Right]:
    """Of what has a resource: the rest is how the API server tells what it has."""
    found = [one["objectRef"] | {"verb": one["verb"]} for one in requests if "objectRef" in one]
    return {
        Right(
            one.get("apiGroup", ""),
            f"{one['resource']}/{one['subresource']}" if "subresource" in one else one["resource"],
            one["verb"],
        )
        for one in found
    }


def test_the_controller_asks_for_nothing_that_is_not_granted(requests: list[dict[str, Any]]) -> None:
    assert [one["requestURI"] for one in requests if one["responseStatus"]["code"] == 403] == []
    assert used(requests) - OWN - OF_TEAMS == set()


def test_everything_that_is_granted_is_used_or_has_a_reason(requests: list[dict[str, Any]]) -> None:
    assert OWN - used(requests) == set(NOT_USED)


def test_requests_without_a_resource_ask_what_the_api_server_has(requests: list[dict[str, Any]]) -> None:
    paths = {one["requestURI"].partition("?")[0] for one in requests if "objectRef" not in one}
    assert all(path.startswith(("/api/", "/apis/")) for path in paths)
