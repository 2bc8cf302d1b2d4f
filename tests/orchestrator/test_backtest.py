"""A plan's gates over a past that the test wrote."""

from datetime import datetime
from typing import Any

import numpy as np
import pytest

from flags.exposure_names import BANDS, EXPOSURES, SECONDS
from orchestrator.backtest import Result, Span, backtest
from orchestrator.errors import NotFound, UsageError
from stages.compile import compile_plan
from stages.plan import StagedRollout
from tests.orchestrator.core.drive import plan_of
from tests.support.archive import ValueAt, WrittenPast

HOUR, DAY = 3600.0, 86400.0
BEGIN = 1_790_000_000.0 // DAY * DAY
SPAN = Span(BEGIN, BEGIN + DAY)
TOTAL, BAD = "requests_total", 'requests_total{code="500"}'


def spec_of(*criteria: dict[str, Any], **stage: Any) -> dict[str, Any]:
    usual = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [5, 25], "bake": "30m"}
    return {
        "flags": {"beta": {}},
        "gates": {"health": {"criteria": list(criteria)}},
        "stages": [{**usual, "gate": "health", **stage}],
    }


async def replayed(past: WrittenPast, spec: dict[str, Any], span: Span = SPAN, only: str | None = None) -> Result:
    program = compile_plan([("production", StagedRollout.model_validate(plan_of(spec)))], "d", {})
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int, words: str) -> None:
        assert words
        told.append((done, total))

    result = await backtest(program, program.environment("production"), {"": past}, span, progress, only)
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]
    return result


async def gate(past: WrittenPast, spec: dict[str, Any], span: Span = SPAN) -> dict[str, Any]:
    (found,) = (await replayed(past, spec, span)).to_json()["gates"]
    return dict(found)


async def criterion(past: WrittenPast, spec: dict[str, Any], span: Span = SPAN) -> dict[str, Any]:
    (found,) = (await gate(past, spec, span))["criteria"]
    return dict(found)


def high_at(*spans: tuple[float, float], usual: float = 0.01, high: float = 0.5) -> ValueAt:
    """*spans* in hours after the begin."""
    return lambda at: high if any(begin <= (at - BEGIN) / HOUR < end for begin, end in spans) else usual


def hours(text: str) -> float:
    """After the begin."""
    return round((datetime.fromisoformat(text).timestamp() - BEGIN) / HOUR, 2)


def a_level(value: ValueAt) -> WrittenPast:
    past = WrittenPast()
    past.expression("level", value)
    return past


LEVEL = {"name": "level", "query": "level", "fail": "> 10%", "for": "5m"}


# --- thresholds -------------------------------------------------------------------------------------------------------


async def test_a_quiet_past_has_no_failure_and_says_how_tight_the_bound_could_have_been() -> None:
    found = await criterion(a_level(high_at()), spec_of(LEVEL))
    assert (found["replayed"], found["failed"], found["held"]) == (24, 0, 0)
    (proposal,) = found["proposals"]
    assert proposal["change"]["fail"] in ("> 1.02%", "> 1.03%")
    assert (proposal["failed"], proposal["held"]) == (0, 0)


async def test_each_release_that_a_breach_would_have_failed_is_counted_and_dated() -> None:
    past = a_level(high_at((3.2, 3.5), (3.6, 3.8), (7.9, 8.2)))
    found = await criterion(past, spec_of(LEVEL))
    assert found["failed"] == 3  # the two in hour 3 fail one release; the one over hour 8 two, each for ``for``
    assert [hours(one["at"]) for one in found["failures"]] == [3.28, 7.98, 8.09]
    assert "level is 0.5" in found["failures"][0]["sentence"]


async def test_a_breach_shorter_than_for_holds_and_does_not_fail() -> None:
    found = await criterion(a_level(high_at((3.2, 3.25))), spec_of(LEVEL))
    assert (found["failed"], found["held"], found["longest_hold_seconds"]) == (0, 1, 180.0)


