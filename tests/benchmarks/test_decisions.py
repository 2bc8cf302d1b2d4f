"""The others' rules against worked examples, families against what they promise, and the whole on few traces."""

import json
import math
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from benchmarks import decisions
from benchmarks._decisions import clustered, families, kayenta, live, missing, multiple, ours, peers, plot, real
from benchmarks._decisions.traffic import BEFORE, HOUR_TICKS, HOURS, TICKS, Arms, Law, Traffic, draw

MINUTE = peers.MINUTE


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def arms(bad: float = 0.0, total: float = 100.0, control_bad: float = 1.0, control_total: float = 1000.0) -> Arms:
    """One trace that is even."""
    return Arms(*(np.full((1, HOUR_TICKS), value) for value in (bad, total, control_bad, control_total)))


def never(seconds: np.ndarray[Any, Any]) -> bool:
    return bool(np.isinf(seconds).all())


# --- Argo Rollouts and Flagger ----------------------------------------------------------------------------------------


def test_argo_fails_at_the_first_measurement_beyond_the_limit_however_long_ago_the_others_were() -> None:
    failed = np.zeros((1, HOUR_TICKS), np.bool_)
    failed[0, [0, 40, 100, 200]] = True
    assert peers.argo(failed, every_ticks=20, failure_limit=3) == [(200 + 1) * 15]
    assert never(peers.argo(failed, every_ticks=20, failure_limit=4))


def test_argo_does_not_see_what_happens_between_its_measurements() -> None:
    failed = np.ones((1, HOUR_TICKS), np.bool_)
    failed[0, ::20] = False
    assert never(peers.argo(failed, every_ticks=20))


def test_no_requests_fail_argos_success_condition_and_pass_its_failure_condition() -> None:
    silent = arms(bad=0, total=0)
    assert peers.argo_failed_documented(silent).all()
    assert not peers.argo_failed_tuned(silent).any()
    assert peers.argo_documented(silent) == [15 + 3 * 300]


def test_a_canary_of_four_per_cent_passes_argos_documented_template_and_one_of_six_does_not() -> None:
    assert never(peers.argo_documented(arms(bad=4)))
    assert peers.argo_documented(arms(bad=6)) == [15 + 3 * 300]


def test_the_tuned_rules_ask_whether_the_canary_is_twice_as_bad() -> None:
    base = {"total": 1000.0, "control_bad": 10.0}
    assert never(peers.argo_tuned(arms(bad=20, **base)))
    assert peers.argo_tuned(arms(bad=21, **base)) == [15 + 3 * 60]
    assert peers.argo_fast(arms(bad=21, **base)) == [4 * 15]


def test_five_unanswered_queries_in_a_row_abort_argo_after_forty_seconds() -> None:
    healthy = np.zeros((1, HOUR_TICKS), np.bool_)
    answered = np.ones((1, HOUR_TICKS), np.bool_)
    answered[0, 8:10] = False  # from 135 s on until 165 s: asked in vain at 135, 145 and 155
    assert never(missing.argo_walked(healthy, answered, MINUTE))
    answered[0, 8:14] = False
    assert missing.argo_walked(healthy, answered, MINUTE) == [135 + 4 * 10]


def test_argo_walked_through_without_an_outage_decides_as_argo() -> None:
    failed = rng().random((50, HOUR_TICKS)) < 0.1
    answered = np.ones_like(failed)
    for every in (1, MINUTE, 5 * MINUTE):
        np.testing.assert_array_equal(missing.argo_walked(failed, answered, every), peers.argo(failed, every))


def test_flagger_rolls_back_at_the_tick_after_the_one_that_reached_the_threshold() -> None:
    failed = np.zeros((1, HOUR_TICKS), np.bool_)
    failed[0, MINUTE - 1 :: 10 * MINUTE] = True  # at 1, 11, 21, ... minutes
    assert peers.flagger(failed, threshold=2) == [11 * 60 + 60]
    assert never(peers.flagger(failed, threshold=7))


