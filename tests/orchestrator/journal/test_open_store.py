import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import RolloutError, UsageError
from orchestrator.journal import open_reading, open_store, store_path
from tests.support.process import ROOT


@pytest.mark.parametrize(
    ("url", "path"),
    (
        ("sqlite:///var/lib/rollout.db", "/var/lib/rollout.db"),
        ("sqlite:////var/lib/rollout.db", "/var/lib/rollout.db"),
        ("sqlite:///./rollout.db", "rollout.db"),
        ("sqlite:///with%20blank/a.db", "/with blank/a.db"),
        ("/var/lib/rollout.db", "/var/lib/rollout.db"),
        ("rollout.db", "rollout.db"),
    ),
)
def test_a_url_or_a_plain_path_names_a_file(url: str, path: str) -> None:
    assert store_path(url) == Path(path)


def test_the_home_folder_may_be_written_as_a_tilde() -> None:
    assert store_path("~/rollout.db") == Path.home() / "rollout.db"


@pytest.mark.parametrize("url", ("", "/", "folder/", "sqlite://", "sqlite:///", "sqlite://host/a.db"))
def test_what_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"names no store: .* expected"):
        open_store(url)


def test_another_kind_of_database_is_refused_without_repeating_what_may_be_a_password() -> None:
    with pytest.raises(
        UsageError, match=r"not kept on 'mysql': sqlite:///PATH, .* or postgresql://.* expected"
    ) as caught:
        open_store("mysql://ann:s3cret@host/db")
    assert "s3cret" not in str(caught.value)


async def test_a_store_is_made_with_its_folder_and_read_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/folder/store.db"
    with pytest.raises(RolloutError, match="no store"):
        open_reading(url)
    store = open_store(url)
    reader = open_reading(url)
    assert await reader.rows() == []
    await reader.close()
    await store.close()
    assert (tmp_path / "new" / "folder").stat().st_mode & 0o777 == 0o700


def test_the_package_is_imported_without_what_its_stores_need() -> None:
    code = "import sys, orchestrator.journal; sys.exit('apsw' in sys.modules or 'psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
