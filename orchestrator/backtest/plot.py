"""What looks would have measured, over time, with bounds, holds and failures: one picture, a row for each criterion."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.backtest.replay import Hold, Replayed
from orchestrator.backtest.results import CriterionResult, GateResult, Result, merged
from orchestrator.errors import RolloutError
from stages.criteria import Change, Compare, Latency, Ratio, Slo, Threshold
from stages.criteria.counted import LOG_HOLD
from stages.values import Bound

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 40
MOST_POINTS = 1600  # of a line: more than a screen has columns
ROW_INCHES, WIDTH_INCHES, HEAD_INCHES = 2.4, 13.0, 1.1
GOOD, BAD, UNSURE, LINE, PROPOSED, UNKNOWN = "#2e7d32", "#c0392b", "#e8a33d", "#2a5d9f", "#8e44ad", "#9aa0a6"
LOWEST_EVIDENCE, HIGHEST_EVIDENCE = 0.01, 1e9
SLO_FAILS, SLO_HOLDS = 14.4, 6.0
DATES = ("%Y", "%b %Y", "%b %d", "%H:%M", "%H:%M", "%H:%M:%S")
MIDNIGHTS = ("", "%Y", "%b %Y", "%b %d", "%H:%M", "%H:%M")
LABEL_HEIGHT = 0.11  # of a row
WIDE = 20.0  # times the usual value: an axis that is even would show nothing else

Numbers = NDArray[np.float64]


class NoMatplotlib(RolloutError):
    """A plot needs matplotlib, which is not installed here; pip install 'staged-rollout[backtest]' brings it."""


@dataclass(frozen=True, slots=True)
class _Row:
    gate: GateResult
    result: CriterionResult

    @property
    def is_quiet(self) -> bool:
        return all(one.quiet for one in self.result.known)

    @property
    def is_compared(self) -> bool:
        return isinstance(self.result.bench.criterion, Compare | Latency)

    def drawn(self, one: Replayed) -> tuple[Sequence[float], Sequence[float]]:
        """Times and what is drawn at them. Of a comparison that is its evidence: ratios of few events say little."""
        if not self.is_compared:
            return one.times, one.values
        logs = np.clip(np.array(one.log_evidence), math.log(LOWEST_EVIDENCE), math.log(HIGHEST_EVIDENCE))
        return one.at[: len(logs)], np.exp(logs).tolist()


@dataclass(frozen=True, slots=True)
class _Line:
    """A bound. *words* stand at its end."""

    value: float
    words: str
    colour: str


def require_matplotlib() -> None:
    """Raises ``NoMatplotlib``; to be asked before the work is done that is to be drawn."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise NoMatplotlib


def svg(result: Result) -> str:
    """The picture as a document of its own. Raises ``NoMatplotlib``."""
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    rows = [_Row(gate, one) for gate in result.gates for one in gate.criteria]
    shown = rows if len(rows) <= MOST_ROWS else sorted(rows, key=lambda row: row.is_quiet)[:MOST_ROWS]
    height = HEAD_INCHES + ROW_INCHES * max(len(shown), 1)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "backtest", "font.size": 9, "font.family": "sans-serif"}):
        figure = Figure(figsize=(WIDTH_INCHES, height))
        FigureCanvasSVG(figure)
        figure.suptitle(_title(result, len(shown), len(rows)), x=0.06, ha="left", y=1 - 0.2 / height, fontsize=11)
        axes = figure.subplots(max(len(shown), 1), 1, squeeze=False)[:, 0]
        for place, row in zip(axes, shown, strict=False):
            _draw(place, row, result)
        figure.legend(
            handles=_legend(), loc="upper left", bbox_to_anchor=(0.055, 1 - 0.4 / height), ncols=7, frameon=False
        )
        figure.subplots_adjust(left=0.06, right=0.87, top=1 - HEAD_INCHES / height, bottom=0.45 / height, hspace=0.55)
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Title": _title(result, len(shown), len(rows))})
    return text.getvalue()


