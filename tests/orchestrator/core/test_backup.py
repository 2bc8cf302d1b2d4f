"""A stage's backup: made and verified before anything changes, fresh when that begins, and offered after a rollback."""

from typing import Any

from orchestrator.core.effect import EffectState, Outcome
from orchestrator.core.events import BackupOutdated, EffectRequested
from stages.checks import Standing
from stages.effects import RunCommand, repeatable
from tests.orchestrator.core.drive import Drive

FILES = {"1.sql": "create table a (x)", "1.down.sql": "drop table a"}
BACKUP = "backup:production/schema"


def spec(backup: dict[str, Any] | None = None, **stage: Any) -> dict[str, Any]:
    written = {
        "command": ["./backup.sh"],
        "verify": [{"name": "readable", "command": ["./verify.sh"]}],
        **(backup or {}),
    }
    schema = {
        "name": "schema",
        "kind": "migration",
        "database": "sqlite:///x",
        "migrations": [{"up": "1.sql", "down": "1.down.sql"}],
        "backup": written,
        **stage,
    }
    last = {"name": "last", "kind": "steps", "steps": [{"manual": "go on"}]}
    return {"stages": [schema, last], "flags": {}}


def touched(drive: Drive) -> list[str]:
    return [event.effect.target for event in drive.events if isinstance(event, EffectRequested)]


def test_the_backup_is_made_and_verified_before_anything_is_changed() -> None:
    drive = Drive(spec(before=[{"command": ["./before.sh"], "undo": "none"}]), FILES)
    drive.run_until(lambda: "manual" in drive.holds())
    assert touched(drive)[0] == BACKUP
    assert touched(drive).index(BACKUP) < touched(drive).index("schema:production/1.sql")
    order = [one for one in drive.types() if one in ("EffectFinished", "CheckAnswered")]
    assert order == ["EffectFinished", "CheckAnswered", "EffectFinished", "EffectFinished"]


def test_a_backup_that_fails_is_on_fail_before_anything_was_changed() -> None:
    drive = Drive(spec(), FILES)
    drive.outcomes[BACKUP] = [Outcome(state=EffectState.REFUSED, detail="exit code 1")]
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert touched(drive) == [BACKUP]
    assert drive.state.exceptions == ()


def test_a_backup_that_does_not_verify_is_on_fail_and_may_be_tried_again() -> None:
    drive = Drive(spec(on_fail="pause"), FILES)
    drive.checks["readable"] = Standing.NO
    drive.run_until(lambda: "paused" in drive.holds())
    assert touched(drive) == [BACKUP]
    drive.checks["readable"] = Standing.YES
    drive.advance(1)
    drive.command("resume", reason="the disk has room again")
    drive.run_until(lambda: "manual" in drive.holds())
    assert "schema:production/1.sql" in touched(drive)


def test_a_backup_that_became_too_old_while_the_run_was_held_is_made_again() -> None:
    drive = Drive(spec({"max_age": "1h"}, before=[{"manual": "ready?"}]), FILES)
    drive.run_until(lambda: "manual" in drive.holds())
    drive.advance(7200, step=60)
    drive.command("approve", reason="now")
    drive.run_until(lambda: "schema:production/1.sql" in touched(drive))
    assert touched(drive)[:3] == [BACKUP, BACKUP, "schema:production/1.sql"]
    [outdated] = [event for event in drive.events if isinstance(event, BackupOutdated)]
    assert outdated.reason == "the backup of schema is 2h old, older than max_age allows"


def test_a_backup_that_is_young_enough_is_made_once() -> None:
    drive = Drive(spec({"max_age": "1h"}, before=[{"manual": "ready?"}]), FILES)
    drive.run_until(lambda: "manual" in drive.holds())
    drive.advance(1800, step=60)
    drive.command("approve", reason="now")
    drive.run_until(lambda: "schema:production/1.sql" in touched(drive))
    assert touched(drive)[:2] == [BACKUP, "schema:production/1.sql"]


def test_a_backup_that_takes_longer_than_it_may_be_old_ends_in_on_fail() -> None:
    plan = spec({"max_age": "1s", "verify": [{"name": "slow", "manual": "looked at?"}]}, on_fail="pause")
    drive = Drive(plan, FILES)
    for _ in range(5):
        drive.run_until(lambda: "manual" in drive.holds())
        drive.advance(10)
        drive.command("approve", reason="yes")
    drive.run_until(lambda: "paused" in drive.holds())
    assert touched(drive) == [BACKUP] * 5


def test_the_backup_is_offered_after_a_rollback_and_restored_on_a_yes() -> None:
    restore = {"restore": [{"command": ["./restore.sh"]}], "by": ["dba"]}
    drive = Drive(spec(restore), FILES)
    drive.run_until(lambda: "manual" in drive.holds())
    drive.command("rollback", reason="wrong data")
    drive.run_until(lambda: "question:production/schema/restore" in drive.state.waiting)
    waiting = drive.state.waiting["question:production/schema/restore"]
    assert (waiting.text, waiting.who) == ("Restore the backup of schema?", ("dba",))
    drive.command("approve", reason="yes")
    drive.run_until(lambda: drive.state.ended)
    assert drive.performed[-1].operation.argv == ("./restore.sh",)  # type: ignore[union-attr]
    assert not any("backup" in entry for entry in drive.state.exceptions)


def test_nothing_is_restored_after_a_no_nor_offered_where_nothing_was_changed() -> None:
    restore = {"restore": [{"command": ["./restore.sh"]}]}
    drive = Drive(spec(restore), FILES)
    drive.run_until(lambda: "manual" in drive.holds())
    drive.command("rollback", reason="wrong data")
    drive.run_until(lambda: bool(drive.state.waiting.get("question:production/schema/restore")))
    drive.command("reject", reason="no")
    drive.run_until(lambda: drive.state.ended)
    assert all(effect.stage != "question schema" for effect in drive.performed)
    early = Drive(spec(restore, before=[{"manual": "ready?"}]), FILES)
    early.run_until(lambda: "manual" in early.holds())
    early.command("rollback", reason="not today")
    early.run_until(lambda: early.state.ended)
    assert "question:production/schema/restore" not in early.state.waiting


def test_a_backup_alone_does_not_pass_a_point_of_no_return() -> None:
    plan = spec(point_of_no_return=True, before=[{"manual": "ready?"}])
    first = {"name": "first", "kind": "steps", "steps": [{"command": ["./go.sh"], "undo": ["./back.sh"]}]}
    plan["stages"].insert(0, first)
    drive = Drive(plan, FILES)
    drive.run_until(lambda: "manual" in drive.holds())
    drive.command("rollback", reason="not today")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert drive.performed[-1].operation.argv == ("./back.sh",)  # type: ignore[union-attr]


def test_a_backup_whose_end_nobody_saw_is_made_again() -> None:
    drive = Drive(spec(), FILES)
    drive.outcomes[BACKUP] = [Outcome(state=EffectState.UNKNOWN, detail="lost")]
    drive.run_until(lambda: "manual" in drive.holds())
    assert touched(drive)[:1] == [BACKUP]
    assert not repeatable(RunCommand(argv=("true",)))
