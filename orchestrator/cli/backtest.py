"""`rollout backtest`: a plan's gates over the past of its own Prometheus."""

import asyncio
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.client import Json
from orchestrator.cli.output import clock, duration, note, printable, show, table
from orchestrator.cli.plans import load, warn
from orchestrator.errors import RolloutError, UsageError

if TYPE_CHECKING:
    from orchestrator.backtest import Result
    from stages.load import LoadedPlan

LINE_EVERY_SECONDS = 5.0
BAR_EVERY_SECONDS = 0.2
BAR_WIDTH = 24
MOST_SHOWN = 5  # failures of a gate in the table; JSON has more
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:.5rem 0 1rem}th,td{text-align:left;padding:.2rem .8rem .2rem 0;"
    "border-bottom:1px solid #ddd;vertical-align:top}td.n{text-align:right}svg{max-width:100%;height:auto}"
)


def backtest(arguments: Namespace) -> int:
    """0 whatever the past says: gates that fail on nothing are what one wants to know of."""
    seconds = _seconds(arguments.last)
    plot = _plot_file(arguments.plot) if arguments.plot is not None else None
    plan = load(arguments.plan, arguments.settings)
    warn(plan)
    directory = str(Path(arguments.plan).absolute().parent)
    progress = _Progress()
    try:
        result = asyncio.run(_replayed(arguments, plan, directory, seconds, progress))
    finally:
        progress.close()
    picture = _picture(result, must=plot is not None) if plot is not None or arguments.output == "html" else ""
    if plot is not None:
        _write(plot, picture)
    if arguments.output == "html":
        print(_as_html(result.to_json(), picture))
    else:
        show(result.to_json(), arguments.output, _as_text)
    return 0


def _seconds(text: str) -> float:
    from stages.values import parse_duration

    try:
        seconds: float = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--last: {error}") from None
    if seconds < 60:
        raise UsageError(f"--last {text} is too short to replay anything; 7d is usual")
    return seconds


def _plot_file(text: str) -> Path:
    """Where it goes, looked at before the work begins."""
    from orchestrator.backtest.plot import require_matplotlib

    path = Path(text)
    if path.suffix.lower() != ".svg":
        raise UsageError(f"--plot writes SVG, so the file's name ends in .svg, which {text} does not")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--plot {text}: there is no folder {path.absolute().parent}")
    require_matplotlib()
    return path


async def _replayed(
    arguments: Namespace, plan: "LoadedPlan", directory: str, seconds: float, progress: "_Progress"
) -> "Result":
    from orchestrator.app import Replay, backtest_plan

    asked = Replay(seconds, arguments.environment, arguments.gate, progress.tell, progress.say)
    return await backtest_plan(plan, directory, asked)


def _picture(result: "Result", *, must: bool) -> str:
    from orchestrator.backtest.plot import NoMatplotlib, svg

    try:
        return svg(result)
    except NoMatplotlib as error:
        if must:
            raise
        note(f"the page has no picture: {error}")
        return ""


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise RolloutError(f"the plot can't be written to {path}: {(error.strerror or str(error)).lower()}") from None
    note(f"the plot is in {path}")


# --- progress ---------------------------------------------------------------------------------------------------------


