"""Upgrading a store that an older version of the program has written."""

from pathlib import Path

import apsw
import pytest

from orchestrator.errors import StoreError
from orchestrator.journal import chain
from orchestrator.journal.sqlite import SqliteStore, open_reading, schema
from tests.support.journals import batch, began, started


@pytest.fixture
async def old_store(tmp_path: Path) -> Path:
    store = SqliteStore(tmp_path / "store.db")
    await started(store)
    await store.close()
    return store.path


def release(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """The next version of the program, with one more migration."""
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, script))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)


async def test_a_controller_upgrades_an_older_store_and_keeps_what_is_in_it(
    old_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(monkeypatch, "ALTER TABLE runs ADD COLUMN owner TEXT; UPDATE runs SET owner = 'ann'")
    store = SqliteStore(old_store)
    await store.append(batch())
    assert store._writer.execute("SELECT owner, rev FROM runs").fetchall() == [("ann", 2)]
    await store.close()
    reader = open_reading(old_store)
    assert len(await reader.read("r")) == 2
    await reader.close()


def write_as_the_first_version_did(connection: apsw.Connection) -> None:
    """A run, the one that took it back, and one that was to take its place."""
    for run, referring in (("r", {}), ("back", {"reverses": "r"}), ("instead", {"supersedes": "r"})):
        event = began(run).model_copy(update=referring)
        ((record, data),) = chain.extend(run, 0, chain.GENESIS, 100.0, [chain.encode(event)])
        connection.execute(
            "INSERT INTO runs (run, plan, digest, rev, epoch, active, created, head, summary) "
            "VALUES (?, 'plan', 'digest', 1, 1, 1, 100.0, ?, '{}')",
            (run, record.hash),
        )
        connection.execute(
            "INSERT INTO events (run, seq, at, data, hash, schema_version) VALUES (?, 1, 100.0, ?, ?, 1)",
            (run, data, record.hash),
        )


@pytest.mark.parametrize("version", range(1, schema.VERSION))
async def test_a_store_of_every_version_that_was_ever_released_is_brought_up_to_date(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:version])
        older.setattr(schema, "VERSION", version)
        old = schema.open_writing(tmp_path / "store.db", busy_seconds=1)
        write_as_the_first_version_did(old)
        old.close()
    store = SqliteStore(tmp_path / "store.db")
    await store.append(batch())
    assert [row.kept for row in await store.rows()] == [None, None, None]
    assert [row.run for row in await store.keeping.heirs("r")] == ["back", "instead"]
    assert await store.tokens.tokens() == []
    assert await store.freezes.newest() == []
    assert store._writer.execute("SELECT value FROM meta WHERE name = 'schema_version'").get == schema.VERSION
    await store.close()


async def test_an_upgrade_that_fails_leaves_the_store_as_it_was(
    old_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        release(patched, "ALTER TABLE runs ADD COLUMN owner TEXT; UPDATE missing SET a = 1")
        with pytest.raises(StoreError, match="no such table: missing"):
            SqliteStore(old_store)
    store = SqliteStore(old_store)
    columns = [name for (name,) in store._reader.execute("SELECT name FROM pragma_table_info('runs')")]
    assert "owner" not in columns
    assert len(await store.read("r")) == 1
    await store.close()


def test_reading_commands_leave_the_upgrade_to_the_controller(old_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release(monkeypatch, "SELECT 1")
    with pytest.raises(StoreError, match=rf"older version \({schema.VERSION - 1}\): start the controller once"):
        open_reading(old_store)


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    connection = schema.open_writing(path, busy_seconds=1)
    assert connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").get == schema.VERSION
    assert connection.execute("SELECT value FROM meta WHERE name = 'generation'").get == 1
    assert connection.pragma("application_id") == schema.APPLICATION_ID
    connection.close()


def test_a_store_of_the_first_version_still_has_the_tables_it_was_released_with(tmp_path: Path) -> None:
    connection = apsw.Connection(":memory:")
    connection.execute(schema.MIGRATIONS[0])
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    assert sorted(tables) == ["answers", "claims", "events", "evidence", "flag_history", "flags", "meta", "runs"]
