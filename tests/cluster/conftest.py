"""What tests on a real API server share: the way to it, straight or through a proxy that can disturb it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.api_proxy import ApiProxy
from tests.support.cluster import Cluster
from tests.support.workloads import WorkloadWorld


@pytest.fixture
async def world(control_plane: Cluster, cluster_namespace: str) -> AsyncIterator[WorkloadWorld]:
    made = WorkloadWorld(control_plane, cluster_namespace, control_plane.kubeconfig)
    yield made
    await made.clusters.close()


@pytest.fixture
async def proxy(control_plane: Cluster, tmp_path: Path) -> AsyncIterator[ApiProxy]:
    async with ApiProxy(control_plane, "admin", tmp_path) as made:
        yield made


@pytest.fixture
async def world_behind(control_plane: Cluster, cluster_namespace: str, proxy: ApiProxy) -> AsyncIterator[WorkloadWorld]:
    """A world whose performer reaches the API server through the proxy."""
    made = WorkloadWorld(control_plane, cluster_namespace, proxy.kubeconfig)
    yield made
    await made.clusters.close()
