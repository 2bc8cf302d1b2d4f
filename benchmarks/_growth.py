"""The picture of `python -m benchmarks scale`: what a controller costs, by how many runs it has.

    python -m benchmarks scale --json | tail -n 1 > scale.json
    python -m benchmarks._growth scale.json docs/images/growth.svg

The same result gives the same bytes.
"""

import json
import sys
from pathlib import Path
from typing import Any

PARTS = (("cores", "processors"), ("rss_mb", "memory, MB"))


def draw(result: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style: Any = {"font.size": 8, "svg.hashsalt": "growth", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
    with mpl.rc_context(style):
        figure, axes = plt.subplots(1, len(PARTS), figsize=(7.5, 3.2), layout="constrained")
        for part, (key, words) in zip(axes, PARTS, strict=True):
            _draw(part, result, key)
            part.set_title(words, loc="left", fontweight="bold")
            part.set_xlabel("active runs")
        axes[0].legend(frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=200)
        plt.close(figure)


def _draw(axes: Any, result: dict[str, Any], key: str) -> None:
    runs = [one["runs"] for one in result["by_runs"]]
    values = [one[key] for one in result["by_runs"]]
    axes.loglog(runs, values, marker="o", color="#1864ab", label="each question of five runs")
    apart = result["all_different"]
    sizes = [one["runs"] for one in apart]
    axes.loglog(sizes, [one[key] for one in apart], marker="s", color="#e8590c", label="all different")
    for name, peer in result["peers"].items():
        label = f"{name.capitalize()}, canaries"
        axes.loglog([peer["runs"]], [peer[key]], marker="^", linestyle="none", color="#868e96", label=label)
    for run, value in zip(runs, values, strict=True):
        axes.annotate(f"{value:g}", (run, value), textcoords="offset points", xytext=(0, -13), ha="center")
    axes.margins(0.15)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda *_: "")
    axes.grid(visible=True, which="major", color="#e9ecef")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
