"""`rollout explain`: why a run stands where it stands, in full sentences, with where each fact is from.

It is made of the status, the history and, where a controller answers, of what it would let this person do; so it says
the same beside a controller and without one.
"""

import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from orchestrator.cli.holding import ending_of, first_things, offered_line, title
from orchestrator.cli.layout import hanging, wrapped
from orchestrator.cli.output import clock, duration, paint, painted_word, printable, show
from orchestrator.cli.reading import require_whole
from orchestrator.cli.sources import HOW_TO_START, Source, StoreSource, open_source
from orchestrator.cli.standing import worst_first
from orchestrator.errors import RolloutError

Json = dict[str, Any]
WIDEST = 100
_LEGS = {
    "entering": "its guards are asked: checks, approvals, windows, and the gate of the step before",
    "preparing": "what the plan wants done before the stage is being done",
    "acting": "the step is being carried out",
    "settling": "the change has been made and is given time to reach everybody",
    "finishing": "what the plan wants done after the stage is being done, and verified",
}


def explain(arguments: Namespace) -> int:
    source = open_source(arguments.server)
    found = source.status(arguments.run)
    require_whole(found)
    run = str(found["run"])
    offers = None if isinstance(source, StoreSource) else _offers(source, run)
    show(explained(found, source.history(run), offers), arguments.output, as_text)
    return 0


def _offers(source: Source, run: str) -> Json | None:
    """None of an older controller, which does not know the question."""
    try:
        found: Json = source.offers(run)  # type: ignore[attr-defined]
    except RolloutError:
        return None
    return found


def explained(status: Json, history: list[Json], offers: Json | None) -> Json:
    """*offers*: what the controller answers; None without one."""
    return {
        "run": status["run"],
        "phase": status["phase"],
        "outcome": status["outcome"],
        "where": place_of(status),
        "holds": [explained_hold(hold, status, history) for hold in first_things(status)],
        "because": list(_because(status, history)),
        "next": list(_next(status)),
        "actor": offers["actor"] if offers else None,
        "commands": [_command(one, str(status["run"])) for one in offers["commands"]] if offers else [],
    }


def place_of(status: Json) -> str:
    """``step 25% of stage queue in production, baking``."""
    if status["phase"] != "running":
        return str(status.get("environment") or "")
    step = f"step {status['step']} of " if status.get("step") else ""
    stage = f"stage {status['stage']} in " if status.get("stage") else ""
    return f"{step}{stage}{status['environment']}" + (f", {status['leg']}" if status.get("leg") else "")


def _command(offer: Json, run: str) -> Json:
    known = {name: offer[name] for name in ("command", "what", "refused")}
    return {"line": offered_line(offer, run), **known}


# --- holds ------------------------------------------------------------------------------------------------------------


def explained_hold(hold: Json, status: Json, history: list[Json]) -> Json:
    ending = ending_of(hold, status)
    origin = _origin(hold, history)
    return {
        "reason": hold["reason"],
        "item": hold.get("item"),
        "since": hold.get("since"),
        "by": hold.get("by"),
        "detail": hold.get("detail"),
        "event": {name: origin[name] for name in ("seq", "time", "type")} if origin else None,
        "evidence": list(_evidence(hold, status)),
        "ends": ending.ends,
        "who": ending.who or None,
        "commands": list(ending.commands),
        "escalates": _escalates(hold, status),
    }


def _origin(hold: Json, history: list[Json]) -> Json | None:
    """The newest entry that set it."""
    return next((entry for entry in reversed(history) if _has_set(entry, hold)), None)


def _has_set(entry: Json, hold: Json) -> bool:
    if entry["type"] == "HoldSet":
        data = entry["data"]
        return (data.get("hold"), data.get("item") or "run") == (hold["reason"], hold.get("item") or "run")
    if hold["reason"] != "paused":
        return False
    return bool(entry["type"] == ("OnFailPaused" if hold.get("by") == "controller" else "Paused"))


def _evidence(hold: Json, status: Json) -> Iterator[str]:
    """What the gate says of it that is no pass."""
    gate = status.get("gate")
    if hold["reason"] not in ("inconclusive", "share_mismatch") or not gate:
        return
    for one in gate.get("criteria") or ():
        if one["verdict"] != "pass" and one.get("sentence") != hold.get("detail"):
            yield str(one.get("sentence"))


def _escalates(hold: Json, status: Json) -> Json | None:
    """The escalation that began with the hold, if somebody is told of it."""
    for one in (status.get("notifications") or {}).get("escalations") or ():
        if one.get("since") == hold.get("since") and str(hold.get("detail") or "") in str(one.get("what")):
            return {"next": one.get("next"), "acknowledged_by": one.get("acknowledged_by")}
    return None


# --- why it stands there ----------------------------------------------------------------------------------------------


def _because(status: Json, history: list[Json]) -> Iterator[str]:
    phase = status["phase"]
    if phase == "ended":
        yield from _ended(status, history)
    if status.get("rollback"):
        yield from _going_back(status, history)
    if phase == "checking":
        yield "Nothing has been changed yet: the plan's checks, flags, gates and triggers are looked at first."
    if phase == "running" and not status.get("rollback"):
        yield from _running(status)
    if phase == "watching":
        yield from _progressing(status, "Every stage is through, and the watch goes on")
    if phase in ("running", "watching") and not status.get("rollback"):
        yield from gate_sentences(status.get("gate"))