def _title(result: Result, shown: int, rows: int) -> str:
    begin, end = (_text(at) for at in (result.begin, result.end))
    some = "" if shown == rows else f" ({shown} of {rows} criteria, those first that were not quiet)"
    return f"Backtest of {result.plan} in {result.environment}, {begin} to {end} UTC{some}"


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Line2D([], [], color=LINE, label="measured"),
        Line2D([], [], color=BAD, linestyle="--", label="fails beyond"),
        Line2D([], [], color=GOOD, linestyle="--", label="target"),
        Line2D([], [], color=PROPOSED, linestyle=":", label="would have been quiet"),
        Line2D([], [], color=BAD, marker="X", linestyle="", markersize=8, label="a release failed"),
        Patch(color=UNSURE, alpha=0.35, label="held"),
        Patch(color=UNKNOWN, alpha=0.35, label="not measurable"),
    ]


def _draw(axes: "Axes", row: _Row, result: Result) -> None:
    from matplotlib import dates

    replays = row.result.replays
    times, values = _points(row)
    lines = list(_bounds(row))
    axes.set_title(_heading(row), loc="left", fontsize=9.5)
    axes.set_xlim(_day(result.begin), _day(result.end))
    named: Any = dates  # which has no types
    locator = named.AutoDateLocator(tz=UTC, minticks=6, maxticks=14)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        named.ConciseDateFormatter(locator, tz=UTC, formats=DATES, zero_formats=MIDNIGHTS, show_offset=False)
    )
    axes.text(1.006, 0.0, "UTC", transform=axes.transAxes, va="top", fontsize=8)
    axes.grid(axis="both", color="#e4e6e8", linewidth=0.6)
    axes.set_axisbelow(True)
    lasts_seconds = row.gate.schedule.course.lasts_seconds
    unknown = [Hold(one.begin, one.begin + lasts_seconds, "") for one in replays if not one.measurable]
    for spans, colour in ((unknown, UNKNOWN), ([hold for one in replays for hold in one.holds], UNSURE)):
        for span in merged(spans):
            axes.axvspan(_day(span.begin), _day(span.end), color=colour, alpha=0.35, linewidth=0)
    axes.plot(times / 86400.0, values, color=LINE, linewidth=0.9)
    if row.is_compared:
        _scale_evidence(axes, lines)
    else:
        _scale(axes, values[np.isfinite(values)], lines, _in_per_cent(row))
    for line in lines:
        axes.axhline(line.value, color=line.colour, linestyle=":" if line.colour == PROPOSED else "--", linewidth=1.2)
    _label(axes, lines)
    _mark_failures(axes, row)
    if not len(times):
        axes.text(0.5, 0.5, "nothing was measured", transform=axes.transAxes, ha="center", va="center", color=UNKNOWN)


def _heading(row: _Row) -> str:
    course, known = row.gate.schedule.course, row.result.known
    failed = sum(1 for one in known if one.failed_at is not None)
    held = sum(1 for one in known if one.holds)
    drawn = "; drawn is the evidence that the canary is worse" if row.is_compared else ""
    counts = f"{failed} failed and {held} held, of {len(known)} releases{drawn}"
    return f"{course.name}, {course.where}: {row.result.name}: {counts}"


def _points(row: _Row) -> tuple[Numbers, Numbers]:
    """In the order of time, with a NaN wherever looks had no value; of many, the lowest and highest of each stretch."""
    drawn = [row.drawn(one) for one in row.result.replays]
    found = [np.array([times, values]) for times, values in drawn if len(times)]
    if not found:
        return np.zeros(0), np.zeros(0)
    times, values = np.concatenate(found, axis=1)
    order = np.argsort(times, kind="stable")
    times, values = _thinned(times[order], values[order])
    apart_seconds = 3 * max(row.gate.schedule.course.gate.every, (times[-1] - times[0]) / max(len(times), 1))
    gaps = np.flatnonzero(np.diff(times) > apart_seconds) + 1
    return np.insert(times, gaps, times[gaps - 1]), np.insert(values, gaps, np.nan)