async def test_the_bound_that_is_proposed_would_have_been_quiet_when_it_is_replayed() -> None:
    spec = spec_of(LEVEL)
    past = a_level(high_at((3.2, 3.5), (7.2, 7.5), high=0.3))
    found = await criterion(past, spec)
    assert found["failed"] == 2
    change = found["proposals"][0]["change"]
    assert set(change) == {"fail"}
    wider = await criterion(past, spec_of({**LEVEL, **change}))
    assert (wider["failed"], wider["held"]) == (0, 0)


async def test_between_target_and_alert_level_it_held_and_a_target_that_would_not_have_is_proposed() -> None:
    both = {"name": "level", "query": "level", "pass": "< 2%", "fail": "> 90%"}
    found = await criterion(a_level(high_at((5.01, 5.11))), spec_of(both))
    assert (found["failed"], found["held"], found["longest_hold_seconds"]) == (0, 1, 360.0)
    change = found["proposals"][-1]["change"]
    assert change == {"pass": "< 55%"}


async def test_a_falling_level_is_bounded_from_below() -> None:
    rate = {"name": "success", "query": "level", "pass": ">= 95%"}
    found = await criterion(a_level(high_at((5.01, 5.11), usual=0.99, high=0.9)), spec_of(rate))
    assert found["failed"] == 1
    assert found["proposals"][0]["change"] == {"pass": ">= 88%"}


async def test_a_longer_for_is_proposed_where_breaches_were_short() -> None:
    found = await criterion(a_level(high_at((5.01, 5.11))), spec_of({**LEVEL, "for": "2m"}))
    assert {"for": "10m"} in [one["change"] for one in found["proposals"]]


# --- gaps and the end of what is known --------------------------------------------------------------------------------


async def test_stretches_without_data_are_counted_and_neither_fail_nor_hold() -> None:
    past = a_level(lambda at: None if 5.2 <= (at - BEGIN) / HOUR < 5.4 else 0.01)
    found = await criterion(past, spec_of(LEVEL))
    assert (found["failed"], found["held"], found["gaps"], found["not_measurable"]) == (0, 0, 1, 0)


async def test_a_release_in_which_nothing_was_measured_counts_as_not_measurable() -> None:
    past = a_level(lambda at: None if 5.0 <= (at - BEGIN) / HOUR <= 7.0 else 0.01)
    found = await criterion(past, spec_of(LEVEL))
    assert (found["replayed"], found["not_measurable"]) == (22, 2)
    assert found["not_measurable_because"][0]["releases"] == 2


async def test_missing_data_fail_only_where_the_plan_says_so() -> None:
    past = a_level(lambda at: None if 5.2 <= (at - BEGIN) / HOUR < 5.5 else 0.01)
    found = await criterion(past, spec_of({**LEVEL, "on_missing": {"rollback_after": "10m"}}))
    assert found["failed"] == 1
    assert "the plan rolls back on that" in found["failures"][0]["sentence"]


async def test_a_past_that_begins_later_is_refused_with_what_would_work() -> None:
    past = a_level(lambda at: 0.01 if at >= BEGIN + 17.6 * HOUR else None)
    with pytest.raises(NotFound, match=r"no past of what the gates measure before .* use --last 6h"):
        await replayed(past, spec_of(LEVEL))


async def test_a_past_without_anything_is_refused_with_the_names() -> None:
    with pytest.raises(NotFound, match=r"no past of what the gates measure in the last 1d \(level\)"):
        await replayed(WrittenPast(), spec_of(LEVEL))


# --- what is replayed -------------------------------------------------------------------------------------------------


async def test_releases_lie_end_to_end_and_look_on_the_gates_own_grid() -> None:
    found = await gate(a_level(high_at()), spec_of(LEVEL))
    assert (found["release_seconds"], found["spacing_seconds"], found["overlap"]) == (HOUR, HOUR, False)
    assert [step["percentage"] for step in found["steps"]] == [5.0, 25.0]


