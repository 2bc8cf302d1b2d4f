"""Scheduled checks: `rollout start FILE` has them asked, `rollout schedule` looks at them and ends them."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli import ask
from orchestrator.cli.client import Json
from orchestrator.cli.output import clock, note, paint, printable, show, table
from orchestrator.cli.plans import warn
from orchestrator.cli.sources import open_client

if TYPE_CHECKING:
    from stages.load_schedule import LoadedSchedule

COLOURS = {"yes": "green", "no": "red", "unknown": "yellow"}


def begin(loaded: "LoadedSchedule", arguments: Namespace) -> int:
    """It takes a controller that stays: one of this process would be gone before anything is due."""
    warn(loaded.plan)
    client = open_client(arguments.server)
    body = {
        "digest": loaded.digest,
        "document": loaded.raw,
        "files": dict(loaded.plan.files),
        "directory": str(Path(arguments.plan).absolute().parent),
        "reason": arguments.reason,
    }
    answer = client.schedule(body)
    is_new = answer["scheduled"]
    note("its rounds are asked from now on" if is_new else "the very same document is scheduled already")
    if is_new:
        for one in client.scheduled(loaded.name)["rounds"]:
            note(f"  {printable(one['name'])}: next at {clock(one['next'])} UTC")
    print(loaded.name)
    return 0


def usage(_arguments: Namespace) -> int:
    note("rollout schedule list | show NAME | stop NAME --reason TEXT; `rollout start FILE` schedules a document")
    return 2


def list_all(arguments: Namespace) -> int:
    show(open_client(arguments.server).schedules(), arguments.output, _table)
    return 0


def show_one(arguments: Namespace) -> int:
    show(open_client(arguments.server).scheduled(arguments.name, arguments.limit), arguments.output, _as_text)
    return 0


def stop(arguments: Namespace) -> int:
    reason = ask.reason(arguments, f"end the scheduled checks {arguments.name}")
    open_client(arguments.server).end_schedule(arguments.name, reason)
    note(f"{arguments.name} is asked no more; what it was answered stays")
    return 0


def _table(found: list[Json]) -> str:
    rows = [
        (one["name"], entry["name"], _standing(entry["last"]), _at(entry["last"]), clock(entry["next"]), one["by"])
        for one in found
        for entry in one["rounds"]
    ]
    heads = ("name", "round", "standing", "last", "next", "by")
    return table(heads, rows, "nothing is scheduled; `rollout start FILE` schedules a document of kind ScheduledChecks")


def _standing(turn: Json | None) -> str:
    if turn is None:
        return "-"
    return str(turn["standing"] or "being asked")


def _at(turn: Json | None) -> str:
    return clock(turn["begun"] or turn["due"]) if turn is not None else "-"


def _as_text(found: Json) -> str:
    lines = [paint(f"{printable(found['name'])}, by {printable(found['by'])}, times in UTC", "bold")]
    lines += [
        f"  {printable(one['name'])}: {one['checks']} checks, next at {clock(one['next'])}" for one in found["rounds"]
    ]
    for turn in found["turns"]:
        lines += ["", *_turn(turn)]
    return "\n".join(lines)


def _turn(turn: Json) -> list[str]:
    standing = _standing(turn)
    painted = paint(standing, COLOURS[standing]) if standing in COLOURS else standing
    lines = [f"{clock(turn['due'])}  {printable(turn['round'])}  {painted}{_lateness(turn)}"]
    for one in turn["checks"]:
        if one["standing"] != "yes":
            optional = "" if one["required"] else " (not required)"
            lines.append(f"    {one['standing']}: {printable(one['name'])}{optional}: {printable(one['detail'])}")
    for told in turn["told"]:
        became = "told" if told["delivered"] else f"could not be told: {printable(told['detail'])}"
        lines.append(paint(f"    {printable(told['channel'])} {became}", "dim"))
    return lines


def _lateness(turn: Json) -> str:
    if turn["missed_since"] is not None:
        return f" (asked {clock(turn['begun'])}; missed since {clock(turn['missed_since'])})"
    return f" (asked {clock(turn['begun'])})" if turn["late_seconds"] is not None else ""