def test_a_check_without_a_value_is_a_failed_one_for_flagger() -> None:
    assert peers.flagger_documented(arms(bad=0, total=0)) == [5 * 60 + 60]
    assert never(peers.flagger_documented(arms(bad=1, total=100)))  # 99 % is not below 99 %
    assert peers.flagger_documented(arms(bad=2, total=100)) == [5 * 60 + 60]


def test_two_short_outages_add_up_for_flagger() -> None:
    decide = missing.CONTROLLERS["flagger_tuned"]
    sound = missing.Fault.none(arms(bad=0.1, total=100, control_bad=1))
    assert never(decide(sound))
    reached = np.ones((1, HOUR_TICKS), np.bool_)
    reached[0, 10 * MINUTE : 15 * MINUTE] = False
    assert never(decide(missing.Fault(sound.arms, reached, sound.sampled)))
    reached[0, 40 * MINUTE : 45 * MINUTE] = False
    assert decide(missing.Fault(sound.arms, reached, sound.sampled)) == [46 * 60]


def test_a_window_is_empty_until_it_holds_two_samples() -> None:
    sampled = np.ones((1, HOUR_TICKS), np.bool_)
    sampled[0, 20:40] = False
    there = missing.has_two_samples(sampled, MINUTE)[0]
    assert there[0]  # one sample was taken at the step
    assert list(np.flatnonzero(~there)) == list(range(22, 41))


# --- Kayenta ----------------------------------------------------------------------------------------------------------


def test_the_interval_of_the_shift_is_an_order_statistic_of_the_differences() -> None:
    """Ten against ten, all above: 100 differences, z of 98 % is 2.326, sigma 13.23, so the 82nd largest."""
    canary, baseline = np.arange(11.0, 21.0)[None], np.arange(1.0, 11.0)[None]
    lower, estimate, is_judged = kayenta.interval(canary, baseline)
    assert (lower.item(), estimate.item(), is_judged.item()) == (6.0, 10.0, True)
    assert kayenta.is_high(canary, baseline)


def test_few_points_make_the_least_difference_the_end_of_the_interval() -> None:
    canary = np.array([[5.0, 6.0, 7.0, 8.0]])
    assert kayenta.is_high(canary, np.array([[0.0, 1.0, 2.0, 3.0]]))  # 2 > a quarter of 5
    assert not kayenta.is_high(canary, np.array([[1.0, 2.0, 3.0, 4.0]]))  # 1 > a quarter of 4 is not so


def test_ties_narrow_the_variance_by_their_cubes() -> None:
    """2 x (2^3 - 2) + (3^3 - 3) = 36: 4 x 4 / 12 x (9 - 36 / 56) is 11.14 instead of 12."""
    canary, baseline = np.array([[1.0, 1.0, 2.0, 2.0]]), np.array([[3.0, 3.0, 3.0, 4.0]])
    assert kayenta._ties(canary) + kayenta._ties(baseline) == [36.0]


def test_values_that_are_the_same_or_all_tied_are_no_failure() -> None:
    same = np.array([[1.0, 2.0, 3.0]])
    assert not kayenta.is_high(same, same[:, ::-1])
    assert not kayenta.is_high(np.full((1, 3), 2.0), np.zeros((1, 3)))


def test_an_allowed_increase_is_asked_of_the_means() -> None:
    canary, baseline = np.linspace(1.2, 1.21, 30)[None], np.linspace(1.0, 1.01, 30)[None]
    assert kayenta.is_high(canary, baseline)
    assert not kayenta.is_high(canary, baseline, allowed_increase=1.25)


def test_kayenta_judges_when_it_is_asked_to() -> None:
    rates = 1 + 0.1 * rng().random((1, HOUR_TICKS))
    worse = Arms(30 * rates, np.full_like(rates, 1000), 10 * rates[:, ::-1], np.full_like(rates, 1000))
    assert kayenta.judged(worse, every_minutes=5) == [300]
    assert kayenta.judged(worse, every_minutes=5, first_minutes=15) == [900]
    assert kayenta.judged(worse, every_minutes=60) == [3600]


