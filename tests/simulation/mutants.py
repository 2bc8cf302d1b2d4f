"""Deliberate bugs. Each must be caught by some invariant within a few hundred seeds, or the simulation sees too little.

A mutant is a context in which a piece of the real code is replaced by one that is wrong in a way that people get it
wrong.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from math import ceil, inf, isnan
from typing import Any
from unittest.mock import patch

from orchestrator import answering
from orchestrator import runner as runner_module
from orchestrator.core import backward, decide, fold, forward, gates, outcomes, rollback, scaling, walk
from orchestrator.core.events import ApprovalWithdrawn, Event, LegEntered
from orchestrator.core.moment import Moment
from orchestrator.core.phases import Leg, Reason
from orchestrator.errors import StoreError
from orchestrator.freezing import Freezing
from orchestrator.ports import Batch
from orchestrator.run_time import Passed, RunTime
from orchestrator.runner import Runner
from orchestrator.sharing import Sharing
from stages.actions import workload
from stages.actions.workload import VersionAction
from stages.checks import Approval
from stages.cluster import Version
from stages.criteria import AnyCriterion
from stages.criteria.base import Judgement, Measurement, MeasurementState, Memory, SeriesValue, Setting
from stages.criteria.judging import judge
from stages.flag_spec import ABSENT, percentage_of
from stages.kinds.base import Context
from stages.kinds.exposure import QueueStage
from stages.scaling import Bounds, Load
from stages.step import Act, StageProgram
from tests.simulation.batch import Verdict
from tests.simulation.batch import judge as judge_seed

SEEDS = range(600)
_NOT_MEASURED = (MeasurementState.MISSING, MeasurementState.STALE, MeasurementState.ERROR)


@dataclass(frozen=True)
class Mutant:
    name: str
    words: str
    applied: Callable[[], AbstractContextManager[Any]]
    likely_seed: int  # that caught it last, and is tried first


def caught_by(mutant: Mutant, seeds: Sequence[int] = SEEDS) -> Verdict | None:
    """A failing seed; None if the bug went unseen."""
    with mutant.applied():
        for verdict in map(judge_seed, [mutant.likely_seed, *seeds]):
            if verdict.violations:
                return verdict
    return None


def _replaced(owner: Any, name: str, value: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: patch.object(owner, name, value)


def _replaced_handler(event: type[Event]) -> Callable[[], AbstractContextManager[Any]]:
    """The fold learns nothing from it."""
    return lambda: patch.dict(fold.HANDLERS, {event: lambda state, *_: state})


# --- what is measured -------------------------------------------------------------------------------------------------


def _judging(change: Callable[[Measurement], Measurement]) -> Callable[[], AbstractContextManager[Any]]:
    def wrong(criterion: AnyCriterion, measurement: Measurement, memory: Memory, setting: Setting) -> Judgement:
        return judge(criterion, change(measurement), memory, setting)

    return _replaced(answering, "judge", wrong)


def _with_value(measurement: Measurement, value: float) -> Measurement:
    series = (SeriesValue("", value, measurement.at),)
    return replace(measurement, state=MeasurementState.OK, series=series)


def _nan_is_zero(measurement: Measurement) -> Measurement:
    series = tuple(replace(one, value=0.0) if isnan(one.value) else one for one in measurement.series)
    return replace(measurement, series=series)


def _missing_is_zero(measurement: Measurement) -> Measurement:
    return _with_value(measurement, 0.0) if measurement.state in _NOT_MEASURED else measurement


def _missing_is_bad(measurement: Measurement) -> Measurement:
    return _with_value(measurement, 1.0) if measurement.state in _NOT_MEASURED else measurement


# --- what is decided --------------------------------------------------------------------------------------------------


def _held_but_by_a_pause(moment: Moment) -> bool:
    return any(reason is not Reason.PAUSED for reason, _ in moment.state.holds)


def _added(act: Act, current: Any) -> Any:
    """A delta where an absolute value is wanted."""
    assert act.raise_ is not None
    wanted = min(percentage_of(current) + (act.raise_.percentage or 0.0), 100.0)
    raised = replace_percentage(act, wanted)
    return _RAISED(raised, current)


def replace_percentage(act: Act, percentage: float) -> Act:
    assert act.raise_ is not None
    return replace(act, raise_=act.raise_.model_copy(update={"percentage": percentage}))


_RAISED = Act._raised


def _guessed(moment: Moment, act: Act, target: Any) -> list[Any]:
    """Nothing is looked at: what was there before is taken to be off, at 0 %."""
    value = dict(ABSENT) if target.kind == "flag" else {"text": ""} if target.kind == "command" else None
    return [walk._first_seen(target, act.site.environment, act.site.stage, value, existed=True)]


@contextmanager
def _guessing() -> Iterator[None]:
    with patch.object(walk, "observed", _guessed), patch.object(decide, "observed", _guessed):
        yield


def _skipping(moment: Moment) -> list[Any]:
    found = forward.baking(moment)
    stage = moment.state.stage
    if stage is None or moment.state.cursor.step + 2 >= len(stage.steps):
        return found
    return [
        event.model_copy(update={"step": event.step + 1}) if isinstance(event, LegEntered) and event.step else event
        for event in found
    ]


@contextmanager
def _oldest_first() -> Iterator[None]:
    real = rollback._Graph._undo

    def wrong(graph: Any, others: Any, settled: Any) -> None:
        turned = [replace(one, touch=replace(one.touch, order=-one.touch.order)) for one in others]
        real(graph, turned, settled)

    with patch.object(rollback._Graph, "_undo", wrong):
        yield


def _bakes_whatever(moment: Moment) -> bool:
    return moment.state.leg is Leg.BAKING


# --- workloads --------------------------------------------------------------------------------------------------------

_COMPILED = QueueStage.compile
_WANTED = VersionAction._wanted


def _fed_at_once(stage: QueueStage, context: Context) -> StageProgram:
    program = _COMPILED(stage, context)
    return replace(program, before=program.before[:-1], scaling=None) if stage.workload is not None else program


def _no_drain(*_: Any) -> tuple[str, ...]:
    return ()


def _unsettled(*_: Any) -> dict[str, tuple[str, ...]]:
    return {}


def _never(*_: Any) -> bool:
    return False


def _as_the_load_is(current: int, loads: Sequence[Load], bounds: Bounds) -> int:
    return ceil(loads[-1][1] / bounds.per_replica) if loads else current


def _one_short(action: VersionAction, now: Version) -> Version:
    wanted = _WANTED(action, now)
    fewer = wanted.stable.model_copy(update={"replicas": max(wanted.stable.replicas - 1, 0)})
    return wanted.model_copy(update={"stable": fewer})


def _copy_stays(action: VersionAction, now: Version) -> Version:
    wanted = _WANTED(action, now)
    return wanted if wanted.canary is not None else wanted.model_copy(update={"canary": now.canary})


def _two_of_one(now: Version) -> int:
    return sum(arm.replicas for arm in (now.stable, now.canary) if arm is not None)


# --- what is made durable ---------------------------------------------------------------------------------------------


_PERFORM = Runner._perform
_WRITE = Runner._write
_PASSED = RunTime.passed


async def _never_resumed(runner: Runner, effect: Any, resumed: bool) -> None:
    await _PERFORM(runner, effect, False)


async def _forgets_answers(runner: Runner, command: Any) -> None:
    return None


async def _forgets_events(runner: Runner, batch: Batch, keep: bool) -> Any:
    try:
        return await _WRITE(runner, batch, False)
    except StoreError:
        return []


def _keeps_claims(**fields: Any) -> Batch:
    return Batch(**{**fields, "release": False})


def _everything_passed(time: RunTime) -> Passed:
    return replace(_PASSED(time), seconds=inf, jumped_seconds=0.0)


async def _hears_nothing(_: Freezing) -> bool:
    return False


# --- several controllers ----------------------------------------------------------------------------------------------


def _always(sharing: Sharing) -> bool:
    return True


async def _finds_nothing(sharing: Sharing) -> bool:
    return False


MUTANTS: tuple[Mutant, ...] = tuple(
    Mutant(name, words, applied, likely_seed)
    for name, likely_seed, words, applied in (
        ("nan-passes", 374, "NaN is taken for 0", _judging(_nan_is_zero)),
        ("missing-passes", 33, "what could not be measured is taken for good", _judging(_missing_is_zero)),
        ("missing-fails", 33, "what could not be measured is taken for bad", _judging(_missing_is_bad)),
        ("guessed-before", 4, "what was there before is guessed", _guessing),
        ("delta", 0, "a step adds its percentage to what is there", _replaced(Act, "_raised", _added)),
        ("pause-forgotten", 72, "a pause holds nothing", _replaced(Moment, "held", property(_held_but_by_a_pause))),
        ("gate-forgotten", 1208, "exposure rises unasked", _replaced(Moment, "may_raise", property(lambda _: True))),
        ("window-forgotten", 3, "a closed window is open", _replaced(Moment, "closed_window", lambda _: None)),
        ("freeze-forgotten", 2, "a freeze holds nothing", _replaced(Moment, "freezes", lambda _: ())),
        ("freeze-unheard", 2, "only who was asked hears of a freeze", _replaced(Freezing, "look", _hears_nothing)),
        ("withdrawn-counts", 21, "who took an approval back has given it", _replaced_handler(ApprovalWithdrawn)),
        ("one-approval", 7, "the first is enough", _replaced(Approval, "satisfied", lambda _, people: bool(people))),
        ("old-looks-count", 1, "looks from before the step count", _replaced(gates, "baseline", lambda _: 0.0)),
        ("inconclusive-bakes", 2, "time always adds up", _replaced(forward, "bake_counts", _bakes_whatever)),
        (
            "clock-bakes",
            167,
            "what a clock jumped ahead is bake",
            _replaced(RunTime, "passed", _everything_passed),
        ),
        ("step-skipped", 0, "one in the middle is left out", lambda: patch.dict(forward.LEGS, {Leg.BAKING: _skipping})),
        ("oldest-first", 7, "what was touched first goes back first", _oldest_first),
        ("flags-stay", 1, "a rollback leaves flags", _replaced(backward, "exposure_wanted", lambda *given: given[3])),
        ("workers-unstarted", 1, "a queue is fed without workers", _replaced(QueueStage, "compile", _fed_at_once)),
        ("workers-first", 1, "workers go before their queue is empty", _replaced(rollback._Graph, "_drain", _no_drain)),
        ("load-unbounded", 0, "as many workers as the load asks for", _replaced(scaling, "replicas", _as_the_load_is)),
        ("scaled-for-ever", 898, "what was taken back is scaled", _replaced(scaling, "_is_taken_back", _never)),
        ("edits-overwritten", 9, "nobody else changes workloads", _replaced(outcomes, "was_changed_elsewhere", _never)),
        ("one-pod-short", 0, "a version loses a pod", _replaced(VersionAction, "_wanted", _one_short)),
        ("settle-forgotten", 1, "nothing waits for exposure", _replaced(rollback._Graph, "_settle", _unsettled)),
        ("copies-stay", 0, "what a version made stays", _replaced(VersionAction, "_wanted", _copy_stays)),
        ("one-pod-doubled", 161, "a version of one pod ends with two", _replaced(workload, "_total", _two_of_one)),
        ("nothing-listed", 4, "what stays is not said", _replaced(backward, "exceptions", lambda _: ())),
        ("not-looked-first", 151, "an effect is repeated blindly", _replaced(Runner, "_perform", _never_resumed)),
        ("answers-forgotten", 287, "a command is taken twice", _replaced(Runner, "_known_answer", _forgets_answers)),
        ("events-forgotten", 4, "what was refused counts as written", _replaced(Runner, "_write", _forgets_events)),
        ("frozen-goes-on", 129, "a lapsed lease is no reason to stop", _replaced(Sharing, "may_act", _always)),
        ("never-taken-up", 2, "what a dead controller had is nobody's", _replaced(Sharing, "_find", _finds_nothing)),
        ("claims-kept", 0, "a run that ended keeps its targets", _replaced(runner_module, "Batch", _keeps_claims)),
    )
)
