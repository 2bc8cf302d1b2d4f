"""Runs, flags and errors as text."""

from collections.abc import Iterator
from typing import Any

from orchestrator.cli.output import clock, duration, paint, painted_word, printable, table
from orchestrator.errors import RolloutError

Json = dict[str, Any]


def error_lines(error: RolloutError) -> list[str]:
    """Each problem of a plan on a line of its own, else the one sentence that the error is."""
    problems = getattr(error, "problems", ())
    if not problems:
        return [f"rollout: {printable(error)}"]
    lines = [printable(problem_line(one)) for one in problems]
    count = f"{len(lines)} problem{'' if len(lines) == 1 else 's'}"
    return [*lines, f"rollout: the plan is not valid: {count}; nothing was started"]


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


def how_far(progress: Json) -> str:
    """Of a bake or a watch in time, of a backfill in rows."""
    if progress["what"] != "backfill":
        return f"{duration(progress['passed_seconds'])} of {duration(progress['of_seconds'])}"
    of = f" of {progress['of_rows']:,}" if progress["of_rows"] is not None else ""
    ends = f", through at about {clock(progress['ends'])} UTC" if progress["ends"] else ""
    return f"{progress['rows']:,}{of} rows, {progress['rows_per_second']:,.0f} a second{ends}"


def status(found: Json) -> str:
    return "\n".join(_status_lines(found))


def _status_lines(found: Json) -> Iterator[str]:
    yield f"{paint(printable(found['run']), 'bold')}  {_where(found)}"
    yield f"  plan        {printable(found['plan'])} (digest {printable(found['digest'])[:12]})"
    ended = f", ended {clock(found['ended'])}" if found.get("ended") else ""
    yield f"  started     {clock(found['started'])} UTC{ended}"
    if found.get("percentages"):
        shares = ", ".join(f"{printable(flag)} {value:g} %" for flag, value in sorted(found["percentages"].items()))
        yield f"  flags       {shares}"
    progress = found.get("progress")
    if progress:
        yield f"  {progress['what']:<11} {how_far(progress)}"
    if found.get("next") and found["phase"] != "ended":
        at = f" (about {clock(found['next']['at'])} UTC)" if found["next"].get("at") else ""
        yield f"  next        {printable(found['next']['what'])}{at}"
    yield from _gate_lines(found.get("gate"))
    if found.get("store_error"):
        yield f"  {paint('store', 'red')}       nothing can be written: {printable(found['store_error'])}"
    for hold in found.get("holds") or ():
        yield f"  {paint('holds', 'yellow')}       {_hold(hold)}"
    yield from _notification_lines(found.get("notifications") or {})
    for item in found.get("waiting") or ():
        who = f" from {', '.join(map(printable, item['by']))}" if item.get("by") else ""
        until = f", until {clock(item['until'])} UTC" if item.get("until") else ""
        what = f"{printable(item['item'])} ({printable(item['kind'])}){who}{until}"
        yield f"  waits       {what}: {printable(item.get('text'))}"
    for pin in found.get("pins") or ():
        kept = ", kept" if pin.get("kept") else ""
        yield f"  pinned      {printable(pin['flag'])} by {printable(pin['source'])}{kept}"
    for exception in found.get("exceptions") or ():
        yield f"  exception   {printable(exception)}"


def _notification_lines(found: Json) -> Iterator[str]:
    """Whom what escalates tells next, in one line; and channels that fail."""
    open_ones = [one for one in found.get("escalations") or () if one["acknowledged_by"] is None and one.get("next")]
    if open_ones:
        first = min(open_ones, key=lambda one: str(one["next"]["at"]))["next"]
        channels = ", ".join(map(printable, first["channels"]))
        yield f"  escalates   to {channels} at {clock(first['at'])} UTC, unless somebody acknowledges (rollout ack)"
    for one in found.get("failing") or ():
        yield f"  {paint('channel', 'yellow')}     {printable(one['channel'])} is not told: {printable(one['detail'])}"


def _where(found: Json) -> str:
    if found["phase"] == "ended":
        return painted_word(found["outcome"])
    words = [painted_word(found["phase"])]
    if found["phase"] == "running":
        place = " ".join(printable(found[name]) for name in ("environment", "stage", "step") if found.get(name))
        words.append(f"{place} ({printable(found['leg'])})" if found.get("leg") else place)
    elif found.get("environment"):
        words.append(printable(found["environment"]))
    return ", ".join(word for word in words if word)


def _gate_lines(gate: Json | None) -> Iterator[str]:
    if gate is None:
        return
    yield f"  gate        {printable(gate['name'])}: {painted_word(gate['verdict'])}"
    for criterion in gate.get("criteria") or ():
        sentence = printable(criterion.get("sentence"))
        yield f"              {painted_word(criterion['verdict'])}  {printable(criterion['name'])}: {sentence}"
        yield from _evidence_line(criterion)


def _evidence_line(criterion: Json) -> Iterator[str]:
    """How the evidence of a test stands against its bounds, and how it came to be so."""
    evidence = criterion.get("evidence")
    if not evidence or not evidence.get("fails_at"):
        return
    from orchestrator.core.chart import short, spark

    line = f"evidence against it {short(evidence['against'])}, fails at {short(evidence['fails_at'])}"
    if evidence.get("excluded") is not None:
        enough = short(evidence["excludes_at"])
        line += f"; that it is not worse by half {short(evidence['excluded'])}, enough at {enough}"
    yield f"                {spark(criterion.get('trail') or (), evidence['fails_at'])} {line}"


def _hold(hold: Json) -> str:
    item = f" ({printable(hold['item'])})" if hold.get("item") not in (None, "", "run", hold.get("by")) else ""
    detail = f": {printable(hold['detail'])}" if hold.get("detail") else ""
    return (
        f"{printable(hold['reason'])}{item} since {clock(hold.get('since'))} UTC by {printable(hold.get('by'))}{detail}"
    )


def history(found: list[Json]) -> str:
    rows = []
    for entry in found:
        by = "" if entry["by"] == "controller" else entry["by"]
        rows.append((entry["seq"], clock(entry["time"]), entry["type"], by, entry["sentence"]))
    return table(("seq", "time (utc)", "type", "by", "what"), rows, "nothing has happened yet")


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
