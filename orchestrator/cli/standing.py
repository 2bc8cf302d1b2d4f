"""`rollout status` for people: what, why and what next, in twelve lines at most, in every phase and with any hold.

Each part of the status is a block of lines with a rank. What does not fit is left out from the highest rank on, and the
last line says where the rest is.
"""

import sys
from collections.abc import Iterator
from typing import Any

from orchestrator.cli.holding import Ending, command_line, ending_of, first_things
from orchestrator.cli.layout import cut
from orchestrator.cli.output import clock, duration, paint, painted_word, printable, width

Json = dict[str, Any]
MOST_LINES = 12
MOST_FLAGS = 6
_SEVERITY = {"fail": 0, "inconclusive": 1, "pass": 2}
Block = tuple[int, list[str]]


def status(found: Json) -> str:
    return "\n".join(_within(found, list(_blocks(found))))


def _within(found: Json, blocks: list[Block]) -> list[str]:
    """All of it if it fits, else without the last lines of what matters least."""
    left_out = 0
    while sum(len(lines) for _, lines in blocks) + bool(left_out) > MOST_LINES:
        least = max((block for block in blocks if block[1]), key=lambda block: block[0])
        least[1].pop()
        left_out += 1
    lines = [line for _, block in blocks for line in block]
    if left_out:
        more = f"{left_out} more line{'' if left_out == 1 else 's'}"
        lines.append(paint(f"  ...         {more}: rollout explain {printable(found['run'])}", "dim"))
    return lines


def _blocks(found: Json) -> Iterator[Block]:
    yield 0, [f"{paint(printable(found['run']), 'bold')}  {where(found)}"]
    if found.get("store_error"):
        yield 0, [_labelled("store", f"nothing can be written: {printable(found['store_error'])}", "red")]
    if kept := found.get("kept"):
        how = f"kept as its report since {clock(kept['since'])} UTC: rollout report {printable(found['run'])}"
        yield 0, [_labelled("journal", how)]
    yield from _hold_blocks(found)
    yield 1, list(_way_back(found))
    yield 2, list(_next(found))
    yield 3, list(_gate_lines(found.get("gate")))
    yield 4, list(_waits(found))
    yield 5, list(_notification_lines(found.get("notifications") or {}))
    yield 6, [_labelled("exception", printable(one)) for one in found.get("exceptions") or ()]
    yield 7, list(_pins(found))
    yield 8, list(_flags(found))
    yield 9, [_plan(found)]


def _labelled(label: str, text: str, colour: str = "") -> str:
    return f"  {paint(label, colour) if colour else label}{' ' * (12 - len(label))}{_one_row(text, 14)}"


def _one_row(text: str, beside: int) -> str:
    """On a terminal one row, with *beside* columns of something else: the whole of a detail is told by `explain`."""
    if not sys.stdout.isatty():
        return text
    import shutil

    return cut(text, max(shutil.get_terminal_size().columns - beside, 20))


def _plan(found: Json) -> str:
    ended = f", ended {clock(found['ended'])}" if found.get("ended") else ""
    times = f"started {clock(found['started'])} UTC{ended}"
    return _labelled("plan", f"{printable(found['plan'])} (digest {printable(found['digest'])[:12]}), {times}")


def where(found: Json) -> str:
    if found["phase"] == "ended":
        return painted_word(found["outcome"])
    words = [painted_word(found["phase"])]
    if found["phase"] == "running":
        place = " ".join(printable(found[name]) for name in ("environment", "stage", "step") if found.get(name))
        words.append(f"{place} ({printable(found['leg'])})" if found.get("leg") else place)
    elif found.get("environment"):
        words.append(printable(found["environment"]))
    return ", ".join(word for word in words if word)


# --- why --------------------------------------------------------------------------------------------------------------


def _hold_blocks(found: Json) -> Iterator[Block]:
    """The first hold whole, and how it ends; of further ones less and less, but never the last of their names."""
    holds = first_things(found)
    for number, hold in enumerate(holds):
        yield (0 if number < 2 else 3), [_labelled("holds", hold_words(hold), "yellow")]
        yield (1 if number == 0 else 4), [_ending_line(ending_of(hold, found))]


def hold_words(hold: Json) -> str:
    item = f" ({printable(hold['item'])})" if hold.get("item") not in (None, "", "run", hold.get("by")) else ""
    detail = f": {printable(hold['detail'])}" if hold.get("detail") else ""
    return (
        f"{printable(hold['reason'])}{item} since {clock(hold.get('since'))} UTC by {printable(hold.get('by'))}{detail}"
    )


def _ending_line(ending: Ending) -> str:
    """What is to be typed is never cut: that is taken from the words before it."""
    if not ending.commands:
        return _labelled("ends", f"when {ending.ends}")
    others = f" (or {_verb(ending.commands[1])})" if len(ending.commands) > 1 else ""
    typed = ending.commands[0] + others
    return f"  ends        {_one_row(f'when {ending.ends}', 16 + width(typed))}: {typed}"


def _verb(line: str) -> str:
    """What differs in a second way: the command, or the option that says something else."""
    words = line.removesuffix(" --reason TEXT").split()
    return words[-1] if words[-1].startswith("--") or "--as" in words else words[1]


