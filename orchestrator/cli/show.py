"""Runs, flags and errors as text."""

from typing import Any

from orchestrator.cli.output import clock, printable, table
from orchestrator.errors import NotFound, RolloutError

Json = dict[str, Any]


def error_lines(error: RolloutError) -> list[str]:
    """Each problem of a plan on a line of its own, else the one sentence that the error is."""
    problems = getattr(error, "problems", ())
    if not problems:
        return [f"rollout: {printable(error)}{_remedy(error)}"]
    lines = [printable(problem_line(one)) for one in problems]
    count = f"{len(lines)} problem{'' if len(lines) == 1 else 's'}"
    return [*lines, f"rollout: the plan is not valid: {count}; nothing was started"]


def _remedy(error: RolloutError) -> str:
    """What a controller can't know: which command helps."""
    is_unknown = isinstance(error, NotFound) and str(error).startswith("there is no run ")
    return "; `rollout list` shows those there are" if is_unknown else ""


def problem_line(problem: Any) -> str:
    """``plan.yaml:3:7: spec.stages: message`` of a problem, or of its JSON."""
    if not isinstance(problem, dict):
        return str(problem)
    place = str(problem.get("file", "plan"))
    if problem.get("line"):
        place += f":{problem['line']}:{problem.get('column', 1)}"
    path = f" {problem['path']}:" if problem.get("path") else ""
    return f"{place}:{path} {problem.get('message', '')}"


# --- runs -------------------------------------------------------------------------------------------------------------


def runs(found: list[Json]) -> str:
    heads = ("run", "plan", "phase", "outcome", "environment", "stage", "step", "started", "ended")
    rows = [
        [clock(one.get(head)) if head in ("started", "ended") else one.get(head) or "-" for head in heads]
        for one in found
    ]
    return table(heads, rows, "no runs")


def accepted(answer: Json) -> str:
    said = f"{printable(answer['command'])} accepted for {printable(answer['run'])}"
    started = answer.get("run_started")
    return f"{said}; run {printable(started)} takes it back" if started else said


# --- flags ------------------------------------------------------------------------------------------------------------


def flags(found: list[Json]) -> str:
    heads = ("flag", "environment", "state", "percentage", "version", "run", "note")
    rows = []
    for one in found:
        notes = [word for word in ("killed", "pinned") if one.get(word)]
        cells = (one["key"], one["environment"], one["state"], f"{one['percentage']:g} %", one["version"])
        rows.append((*cells, one.get("run") or "-", ", ".join(notes)))
    return table(heads, rows, "no flags")


def full_flags(found: list[Json]) -> str:
    """Flags that everybody has had for long, each with the places that name it."""
    lines = []
    for one in found:
        by = f", by {printable(one['by'])}" if one.get("by") else ""
        since = f"at 100 % since {clock(one['full_since'])} UTC"
        lines.append(f"{printable(one['key'])} ({printable(one['environment'])})  {since}{by}")
        lines += [f"  {printable(place)}" for place in one.get("mentions", ())]
    return "\n".join(lines) or "no flag has stood at 100 % for so long"


def flag_history(found: list[Json]) -> str:
    import json

    def told(changed: Json) -> str:
        return ", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in changed.items()) or "-"

    rows = [
        (
            one["version"],
            clock(one["at"]),
            one["by"],
            told(one["changed"]),
            one["reason"],
        )
        for one in found
    ]
    return table(("version", "time (UTC)", "by", "changed", "reason"), rows, "no changes")


def flag(found: Json) -> str:
    return fields(found)


def fields(found: Json) -> str:
    """Name and value, line by line; nested values as JSON."""
    import json

    lines = []
    wide = max((len(name) for name in found), default=0)
    for name, value in found.items():
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value
        lines.append(f"{printable(name):<{wide}}  {printable('-' if text is None else text)}")
    return "\n".join(lines)
