"""Freezes: nothing goes forward in an environment, and everything else goes on."""

from typing import Any

import pytest

from orchestrator.core import evidence as ev
from orchestrator.core.effect import EffectState, Outcome
from orchestrator.core.events import HoldCleared, HoldSet
from orchestrator.core.freeze import Freeze, Lift
from orchestrator.core.view import status
from orchestrator.errors import Refused
from stages.checks import Standing
from tests.orchestrator.core.drive import BEGIN, Drive
from tests.orchestrator.core.test_forward import exposure

COMMAND = {"command": ["./deploy.sh"], "target": "backend", "observe": ["./version.sh"], "undo": ["./deploy.sh", "old"]}
ENVIRONMENTS = {"environments": [{"name": "staging", "watch": "1m"}, {"name": "production"}]}


def freeze(drive: Drive, environment: str = "production", **fields: Any) -> None:
    one = Freeze(environment, "kim", "quarter end", drive.now, **fields)
    drive.evidence = ev.note_freezes(drive.evidence, (one,))
    drive.settle()


def lift(drive: Drive) -> None:
    (one,) = drive.evidence.freezes
    ended = Freeze(one.environment, one.by, one.reason, one.at, one.until, 2, Lift(drive.now, "lee", "all closed"))
    drive.evidence = ev.note_freezes(drive.evidence, (ended,))
    drive.settle()


def at_five_percent(**fields: Any) -> Drive:
    drive = Drive(exposure(**fields))
    drive.run_until(lambda: drive.percentage("beta") == 5)
    return drive


@pytest.mark.parametrize("environment", ("production", "*"))
def test_nothing_is_raised_while_a_freeze_stands_and_all_goes_on_after_it(environment: str) -> None:
    drive = at_five_percent()
    freeze(drive, environment)
    drive.advance(3600, step=5)
    assert drive.percentage("beta") == 5
    assert drive.holds() == {"window"}
    lift(drive)
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == "promoted"


def test_a_freeze_of_another_environment_holds_nothing() -> None:
    drive = at_five_percent()
    freeze(drive, "staging")
    assert drive.holds() == set()
    assert status(drive.state, drive.evidence, drive.now)["frozen"] != []
    drive.run_until(lambda: drive.state.ended)


def test_the_hold_says_who_froze_what_why_and_until_when() -> None:
    drive = at_five_percent()
    freeze(drive, until=BEGIN + 86_400)
    (hold,) = status(drive.state, drive.evidence, drive.now)["holds"]
    words = "production is frozen by kim until 2023-11-15T22:13:20.000Z: quarter end"
    assert (hold["reason"], hold["item"], hold["by"], hold["detail"]) == ("window", "freeze:production", "kim", words)


def test_status_says_when_the_run_goes_on_if_that_is_known() -> None:
    drive = at_five_percent()
    freeze(drive, until=BEGIN + 86_400)
    assert status(drive.state, drive.evidence, drive.now)["next"]["at"] == "2023-11-15T22:13:20.000Z"
    freeze(drive, revision=2)
    assert status(drive.state, drive.evidence, drive.now)["next"]["at"] is None


def test_the_journal_of_a_run_says_who_froze_it_and_who_let_it_go_and_why() -> None:
    drive = at_five_percent()
    freeze(drive)
    lift(drive)
    held = next(event for event in drive.events if isinstance(event, HoldSet))
    freed = next(event for event in drive.events if isinstance(event, HoldCleared))
    assert (held.by, held.reason) == ("kim", "quarter end")
    assert (freed.by, freed.reason) == ("lee", "all closed")


def test_a_freeze_ends_at_its_time_by_itself() -> None:
    drive = at_five_percent()
    freeze(drive, until=drive.now + 600)
    ends = drive.now + 600
    drive.run_until(lambda: drive.percentage("beta") == 50)
    assert drive.now == ends
    freed = next(event for event in drive.events if isinstance(event, HoldCleared))
    assert (freed.by, freed.reason) == ("controller", "the time of the freeze is over")


def test_a_freeze_that_is_made_longer_is_the_same_hold_with_the_new_words() -> None:
    drive = at_five_percent()
    freeze(drive, until=drive.now + 600)
    since = drive.now
    drive.advance(300)
    freeze(drive, until=since + 1200, revision=2)
    (hold,) = drive.state.holds.values()
    assert hold.since == since
    assert "T22:33:2" in hold.detail
    drive.advance(600)
    assert drive.holds() == {"window"}


