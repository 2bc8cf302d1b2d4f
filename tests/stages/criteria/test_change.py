"""After against before: where the baseline comes from, how much more is too much, and what that does."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.checks import Source
from stages.criteria.base import (
    History,
    Judgement,
    Measurement,
    MeasurementState,
    Memory,
    Past,
    SeriesValue,
    Setting,
    Verdict,
    Wanted,
)
from stages.criteria.change import Change
from stages.criteria.levels import MOST_POINTS, MOST_SERIES, Levels, labels_of, text_of
from tests.stages.criteria.looks import SINCE, Looks, again, verdicts

QUERY = "sum(rate(request_seconds_sum[1m])) / sum(rate(request_seconds_count[1m]))"
LOOKBACK_SECONDS = 90.0
WINDOW_SECONDS = 3600.0

Level = float | Callable[[float], float]


def change(query: str | None = QUERY, **fields: Any) -> Change:
    of = {"query": query, "window": "1h", "max_increase": "20%", **fields.pop("change", {})}
    given_of = {name: value for name, value in of.items() if value is not None}
    return Change.model_validate({"name": "latency", "change": given_of, **fields})


def by_command(**fields: Any) -> Change:
    return change(None, change={"command": ["./depth.sh"], **fields.pop("change", {})}, **fields)


class Server:
    """Answers looks with what series are now and, where it is asked, with what they were."""

    def __init__(self, lookback_seconds: float = LOOKBACK_SECONDS, **before: Level) -> None:
        """*before*: by the pod; ``all`` is the one series without labels."""
        self.lookback_seconds = lookback_seconds
        self.before = before
        self.asked: list[History] = []

    def now(self, **values: float) -> Callable[[float, Wanted], Measurement]:
        def answer(at: float, wanted: Wanted) -> Measurement:
            series = tuple(SeriesValue(_labels(pod), value, at) for pod, value in values.items())
            past = tuple(one for history in wanted.history for one in self._past(history))
            self.asked += wanted.history
            return Measurement(MeasurementState.OK, at, series, lookback_seconds=self.lookback_seconds, past=past)

        return answer

    def _past(self, history: History) -> list[Past]:
        times = np.arange(history.from_, history.to + 0.5, history.step_seconds)
        return [
            Past(history.name, tuple(labels_of(_labels(pod)).get(name, "") for name in history.by), float(at), value)
            for pod, level in self.before.items()
            for at in times
            if not math.isnan(value := level(float(at)) if callable(level) else level)
        ]


def _labels(pod: str) -> str:
    return "" if pod == "all" else f'{{pod="{pod}"}}'


def failed(state: str) -> Callable[[float, Wanted], Measurement]:
    return lambda at, _: Measurement(MeasurementState(state), at, detail="the server is away")


def noisy(level: float, size: float, seed: int = 1) -> Callable[[float], float]:
    rng = np.random.default_rng(seed)
    return lambda _: level + size * float(rng.normal())


def fresh(criterion: Change, **remembered: Any) -> Looks:
    return Looks(criterion, Setting(since=SINCE, before=SINCE), **remembered)


def started(server: Server, now: float = 1.0, **fields: Any) -> Looks:
    """Looks until what is measured lies wholly after the step."""
    looks = Looks(change(**fields), Setting(since=SINCE, before=SINCE - 10))
    again(lambda: looks.measure(server.now(all=now)), 5)
    return looks


# --- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "said"),
    (
        ({"query": None}, "a change measures exactly one of query, sql, http, command; found none"),
        ({"sql": "SELECT 1"}, "a change measures exactly one of query, sql, http, command; found query and sql"),
        ({"query": "rate(x["}, "the query is not PromQL"),
        ({"query": "x @ 5"}, "the query is fixed to a time with @"),
        ({"query": "rate(x[30m])"}, "a window of at least 150m is expected, 5 times as long as the query looks back"),
        ({"window": "30s"}, "a window of at least 1m is expected, not 30s"),
        ({"max_increase": -0.1}, "max_increase is 0 or more: a decrease is never worse here"),
        ({"max_increase": 20}, 'max_increase is at most 1,000% (is "20%" meant?)'),
    ),
)
def test_what_makes_no_sense_is_refused_with_a_sentence(of: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        change(change=of)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("field", "said"),
    (
        ({"query": "x"}, "query would be ignored here: write it as change.query"),
        ({"script": "x"}, "script would be ignored here: a change measures its own source"),
        ({"database": "x"}, "database belongs to sql, not to query"),
        ({"dir": "x"}, "dir belongs to command, not to query"),
        ({"no_answer": "fail"}, "no_answer would be ignored here"),
    ),
)
def test_fields_that_would_be_ignored_are_refused(field: dict[str, Any], said: str) -> None:
    of = {"query": QUERY, "window": "1h", "max_increase": "20%"}
    with pytest.raises(ValidationError) as caught:
        Change.model_validate({"name": "latency", "change": of, **field})
    assert said in str(caught.value)


def test_its_own_source_is_asked_at_each_look() -> None:
    assert change(source="eu", timeout="3s").asked == Source(query=QUERY, source="eu", timeout=3.0)
    command = by_command(dir="bin", vars={"A": "1"}).asked
    assert command == Source(command=("./depth.sh",), dir="bin", vars={"A": "1"})
    sql = change(None, change={"sql": "SELECT count(*) FROM jobs"}, database="postgresql:///a").asked
    assert (sql.kind, sql.database) == ("sql", "postgresql:///a")
    http = change(None, change={"http": {"url": "http://a/b", "value": "depth"}}).asked
    assert http.http is not None
    assert http.http.value == "depth"


def test_it_is_no_test_and_takes_no_share_of_the_error_budget() -> None:
    assert not Change.is_tested
    assert started(Server(all=1.0)).measure(Server(all=1.0).now(all=1.0)).log_evidence is None


# --- the baseline of a query ------------------------------------------------------------------------------------------


def test_the_window_before_the_change_is_asked_for_once() -> None:
    server = Server(all=1.0)
    looks = started(server)
    again(lambda: looks.measure(server.now(all=1.0)), 5)
    assert len(server.asked) == 1
    history = server.asked[0]
    assert (history.expression, history.by) == (QUERY, ())
    assert (history.from_, history.to) == (SINCE - 10 - WINDOW_SECONDS, SINCE - 10)
    assert history.step_seconds == 18.0


def test_series_are_told_apart_in_history_by_the_labels_that_they_have() -> None:
    server = Server(a=1.0, b=2.0)
    looks = fresh(change())
    again(lambda: looks.measure(server.now(a=1.0, b=2.0)), 9)
    assert [history.by for history in server.asked] == [("pod",)]
    assert again(lambda: looks.measure(server.now(a=1.2, b=2.2)), 3).verdict is Verdict.PASS


def test_a_step_within_the_stage_keeps_the_baseline_and_another_change_has_another() -> None:
    server = Server(all=1.0)
    looks = started(server)
    looks.stepped()
    again(lambda: looks.measure(server.now(all=1.0)), 9)
    assert len(server.asked) == 1
    looks.setting = replace(looks.setting, since=looks.at, before=looks.at - 5)
    again(lambda: looks.measure(server.now(all=1.0)), 9)
    assert len(server.asked) == 2
    assert server.asked[1].to == math.floor(looks.setting.before)


def test_looks_before_the_step_are_not_those_after_it() -> None:
    server = Server(all=1.0)
    looks = started(server)
    again(lambda: looks.measure(server.now(all=5.0)), 12)
    looks.stepped()
    judgement = again(lambda: looks.measure(server.now(all=1.0)), 8)
    assert judgement.verdict is Verdict.PASS
    assert judgement.value == pytest.approx(1.0)


def test_a_window_that_reaches_back_before_the_step_says_nothing() -> None:
    server = Server(all=1.0)
    looks = fresh(change())
    seen = [looks.measure(server.now(all=9.0)) for _ in range(5)]
    assert set(verdicts(seen)) == {Verdict.PASS}
    assert all(one.settling and not one.enough for one in seen)
    assert seen[1].sentence == "latency: what is measured reaches back before the step for another 1m"


def test_while_a_change_settles_nothing_is_compared() -> None:
    server = Server(all=1.0)
    looks = Looks(change(), Setting(since=SINCE, before=SINCE, warmup_seconds=120.0))
    seen = [looks.measure(server.now(all=9.0)) for _ in range(7)]
    assert set(verdicts(seen)) == {Verdict.PASS}
    assert "the change is settling" in seen[1].sentence


def test_without_a_past_there_is_nothing_to_compare_with_and_it_holds() -> None:
    server = Server()
    looks = started(server)
    judgement = again(lambda: looks.measure(server.now(all=1.0)), 3)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.sentence == "latency: there are no values in the 60m before the change to compare with"


def test_a_past_of_a_few_minutes_is_too_little() -> None:
    server = Server(all=lambda at: 1.0 if at > SINCE - 200 else math.nan)
    looks = started(server)
    judgement = again(lambda: looks.measure(server.now(all=1.0)), 3)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "there are too few values in the 60m before the change" in judgement.sentence


def test_a_series_that_was_not_there_before_keeps_the_others_from_passing() -> None:
    server = Server(old=1.0)
    looks = fresh(change())
    again(lambda: looks.measure(server.now(old=1.0)), 8)
    judgement = again(lambda: looks.measure(server.now(old=1.0, new=1.0)), 3)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.sentence == (
        'latency: there are no values in the 60m before the change to compare with at {pod="new"}; '
        "if its series come and go, aggregate them"
    )


def test_before_the_past_is_known_it_holds_where_looks_would_count_already() -> None:
    server = Server(lookback_seconds=5.0, all=1.0)
    looks = fresh(change())
    first = looks.measure(server.now(all=1.0))
    assert first.verdict is Verdict.INCONCLUSIVE
    assert "the 60m before the change are being asked for" in first.sentence
    assert looks.measure(server.now(all=1.0)).verdict is Verdict.PASS


# --- the baseline of other sources ------------------------------------------------------------------------------------


def look_at(value: float) -> Callable[[float, Wanted], Measurement]:
    return lambda at, _: Measurement(MeasurementState.OK, at, (SeriesValue("", value, at),))


def test_looks_made_before_the_change_are_the_baseline_of_what_has_no_past() -> None:
    looks = fresh(by_command())
    prepared = [looks.measure(look_at(value)) for value in (10.0, 11.0, 9.0)]
    assert set(verdicts(prepared)) == {Verdict.INCONCLUSIVE}
    assert "no look was made before the change" in prepared[0].sentence
    looks.setting = replace(looks.setting, since=looks.at + 5, before=looks.at + 2)
    seen = [looks.measure(look_at(value), 20.0) for value in (10.0, 11.0, 9.0, 10.0, 10.0)]
    assert set(verdicts(seen)) == {Verdict.PASS}
    assert "10 in 3 looks before" in seen[-1].sentence
    assert not looks.wanted.history


def test_a_rise_above_few_looks_before_holds() -> None:
    looks = fresh(by_command())
    again(lambda: looks.measure(look_at(10.0)), 3)
    looks.setting = replace(looks.setting, since=looks.at, before=looks.at)
    judgement = again(lambda: looks.measure(look_at(14.0)), 4)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "14 since the step (mean of 4 looks), 1.4 times the 10 of 3 looks before" in judgement.sentence


def test_one_look_before_is_enough_once_those_after_show_how_it_varies() -> None:
    looks = fresh(by_command())
    looks.measure(look_at(10.0))
    looks.setting = replace(looks.setting, since=looks.at, before=looks.at)
    seen = [looks.measure(look_at(value)) for value in (10.0, 11.0, 10.0, 9.0)]
    assert seen[0].verdict is Verdict.INCONCLUSIVE
    assert "too few looks yet" in seen[0].sentence
    assert seen[-1].verdict is Verdict.PASS


def test_many_looks_of_the_stage_before_are_a_baseline_like_history() -> None:
    looks, value = fresh(by_command(change={"window": "30m"})), noisy(10.0, 0.5)
    for _ in range(100):
        looks.measure(look_at(value(0.0)))
    looks.setting = replace(looks.setting, since=looks.at, before=looks.at)
    assert again(lambda: looks.measure(look_at(value(0.0))), 20).verdict is Verdict.PASS
    judgement = again(lambda: looks.measure(look_at(value(0.0) + 6.0)), 40)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "looks before" in judgement.sentence


def test_looks_between_the_change_and_the_step_are_neither_before_nor_after() -> None:
    looks = fresh(by_command())
    again(lambda: looks.measure(look_at(10.0)), 3)
    begins = looks.at
    again(lambda: looks.measure(look_at(500.0)), 3)  # while the change is made
    looks.setting = replace(looks.setting, since=looks.at, before=begins)
    judgement = again(lambda: looks.measure(look_at(10.0)), 4)
    assert judgement.verdict is Verdict.PASS
    assert judgement.value == pytest.approx(1.0)


# --- more than before -------------------------------------------------------------------------------------------------


def test_no_more_than_before_passes_and_says_both() -> None:
    server = Server(all=noisy(1.0, 0.05))
    looks, value = started(server), noisy(1.0, 0.05, seed=2)
    judgement = again(lambda: looks.measure(server.now(all=value(0.0))), 20)
    assert judgement.verdict is Verdict.PASS
    assert judgement.enough
    assert judgement.value == pytest.approx(1.0, abs=0.05)
    assert "since the step (mean of 20 looks), " in judgement.sentence
    assert "in the 1h before; up to 1.3" in judgement.sentence
    assert judgement.sentence.endswith("is to be expected (20% included)")


def test_a_breach_holds_and_says_why_it_does_not_fail() -> None:
    server = Server(all=noisy(1.0, 0.05))
    looks = started(server)
    seen = [looks.measure(server.now(all=1.6)) for _ in range(60)]
    assert Verdict.FAIL not in verdicts(seen)
    assert seen[-1].verdict is Verdict.INCONCLUSIVE
    assert "1.6 since the step (mean of 60 looks), 1.61 times the 0.99" in seen[-1].sentence
    assert "of the 1h before, where at most 1.2" in seen[-1].sentence
    assert seen[-1].sentence.endswith("before and after differ by more than this change, so it holds and does not fail")


def test_a_breach_fails_where_the_plan_says_so_after_for() -> None:
    server = Server(all=1.0)
    looks = started(server, change={"fails": True})
    looks.measure(server.now(all=1.0))  # in which a part lies before the step
    seen = [looks.measure(server.now(all=1.5)) for _ in range(6)]
    first = verdicts(seen).index(Verdict.INCONCLUSIVE)
    assert verdicts(seen)[first:] == [Verdict.INCONCLUSIVE] * 4 + [Verdict.FAIL] * (len(seen) - first - 4)
    assert "pending 0s of 1m" in seen[first].sentence
    assert seen[-1].sentence.endswith(", for 1m") or seen[-1].sentence.endswith(", for 75s")


def test_a_breach_that_was_pending_at_a_step_begins_anew() -> None:
    server = Server(all=1.0)
    looks = started(server, change={"fails": True})
    again(lambda: looks.measure(server.now(all=1.5)), 4)
    assert looks.memory.failing_since is not None
    looks.stepped()
    seen = [looks.measure(server.now(all=1.5)) for _ in range(11)]
    assert Verdict.FAIL not in verdicts(seen)[:9]


def test_a_breach_that_was_pending_when_the_step_came_is_not_the_steps() -> None:
    server = Server(lookback_seconds=0.0, all=1.0)
    looks = fresh(change(change={"fails": True}))
    again(lambda: looks.measure(server.now(all=1.0)), 2)
    looks.measure(server.now(all=9.0))
    looks.stepped()
    seen = [looks.measure(server.now(all=9.0)) for _ in range(5)]
    assert verdicts(seen) == [Verdict.INCONCLUSIVE] * 4 + [Verdict.FAIL]


def test_a_spike_of_one_look_does_not_fail() -> None:
    server = Server(all=1.0)
    looks = started(server, change={"fails": True})
    again(lambda: looks.measure(server.now(all=1.0)), 3)
    seen = [looks.measure(server.now(all=100.0))] + [looks.measure(server.now(all=1.0)) for _ in range(10)]
    assert Verdict.FAIL not in verdicts(seen)
    assert seen[-1].verdict is Verdict.PASS


def test_what_rises_hours_after_the_step_is_not_hidden_by_those_hours() -> None:
    server = Server(all=noisy(1.0, 0.05))
    looks = started(server)
    again(lambda: looks.measure(server.now(all=1.0)), 400)
    seen = [looks.measure(server.now(all=1.7)).verdict for _ in range(60)]
    assert Verdict.INCONCLUSIVE in seen[:45]
    assert "over the newest 15m" in looks.measure(server.now(all=1.7)).sentence


def test_of_several_series_the_worst_decides_and_is_named() -> None:
    server = Server(a=1.0, b=2.0)
    looks = fresh(change())
    again(lambda: looks.measure(server.now(a=1.0, b=2.0)), 7)
    judgement = again(lambda: looks.measure(server.now(a=1.0, b=9.0)), 6)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.series == '{pod="b"}'
    assert judgement.sentence.startswith('latency at {pod="b"} (worst of 2 series): ')


def test_a_decrease_is_never_worse() -> None:
    server = Server(all=1.0)
    looks = started(server, 0.01)
    assert again(lambda: looks.measure(server.now(all=0.01)), 8).verdict is Verdict.PASS


@pytest.mark.parametrize(("after", "verdict"), ((-17.0, Verdict.PASS), (-15.0, Verdict.INCONCLUSIVE)))
def test_a_negative_level_may_rise_by_so_much_of_its_size(after: float, verdict: Verdict) -> None:
    server = Server(all=-20.0)
    looks = started(server, -20.0)
    assert again(lambda: looks.measure(server.now(all=after)), 8).verdict is verdict


def test_a_rise_from_nothing_holds_even_where_a_breach_fails() -> None:
    server = Server(all=0.0)
    looks = started(server, 0.0, change={"fails": True})
    assert again(lambda: looks.measure(server.now(all=0.0)), 4).verdict is Verdict.PASS
    judgement = again(lambda: looks.measure(server.now(all=0.5)), 12)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "of nothing an increase in per cent can't be told" in judgement.sentence


def test_a_constant_level_may_rise_by_max_increase_exactly() -> None:
    for after, verdict in ((1.2, Verdict.PASS), (1.21, Verdict.INCONCLUSIVE)):
        server = Server(all=1.0)
        looks = started(server, after)
        assert again(lambda: looks.measure(server.now(all=after)), 6).verdict is verdict  # noqa: B023


def test_a_pass_of_one_look_is_not_enough_to_leave_a_step_early() -> None:
    server = Server(all=1.0)
    looks = started(server)
    seen = [looks.measure(server.now(all=1.0)) for _ in range(6)]
    assert [one.enough for one in seen if not one.settling] == [False, False, False, True, True, True]


# --- no value ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ("missing", "stale", "error", "insufficient"))
def test_a_look_without_a_value_holds_and_says_why(state: str) -> None:
    server = Server(all=1.0)
    looks = started(server)
    memory = looks.memory.extra
    judgement = looks.measure(failed(state))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "the server is away" in judgement.sentence
    assert looks.memory.extra == memory


def test_missing_for_too_long_rolls_back_where_the_plan_says_so() -> None:
    looks = started(Server(all=1.0), on_missing={"rollback_after": "1m"})
    seen = [looks.measure(failed("missing")) for _ in range(5)]
    assert verdicts(seen)[-1] is Verdict.FAIL


@pytest.mark.parametrize("empty", ("pass", 0))
def test_no_series_pass_where_the_plan_says_so(empty: Any) -> None:
    looks = started(Server(all=1.0), empty=empty)
    assert looks.measure(failed("missing")).verdict is Verdict.PASS
    assert looks.measure(Server().now()).verdict is Verdict.PASS


@pytest.mark.parametrize("value", (math.nan, math.inf, -math.inf))
def test_what_is_no_finite_number_is_nothing_to_judge(value: float) -> None:
    server = Server(all=1.0, a=1.0)
    looks = started(server)
    judgement = looks.measure(server.now(all=value))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.sentence == "latency is not a finite number"
    assert looks.memory.missing_since is None
    again(lambda: looks.measure(server.now(a=1.0)), 8)
    beside = looks.measure(server.now(a=1.0, b=value))
    assert beside.verdict is Verdict.INCONCLUSIVE
    assert beside.sentence == "latency: one of its series is not a finite number"


def test_too_many_series_hold_and_are_to_be_aggregated() -> None:
    server = Server()
    looks = fresh(change())
    judgement = looks.measure(server.now(**{f"pod{index}": 1.0 for index in range(MOST_SERIES + 1)}))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "aggregate them" in judgement.sentence
    assert looks.memory.extra is None


def test_a_pending_breach_survives_two_looks_without_a_value_and_not_three() -> None:
    for missed, pending in ((2, True), (3, False)):
        server = Server(all=1.0)
        looks = started(server, change={"fails": True})
        again(lambda: looks.measure(server.now(all=1.5)), 3)  # noqa: B023
        again(lambda: looks.measure(failed("error")), missed)  # noqa: B023
        assert (looks.memory.failing_since is not None) is pending


@pytest.mark.parametrize(
    "extra",
    (
        None,
        "x",
        {"series": 5, "names": []},
        {"series": {"": 5}, "names": ["a"]},
        {"series": {"": {"points": [[1, 2]], "known": [1], "few": "x"}}, "names": []},
    ),
)
def test_a_memory_that_was_lost_begins_anew(extra: Any) -> None:
    server = Server(all=1.0)
    looks = fresh(change(), memory=Memory(extra=extra), at=SINCE + 300)
    assert again(lambda: looks.measure(server.now(all=1.0)), 3).verdict is Verdict.PASS


def test_hours_of_looks_are_a_small_memory() -> None:
    server = Server(all=1.0)
    looks = started(server)
    again(lambda: looks.measure(server.now(all=1.0)), 1000)
    level = Levels.of(looks.memory).series[""]
    assert len(level.points) <= MOST_POINTS
    assert len(str(looks.memory.extra)) < 4500
    moments = level.since_step(looks.setting, WINDOW_SECONDS)
    assert moments is not None
    assert 240 <= moments.count <= 252  # an hour, and what is in one block with its begin


@pytest.mark.parametrize("labels", ({}, {"a": "b"}, {"b": 'x"y\\z', "a": "{,}="}, {"service.name": "shop"}))
def test_labels_are_read_back_from_their_text(labels: dict[str, str]) -> None:
    assert labels_of(text_of(labels)) == labels


# --- how often for nothing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", (0.0, 2.5))
def test_what_did_not_change_is_seldom_held(minutes: float) -> None:
    held = 0
    for seed in range(20):
        level = _wandering(seed, minutes)
        server = Server(all=level)
        looks = fresh(change(change={"max_increase": "5%"}))
        seen = [looks.measure(server.now(all=level(0.0))) for _ in range(120)]
        held += any(one.verdict is Verdict.INCONCLUSIVE for one in seen)
    assert held <= 1


def _wandering(seed: int, minutes: float) -> Callable[[float], float]:
    """Around 1 with a deviation of 0.1, forgetting in so many *minutes* of looks every 15 s."""
    rng = np.random.default_rng(seed)
    kept = math.exp(-0.25 / minutes) if minutes else 0.0
    state = [float(rng.normal())]

    def level(_: float) -> float:
        state[0] = kept * state[0] + math.sqrt(1 - kept**2) * float(rng.normal())
        return 1 + 0.1 * state[0]

    return level


@given(
    st.lists(
        st.tuples(
            st.sampled_from([state.value for state in MeasurementState]),
            st.floats(-1e6, 1e6) | st.just(math.nan),
            st.sampled_from((1.0, 15.0, 15.0, 47.0, 4000.0)),
            st.booleans(),
        ),
        max_size=20,
    ),
    st.booleans(),
)
def test_whatever_is_measured_only_what_may_fail_fails(seen: list[tuple[str, float, float, bool]], fails: bool) -> None:
    server = Server(all=noisy(5.0, 1.0))
    looks = fresh(change(change={"fails": fails}))
    for state, value, seconds, steps in seen:
        answer = server.now(all=value) if state == "ok" else failed(state)
        judgement: Judgement = looks.measure(answer, seconds)
        assert judgement.sentence.startswith("latency")
        assert fails or judgement.verdict is not Verdict.FAIL
        if state != "ok" or math.isnan(value):
            assert judgement.verdict is Verdict.INCONCLUSIVE
        if steps:
            looks.stepped()