async def test_short_releases_are_spread_over_the_past_rather_than_too_many() -> None:
    found = await gate(a_level(high_at()), spec_of(LEVEL, bake="30s"), Span(BEGIN, BEGIN + 7 * DAY))
    assert found["replayed"] <= 300
    assert found["spacing_seconds"] >= 7 * DAY / 300


async def test_releases_that_are_so_long_that_few_fit_overlap_and_it_is_said() -> None:
    found = await gate(a_level(high_at()), spec_of(LEVEL, final_bake="8h"))
    assert (found["replayed"], found["overlap"]) == (10, True)


async def test_a_release_longer_than_the_past_is_refused_with_what_would_work() -> None:
    with pytest.raises(UsageError, match=r"stage open takes 48h30m.*--last 4d.*--set"):
        await replayed(a_level(high_at()), spec_of(LEVEL, final_bake="48h"))


async def test_a_plan_without_gates_is_refused() -> None:
    spec = spec_of(LEVEL)
    del spec["gates"], spec["stages"][0]["gate"]
    with pytest.raises(UsageError, match="has no gates, so there is nothing to replay"):
        await replayed(WrittenPast(), spec)


async def test_a_gate_that_nobody_names_is_refused_and_so_is_one_that_is_not_there() -> None:
    spec = spec_of(LEVEL)
    spec["gates"]["other"] = spec["gates"]["health"]
    with pytest.raises(UsageError, match="the gate other is judged nowhere"):
        await replayed(WrittenPast(), spec, only="other")
    with pytest.raises(UsageError, match="the plan has no gate wealth; it has health, other"):
        await replayed(WrittenPast(), spec, only="wealth")


async def test_what_no_prometheus_has_kept_is_said_not_to_be_replayed() -> None:
    spec = spec_of(LEVEL, {"name": "script", "command": ["./x"], "fail": "> 1"})
    found = await gate(a_level(high_at()), spec)
    assert [one["name"] for one in found["criteria"]] == ["level"]
    (left,) = found["not_replayed"]
    assert "measured by command" in left["reason"]


async def test_a_plan_of_nothing_else_is_refused() -> None:
    with pytest.raises(UsageError, match="no criterion of the gates can be replayed"):
        await replayed(WrittenPast(), spec_of({"name": "script", "command": ["./x"], "fail": "> 1"}))


async def test_the_gate_of_a_phase_of_the_watch_is_replayed_too() -> None:
    spec = spec_of(LEVEL)
    del spec["stages"][0]["gate"]
    spec["watch"] = [{"name": "long", "from": "1h", "to": "3h", "gate": "health"}]
    found = await gate(a_level(high_at()), spec)
    assert (found["where"], found["release_seconds"], found["replayed"]) == ("watch long", 2 * HOUR, 12)


async def test_a_gate_fails_with_the_first_of_its_criteria_and_holds_with_any() -> None:
    past = a_level(high_at((3.2, 3.5), (9.1, 9.12)))
    past.expression("other", high_at((3.1, 3.4), (5.1, 5.3)))
    found = await gate(past, spec_of(LEVEL, {**LEVEL, "name": "other", "query": "other"}))
    assert (found["failed"], found["held"]) == (2, 3)
    assert [one["criterion"] for one in found["failures"]] == ["other", "other"]
    assert [one["failed"] for one in found["criteria"]] == [1, 2]


# --- counters ---------------------------------------------------------------------------------------------------------


def traffic(share: ValueAt, pods: int = 3, seed: int = 1, per_sample: int = 100, **labels: str) -> WrittenPast:
    """Requests of *pods*, of which *share* are bad; drawn, but the same for each time and pod."""
    past = WrittenPast()
    for pod in range(pods):
        bad = drawn(share, f"{seed}/{pod}", per_sample)
        past.counter(TOTAL, bad, code="500", pod=f"p{pod}", **labels)
        past.counter(TOTAL, lambda at, bad=bad: per_sample - (bad(at) or 0.0), code="200", pod=f"p{pod}", **labels)  # type: ignore[misc]
    return past


