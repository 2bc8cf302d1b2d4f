"""A real controller that a namespace of a real control plane drives: `rollout serve --in-cluster` as a process, in the
name of a service account, and people with kubectl and the command line before it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.support.cluster import Cluster
from tests.support.manifests import MANIFESTS
from tests.support.process import Child, Result, Rollout, rollout_in, wait_until

ACCOUNT = "staged-rollout"
FLAG_STAGE = {
    "name": "open",
    "kind": "monitoring",
    "flag": "beta",
    "percentages": [50, 100],
    "bake": "1s",
    "settle": "0s",
}


def plan(name: str, *stages: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """As people write it. A stage that raises a flag raises one of its own."""
    flags: dict[str, Any] = {str(stage["flag"]): {} for stage in stages if "flag" in stage}
    spec = {**({"flags": flags} if flags else {}), **spec, "stages": list(stages)}
    return {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": name},
        "spec": spec,
    }


@dataclass
class Shop:
    """A namespace with a service account for the controller, and a machine that it runs on."""

    cluster: Cluster
    namespace: str
    rollout: Rollout
    kubeconfig: Path
    controllers: list[Child] = field(default_factory=list)

    # --- people ---------------------------------------------------------------------------------------------------

    def apply(self, *objects: dict[str, Any], user: str = "alice") -> None:
        """`kubectl apply`, with the user named as who writes each plan."""
        for one in objects:
            if one["kind"] == "StagedRollout":
                annotations = {**one["metadata"].get("annotations", {}), "stagedrollout.io/created-by": user}
                one["metadata"]["annotations"] = annotations
            one["metadata"]["namespace"] = self.namespace
        self.cluster.apply(*objects, user=user)

    def kubectl(self, *arguments: str, user: str = "alice") -> str:
        return self.cluster.kubectl(*arguments, "--namespace", self.namespace, user=user)

    def command_line(self, *arguments: str | Path, user: str = "alice") -> Result:
        """`rollout ... --context test` of somebody."""
        child = Child(
            [Path(self.rollout.child().command[0]), *arguments, "--context", "test", "--namespace", self.namespace],
            self.rollout.folder,
            environment={**self.rollout.environment, "KUBECONFIG": str(self.cluster.kubeconfig_of(user))},
        )
        with child:
            return Result(child.wait(), child.output, child.errors)

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.get("sro", name, "--namespace", self.namespace).get("status", {})
        return found

    def until(self, name: str, **wanted: Any) -> dict[str, Any]:
        """The status, once it has all that is wanted."""

        def reached() -> dict[str, Any] | None:
            status = self.status(name)
            return status if status and _has(status, wanted) else None

        found = wait_until(reached, what=f"{name} to have {wanted}", every_seconds=0.2)
        assert found is not None
        return found

    def wait_ready(self, name: str, user: str = "alice") -> str:
        return self.kubectl("wait", "--for=condition=Ready", f"sro/{name}", "--timeout=60s", user=user)

    def message(self, name: str) -> str:
        return next(str(one["message"]) for one in self.status(name)["conditions"] if one["type"] == "Ready")

    # --- the controller -------------------------------------------------------------------------------------------

    def serve(self, *arguments: str, kubeconfig: Path | None = None) -> Child:
        """`rollout serve --in-cluster`, once it serves."""
        self.rollout.environment["KUBECONFIG"] = str(kubeconfig or self.kubeconfig)
        child = self.rollout.start(
            "serve", "--in-cluster", "--namespace", self.namespace, "--listen", "127.0.0.1:0", *arguments
        )
        child.wait_for("controller at ")
        self.controllers.append(child)
        return child

    def runs(self) -> list[dict[str, Any]]:
        """All runs of the controller's store."""
        found: list[dict[str, Any]] = self.rollout.json("list")
        return found


@contextmanager
def shop_in(cluster: Cluster, namespace: str, folder: Path) -> Iterator[Shop]:
    """With RBAC as the manifests have it: the controller's, an author's for alice, an operator's for bob."""
    where = ("--namespace", namespace)
    for one in YAML(typ="safe", pure=True).load_all((MANIFESTS / "base" / "rbac.yaml").read_text()):
        if one["kind"] != "ClusterRoleBinding":  # it is of one namespace
            cluster.kubectl("apply", *where, "--filename", "-", given=json.dumps(one))
    account = f"--serviceaccount={namespace}:{ACCOUNT}"
    reviews = f"reviews-{namespace}"
    cluster.kubectl("create", "clusterrolebinding", reviews, "--clusterrole=staged-rollout-reviews", account)
    cluster.kubectl("apply", *where, "--filename", MANIFESTS / "examples" / "workloads.yaml")
    cluster.kubectl("create", "rolebinding", "workloads", *where, "--role=staged-rollout-workloads", account)
    cluster.kubectl(
        "create", "rolebinding", "people-workloads", *where, "--role=staged-rollout-workloads", "--user=alice"
    )
    cluster.kubectl("create", "rolebinding", "authors", *where, "--clusterrole=stagedrollout-author", "--user=alice")
    cluster.kubectl("create", "rolebinding", "operators", *where, "--clusterrole=stagedrollout-operator", "--user=bob")
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": cluster.service_account_token(namespace, ACCOUNT)}
    kubeconfig = folder / "controller.kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    try:
        with rollout_in(folder) as rollout:
            yield Shop(cluster, namespace, rollout, kubeconfig)
    finally:
        cluster.kubectl("delete", "clusterrolebinding", reviews)


def _has(status: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(status.get(name) == value for name, value in wanted.items())
