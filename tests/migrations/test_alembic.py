"""Alembic by its own command, on real databases: what is asked of it, and what becomes of each answer."""

import asyncio
import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.adapters.alembic import AlembicPerformer, read_current, read_history
from orchestrator.adapters.process import ProcessRunner
from orchestrator.adapters.secrets import Secrets
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.errors import Permanent, RolloutError
from orchestrator.ports import Scene
from stages.actions.alembic import AlembicAction
from stages.compile import compile_plan
from stages.plan import StagedRollout
from stages.step import Act
from stages.values import Json
from tests.migrations.alembic_world import Project
from tests.orchestrator.core.drive import plan_of
from tests.support.postgres import PostgresServer
from tests.support.process import wait_until

pytestmark = pytest.mark.slow  # each question to Alembic is a process of a second or two


@dataclass
class World:
    """A project, its database, and the steps of a stage over them."""

    project: Project
    url: str
    folder: Path

    @property
    def performer(self) -> AlembicPerformer:
        secrets = Secrets(environ={"DATABASE_URL": self.url})
        return AlembicPerformer(ProcessRunner(self.folder / "state", secrets, grace_seconds=0.5))

    @property
    def scene(self) -> Scene:
        return Scene("r1", "production", directory=str(self.folder))

    def acts(self, stage: dict[str, Any] | None = None, **alembic: Any) -> list[Act]:
        written = {"name": "schema", "kind": "migration", "alembic": self.project.alembic(**alembic), **(stage or {})}
        spec = {"database": {"env": "DATABASE_URL"}, "stages": [written]}
        document = StagedRollout.model_validate(plan_of(spec))
        program = compile_plan([("production", document)], "d", {})
        return [act for act in program.environments[0].stages[0].acts() if isinstance(act.action, AlembicAction)]

    async def look(self, act: Act) -> dict[str, Json]:
        assert act.observation is not None
        seen = await self.performer.observe(act.observation, self.scene)
        assert isinstance(seen.value, dict)
        return seen.value

    async def refused_look(self, act: Act) -> str:
        with pytest.raises(RolloutError) as caught:
            await self.look(act)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    async def forward(self, act: Act, before: Json = None, *, resumed: bool = False) -> Outcome:
        return await self._perform(act, act.forward(before), before, resumed)

    async def back(self, act: Act, before: Json, stands: Json) -> Outcome:
        return await self._perform(act, act.backward(before), stands, False)

    async def _perform(self, act: Act, operation: Any, before: Json, resumed: bool) -> Outcome:
        assert act.target is not None
        effect = Effect(
            id="e1", target=act.target.id, target_kind=act.target.kind, label=act.label, operation=operation,
            before=before, environment="production", stage="schema",
        )  # fmt: skip
        return await self.performer.perform(effect, self.scene, resumed)


@pytest.fixture
def table(tmp_path: Path) -> World:
    return World(Project("alembic_table", tmp_path), f"sqlite:///{tmp_path}/app.db", tmp_path)


@pytest.fixture
def enum(tmp_path: Path, postgres_dsn: str) -> World:
    return World(Project("alembic_enum", tmp_path), postgres_dsn, tmp_path)


