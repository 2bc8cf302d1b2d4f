"""One suite for both databases."""

import asyncio
from pathlib import Path

import pytest

from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sql import MAX_ROWS, SqlPerformer, SqlReader
from orchestrator.core.effect import EffectState
from orchestrator.errors import Permanent, Temporary
from orchestrator.ports import Scene
from stages.actions.sql import checksum
from stages.effects import ObserveSql
from stages.values import SecretRef
from tests.orchestrator.adapters.sql_world import CREATE, DROP, Database, effect

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n {where}) SELECT {what} FROM n"
FOREVER = COUNT.format(where="", what="count(*)")


@pytest.fixture(params=("sqlite", pytest.param("postgres", marks=pytest.mark.postgres)))
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    url = request.getfixturevalue("postgres_dsn") if request.param == "postgres" else "sqlite:///app.db"
    return Database(url, tmp_path)


@pytest.fixture
def performer() -> SqlPerformer:
    return SqlPerformer(Secrets(environ={}))


@pytest.fixture
def reader() -> SqlReader:
    return SqlReader(Secrets(environ={}))


async def test_a_file_runs_and_is_noted_in_the_database(performer: SqlPerformer, database: Database) -> None:
    outcome = await performer.perform(effect(database.url), database.scene, resumed=False)

    assert (outcome.state, outcome.observed) == (EffectState.DONE, {"applied": True, "checksum": checksum(CREATE)})
    assert database.rows("SELECT * FROM metrics") == [(1,)]
    assert database.rows("SELECT name, checksum, effect, run FROM rollout_migrations") == [
        ("sql/001.sql", checksum(CREATE), "sql/001.sql-up", "r1")
    ]


@pytest.mark.parametrize("resumed", (False, True))
async def test_a_file_that_is_applied_does_not_run_again(
    performer: SqlPerformer, database: Database, resumed: bool
) -> None:
    await performer.perform(effect(database.url), database.scene, resumed=False)

    outcome = await performer.perform(effect(database.url), database.scene, resumed=resumed)

    assert (outcome.state, outcome.observed) == (EffectState.DONE, {"applied": True, "checksum": checksum(CREATE)})
    assert database.rows("SELECT * FROM metrics") == [(1,)]


async def test_a_file_that_was_applied_with_other_contents_is_refused(
    performer: SqlPerformer, database: Database
) -> None:
    await performer.perform(effect(database.url), database.scene, resumed=False)
    changed = CREATE + "INSERT INTO metrics VALUES (2);"

    up = await performer.perform(effect(database.url, changed), database.scene, resumed=False)
    down = await performer.perform(
        effect(database.url, DROP, direction="down", of=changed), database.scene, resumed=False
    )

    assert up.state is down.state is EffectState.REFUSED
    assert "was applied with other contents" in up.detail
    assert database.rows("SELECT * FROM metrics") == [(1,)]


async def test_the_down_file_takes_the_note_back_with_the_change(performer: SqlPerformer, database: Database) -> None:
    await performer.perform(effect(database.url), database.scene, resumed=False)
    down = effect(database.url, DROP, direction="down", of=CREATE)

    outcome = await performer.perform(down, database.scene, resumed=False)
    again = await performer.perform(down, database.scene, resumed=True)

    assert outcome.state is again.state is EffectState.DONE
    assert outcome.observed == {"applied": False, "checksum": None}
    assert database.tables() == {"rollout_migrations"}
    assert database.rows("SELECT * FROM rollout_migrations") == []


async def test_taking_back_what_was_never_applied_touches_nothing(performer: SqlPerformer, database: Database) -> None:
    down = effect(database.url, DROP, direction="down", of=CREATE)

    outcome = await performer.perform(down, database.scene, resumed=False)

    assert outcome.state is EffectState.DONE
    assert database.tables() == set()


async def test_a_failing_statement_takes_the_whole_file_back_and_names_its_line(
    performer: SqlPerformer, database: Database
) -> None:
    broken = CREATE + "\nINSERT INTO metrics\n  VALUES (nonsense);"

    outcome = await performer.perform(effect(database.url, broken), database.scene, resumed=False)

    assert outcome.state is EffectState.REFUSED
    assert "sql/001.sql, line 5, column 11: " in outcome.detail
    assert "nonsense" in outcome.detail
    assert database.tables() == set()


async def test_an_error_without_a_position_names_the_line_of_its_statement(
    performer: SqlPerformer, database: Database
) -> None:
    broken = "CREATE TABLE t (id int UNIQUE);\nINSERT INTO t VALUES (1);\n\nINSERT INTO t VALUES (1);"

    outcome = await performer.perform(effect(database.url, broken), database.scene, resumed=False)

    assert outcome.state is EffectState.REFUSED
    assert "line 4" in outcome.detail
    assert "unique" in outcome.detail.lower()


async def test_a_file_with_its_own_transaction_is_refused_before_anything_runs(
    performer: SqlPerformer, database: Database
) -> None:
    outcome = await performer.perform(
        effect(database.url, CREATE + "COMMIT;\nDROP TABLE other;"), database.scene, resumed=False
    )

    assert outcome.state is EffectState.REFUSED
    assert outcome.detail.startswith("sql/001.sql, line 3: COMMIT")
    assert database.tables() == set()


