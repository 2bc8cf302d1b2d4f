import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import structlog

from tests.support.cluster import Cluster, is_built, provide_programs
from tests.support.metrics_app import MetricsApp
from tests.support.ports import free_port as find_free_port
from tests.support.postgres import PostgresServer
from tests.support.process import ROOT, Rollout, rollout_in
from tests.support.shared_cluster import shared_cluster
from tests.support.stores import PostgresSchema, schema_in

MARKERS = {
    "chromium": "browser",
    "kubernetes_programs": "cluster",
    "node_with_modules": "npm",
    "postgres_server": "postgres",
    "prometheus_binary": "prometheus",
    "rollout": "acceptance",
}


def pytest_configure() -> None:
    """A shell starts what it runs in the background with SIGINT ignored, and so would be every process of a test."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


NUMBERS = count(1)
LONG = ("simulation", "slow", "acceptance", "cluster", "browser", "postgres")
BUILD_TIMEOUT_SECONDS = 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what uses a real service, so that `-m "not prometheus"` never misses one; and puts the files that take long
    first, so that no worker sits with one of them when the others are through."""
    for item in items:
        for fixture, marker in MARKERS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)
    allow_for_building(items)
    ranks: dict[Path, int] = {}
    for item in items:
        rank = next((rank for rank, marker in enumerate(LONG) if item.get_closest_marker(marker)), len(LONG))
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


def allow_for_building(items: list[pytest.Item]) -> None:
    """The first test that needs a control plane may have to wait until it is built."""
    waiting = [item for item in items if item.get_closest_marker("cluster")]
    if waiting and not is_built():
        for item in waiting:
            item.add_marker(pytest.mark.timeout(BUILD_TIMEOUT_SECONDS))


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    """A real Prometheus, fetched or built the first time. Skips where none can be had; in continuous integration
    (CI=true) fails.
    """
    provider = ROOT / ".ci" / "provide" / "prometheus"
    done = subprocess.run([sys.executable, provider], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Path(done.stdout.strip().splitlines()[-1])
    reason = (done.stderr.strip().splitlines() or ["no Prometheus"])[-1]
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kubernetes_programs() -> Path:
    """The folder of a real control plane's programs, built the first time. Skips where they can't be built; in
    continuous integration (CI=true) fails.
    """
    try:
        return provide_programs()
    except RuntimeError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def control_plane(kubernetes_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One real control plane for all tests and all workers. A test that stops its API server has a ControlPlane of its
    own.
    """
    of_worker = tmp_path_factory.getbasetemp()
    of_run = of_worker.parent if "PYTEST_XDIST_WORKER" in os.environ else of_worker
    with shared_cluster(of_run / "cluster", kubernetes_programs) as cluster:
        yield cluster


@pytest.fixture
def cluster_namespace(control_plane: Cluster) -> Iterator[str]:
    """The name of a namespace of the test's own."""
    with control_plane.namespace() as name:
        yield name


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests. A test that stops it must start it again, or better have a server of its own."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """`postgresql://...` of an empty database of the test's own."""
    with postgres_server.database() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def postgres_stores(postgres_server: PostgresServer) -> Iterator[str]:
    """The DSN of the database in which the stores of all tests are."""
    with postgres_server.database() as dsn:
        yield dsn


@pytest.fixture
def postgres_schema(postgres_stores: str) -> Iterator[PostgresSchema]:
    """Where a store of the test's own can be."""
    with schema_in(postgres_stores, f"store_{next(NUMBERS)}") as schema:
        yield schema


@pytest.fixture
def free_port() -> int:
    return find_free_port()


@pytest.fixture
def metrics_app() -> Iterator[MetricsApp]:
    with MetricsApp() as app:
        yield app


@pytest.fixture
def rollout(tmp_path: Path) -> Iterator[Rollout]:
    """The real `rollout` command with a state directory of its own; what it started is killed at the end."""
    with rollout_in(tmp_path) as isolated:
        yield isolated


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A controller hosted in a test sets up its logging for the whole process, on streams that end with the test."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
