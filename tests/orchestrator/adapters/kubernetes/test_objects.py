"""Objects of one namespace: what people wrote as a name leads nowhere else."""

from pathlib import Path

import pytest

from orchestrator.adapters.kubernetes.client import Clusters
from orchestrator.adapters.kubernetes.objects import ClusterObjects, groups_of
from orchestrator.cluster_port import Access, Identity, Kind
from orchestrator.errors import Permanent
from stages.cluster import Kubernetes

CONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u, namespace: shop}}]
current-context: x
"""


@pytest.fixture
async def objects(tmp_path: Path) -> ClusterObjects:
    config = tmp_path / "kubeconfig"
    config.write_text(CONFIG)
    return ClusterObjects(await Clusters(str(config)).open(Kubernetes()))


@pytest.mark.parametrize("name", ("../secrets/token", "..", "a/b", "a?watch=true", "", "a%2fb", "A"))
async def test_a_name_that_no_object_has_is_refused_before_anybody_is_asked(objects: ClusterObjects, name: str) -> None:
    """A ConfigMap called ``../secrets/token`` would be a secret."""
    with pytest.raises(Permanent, match="is no name that an object of Kubernetes could have"):
        await objects.read(Kind.CONFIG_MAP, name)


async def test_nor_does_a_namespace_lead_elsewhere(objects: ClusterObjects) -> None:
    with pytest.raises(Permanent, match=r"'\.\./x' is no name"):
        await objects.review(Identity("alice", ()), Access("patch", "apps/v1", "Deployment", "../x", "web"))


def test_the_groups_that_follow_from_a_name_are_asked_for_too() -> None:
    assert groups_of(Identity("alice", ("sre",))) == ["system:authenticated", "sre"]
    assert groups_of(Identity("system:serviceaccount:ci:deployer", ("system:serviceaccounts",))) == [
        "system:authenticated",
        "system:serviceaccounts",
        "system:serviceaccounts:ci",
    ]