def test_a_new_run_is_checked_and_approved_and_holds_before_its_first_change() -> None:
    drive = Drive({**exposure(), "checks": [{"name": "ready", "command": ["./ready.sh"]}],
                   "approval": {"any_of": ["on-call"]}})  # fmt: skip
    freeze(drive)
    assert drive.holds() == {"window", "approval"}
    drive.command("approve", reason="fine")
    drive.advance(600)
    assert drive.holds() == {"window"}
    assert "EffectRequested" not in drive.types()
    lift(drive)
    drive.run_until(lambda: drive.percentage("beta") == 5)


def test_time_under_a_freeze_is_bake() -> None:
    drive = at_five_percent(bake="10m")
    drive.advance(60)
    freeze(drive)
    drive.advance(900, step=5)
    lift(drive)
    drive.run_until(lambda: drive.percentage("beta") == 50, limit_seconds=5)


def test_a_failing_gate_rolls_back_through_a_freeze() -> None:
    drive = at_five_percent()
    freeze(drive)
    drive.metrics["errors"] = 0.5
    drive.run_until(lambda: drive.state.ended, limit_seconds=600)
    assert drive.state.outcome == "rolled_back"
    assert drive.percentage("beta") == 0


def test_what_is_refused_for_good_rolls_back_through_a_freeze() -> None:
    drive = Drive({"stages": [{"name": "deploy", "kind": "steps", "steps": [COMMAND]}]})
    again = Outcome(state=EffectState.TEMPORARY, detail="not now")
    drive.outcomes["command:production/backend"] = [again, Outcome(state=EffectState.REFUSED, detail="no such version")]
    drive.run_until(lambda: "EffectFailed" in drive.types())
    freeze(drive)
    drive.run_until(lambda: drive.state.ended, limit_seconds=60)
    assert drive.state.outcome == "rolled_back"


def test_a_verify_that_says_no_rolls_back_through_a_freeze() -> None:
    drive = at_five_percent(verify=[{"name": "works", "command": ["./works.sh"]}], percentages=[5])
    drive.run_until(lambda: drive.state.leg == "finishing")
    freeze(drive)
    drive.checks["works"] = Standing.NO
    drive.run_until(lambda: drive.state.ended, limit_seconds=120)
    assert drive.state.outcome == "rolled_back"


def test_a_trigger_acts_through_a_freeze() -> None:
    trigger = {"name": "quota", "query": "quota", "fail": "> 1", "actions": [{"disable": "beta"}], "then": "continue"}
    drive = Drive({**exposure(), "triggers": [trigger]})
    drive.run_until(lambda: drive.percentage("beta") == 5)
    freeze(drive)
    drive.metrics["quota"] = 2.0
    drive.run_until(lambda: drive.percentage("beta") == 0, limit_seconds=120)


def test_a_person_rolls_back_and_stops_through_a_freeze() -> None:
    drive = at_five_percent()
    freeze(drive)
    drive.command("rollback", reason="enough")
    drive.run_until(lambda: drive.state.ended, limit_seconds=60)
    assert drive.state.outcome == "rolled_back"
    other = at_five_percent()
    freeze(other)
    other.command("stop", reason="leave it")
    assert other.state.outcome == "stopped"


def test_advance_does_not_override_a_freeze_and_says_what_would() -> None:
    drive = at_five_percent()
    freeze(drive)
    with pytest.raises(Refused, match=r"production is frozen by kim .*: quarter end; nothing is advanced .* unfrozen"):
        drive.command("advance", reason="now")
    lift(drive)
    drive.command("advance", reason="now")
    assert drive.percentage("beta") == 50


def test_the_watch_goes_on_and_the_next_environment_is_not_begun() -> None:
    drive = Drive({**exposure(), **ENVIRONMENTS})
    drive.run_until(lambda: drive.state.phase == "watching")
    freeze(drive)
    drive.run_until(lambda: drive.state.cursor.environment == "production")
    assert drive.holds() == {"window"}
    drive.advance(600)
    assert drive.state.leg == "entering"


def test_a_freeze_of_the_last_environment_does_not_keep_its_watch_from_ending() -> None:
    drive = Drive({**exposure(), "watch": "5m"})
    drive.run_until(lambda: drive.state.phase == "watching")
    freeze(drive)
    drive.run_until(lambda: drive.state.ended, limit_seconds=400)
    assert drive.state.outcome == "promoted"