# --- vendors' bounds --------------------------------------------------------------------------------------------------


def test_growthbooks_bound_is_the_one_sided_confidence_sequence() -> None:
    """At alpha 5 %: -2 ln 0.1 is 4.605, plus ln 5.605, over 5,000."""
    rho = peers.growthbook_rho(0.05, 5000.0)
    assert rho**2 == pytest.approx((4.60517 + 1.72369) / 5000, rel=1e-5)
    n, variance = np.array([20_000.0]), np.array([1e-6])
    inner = 20_000 * rho**2 + 1
    by_hand = math.sqrt(1e-6 * 20_000) * math.sqrt(
        2 * inner / (20_000 * rho) ** 2 * math.log(1 + math.sqrt(inner) / 0.1)
    )
    assert peers.growthbook_half_width(variance, n, 0.05, rho) == pytest.approx([by_hand])
    assert by_hand / 1e-3 == pytest.approx(2.868, abs=1e-3)  # as so many standard errors


def test_statsigs_bound_for_arms_alike_is_3_58_standard_errors() -> None:
    """V is 4 s^2 / N and tau 1.96^2 x 2 s^2 / N, so tau is 1.92 V: sqrt(1.5206 (7.378 + ln 2.9207))."""
    n = np.array([10_000.0, 1e6])
    variance, spread = 4 * 0.01 / n, np.full(2, 0.02)
    assert peers.statsig_bar(variance, spread, n, 0.05) == pytest.approx([3.5845, 3.5845], abs=1e-3)


def test_eppos_bound_at_what_it_is_tuned_to() -> None:
    """rho is 10,000 / (ln 6.9915 + 5.9915) = 1,260: sqrt(1.126 ln(11,260 / 3.15))."""
    assert peers.eppo_bar(np.array([10_000.0]), 0.05) == pytest.approx([3.035], abs=1e-3)


def test_vendors_know_nothing_while_there_is_no_variance() -> None:
    for name in ("growthbook", "statsig", "eppo"):
        rule = next(rule for rule in peers.RULES if rule.name == name)
        assert never(rule.decide(arms(bad=0, control_bad=0)))
        assert not never(rule.decide(arms(bad=10)))


def test_the_oracle_fails_a_release_of_the_size_it_was_told_of_first_of_all() -> None:
    """2x at 30 bad events a look: 0.0253 nats each in the mean, so 4.6 nats take about 6 looks."""
    traffic = draw(families.REGRESSED["2"], rng(), 200)
    found = peers.oracle(traffic.arms(), 2.0)
    assert 60 <= np.median(found) <= 240
    assert np.median(found) < np.median(ours.failed_at(ours.paths_of(traffic)))


# --- families ---------------------------------------------------------------------------------------------------------


def shares_of(traffic: Traffic) -> tuple[float, float]:
    counts = traffic.arms()
    return (
        float(counts.canary_bad.sum() / counts.canary_total.sum()),
        float(counts.control_bad.sum() / counts.control_total.sum()),
    )


@pytest.mark.parametrize(
    "family",
    [name for name in families.HEALTHY if not any(word in name for word in ("blip on the canary", "restart", "cold"))],
)
def test_a_healthy_canary_is_as_bad_as_its_control(family: str) -> None:
    canary, control = shares_of(draw(families.HEALTHY[family], rng(), 300))
    bunched = {"retry storms": 0.06, "heavy-tailed bursts": 0.12, "bursts of 10": 0.04, "low traffic": 0.08}
    assert canary / control == pytest.approx(1.02 if "20,000" in family else 1.0, abs=bunched.get(family, 0.03))