def drawn(share: ValueAt, seed: str, number: int) -> ValueAt:
    known: dict[float, float] = {}

    def value(at: float) -> float:
        if at not in known:
            dice = np.random.default_rng([*seed.encode(), int(at)])
            known[at] = float(dice.binomial(number, share(at) or 0.0))
        return known[at]

    return value


RATIO: dict[str, Any] = {"name": "errors", "ratio": {"bad": BAD, "total": TOTAL, "at_most": "3%"}}
SHORT = Span(BEGIN, BEGIN + 10 * HOUR)


async def test_a_ratio_is_judged_on_the_counts_of_the_past() -> None:
    found = await criterion(traffic(high_at()), spec_of(RATIO), SHORT)
    assert (found["replayed"], found["failed"], found["held"], found["proposals"]) == (10, 0, 0, [])
    assert found["values"]["median"] == pytest.approx(0.01, abs=0.005)


async def test_an_incident_fails_a_ratio_and_the_share_that_would_not_is_proposed() -> None:
    past = traffic(high_at((2.2, 2.4), high=0.12))
    found = await criterion(past, spec_of(RATIO), SHORT)
    assert found["failed"] == 1
    change = found["proposals"][0]["change"]
    assert float(change["at_most"].removesuffix("%")) in (10.0, 15.0, 20.0)
    wider = await criterion(past, spec_of({**RATIO, "ratio": {**RATIO["ratio"], **change}}), SHORT)
    assert (wider["failed"], wider["held"]) == (0, 0)


# --- two arms where the past has one ----------------------------------------------------------------------------------

ARMS = {"canary": '{track="canary"}', "control": '{track="stable"}'}
COMPARE: dict[str, Any] = {"name": "pods", "compare": {"bad": BAD, "total": TOTAL, "arms": ARMS}}


def exposures(share: ValueAt, raised: ValueAt = lambda _: 0.0) -> WrittenPast:
    """Keys of every band use the flag ``beta``, which is off; *raised* is what the canary counts."""
    past = WrittenPast()
    for band, number in zip(BANDS, (1, 4, 5, 15, 25, 75, 125, 250), strict=True):
        bad = drawn(share, band, number)
        for outcome, rise in (("error", bad), ("ok", lambda at, bad=bad, number=number: number - (bad(at) or 0.0))):
            past.counter(EXPOSURES, rise, flag="beta", arm="control", band=band, outcome=outcome)
    past.counter(EXPOSURES, raised, flag="beta", arm="canary", band="1", outcome="ok")
    return past


async def test_the_bands_below_the_percentage_are_compared_with_the_others_and_nothing_fails_on_nothing() -> None:
    found = await criterion(exposures(high_at(usual=0.02)), spec_of({"name": "flag", "compare": {}}), SHORT)
    assert (found["replayed"], found["failed"], found["held"], found["gaps"]) == (10, 0, 0, 0)


async def test_an_incident_that_hits_all_keys_fails_no_comparison() -> None:
    past = exposures(high_at((2.2, 2.4), usual=0.02, high=0.2))
    found = await criterion(past, spec_of({"name": "flag", "compare": {}}), SHORT)
    assert (found["failed"], found["held"]) == (0, 0)


async def test_releases_in_which_the_flag_was_on_are_left_out_and_it_is_said() -> None:
    past = exposures(high_at(usual=0.02), raised=high_at((3.3, 4.6), usual=0.0, high=1.0))
    found = await criterion(past, spec_of({"name": "flag", "compare": {}}), SHORT)
    assert (found["replayed"], found["not_measurable"]) == (8, 2)
    assert "the flag beta was on then" in found["not_measurable_because"][0]["reason"]


async def test_a_flag_that_nobody_counts_yet_is_no_past() -> None:
    with pytest.raises(NotFound, match=EXPOSURES):
        await replayed(WrittenPast(), spec_of({"name": "flag", "compare": {}}), SHORT)


async def test_pods_of_the_control_are_compared_with_each_other_and_nothing_fails_on_nothing() -> None:
    found = await criterion(traffic(high_at(usual=0.02), pods=6, track="stable"), spec_of(COMPARE), SHORT)
    assert (found["replayed"], found["failed"], found["held"]) == (10, 0, 0)


