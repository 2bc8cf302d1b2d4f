from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.migrations.alembic_world import Project, World
from tests.support.disk import NoSmallDisk, small_disk_at


@pytest.fixture
def table(tmp_path: Path) -> World:
    return World(Project("alembic_table", tmp_path), f"sqlite:///{tmp_path}/app.db", tmp_path)


@pytest.fixture
def enum(tmp_path: Path, postgres_dsn: str) -> World:
    return World(Project("alembic_enum", tmp_path), postgres_dsn, tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB; needs root."""
    try:
        with small_disk_at(tmp_path / "disk") as folder:
            yield folder
    except NoSmallDisk as problem:
        pytest.skip(f"no small file system can be had here: {problem}")
