"""Three teams' schema changes through the real command, on a real server with traffic: forward, back, forward again."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.worlds.host import Host, host_in
from tests.migrations import kill
from tests.migrations.teams import (
    DUPLICATES,
    FAILS,
    KEPT,
    UP,
    Traffic,
    by_hand_on,
    catalogue,
    changes,
    prepare,
    rows,
    write_plan,
)
from tests.support.postgres import PostgresServer
from tests.support.process import wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.acceptance, pytest.mark.slow]
LONGEST_WAIT_SECONDS = 1.0


@pytest.fixture
def dsn(postgres_dsn: str) -> str:
    prepare(postgres_dsn)
    return postgres_dsn


@pytest.fixture
def host(tmp_path: Path, dsn: str) -> Iterator[Host]:
    with host_in(tmp_path, DATABASE_URL=dsn) as made:
        yield made


def expected(server: PostgresServer, files: tuple[str, ...]) -> set[str]:
    """What is there after somebody applied *files* by hand."""
    return by_hand_on(server, files)[0]


def ended(host: Host, plan: Path) -> tuple[int, str]:
    with host.start(plan) as child:
        code = child.wait(120)
        return code, child.output + child.errors


def outcomes(host: Host) -> list[str]:
    return sorted(str(run["outcome"]) for run in host.json("list"))


def test_forward_back_and_forward_again_where_the_schema_stays(
    host: Host, dsn: str, postgres_server: PostgresServer
) -> None:
    with Traffic(dsn).going_on() as traffic:
        code, said = ended(host, write_plan(host.folder, last=FAILS))
        assert code == 3, said
        assert catalogue(dsn) == expected(postgres_server, UP)
        again, said = ended(host, write_plan(host.folder))
        assert again == 0, said
    assert outcomes(host) == ["promoted", "rolled_back"]
    assert catalogue(dsn) == expected(postgres_server, UP)
    assert changes(dsn) == by_hand_on(postgres_server, UP)[1]
    assert traffic.problems == []
    assert traffic.slowest[0] < LONGEST_WAIT_SECONDS, traffic.slowest
    assert [row[0] for row in rows(dsn, "SELECT name FROM rollout_migrations ORDER BY applied_at")] == [
        f"sql/{name}" for name in UP
    ]


def test_forward_back_and_forward_again_where_the_down_files_run(
    host: Host, dsn: str, postgres_server: PostgresServer
) -> None:
    with Traffic(dsn).going_on() as traffic:
        code, said = ended(host, write_plan(host.folder, on_rollback="down", last=FAILS))
        assert code == 3, said
        assert catalogue(dsn) == expected(postgres_server, KEPT)
        again, said = ended(host, write_plan(host.folder, on_rollback="down"))
        assert again == 0, said
    assert outcomes(host) == ["promoted", "rolled_back"]
    assert catalogue(dsn) == expected(postgres_server, UP)
    assert traffic.problems == []
    assert traffic.slowest[0] < LONGEST_WAIT_SECONDS, traffic.slowest


def test_duplicates_hold_the_constraint_back_until_they_are_gone(host: Host, dsn: str) -> None:
    duplicate = (
        "INSERT INTO migration.engagement_architecture_standards (engagement_id, requirement_type, standard_name)"
        " SELECT engagement_id, requirement_type, standard_name FROM migration.engagement_architecture_standards"
        " WHERE id = 5 RETURNING id"
    )
    extra = rows(dsn, duplicate)[0][0]
    before = catalogue(dsn)
    child, run = host.started(write_plan(host.folder))
    host.wait_for(run, hold="failing")
    assert "expected 0 rows, found 1" in host.ok("status", run).output
    assert catalogue(dsn) == before
    rows(dsn, f"DELETE FROM migration.engagement_architecture_standards WHERE id = {extra}")
    host.ok("resume", run)
    assert child.wait(60) == 0, child.output + child.errors
    assert rows(dsn, DUPLICATES) == []


GATED = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: gated}
spec:
  database: {env: DATABASE_URL}
  gates:
    database:
      every: 500ms
      on_fail: pause
      criteria:
        - {name: old transactions, health: longest_transaction, fail: "> 1"}
        - {name: lock waits, health: longest_lock_wait, fail: "> 1"}
        - {name: connections, health: connections, fail: "> 80%"}
  stages:
    - name: schema
      kind: migration
      gate: database
      migrations: [{up: sql/p2_add_user_tool_history.sql, keep: used}]
  watch: 0s
"""


FORGOTTEN = "SELECT 1 FROM pg_stat_activity WHERE state = 'idle in transaction' AND now() - xact_start > interval '2 s'"


def test_a_migration_holds_itself_back_by_the_health_of_its_database(host: Host, dsn: str) -> None:
    write_plan(host.folder)
    plan = host.write("gated.yaml", GATED)
    with psycopg.connect(dsn) as forgotten:
        forgotten.execute("SELECT 1")
        wait_until(lambda: rows(dsn, FORGOTTEN), what="the transaction to be forgotten for long enough")
        child, run = host.started(plan)
        host.wait_for(run, hold="failing")
        assert "before the stage begins: old transactions" in host.ok("status", run).output
        assert rows(dsn, "SELECT to_regclass('user_tool_history')") == [(None,)]
    assert child.wait(60) == 0, child.output + child.errors


@pytest.mark.parametrize("back", (False, True))
def test_a_controller_that_is_killed_again_and_again_ends_as_if_nothing_had_been(
    postgres_server: PostgresServer, back: bool
) -> None:
    seed = int(os.environ.get("ROLLOUT_CRASH_SEED") or random.SystemRandom().randrange(10**6))
    print(f"ROLLOUT_CRASH_SEED={seed}")
    wanted = kill.Expectation.of(postgres_server)
    print(kill.kill_in_one_world(postgres_server, wanted, random.Random(seed), 5, back))
