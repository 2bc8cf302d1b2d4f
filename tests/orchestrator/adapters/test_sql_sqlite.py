"""What only SQLite has: files, and one writer at a time."""

from pathlib import Path

import apsw
import pytest

from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sql import SqlPerformer, SqlReader
from orchestrator.core.effect import EffectState
from orchestrator.errors import Permanent
from orchestrator.ports import Scene
from stages.effects import ObserveSql
from tests.orchestrator.adapters.sql_world import CREATE, Database, effect


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database("sqlite:///app.db", tmp_path)


@pytest.fixture
def performer() -> SqlPerformer:
    return SqlPerformer(Secrets(environ={}))


async def test_a_database_that_somebody_writes_to_is_waited_for_briefly(
    performer: SqlPerformer, database: Database
) -> None:
    other = apsw.Connection(str(database.folder / "app.db"))
    other.execute("BEGIN IMMEDIATE")

    outcome = await performer.perform(effect(database.url, lock_timeout_seconds=0.2), database.scene, resumed=False)
    other.close()

    assert outcome.state is EffectState.TEMPORARY
    assert "locked" in outcome.detail
    assert (await performer.perform(effect(database.url), database.scene, resumed=False)).state is EffectState.DONE


async def test_a_reader_in_the_way_of_the_commit_leaves_nothing_changed(
    performer: SqlPerformer, database: Database
) -> None:
    database.rows("CREATE TABLE t (id int)")
    database.rows("INSERT INTO t VALUES (1), (2)")
    other = apsw.Connection(str(database.folder / "app.db"))
    reading = other.execute("SELECT * FROM t")
    next(reading)

    outcome = await performer.perform(effect(database.url, lock_timeout_seconds=0.2), database.scene, resumed=False)
    reading.close()
    other.close()

    assert outcome.state is EffectState.TEMPORARY
    assert database.tables() == {"t"}


async def test_an_absolute_path_needs_no_plan_folder(performer: SqlPerformer, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/absolute.db"

    outcome = await performer.perform(effect(url), Scene("r1", "production"), resumed=False)

    assert outcome.state is EffectState.DONE
    assert (tmp_path / "absolute.db").exists()


async def test_a_relative_path_without_a_plan_folder_is_refused(performer: SqlPerformer) -> None:
    outcome = await performer.perform(effect("sqlite:///app.db"), Scene("r1", "production"), resumed=False)

    assert outcome.state is EffectState.REFUSED
    assert "relative to the plan" in outcome.detail


async def test_a_file_that_is_no_database_is_refused(performer: SqlPerformer, database: Database) -> None:
    (database.folder / "app.db").write_text("this is text, and rather more of it than a header needs " * 40)

    outcome = await performer.perform(effect(database.url), database.scene, resumed=False)

    assert outcome.state is EffectState.REFUSED
    assert "app.db" in outcome.detail


async def test_looking_at_a_database_that_is_not_there_does_not_create_it(
    performer: SqlPerformer, database: Database
) -> None:
    seen = await performer.observe(ObserveSql(database=database.url, name="a", checksum="b"), database.scene)

    assert seen.value == {"applied": False, "checksum": None}
    with pytest.raises(Permanent, match="there is no database"):
        await SqlReader(Secrets(environ={})).fetch(database.url, "SELECT 1", 2.0, str(database.folder))
    assert not (database.folder / "app.db").exists()


async def test_triggers_run_as_they_are_written(performer: SqlPerformer, database: Database) -> None:
    trigger = CREATE + (
        "CREATE TABLE log (n int);\n"
        "CREATE TRIGGER t AFTER INSERT ON metrics BEGIN INSERT INTO log VALUES (1); INSERT INTO log VALUES (2); END;\n"
        "INSERT INTO metrics VALUES (7);"
    )

    outcome = await performer.perform(effect(database.url, trigger), database.scene, resumed=False)

    assert outcome.state is EffectState.DONE, outcome.detail
    assert database.rows("SELECT n FROM log") == [(1,), (2,)]


async def test_a_statement_that_ends_our_transaction_is_refused(performer: SqlPerformer, database: Database) -> None:
    sneaky = "CREATE TABLE t (id int UNIQUE);\nINSERT INTO t VALUES (1);\nINSERT OR ROLLBACK INTO t VALUES (1);"

    outcome = await performer.perform(effect(database.url, sneaky), database.scene, resumed=False)

    assert outcome.state is EffectState.REFUSED
    assert database.tables() == set()


@pytest.mark.parametrize("sql", ("VACUUM;", "-- smaller\nPRAGMA journal_mode = WAL;\nVACUUM;"))
async def test_what_sqlite_refuses_in_a_transaction_runs_alone(
    performer: SqlPerformer, database: Database, sql: str
) -> None:
    database.rows("CREATE TABLE t (id int)")

    outcome = await performer.perform(effect(database.url, sql), database.scene, resumed=False)
    again = await performer.perform(effect(database.url, sql), database.scene, resumed=True)

    assert (outcome.state, outcome.detail) == (EffectState.DONE, "sql/001.sql ran")
    assert again.detail == "sql/001.sql is applied"


async def test_what_runs_alone_has_a_file_of_its_own(performer: SqlPerformer, database: Database) -> None:
    outcome = await performer.perform(effect(database.url, CREATE + "VACUUM;"), database.scene, resumed=False)

    assert outcome.state is EffectState.REFUSED
    assert "line 3: VACUUM cannot run inside a transaction" in outcome.detail
    assert "put it into a file of its own" in outcome.detail
    assert database.tables() == set()
