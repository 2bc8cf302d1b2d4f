"""The real `rollout serve` on a PostgreSQL store: a run, and a database that is set back by a backup."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from flags.client import FlagClient, Timing
from tests.acceptance.worlds.host import Host, host_in
from tests.support.postgres import PostgresServer
from tests.support.process import Child, wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.postgres]
REASON = ("--reason", "because of the test")
SOMEBODY = {"targetingKey": "somebody"}
RESTORING = ("--clean", "--if-exists", "--single-transaction")
TIMING = Timing(retry_seconds=0.1, longest_retry_seconds=0.5)

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: shared}
spec:
  stages:
    - {name: first, kind: steps, steps: [{name: ask, manual: "go on?"}]}
"""


@pytest.fixture
def host(tmp_path: Path, postgres_dsn: str) -> Iterator[Host]:
    with host_in(tmp_path, ROLLOUT_STORE=postgres_dsn) as made:
        yield made


@pytest.fixture
def address(free_port: int) -> str:
    return f"127.0.0.1:{free_port}"


@pytest.fixture
def server(host: Host, address: str) -> Child:
    child = host.rollout.start("serve", "--listen", address)
    wait_until(host.controller, what="a controller")
    return child


def put(host: Host, percentage: float) -> None:
    host.ok("flag", "set", "new", "--percentage", str(percentage), "--state", "enabled", *REASON)


def start_again(host: Host, server: Child) -> None:
    server.start()
    wait_until(host.controller, what="a controller")


def postgres(server: PostgresServer, program: str, *arguments: str) -> None:
    done = subprocess.run(
        [server.programs / program, *arguments], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_flags_of_a_database_that_was_restored_are_of_a_new_generation(
    host: Host, server: Child, address: str, postgres_server: PostgresServer, postgres_dsn: str
) -> None:
    put(host, 0)
    backup = str(host.folder / "store.dump")
    postgres(postgres_server, "pg_dump", "--format=custom", "--schema=staged_rollout", f"--file={backup}", postgres_dsn)
    put(host, 100)
    with FlagClient(f"http://{address}", cache=host.folder / "flags.json", timing=TIMING) as client:
        wait_until(lambda: client.is_on("new", SOMEBODY), what="new to be on")
        newest = client.status().version
        server.stop()
        postgres(postgres_server, "pg_restore", *RESTORING, f"--dbname={postgres_dsn}", backup)
        (host.state_dir / "flags-seen").unlink()  # on another machine it was never there
        start_again(host, server)
        wait_until(lambda: not client.is_on("new", SOMEBODY), what="new to be off")
        restored = client.status().version
    assert newest is not None
    assert restored is not None
    assert generation(restored) == generation(newest) + 1
    put(host, 50)
    with psycopg.connect(postgres_dsn) as connection:
        versions = connection.execute("SELECT generation, number FROM staged_rollout.flag_history").fetchall()
    assert sorted(versions) == [(1, 1), (2, 2)]


def generation(version: str) -> int:
    return int(version.partition(".")[0])


def test_a_run_goes_on_with_the_next_controller_and_nobody_is_told_the_password(
    host: Host, server: Child, postgres_dsn: str
) -> None:
    password = psycopg.conninfo.conninfo_to_dict(postgres_dsn)["password"]
    plan = host.write("plan.yaml", PLAN)
    run = host.detached(plan)
    (item,) = host.wait_for(run, hold="manual")["waiting"]
    server.kill()
    assert host.json("status", run)["waiting"] == [item]  # read from the store
    start_again(host, server)
    wait_until(
        lambda: host.run("approve", run, "--item", item["item"], *REASON).code == 0,
        what="the lease of the killed one to lapse",
        every_seconds=1.0,
    )
    host.wait_for(run, outcome="promoted")
    server.stop()
    assert [row["run"] for row in host.json("list")] == [run]
    assert "store postgresql://127.0.0.1:" in server.errors
    assert str(password) not in server.errors + server.output
