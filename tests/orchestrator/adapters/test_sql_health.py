"""What a server says of its health, made ill on purpose."""

import asyncio
import contextlib
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sql import SqlReader
from orchestrator.adapters.sql.health import Reading
from orchestrator.errors import Permanent
from stages.checks import Health
from tests.orchestrator.adapters.sql_world import Database
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.process import Child, wait_until

pytestmark = pytest.mark.postgres


@pytest.fixture
def database(postgres_dsn: str, tmp_path: Path) -> Database:
    return Database(postgres_dsn, tmp_path)


def measured(url: str, health: Health) -> list[Reading]:
    return asyncio.run(SqlReader(Secrets(environ={})).health(url, health, 5.0))


def worst(url: str, health: Health) -> float:
    return measured(url, health)[0].value


@contextmanager
def in_the_background(work: Any) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(10)


def test_a_quiet_database_has_no_waits_and_no_old_transactions(database: Database) -> None:
    assert measured(database.url, Health.LONGEST_LOCK_WAIT) == [Reading("", 0.0)]
    assert measured(database.url, Health.LONGEST_TRANSACTION) == [Reading("", 0.0)]
    assert measured(database.url, Health.DEAD_TUPLES) == [Reading("", 0.0)]


def test_the_longest_wait_for_a_lock_is_measured_with_who_waits(database: Database) -> None:
    database.rows("CREATE TABLE t (id int)")
    with psycopg.connect(database.url) as holder:
        holder.execute("LOCK TABLE t")

        def wait() -> None:
            with contextlib.suppress(psycopg.Error), psycopg.connect(database.url) as waiter:
                waiter.execute("SET lock_timeout = '8s'")
                waiter.execute("SELECT * FROM t")

        with in_the_background(wait):
            wait_until(lambda: worst(database.url, Health.LONGEST_LOCK_WAIT) > 0.3, what="the wait to be seen")
            assert measured(database.url, Health.LONGEST_LOCK_WAIT)[0].labels.startswith('{pid="')
            holder.rollback()
    assert worst(database.url, Health.LONGEST_LOCK_WAIT) == 0


def test_the_longest_transaction_is_measured_but_for_our_own(database: Database) -> None:
    with psycopg.connect(database.url, application_name="rollout r1 001.sql") as ours:
        ours.execute("SELECT 1")
        assert worst(database.url, Health.LONGEST_TRANSACTION) == 0
    with psycopg.connect(database.url) as other:
        other.execute("SELECT 1")
        wait_until(lambda: worst(database.url, Health.LONGEST_TRANSACTION) > 0.2, what="the transaction to be seen")


def test_a_prepared_transaction_is_one_too(database: Database) -> None:
    database.rows("CREATE TABLE t (id int)")
    with psycopg.connect(database.url, autocommit=True) as other:
        other.execute("BEGIN")
        other.execute("INSERT INTO t VALUES (1)")
        other.execute("PREPARE TRANSACTION 'forgotten'")
    try:
        readings = measured(database.url, Health.LONGEST_TRANSACTION)
        assert readings[0].labels == '{prepared="forgotten"}'
        assert readings[0].value > 0
    finally:
        database.rows("ROLLBACK PREPARED 'forgotten'")


def test_the_share_of_dead_rows_is_that_of_the_worst_table(database: Database) -> None:
    for name in ("good", "bad"):
        database.rows(f"CREATE TABLE {name} (id int) WITH (autovacuum_enabled = false)")
        database.rows(f"INSERT INTO {name} SELECT generate_series(1, 20000)")
    database.rows("DELETE FROM bad WHERE id <= 5000")
    wait_until(lambda: worst(database.url, Health.DEAD_TUPLES) > 0, what="the statistics to be there")
    (reading,) = measured(database.url, Health.DEAD_TUPLES)
    assert reading.labels == '{table="public.bad"}'
    assert reading.value == pytest.approx(0.25, abs=0.01)


