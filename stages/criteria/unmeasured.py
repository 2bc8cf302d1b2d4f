"""A look without a value: what every kind makes of it. It never passes, and fails only where the plan says so."""

from dataclasses import replace

from stages.criteria.base import MISSED_LOOKS_ALLOWED, Criterion, Judgement, Measurement, Memory, Verdict
from stages.values import format_duration


def judge_unmeasured(criterion: Criterion, sentence: str, unanswered: bool, at: float, memory: Memory) -> Judgement:
    """Inconclusive, but for ``on_missing``. A pending ``for`` survives a few looks without a value.

    *unanswered*: missing, stale or an error, which counts as missing; else it was answered, and there is nothing to
    judge (0/0, no events).
    """
    missed = memory.missed_looks + 1 if memory.failing_since is not None else 0
    survives = missed <= MISSED_LOOKS_ALLOWED
    kept = replace(
        memory,
        failing_since=memory.failing_since if survives else None,
        missed_looks=missed if survives else 0,
        missing_since=span_since(memory.missing_since, at) if unanswered else None,
    )
    if kept.missing_since is None or isinstance(criterion.on_missing, str):
        return Judgement(Verdict.INCONCLUSIVE, sentence, kept)
    gone = at - kept.missing_since
    if gone < criterion.on_missing.rollback_after:
        return Judgement(Verdict.INCONCLUSIVE, sentence, kept)
    told = f"{sentence}, for {format_duration(round(gone))}; the plan rolls back on that"
    return Judgement(Verdict.FAIL, told, kept)


def span_since(before: float | None, at: float) -> float:
    """The begin of a span that still lasts. A clock that was set back starts it anew rather than stretch it."""
    return at if before is None or before > at else before


def because(measurement: Measurement) -> str:
    return f": {measurement.detail}" if measurement.detail else ""