class _Progress:
    """On standard error: a bar on a terminal, else a line every few seconds."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._shown_at = self._began_at = time.monotonic()
        self._has_bar = False

    def tell(self, done: int, total: int, words: str) -> None:
        now = time.monotonic()
        if now - self._shown_at < (BAR_EVERY_SECONDS if self._is_terminal else LINE_EVERY_SECONDS):
            return
        self._shown_at = now
        if not self._is_terminal:
            note(f"{done:,} of {total:,} replays after {duration(now - self._began_at)}; {printable(words)}")
            return
        full = BAR_WIDTH * done // max(total, 1)
        bar = "█" * full + "░" * (BAR_WIDTH - full)
        sys.stderr.write(f"\r\x1b[K{bar} {done:,} of {total:,}  {printable(words)[:70]}")
        sys.stderr.flush()
        self._has_bar = True

    def say(self, words: str) -> None:
        """What a person should know while it happens."""
        self.close()
        note(printable(words))

    def close(self) -> None:
        if self._has_bar:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._has_bar = False


# --- for people -------------------------------------------------------------------------------------------------------


def _as_text(found: Json) -> str:
    span = f"{clock(found['from'])} to {clock(found['to'])} UTC"
    lines = [f"backtest of {printable(found['plan'])} in {printable(found['environment'])}, {span}"]
    for gate in found["gates"]:
        lines += ["", printable(_gate_line(gate)), "  " + _table_of(gate).replace("\n", "\n  ")]
        lines += [f"  {line}" for line in _below(gate)]
    return "\n".join(lines)


def _gate_line(gate: Json) -> str:
    flag = f" ({gate['flag']})" if gate["flag"] else ""
    often = (
        f"one every {duration(gate['spacing_seconds'])}, so they overlap" if gate["overlap"] else "one after the other"
    )
    held = f"{gate['held']} held" + (f" ({duration(gate['longest_hold_seconds'])} at most)" if gate["held"] else "")
    unknown = f", {gate['not_measurable']} could not be replayed" if gate["not_measurable"] else ""
    return (
        f"gate {gate['gate']}, {gate['where']}{flag}: of {gate['replayed']} releases of "
        f"{duration(gate['release_seconds'])}, {often}, {gate['failed']} failed and {held}{unknown}"
    )


def _table_of(gate: Json) -> str:
    rows = [
        (
            one["name"],
            one["kind"],
            one["replayed"],
            one["failed"],
            one["held"],
            duration(one["longest_hold_seconds"]) if one["held"] else "-",
            one["gaps"] or "-",
            one["not_measurable"] or "-",
            _values(one["values"]),
        )
        for one in gate["criteria"]
    ]
    heads = ("criterion", "kind", "replayed", "failed", "held", "longest hold", "gaps", "not measurable", "values")
    return table(heads, rows, "nothing of it could be replayed")


def _values(values: Json) -> str:
    return f"{values['lowest']:.3g} to {values['highest']:.3g}, usually {values['median']:.3g}" if values else "-"


def _below(gate: Json) -> Iterator[str]:
    for one in gate["failures"][:MOST_SHOWN]:
        yield printable(f"{clock(one['at'])} failed: {one['sentence']}")
    if gate["failed"] > MOST_SHOWN:
        yield f"and {gate['failed'] - MOST_SHOWN} more failed (--output json has the times)"
    for one in gate["criteria"]:
        for reason in one["not_measurable_because"]:
            yield printable(f"{one['name']}: {reason['releases']} could not be replayed: {reason['reason']}")
        for proposal in one["proposals"]:
            yield printable(f"{one['name']}: {_proposal(one, proposal)}")
        if (one["failed"] or one["held"]) and not one["proposals"] and one["kind"] != "slo":
            yield printable(f"{one['name']}: no other bound that was tried would have been quiet")
    for one in gate["not_replayed"]:
        yield printable(f"{one['name']} was not replayed: {one['reason']}")


def _proposal(criterion: Json, proposal: Json) -> str:
    change = ", ".join(f"{name}: {_quoted(text)}" for name, text in proposal["change"].items())
    where = " (of the gate)" if "warmup" in proposal["change"] else ""
    if proposal["held"]:
        return f"with {change}{where} none would have failed, and {proposal['held']} held"
    if criterion["failed"] or criterion["held"]:
        return f"with {change}{where} it would have been quiet in all {proposal['replayed']}"
    return f"quiet as it is, and would have been with {change} as well"


def _quoted(text: str) -> str:
    return f'"{text}"' if text[:1] in "<>=!" else text


def _as_html(found: Json, picture: str) -> str:
    """A page that needs nothing else."""
    head = f"Backtest of {found['plan']} in {found['environment']}"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(head)}</title><style>{STYLE}</style>",
        f"<h1>{escape(head)}</h1><p>{clock(found['from'])} to {clock(found['to'])} UTC</p>",
    ]
    for gate in found["gates"]:
        parts.append(f"<h2>{escape(gate['gate'])}, {escape(gate['where'])}</h2><p>{escape(_gate_line(gate))}</p>")
        parts.append(_html_table(gate))
        parts.append("<ul>" + "".join(f"<li>{escape(line)}</li>" for line in _below(gate)) + "</ul>")
    return "\n".join([*parts, picture[picture.find("<svg") :] if picture else ""])


def _html_table(gate: Json) -> str:
    heads = ("criterion", "kind", "replayed", "failed", "held", "longest hold", "values")
    rows = [
        (
            one["name"],
            one["kind"],
            one["replayed"],
            one["failed"],
            one["held"],
            duration(one["longest_hold_seconds"]) if one["held"] else "-",
            _values(one["values"]),
        )
        for one in gate["criteria"]
    ]
    cells = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return "<table><tr>" + "".join(f"<th>{head}</th>" for head in heads) + f"</tr>{cells}</table>"