async def test_a_statement_that_takes_too_long_is_refused(performer: SqlPerformer, database: Database) -> None:
    slow = effect(database.url, f"{CREATE}CREATE TABLE n AS {FOREVER};", statement_timeout_seconds=0.3)

    outcome = await performer.perform(slow, database.scene, resumed=False)

    assert outcome.state is EffectState.REFUSED
    assert "line 3" in outcome.detail
    assert "statement_timeout" in outcome.detail
    assert database.tables() == set()


async def test_cancelling_rolls_back_and_leaves_no_lock(performer: SqlPerformer, database: Database) -> None:
    slow = effect(database.url, f"{CREATE}CREATE TABLE n AS {FOREVER};")
    task = asyncio.create_task(performer.perform(slow, database.scene, resumed=False))
    await asyncio.sleep(0.5)  # well inside the statement: its end is not awaited by anything else

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)

    assert database.tables() == set()
    outcome = await performer.perform(effect(database.url), database.scene, resumed=True)
    assert outcome.state is EffectState.DONE


async def test_two_at_once_run_it_once(performer: SqlPerformer, database: Database) -> None:
    outcomes = await asyncio.gather(
        *(performer.perform(effect(database.url), database.scene, resumed=True) for _ in range(4))
    )

    assert {outcome.state for outcome in outcomes} == {EffectState.DONE}
    assert database.rows("SELECT * FROM metrics") == [(1,)]


async def test_observing_says_what_is_noted_and_creates_nothing(performer: SqlPerformer, database: Database) -> None:
    look = ObserveSql(database=database.url, name="sql/001.sql", checksum=checksum(CREATE))

    before = await performer.observe(look, database.scene)
    tables_before = database.tables()
    await performer.perform(effect(database.url), database.scene, resumed=False)
    after = await performer.observe(look, database.scene)

    assert before.value == {"applied": False, "checksum": None}
    assert tables_before == set()
    assert after.value == {"applied": True, "checksum": checksum(CREATE)}


async def test_reading_gives_rows_and_no_more_than_the_limit(reader: SqlReader, database: Database) -> None:
    many = COUNT.format(where=f"WHERE i < {MAX_ROWS + 500}", what="i")
    directory = str(database.folder)
    database.rows("SELECT 1")

    one = await reader.fetch(database.url, "SELECT 1, 'a' WHERE 1 = 1;", 5.0, directory)
    rows = await reader.fetch(database.url, many, 5.0, directory)

    assert one == [(1, "a")]
    assert len(rows) == MAX_ROWS


@pytest.mark.parametrize("query", ("INSERT INTO t VALUES (2)", "DELETE FROM t RETURNING id", "SELECT 1; DELETE FROM t"))
async def test_reading_never_writes(reader: SqlReader, database: Database, query: str) -> None:
    database.rows("CREATE TABLE t (id int)")
    database.rows("INSERT INTO t VALUES (1)")

    with pytest.raises(Permanent):
        await reader.fetch(database.url, query, 5.0, str(database.folder))

    assert database.rows("SELECT id FROM t") == [(1,)]


async def test_a_query_that_takes_too_long_ends(reader: SqlReader, database: Database) -> None:
    database.rows("SELECT 1")

    with pytest.raises((Temporary, Permanent)):
        await asyncio.wait_for(reader.fetch(database.url, FOREVER, 0.3, str(database.folder)), 5)


async def test_a_query_that_fails_says_why(reader: SqlReader, database: Database) -> None:
    database.rows("SELECT 1")

    with pytest.raises(Permanent, match="nowhere"):
        await reader.fetch(database.url, "SELECT * FROM nowhere", 5.0, str(database.folder))


@pytest.mark.parametrize(
    ("url", "said"),
    (
        ("mysql://user:hidden@host/db", "postgresql://"),
        ("sqlite:///:memory:", "sqlite:///FILE"),
        ("sqlite:///no/such/folder/app.db", "folder"),
        ("postgresql://user:hidden@host/db?nonsense=hidden", "address"),
    ),
)
async def test_an_address_that_leads_nowhere_is_refused_without_repeating_it(
    performer: SqlPerformer, tmp_path: Path, url: str, said: str
) -> None:
    outcome = await performer.perform(effect(url), Scene("r1", "production", directory=str(tmp_path)), resumed=False)

    assert outcome.state is EffectState.REFUSED
    assert said in outcome.detail
    assert "hidden" not in outcome.detail


async def test_a_missing_secret_is_refused(performer: SqlPerformer) -> None:
    asked = effect("x")
    operation = asked.operation.model_copy(update={"database": SecretRef(env="DATABASE_URL")})

    outcome = await performer.perform(
        asked.model_copy(update={"operation": operation}), Scene("r1", "production"), resumed=False
    )

    assert outcome.state is EffectState.REFUSED
    assert "DATABASE_URL" in outcome.detail
