"""Alembic by its own command, on real databases: what goes wrong, each told in one sentence."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.adapters.sql.postgres import ADVISORY_KEY
from orchestrator.core.effect import EffectState
from tests.migrations.alembic_world import Project, World, execute, query
from tests.support.disk import enlarge
from tests.support.postgres import PostgresServer
from tests.support.process import wait_until

pytestmark = pytest.mark.slow  # each question to Alembic is a process of a second or two


async def test_a_downgrade_that_fails_says_why_and_where_the_database_stands(enum: World) -> None:
    [act] = enum.acts()
    done = await enum.forward(act, await enum.look(act))
    failed = await enum.back(act, {"current": "095"}, done.observed)
    assert failed.state is EffectState.REFUSED
    assert failed.detail == (
        "`alembic downgrade 095` ended with exit code 1: RuntimeError: enum values cannot be removed; "
        "it moved the database from revision 097 to revision 096"
    )
    assert failed.observed == {"current": "096", "pending": ["097"]}


async def test_an_upgrade_that_fails_half_way_says_what_stayed(enum: World) -> None:
    first, last = enum.acts(revisions={"093": {}}, target="094")
    await enum.forward(first, await enum.look(first))
    execute(enum, "INSERT INTO accounts (email) VALUES ('a@x'), ('a@x')")
    failed = await enum.forward(last, await enum.look(last))
    assert failed.state is EffectState.REFUSED
    assert "could not create unique index" in failed.detail
    assert failed.detail.endswith("; nothing was changed")
    assert failed.observed == {"current": "093", "pending": ["094"]}


async def test_several_heads_are_named(table: World) -> None:
    table.project.add("b002", "a001", "pass")
    [act] = table.acts()
    assert await table.refused_look(act) == (
        "Alembic's history has several heads (a002, b002); merge them with `alembic merge` first"
    )


async def test_a_database_at_another_revision_than_expected_is_told(table: World) -> None:
    [act] = table.acts(expect_current="a001")
    said = await table.refused_look(act)
    assert (
        said == "the database stands at its base, before the first revision; a001 is expected (expect_current), or a002"
    )


async def test_a_revision_that_the_scripts_do_not_have_is_told(table: World) -> None:
    with contextlib.closing(sqlite3.connect(table.url.removeprefix("sqlite:///"))) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('zzz')")
        connection.commit()
    [act] = table.acts()
    said = await table.refused_look(act)
    assert said == "`alembic current` ended with exit code 255: Can't locate revision identified by 'zzz'"


async def test_a_database_beyond_the_target_is_told(table: World) -> None:
    [act] = table.acts()
    await table.forward(act, await table.look(act))
    [lower] = table.acts(target="a001")
    assert await table.refused_look(lower) == ("the database stands at revision a002, which is not on the way to a001")


@pytest.mark.parametrize(
    ("alembic", "said"),
    (
        ({"target": "a9"}, "Alembic's history has no revision 'a9'; the newest is a002"),
        ({"target": "a00"}, "Alembic's history has no revision 'a00'; several begin so: a001, a002"),
        ({"target": "a001", "revisions": {"a002": {}}}, "revision a002 is not on the way to a001"),
        ({"config": "other.ini"}, "`alembic history --indicate-current` ended with exit code"),
        ({"command": ["no-alembic"]}, "no-alembic is not on the controller's PATH"),
        ({"dir": "nowhere"}, "nowhere is not there on this machine"),
    ),
)
async def test_what_a_plan_names_and_alembic_does_not_know_is_told(
    table: World, alembic: dict[str, Any], said: str
) -> None:
    act, *_ = table.acts(**alembic)
    assert said in await table.refused_look(act)


async def test_a_revision_that_is_no_python_is_told(table: World) -> None:
    table.project.add("a003", "a002", "this is no python")
    [act] = table.acts()
    assert "SyntaxError" in await table.refused_look(act)


async def test_no_password_is_in_a_message(enum: World) -> None:
    enum.url = enum.url.replace("postgres:", "nobody-here:", 1).replace("@", "-wrong@", 1)
    password = enum.url.partition("nobody-here:")[2].partition("@")[0]
    [act] = enum.acts()
    said = await enum.refused_look(act)
    assert "password authentication failed" in said
    assert password not in said


async def test_a_lock_that_somebody_holds_is_waited_for_no_longer_than_lock_timeout(enum: World) -> None:
    first, last = enum.acts({"lock_timeout": "200ms"}, revisions={"093": {}}, target="094")
    await enum.forward(first, await enum.look(first))
    before = await enum.look(last)
    with psycopg.connect(enum.url) as other:
        other.execute("LOCK TABLE accounts")
        busy = await enum.forward(last, before)
    assert busy.state is EffectState.TEMPORARY
    assert "lock timeout" in busy.detail
    assert (await enum.forward(last, before)).state is EffectState.DONE


async def test_an_upgrade_that_takes_too_long_is_ended_and_may_be_tried_again(enum: World) -> None:
    enum.project.add("098", "097", "op.execute('SELECT pg_sleep(60)')")
    [act] = enum.acts(timeout="5s")
    outcome = await enum.forward(act, await enum.look(act))
    assert outcome.state is EffectState.UNKNOWN
    assert "`alembic upgrade 098` was ended after 5 s" in outcome.detail
    enum.project.add("098", "097", "pass")
    assert (await enum.forward(act, {"current": None}, resumed=True)).state is EffectState.DONE


async def test_a_database_that_goes_away_in_the_middle_is_waited_for_and_gone_on_with(tmp_path: Path) -> None:
    with PostgresServer() as server, server.database() as dsn:
        world = World(Project("alembic_enum", tmp_path), dsn, tmp_path)
        world.project.add("098", "097", "op.execute('SELECT pg_sleep(60)')")
        [act] = world.acts()
        before = await world.look(act)
        upgrade = asyncio.create_task(world.forward(act, before))
        sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
        await asyncio.to_thread(wait_until, lambda: query(world, sleeping), what="the upgrade", deadline_seconds=60)
        server.stop()
        outcome = await upgrade
        assert outcome.state is EffectState.UNKNOWN
        assert "where the database stands is not known" in outcome.detail
        assert "\n" not in outcome.detail
        server.start()
        world.project.add("098", "097", "pass")
        done = await world.forward(act, before, resumed=True)
        assert (done.state, done.observed) == (EffectState.DONE, {"current": "098", "pending": []})


async def test_another_migrator_is_waited_for_and_a_revision_holds_off_others(enum: World) -> None:
    [first] = enum.acts({"lock_timeout": "400ms"}, target="094")
    before = await enum.look(first)
    with psycopg.connect(enum.url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (ADVISORY_KEY,))
        busy = await enum.forward(first, before)
    assert busy.state is EffectState.TEMPORARY
    assert busy.detail == "Alembic waits for another migration that runs in this database; nothing was changed"
    assert (await enum.forward(first, before)).state is EffectState.DONE
    enum.project.add("095x", "094", f"op.execute('INSERT INTO held SELECT pg_try_advisory_lock({ADVISORY_KEY})')")
    (enum.project.folder / "versions" / "v095_note.py").unlink()
    for name in ("v096_states.py", "v097_index.py"):
        (enum.project.folder / "versions" / name).unlink()
    execute(enum, "CREATE TABLE held (free bool)")
    [head] = enum.acts()
    done = await enum.forward(head, await enum.look(head))
    assert done.state is EffectState.DONE, done.detail
    assert query(enum, "SELECT free FROM held") == [(False,)]
    assert query(enum, f"SELECT pg_try_advisory_lock({ADVISORY_KEY})") == [(True,)]


async def test_a_lock_that_cannot_be_asked_for_holds_and_says_why(enum: World) -> None:
    [act] = enum.acts()
    before = await enum.look(act)
    address = enum.url
    enum.url = address.replace("postgres:", "nobody-here:", 1)
    refused = await enum.forward(act, before)
    assert refused.state is EffectState.TEMPORARY
    assert "the database refuses the credentials" in refused.detail


async def test_where_all_revisions_are_one_transaction_one_that_fails_leaves_nothing(enum: World) -> None:
    settings = enum.project.folder / "env.py"
    text = settings.read_text()
    settings.write_text(text.replace("transaction_per_migration=True", "transaction_per_migration=False"))
    for name in ("v096_states.py", "v097_index.py"):
        (enum.project.folder / "versions" / name).unlink()
    enum.project.add("096", "095", "op.execute('SELECT nothing')")
    [act] = enum.acts()
    failed = await enum.forward(act, await enum.look(act))
    assert failed.state is EffectState.REFUSED
    assert failed.detail.endswith("nothing was changed")
    assert failed.observed == {"current": None, "pending": ["093", "094", "095", "096"]}


async def test_a_full_disk_changes_nothing_and_is_tried_again(tmp_path: Path, small_disk: Path) -> None:
    world = World(Project("alembic_table", tmp_path), f"sqlite:///{small_disk}/app.db", tmp_path)
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
    world.project.add(
        "a003", "a002", f'op.execute("CREATE TABLE big AS {numbers} SELECT hex(zeroblob(250)) AS x FROM n")'
    )
    [act] = world.acts()
    before = await world.look(act)
    full = await world.forward(act, before)
    assert full.state is EffectState.TEMPORARY, full.detail
    assert "disk is full" in full.detail
    enlarge(small_disk)
    done = await world.forward(act, before, resumed=True)
    assert (done.state, done.observed) == (EffectState.DONE, {"current": "a003", "pending": []})
