"""The example of a breaking change in one plan, on a real PostgreSQL: through, back, and to the wall."""

import shutil
from collections.abc import Iterator
from getpass import getuser
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.worlds.host import Host, host_in
from tests.support.process import ROOT, wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.acceptance, pytest.mark.slow]
EXAMPLE = ROOT / "examples" / "expand_contract"
REASON = ("--reason", "because of the test")
PEOPLE = 20_000
QUICK = (
    "stages.read.bake=1s",
    "stages.read.final_bake=1s",
    "stages.read.settle=1s",
    "watch=2s",
    "gates.database.every=1s",
    "gates.names.every=1s",
    f"stages.contract.approval.any_of=[{getuser()}]",
    "stages.contract.approval.self_approval=true",
)


@pytest.fixture
def host(tmp_path: Path, postgres_dsn: str) -> Iterator[Host]:
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("CREATE TABLE people (id bigserial PRIMARY KEY, first_name text, last_name text)")
        connection.execute(
            "INSERT INTO people (first_name, last_name) SELECT 'f' || n, 'l' || n FROM generate_series(1, %s) AS n",
            (PEOPLE,),
        )
    with host_in(tmp_path, DATABASE_URL=postgres_dsn) as made:
        shutil.copytree(EXAMPLE, tmp_path / "example")
        yield made


def columns(dsn: str) -> set[str]:
    sql = "SELECT column_name FROM information_schema.columns WHERE table_name = 'people'"
    with psycopg.connect(dsn) as connection:
        return {name for (name,) in connection.execute(sql)}


def unfilled(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM people WHERE full_name IS NULL").fetchone()
    assert row is not None
    return int(row[0])


def started(host: Host) -> tuple[str, ...]:
    return ("start", str(host.folder / "example" / "plan.yaml"), *(part for one in QUICK for part in ("--set", one)))


def test_validate_says_what_has_no_way_back(host: Host) -> None:
    said = host.run("validate", host.folder / "example" / "plan.yaml").output
    assert "stage contract: it is a point of no return" in said
    assert "so the watch has no way back" in said
    assert "sql/003_contract.sql stays at a rollback: the names are gone with their columns" in said


def test_it_goes_through_and_the_old_columns_go_last(host: Host, postgres_dsn: str) -> None:
    child = host.rollout.start(*started(host))
    run = host.name_from(child)
    host.wait_for(run, hold="approval")
    assert columns(postgres_dsn) == {"id", "first_name", "last_name", "full_name"}
    assert unfilled(postgres_dsn) == 0
    assert host.json("flag", "get", "readFullName")["percentage"] == 100
    host.ok("approve", run, *REASON)
    assert child.wait() == 0
    assert columns(postgres_dsn) == {"id", "full_name"}


def test_before_the_contraction_it_comes_back_and_the_column_stays_unless_somebody_asks(
    host: Host, postgres_dsn: str
) -> None:
    child = host.rollout.start(*started(host))
    run = host.name_from(child)
    host.wait_for(run, hold="approval")
    host.ok("rollback", run, "--with-schema", *REASON)
    assert child.wait() == 3
    assert columns(postgres_dsn) == {"id", "first_name", "last_name"}
    assert host.json("flag", "get", "readFullName")["percentage"] == 0


def test_after_the_contraction_a_rollback_meets_the_wall_and_says_what_stays(host: Host, postgres_dsn: str) -> None:
    child = host.rollout.start(*started(host), "--set", "watch=10m")
    run = host.name_from(child)
    host.wait_for(run, hold="approval")
    host.ok("approve", run, *REASON)
    wait_until(lambda: columns(postgres_dsn) == {"id", "full_name"}, what="the contraction")
    host.wait_for(run, phase="watching")
    host.ok("rollback", run, *REASON)
    host.wait_for(run, hold="point_of_no_return")
    host.ok("resolve", run, "no_return", *REASON)
    assert child.wait() == 3
    assert any("lies behind a point of no return" in one for one in host.json("status", run)["exceptions"])
    assert host.json("flag", "get", "readFullName")["percentage"] == 100
