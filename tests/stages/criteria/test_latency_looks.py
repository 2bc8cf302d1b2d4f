"""``latency`` look by look: events slower than the edges of a histogram, in two arms."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from stages.criteria import Latency
from stages.criteria.base import Count, Judgement, Measurement, MeasurementState, Memory, Past, Setting, Verdict
from stages.criteria.latency import chosen_edges, judge, wanted

BEGIN = 1_700_000_000.0
EDGES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
ARMS = {"canary": '{track="canary"}', "control": '{track="stable"}'}
HISTOGRAM = {"histogram": "request_seconds", "arms": ARMS}
SETTING = Setting(since=BEGIN, before=BEGIN, warmup_seconds=30.0, flag="beta", percentage=10.0)


def latency(**fields: Any) -> Latency:
    return Latency.model_validate({"name": "latency", "latency": fields})


def buckets(events: int, median: float, random: np.random.Generator) -> dict[str, float]:
    """Log-normal durations, cumulated by edge."""
    seconds = median * np.exp(random.normal(0.0, 0.7, events))
    found = {str(edge): float((seconds <= edge).sum()) for edge in EDGES}
    return {**found, "+Inf": float(events)}


def run(looks: int, slower: float = 1.0, setting: Setting = SETTING, seed: int = 1) -> list[Judgement]:
    random, memory, found = np.random.default_rng(seed), Memory(), []
    for look in range(1, looks + 1):
        at = BEGIN + 15 * look
        memory = replace(memory, extra=json.loads(json.dumps(memory.extra)))
        counts: list[Count] = []
        asked = wanted(latency(), setting, memory, at).counting
        if asked is not None:
            name, seconds = next(iter(asked.selectors)), asked.to - asked.from_
            for arm, share, factor in (("canary", 0.1, slower), ("control", 0.9, 1.0)):
                rises = buckets(int(200 * seconds * share), 0.1 * factor, random)
                counts += [Count(name, (arm, le), value) for le, value in rises.items()]
        judged = judge(latency(), Measurement(MeasurementState.OK, at, counts=tuple(counts)), memory, setting)
        memory = judged.memory
        found.append(judged)
    return found


def test_a_release_that_is_as_fast_passes() -> None:
    looks = run(160)
    assert Verdict.FAIL not in {one.verdict for one in looks}
    assert looks[-1].verdict is Verdict.PASS
    assert "slower than " in looks[-1].sentence


def test_a_release_that_is_slower_fails_and_says_at_which_edge() -> None:
    looks = run(80, slower=1.5)
    failed = next(one for one in looks if one.verdict is Verdict.FAIL)
    assert "against the control's" in failed.sentence
    assert "ms: " in failed.sentence or " s: " in failed.sentence
    assert failed.value is not None
    assert failed.value > 1


def test_while_it_settles_nothing_is_held_against_it() -> None:
    looks = run(3, slower=5.0)
    assert all(one.verdict is Verdict.PASS and one.settling for one in looks)


def test_edges_lie_nearest_the_quantiles_of_the_control() -> None:
    control = {0.1: 500.0, 0.2: 560.0, 0.5: 910.0, 1.0: 985.0, 2.0: 1000.0, math.inf: 1000.0}
    assert chosen_edges(control) == (0.2, 0.5, 1.0)
    assert chosen_edges({0.1: 50.0, math.inf: 60.0}) == ()
    assert chosen_edges({0.1: 500.0, math.inf: 500.0}) == ()


def test_the_hour_before_the_change_chooses_the_edges_where_there_is_one() -> None:
    history = wanted(latency(), SETTING, Memory(), BEGIN + 60).history
    assert [one.name for one in history] == ["control"]
    past = tuple(Past("control", (le,), BEGIN, value) for le, value in (("0.25", 900.0), ("+Inf", 1000.0)))
    counts = tuple(
        Count("buckets", (arm, le), value)
        for arm in ("canary", "control")
        for le, value in (("0.25", 9.0), ("+Inf", 10.0))
    )
    judged = judge(latency(), Measurement(MeasurementState.OK, BEGIN + 30, counts=counts, past=past), Memory(), SETTING)
    assert judged.memory.extra["edges"] == [0.25]
    assert wanted(latency(), SETTING, judged.memory, BEGIN + 60).history == ()


def test_a_histogram_without_buckets_holds_and_says_so() -> None:
    counts = tuple(Count("buckets", (arm, "+Inf"), 100.0) for arm in ("canary", "control"))
    judged = judge(latency(), Measurement(MeasurementState.OK, BEGIN + 120, counts=counts), Memory(), SETTING)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "native" in judged.sentence


def test_an_arm_without_buckets_is_missing() -> None:
    counts = tuple(Count("buckets", ("control", le), 100.0) for le in ("0.1", "+Inf"))
    judged = judge(latency(), Measurement(MeasurementState.OK, BEGIN + 120, counts=counts), Memory(), SETTING)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "no buckets of the canary" in judged.sentence


def test_where_everybody_has_the_change_no_control_is_missed() -> None:
    judged = judge(
        latency(), Measurement(MeasurementState.OK, BEGIN + 120), Memory(), replace(SETTING, percentage=100.0)
    )
    assert judged.verdict is Verdict.PASS
    assert "no control any more" in judged.sentence


def test_arms_add_their_matchers_to_the_buckets() -> None:
    asked = wanted(latency(**HISTOGRAM), replace(SETTING, flag=None), Memory(), BEGIN + 120).counting
    assert asked is not None
    assert asked.selectors == {
        "canary": 'request_seconds_bucket{track="canary"}',
        "control": 'request_seconds_bucket{track="stable"}',
    }


@pytest.mark.parametrize(
    ("fields", "words"),
    (
        ({"histogram": "request_seconds"}, "arms is not given"),
        ({**HISTOGRAM, "flag": "beta"}, "not both"),
        ({**HISTOGRAM, "histogram": "rate(request_seconds[5m])"}, "a selector of counters is expected"),
        ({"max_increase": 50}, "at most"),
    ),
)
def test_a_comparison_that_can_not_be_made_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        latency(**fields)
