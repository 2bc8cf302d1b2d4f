"""Which SQL files of a migration stage go back where a plan says ``on_rollback: down``."""

from orchestrator.core.effect import EffectState, Outcome
from tests.orchestrator.core.drive import Drive

FILES = {
    "1.sql": "create index i on a (x)", "1.down.sql": "drop index i",
    "2.sql": "alter type t add value 'v'",
    "3.sql": "create index j on a (y)", "3.down.sql": "drop index j",
}  # fmt: skip


def migrations() -> Drive:
    """Three files; the second never goes."""
    files = [{"up": "1.sql", "down": "1.down.sql"}, {"up": "2.sql", "irreversible": "enum values"},
             {"up": "3.sql", "down": "3.down.sql"}]  # fmt: skip
    stage = {
        "name": "schema",
        "kind": "migration",
        "database": "sqlite:///x",
        "on_rollback": "down",
        "migrations": files,
    }
    return Drive({"stages": [stage, {"name": "last", "kind": "steps", "steps": [{"manual": "go on"}]}]}, FILES)


def taken_back(drive: Drive) -> list[str]:
    return [
        one.target.rpartition("/")[2] for one in drive.performed if getattr(one.operation, "direction", "") == "down"
    ]


def test_what_lies_above_a_file_that_never_goes_goes_and_what_lies_below_it_stays() -> None:
    drive = migrations()
    drive.run_until(lambda: "manual" in drive.holds())
    drive.command("rollback", reason="wrong")
    drive.run_until(lambda: drive.state.ended)
    assert taken_back(drive) == ["3.sql"]
    assert any("1.sql" in one and "2.sql" in one and "never goes: enum values" in one for one in drive.state.exceptions)


def test_a_person_who_asks_for_the_schema_gets_no_more() -> None:
    drive = migrations()
    drive.run_until(lambda: "manual" in drive.holds())
    drive.command("rollback", with_schema=True, reason="wrong")
    drive.run_until(lambda: drive.state.ended)
    assert taken_back(drive) == ["3.sql"]


def test_a_file_that_never_goes_and_was_not_applied_keeps_nothing() -> None:
    drive = migrations()
    refused = Outcome(state=EffectState.REFUSED, detail="broken", observed=None)
    drive.outcomes["schema:production/2.sql"] = [refused]
    drive.world["schema:production/2.sql"] = {"applied": False}
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "rolled_back"
    assert taken_back(drive) == ["1.sql"]
