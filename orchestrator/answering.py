"""What an ask brings back: one call of an adapter, and what is known by its answer.

Other answers arrive while one waits for its own, so none is noted in the evidence that was there when it was asked:
what comes back is how evidence changes, whatever it has become.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

import structlog

from orchestrator.core import evidence as ev
from orchestrator.core.asks import Ask, CheckAsk, MeasureAsk, ObserveAsk, SuccessAsk, memory_at
from orchestrator.core.state import State
from orchestrator.errors import Permanent, RolloutError
from orchestrator.ports import CheckAnswer, Scene, World
from orchestrator.run_time import RunTime
from stages.checks import Source, Standing
from stages.criteria.base import Judgement, Measurement, MeasurementState, Verdict, Wanted
from stages.criteria.judging import judge, wanted

log = structlog.get_logger()

Change = Callable[[ev.Evidence, State], ev.Evidence]


async def answered(ask: Ask, world: World, scene: Scene, evidence: ev.Evidence, time: RunTime) -> Change:
    """Raises what the adapter raises."""
    match ask:
        case MeasureAsk():
            wall_at = ask.at - time.ahead_seconds
            asked = wanted(ask.criterion, ask.setting, memory_at(evidence, ask), ask.at)
            asked = asked.moved(round(wall_at - ask.at))
            measured = await world.measurer.measure(ask.criterion.asked, scene, wall_at, asked)
            return _measured(ask, measured, wall_at)
        case CheckAsk():
            begun = time.now()
            answer = await world.asker.ask(ask.check, scene)
            return _checked(ask, answer, begun, time.now())
        case ObserveAsk():
            asked_at = time.now()
            seen = await world.observers[ask.observation.op].observe(ask.observation, scene)
            return _seen(ask, ev.SeenAt(asked_at, seen.value, seen.exists, seen.changed_by))
        case SuccessAsk():
            at = ask.at - time.ahead_seconds
            asked = Wanted(history=(ask.window,) if ask.window is not None else ()).moved(round(at - ask.at))
            return _succeeded(ask, await world.measurer.measure(_source_of(ask), scene, at, asked))
        case _:
            assert_never(ask)


def unanswered(ask: Ask, error: RolloutError, now: float) -> Change:
    match ask:
        case ObserveAsk():
            return _seen(ask, ev.SeenAt(now, failure=str(error), permanent=isinstance(error, Permanent)))
        case CheckAsk():
            unknown = Standing.UNKNOWN
            return lambda evidence, _: ev.note_asked(evidence, ask.key, unknown, str(error), now, ask.since)
        case MeasureAsk():
            return _measured(ask, Measurement(MeasurementState.ERROR, ask.at, detail=str(error)), ask.at)
        case SuccessAsk():
            return _succeeded(ask, Measurement(MeasurementState.ERROR, now, detail=str(error)))
        case _:
            assert_never(ask)


def _measured(ask: MeasureAsk, measured: Measurement, wall_at: float) -> Change:
    """A server may have answered as of a moment earlier than it was asked for (*wall_at* on its clock): its window
    reaches back by that more."""
    earlier = max(wall_at - measured.at, 0.0)
    measured = replace(measured, at=ask.at, lookback_seconds=measured.lookback_seconds + earlier)

    def change(evidence: ev.Evidence, _: State) -> ev.Evidence:
        memory = memory_at(evidence, ask)
        try:
            judgement = judge(ask.criterion, measured, memory, ask.setting)
        except Exception as error:  # a bug of ours, which must hold the run and not end it
            log.exception("look.crashed", look=ask.key)
            words = f"{ask.criterion.name} could not be judged: {type(error).__name__}: {error}"
            judgement = Judgement(Verdict.INCONCLUSIVE, words, memory)
        return ev.note_look(evidence, ask.key, measured, judgement)

    return change


def _checked(ask: CheckAsk, answer: CheckAnswer, begun: float, at: float) -> Change:
    """A no to what was asked before a person resumed says nothing of what that person mended: it is asked anew."""

    def change(evidence: ev.Evidence, state: State) -> ev.Evidence:
        if begun < state.reask_after and answer.standing is not Standing.YES:
            return evidence
        return ev.note_asked(evidence, ask.key, answer.standing, answer.detail, at, ask.since)

    return change


def _seen(ask: ObserveAsk, seen: ev.SeenAt) -> Change:
    return lambda evidence, _: ev.note_seen(evidence, ask.target, seen)


def _succeeded(ask: SuccessAsk, measured: Measurement) -> Change:
    return lambda evidence, _: ev.note_measured(evidence, ask.key, measured)


def _source_of(ask: SuccessAsk) -> Source:
    fields = ("query", "sql", "command", "http", "database", "source")
    given = {name: getattr(ask.criterion, name) for name in fields if getattr(ask.criterion, name) is not None}
    return Source.model_validate(given)
