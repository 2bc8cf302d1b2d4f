"""Every kind of criterion behind two functions: what a look measures, and what it says."""

from typing import assert_never

from stages.criteria import AnyCriterion, change, compare, latency, load, ratio, slo, threshold
from stages.criteria.base import NOTHING_WANTED, Judgement, Measurement, Memory, Setting, Wanted


def wanted(criterion: AnyCriterion, setting: Setting, memory: Memory, at: float) -> Wanted:
    """What is to be measured beside ``criterion.asked``."""
    match criterion:
        case compare.Compare():
            return compare.wanted(criterion, setting, memory, at)
        case latency.Latency():
            return latency.wanted(criterion, setting, memory, at)
        case ratio.Ratio():
            return ratio.wanted(criterion, setting, memory, at)
        case change.Change():
            return change.wanted(criterion, setting, memory, at)
        case slo.Slo():
            return slo.wanted(criterion, setting, memory, at)
        case threshold.Threshold():
            return NOTHING_WANTED
        case _:
            assert_never(criterion)


def judge(criterion: AnyCriterion, measurement: Measurement, memory: Memory, setting: Setting) -> Judgement:
    match criterion:
        case compare.Compare():
            return compare.judge(criterion, measurement, memory, setting)
        case latency.Latency():
            return latency.judge(criterion, measurement, memory, setting)
        case ratio.Ratio():
            return ratio.judge(criterion, measurement, memory, setting)
        case change.Change():
            return change.judge(criterion, measurement, memory, setting)
        case slo.Slo():
            return slo.judge(criterion, measurement, memory, setting)
        case load.LoadCriterion():
            return load.judge(criterion, measurement, memory)
        case threshold.Threshold():
            return threshold.judge(criterion, measurement, memory)
        case _:
            assert_never(criterion)
