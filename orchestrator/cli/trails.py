"""What was measured for a criterion, against its bounds: as a row of bars, and as a number."""

from typing import Any

from orchestrator.core.chart import BARS, short, spark

Json = dict[str, Any]
LONGEST_TRAIL = 16


def measured_of(one: Json) -> str:
    """The number beside the bound at which it fails."""
    evidence, bounds, value = one.get("evidence") or {}, one.get("bounds"), one.get("value")
    if evidence.get("fails_at"):
        return f"{short(evidence['against'])} against it, fails at {short(evidence['fails_at'])}  "
    if bounds and value is not None:
        return f"{value:.4g}, fails {bounds['fails']['op']} {bounds['fails']['at']:g}  "
    return ""


def trail_of(criterion: Json) -> str:
    """The newest values as bars between nothing and the bound that fails: a full one is at it or past it."""
    evidence, points = criterion.get("evidence") or {}, list(criterion.get("trail") or ())[-LONGEST_TRAIL:]
    if evidence.get("fails_at"):
        return spark(points, float(evidence["fails_at"]))
    values = [point["value"] for point in points]
    known = [float(value) for value in values if value is not None]
    if not known:
        return ""
    full, empty = _scale(criterion.get("bounds"), known)
    return "".join(" " if value is None else _bar((float(value) - empty) / (full - empty)) for value in values)


def _scale(bounds: Json | None, known: list[float]) -> tuple[float, float]:
    """Which value is a full bar and which an empty one."""
    lowest, highest = min(known), max(known)
    if bounds is None or bounds["fails"]["op"] in ("==", "!="):
        return (highest, lowest) if highest > lowest else (lowest + 1.0, lowest)
    at = float(bounds["fails"]["at"])
    if bounds["fails"]["op"] in (">", ">="):
        return (at, min(lowest, 0.0, at - abs(at))) if at or lowest < 0 else (1.0, 0.0)
    best = max(highest, float(bounds["passes"]["at"]), at)  # the lower, the worse
    return at, best if best > at else at + 1.0


def _bar(share: float) -> str:
    return BARS[min(max(int(share * len(BARS)), 0), len(BARS) - 1)]
