"""What is asked together, and which answers can wait for the others."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core import asks as ask_rules
from orchestrator.core import evidence as ev
from orchestrator.core.asks import MeasureAsk, ObserveAsk
from orchestrator.core.gates import FIRST_LOOKS_SECONDS, next_look_at
from orchestrator.core.moment import Moment
from orchestrator.metrics.now import RunNow, seen
from stages.criteria.base import Verdict
from tests.orchestrator.core.drive import Drive

EVERY = 10


def baking(every: int = EVERY, **flags: Any) -> Drive:
    """A run in the bake of a step, looked at just now."""
    criteria = [
        {"name": "errors", "query": "errors", "fail": "> 0.1"},
        {"name": "slow", "query": "slow", "fail": "> 1"},
    ]
    gates = {"health": {"every": f"{every}s", "criteria": criteria}}
    stage = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [5], "gate": "health", "bake": "1h"}
    drive = Drive({"flags": {"beta": {}}, "gates": gates, "stages": [stage]}, **flags)
    drive.metrics |= {"errors": 0.01, "slow": 0.1}
    drive.run_until(lambda: drive.state.leg == "baking")
    drive.advance(3 * every)
    return drive


def due(drive: Drive, seconds: float) -> list[Any]:
    return list(ask_rules.due(Moment(drive.state, drive.evidence, drive.now + seconds), lambda _: False).now)


def look(drive: Drive, name: str) -> tuple[MeasureAsk, ev.Look]:
    ask = next(one for one in due(drive, EVERY) if isinstance(one, MeasureAsk) and one.criterion.name == name)
    return ask, drive.evidence.looks[ask.key]


def noted(drive: Drive, key: str, newer: ev.Look) -> ev.Evidence:
    return replace(drive.evidence, looks={**drive.evidence.looks, key: newer})


def test_a_look_that_says_the_same_is_no_news_though_its_value_is_another() -> None:
    drive = baking()
    ask, known = look(drive, "errors")
    newer = replace(known, at=known.at + EVERY, value=0.02, sentence="errors is 0.02")
    assert not ask_rules.is_news(drive.state, ask, drive.evidence, noted(drive, ask.key, newer))


@pytest.mark.parametrize(
    "change",
    ({"verdict": Verdict.FAIL}, {"enough": False}, {"mismatch": True}, {"settling": True}, {"log_evidence": 1.5}),
)
def test_a_look_on_which_something_may_be_decided_is_news(change: dict[str, Any]) -> None:
    drive = baking()
    ask, known = look(drive, "errors")
    newer = replace(known, at=known.at + EVERY, **change)
    assert ask_rules.is_news(drive.state, ask, drive.evidence, noted(drive, ask.key, newer))


def test_the_first_look_is_news() -> None:
    drive = baking()
    ask, known = look(drive, "errors")
    others = {key: one for key, one in drive.evidence.looks.items() if key != ask.key}
    assert ask_rules.is_news(drive.state, ask, replace(drive.evidence, looks=others), noted(drive, ask.key, known))


def test_a_look_that_says_the_same_is_news_where_the_one_before_spoke_of_something_else() -> None:
    drive = baking()
    ask, known = look(drive, "errors")
    anew = replace(ask, setting=replace(ask.setting, since=known.at + 1.0))  # exposure changed in between
    newer = replace(known, at=known.at + EVERY)
    assert ask_rules.is_news(drive.state, anew, drive.evidence, noted(drive, ask.key, newer))


def test_on_the_way_back_a_flag_that_stands_as_it_did_is_news_for_it_is_waited_for() -> None:
    drive = baking()
    ask = next(one for one in due(drive, EVERY) if isinstance(one, ObserveAsk))
    drive.command("rollback", reason="not wanted")
    seen = drive.evidence.seen[ask.target]
    after = ev.note_seen(drive.evidence, ask.target, replace(seen, at=seen.at + EVERY))
    assert ask_rules.is_news(drive.state, ask, drive.evidence, after)


def test_a_flag_that_stands_as_it_did_is_no_news_and_one_that_was_changed_is() -> None:
    drive = baking()
    ask = next(one for one in due(drive, EVERY) if isinstance(one, ObserveAsk))
    seen = drive.evidence.seen[ask.target]
    same = ev.note_seen(drive.evidence, ask.target, replace(seen, at=seen.at + EVERY))
    assert not ask_rules.is_news(drive.state, ask, drive.evidence, same)
    for change in ({"value": {"state": "disabled"}}, {"exists": False}, {"failure": "away"}, {"changed_by": "bob"}):
        after = ev.note_seen(drive.evidence, ask.target, replace(seen, at=seen.at + EVERY, **change))
        assert ask_rules.is_news(drive.state, ask, drive.evidence, after)


def test_what_is_looked_at_is_asked_together_so_that_a_run_is_woken_once() -> None:
    drive = baking()
    at = ask_rules.due(Moment(drive.state, drive.evidence, drive.now), lambda _: False).next_at
    assert at is not None
    kinds = [type(one) for one in due(drive, at - drive.now)]
    assert (kinds.count(MeasureAsk), kinds.count(ObserveAsk)) == (2, 1)


def test_what_is_under_way_wakes_a_run_by_its_answer_and_not_by_the_clock() -> None:
    drive = baking()
    moment = Moment(drive.state, drive.evidence, drive.now + EVERY)
    begun = ask_rules.due(moment, lambda _: False)
    again = ask_rules.due(moment, {one.key for one in begun.now}.__contains__)
    assert begun.now
    assert not again.now
    for later in (begun.next_at, again.next_at):
        assert later is None or later > moment.now + 1.0


async def test_a_look_that_is_overdue_shows_in_the_metrics() -> None:
    drive = baking()
    due_at = Moment(drive.state, drive.evidence, drive.now).reached_gate.due_at
    assert due_at is not None
    for late, told in ((-1.0, 0.0), (12.0, 12.0)):
        moment = Moment(drive.state, drive.evidence, due_at + late)
        assert (await seen([RunNow(moment, is_unwritable=False)])).late == told


def test_a_new_life_looks_at_everything_within_seconds_and_goes_on_in_the_old_beat() -> None:
    drive = baking(every=60)
    known = next(iter(drive.evidence.looks.values())).at
    drive.now = known + 20.0
    drive.evidence = ev.note_life(drive.evidence, drive.now, 0.0)
    drive.advance(FIRST_LOOKS_SECONDS)
    first = {look.at for look in drive.evidence.looks.values()}
    assert min(first) >= known + 20.0
    drive.advance(60.0)
    assert {look.at for look in drive.evidence.looks.values()} == {known + 60.0}


def test_all_that_is_asked_alike_is_asked_in_the_same_second_of_a_new_life() -> None:
    assert next_look_at(990.0, 60.0, 47) == 1007.0
    assert {next_look_at(990.0, 60.0, 47, life) for life in (1000.2, 1000.7, 1001.9)} == {1002.0}
    assert next_look_at(990.0, 60.0, 47, 1002.1) == 1007.0


@pytest.mark.parametrize("late_seconds", (0.0, 0.4, 1.9))
def test_a_look_that_comes_a_little_late_is_as_of_when_it_was_due(late_seconds: float) -> None:
    drive = baking()
    due_at = next_look_at(look(drive, "errors")[1].at, EVERY, drive.state.environment.gates["health"].beat)
    asked = [one for one in due(drive, due_at + late_seconds - drive.now) if isinstance(one, MeasureAsk)]
    assert [one.at for one in asked] == [due_at, due_at]


def test_a_look_that_comes_late_is_as_of_now() -> None:
    drive = baking()
    due_at = next_look_at(look(drive, "errors")[1].at, EVERY, drive.state.environment.gates["health"].beat)
    asked = [one for one in due(drive, due_at + 3.0 - drive.now) if isinstance(one, MeasureAsk)]
    assert [one.at for one in asked] == [due_at + 3.0] * 2
