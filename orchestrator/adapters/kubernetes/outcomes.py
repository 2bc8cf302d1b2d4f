"""What came of bringing workloads to a wish, as the core hears of it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from orchestrator.adapters.kubernetes.bringing import (
    Attempt,
    Change,
    ChangedElsewhere,
    Unready,
    bring,
    changed_elsewhere,
)
from orchestrator.adapters.kubernetes.client import Cluster
from orchestrator.adapters.kubernetes.workloads import Workload, find
from orchestrator.core.effect import EffectState, Outcome
from orchestrator.errors import Permanent
from stages.values import Json

AGAIN_SECONDS = 1.0  # until a try that only reported why it waits is followed by the next

Bring = Callable[[Attempt, Sequence[Change]], Awaitable[list[Workload]]]
Value = Callable[[Sequence[Workload]], Json]
Look = Callable[[Cluster, str], Awaitable[Workload]]


@dataclass(frozen=True, slots=True)
class Task:
    """*changes*, all of which make up one target; *value*: what is observed of their workloads, in this order."""

    changes: tuple[Change, ...]
    value: Value
    words: str
    look: Look = find


async def one_by_one(attempt: Attempt, changes: Sequence[Change]) -> list[Workload]:
    return [await bring(attempt, change) for change in changes]


async def carry_out(attempt: Attempt, task: Task, bring_all: Bring = one_by_one) -> Outcome:
    """Raises ``Temporary``. Refused with an *observed* value means that the world is not as it was: changed by
    somebody else, who is named then, or by us, without success."""
    try:
        workloads = await bring_all(attempt, task.changes)
    except ChangedElsewhere as error:
        return _elsewhere(error, task.value(await _look(attempt, task)))
    except Unready as error:
        return await _unready(attempt, task, error)
    except Permanent as error:
        return await _refused(attempt, task, error)
    return Outcome(state=EffectState.DONE, detail=task.words, observed=task.value(workloads))


async def _unready(attempt: Attempt, task: Task, error: Unready) -> Outcome:
    workloads = await _look(attempt, task)
    observed = task.value(workloads)
    if attempt.is_undo:
        if any(map(_is_to_be_written, task.changes, workloads)) or any(map(lacks_capacity, task.changes, workloads)):
            return Outcome(state=EffectState.TEMPORARY, detail=str(error))
        return Outcome(state=EffectState.DONE, detail=f"{task.words}; {error}", observed=observed)
    if not error.is_final:
        return Outcome(state=EffectState.TEMPORARY, detail=str(error), retry_after_seconds=AGAIN_SECONDS)
    return _left(attempt, task, workloads, error)


async def _refused(attempt: Attempt, task: Task, error: Permanent) -> Outcome:
    workloads = await _look(attempt, task)
    if any(attempt.author.has_marked(workload.annotations) for workload in workloads):
        return _left(attempt, task, workloads, error)
    return Outcome(state=EffectState.REFUSED, detail=str(error))  # nothing was changed


def _left(attempt: Attempt, task: Task, workloads: Sequence[Workload], error: Permanent) -> Outcome:
    """As this effect left them. What somebody else did meanwhile, to any of them, is no part of that."""
    there = ((change, one) for change, one in zip(task.changes, workloads, strict=True) if one.exists)
    others = next(filter(None, (changed_elsewhere(attempt, *one) for one in there)), None)
    if others is not None:
        return _elsewhere(others, task.value(workloads))
    return Outcome(state=EffectState.REFUSED, detail=str(error), observed=task.value(workloads))


def _elsewhere(error: ChangedElsewhere, observed: Json) -> Outcome:
    return Outcome(state=EffectState.REFUSED, detail=str(error), observed=observed, changed_by=error.who)


def _is_to_be_written(change: Change, workload: Workload) -> bool:
    return not change.wish.is_met(workload)


def lacks_capacity(change: Change, workload: Workload) -> bool:
    """Whether a workload that shall grow has not so many pods that are ready."""
    wanted, before = change.wish.replicas, change.before.replicas
    if wanted is None or (before is not None and wanted <= before):
        return False
    return workload.ready < wanted


async def _look(attempt: Attempt, task: Task) -> list[Workload]:
    return [await task.look(attempt.cluster, change.title) for change in task.changes]
