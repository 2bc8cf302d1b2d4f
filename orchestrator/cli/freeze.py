"""`rollout freeze` and `rollout unfreeze`: nothing goes forward in an environment, or in any; and goes on."""

from argparse import Namespace

from orchestrator.cli import ask
from orchestrator.cli.output import clock, note, printable, show, table
from orchestrator.cli.sources import Json, open_client, open_source
from orchestrator.errors import UsageError

EVERYWHERE = "*"
NOTHING = "nothing is frozen"


def freeze(arguments: Namespace) -> int:
    if arguments.status:
        return _status(arguments)
    asked: Json = {"environment": arguments.environment, "until": arguments.until}
    client = open_client(arguments.server)
    what = f"freeze {arguments.environment or 'all environments'}"
    asked["reason"] = ask.reason(arguments, what)
    if ask.on_terminal() and not ask.confirmed(f"{what[0].upper()}{what[1:]}?", yes=arguments.yes, remedy=""):
        note("not frozen")
        return 1
    answer = client.freeze({name: value for name, value in asked.items() if value is not None})
    show(answer, arguments.output, _frozen)
    return 0


def unfreeze(arguments: Namespace) -> int:
    client = open_client(arguments.server)
    reason = ask.reason(arguments, f"unfreeze {arguments.environment or 'all environments'}")
    asked: Json = {"reason": reason}
    if arguments.environment is not None:
        asked["environment"] = arguments.environment
    show(client.unfreeze(asked), arguments.output, _unfrozen)
    return 0


def _status(arguments: Namespace) -> int:
    if arguments.reason or arguments.until is not None:
        raise UsageError("--status only looks: give it without --reason and --until")
    found = open_source(arguments.server).freezes()
    if arguments.environment is not None:
        found = [one for one in found if one["environment"] in (EVERYWHERE, arguments.environment)]
    show(found, arguments.output, _table)
    return 0


def sentences(found: list[Json]) -> list[str]:
    """One of each freeze that stands, for above a list of runs."""
    return [_sentence(one) for one in found]


def _sentence(one: Json) -> str:
    return f"{_place(one)} is frozen {_until(one)} by {printable(one['by'])}: {printable(one['reason'])}"


def _place(one: Json) -> str:
    return "every environment" if one["environment"] == EVERYWHERE else printable(one["environment"])


def _until(one: Json) -> str:
    return f"until {clock(one['until'])} UTC" if one["until"] else "until somebody unfreezes it"


def _frozen(answer: Json) -> str:
    held = answer.get("runs") or []
    runs = f"holds {', '.join(map(printable, held))}" if held else "no active run stands there now"
    where = "" if answer["environment"] == EVERYWHERE else f" --environment {printable(answer['environment'])}"
    return f"{_place(answer)} is frozen {_until(answer)}: {runs}; `rollout unfreeze{where}` ends it before"


def _unfrozen(answer: Json) -> str:
    lines = [f"{_place(answer)} is not frozen any more"]
    return "\n".join([*lines, *(f"  {sentence}" for sentence in sentences(answer.get("frozen") or []))])


def _table(found: list[Json]) -> str:
    rows = [[_place(one), one["by"], clock(one["at"]), clock(one["until"]), one["reason"]] for one in found]
    return table(("environment", "by", "since", "until", "reason"), rows, NOTHING)