def _running(status: Json) -> Iterator[str]:
    leg = str(status.get("leg"))
    if leg == "baking":
        yield from _progressing(status, f"Step {status['step']} of stage {status['stage']} bakes")
        return
    yield f"Stage {status['stage']} is {leg}: {_LEGS.get(leg, 'it is under way')}."
    progress = status.get("progress")
    if progress and progress["what"] == "backfill":
        from orchestrator.cli.standing import how_far

        yield f"The backfill stands at {how_far(progress)}."


def _progressing(status: Json, what: str) -> Iterator[str]:
    progress = status.get("progress")
    if not progress:
        yield f"{what}."
        return
    passed, of = progress["passed_seconds"], progress["of_seconds"]
    left = max(of - passed, 0)
    yield (
        f"{what}: {duration(passed)} of {duration(of)} have passed with everything as it should be, "
        f"so {duration(left)} more are needed. Only time in which the gate passes counts."
    )
    least = progress.get("least_seconds")
    if least is not None and least < of:
        early = f"after {duration(least)}, which" + (" has passed" if passed >= least else " has not passed yet")
        yield f"It may go on sooner, {early}, if every test of the gate has seen enough."


def gate_sentences(gate: Json | None) -> Iterator[str]:
    """What a gate sees, and what would fail it."""
    if not gate:
        yield "No gate is looked at here."
        return
    words = {"pass": "passes", "fail": "fails", "inconclusive": "can't say yet"}
    yield f"Gate {gate['name']} {words.get(str(gate['verdict']), gate['verdict'])}:"
    for one in worst_first(gate.get("criteria") or []):
        yield f"- {one.get('sentence')}{_what_would_fail(one)}"
    then = "the run would hold for a person" if gate.get("on_fail") == "pause" else "everything would go back"
    if gate.get("on_fail"):
        yield f"If it fails, {then}."


def _what_would_fail(criterion: Json) -> str:
    from orchestrator.core.chart import short

    evidence = criterion.get("evidence") or {}
    if evidence.get("fails_at"):
        return f" (evidence against it {short(evidence['against'])} to 1; fails at {short(evidence['fails_at'])} to 1)"
    fails = (criterion.get("bounds") or {}).get("fails")
    return f" (fails at {fails['op']} {fails['at']:g})" if fails else ""


def _going_back(status: Json, history: list[Json]) -> Iterator[str]:
    under_way = status["rollback"]
    begun = next((entry for entry in reversed(history) if entry["type"] == "RollbackStarted"), None)
    at = f" (event {begun['seq']}, {clock(begun['time'])} UTC)" if begun else ""
    asked = "the controller, by the plan" if under_way.get("by") == "controller" else under_way.get("by")
    scope = f" from stage {under_way['scope']} on" if under_way.get("scope") else ""
    why = under_way.get("reason") or str(under_way.get("cause")).replace("_", " ")
    yield f"It was rolled back{scope} by {asked}: {why}{at}."
    nodes = under_way.get("nodes") or []
    yield from _group("Back", [_node(one) for one in nodes if one.get("result") in ("done", "as_it_was")])
    answered = [f"{_node(one)}: {one['result']}, {one['detail']}" for one in nodes if one.get("result") in _ANSWERS]
    yield from _group("Answered", answered)
    yield from _group("Not as it was", [_node(one) for one in nodes if one.get("result") not in _OK])
    if status["phase"] != "ended":
        waits = _waits(nodes, history)
        left = [_node(one) + waits.get(str(one["id"]), "") for one in nodes if one.get("result") is None]
        yield from _group("Left to do", left)
        yield from _group("Stays", [str(one) for one in under_way.get("left") or ()])


def _waits(nodes: list[Json], history: list[Json]) -> dict[str, str]:
    """What each node that is left waits for: the order was written down when the way back began."""
    is_open = {str(one["id"]) for one in nodes if one.get("result") is None}
    planned = [
        node
        for entry in history
        if entry["type"] in ("RollbackStarted", "NodesAdded")
        for node in entry["data"].get("nodes") or ()
    ]
    found = {str(node["id"]): [one for one in node.get("after") or () if one in is_open] for node in planned}
    return {name: f", which waits for {', '.join(before)}" for name, before in found.items() if before}


_ANSWERS = ("yes", "no")
_OK = (None, "done", "as_it_was", *_ANSWERS)


def _node(node: Json) -> str:
    what = node.get("target") or node["id"]
    detail = f": {node['detail']}" if node.get("result") not in _OK and node.get("detail") else ""
    return f"{str(node['kind']).replace('_', ' ')} {what}{detail}"


def _group(what: str, found: list[str]) -> Iterator[str]:
    if found:
        yield f"{what}:"
        yield from (f"- {one}" for one in dict.fromkeys(found))


