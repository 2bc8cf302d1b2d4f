"""The backend that stands in for a team's own: its restart, its batches, and its policies."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest

from examples.enrichment import release, repository
from examples.git import git
from tests.support.ports import free_port
from tests.support.process import ROOT, Child, isolated_environment, wait_until

AGENT, MIGRATIONS = release.AGENTS / "licensing_agent.py", Path("alembic") / "versions"


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = repository.make(folder / "origin")
        repository.clone(self.made, folder / "repository")
        port = free_port()
        words = ["-m", "examples.enrichment.compose", "--site", str(folder), "--name", "test", "--port", str(port)]
        environment = {**isolated_environment(folder / "home"), "PYTHONPATH": str(ROOT)}
        nowhere = "postgresql://127.0.0.1:1/nowhere"
        self.child = Child([sys.executable, *words], folder, environment={**environment, "DATABASE_URL": nowhere})
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20.0)

    def deploy(self, commit: str) -> None:
        git(self.folder / "repository", "checkout", "--quiet", "--detach", commit)
        self.child.send(signal.SIGHUP)
        wait_until(lambda: commit in self.running, what=f"{commit} to serve")

    @property
    def running(self) -> str:
        file = self.folder / "running"
        return file.read_text() if file.exists() else ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    with made.child:
        wait_until(lambda: made.running, what="the backend")
        yield made
    made.http.close()


def test_a_release_takes_over_and_goes_back_while_nobody_is_turned_away(site: Site) -> None:
    answers: list[int] = []
    ended, url = Event(), site.http.base_url.join("/settings")

    def ask() -> None:
        while not ended.is_set():
            answers.append(httpx.get(url, trust_env=False, timeout=20.0).json()["batch_size"])

    users = Thread(target=ask)
    users.start()
    site.deploy(site.made.release)
    wait_until(lambda: answers[-1:] == [10], what="the release's answers")
    site.deploy(site.made.before)
    wait_until(lambda: answers[-1:] == [1], what="the answers of what ran before")
    ended.set()
    users.join()
    assert set(answers) == {1, 10}


def test_a_batch_size_that_was_set_is_kept_over_a_restart(site: Site) -> None:
    site.http.put("/settings", json={"batch_size": 5})
    site.deploy(site.made.release)
    assert site.http.get("/settings").json() == {"batch_size": 5}
    site.http.put("/settings", json={"batch_size": 10})
    assert not (site.folder / "settings.json").exists()
    assert site.http.put("/settings", json={"batch_size": 0}).status_code == 400


def test_a_release_that_does_not_come_up_leaves_the_old_one_where_it_is(site: Site) -> None:
    before, pipeline = site.running, site.folder / "repository" / "backend" / release.PIPELINE
    whole = pipeline.read_text()
    pipeline.write_text("this is no Python")
    try:
        site.child.send(signal.SIGHUP)
        wait_until((site.folder / "failed").exists, what="the note that it came to nothing")
    finally:
        pipeline.write_text(whole)
    assert site.running == before
    assert site.http.get("/settings").is_success


def test_whose_flow_it_is_has_to_be_said(site: Site) -> None:
    refused = site.http.post("/api/v1/master-flows/f/trigger-enrichment", content=json.dumps({"assets": 1}))
    assert refused.status_code == 400
    assert "X-Engagement-ID" in refused.text


@pytest.mark.parametrize(
    ("policy", "file", "text"),
    (
        ("length", "app/long.py", "\n" * 401),
        ("secrets", "app/secret.py", 'API_KEY = "abc"\n'),
        ("tracking", "app/past.py", "import openai\n"),
        ("architecture", AGENT, 'PATTERN_TYPE = "licensing_analysis"\n'),
        ("architecture", "app/own.py", "import psycopg\n"),
        ("migrations", MIGRATIONS / "97_short.py", ""),
        ("migrations", MIGRATIONS / "096_add_enrichment_pattern_types.py", "ADD VALUE 'X'\n"),
    ),
)
def test_a_policy_that_is_broken_is_found(tmp_path: Path, policy: str, file: str | Path, text: str) -> None:
    backend = shutil.copytree(repository.BACKEND, tmp_path / "backend")
    assert keeps(policy, backend)
    (backend / file).write_text(text)
    assert not keeps(policy, backend)


def keeps(policy: str, backend: Path) -> bool:
    script = repository.BACKEND.parent / "scripts" / "policies.sh"
    return subprocess.run([script, policy], cwd=backend, stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_it_ends_with_who_started_it(tmp_path: Path) -> None:
    made = Site(tmp_path)
    with made.child:
        wait_until(lambda: made.running, what="the backend")
        backend = Path("/proc") / made.running.split()[0]
        assert backend.exists()
        made.child.send(signal.SIGKILL)
        wait_until(lambda: not backend.exists(), what="the backend to end")
    made.http.close()
