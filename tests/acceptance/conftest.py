from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.worlds.counting import CountingServer
from tests.acceptance.worlds.host import Host, host_in
from tests.support.metrics_app import MetricsApp
from tests.support.prometheus import Prometheus


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A machine of its own; what runs there at the end is killed, controllers in the background too."""
    with host_in(tmp_path) as made:
        yield made


@pytest.fixture
def counting() -> Iterator[CountingServer]:
    with CountingServer() as server:
        yield server


@pytest.fixture
def prometheus(prometheus_binary: Path, tmp_path: Path, metrics_app: MetricsApp) -> Iterator[Prometheus]:
    """A real one that scrapes `metrics_app` five times a second."""
    metrics_app.set("error_rate", 0.0)
    with Prometheus(prometheus_binary, tmp_path, [metrics_app.address], scrape_interval_ms=200) as server:
        server.wait_for("error_rate")
        yield server