def _ended(status: Json, history: list[Json]) -> Iterator[str]:
    ends = {
        "promoted": "went all the way: every stage is through and its watch passed",
        "rolled_back": "was rolled back: what it touched is as it was before",
        "stopped": "was stopped: the world stays as it was then",
        "rollback_failed": "did not come back whole: something was given up as it is",
    }
    by = next((entry for entry in reversed(history) if entry["type"] in ("StopRequested", "RunEnded")), None)
    stopped = next((entry for entry in reversed(history) if entry["type"] == "StopRequested"), None)
    asked = stopped if status["outcome"] == "stopped" and stopped else by
    why = f" ({asked['reason']})" if asked and asked.get("reason") else ""
    who = f", by {asked['by']}{why}" if asked and asked["by"] != "controller" else ""
    at = f" (event {asked['seq']}, {clock(asked['time'])} UTC)" if asked else ""
    yield f"The run {ends.get(str(status['outcome']), status['outcome'])}{who}{at}."
    yield from _group("With exceptions", [str(one) for one in status.get("exceptions") or ()])


# --- what comes next --------------------------------------------------------------------------------------------------


def _next(status: Json) -> Iterator[str]:
    if status["phase"] == "ended":
        waiting = [f"{one['item']}: {one['text']}" for one in status.get("waiting") or ()]
        yield from _group("People are still asked", waiting)
        if not waiting:
            yield "Nothing happens by itself any more."
        return
    coming = status.get("next") or {}
    if coming.get("what"):
        at = f", at about {clock(coming['at'])} UTC" if coming.get("at") else ""
        yield f"Next: {coming['what']}{at}."
    stays = [str(one) for one in status.get("stays_on_rollback") or ()]
    yield from _group("A rollback now would leave", stays)


# --- as text ----------------------------------------------------------------------------------------------------------


def as_text(found: Json) -> str:
    columns = min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)
    return "\n".join(_lines(found, columns if sys.stdout.isatty() else WIDEST))


def _lines(found: Json, columns: int) -> Iterator[str]:
    place = f", {printable(found['where'])}" if found["where"] and found["phase"] != "ended" else ""
    word = painted_word(found["outcome"] if found["phase"] == "ended" else found["phase"])
    yield f"{paint(printable(found['run']), 'bold')}  {word}{place}"
    for hold in found["holds"]:
        yield ""
        yield from _hold_lines(hold, columns)
    if found["because"]:
        yield ""
        yield from _paragraphs(found["because"], columns)
    if found["next"]:
        yield ""
        yield from _paragraphs(found["next"], columns)
    yield from _command_lines(found, columns)


def _paragraphs(sentences: list[str], columns: int) -> Iterator[str]:
    for one in sentences:
        text = printable(one)
        yield from hanging("- ", text[2:], columns) if text.startswith("- ") else wrapped(text, columns)


def _hold_lines(hold: Json, columns: int) -> Iterator[str]:
    by = "" if hold["by"] in (None, "controller", "reader") else f" by {printable(hold['by'])}"
    event = f" (event {hold['event']['seq']})" if hold["event"] else ""
    yield paint(f"It holds: {title(hold)}, since {clock(hold['since'])} UTC{by}{event}.", "red")
    if hold["detail"]:
        yield from hanging("  ", f"What: {printable(hold['detail'])}", columns)
    for one in hold["evidence"]:
        yield from hanging("  ", f"Evidence: {printable(one)}", columns)
    yield from hanging("  ", f"It ends when {printable(hold['ends'])}.", columns)
    if hold["commands"]:
        who = printable(hold["who"])
        yield from hanging("  ", f"By {who}:", columns)
        yield from (f"    {line}" for line in hold["commands"])
    yield from (line for one in _escalation_words(hold["escalates"]) for line in hanging("  ", one, columns))


def _escalation_words(escalates: Json | None) -> Iterator[str]:
    if escalates is None:
        return
    if escalates["acknowledged_by"]:
        yield f"{printable(escalates['acknowledged_by'])} has acknowledged it, so nobody else is told."
    elif escalates["next"]:
        channels = ", ".join(map(printable, escalates["next"]["channels"]))
        yield f"It escalates to {channels} at {clock(escalates['next']['at'])} UTC, unless somebody acknowledges."


def _command_lines(found: Json, columns: int) -> Iterator[str]:
    if found["actor"] is None:
        if found["phase"] != "ended" and any(hold["reason"] == "no_controller" for hold in found["holds"]):
            yield ""
            yield from wrapped(f"Nobody can command it now: {HOW_TO_START}.", columns)
        return
    allowed = [one for one in found["commands"] if one["refused"] is None]
    who = f"{printable(found['actor']['name'])} ({printable(found['actor']['role'])})"
    yield ""
    yield f"{who} may now:" if allowed else f"{who} can do nothing with it now."
    for one in allowed:
        yield f"  {one['line']}"
        yield from hanging("      ", printable(one["what"]), columns)
    refused = dict.fromkeys(f"{one['command']}: {one['refused']}" for one in found["commands"] if one["refused"])
    if refused:
        yield "Not now:"
        yield from (line for one in refused for line in hanging("  ", printable(one), columns))
