"""What the rehearsed world answers is judged by each kind of criterion as it is meant: good, bad, or not at all."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from orchestrator.rehearse.measuring import Look, Mood, holding, measured
from stages.criteria import AnyCriterion
from stages.criteria.base import Judgement, Memory, Setting, Verdict
from stages.criteria.judging import judge, wanted
from stages.values import Bound

CRITERIA: dict[str, dict[str, Any]] = {
    "threshold": {"query": "errors", "pass": "< 1%", "fail": "> 5%"},
    "one bound": {"query": "rate", "fail": "< 0.85"},
    "expected": {"http": {"url": "http://app/health"}, "expect": {"exit": "any"}},
    "compare a flag": {"compare": {}},
    "compare arms": {
        "compare": {"bad": "bad_total", "total": "all_total", "arms": {"canary": '{a="1"}', "control": '{a="2"}'}}
    },
    "latency of a flag": {"latency": {}},
    "latency of arms": {"latency": {"histogram": "seconds", "arms": {"canary": '{a="1"}', "control": '{a="2"}'}}},
    "ratio": {"ratio": {"bad": "bad_total", "total": "all_total", "at_most": "2%"}},
    "slo": {"slo": {"bad": "bad_total", "total": "all_total", "objective": "99.9%"}},
    "change": {"change": {"query": "cost", "window": "10m", "max_increase": "10%", "fails": True}},
}
ADAPTER: TypeAdapter[AnyCriterion] = TypeAdapter(AnyCriterion)
SETTING = Setting(since=1000.0, before=1000.0, alpha=0.01, flag="checkout", percentage=10.0)
MINUTES_20 = 1200.0


def last(name: str, mood: Mood) -> Judgement:
    criterion = ADAPTER.validate_python({"name": name, **CRITERIA[name]})
    setting = SETTING if " arms" not in name else Setting(since=1000.0, before=1000.0, alpha=0.01)
    memory, at = Memory(), 1000.0
    while True:
        at += 15.0
        measurement = measured(criterion.asked, wanted(criterion, setting, memory, at), Look(at, mood, 15.0, 10.0))
        judged = judge(criterion, measurement, memory, setting)
        memory = judged.memory
        if at >= 1000.0 + MINUTES_20 or (mood is Mood.BAD and judged.verdict is Verdict.FAIL):
            return judged


@pytest.mark.parametrize("name", CRITERIA)
def test_a_healthy_release_passes_and_a_bad_one_fails(name: str) -> None:
    assert last(name, Mood.GOOD).verdict is Verdict.PASS
    assert last(name, Mood.BAD).verdict is Verdict.FAIL


@pytest.mark.parametrize("name", CRITERIA)
def test_what_nobody_answers_is_inconclusive(name: str) -> None:
    assert last(name, Mood.AWAY).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("text", ("< 1%", "<= 0", "> 5", ">= 95%", "== 3", "!= 0", "< 0"))
def test_a_number_is_found_for_every_bound(text: str) -> None:
    bound = Bound.model_validate(text)
    assert bound.holds(holding(bound))
    assert not bound.opposite.holds(holding(bound))
