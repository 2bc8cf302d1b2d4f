"""`rollout check`: the checks of a file, asked now."""

import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli import ask
from orchestrator.cli.client import Json
from orchestrator.cli.output import duration, paint, printable, show
from orchestrator.cli.plans import load, read_text, refused, warn
from orchestrator.cli.settings import state_dir, store_url
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.ports import CheckAnswer
    from orchestrator.rounds import Checklist
    from stages.checks import Check
    from stages.load import LoadedPlan
    from stages.load_schedule import LoadedSchedule

COLOURS = {"yes": "green", "no": "red", "unknown": "yellow"}


def check(arguments: Namespace) -> int:
    """0: everything that is required is as it should be. 1: something is not, or could not be asked. 2: not valid."""
    import asyncio

    from orchestrator.app import Settings, ask_checklists

    asked = _checklists(arguments.file, arguments.settings)
    chosen = _chosen(asked.rounds, arguments.rounds, arguments.file)
    warn(asked.plan)
    directory = str(Path(arguments.file).absolute().parent)
    person = _Person() if ask.on_terminal() else None
    settings = Settings(store_url(), state_dir())
    results = asyncio.run(ask_checklists(settings, asked.plan, directory, chosen, person))
    found = [one.to_json() for one in results]
    show(found, arguments.output, _as_text)
    return 0 if all(one["standing"] == "yes" for one in found) else 1


@dataclass(frozen=True, slots=True)
class _Asked:
    plan: "LoadedPlan"
    rounds: tuple["Checklist", ...]


def _checklists(file: str, settings: list[str]) -> _Asked:
    """The rounds of scheduled checks; of a plan its own checks, a round for each environment."""
    from orchestrator.rounds import Checklist, checklists_of

    schedule = load_if_schedule(file, settings)
    if schedule is None:
        plan = load(file, settings)
        return _Asked(plan, checklists_of(plan))
    rounds = tuple(
        Checklist(one.name, schedule.plan.documents[0][0], one.checks) for one in schedule.document.spec.rounds
    )
    return _Asked(schedule.plan, rounds)


def load_if_schedule(file: str, settings: list[str]) -> "LoadedSchedule | None":
    """None if the file is meant to be something else. Raises InvalidPlan, or UsageError for what can't be read."""
    from stages.load_schedule import is_scheduled, load_schedule
    from stages.problems import InvalidPlan

    path = Path(file)
    text = read_text(path)
    try:
        if not is_scheduled(text, file):
            return None
        return load_schedule(text, file, os.environ, settings, read_file=lambda name: (path.parent / name).read_bytes())
    except InvalidPlan as error:
        raise refused(error) from None


def _chosen(rounds: tuple["Checklist", ...], names: list[str], file: str) -> tuple["Checklist", ...]:
    if not any(one.checks for one in rounds):
        raise UsageError(f"{file} has no checks of its own; those of stages and steps are asked in a run")
    known = [one.name for one in rounds]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no round {name} in {file}; there are {', '.join(known)}")
    return tuple(one for one in rounds if not names or one.name in names)


class _Person:
    """Whoever sits at the terminal."""

    def __call__(self, check: "Check") -> "CheckAnswer":
        from orchestrator.ports import CheckAnswer
        from stages.checks import Standing

        who = f" (for {', '.join(check.by)})" if check.by else ""
        typed = ask.line(f"{printable(check.manual)}{printable(who)} [yes/no] ").lower()
        match typed:
            case "y" | "yes":
                return CheckAnswer(Standing.YES, "a person says yes")
            case "n" | "no":
                return CheckAnswer(Standing.NO, "a person says no")
            case _:
                return CheckAnswer(Standing.UNKNOWN, f"nobody said yes or no: {check.manual}")


def _as_text(found: list[Json]) -> str:
    return "\n\n".join(_round(one) for one in found)


def _round(result: Json) -> str:
    bad = sum(one["standing"] != "yes" and one["required"] for one in result["checks"])
    words = "all well" if not bad else f"{bad} of {len(result['checks'])} not as it should be"
    lines = [paint(f"{printable(result['round'])}: {words}", "bold")]
    for one in result["checks"]:
        standing = f"{one['standing']:<8}"
        optional = "" if one["required"] else " (not required)"
        took = f" ({duration(one['seconds'])})" if one["seconds"] >= 1 else ""
        name = printable(one["name"])
        lines.append(f"  {paint(standing, COLOURS[one['standing']])} {name}{optional}{took}")
        if one["detail"]:
            lines.append(paint(f"           {printable(one['detail'])}", "dim"))
    return "\n".join(lines)
