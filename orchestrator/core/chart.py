"""How the evidence of a test grew against its bounds, drawn: as SVG for pages and reports, as a line for terminals; and
what was measured before a change and after it.

The axis is logarithmic, as evidence is: 1 is none, ``fails_at`` rolls back. Evidence against the release is the line
that must stay low, evidence that it is not worse by half the one that may rise.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

Json = Mapping[str, Any]

WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 66, 150, 10, 24  # room for words around the plot
ROW = 26
LOWEST = 0.01
AGAINST, EXCLUDED = "#c0392b", "#2a78c2"
BARS = "▁▂▃▄▅▆▇█"
LONGEST_SPARK = 24


@dataclass(frozen=True, slots=True)
class _Frame:
    """From evidence and time to places on the picture."""

    first_at: float
    last_at: float
    highest: float

    def x(self, at: float) -> float:
        span = max(self.last_at - self.first_at, 1.0)
        return LEFT + (at - self.first_at) / span * (WIDTH - LEFT - RIGHT)

    def y(self, evidence: float) -> float:
        share = math.log(_clipped(evidence, self.highest) / LOWEST) / math.log(self.highest / LOWEST)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def evidence_svg(name: str, trail: Sequence[Json], evidence: Json) -> str:
    """*trail*: points ``{at: ISO time, against, excluded}``, *evidence*: the bounds, as the status has them. Empty if
    there is nothing to draw yet."""
    dated = [(datetime.fromisoformat(str(point["at"])).timestamp(), point) for point in trail]
    drawn = [(at, point) for at, point in dated if point.get("against") is not None]
    if len(drawn) < 2:
        return ""
    fails_at = float(evidence.get("fails_at") or 100.0)
    frame = _Frame(drawn[0][0], drawn[-1][0], 3 * fails_at)
    first, last = (str(point["at"]).replace("T", " ")[11:16] for point in (drawn[0][1], drawn[-1][1]))
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-size="11" '
        f'font-family="system-ui, sans-serif" fill="currentColor"><title>{escape(_title(name, evidence))}</title>'
        + "".join(_bounds(frame, fails_at, float(evidence.get("holds_at") or 20.0)))
        + _line(frame, [(at, point.get("excluded")) for at, point in drawn], EXCLUDED)
        + _line(frame, [(at, point["against"]) for at, point in drawn], AGAINST)
        + "".join(_ends(frame, drawn[-1][1]))
        + f'<text x="{LEFT}" y="{HEIGHT - 8}">{first}</text>'
        + f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{last} UTC</text></svg>'
    )


def _title(name: str, evidence: Json) -> str:
    against, holds, fails, excluded = (
        short(evidence.get(one)) for one in ("against", "holds_at", "fails_at", "excluded")
    )
    return (
        f"{name}: evidence against the release {against}, holds at {holds}, fails at {fails}; "
        f"evidence that it is not worse by half {excluded}"
    )


def _bounds(frame: _Frame, fails_at: float, holds_at: float) -> Iterator[str]:
    bounds = ((fails_at, "fails", AGAINST), (holds_at, "holds", "#b9770e"), (1.0, "none", "#888888"))
    for value, words, colour in bounds:
        y = frame.y(value)
        yield (
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" '
            f'stroke-dasharray="4 3"/><text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{words} {short(value)}</text>"
        )


def _ends(frame: _Frame, point: Json) -> Iterator[str]:
    """What the lines are, beside their ends, and not over each other."""
    ends = [("against it", point["against"], AGAINST), ("not half worse", point.get("excluded"), EXCLUDED)]
    places = sorted((frame.y(value), words, value, colour) for words, value, colour in ends if value is not None)
    lowest = -math.inf
    for y, words, value, colour in places:
        lowest = max(y, lowest + 13)
        yield f'<text x="{WIDTH - RIGHT + 6}" y="{lowest + 4:.1f}" fill="{colour}">{words} {short(value)}</text>'


def _line(frame: _Frame, points: Sequence[tuple[float, float | None]], colour: str) -> str:
    places = " ".join(f"{frame.x(at):.1f},{frame.y(value):.1f}" for at, value in points if value is not None)
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>' if places else ""


def _clipped(evidence: float, highest: float) -> float:
    return min(max(evidence, LOWEST), highest)


def levels_svg(name: str, before: Json, after: Json) -> str:
    """Two means of ``{value, low, high}``, one below the other, each with the interval in which it lies 19 times of 20.
    Empty if one of these is not known."""
    known = [one.get(end) for one in (before, after) for end in ("low", "high")]
    ends = [float(end) for end in known if end is not None]
    if len(ends) < len(known):
        return ""
    lowest, highest = min(ends), max(ends)
    span = (highest - lowest) or abs(highest) or 1.0
    height = TOP + 2 * ROW + BOTTOM

    def x(value: float) -> float:
        return LEFT + (value - lowest) / span * (WIDTH - LEFT - RIGHT)

    rows = []
    for number, (words, level, colour) in enumerate((("before", before, "#888888"), ("after", after, EXCLUDED))):
        y = TOP + (number + 0.5) * ROW
        rows.append(
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{words}</text><line x1="{x(level["low"]):.1f}" '
            f'x2="{x(level["high"]):.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="3"/><circle '
            f'cx="{x(level["value"]):.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
            f'<text x="{WIDTH - RIGHT + 12}" y="{y + 4:.1f}">{level["value"]:.3g}</text>'
        )
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-size="11" '
        f'font-family="system-ui, sans-serif" fill="currentColor"><title>{escape(name)}: before and after</title>'
        f'{"".join(rows)}<text x="{LEFT}" y="{height - 8}">{lowest:.3g}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{height - 8}" text-anchor="end">{highest:.3g}</text></svg>'
    )


def short(value: Any) -> str:
    """Three digits at most, for people: 0.02, 3.1, 1,200."""
    if not isinstance(value, int | float):
        return "-"
    if value >= 1e6:
        return "over 1 M"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def spark(trail: Sequence[Json], fails_at: float) -> str:
    """The evidence against the release as a row of bars, a full one where it fails."""
    values = [float(point["against"]) for point in trail if point.get("against") is not None]
    chosen = values[-LONGEST_SPARK:] if len(values) <= LONGEST_SPARK else _spread(values)
    top = math.log(fails_at / LOWEST)
    bars = (math.log(_clipped(value, fails_at) / LOWEST) / top for value in chosen)
    return "".join(BARS[min(int(share * len(BARS)), len(BARS) - 1)] for share in bars)


def _spread(values: Sequence[float]) -> list[float]:
    """As many as fit, evenly, the newest among them."""
    step = (len(values) - 1) / (LONGEST_SPARK - 1)
    return [values[round(index * step)] for index in range(LONGEST_SPARK)]
