"""Success: what was before is measured when it begins, and each number says how sure it is."""

import pytest

from orchestrator.core import afterwards, asks
from orchestrator.core import evidence as ev
from orchestrator.core.events import SuccessBaseline, SuccessJudged
from orchestrator.core.moment import Moment
from stages.criteria.base import Measurement, MeasurementState, Past, SeriesValue
from stages.success import SuccessCriterion
from tests.orchestrator.core.drive import Drive
from tests.orchestrator.core.test_forward import exposure

WAITED = {"name": "waited", "query": "waited", "window": "1h", "improves": "> 10%", "better": "lower"}


def judged(drive: Drive) -> SuccessJudged:
    drive.run_until(lambda: drive.state.ended)
    drive.run_until(lambda: bool(drive.state.success), step=60)
    return next(event for event in drive.events if isinstance(event, SuccessJudged))


def test_what_was_before_is_written_down_at_the_first_effect_so_that_no_server_need_remember_it() -> None:
    drive = Drive({**exposure(), "success": [WAITED]})
    drive.metrics["waited"] = 10.0
    drive.run_until(lambda: "waited" in drive.state.baselines)
    assert not drive.state.ended
    drive.metrics["waited"] = 7.0
    told = judged(drive)
    assert (told.standing, told.detail) == (
        "yes", "waited went from 10 to 7, better by 30.0%; > 10% was wanted",
    )  # fmt: skip
    assert told.before is not None
    assert told.before.value == 10.0


def test_sql_has_no_past_and_is_still_compared_with_what_was_before() -> None:
    criterion = {"name": "rows", "sql": "SELECT count(*) FROM late", "window": "1h", "improves": "> 50%",
                 "better": "lower", "database": "sqlite:///app.db"}  # fmt: skip
    drive = Drive({**exposure(), "success": [criterion]})
    drive.metrics[""] = 40.0
    drive.run_until(lambda: bool(drive.state.baselines))
    drive.metrics[""] = 10.0
    assert judged(drive).standing == "yes"


def test_a_baseline_that_could_not_be_measured_is_asked_for_again() -> None:
    drive = Drive({**exposure(), "success": [WAITED]})
    drive.metrics["waited"] = None
    drive.run_until(lambda: bool(drive.performed))
    drive.advance(30)
    assert not drive.state.baselines
    drive.metrics["waited"] = 10.0
    drive.run_until(lambda: bool(drive.state.baselines))
    assert sum(isinstance(event, SuccessBaseline) for event in drive.events) == 1


def test_a_run_that_goes_back_measures_no_success() -> None:
    drive = Drive({**exposure(), "success": [WAITED]})
    drive.metrics["waited"] = None
    drive.run_until(lambda: bool(drive.performed))
    drive.command("rollback", reason="enough")
    drive.metrics["waited"] = 10.0
    drive.run_until(lambda: drive.state.ended)
    drive.advance(300, step=30)
    assert not drive.state.baselines
    assert not drive.state.success


@pytest.mark.parametrize(
    ("query", "begins"),
    (
        ("waited", -3600.0),
        ("rate(waited_sum[10m]) / rate(waited_count[10m])", -3000.0),
        ("avg_over_time(waited[1h])", None),  # is the mean of the window by itself
        ("avg_over_time(waited[7d])", None),
    ),
)
def test_the_window_is_asked_for_where_all_that_the_query_looks_back_on_lies_in_it(
    query: str, begins: float | None
) -> None:
    window = afterwards.window_of(SuccessCriterion.model_validate({**WAITED, "query": query}), 10_000.0)
    assert (None if window is None else window.from_ - window.to) == begins
    assert window is None or window.to == 10_000.0


def noted(*values: float) -> ev.Measured:
    past = tuple(Past("value", (), 10.0 * number, value) for number, value in enumerate(values))
    series = (SeriesValue("", 1000.0, 0.0),)
    measurement = Measurement(MeasurementState.OK, 0.0, series, past=past)
    return ev.note_measured(ev.Evidence(), "key", measurement).measured["key"]


def test_the_mean_of_the_window_counts_and_not_what_was_last() -> None:
    level = noted(*[10.0, 12.0] * 60).level
    assert level is not None
    assert level.value == 11.0
    assert level.low is not None
    assert level.high is not None
    assert level.low <= 11.0 <= level.high


def test_a_difference_that_may_be_chance_is_called_so() -> None:
    drive = Drive({**exposure(), "success": [WAITED]})
    before, after = noted(*[10.0, 10.2, 9.8, 10.1] * 30), noted(*[5.0, 13.0, 9.0, 8.0, 7.5, 9.5, 11.0] * 17)
    judging = Moment(drive.state, drive.evidence, drive.now)
    criterion = judging.state.program.success[0]
    assert before.level is not None
    assert after.level is not None
    holds, words, gain = afterwards._improved(criterion, before.level, after.level)
    assert holds
    assert gain is not None
    assert gain[0] < 0.1 < gain[1]
    assert words.endswith("> 10% was wanted, and the difference to that may be chance")


def test_only_the_ask_of_a_window_asks_for_its_history() -> None:
    drive = Drive({**exposure(), "success": [WAITED]})
    drive.metrics["waited"] = None
    drive.run_until(lambda: bool(drive.performed))
    drive.now += 61.0
    due = asks.due(Moment(drive.state, drive.evidence, drive.now), lambda _: False)
    found = [one for one in due.now if isinstance(one, asks.SuccessAsk)]
    assert [(one.key, one.window.name if one.window else None) for one in found] == [("success:waited/before", "value")]


def test_where_nothing_was_changed_there_is_no_before_and_after() -> None:
    stage = {"name": "ask", "kind": "steps", "steps": [{"manual": "Is it so?", "by": ["bob"]}]}
    drive = Drive({"stages": [stage], "success": [WAITED]})
    drive.metrics["waited"] = 7.0
    drive.run_until(lambda: bool(drive.state.waiting))
    drive.command("approve", reason="it is")
    told = judged(drive)
    assert (told.standing, told.detail) == ("unknown", "waited: nothing was changed, so there is no before and after")


@pytest.mark.parametrize(("ends", "asked"), (("promoted", "tidy"), ("rolled_back", "look back")))
def test_each_end_asks_for_what_is_to_be_done_after_it(ends: str, asked: str) -> None:
    follow_up = [
        {"name": "tidy", "manual": "Tidy up", "by": ["ops"], "due": "7d"},
        {"name": "look back", "manual": "Find out why", "by": ["ops"], "due": "2d", "when": "rolled_back"},
    ]
    drive = Drive({**exposure(), "follow_up": follow_up})
    drive.run_until(lambda: drive.percentage("beta") >= 50)
    if ends == "rolled_back":
        drive.command("rollback", reason="enough")
    drive.run_until(lambda: drive.state.ended)
    assert drive.state.outcome == ends
    assert [item.item for item in drive.state.waiting.values() if item.open] == [f"follow_up:{asked}"]
