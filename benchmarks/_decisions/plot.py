"""The picture of `python -m benchmarks decisions`: how often healthy releases are rolled back, how soon bad ones are.

    python -m benchmarks decisions --full --json | tail -n 1 > result.json
    python -m benchmarks._decisions.plot result.json docs/images/decisions.svg

Two grids share their columns, the rules: what share of healthy releases each rolls back, and how many minutes it takes
where the release is worse. It shows the numbers of one result, and the same result gives the same bytes.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHOWN = (
    "ours",
    "ours_by_flag",
    "argo_documented",
    "argo_tuned",
    "argo_fast",
    "flagger_documented",
    "flagger_tuned",
    "kayenta_60",
    "kayenta_5",
    "kayenta_tuned",
    "growthbook",
    "growthbook_tuned",
    "statsig_tuned",
    "eppo_tuned",
    "z_each_look",
    "z_once",
)
_WIDTH_INCHES, _ROW_INCHES = 9.0, 0.2
_NEVER = 1e9
_UNKNOWN = -1.0
_OURS_COLUMNS = 2
_COLOURS = ("#e6f4ea", "#fff3bf", "#ffd8a8", "#ffa8a8", "#f06595")
_SHARE_BOUNDS = (-2.0, 0.010001, 0.05, 0.2, 0.6, 1.0001)
_MINUTE_BOUNDS = (0.0, 3.0, 7.0, 15.0, 30.0, 2 * _NEVER)
_FACTORS = {
    "1.5 times": "1.5",
    "2 times": "2",
    "3 times": "3",
    "10 times": "10",
    "2 times, from minute 40": "2 from minute 40",
    "2 times, in bursts of 3": "2 in bursts of 3",
}


@dataclass(frozen=True, slots=True)
class _Grid:
    """*values*: rows of one number a rule; *shown*: how a number is written."""

    title: str
    rows: Sequence[str]
    values: Sequence[Sequence[float]]
    bounds: Sequence[float]
    shown: Callable[[float], str]


def draw(result: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style: Any = {"font.size": 7.5, "svg.hashsalt": "decisions", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
    grids = _shares(result), _minutes(result)
    heights = [len(grid.rows) * _ROW_INCHES for grid in grids]
    with mpl.rc_context(style):
        size = (_WIDTH_INCHES, sum(heights) + 1.15)
        figure, axes = plt.subplots(2, 1, figsize=size, height_ratios=heights, layout="constrained")
        for which, (part, grid) in enumerate(zip(axes, grids, strict=True)):
            _draw(part, grid, [_in_lines(result["rules"][rule]) for rule in SHOWN] if which == 0 else [])
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=200)
        plt.close(figure)


def _shares(result: dict[str, Any]) -> _Grid:
    rows = dict(result["healthy"])
    for row in ("the same few", "few, each for 12 h"):
        rows[f"errors of keys: {row}"] = {rule: found["healthy"] for rule, found in result["clustered"][row].items()}
    rows["six metrics, five steps"] = result["multiple"]
    if "healthy" in result["real"]:
        rows["real swings of level"] = result["real"]["healthy"]
    return _Grid(
        f"Healthy releases that are rolled back within the hour, % of {result['traces']:,} a row"
        f" (errors of keys: {result['traces_clustered']:,})",
        list(rows),
        [[_or(_UNKNOWN, shares.get(rule)) for rule in SHOWN] for shares in rows.values()],
        _SHARE_BOUNDS,
        _percent,
    )


def _minutes(result: dict[str, Any]) -> _Grid:
    found = result["minutes_to_fail"]
    minutes = [[_or(_NEVER, found[name].get(rule)) for rule in SHOWN] for name in _FACTORS.values()]
    return _Grid(
        "Worse releases: minutes until half of them are rolled back (–: less than half within the hour)",
        list(_FACTORS),
        minutes,
        _MINUTE_BOUNDS,
        lambda one: "–" if one == _NEVER else f"{one:.1f}" if one < 9.95 else f"{one:.0f}",
    )


def _draw(axes: Any, grid: _Grid, columns: Sequence[str]) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    axes.imshow(
        grid.values, cmap=ListedColormap(_COLOURS), norm=BoundaryNorm(grid.bounds, len(_COLOURS)), aspect="auto"
    )
    for row, values in enumerate(grid.values):
        for column, value in enumerate(values):
            weight = "bold" if column < _OURS_COLUMNS else "normal"
            axes.text(column, row, grid.shown(value), ha="center", va="center", fontweight=weight)
    axes.set_xticks(range(len(columns)), columns, fontsize=6.4)
    axes.xaxis.tick_top()
    for label in axes.get_xticklabels()[:_OURS_COLUMNS]:
        label.set_fontweight("bold")
    axes.set_yticks(range(len(grid.rows)), grid.rows)
    axes.tick_params(length=0, pad=2)
    for line in range(1, len(SHOWN)):
        axes.axvline(line - 0.5, color="white", linewidth=4 if line == _OURS_COLUMNS else 0.8)
    for line in range(1, len(grid.rows)):
        axes.axhline(line - 0.5, color="white", linewidth=0.8)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(grid.title, loc="left", fontweight="bold", fontsize=9)


def _in_lines(said: str) -> str:
    return said.replace(", ", "\n").replace("documented", "as docs").replace("GrowthBook", "Growth-\nBook")


def _or(usual: float, value: float | None) -> float:
    return usual if value is None else value


def _percent(share: float) -> str:
    if share == _UNKNOWN:
        return ""
    if share == 0:
        return "0"
    return f"{100 * share:.1f}" if share < 0.0995 else f"{100 * share:.0f}"


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