def _thinned(times: Numbers, values: Numbers) -> tuple[Numbers, Numbers]:
    if len(times) <= MOST_POINTS:
        return times, values
    pieces = np.array_split(np.arange(len(times)), MOST_POINTS // 2)
    chosen = [sorted((piece[values[piece].argmin()], piece[values[piece].argmax()])) for piece in pieces]
    places = np.unique(np.array(chosen).ravel())
    return times[places], values[places]


def _bounds(row: _Row) -> Iterator[_Line]:
    criterion = row.result.bench.criterion
    match criterion:
        case Threshold():
            if criterion.fail is not None:
                yield _Line(criterion.fail.number, f"fail {criterion.fail}", BAD)
            if criterion.pass_ is not None:
                yield _Line(criterion.pass_.number, f"pass {criterion.pass_}", GOOD if criterion.fail else BAD)
        case Ratio():
            yield _Line(criterion.ratio.at_most, f"at_most {criterion.ratio.at_most * 100:g}%", BAD)
        case Compare() | Latency():
            fails_at = 1 / row.result.bench.alpha
            yield _Line(fails_at, f"fails at {fails_at:,.0f} to 1", BAD)
            yield _Line(math.exp(LOG_HOLD), f"holds at {math.exp(LOG_HOLD):.0f} to 1", UNSURE)
        case Change():
            yield _Line(
                1 + criterion.change.max_increase, f"max_increase {criterion.change.max_increase * 100:g}%", BAD
            )
        case Slo():
            yield _Line(SLO_FAILS, f"fails at {SLO_FAILS:g}x", BAD)
            yield _Line(SLO_HOLDS, f"holds at {SLO_HOLDS:g}x", UNSURE)
    for proposal in row.result.proposals[:1]:
        yield from () if row.is_compared else _proposed(proposal.change)


def _proposed(change: Any) -> Iterator[_Line]:
    for name, text in change.items():
        if name in ("fail", "pass"):
            yield _Line(Bound.model_validate(text).number, f"{name} {text}", PROPOSED)
        elif name in ("at_most", "max_increase"):
            share = float(text.removesuffix("%")) / 100
            yield _Line(share + (name == "max_increase"), f"{name} {text}", PROPOSED)


def _in_per_cent(row: _Row) -> bool:
    criterion = row.result.bench.criterion
    if isinstance(criterion, Threshold):
        return any(bound is not None and bound.text.endswith("%") for bound in (criterion.fail, criterion.pass_))
    return isinstance(criterion, Ratio)


def _scale_evidence(axes: "Axes", lines: Sequence[_Line]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_yscale("log")
    axes.set_ylim(LOWEST_EVIDENCE, 3 * max(line.value for line in lines))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _scale(axes: "Axes", values: Numbers, lines: Sequence[_Line], in_per_cent: bool) -> None:
    from matplotlib.ticker import FuncFormatter

    places = np.concatenate([values, [line.value for line in lines]])
    if not len(places):
        return
    lowest, highest = float(places.min()), float(places.max())
    usual = float(np.median(values)) if len(values) else 0.0
    smallest = min([usual, *(line.value for line in lines)])
    room = 0.08 * (highest - lowest or abs(highest) or 1.0)
    bottom, named_from = (0.0 if 0 <= lowest < 0.5 * highest else lowest - room), 0.0
    if lowest >= 0 and 0 < smallest < highest / WIDE:
        axes.set_yscale("symlog", linthresh=smallest)
        highest, named_from = 2 * highest, smallest / 2  # below that ticks would stand in each other's way
    axes.set_ylim(bottom, highest + room)
    factor, unit = (100, "%") if in_per_cent else (1, "")

    def shown(value: float, _: object) -> str:
        return "" if 0 < value < named_from else f"{value * factor:.3g}{unit}"

    axes.yaxis.set_major_formatter(FuncFormatter(shown))


def _label(axes: "Axes", lines: Sequence[_Line]) -> None:
    """Words beside the ends of the lines, and not over each other."""
    to_axes = axes.transData + axes.transAxes.inverted()
    lowest = -1.0
    for place, line in sorted(((float(to_axes.transform((0, one.value))[1]), one) for one in lines), key=_place):
        lowest = max(place, lowest + LABEL_HEIGHT)
        axes.text(1.006, lowest, line.words, transform=axes.transAxes, color=line.colour, va="center", fontsize=8)


def _place(pair: tuple[float, _Line]) -> float:
    return pair[0]


def _mark_failures(axes: "Axes", row: _Row) -> None:
    """At what was measured then; what fails without a value, at the top."""
    top = axes.get_ylim()[1]
    for one in row.result.replays:
        if one.failed_at is None:
            continue
        measured = dict(zip(*row.drawn(one), strict=True))
        axes.axvline(_day(one.failed_at), color=BAD, linewidth=0.7, alpha=0.6)
        axes.plot(
            [_day(one.failed_at)], [measured.get(one.failed_at, top)], color=BAD, marker="X", markersize=8, zorder=5
        )


def _day(at: float) -> float:
    """As matplotlib has times: days since the epoch."""
    return at / 86400.0


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
