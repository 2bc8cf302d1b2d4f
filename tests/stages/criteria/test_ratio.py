"""A share of bad events against a bound, from look to look: what fails, what holds, and what says nothing."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.criteria.base import Judgement, MeasurementState, Memory, Setting, Verdict
from stages.criteria.ratio import Ratio
from tests.stages.criteria.looks import SINCE, Looks, again, rate, verdicts

BAD, TOTAL = 'http_requests_total{code=~"5.."}', "http_requests_total"
LOG_HOLD = math.log(20)


def ratio(**fields: Any) -> Ratio:
    of = {"bad": BAD, "total": TOTAL, "at_most": "1%"}
    return Ratio.model_validate({"name": "errors", "ratio": of, **fields})


def setting(**fields: Any) -> Setting:
    return Setting(**{"since": SINCE, "before": SINCE, "warmup_seconds": 60.0, **fields})


def settled(**fields: Any) -> Looks:
    """Looks after a warm-up in which all was well; the next look counts its first 15 s."""
    looks = Looks(ratio(**fields))
    for _ in range(5):
        looks.count(rate(0), rate(300))
    return looks


def drawn(rng: np.random.Generator, events: int, share: float) -> tuple[Any, Any]:
    """Amounts of one look, the bad events drawn."""

    def bad(counting: Any) -> float:
        return float(rng.binomial(round(events * (counting.to - counting.from_) / 15), share))

    return bad, lambda counting: float(round(events * (counting.to - counting.from_) / 15))


# --- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "said"),
    (
        ({"at_most": 1}, 'at_most is a share below 100%, not 100% (is "1%" meant?)'),
        ({"at_most": 5}, 'not 500% (is "5%" meant?)'),
        ({"at_most": "0%"}, "at_most is a share above 0, such as 1%"),
        ({"at_most": -0.1}, "at_most is a share above 0"),
        ({"bad": "rate(x[5m])"}, "a selector of counters is expected"),
        ({"bad": "x offset 5m"}, "a selector of counters is expected"),
        ({"total": "x{"}, "a selector of counters is expected"),
        ({"bad": TOTAL}, "bad and total are the same selector"),
    ),
)
def test_what_makes_no_sense_is_refused_with_a_sentence(of: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match="ratio") as caught:
        ratio(ratio={"bad": BAD, "total": TOTAL, "at_most": "1%", **of})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "field", ({"query": "x"}, {"command": ["x"]}, {"database": "x"}, {"dir": "x"}, {"no_answer": "fail"})
)
def test_fields_that_would_be_ignored_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="would be ignored: ratio counts by its own counters"):
        ratio(**field)


def test_it_counts_its_two_selectors_from_the_change_on_and_asks_nothing_else() -> None:
    looks = Looks(ratio(source="eu", timeout="3s"))
    looks.count(0, 100, seconds=40)
    counting = looks.wanted.counting
    assert counting is not None
    assert counting.selectors == {"bad": BAD, "total": TOTAL}
    assert (counting.from_, counting.to) == (SINCE, SINCE + 25)
    assert looks.criterion.asked.kind == ""


def test_it_waits_a_minute_for_looks_and_after_changes_unless_the_plan_says_otherwise() -> None:
    assert ratio().for_seconds == 60.0
    assert ratio(**{"for": "0s"}).for_seconds == 0.0
    assert Ratio.usual_warmup_seconds == 60.0
    assert Ratio.is_tested


# --- passing ----------------------------------------------------------------------------------------------------------


def test_a_share_below_the_bound_passes_and_says_the_numbers() -> None:
    looks = settled()
    judgement = again(lambda: looks.count(1, 300), 4)
    assert judgement.verdict is Verdict.PASS
    assert judgement.sentence == "errors: 4 of 1,200 events were bad over 60s, 0.333%; at most 1% is allowed"
    assert judgement.value == pytest.approx(4 / 1200)
    assert judgement.log_evidence is not None
    assert judgement.log_evidence < LOG_HOLD


def test_one_bad_of_three_is_no_third() -> None:
    looks = settled()
    judgement = looks.count(1, 3)
    assert judgement.verdict is Verdict.PASS
    assert judgement.sentence == (
        "errors: 1 of 3 events were bad over 15s, 33.3%, where at most 1% is allowed; that much is within chance so far"
    )
    assert not judgement.enough


def test_a_pass_is_enough_once_half_as_much_again_is_excluded() -> None:
    looks = settled()
    enough = [looks.count(15, 3000) for _ in range(12)]
    first = next(index for index, one in enumerate(enough) if one.enough)
    assert 3 <= first <= 9  # not in one look, however many events
    assert all((one.log_excluded or 0) >= LOG_HOLD for one in enough if one.enough)
    assert not any(one.enough for one in enough[:first])


def test_of_few_events_no_pass_is_enough() -> None:
    looks = settled()
    assert not any(looks.count(0, 3).enough for _ in range(40))


def test_what_may_end_a_step_early_is_gathered_in_that_step() -> None:
    looks = settled()
    judgement = again(lambda: looks.count(15, 3000), 12)
    assert judgement.enough
    looks.stepped()
    after = [looks.count(rate(15), rate(3000)) for _ in range(7)]
    assert not any(one.enough for one in after)
    assert after[-1].log_excluded is not None
    assert after[-1].log_excluded < LOG_HOLD


def test_a_missing_series_of_bad_events_is_none_and_is_told() -> None:
    looks = settled()
    judgement = looks.count(None, 300)
    assert judgement.verdict is Verdict.PASS
    assert judgement.sentence.endswith("there is no series of bad events, which counts as none")
    assert not looks.count(0, 300).sentence.endswith("counts as none")


# --- failing ----------------------------------------------------------------------------------------------------------


def test_twice_the_bound_fails_within_minutes_and_says_how_unlikely_it_is() -> None:
    looks = settled()
    seen: list[Judgement] = []
    while not seen or seen[-1].verdict is not Verdict.FAIL:
        seen.append(looks.count(60, 3000))
    assert 4 <= len(seen) <= 6
    assert verdicts(seen)[-2] is Verdict.INCONCLUSIVE
    assert "events were bad over 90s, 2%, where at most 1% is allowed; the chance of this at 1% is below 1 in" in (
        seen[-1].sentence
    )
    assert seen[-1].log_evidence is not None
    assert seen[-1].log_evidence >= math.log(100)


def test_evidence_of_20_to_1_holds_and_says_when_it_fails() -> None:
    looks = settled()
    held = next(one for _ in range(9) if (one := looks.count(60, 3000)).verdict is Verdict.INCONCLUSIVE)
    assert LOG_HOLD <= (held.log_evidence or 0) < math.log(100)
    assert held.sentence.endswith("which holds (it fails at 1 in 100)")


def test_one_look_alone_never_fails_where_for_is_set() -> None:
    looks = settled(**{"for": "15s"})
    assert looks.count(49_000, 100_000).verdict is not Verdict.FAIL
    at_once = settled(**{"for": "0s"})
    assert verdicts([at_once.count(49_000, 100_000) for _ in range(2)])[-1] is Verdict.FAIL


def test_a_smaller_share_of_the_error_budget_asks_for_more_evidence() -> None:
    one, six = settled(), settled()
    six.setting = replace(six.setting, alpha=0.01 / 6)
    looked = [(one.count(5, 300).verdict, six.count(5, 300).verdict) for _ in range(90)]
    assert [pair[0] for pair in looked].index(Verdict.FAIL) < [pair[1] for pair in looked].index(Verdict.FAIL)


def test_after_bursts_as_many_bad_events_are_worth_less() -> None:
    even, bursts = settled(), settled()
    for index in range(40):
        even.count(3, 600)
        bursts.count(30 if index % 10 == 0 else 0, 600)
    even.stepped()
    bursts.stepped()
    again(lambda: (even.count(rate(3), rate(600)), bursts.count(rate(3), rate(600)))[0], 5)
    looked = [(even.count(15, 600).verdict, bursts.count(15, 600).verdict) for _ in range(60)]
    assert [one for one, _ in looked].index(Verdict.FAIL) < [one for _, one in looked].index(Verdict.FAIL)


def test_evidence_against_it_is_carried_over_a_step() -> None:
    looks = settled()
    while (judgement := looks.count(60, 3000)).verdict is not Verdict.INCONCLUSIVE:
        pass
    held = judgement.log_evidence or 0.0
    looks.stepped()
    during = [looks.count(rate(60), rate(3000)) for _ in range(5)]
    assert set(verdicts(during)) == {Verdict.PASS}  # it settles
    assert during[-1].log_evidence == pytest.approx(held)
    assert looks.count(60, 3000).verdict in (Verdict.INCONCLUSIVE, Verdict.FAIL)


def test_evidence_that_a_person_dropped_is_gone() -> None:
    looks = settled()
    while looks.count(60, 3000).verdict is not Verdict.INCONCLUSIVE:
        pass
    looks.setting = replace(looks.setting, evidence_from=looks.at)
    judgement = looks.count(rate(60), rate(3000))
    assert (judgement.verdict, judgement.log_evidence, judgement.value) == (Verdict.PASS, 0.0, None)


# --- while it settles -------------------------------------------------------------------------------------------------


def test_what_happens_while_a_change_settles_is_told_and_not_held_against_it() -> None:
    looks = Looks(ratio())
    seen = [looks.count(rate(140), rate(300)) for _ in range(5)]
    assert set(verdicts(seen)) == {Verdict.PASS}
    assert "the change is settling, nothing is held against it for another 45s" in seen[1].sentence
    assert "so far 140 of 300 events were bad over 15s" in seen[1].sentence
    assert not any(one.enough for one in seen)
    assert seen[-1].log_evidence == 0.0
    assert looks.count(0, 300).log_evidence != 0.0


def test_what_is_not_there_yet_while_a_change_settles_does_not_hold() -> None:
    looks = Looks(ratio())
    seen = [looks.count(None, None) for _ in range(4)]
    assert set(verdicts(seen)) == {Verdict.PASS}
    judgement = again(lambda: looks.count(None, None), 3)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.sentence == "errors has no series to count"


def test_a_server_that_is_away_while_a_change_settles_holds() -> None:
    looks = Looks(ratio())
    looks.count(rate(0), rate(300))
    assert looks.count(0, 0, state="error").verdict is Verdict.INCONCLUSIVE


# --- an outage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm_up", (True, False))
def test_most_of_it_bad_for_30_seconds_fails_at_once_in_a_warm_up_too(warm_up: bool) -> None:
    looks = Looks(ratio()) if warm_up else settled()
    if warm_up:
        looks.count(rate(0), rate(300))
    seen = [looks.count(rate(200), rate(200)) for _ in range(2)]
    assert verdicts(seen) == [Verdict.INCONCLUSIVE, Verdict.FAIL]
    assert seen[0].sentence.endswith("an outage; pending 15s of 30s")
    assert seen[1].sentence == (
        "errors: 400 of the last 400 events were bad, 100%, for 30s: an outage, which needs no test"
    )


def test_an_outage_of_less_than_30_seconds_passes_by() -> None:
    looks = Looks(ratio())
    looks.count(rate(0), rate(300))
    seen = [looks.count(bad, 200) for bad in (180, 180, 0, 0)]
    assert verdicts(seen)[:2] == [Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE]
    assert verdicts(seen)[2:] == [Verdict.PASS, Verdict.PASS]


def test_of_less_than_30_events_nothing_is_an_outage() -> None:
    looks = Looks(ratio())
    looks.count(rate(0), rate(3))
    assert set(verdicts([looks.count(3, 3) for _ in range(3)])) == {Verdict.PASS}


def test_an_outage_before_a_step_is_not_the_steps() -> None:
    looks = Looks(ratio())
    looks.count(rate(0), rate(300))
    assert looks.count(200, 200).verdict is Verdict.INCONCLUSIVE
    looks.stepped()
    looks.count(rate(0), rate(200), seconds=1)
    assert looks.count(rate(200), rate(200), seconds=20).sentence.endswith("pending 6s of 30s")


def test_an_outage_is_above_the_bound_where_that_is_above_half() -> None:
    looks = Looks(ratio(ratio={"bad": "miss_total", "total": "get_total", "at_most": "80%"}))
    seen = [looks.count(rate(70), rate(100)) for _ in range(20)]
    assert set(verdicts(seen)) == {Verdict.PASS}


# --- no value ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ("missing", "stale", "error", "insufficient"))
def test_a_look_without_counts_holds_and_leaves_the_evidence_as_it_is(state: str) -> None:
    looks = settled()
    before = again(lambda: looks.count(4, 300), 4)
    memory = looks.memory.extra
    judgement = looks.count(0, 0, state=state)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "the server is away" in judgement.sentence
    assert judgement.log_evidence == before.log_evidence
    assert looks.memory.extra == memory
    assert looks.count(rate(4), rate(300)).verdict is Verdict.PASS
    assert looks.wanted.counting is not None
    assert looks.wanted.counting.to - looks.wanted.counting.from_ == 30.0  # what was not counted then


def test_a_gap_of_hours_says_nothing_of_what_was_in_it() -> None:
    looks = settled()
    for _ in range(4):
        looks.count(0, 300)
    judgement = looks.count(rate(60), rate(3000), seconds=5 * 3600)
    assert judgement.verdict is not Verdict.FAIL  # one look, however long
    assert looks.wanted.counting is not None
    assert looks.wanted.counting.to - looks.wanted.counting.from_ == 3600.0


def test_missing_for_too_long_rolls_back_where_the_plan_says_so() -> None:
    looks = settled(on_missing={"rollback_after": "1m"})
    seen = [looks.count(None, None, state="missing") for _ in range(5)]
    assert verdicts(seen)[-1] is Verdict.FAIL
    assert set(verdicts(seen)[:-1]) == {Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("empty", ("pass", 0))
def test_no_series_pass_where_the_plan_says_so(empty: Any) -> None:
    looks = settled(empty=empty)
    judgement = looks.count(None, None)
    assert judgement.verdict is Verdict.PASS
    assert judgement.sentence == "errors has no series to count; the plan counts that as a pass"


def test_silence_holds_where_there_were_many_events_and_is_usual_where_there_were_few() -> None:
    busy, quiet = settled(), settled()
    for index in range(12):
        busy.count(0, 300)
        quiet.count(0, 1 if index % 4 == 0 else 0)
    assert busy.count(0, 0).verdict is Verdict.INCONCLUSIVE
    judgement = busy.count(0, 0)
    assert judgement.sentence == "errors has no events to judge: none for 30s, where there were 3,600 in 3m before"
    assert quiet.count(0, 0).verdict is Verdict.PASS
    assert again(lambda: quiet.count(0, 0), 40).verdict is Verdict.INCONCLUSIVE


def test_of_a_step_without_events_nothing_can_be_said() -> None:
    looks = settled()
    for _ in range(8):
        looks.count(0, 300)
    looks.stepped()
    seen = [looks.count(0, 0) for _ in range(6)]
    assert verdicts(seen)[-1] is Verdict.INCONCLUSIVE
    assert seen[-1].sentence == "errors has no events to judge yet"


def test_a_look_too_soon_after_the_last_one_says_what_is_known() -> None:
    looks = settled()
    before = again(lambda: looks.count(3, 300), 3)
    soon = looks.count(0, 0, seconds=0.2)
    assert looks.wanted.counting is None
    assert (soon.verdict, soon.sentence) == (before.verdict, before.sentence)


def test_before_anything_could_be_counted_there_is_nothing_to_judge() -> None:
    looks = Looks(ratio(), setting(warmup_seconds=0.0))
    judgement = looks.count(0, 0, seconds=1)
    assert judgement.verdict is Verdict.PASS
    assert "settling" in judgement.sentence
    assert not judgement.enough


@pytest.mark.parametrize(("bad", "total"), ((3000, 30), (-5, 100), (math.nan, 100), (1, -100), (40, 0)))
def test_counts_that_cannot_be_hold_and_move_nothing(bad: float, total: float) -> None:
    looks = settled()
    before = again(lambda: looks.count(1, 300), 4)
    memory = looks.memory.extra
    seen = [looks.count(bad, total) for _ in range(4)]
    assert set(verdicts(seen)) == {Verdict.INCONCLUSIVE}
    assert "errors can't be judged: " in seen[0].sentence
    assert looks.memory.extra == memory
    assert looks.memory.missing_since is None  # it is the plan, and not the service
    assert looks.count(rate(1), rate(300)).log_evidence != before.log_evidence


@pytest.mark.parametrize(
    "extra",
    (
        None,
        "x",
        {"began": SINCE + 60, "step_began": SINCE + 60, "step": SINCE},
        {"began": SINCE + 60, "step_began": "x"},
        {
            "began": SINCE + 60,
            "step_began": SINCE + 60,
            "step": SINCE,
            "bins": 7,
            "tests": [],
            "eventful_to": SINCE + 90,
        },
        {"outage": [1, 2], "tests": {"against": {"logs": 1}}},
    ),
)
def test_a_memory_that_was_lost_or_is_another_begins_anew(extra: Any) -> None:
    looks = Looks(ratio(), memory=Memory(extra=extra), at=SINCE + 200)
    assert looks.count(rate(0), rate(300)).verdict is not Verdict.FAIL
    judgement = again(lambda: looks.count(rate(0), rate(300)), 5)
    assert judgement.verdict is Verdict.PASS


# --- many looks -------------------------------------------------------------------------------------------------------


def test_a_day_exactly_at_the_bound_is_failed_seldom() -> None:
    """The test's own rate is measured beside it; here is the whole criterion, with steps, gaps and a restarted run."""
    failed = 0
    for seed in range(15):
        rng = np.random.default_rng(seed)
        looks = Looks(ratio())
        for index in range(240):
            state = "error" if rng.random() < 0.05 else "ok"
            judgement = looks.count(*drawn(rng, 300, 0.01), state=state)
            if index in (80, 160):
                looks.stepped()
            failed += judgement.verdict is Verdict.FAIL
            if judgement.verdict is Verdict.FAIL:
                break
    assert failed <= 1


