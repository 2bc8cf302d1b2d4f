"""How fast an error budget burns: over which windows, by how many events, and since when."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.criteria.base import Judgement, MeasurementState, Memory, Setting, Verdict
from stages.criteria.slo import Slo
from tests.stages.criteria.looks import SINCE, Looks, again, rate, verdicts

BAD, TOTAL = 'http_requests_total{track="canary",code=~"5.."}', 'http_requests_total{track="canary"}'
LOG_HOLD = math.log(20)


def slo(objective: Any = "99.9%", **fields: Any) -> Slo:
    of = {"bad": BAD, "total": TOTAL, "objective": objective}
    return Slo.model_validate({"name": "budget", "slo": of, **fields})


def settled(**fields: Any) -> Looks:
    """Looks after a warm-up; the next look counts its first 15 s."""
    looks = Looks(slo(**fields))
    again(lambda: looks.count(rate(0), rate(300)), 5)
    return looks


def drawn(looks: Looks, rng: np.random.Generator, events: int, share: float) -> Judgement:
    return looks.count(float(rng.binomial(events, share)), events)


# --- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "said"),
    (
        ("100%", "an objective of 100% leaves no error budget to burn"),
        (99.9, 'an objective of 9990% leaves no error budget to burn (is "99.9%" meant?)'),
        (0.001, "the objective is the share of good events, such as 99.9%, not 0.1%"),
        ("50%", "the objective is the share of good events, such as 99.9%, not 50%"),
        ("90%", "an objective of 90% can't be burnt 14.4x too fast, for with all events bad it is 10x: use ratio"),
    ),
)
def test_an_objective_that_makes_no_sense_is_refused_with_a_sentence(objective: Any, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        slo(objective)
    assert said in str(caught.value)


@pytest.mark.parametrize("objective", ("95%", "99%", "99.9%", "99.99%", 0.99999))
def test_usual_objectives_are_taken(objective: Any) -> None:
    assert 0 < slo(objective).slo.budget < 1 / 14.4


@pytest.mark.parametrize("field", ({"query": "x"}, {"sql": "SELECT 1"}, {"env": "x"}))
def test_fields_that_would_be_ignored_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="would be ignored: slo counts by its own counters"):
        slo(**field)


def test_the_objective_is_written_out() -> None:
    looks = settled(objective="99.995%")
    assert "the objective 99.995% allows 0.005%" in looks.count(0, 300).sentence


# --- burning ----------------------------------------------------------------------------------------------------------


def test_a_burn_of_16_fails_by_both_windows_and_says_so() -> None:
    looks = settled()
    seen = [looks.count(48, 3000) for _ in range(9)]
    failed = next(one for one in seen if one.verdict is Verdict.FAIL)
    assert seen.index(failed) >= 4  # so many looks at least
    assert failed.value == pytest.approx(16.0)
    assert (
        "budget: the error budget burns 16x too fast over 90s: 288 of 18,000 events were bad, "
        "the objective 99.9% allows 0.1%; 14.4x is too much, and the chance of this at 6x is below 1 in"
        in failed.sentence
    )
    assert failed.log_evidence is not None
    assert failed.log_evidence >= math.log(100)


def test_a_higher_burn_of_late_is_told_beside_the_long_one() -> None:
    looks = settled()
    again(lambda: looks.count(45, 3000), 30)
    judgement = again(lambda: looks.count(60, 3000), 20)
    assert judgement.verdict is Verdict.FAIL
    assert "burns 17x too fast over 12m (and 19.2x over 6m): " in judgement.sentence


def test_a_burn_of_8_holds_and_does_not_fail_however_long() -> None:
    looks = settled()
    seen = [looks.count(24, 3000) for _ in range(120)]
    assert Verdict.FAIL not in verdicts(seen)
    assert seen[-1].verdict is Verdict.INCONCLUSIVE
    assert "burns 8x too fast over 30m" in seen[-1].sentence
    assert "6x holds, and the chance of this at 1x is below 1 in" in seen[-1].sentence
    assert seen[-1].log_evidence is not None
    assert seen[-1].log_evidence <= 0  # what holds is not to fail together with others


def test_a_service_that_keeps_its_objective_passes_and_soon_that_is_enough() -> None:
    looks = settled()
    seen = [looks.count(2, 3000) for _ in range(40)]
    assert set(verdicts(seen)) == {Verdict.PASS}
    assert seen[-1].sentence == (
        "budget: the error budget burns at 0.667x over 10m (and 0.667x over 6m): "
        "80 of 120,000 events were bad, the objective 99.9% allows 0.1%"
    )
    assert seen[-1].enough
    assert not seen[0].enough


def test_one_bad_of_60_is_no_burn_of_17() -> None:
    looks = settled()
    judgement = looks.count(1, 60)
    assert judgement.verdict is Verdict.PASS
    assert judgement.value == pytest.approx(16.67, abs=0.01)
    assert judgement.sentence.endswith("so few bad events are within chance so far")


def test_a_burn_that_is_over_fails_nothing_and_stops_holding_after_half_an_hour() -> None:
    looks = settled()
    again(lambda: looks.count(2, 3000), 8)
    burnt = [looks.count(200, 3000) for _ in range(3)]  # 45 s
    assert Verdict.FAIL not in verdicts(burnt)
    after = [looks.count(2, 3000) for _ in range(130)]
    assert Verdict.FAIL not in verdicts(after)
    assert after[-1].verdict is Verdict.PASS


def test_windows_do_not_reach_back_before_the_step() -> None:
    looks = settled()
    again(lambda: looks.count(24, 3000), 60)
    looks.stepped()
    again(lambda: looks.count(rate(0), rate(3000)), 5)
    judgement = looks.count(0, 3000)
    assert judgement.verdict is Verdict.PASS
    assert "burns at 0x over 15s: 0 of 3,000 events were bad" in judgement.sentence


def test_the_long_window_is_an_hour_and_the_short_one_must_burn_too() -> None:
    looks = settled()
    burning = [looks.count(60, 3000) for _ in range(4)]  # for a minute
    quiet = [looks.count(0, 3000) for _ in range(24)]
    assert Verdict.FAIL not in verdicts(burning + quiet)
    assert quiet[-1].value is not None
    assert quiet[-1].value == pytest.approx(20 * 4 / 28, rel=0.01)
    late = again(lambda: looks.count(0, 3000), 280)
    assert late.value == 0.0


# --- false alarms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("events", "burn"), ((4, 1.0), (60, 1.0), (60, 5.0), (600, 5.0)))
def test_what_may_stay_is_not_failed(events: int, burn: float) -> None:
    for seed in range(4):
        rng, looks = np.random.default_rng(seed), settled()
        for _ in range(240):
            assert drawn(looks, rng, events, burn * 0.001).verdict is not Verdict.FAIL


def test_what_keeps_its_objective_is_not_held() -> None:
    for seed in range(4):
        rng, looks = np.random.default_rng(seed), settled()
        assert set(verdicts([drawn(looks, rng, 60, 0.001) for _ in range(240)])) == {Verdict.PASS}


@pytest.mark.parametrize("level", (0.2, 1.0))
def test_a_blip_of_30_seconds_minutes_after_the_step_does_not_fail(level: float) -> None:
    for seed in range(4):
        rng, looks = np.random.default_rng(seed), settled()
        for index in range(80):
            judgement = drawn(looks, rng, 600, level if index in (10, 11) else 0.0005)
            assert judgement.verdict is not Verdict.FAIL


@pytest.mark.parametrize(("events", "share", "looks_at_most"), ((60, 0.05, 30), (600, 0.02, 14), (3000, 0.02, 10)))
def test_a_burn_far_above_the_bound_fails_within_minutes(events: int, share: float, looks_at_most: int) -> None:
    needed = []
    for seed in range(9):
        rng, looks = np.random.default_rng(seed), settled()
        seen = [drawn(looks, rng, events, share).verdict for _ in range(60)]
        needed.append(seen.index(Verdict.FAIL) + 1)
    assert np.median(needed) <= looks_at_most


# --- no value ---------------------------------------------------------------------------------------------------------


def test_while_a_change_settles_nothing_burns() -> None:
    looks = Looks(slo())
    seen = [looks.count(rate(200), rate(200)) for _ in range(5)]
    assert set(verdicts(seen)) == {Verdict.PASS}
    assert all(one.settling and not one.enough for one in seen)
    assert seen[-1].value is None


@pytest.mark.parametrize("state", ("missing", "stale", "error", "insufficient"))
def test_a_look_without_counts_holds_and_leaves_all_as_it_is(state: str) -> None:
    looks = settled()
    before = again(lambda: looks.count(1, 300), 4)
    memory = looks.memory.extra
    judgement = looks.count(0, 0, state=state)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert (judgement.log_evidence, judgement.value) == (before.log_evidence, before.value)
    assert looks.memory.extra == memory


def test_after_a_gap_one_look_does_not_fail_by_what_was_in_it() -> None:
    looks = settled()
    again(lambda: looks.count(1, 3000), 4)
    assert looks.count(rate(100), rate(3000), seconds=1800).verdict is not Verdict.FAIL
    assert again(lambda: looks.count(1, 3000), 6).verdict is not Verdict.FAIL


def test_looks_every_ten_minutes_have_windows_too() -> None:
    setting = Setting(since=SINCE, before=SINCE, warmup_seconds=60.0, every_seconds=600.0)
    looks = Looks(slo(), setting)
    seen = [looks.count(rate(60), rate(3000), seconds=600) for _ in range(6)]
    assert Verdict.FAIL in verdicts(seen)


def test_counts_that_cannot_be_hold() -> None:
    looks = settled()
    judgement = looks.count(3000, 30)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "are the two swapped" in judgement.sentence


def test_a_missing_series_of_bad_events_is_none_and_is_told() -> None:
    looks = settled()
    judgement = looks.count(None, 300)
    assert judgement.verdict is Verdict.PASS
    assert judgement.sentence.endswith("there is no series of bad events, which counts as none")


def test_silence_holds_where_there_were_many_events() -> None:
    looks = settled()
    again(lambda: looks.count(0, 300), 12)
    assert looks.count(0, 0).verdict is Verdict.INCONCLUSIVE
    few = settled()
    again(lambda: few.count(0, 1), 12)
    assert few.count(0, 0).verdict is Verdict.PASS


def test_what_a_person_dropped_burns_no_more() -> None:
    looks = settled()
    assert again(lambda: looks.count(48, 3000), 9).verdict is Verdict.FAIL
    looks.setting = replace(looks.setting, evidence_from=looks.at)
    judgement = looks.count(rate(48), rate(3000))
    assert (judgement.verdict, judgement.log_evidence, judgement.value) == (Verdict.PASS, 0.0, None)


@pytest.mark.parametrize("extra", (None, "x", {"began": 1.0}, {"bins": [[1, 2]], "began": SINCE, "step_began": SINCE}))
def test_a_memory_that_was_lost_begins_anew(extra: Any) -> None:
    looks = Looks(slo(), memory=Memory(extra=extra), at=SINCE + 200)
    assert again(lambda: looks.count(rate(0), rate(300)), 4).verdict is Verdict.PASS


def test_six_hours_of_looks_are_a_small_memory() -> None:
    looks = settled()
    for _ in range(1500):
        looks.count(3, 2987)
    assert isinstance(looks.memory.extra, dict)
    assert len(looks.memory.extra["bins"]) <= 150
    assert len(str(looks.memory.extra)) < 8000


@given(
    st.lists(
        st.tuples(
            st.sampled_from([state.value for state in MeasurementState]),
            st.integers(0, 400),
            st.integers(0, 400),
            st.sampled_from((0.5, 15.0, 15.0, 47.0, 4000.0)),
            st.booleans(),
        ),
        max_size=20,
    )
)
def test_whatever_is_counted_a_failure_has_evidence_and_windows(
    seen: list[tuple[str, int, int, float, bool]],
) -> None:
    looks = Looks(slo())
    for state, bad, total, seconds, steps in seen:
        judgement = looks.count(bad, total, seconds, state)
        assert judgement.sentence.startswith("budget")
        if judgement.verdict is Verdict.FAIL:
            assert (judgement.log_evidence or 0.0) >= math.log(100)
            assert (judgement.value or 0.0) >= 14.4
        if judgement.enough:
            assert judgement.verdict is Verdict.PASS
            assert (judgement.log_excluded or 0.0) >= LOG_HOLD
        if state in ("stale", "error"):
            assert judgement.verdict is Verdict.INCONCLUSIVE
        if steps:
            looks.stepped()
