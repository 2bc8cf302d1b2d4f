"""A run's report: what was planned, what happened when and on which evidence, who did what, what did not come back.

``build`` makes the structure out of what everybody is shown (status and history), so that a report can be written
beside a controller, from a store, or far from both. ``to_markdown`` and ``to_html`` write it down; both escape
whatever comes from plans, people and measurements.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from orchestrator.core import rollback_log
from orchestrator.core.chart import evidence_svg, levels_svg, short
from orchestrator.core.telling import CONTROLLER, Teller, time_words, words_of

Json = Mapping[str, Any]
Row = tuple[str, ...]

_OUTCOMES = {
    "promoted": "promoted",
    "rolled_back": "rolled back",
    "stopped": "stopped",
    "rollback_failed": "rollback failed",
}
_MARKDOWN = re.compile(r"[\\`*<>\[\]|]|(?<![^\W_])_|_(?![^\W_])")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}"
    "th,td{border-bottom:1px solid #ddd;padding:.3rem .6rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}"
    "code{font-size:.9em;overflow-wrap:anywhere}"
    "@media(prefers-color-scheme:dark){body{background:#16181b;color:#e6e6e6}th,td{border-color:#3a3d42}}"
)


def build(status: Json, history: Sequence[Json]) -> dict[str, Any]:
    """The report of a run as plain data, complete up to the last entry of *history* (all of it, from the first)."""
    started = next((entry for entry in history if entry["type"] == "RunStarted"), {})
    origin = started.get("data") or {}
    last: Json = history[-1] if history else {}
    return {
        **{name: status.get(name) for name in ("run", "plan", "digest", "phase", "outcome", "started", "ended")},
        "seconds": _seconds(status.get("started"), status.get("ended")),
        "about": dict(status.get("about") or {}),
        "author": started.get("by"),
        "reason": started.get("reason") or None,
        "supersedes": origin.get("supersedes"),
        "reverses": origin.get("reverses"),
        "files": sorted(origin.get("files") or ()),
        "stages": list(status.get("stages") or ()),
        "percentages": dict(status.get("percentages") or {}),
        "holds": list(status.get("holds") or ()),
        "waiting": list(status.get("waiting") or ()),
        "timeline": list(_timeline(status, history)),
        "evidence": [one for entry in history for one in _evidence(entry)],
        "people": list(_people(status, history)),
        "exceptions": list(status.get("exceptions") or ()),
        "rollback_log": rollback_log.build(status, history),
        "success": [_success(entry) for entry in history if entry["type"] == "SuccessJudged"],
        "chain": {"entries": last.get("seq", 0), "head": last.get("hash")},
    }


def _seconds(started: Any, ended: Any) -> float | None:
    if not started or not ended:
        return None
    return (datetime.fromisoformat(str(ended)) - datetime.fromisoformat(str(started))).total_seconds()


def _timeline(status: Json, history: Iterable[Json]) -> Iterator[dict[str, Any]]:
    teller = Teller(status.get("stages") or ())
    for entry in history:
        sentence = teller.tell(entry)
        if sentence is not None:
            yield {"seq": entry["seq"], "time": entry["time"], "what": sentence}


def _evidence(entry: Json) -> Iterator[dict[str, Any]]:
    """What was measured when something was decided, verbatim: one for each criterion. That of a rollback is left out:
    the gate or trigger just before has it."""
    data = entry.get("data") or {}
    evidence = data.get("evidence")
    if not isinstance(evidence, Mapping) or entry["type"] == "RollbackStarted":
        return
    name = (
        f"trigger {data.get('trigger')}" if entry["type"] == "TriggerFired" else f"gate {evidence.get('gate') or '-'}"
    )
    for one in evidence.get("criteria") or (evidence,):
        yield {
            "seq": entry["seq"],
            "time": entry["time"],
            "of": name,
            "criterion": one.get("name"),
            "verdict": one.get("verdict"),
            "value": one.get("value"),
            "sentence": one.get("sentence"),
            "evidence": one.get("evidence"),
            "trail": one.get("trail") or [],
        }


def _people(status: Json, history: Iterable[Json]) -> Iterator[dict[str, Any]]:
    teller = Teller(status.get("stages") or ())
    for entry in history:
        sentence = teller.tell({**entry, "by": CONTROLLER, "reason": ""})
        by = entry.get("by") or CONTROLLER
        if by != CONTROLLER:
            what = sentence or str(entry["type"])
            yield {"seq": entry["seq"], "time": entry["time"], "by": by, "what": what, "reason": entry.get("reason")}


def _success(entry: Json) -> dict[str, Any]:
    data = entry.get("data") or {}
    names = ("name", "standing", "detail", "value", "before", "after", "gain")
    return {"time": entry["time"], **{name: data.get(name) for name in names}}


# --- sections: what both forms print ----------------------------------------------------------------------------------


def _facts(report: Json) -> list[Row]:
    outcome = report["outcome"]
    ended = "not yet" if outcome is None else f"{time_words(report['ended'])}, after {_span(report['seconds'])}"
    facts = [
        ("outcome", _OUTCOMES.get(str(outcome), f"none yet: the run is {report['phase']}")),
        ("plan", str(report["plan"])),
        *_about(report["about"]),
        ("digest", str(report["digest"])),
        ("started", f"{time_words(report['started'])} by {report['author'] or '-'}"),
        ("reason", report["reason"] or ""),
        ("ended", ended),
        ("supersedes", report["supersedes"] or ""),
        ("takes back", report["reverses"] or ""),
        ("files", ", ".join(report["files"])),
        ("flags stand at", ", ".join(f"{flag} {value:g} %" for flag, value in sorted(report["percentages"].items()))),
    ]
    return [(name, value) for name, value in facts if value]


def _about(about: Json) -> Iterator[Row]:
    """What the plan says of itself: whose it is, whom to call, where to look."""
    yield from ((name, str(about.get(name) or "")) for name in ("description", "owner"))
    for what, of in (("contact", about.get("contacts")), ("link", about.get("links"))):
        if isinstance(of, Mapping):
            yield from ((f"{what}, {name}", str(one)) for name, one in of.items())
        else:
            yield from ((what, str(one)) for one in of or ())


def _sections(report: Json) -> Iterator[tuple[str, Row, list[Row], str]]:
    """Title, column heads, rows, and what is said if there are none."""
    stages: list[Row] = [
        (
            str(one["environment"]),
            str(one["name"]),
            str(one["kind"]),
            ", ".join(one.get("steps") or ()),
            str(one["state"]),
        )
        for one in report["stages"]
    ]
    yield "What was planned", ("environment", "stage", "kind", "steps", "now"), stages, "no stages"
    if report["outcome"] is None:
        holds: list[Row] = [
            (str(one["reason"]), time_words(one["since"]), str(one["by"]), str(one["detail"]))
            for one in report["holds"]
        ]
        yield "Why nothing moves", ("hold", "since", "by", "detail"), holds, "nothing holds"
    happened: list[Row] = [(time_words(one["time"]), str(one["what"])) for one in report["timeline"]]
    yield "What happened", ("time (UTC)", "what"), happened, "nothing yet"
    evidence: list[Row] = [
        (
            time_words(one["time"]),
            one["of"],
            one["criterion"] or "",
            one["verdict"] or "",
            _number(one["value"]),
            _test(one["evidence"]),
            one["sentence"] or "",
        )
        for one in report["evidence"]
    ]
    heads = ("time (UTC)", "of", "criterion", "verdict", "value", "evidence against", "sentence")
    yield "The evidence of decisions", heads, evidence, "no decision rested on evidence"
    people: list[Row] = [
        (time_words(one["time"]), str(one["by"]), str(one["what"]), one["reason"] or "") for one in report["people"]
    ]
    yield "Who did what", ("time (UTC)", "who", "what", "reason"), people, "nobody had to do anything"
    if report["rollback_log"] is not None:
        yield "Rollback log", ("", "entry"), rollback_log.rows(report["rollback_log"]), ""
    left: list[Row] = [(str(one),) for one in report["exceptions"]]
    yield "What is not as it was, or was cut", ("what",), left, "nothing"
    waiting: list[Row] = [(str(one["item"]), str(one["text"]), ", ".join(one["by"])) for one in report["waiting"]]
    if waiting:
        yield "What waits for a person", ("item", "what", "for"), waiting, ""
    judged: list[Row] = [
        (
            time_words(one["time"]),
            str(one["name"]),
            _level(one["before"]),
            _level(one["after"]) or _number(one["value"]),
            str(one["standing"]),
            one["detail"] or "",
        )
        for one in report["success"]
    ]
    yield "Success", ("time (UTC)", "criterion", "before", "after", "reached", "detail"), judged, "nothing was judged"


def _level(level: Any) -> str:
    return words_of(level.get("value"), level.get("low"), level.get("high")) if isinstance(level, Mapping) else ""


def _test(evidence: Any) -> str:
    """``3.1 (fails at 100)`` of a criterion that is tested."""
    if not isinstance(evidence, Mapping):
        return ""
    return f"{short(evidence.get('against'))} (fails at {short(evidence.get('fails_at'))})"


def _chain(report: Json) -> str:
    chain = report["chain"]
    head = chain["head"] or "not known here"
    return (
        f"The journal has {chain['entries']} entries; the hash of the last one, which stands for all of them, is"
        f" {head}."
    )


def _span(seconds: Any) -> str:
    if seconds is None:
        return "-"
    rest = round(float(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        count, rest = divmod(rest, size)
        parts += [f"{count}{unit}"] if count else []
    return " ".join([*parts, f"{rest}s"] if rest or not parts else parts)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value or "")


# --- the two forms ----------------------------------------------------------------------------------------------------


def to_markdown(report: Json) -> str:
    lines = [f"# {_escaped(report['run'])}", ""]
    lines += [f"- {name}: {_escaped(value)}" for name, value in _facts(report)]
    for title, heads, rows, none in _sections(report):
        lines += ["", f"## {title}", ""]
        if not rows:
            lines.append(f"{none[:1].upper()}{none[1:]}.")
        elif len(heads) == 1:
            lines += [f"- {_escaped(row[0])}" for row in rows]
        else:
            lines += [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
            lines += [f"| {' | '.join(map(_escaped, row))} |" for row in rows]
    return "\n".join([*lines, "", _chain(report), ""])


def _escaped(value: Any) -> str:
    """One line of Markdown that reads as *value* does."""
    return _MARKDOWN.sub(lambda found: f"\\{found.group()}", " ".join(str(value).split()))


def to_html(report: Json) -> str:
    """A page of its own: no script, nothing fetched."""
    title = escape(f"{report['run']}: {_OUTCOMES.get(str(report['outcome']), report['phase'])}")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(str(report['run']))}</h1>\n"
        f"{html_content(report)}</body>\n</html>\n"
    )


def html_content(report: Json) -> str:
    """What stands on the page below its heading."""
    facts = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in _facts(report))
    sections = "".join(_html_section(*section) for section in _sections(report)) + _charts(report)
    return f"<table>{facts}</table>\n{sections}<p>{escape(_chain(report))}</p>\n"


def _charts(report: Json) -> str:
    drawn = []
    for one in report["evidence"]:
        svg = evidence_svg(str(one["criterion"]), one["trail"], one["evidence"] or {})
        if svg:
            words = f"{time_words(one['time'])}: {one['of']}, {one['criterion']}: {one['verdict']}"
            drawn.append(f"<figure>{svg}<figcaption>{escape(words)}</figcaption></figure>")
    levels = [
        f"<figure>{svg}<figcaption>{escape(str(one['detail']))}</figcaption></figure>"
        for one in report["success"]
        if (svg := levels_svg(str(one["name"]), one["before"] or {}, one["after"] or {}))
    ]
    grown = f"<h2>How the evidence grew</h2>\n{''.join(drawn)}\n" if drawn else ""
    return grown + (f"<h2>Before and after</h2>\n{''.join(levels)}\n" if levels else "")


def _html_section(title: str, heads: Row, rows: Sequence[Row], none: str) -> str:
    if not rows:
        return f"<h2>{escape(title)}</h2>\n<p>{escape(none[:1].upper() + none[1:])}.</p>\n"
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h2>{escape(title)}</h2>\n<table>\n<tr>{head}</tr>\n{body}\n</table>\n"