def _way_back(found: Json) -> Iterator[str]:
    under_way = found.get("rollback")
    if not under_way:
        return
    by = "" if under_way.get("by") in (None, "controller") else f" by {printable(under_way['by'])}"
    why = printable(under_way.get("reason")) or printable(under_way.get("cause")).replace("_", " ")
    yield _labelled("because", f"{why}{by}, {clock(under_way.get('since'))} UTC")
    nodes = under_way.get("nodes") or ()
    done = sum(node.get("result") is not None for node in nodes)
    if nodes and found["phase"] != "ended":
        yield _labelled("way back", f"{done} of {len(nodes)} done")


# --- what next --------------------------------------------------------------------------------------------------------


def _next(found: Json) -> Iterator[str]:
    progress = found.get("progress")
    if progress:
        yield _labelled(progress["what"], how_far(progress))
    if found["phase"] == "ended":
        yield _labelled("next", _after_the_end(found))
    elif found.get("next"):
        at = f" (about {clock(found['next']['at'])} UTC)" if found["next"].get("at") else ""
        yield _labelled("next", f"{printable(found['next']['what'])}{at}")


def _after_the_end(found: Json) -> str:
    open_ones = len(found.get("waiting") or ())
    if open_ones:
        return f"{open_ones} item{'' if open_ones == 1 else 's'} to answer, though the run has ended"
    if found.get("kept"):
        return "nothing any more"
    if found["outcome"] == "rolled_back":
        return "nothing: everything is as it was before, but for what is listed"
    return f"nothing by itself; {command_line('rollback', str(found['run']))} takes it back"


def how_far(progress: Json) -> str:
    """Of a bake or a watch in time, of a backfill in rows."""
    if progress["what"] != "backfill":
        return f"{duration(progress['passed_seconds'])} of {duration(progress['of_seconds'])}"
    of = f" of {progress['of_rows']:,}" if progress["of_rows"] is not None else ""
    ends = f", through at about {clock(progress['ends'])} UTC" if progress["ends"] else ""
    return f"{progress['rows']:,}{of} rows, {progress['rows_per_second']:,.0f} a second{ends}"


def worst_first(criteria: list[Json]) -> list[Json]:
    return sorted(criteria, key=lambda one: _SEVERITY.get(str(one["verdict"]), 0))


def _gate_lines(gate: Json | None) -> Iterator[str]:
    if gate is None:
        return
    verdict = painted_word(gate["verdict"])
    yield f"  gate        {_one_row(printable(gate['name']), 16 + len(str(gate['verdict'])))}: {verdict}"
    for criterion in worst_first(gate.get("criteria") or []):
        said = f"{printable(criterion['name'])}: {printable(criterion.get('sentence'))}"
        yield f"{' ' * 14}{painted_word(criterion['verdict'])}  {_one_row(said, 16 + len(criterion['verdict']))}"
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
    bars = spark(criterion.get("trail") or (), evidence["fails_at"])
    yield f"{' ' * 16}{bars} {_one_row(line, 17 + len(bars))}"


# --- and what else is so ----------------------------------------------------------------------------------------------


def _waits(found: Json) -> Iterator[str]:
    """Items that no hold speaks of already."""
    held = {hold.get("item") for hold in found.get("holds") or ()}
    for item in found.get("waiting") or ():
        if item["item"] in held:
            continue
        who = f" from {', '.join(map(printable, item['by']))}" if item.get("by") else ""
        until = f", until {clock(item['until'])} UTC" if item.get("until") else ""
        what = f"{printable(item['item'])} ({printable(item['kind'])}){who}{until}"
        yield _labelled("waits", f"{what}: {printable(item.get('text'))}")


def _notification_lines(found: Json) -> Iterator[str]:
    """Whom what escalates tells next, in one line; and channels that fail."""
    open_ones = [one for one in found.get("escalations") or () if one["acknowledged_by"] is None and one.get("next")]
    if open_ones:
        first = min(open_ones, key=lambda one: str(one["next"]["at"]))["next"]
        channels = ", ".join(map(printable, first["channels"]))
        words = f"to {channels} at {clock(first['at'])} UTC, unless somebody acknowledges (rollout ack)"
        yield _labelled("escalates", words)
    for one in found.get("failing") or ():
        yield _labelled("channel", f"{printable(one['channel'])} is not told: {printable(one['detail'])}", "yellow")


def _pins(found: Json) -> Iterator[str]:
    for pin in found.get("pins") or ():
        kept = ", kept" if pin.get("kept") else ""
        yield _labelled("pinned", f"{printable(pin['flag'])} by {printable(pin['source'])}{kept}")


def _flags(found: Json) -> Iterator[str]:
    """Those on their way first, then those that everybody has."""
    known = found.get("percentages") or {}
    order = sorted(known, key=lambda flag: (known[flag] in (0.0, 100.0), -known[flag], flag))
    shares = [f"{printable(flag)} {known[flag]:g} %" for flag in order]
    if not shares:
        return
    more = f" and {len(shares) - MOST_FLAGS} more" if len(shares) > MOST_FLAGS else ""
    yield _labelled("flags", ", ".join(shares[:MOST_FLAGS]) + more)
