"""Backfills on real databases: batches, going on where the newest one ended, slowly enough, and what goes wrong."""

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sql.backfill import BackfillPerformer
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.ports import Scene
from stages.actions.sql import checksum
from stages.effects import ObserveBackfill, RunBackfill, TargetKind
from stages.kinds.backfill import table_of

FILL = "UPDATE people SET upper_name = upper(name) WHERE id BETWEEN :from AND :to AND upper_name IS NULL -- 100 %"
PERFORMER = BackfillPerformer(Secrets())
Query = Callable[[str], list[tuple[object, ...]]]


def effect(database: str, sql: str = FILL, **fields: object) -> Effect:
    given = {"batch": 100, "slice_seconds": 30.0, "checksum": checksum(sql), **fields}
    operation = RunBackfill.model_validate(
        {"database": database, "name": "fill.sql", "table": "people", "key": "id", "sql": sql, **given}
    )
    return Effect(
        id="e1", target="t", target_kind=TargetKind.SCHEMA, label="fill", operation=operation, environment="production"
    )


async def perform(database: str, sql: str = FILL, **fields: object) -> Outcome:
    return await PERFORMER.perform(effect(database, sql, **fields), Scene(run="r", environment="production"), False)


@pytest.fixture(params=["sqlite", "postgresql"])
def people(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Query]:
    """1,000 people with gaps between their numbers; the database's address and a way to ask it."""
    rows = [(index * 10 if index % 10 else index * 10 + 5, f"name {index}") for index in range(1000)]
    if request.param == "sqlite":
        path = tmp_path / "people.db"
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, upper_name TEXT)")
            connection.executemany("INSERT INTO people (id, name) VALUES (?, ?)", rows)
        connection.close()

        def ask(query: str) -> list[tuple[object, ...]]:
            opened = sqlite3.connect(path)
            try:
                found = list(opened.execute(query))
                opened.commit()
            finally:
                opened.close()
            return found

        return f"sqlite:///{path}", ask
    dsn = request.getfixturevalue("postgres_dsn")

    def ask_postgres(query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(dsn, autocommit=True) as opened:
            cursor = opened.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    with psycopg.connect(dsn) as opened:
        opened.execute("CREATE TABLE people (id bigint PRIMARY KEY, name text, upper_name text)")
        opened.cursor().executemany("INSERT INTO people (id, name) VALUES (%s, %s)", rows)
    return dsn, ask_postgres


async def test_every_row_is_filled_once_and_the_outcome_says_how_many(people: tuple[str, Query]) -> None:
    database, ask = people
    outcome = await perform(database)
    assert outcome.state is EffectState.DONE, outcome.detail
    assert outcome.observed["done"]
    assert outcome.observed["rows"] == 1000
    assert ask("SELECT count(*) FROM people WHERE upper_name IS NULL") == [(0,)]


async def test_a_slice_ends_and_the_next_one_goes_on_where_it_ended(people: tuple[str, Query]) -> None:
    database, _ = people
    first = await perform(database, slice_seconds=0.0001)
    assert not first.observed["done"]
    assert first.observed["rows"] == 100
    scene = Scene(run="r", environment="production")
    seen = await PERFORMER.observe(
        ObserveBackfill(database=database, name="fill.sql", table="people", key="id", checksum=checksum(FILL)), scene
    )
    assert seen.value == first.observed
    assert (await perform(database)).observed["rows"] == 1000
    assert (await perform(database)).observed["rows"] == 1000


async def test_rows_that_come_after_the_begin_are_not_its_business(people: tuple[str, Query]) -> None:
    database, ask = people
    await perform(database, slice_seconds=0.0001)
    ask("INSERT INTO people (id, name) VALUES (999999, 'late')")
    await perform(database)
    assert ask("SELECT name FROM people WHERE upper_name IS NULL") == [("late",)]


async def test_no_more_rows_a_second_are_touched_than_the_plan_allows(people: tuple[str, Query]) -> None:
    database, _ = people
    began = time.monotonic()
    outcome = await perform(database, rows_per_second=1000.0, batch=200)
    assert outcome.observed["done"]
    assert time.monotonic() - began >= 0.99  # never faster: the bound is the behaviour


async def test_a_file_that_changed_since_the_begin_is_refused(people: tuple[str, Query]) -> None:
    database, _ = people
    await perform(database, slice_seconds=0.0001)
    outcome = await perform(database, FILL + " AND true")
    assert outcome.state is EffectState.REFUSED
    assert "begun with other contents" in outcome.detail


async def test_a_statement_that_is_wrong_is_refused_with_the_databases_words(people: tuple[str, Query]) -> None:
    database, _ = people
    outcome = await perform(database, "UPDATE people SET nothing = 1 WHERE id BETWEEN :from AND :to")
    assert outcome.state is EffectState.REFUSED
    assert "nothing" in outcome.detail


async def test_an_empty_table_is_done_at_once(people: tuple[str, Query]) -> None:
    database, ask = people
    ask("DELETE FROM people")
    outcome = await perform(database)
    assert outcome.observed == {"done": True, "position": None, "rows": 0, "of": outcome.observed["of"]}


async def test_a_row_that_somebody_holds_is_waited_for_within_the_limit_and_then_tried_again(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as opened:
        opened.execute("CREATE TABLE people (id bigint PRIMARY KEY, name text, upper_name text)")
        opened.execute("INSERT INTO people (id, name) VALUES (1, 'one')")
    with psycopg.connect(postgres_dsn) as holder:
        holder.execute("UPDATE people SET name = 'held' WHERE id = 1")
        outcome = await perform(postgres_dsn, lock_timeout_seconds=0.2)
        assert outcome.state is EffectState.TEMPORARY
        assert "what earlier batches filled stays" in outcome.detail
        holder.rollback()
    assert (await perform(postgres_dsn)).observed["done"]


async def test_keys_may_be_of_any_type_that_has_an_order(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as opened:
        opened.execute(
            "CREATE TABLE people (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text, upper_name text)"
        )
        opened.execute("INSERT INTO people (name) SELECT 'n' || i FROM generate_series(1, 500) AS i")
    assert (await perform(postgres_dsn)).observed["rows"] == 500


async def test_two_controllers_never_do_the_same_batch(people: tuple[str, Query]) -> None:
    database, ask = people
    counted = "UPDATE people SET upper_name = coalesce(upper_name, '') || 'x' WHERE id BETWEEN :from AND :to"
    done: list[Outcome] = []

    def other() -> None:
        import asyncio

        done.append(asyncio.run(perform(database, counted, batch=20)))

    thread = threading.Thread(target=other)
    thread.start()
    mine = await perform(database, counted, batch=20)
    thread.join()
    for outcome in (mine, *done):
        assert outcome.state in (EffectState.DONE, EffectState.TEMPORARY), outcome.detail
    await perform(database, counted, batch=20)
    assert ask("SELECT DISTINCT upper_name FROM people") == [("x",)]


@pytest.mark.parametrize(
    ("text", "words"),
    (
        ("DELETE FROM people", "one UPDATE statement"),
        ("UPDATE people SET a = 1", "where a batch begins and ends"),
        ("UPDATE people SET a = 1 WHERE id BETWEEN :from AND :to; SELECT 1", "one statement"),
    ),
)
def test_a_file_that_is_no_batch_is_refused_with_the_remedy(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        table_of(text)


def test_the_table_is_found_behind_comments_and_schemas() -> None:
    assert table_of('-- fill\nUPDATE ONLY app."People" SET a = 1 WHERE id BETWEEN :from AND :to;\n') == 'app."People"'