async def test_a_control_of_one_pod_cannot_be_split_and_it_is_said() -> None:
    found = await gate(traffic(high_at(), pods=1, track="stable"), spec_of(COMPARE, RATIO), SHORT)
    compared, ratio = found["criteria"]
    assert (compared["replayed"], compared["not_measurable"], ratio["replayed"]) == (0, 10, 10)
    (reason,) = compared["not_measurable_because"]
    assert "a single target (pod p0)" in reason["reason"]
    assert found["not_measurable"] == 0


async def test_a_pod_that_is_sick_alone_is_seen_whenever_the_draw_hits_it() -> None:
    past = traffic(high_at(usual=0.01), pods=5, track="stable")
    for code, share in (("500", 0.9), ("200", 0.1)):
        past.counter(TOTAL, lambda _, share=share: 100 * share, code=code, pod="sick", track="stable")  # type: ignore[misc]
    replays = (await replayed(past, spec_of(COMPARE), SHORT)).gates[0].criteria[0].replays
    seen = [not one.quiet for one in replays]
    assert any(seen)
    assert not all(seen)


async def test_at_100_per_cent_there_is_no_control_and_no_hold_for_that() -> None:
    spec = spec_of({"name": "flag", "compare": {}}, percentages=[5, 100])
    found = await criterion(exposures(high_at(usual=0.02)), spec, SHORT)
    assert (found["replayed"], found["failed"], found["held"]) == (10, 0, 0)


def durations(name: str, pods: int, **labels: str) -> WrittenPast:
    """A histogram of 100 events a sample and pod: most take 0.1 s, one of twenty longer than a second."""
    past = exposures(high_at())
    for pod in range(pods):
        late = drawn(lambda _: 0.05, f"slow/{pod}", 100)
        faster: dict[str, ValueAt] = {
            "0.1": lambda at, late=late: 60 - 0.6 * (late(at) or 0.0),  # type: ignore[misc]
            "1.0": lambda at, late=late: 100 - (late(at) or 0.0),  # type: ignore[misc]
            "+Inf": lambda _: 100.0,
        }
        for le, rise in faster.items():
            past.counter(f"{name}_bucket", rise, le=le, instance=f"i{pod}", **labels)
    return past


@pytest.mark.parametrize("by", ("labels", "flag"))
async def test_latencies_of_the_controls_targets_are_compared(by: str) -> None:
    if by == "labels":
        past = durations("request_seconds", 6, track="stable")
        asked: dict[str, Any] = {"histogram": "request_seconds", "arms": ARMS}
    else:
        past, asked = durations(SECONDS, 6, flag="beta", arm="control"), {}
    found = await criterion(past, spec_of({"name": "slow", "latency": asked}), SHORT)
    assert (found["replayed"], found["failed"], found["held"], found["not_measurable"]) == (10, 0, 0, 0)
    assert 0.8 < found["values"]["median"] < 1.25


async def test_a_change_is_judged_against_the_window_before_each_release() -> None:
    change = {"name": "level", "change": {"query": "level", "window": "1h", "max_increase": "20%", "fails": True}}
    past = a_level(lambda at: 10.0 + (at // 15 % 7) + (30.0 if 4.5 <= (at - BEGIN) / HOUR < 5.5 else 0.0))
    found = await criterion(past, spec_of(change), SHORT)
    assert [round(hours(one["at"]), 1) for one in found["failures"]] == [4.5]
    assert found["proposals"][0]["change"] in ({"max_increase": "200%"}, {"max_increase": "300%"})


async def test_a_burn_rate_is_judged_on_the_counts_of_the_past() -> None:
    slo = {"name": "slo", "slo": {"bad": BAD, "total": TOTAL, "objective": "99%"}}
    found = await criterion(traffic(high_at((4.1, 4.9), usual=0.002, high=0.5)), spec_of(slo), SHORT)
    assert [int(hours(one["at"])) for one in found["failures"]] == [4]
    assert found["proposals"] == []
