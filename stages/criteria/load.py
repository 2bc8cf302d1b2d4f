"""The load of a queue's workers: measured like a threshold, judged by nobody, remembered for five minutes."""

import math
from dataclasses import replace
from typing import Any

from stages.criteria import threshold
from stages.criteria.base import Judgement, Measurement, Memory
from stages.criteria.threshold import Threshold
from stages.scaling import Load, kept


class LoadCriterion(Threshold):
    """Of several series the sum is the load."""


def load_criterion(stage: str, query: str, source: str | None) -> LoadCriterion:
    return LoadCriterion.model_validate({"name": f"load of {stage}", "query": query, "source": source, "pass": ">= 0"})


def judge(criterion: LoadCriterion, measurement: Measurement, memory: Memory) -> Judgement:
    judged = threshold.judge(criterion, measurement, memory)
    if judged.value is None:
        return replace(judged, memory=replace(judged.memory, extra=memory.extra))
    load = math.fsum(one.value for one in measurement.series)
    loads = kept(loads_of(memory), (measurement.at, load))
    return replace(judged, value=load, memory=replace(judged.memory, extra=[list(one) for one in loads]))


def loads_of(memory: Memory) -> tuple[Load, ...]:
    """Oldest first; none of a memory that says something else."""
    rows: Any = memory.extra
    return tuple((float(at), float(load)) for at, load in rows) if isinstance(rows, list) else ()
