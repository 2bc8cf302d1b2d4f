"""Alembic's steps in a run: each revision a target of its own, with its own way back."""

from typing import Any

from orchestrator.core.effect import EffectState, Outcome
from stages.effects import RunAlembic
from tests.orchestrator.core.drive import Drive


def at(revision: str | None, *pending: str) -> dict[str, Any]:
    return {"current": revision, "pending": list(pending)}


def target(revision: str) -> str:
    return f"schema:production/alembic.ini@{revision}"


def run(marks: dict[str, Any] | None = None, **stage: Any) -> Drive:
    """A database at 090; 094 is named by the plan and 097 is where it ends."""
    alembic = {"target": "097", "revisions": {"094": marks or {}}}
    schema = {"name": "schema", "kind": "migration", "alembic": alembic, **stage}
    last = {"name": "last", "kind": "steps", "steps": [{"manual": "go on"}]}
    drive = Drive({"stages": [schema, last], "flags": {}})
    drive.world[target("094")] = at("090", "094")
    drive.world[target("097")] = at("094", "097")
    return drive


up_to_a_wall = {"target": "097", "revisions": {"094": {}, "097": {"irreversible": "enum values"}}}


def downgrades(drive: Drive) -> list[str | None]:
    operations = [effect.operation for effect in drive.performed]
    return [one.to for one in operations if isinstance(one, RunAlembic) and one.direction == "down"]


def test_each_step_goes_back_to_where_it_began_last_step_first() -> None:
    drive = run(on_rollback="down", allow_data_loss=True)
    drive.run_until(lambda: "manual" in drive.holds())
    drive.command("rollback", reason="wrong")
    drive.run_until(lambda: drive.state.ended)
    assert downgrades(drive) == ["094", "090"]
    assert drive.state.exceptions == ()


def test_the_way_back_ends_above_a_revision_that_never_goes() -> None:
    drive = run({"irreversible": "enum values"}, on_rollback="down", allow_data_loss=True)
    drive.run_until(lambda: "manual" in drive.holds())
    drive.command("rollback", reason="wrong")
    drive.run_until(lambda: drive.state.ended)
    assert downgrades(drive) == ["094"]
    assert drive.state.exceptions == ("revision 094 of alembic.ini in production stays: enum values",)


def test_nothing_goes_that_lies_below_a_revision_that_never_goes() -> None:
    drive = run(on_rollback="down", allow_data_loss=True, alembic=up_to_a_wall)
    drive.run_until(lambda: "manual" in drive.holds())
    drive.command("rollback", reason="wrong")
    drive.run_until(lambda: drive.state.ended)
    assert downgrades(drive) == []
    assert "097 of alembic.ini in production, above it, never goes: enum values" in drive.state.exceptions[0]


def test_a_revision_that_was_there_before_is_not_taken_back_for_anybody() -> None:
    drive = run(on_rollback="down", allow_data_loss=True)
    drive.world[target("094")] = at("094")
    drive.run_until(lambda: "manual" in drive.holds())
    drive.command("rollback", with_schema=True, reason="wrong")
    drive.run_until(lambda: drive.state.ended)
    assert downgrades(drive) == ["094"]


def test_revisions_that_came_meanwhile_are_nobodys_doing_at_the_database() -> None:
    drive = run(on_rollback="down", allow_data_loss=True)
    drive.run_until(lambda: "manual" in drive.holds())
    drive.world[target("097")] = at("097", "098")
    drive.command("rollback", reason="wrong")
    drive.run_until(lambda: drive.state.ended)
    assert downgrades(drive) == ["094", "090"]


def test_what_a_failed_upgrade_has_done_goes_back_without_a_question() -> None:
    drive = run(on_rollback="down", allow_data_loss=True)
    half = at("096", "097")
    drive.outcomes[target("097")] = [Outcome(state=EffectState.REFUSED, detail="duplicates", observed=half)]
    drive.run_until(lambda: target("097") in drive.state.outstanding or drive.state.rollback is not None)
    drive.world[target("097")] = half
    drive.run_until(lambda: drive.state.ended)
    assert downgrades(drive) == ["094", "090"]
    assert drive.state.exceptions == ()


def test_a_database_that_somebody_else_moved_is_left_and_asked_about() -> None:
    drive = run(on_rollback="down", allow_data_loss=True)
    drive.run_until(lambda: "manual" in drive.holds())
    drive.world[target("097")] = at("099")
    drive.command("rollback", reason="wrong")
    drive.run_until(lambda: f"question:{target('097')}/drift" in drive.state.waiting)
    assert "097" not in downgrades(drive)