def test_the_share_of_connections_grows_with_them(database: Database) -> None:
    before = worst(database.url, Health.CONNECTIONS)
    with contextlib.ExitStack() as open_connections:
        for _ in range(10):
            open_connections.enter_context(psycopg.connect(database.url))
        during = worst(database.url, Health.CONNECTIONS)
    assert 0 < before < during < 1
    assert during - before == pytest.approx(10 / 97, abs=0.04)  # 100, less 3 for administrators; others come and go


def test_who_may_not_see_other_sessions_is_told_what_to_grant(database: Database) -> None:
    database.rows("CREATE ROLE shortsighted LOGIN PASSWORD 'x'")
    address = urlsplit(database.url)
    url = address._replace(netloc=f"shortsighted:x@{address.hostname}:{address.port}").geturl()
    try:
        with psycopg.connect(database.url):
            for health in (Health.LONGEST_TRANSACTION, Health.LONGEST_LOCK_WAIT, Health.REPLICATION_LAG):
                with pytest.raises(Permanent, match="GRANT pg_read_all_stats to it"):
                    measured(url, health)
            database.rows("GRANT pg_read_all_stats TO shortsighted")
            assert worst(url, Health.LONGEST_TRANSACTION) == 0
    finally:
        database.rows("DROP ROLE shortsighted")


def test_sqlite_has_no_health_to_tell(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="SQLite has no sessions, locks or standbys"):
        measured(f"sqlite:///{tmp_path}/x.db", Health.CONNECTIONS)


def test_a_copy_of_the_log_is_no_standby() -> None:
    """As Barman or pg_receivewal keep one: they stream, and replay nothing ever."""
    with PostgresServer() as primary:
        folder = primary._folder
        command: list[str | Path] = [primary._binaries / "pg_receivewal", "-D", folder, "-d", primary.dsn()]
        with Child(command, folder, user=primary._user) as archive:
            streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
            with psycopg.connect(primary.dsn(), autocommit=True) as connection:
                wait_until(lambda: connection.execute(streaming).fetchone() == (1,), what=f"a stream; {archive.errors}")
            assert measured(primary.dsn(), Health.REPLICATION_LAG) == []


@pytest.mark.slow
def test_the_lag_of_a_standby_is_measured_on_both_sides(tmp_path: Path) -> None:
    with PostgresServer() as primary:
        assert measured(primary.dsn(), Health.REPLICATION_LAG) == []
        folder = primary._folder / "standby"
        done = primary._run(
            [primary._binaries / "pg_basebackup", "-D", folder, "-R", "-c", "fast", "-d", primary.dsn()]
        )
        assert done.returncode == 0, done.stderr
        port = free_port()
        options = ["-c", f"port={port}", "-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1"]
        command: list[str | Path] = [
            primary._binaries / "postgres",
            "-D",
            folder,
            *options,
            "-c",
            "max_prepared_transactions=10",
            "-c",
            "wal_receiver_status_interval=1s",  # the primary forgets the last lag after two reports without news
        ]
        with Child(command, primary._folder, user=primary._user) as standby:
            wait_until(lambda: measured(primary.dsn(), Health.REPLICATION_LAG), what=f"a standby; {standby.errors}")
            url = primary.dsn().replace(str(primary.port), str(port))
            wait_until(lambda: worst(primary.dsn(), Health.REPLICATION_LAG) == 0, what="no lag")
            wait_until(lambda: worst(url, Health.REPLICATION_LAG) == 0, what="no lag on the standby's side")
            with psycopg.connect(url, autocommit=True) as there:
                there.execute("SELECT pg_wal_replay_pause()")
            primary._execute("CREATE TABLE filled AS SELECT generate_series(1, 300000) AS id")
            wait_until(lambda: worst(url, Health.REPLICATION_LAG) > 0.2, what="the lag to be seen")
            standby.stop()
        shutil.rmtree(folder)