@pytest.mark.parametrize(("family", "until_minute"), (("restart spike", 1), ("cold cache for 3 min", 3)))
def test_a_canary_that_starts_badly_is_healthy_afterwards(family: str, until_minute: int) -> None:
    counts = draw(families.HEALTHY[family], rng(), 300).arms()
    later = slice(until_minute * MINUTE, None)
    at_first = counts.canary_bad[:, :MINUTE].sum() / counts.canary_total[:, :MINUTE].sum()
    afterwards = counts.canary_bad[:, later].sum() / counts.canary_total[:, later].sum()
    assert at_first > 1.4 * afterwards
    assert afterwards == pytest.approx(0.01, rel=0.03)


@pytest.mark.parametrize(("family", "size"), (("bursts of 3", 3.0), ("bursts of 10", 10.0), ("steady", 1.0)))
def test_bursts_spread_counts_by_their_size(family: str, size: float) -> None:
    bad = draw(families.HEALTHY[family], rng(), 100).bad[:, BEFORE:, -1].astype(float)
    assert bad.var() / bad.mean() == pytest.approx(size, rel=0.05)
    assert not (bad % size).any()


def test_retries_breed_so_that_an_hour_spreads_far_more_than_an_interval() -> None:
    """A branching process at 0.7 multiplies the variance of a long sum by 1 / 0.3^2."""
    bad = draw(families.HEALTHY["retry storms"], rng(), 400).bad[:, BEFORE:, -1].astype(float)
    hour = bad.sum(axis=1)
    assert hour.var() / hour.mean() == pytest.approx(1 / 0.09, rel=0.25)


def test_a_blip_is_half_a_minute_of_the_hour_after_the_step() -> None:
    factors = families.spell(20.0, minutes=0.5, first=1)(rng(), 500)
    assert factors.shape == (500, TICKS)
    assert ((factors == 20.0).sum(axis=1) == 2).all()
    assert (factors[:, : BEFORE + MINUTE] == 1.0).all()


def test_the_same_seed_draws_the_same_traces() -> None:
    one, other = (draw(Law(batch=0), rng(), 5) for _ in range(2))
    np.testing.assert_array_equal(one.bad, other.bad)
    np.testing.assert_array_equal(one.total, other.total)


def test_pods_differ_and_the_canarys_are_new_ones() -> None:
    traffic = draw(Law(requests_per_second=20_000, pods=40, pod_spread=0.15), rng(), 20)
    assert traffic.bad.shape == (20, TICKS, 40)
    shares = traffic.bad[:, :BEFORE].sum(axis=1) / traffic.total[:, :BEFORE].sum(axis=1)
    after = traffic.bad[:, BEFORE:].sum(axis=1) / traffic.total[:, BEFORE:].sum(axis=1)
    assert np.log(shares).std() == pytest.approx(0.15, rel=0.1)
    moved = np.abs(np.log(after / shares))
    assert moved[:, :2].mean() > 5 * moved[:, 2:].mean()


@pytest.mark.parametrize("row", list(clustered.ROWS))
def test_one_per_cent_fails_whichever_keys_do(row: str) -> None:
    traffic = clustered.draw(clustered.ROWS[row], rng(), 60)
    assert traffic.hours_bad is not None
    assert traffic.hours_total is not None
    assert traffic.bad.sum() / traffic.total.sum() == pytest.approx(0.01, rel=0.05)
    assert traffic.hours_bad.sum() / traffic.hours_total.sum() == pytest.approx(0.01, rel=0.05)
    assert traffic.hours_bad.shape == (60, HOURS, 8)


def test_the_same_few_keys_keep_their_bands_and_those_that_change_each_hour_do_not() -> None:
    def likeness(row: str) -> float:
        """Of the cohort's bad share between the first and the last hour of history, over traces."""
        hours = clustered.draw(clustered.ROWS[row], rng(), 150).hours_bad
        assert hours is not None
        cohort = hours[..., : clustered.CANARY_BANDS].sum(axis=-1) / hours.sum(axis=-1)
        return float(np.corrcoef(cohort[:, 0], cohort[:, -1])[0, 1])

    assert likeness("the same few") > 0.8
    assert abs(likeness("few, each for 1 h")) < 0.3


