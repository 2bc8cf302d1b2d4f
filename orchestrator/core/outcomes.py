"""What an adapter's outcome means for a run, as events."""

from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.core.events import EffectFailed, EffectFinished, Event
from orchestrator.core.state import Outstanding
from stages.effects import SetFlag, repeatable


def outcome_events(entry: Outstanding, outcome: Outcome) -> tuple[list[Event], bool]:
    """The events that an outcome means for an outstanding effect, and whether it is to be tried again.

    A clean success or refusal is an outcome. Everything else is answered by looking: what can be repeated is tried
    again under the same id; what cannot is never tried again, and a person says what became of it.
    """
    effect = entry.effect
    match outcome.state:
        case EffectState.DONE:
            return [_finished(effect, "done", outcome)], False
        case EffectState.REFUSED:
            is_drift = isinstance(effect.operation, SetFlag) and outcome.observed is not None and effect.node is None
            state = "cancelled" if entry.void or is_drift else "refused"
            observed = None if is_drift else outcome.observed
            return [_finished(effect, state, outcome.model_copy(update={"observed": observed}))], False
        case EffectState.TEMPORARY | EffectState.UNKNOWN if entry.void:
            return [_finished(effect, "cancelled", outcome)], False
        case EffectState.UNKNOWN if not repeatable(effect.operation):
            return [_failed(effect, outcome)], False
        case EffectState.TEMPORARY | EffectState.UNKNOWN:
            known = entry.failing == outcome.detail
            temporary = outcome.model_copy(update={"state": EffectState.TEMPORARY})
            return ([] if known else [_failed(effect, temporary)]), True


def _finished(effect: Effect, state: str, outcome: Outcome) -> Event:
    return EffectFinished.model_validate(
        {
            "type": "EffectFinished",
            "effect": effect.id,
            "target": effect.target,
            "state": state,
            "detail": outcome.detail,
            "observed": outcome.observed,
        }
    )


def _failed(effect: Effect, outcome: Outcome) -> Event:
    return EffectFailed(effect=effect.id, target=effect.target, state=outcome.state, detail=outcome.detail)
