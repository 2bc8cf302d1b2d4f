"""What an adapter's outcome means for a run, as events."""

from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.core.events import EffectFailed, EffectFinished, Event
from orchestrator.core.state import Outstanding
from stages.cluster import FIELD_MANAGER
from stages.effects import WATCHED, TargetKind, repeatable


def outcome_events(
    entry: Outstanding, outcome: Outcome, *, forward: bool, resumed: bool = False
) -> tuple[list[Event], bool]:
    """The events that an outcome means for an outstanding effect, and whether it is to be tried again. *forward*: the
    run is on its way forward, where somebody else's change is noted, holds, and is decided. *resumed*: an earlier life
    of the controller may have tried it too.

    A clean success or refusal is an outcome. Everything else is answered by looking: what can be repeated is tried
    again under the same id; what cannot is never tried again, and a person says what became of it.
    """
    effect = entry.effect
    match outcome.state:
        case EffectState.DONE:
            return [_finished(effect, "done", outcome)], False
        case EffectState.REFUSED:
            if not was_changed_elsewhere(effect, outcome):
                if entry.void:
                    return [_finished(effect, "cancelled", outcome)], False
                at_once = not resumed and entry.failing_since is None
                return [_finished(effect, "refused", outcome, at_once=at_once)], False
            is_decided_anew = forward and effect.node is None and not entry.void  # else the way back asks
            state = "cancelled" if is_decided_anew else "refused"
            return [_finished(effect, state, outcome.model_copy(update={"observed": None}))], False
        case EffectState.TEMPORARY | EffectState.UNKNOWN if entry.void:
            return [_finished(effect, "cancelled", outcome)], False
        case EffectState.UNKNOWN if not repeatable(effect.operation):
            return [_failed(effect, outcome)], False
        case EffectState.TEMPORARY | EffectState.UNKNOWN:
            known = entry.failing == outcome.detail
            temporary = outcome.model_copy(update={"state": EffectState.TEMPORARY})
            return ([] if known else [_failed(effect, temporary)]), True


def was_changed_elsewhere(effect: Effect, outcome: Outcome) -> bool:
    """Whether a refusal says that somebody else changed the target, and how it stands.

    A workload that was changed by the effect itself, and did not become ready, is refused as it stands.
    """
    if outcome.state is not EffectState.REFUSED or outcome.observed is None:
        return False
    is_flag = effect.target_kind is TargetKind.FLAG
    return is_flag or (effect.target_kind in WATCHED and outcome.changed_by is not None)


def _finished(effect: Effect, state: str, outcome: Outcome, *, at_once: bool = False) -> Event:
    return EffectFinished.model_validate(
        {
            "type": "EffectFinished",
            "effect": effect.id,
            "target": effect.target,
            "state": state,
            "detail": outcome.detail,
            "observed": outcome.observed,
            "changed_by": _somebody_else(outcome.changed_by),
            "at_once": at_once,
        }
    )


def _somebody_else(changed_by: str | None) -> str | None:
    """A write of an earlier life, or of the run before this one, may arrive late; that is nobody else's doing."""
    return None if changed_by == FIELD_MANAGER else changed_by


def _failed(effect: Effect, outcome: Outcome) -> Event:
    return EffectFailed(effect=effect.id, target=effect.target, state=outcome.state, detail=outcome.detail)