def test_a_worse_canary_adds_to_what_its_own_keys_fail() -> None:
    healthy = clustered.draw(clustered.ROWS["the same few"], rng(), 100)
    worse = clustered.worse(healthy, 3.0, rng())
    own, before = worse.arms().canary_bad.sum(axis=1), healthy.arms().canary_bad.sum(axis=1)
    assert np.median(own / before) == pytest.approx(3.0, rel=0.03)
    np.testing.assert_array_equal(worse.total, healthy.total)
    np.testing.assert_array_equal(worse.bad[:, :BEFORE], healthy.bad[:, :BEFORE])


def test_real_levels_are_followed_hour_by_hour() -> None:
    counts = np.concatenate((np.full(60, 50.0), np.full(60, 400.0), np.full(60, 100.0)))
    traffic = real.draw(counts, rng(), 3)
    by_hour = traffic.bad.sum(axis=2).reshape(3, 2, HOUR_TICKS).sum(axis=2) / 60
    np.testing.assert_allclose(by_hour, [[50, 400], [400, 100], [50, 400]], rtol=0.05)


def test_a_series_that_cannot_be_fetched_is_said_to_be_unavailable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    refused = subprocess.CompletedProcess[str]([], 1, "", "Looking\nERROR: no network")
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_named: refused)
    with pytest.raises(real.Unavailable, match="no network"):
        real.counts_a_minute()


# --- ours, and the whole ----------------------------------------------------------------------------------------------


def test_ours_knows_nothing_before_warm_up_look_and_scrape_are_over() -> None:
    terrible = draw(Law(canary=families.since(20.0)), rng(), 20)
    assert ours.failed_at(ours.paths_of(terrible)).min() >= 60 + 45 + 15
    quick = ours.failed_at(ours.paths_of(terrible, ours.Setup(warmup_seconds=0.0)))
    assert 60 + 15 <= quick.min() <= quick.max() <= 3 * 60


def test_ours_leaves_a_healthy_step_before_the_hour_but_not_before_the_least_bake() -> None:
    setup = ours.Setup()
    plenty = draw(Law(requests_per_second=20_000), rng(), 20)
    advanced = ours.advanced_at(ours.paths_of(plenty, setup), setup)
    assert (advanced == 60 + ours.MIN_BAKE_SECONDS).all()
    worse = draw(Law(requests_per_second=20_000, canary=families.since(1.5)), rng(), 20)
    assert never(ours.advanced_at(ours.paths_of(worse, setup), setup))


def test_more_metrics_take_more_evidence_each() -> None:
    worse = draw(families.REGRESSED["2"], rng(), 100)
    healthy = [draw(Law(), rng(), 100) for _ in range(5)]
    alone = ours.failed_at(ours.paths_of(worse))
    among = multiple.ours_failed_at([worse, *healthy], ours.WARMUP_SECONDS)
    assert np.median(alone) < np.median(among) < 3 * np.median(alone)


def test_metrics_of_a_rollout_step_up_in_bands() -> None:
    traffic = multiple.metrics(rng(), 3)[2].arms()
    share = traffic.canary_total / (traffic.canary_total + traffic.control_total)
    at_steps = share.reshape(3, 5, -1).mean(axis=(0, 2))
    np.testing.assert_allclose(at_steps, [0.01, 0.05, 0.1, 0.25, 0.5], rtol=0.05)


FEW = ("steady", "unequal pods", "retry storms", "heavy-tailed bursts")


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decisions, "QUICK", decisions.Sizes(family=4, clustered=4, missing=1))
        patched.setattr(decisions, "HEALTHY", {name: families.HEALTHY[name] for name in FEW})
        patched.setattr(real, "counts_a_minute", lambda: np.full(240, 110.0))
        return decisions.run(quick=True)


