"""A short walk of a plan, for the suite: forward to the end, and taken back. `make seeds` walks on."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.postgres import PostgresServer
from tests.teams.__main__ import team_named
from tests.teams.team import Tools
from tests.teams.walk import walker_for


def short_walk(name: str, folder: Path, request: pytest.FixtureRequest) -> None:
    prometheus: Path = request.getfixturevalue("prometheus_binary")
    postgres: PostgresServer = request.getfixturevalue("postgres_server")

    def cluster() -> Cluster:
        found: Cluster = request.getfixturevalue("control_plane")
        return found

    told: list[str] = []
    with ExitStack() as stack:
        made = walker_for(team_named(name), folder, lambda at: Tools(at, prometheus, postgres, cluster), told.append)
        walker = stack.enter_context(made)
        walker.forward()
    assert len(told) == 1