def test_bursts_below_the_bound_do_not_fail() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        looks = Looks(ratio())
        for _ in range(240):
            bad = min(10.0 * rng.poisson(0.2), 300.0)  # 0.67 % in bursts of 10
            assert looks.count(bad, 300).verdict is not Verdict.FAIL


def test_a_blip_of_30_seconds_in_a_healthy_hour_does_not_fail() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        looks = settled()
        for index in range(90):
            share = 0.2 if index in (60, 61) else 0.005
            assert looks.count(*drawn(rng, 3000, share)).verdict is not Verdict.FAIL


counted_looks = st.lists(
    st.tuples(
        st.sampled_from([state.value for state in MeasurementState]),
        st.integers(0, 400),
        st.integers(0, 400),
        st.sampled_from((0.5, 15.0, 15.0, 15.0, 47.0, 4000.0)),
        st.booleans(),
    ),
    max_size=25,
)


@given(counted_looks)
def test_whatever_is_counted_a_verdict_rests_on_evidence(seen: list[tuple[str, int, int, float, bool]]) -> None:
    looks = Looks(ratio())
    for state, bad, total, seconds, steps in seen:
        judgement = looks.count(bad, total, seconds, state)
        _holds_what_it_says(judgement, state)
        if steps:
            looks.stepped()


def _holds_what_it_says(judgement: Judgement, state: str) -> None:
    assert judgement.sentence.startswith("errors")
    assert judgement.log_evidence is not None
    assert math.isfinite(judgement.log_evidence)
    if judgement.verdict is Verdict.FAIL:
        assert judgement.log_evidence >= math.log(100) or "an outage" in judgement.sentence
    if judgement.enough:
        assert judgement.verdict is Verdict.PASS
        assert (judgement.log_excluded or 0.0) >= LOG_HOLD
    if state in ("stale", "error"):
        assert judgement.verdict is Verdict.INCONCLUSIVE