def tables(world: World) -> set[str]:
    with contextlib.closing(sqlite3.connect(world.url.removeprefix("sqlite:///"))) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def query(world: World, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(world.url, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


def execute(world: World, sql: str) -> None:
    with psycopg.connect(world.url, autocommit=True) as connection:
        connection.execute(sql.encode())


def labels(world: World) -> list[str]:
    return [name for (name,) in query(world, "SELECT unnest(enum_range(NULL::state))::text")]


# --- forward and back -------------------------------------------------------------------------------------------------


async def test_an_upgrade_goes_to_the_head_and_a_downgrade_to_where_the_database_was(table: World) -> None:
    [act] = table.acts()
    before = await table.look(act)
    assert before == {"current": None, "pending": ["a001", "a002"]}
    done = await table.forward(act, before)
    assert done.state is EffectState.DONE
    assert done.observed == {"current": "a002", "pending": []}
    assert tables(table) == {"documents", "embeddings", "alembic_version"}
    back = await table.back(act, before, done.observed)
    assert (back.state, back.observed) == (EffectState.DONE, before)
    assert tables(table) == {"alembic_version"}


async def test_only_what_the_run_applied_is_taken_back(table: World) -> None:
    [first] = table.acts(target="a001")
    await table.forward(first, await table.look(first))
    [act] = table.acts(expect_current="a001")
    before = await table.look(act)
    done = await table.forward(act, before)
    await table.back(act, before, done.observed)
    assert tables(table) == {"documents", "alembic_version"}


async def test_a_database_at_the_target_is_done_without_an_effect(table: World) -> None:
    [act] = table.acts(expect_current="a001")
    await table.forward(act, {"current": None})
    stands = await table.look(act)
    assert act.is_done(stands)


async def test_an_effect_that_is_asked_for_again_changes_nothing_twice(table: World) -> None:
    [act] = table.acts()
    before = await table.look(act)
    first = await table.forward(act, before)
    again = await table.forward(act, before, resumed=True)
    assert (again.state, again.observed) == (first.state, first.observed)
    assert again.detail == "the database stands at revision a002"


async def test_an_upgrade_that_was_interrupted_on_its_way_goes_on(table: World) -> None:
    [half] = table.acts(target="a001")
    [act] = table.acts()
    before = await table.look(act)
    await table.forward(half, before)
    assert (await table.forward(act, before, resumed=True)).state is EffectState.DONE


async def test_a_database_that_somebody_else_moved_is_left_alone(table: World) -> None:
    [half] = table.acts(target="a001")
    [act] = table.acts()
    await table.forward(half, await table.look(half))
    table.project.add("a003", "a002", "pass")
    beyond = {"current": "a002", "pending": ["a003"]}
    for resumed, state in ((False, EffectState.REFUSED), (True, EffectState.UNKNOWN)):
        outcome = await table.forward(act, beyond, resumed=resumed)
        assert outcome.state is state
        assert outcome.detail == ("the database stands at revision a001; it was at a002 before: somebody else moved it")


async def test_named_revisions_are_gone_to_one_after_the_other(enum: World) -> None:
    acts = enum.acts(revisions={"094": {"keep": "bug fix"}, "096": {"irreversible": "enum values"}})
    assert [act.label for act in acts] == ["upgrade to 094", "upgrade to 096", "upgrade to head"]
    reached = []
    for act in acts:
        done = await enum.forward(act, await enum.look(act))
        assert done.state is EffectState.DONE, done.detail
        reached.append(done.observed["current"])
    assert reached == ["094", "096", "097"]
    assert labels(enum) == ["new", "active", "suspended", "closed"]


async def test_a_name_may_be_written_out_of_order_where_it_never_goes_anyway(enum: World) -> None:
    first, second, _ = enum.acts(revisions={"096": {"irreversible": "enum values"}, "094": {"keep": "bug fix"}})
    await enum.forward(first, await enum.look(first))
    assert second.is_done(await enum.look(second))


async def test_a_revision_that_would_take_one_with_it_that_never_goes_is_refused_before_anything_starts(
    enum: World,
) -> None:
    first, *_ = enum.acts(revisions={"095": {}, "094": {"keep": "bug fix"}})
    assert await enum.refused_look(first) == "revision 094 never goes and lies below 095; name it first in the plan"


async def test_a_downgrade_stops_at_a_revision_that_never_goes(enum: World) -> None:
    *_, last = enum.acts(revisions={"096": {"irreversible": "enum values"}})
    done = await enum.forward(last, {"current": None})
    refused = await enum.back(last, {"current": "095"}, done.observed)
    assert refused.state is EffectState.REFUSED
    assert refused.detail == "revision 096 lies on the way down and never goes: enum values"
    back = await enum.back(last, {"current": "096"}, done.observed)
    assert back.observed == {"current": "096", "pending": ["097"]}
    assert labels(enum) == ["new", "active", "suspended", "closed"]


# --- what goes wrong --------------------------------------------------------------------------------------------------


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
        ({"config": "other.ini"}, "`alembic history` ended with exit code"),
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


# --- what would be lost, and what would be run ------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ({"on_rollback": "down"},), ids=("down",))
async def test_a_downgrade_that_drops_data_is_refused_unless_the_plan_allows_it(
    table: World, stage: dict[str, Any]
) -> None:
    [act] = table.acts(stage)
    said = await table.refused_look(act)
    assert said == (
        "on_rollback is down, and the downgrade from a002 drops the table embeddings, the table documents; "
        "say allow_data_loss: true if that is meant, or on_rollback: keep or {ask: ...}"
    )
    [allowed] = table.acts({**stage, "allow_data_loss": True})
    assert (await table.look(allowed))["pending"] == ["a001", "a002"]


async def test_a_downgrade_that_drops_no_data_needs_no_word(enum: World) -> None:
    first, _ = enum.acts(revisions={"093": {}}, target="094")
    await enum.forward(first, await enum.look(first))
    *_, careful = enum.acts({"on_rollback": "down"}, revisions={"093": {}}, target="094")
    assert (await enum.look(careful))["pending"] == ["094"]


async def test_the_sql_of_what_is_pending_can_be_read(enum: World) -> None:
    first, last = enum.acts(revisions={"096": {}})
    await enum.forward(first, await enum.look(first))
    assert last.observation is not None
    sql = await enum.performer.upgrade_sql(last.observation, enum.scene)  # type: ignore[arg-type]
    assert "CREATE INDEX accounts_by_state ON accounts (state)" in sql
    assert "CREATE TABLE accounts" not in sql
    await enum.forward(last, await enum.look(last))
    assert await enum.performer.upgrade_sql(last.observation, enum.scene) == ""  # type: ignore[arg-type]


# --- reading ----------------------------------------------------------------------------------------------------------


def test_branches_merges_labels_and_dependencies_are_read() -> None:
    history = read_history(
        "2026: something that the team prints\n"
        "c1, d1 -> e1 (head) (mergepoint), merge -> of both, it says\n"
        "b1 (x9) -> d1 (api), deep\n"
        "b1 -> c1, one\n"
        "a1 -> b1 (branchpoint), two\n"
        "<base> -> a1, three\n"
        "<base> -> x9, elsewhere\n"
    )
    assert history.head() == "e1"
    assert history.between("b1", "d1") == ["x9", "d1"]
    assert history.between(None, "b1") == ["a1", "b1"]
    assert history.leads("x9", "e1")
    assert not history.leads("c1", "d1")
    assert read_current("Connecting ...\nd1 (effective head)\n", history) == "d1"
    assert read_current("nothing\n", history) is None
    with pytest.raises(Permanent, match=r"several revisions \(c1, d1\)"):
        read_current("c1\nd1\n", history)


def test_a_history_without_revisions_is_told() -> None:
    with pytest.raises(Permanent, match="has no revisions"):
        read_history("")