def test_every_rule_has_an_answer_for_every_family(result: dict[str, Any]) -> None:
    assert set(result["healthy"]) == set(FEW)
    for shares in (*result["healthy"].values(), result["real"]["healthy"]):
        assert set(shares) == set(result["rules"])
        assert all(share is None or 0 <= share <= 1 for share in shares.values())
    assert result["healthy"]["unequal pods"]["ours_by_flag"] is None
    assert set(result["minutes_to_fail"]) == set(result["failed"]) == set(families.REGRESSED)
    assert set(result["clustered"]) == set(clustered.ROWS)
    assert set(result["missing"]) == set(missing.FAULTS)


def test_the_result_is_one_json_object_without_not_a_number(result: dict[str, Any]) -> None:
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_a_median_is_null_where_fewer_than_half_were_found() -> None:
    seconds = np.array([60.0, 120.0, np.inf, np.inf, np.inf])
    assert decisions._median_minutes(seconds) is None
    assert decisions._median_minutes(seconds[:3]) == 2.0
    assert decisions._median_minutes(seconds, onset=90.0) is None  # the first was rolled back before it began


def test_the_table_names_every_family_and_rule(result: dict[str, Any]) -> None:
    text = decisions.table(result)
    for name in (*FEW, *families.REGRESSED, *clustered.ROWS, *missing.FAULTS):
        assert name in text
    for said in result["rules"].values():
        assert said.split(",")[0].split()[0] in text


def test_a_table_says_what_could_not_be_had(result: dict[str, Any]) -> None:
    assert "no network" in decisions.table({**result, "real": {"unavailable": "no network"}})


def test_the_picture_of_a_result_is_always_the_same_one(result: dict[str, Any], tmp_path: Path) -> None:
    for name in ("one.svg", "other.svg"):
        plot.draw(result, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
    assert ET.parse(tmp_path / "one.svg").getroot().tag.endswith("svg")


# --- the same gate, look by look --------------------------------------------------------------------------------------


def evidence_of(gate: live.Gate) -> tuple[list[float], list[float]]:
    always = np.ones(HOUR_TICKS, np.bool_)
    looks = [look.judgement for look in gate.looks(always, always)]
    return [look.log_evidence or 0.0 for look in looks], [look.log_excluded or 0.0 for look in looks]


@pytest.mark.parametrize("family", ("steady", "2", "bursts of 3"))
def test_all_traces_at_once_have_the_evidence_of_a_gate_that_looks_at_one(family: str) -> None:
    """A look sees the tick before the one at whose end it is."""
    law = families.HEALTHY.get(family) or families.REGRESSED[family]
    traffic = draw(law, rng(), 2)
    fault = missing.Fault.none(traffic.arms())
    for setup, gates in (
        (
            ours.Setup(),
            [
                live.by_selectors(fault, trace, ours.ALPHA, 60.0, live.past_of_series(traffic, trace))
                for trace in range(2)
            ],
        ),
        (ours.Setup(by_flag=True), [live.by_flag(traffic, trace, ours.ALPHA, 60.0) for trace in range(2)]),
    ):
        paths = ours.paths_of(traffic, setup)
        for trace, gate in enumerate(gates):
            against, excluded = evidence_of(gate)
            begun = slice(4, None)  # before there is evidence, nothing is charged for the cohort's bound
            np.testing.assert_allclose(against[begun], paths.against[trace, :-1][begun], rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(excluded[begun], paths.excluded[trace, :-1][begun], rtol=1e-6, atol=1e-6)


def test_a_gate_holds_while_nothing_is_answered_and_fails_a_bad_release_afterwards() -> None:
    fault = missing.unreachable(draw(families.REGRESSED["10"], rng(), 1).arms(), rng())
    reached = np.ones((1, HOUR_TICKS), np.bool_)
    reached[0, 2:40] = False
    ended = live.ended(missing.Fault(fault.arms, reached, fault.sampled), ours.ALPHA, 60.0)
    assert 41 * 15 <= ended.failed_at[0] <= 45 * 15 + 5 * 60
