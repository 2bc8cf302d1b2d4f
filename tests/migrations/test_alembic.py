"""Alembic by its own command, on real databases: what is asked of it, and what becomes of each answer."""

from typing import Any

import pytest

from orchestrator.adapters.alembic import read_current, read_history
from orchestrator.core.effect import EffectState
from orchestrator.errors import Permanent
from tests.migrations.alembic_world import World, labels, tables

pytestmark = pytest.mark.slow  # each question to Alembic is a process of a second or two


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
