"""A run as a picture for a terminal: what holds it first, then stages, exposure, bake, gate, what may be done, events.

Pure: from a status, what may be done, the newest events and a size to lines that fit it. Parts are asked for as many
lines as they would like and get what there is, the ones that matter more first; a part that gets less says how much it
left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.cli.holding import ending_of, first_things, offered_line, title
from orchestrator.cli.layout import Line, cut, fitted, hanging, width_of
from orchestrator.cli.output import duration, hours, printable, width
from orchestrator.cli.standing import worst_first
from orchestrator.cli.trails import measured_of, trail_of

Json = dict[str, Any]
MARKS = {
    "done": ("✓", "green"),
    "current": ("▶", "bold"),
    "todo": ("○", "dim"),
    "skipped": ("–", "dim"),
    "cut": ("✂", ""),
}
COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "promoted": "green", "stopped": "yellow"}
COLOURS |= dict.fromkeys(("rolling_back", "rolled_back", "rollback_failed"), "red")
LEAST_ROWS = 4
ROOMY_ROWS = 30
MOST_HOLDS = 3
LONGEST_BAR = 30


@dataclass(frozen=True, slots=True)
class Size:
    columns: int = 80
    rows: int = 24


@dataclass(frozen=True, slots=True)
class Scene:
    """*offers*: commands that could be given now, as typed. *events*: the newest last, each a line. *banner*: what is
    wrong with the watching itself. *passed*: seconds by which bake or watch have gone on since the status was made."""

    status: Json
    now: float
    offers: Sequence[Json] = ()
    actor: str = ""
    events: Sequence[Line] = ()
    banner: str = ""
    hint: str = ""
    passed: float = 0.0


@dataclass(slots=True)
class Part:
    """*least* lines it gets before any other part gets more than its own; *head* is above all of them."""

    lines: list[Line]
    least: int
    head: Line | None = None
    focus: int = 0  # the line that is kept when not all fit; the last one if below 0
    rows: int = field(default=0)

    @property
    def wanted(self) -> int:
        return len(self.lines) + (self.head is not None) if self.lines else 0


def picture(scene: Scene, size: Size) -> list[Line]:
    """At most *size.rows* lines, none wider than *size.columns*."""
    top = [_header(scene, size.columns), *_banner(scene, size.columns), *_holds(scene, size)]
    bottom: list[Line] = [((scene.hint, "dim"),)] if scene.hint else []
    parts = [_progress(scene, size), _gate(scene, size), _stages(scene, size), _exposure(scene, size)]
    parts += [_commands(scene), _events(scene)]
    room = size.rows - len(top) - len(bottom)
    _share_out(parts, max(room, 0))
    shown = [_clipped(part) for part in (parts[2], parts[3], parts[0], parts[1], parts[4], parts[5])]
    middle = _joined([lines for lines in shown if lines], max(room, 0))
    lines = [*top, *middle]
    filler: list[Line] = [()] * (size.rows - len(lines) - len(bottom))
    return [fitted(line, size.columns) for line in [*lines, *filler, *bottom]][: size.rows]


def _share_out(parts: list[Part], room: int) -> None:
    """First what each needs at least, in their order, then the rest, in their order."""
    for part in parts:
        part.rows = min(part.least, part.wanted, room)
        room -= part.rows
    for part in parts:
        more = min(part.wanted - part.rows, room)
        part.rows += more
        room -= more


def _clipped(part: Part) -> list[Line]:
    """As many lines as it got, around the one that matters, with how many are left out."""
    rows = part.rows - (part.head is not None)
    head = [part.head] if part.head is not None and part.rows else []
    if rows <= 0:
        return head[:0] if rows < 0 else head
    if len(part.lines) <= rows:
        return [*head, *part.lines]
    if part.focus < 0:
        return [*head, *part.lines[-rows:]]
    first = min(max(part.focus - rows // 2, 0), len(part.lines) - rows)
    shown = part.lines[first : first + rows]
    after = len(part.lines) - first - rows
    if rows > 2 and first:
        shown[0] = _more(first + 1, "before")
    if rows > 1 and after:
        shown[-1] = _more(after + 1, "more")
    return [*head, *shown]


def _more(count: int, what: str) -> Line:
    return ((f"  … {count} {what}", "dim"),)


def _joined(groups: list[list[Line]], room: int) -> list[Line]:
    """With an empty line between the parts where there is room for all of them."""
    used = sum(map(len, groups))
    gap: list[Line] = [()] if used + len(groups) <= room else []
    return [line for group in groups for line in [*gap, *group]]


# --- the top ----------------------------------------------------------------------------------------------------------


def _header(scene: Scene, columns: int) -> Line:
    status = scene.status
    word = str(status["outcome"] if status["phase"] == "ended" else status["phase"])
    words = [word.replace("_", " ")]
    if status["phase"] == "running" and status.get("leg"):
        words.append(printable(status["leg"]))
    right = _age(status, scene.now)
    name = cut(printable(status.get("run") or status["plan"]), max(columns - len(right) - len(" ".join(words)) - 6, 8))
    left: Line = ((name, "bold"), ("  ", ""), (", ".join(words), COLOURS.get(word, "")))
    gap = columns - width_of(left) - len(right)
    return (*left, (" " * gap + right, "dim")) if gap > 1 else left


def _age(status: Json, now: float) -> str:
    started = seconds_of(status.get("started"))
    return duration(max((seconds_of(status.get("ended")) or now) - started, 0)) if started else ""


def seconds_of(time: object) -> float:
    """Since the epoch, of an ISO time; 0 of none."""
    from datetime import datetime

    return datetime.fromisoformat(str(time)).timestamp() if time else 0.0


def _banner(scene: Scene, columns: int) -> list[Line]:
    texts = [scene.banner] if scene.banner else []
    if scene.status.get("store_error"):
        texts.append(f"nothing can be written: {printable(scene.status['store_error'])}")
    return [((line, "bold red"),) for text in texts for line in hanging("! ", text, columns, 2)]


def _holds(scene: Scene, size: Size) -> list[Line]:
    """In red, each with how it ends; further ones by their names."""
    holds = first_things(scene.status)
    room = max(size.rows // 3, 2)
    found: list[Line] = []
    for number, hold in enumerate(holds[:MOST_HOLDS]):
        lines = _hold(hold, scene, size.columns)
        if number and len(found) + len(lines) + (len(holds) > number + 1) > room:
            break
        found += lines[:room]
    else:
        number = min(len(holds), MOST_HOLDS)
    if holds[number:]:
        names = ", ".join(title(hold) for hold in holds[number:])
        more = hanging(f"  and {len(holds) - number} more: ", names, size.columns)
        found += [((line, "red"),) for line in more]
    return [*found, *_escalation(scene)]


def _hold(hold: Json, scene: Scene, columns: int) -> list[Line]:
    age = duration(scene.now - seconds_of(hold["since"])) if hold.get("since") else ""
    by = "" if hold.get("by") in (None, "controller", "reader") else f" by {printable(hold['by'])}"
    item = printable(hold.get("item") or "")
    where = f" ({item})" if item not in ("", "run", hold.get("by")) and item not in str(hold.get("detail")) else ""
    head = f"{title(hold)}{where}" + (f" for {age}" if age else "") + by
    detail = f": {printable(hold['detail'])}" if hold.get("detail") else ""
    ending = ending_of(hold, scene.status)
    lines: list[Line] = [((line, "bold red"),) for line in hanging("HOLDS ", head + detail, columns, 2)]
    lines += [((line, ""),) for line in hanging("  ends when ", printable(ending.ends), columns, 2)]
    typed = [one.removesuffix(" --reason TEXT") for one in ending.commands[:2]]
    if typed and width("  type  " + " | ".join(typed)) > columns:
        typed = typed[:1]
    return [*lines, (("  type  ", "dim"), (" | ".join(typed), "cyan"))] if typed else lines


def _escalation(scene: Scene) -> list[Line]:
    escalations = (scene.status.get("notifications") or {}).get("escalations") or ()
    open_ones = [one for one in escalations if one["acknowledged_by"] is None and one.get("next")]
    if not open_ones:
        return []
    first = min(open_ones, key=lambda one: str(one["next"]["at"]))["next"]
    channels = ", ".join(map(printable, first["channels"]))
    return [((f"  tells {channels} in {_until(first['at'], scene.now)} unless somebody acknowledges", "yellow"),)]


def _until(at: object, now: float) -> str:
    return duration(max(seconds_of(at) - now, 0.0))


# --- stages and exposure ----------------------------------------------------------------------------------------------


def _stages(scene: Scene, size: Size) -> Part:
    """A tree: environments, and below them their stages with their steps."""
    stages = scene.status.get("stages") or []
    lines: list[Line] = []
    focus, environment = 0, None
    wide = min(max((width(printable(one["name"])) for one in stages), default=0), max(size.columns // 3, 8))
    for one in stages:
        if one["environment"] != environment:
            environment = one["environment"]
            lines.append(((cut(printable(environment), size.columns), "bold"),))
        if one["state"] == "current" or (one["state"] in ("done", "skipped", "cut") and focus <= len(lines)):
            focus = len(lines)
        lines.append(_stage(one, scene.status, wide, size.columns))
    return Part(lines, least=4, focus=focus)


def _stage(one: Json, status: Json, wide: int, columns: int) -> Line:
    mark, colour = MARKS.get(str(one["state"]), ("?", ""))
    name = cut(printable(one["name"]), wide)
    head: Line = ((f"  {mark} ", colour), (name + " " * (wide - width(name)), "bold" if colour == "bold" else colour))
    if one["state"] in ("skipped", "cut"):
        return (*head, (f"  {one['state']}", "dim"))
    room = columns - width_of(head) - 2
    if one["state"] != "current" or status["phase"] == "rolling_back":
        return (*head, ("  " + cut(f"{printable(one['kind'])}, {_steps(one)}", room), "dim"))
    return (*head, ("  ", ""), *_current_steps(one, status, room))


def _steps(one: Json) -> str:
    steps = [printable(step) for step in one.get("steps") or ()]
    return " ".join(steps) if 1 < len(steps) <= 6 else f"{len(steps)} step{'' if len(steps) == 1 else 's'}"


def _current_steps(one: Json, status: Json, room: int) -> Line:
    """The step that the run is at, marked, with those around it as far as there is room."""
    steps = [printable(step) for step in one.get("steps") or ()]
    here = printable(status.get("step") or "")
    if here not in steps:
        return ((cut(" ".join(steps), room), ""),)
    index = steps.index(here)
    before, after = " ".join(steps[:index]), " ".join(steps[index + 1 :])
    count = f" ({index + 1} of {len(steps)})"
    if width(f"{before} [{here}] {after}") <= room:
        return ((before + " " if before else "", "green"), (f"[{here}]", "bold"), (" " + after if after else "", "dim"))
    return ((cut(f"[{here}]", max(room - len(count), 3)), "bold"), (count, "dim"))


def _exposure(scene: Scene, size: Size) -> Part:
    """A bar for each flag: those on their way first."""
    shares = scene.status.get("percentages") or {}
    order = sorted(shares, key=lambda flag: (shares[flag] in (0.0, 100.0), -shares[flag], flag))
    if size.rows < ROOMY_ROWS:
        order = [flag for flag in order if shares[flag]] or order[:1]
    wide = min(max((width(printable(flag)) for flag in order), default=0), max(size.columns // 3, 8))
    bar = max(min(size.columns - wide - 14, LONGEST_BAR), 4)
    lines = [_bar_line(printable(flag), float(shares[flag]) / 100, f"{shares[flag]:g} %", wide, bar) for flag in order]
    return Part(lines[:1] if size.rows < 20 else lines, least=1)


def _bar_line(name: str, share: float, words: str, wide: int, bar: int) -> Line:
    name = cut(name, wide)
    full = min(max(round(share * bar), 1 if share > 0 else 0), bar)
    space = " " * (wide - width(name))
    return ((f"  {name}{space}  ", ""), ("█" * full, "green"), ("░" * (bar - full), "dim"), (f" {words}", ""))


# --- how far, and how it looks ----------------------------------------------------------------------------------------


def _progress(scene: Scene, size: Size) -> Part:
    status, lines = scene.status, []
    progress = status.get("progress")
    if progress:
        lines.append(_progress_line(progress, scene, size))
    elif status.get("rollback") and status["phase"] != "ended":
        lines += _way_back(status["rollback"], size)
    coming = status.get("next") or {}
    if coming.get("what") and status["phase"] != "ended":
        at = f" in {_until(coming['at'], scene.now)}" if coming.get("at") and not progress else ""
        lines.append((("  next  ", "dim"), (f"{printable(coming['what'])}{at}", "")))
    return Part(lines, least=2)


def _progress_line(progress: Json, scene: Scene, size: Size) -> Line:
    what = str(progress["what"])
    if what == "backfill":
        from orchestrator.cli.standing import how_far

        return ((f"  {what}  ", "dim"), (how_far(progress), ""))
    of = float(progress["of_seconds"])
    passed = min(float(progress["passed_seconds"]) + scene.passed, of)
    left = f"{duration(of - passed)} to go" if passed < of else "full"
    least = progress.get("least_seconds")
    if least is not None and passed < least < of:  # a test may have seen enough before the bake is full
        left += f", earliest in {duration(least - passed)}"
    bar = max(min(size.columns - len(what) - 32, LONGEST_BAR), 4)
    return _bar_line(what, passed / of if of else 1.0, f"{duration(passed)} of {duration(of)}, {left}", len(what), bar)


def _way_back(under_way: Json, size: Size) -> list[Line]:
    nodes = under_way.get("nodes") or []
    done = sum(node.get("result") is not None for node in nodes)
    bar = max(min(size.columns - 40, LONGEST_BAR), 4)
    why = printable(under_way.get("reason")) or str(under_way.get("cause")).replace("_", " ")
    by = "" if under_way.get("by") == "controller" else f" by {printable(under_way.get('by'))}"
    words = f"{done} of {len(nodes)} done"
    return [
        _bar_line("way back", done / len(nodes) if nodes else 1.0, words, len("way back"), bar),
        (("  why   ", "dim"), (f"{why}{by}", "")),
    ]


def _gate(scene: Scene, size: Size) -> Part:
    gate = scene.status.get("gate")
    if not gate:
        return Part([], least=0)
    verdict = str(gate["verdict"])
    head: Line = (("gate ", "bold"), (f"{printable(gate['name'])}: ", ""), (verdict, COLOURS.get(verdict, "")))
    criteria = worst_first(gate.get("criteria") or [])
    trails = [trail_of(one) for one in criteria]
    wide = max((len(bars) for bars in trails), default=0) if size.columns >= 60 else 0
    is_narrow = size.columns < 70
    lines = [_criterion(one, bars if wide else "", wide, is_narrow) for one, bars in zip(criteria, trails, strict=True)]
    return Part(lines, least=3, head=head)


def _criterion(one: Json, bars: str, wide: int, is_narrow: bool) -> Line:
    verdict = str(one["verdict"])
    colour = COLOURS.get(verdict, "")
    mark = {"pass": "✓", "fail": "✗"}.get(verdict, "?")
    said = printable(one.get("sentence") or one["name"])
    measured = "" if is_narrow else measured_of(one)
    trail: Line = ((bars.rjust(wide) + " ", colour),) if wide else ()
    return ((f"  {mark} ", colour), *trail, (measured, "bold"), (said, ""))


# --- who may do what, and what happened -------------------------------------------------------------------------------


def _commands(scene: Scene) -> Part:
    run = str(scene.status.get("run"))
    held = {line for hold in first_things(scene.status) for line in ending_of(hold, scene.status).commands}
    allowed = _each_once_first([one for one in scene.offers if one["refused"] is None])
    typed = [(offered_line(one, run), printable(one["what"])) for one in allowed]
    lines: list[Line] = [
        (("  " + line.removesuffix(" --reason TEXT"), "cyan"), (f"  {what}", "dim"))
        for line, what in typed
        if line not in held
    ]
    return Part(lines, least=4, head=((f"{scene.actor or 'you'} may", "bold"),))


def _each_once_first(offers: list[Json]) -> list[Json]:
    """Each command in its plainest form, then the other forms: where there is little room, they hide nothing."""
    plainest: dict[str, Json] = {}
    for one in offers:
        plainest.setdefault(str(one["command"]), one)
    first = list(plainest.values())
    return [*first, *(one for one in offers if one not in first)]


def _events(scene: Scene) -> Part:
    return Part(list(scene.events), least=4, focus=-1)


def event_line(entry: Json, sentence: str) -> Line:
    return ((f"{hours(entry['time'])}  ", "dim"), (printable(sentence), colour_of(entry)))


_BAD = ("GateFailed", "EffectFailed", "RollbackStarted", "OnFailPaused", "ChannelFailing", "ActRefused", "DriftFound")
_WAITS = ("HoldSet", "WaitingOpened", "TriggerFired", "Paused", "KillSwitched", "StopRequested")


def colour_of(entry: Json) -> str:
    """By kind: what turned bad is red, what waits yellow, what a person did cyan, a good end green."""
    kind, data = str(entry["type"]), entry.get("data") or {}
    if kind == "RunEnded":
        return COLOURS.get(str(data.get("outcome")), "")
    if kind in _BAD or data.get("result") == "failed" or data.get("standing") == "no":
        return "red"
    if kind in _WAITS:
        return "yellow"
    return "cyan" if entry.get("by") not in (None, "controller") else ""
