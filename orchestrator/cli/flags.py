"""`rollout flag ...`: looking at flags, changing them, and the kill switch."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from orchestrator.cli import ask
from orchestrator.cli import show as text
from orchestrator.cli.client import Client, Json
from orchestrator.cli.output import note, printable, show
from orchestrator.cli.settings import find_controller
from orchestrator.cli.sources import StoreSource, open_client, open_source
from orchestrator.errors import UsageError

DEFAULT_ENVIRONMENT = "production"


def usage(_arguments: Namespace) -> int:
    raise UsageError("`rollout flag` needs one of list, get, history, set, evaluate, export, import, disable-all, lift")


def list_flags(arguments: Namespace) -> int:
    if arguments.full_for is None:
        if arguments.search is not None:
            raise UsageError("--search looks for the flags of --full-for TIME, such as --full-for 30d")
        show(open_source(arguments.server).flags(arguments.environment), arguments.output, text.flags)
        return 0
    found = open_source(arguments.server).flags(arguments.environment, _seconds(arguments.full_for))
    if arguments.search is not None:
        from orchestrator.cli.mentions import mentions

        where = mentions(Path(arguments.search), [one["key"] for one in found])
        found = [{**one, "mentions": where[one["key"]]} for one in found]
    show(found, arguments.output, text.full_flags)
    return 0


def _seconds(given: str) -> float:
    from stages.values import parse_duration

    try:
        return float(parse_duration(given))
    except ValueError as error:
        raise UsageError(f"--full-for: {error}") from None


def history(arguments: Namespace) -> int:
    found = open_source(arguments.server).flag_history(_environment(arguments), arguments.key)
    show(found, arguments.output, text.flag_history)
    return 0


def get(arguments: Namespace) -> int:
    found = open_source(arguments.server).flag(_environment(arguments), arguments.key)
    show(found, arguments.output, text.flag)
    return 0


def change(arguments: Namespace) -> int:
    wanted = to_change(arguments)
    client = open_client(arguments.server)
    reason = ask.reason(arguments, f"set {arguments.key}")
    changed = client.set_flag(_environment(arguments), arguments.key, wanted, reason)
    if changed.get("run") and arguments.output == "table":
        note(
            f"run {printable(changed['run'])} uses this flag and holds until `rollout resume` with --keep or --release"
        )
    show(changed, arguments.output, text.flag)
    return 0


def evaluate(arguments: Namespace) -> int:
    context = dict(_pair(given, "--context") for given in arguments.context)
    if arguments.targeting_key is not None:
        context["targetingKey"] = arguments.targeting_key
    answer = open_source(arguments.server).evaluate(_environment(arguments), arguments.key, context)
    show(answer, arguments.output, text.fields)
    return 0


def disable_all(arguments: Namespace) -> int:
    given = {name: getattr(arguments, name) for name in ("environment", "run", "owner", "include_permanent", "reason")}
    asked = {name: value for name, value in given.items() if value}
    address = find_controller(arguments.server)
    if address is not None:
        answer = Client(address).disable_all(asked)
    else:  # the switch is a file beside the store: it can be thrown while nobody serves flags
        answer = StoreSource().disable_all(asked)
        note("no controller runs now; whichever starts here finds the switch thrown")
    show(answer, arguments.output, _disabled)
    return 0


def lift(arguments: Namespace) -> int:
    client = open_client(arguments.server)
    reason = ask.reason(arguments, "lift the kill switch")
    returns = client.lift(arguments.environment, arguments.flag, reason, confirm=False).get("would_return") or {}
    note(_returning(returns))
    remedy = "lifting needs --yes where nobody can be asked; the lines above say which percentage each flag returns to"
    if not ask.confirmed("Lift the kill switch?", yes=arguments.yes, remedy=remedy):
        note("not lifted")
        return 1
    return _lift(client, arguments, reason)


def _lift(client: Client, arguments: Namespace, reason: str) -> int:
    answer = client.lift(arguments.environment, arguments.flag, reason, confirm=True)
    show(answer, arguments.output, lambda _: f"the kill switch is lifted{_where(arguments)}")
    return 0


def _where(arguments: Namespace) -> str:
    flag = f" for {printable(arguments.flag)}" if arguments.flag else ""
    return f"{flag} in {printable(arguments.environment)}" if arguments.environment else f"{flag} in all environments"


def _returning(returns: Json) -> str:
    if not returns:
        return "no flag is held by the kill switch there"
    lines = [f"  {printable(flag)} returns to {float(value):g} %" for flag, value in sorted(returns.items())]
    return "\n".join(["when the kill switch is lifted:", *lines])


def _disabled(answer: Json) -> str:
    lines = []
    for latch in answer.get("latches") or (answer,):
        where = latch.get("environment")
        place = "all environments" if where in (None, "*") else f"environment {printable(where)}"
        keys = latch.get("flags")
        what = f"{', '.join(map(printable, keys))} of {place}" if keys else f"every flag of {place}"
        aside = "" if latch.get("include_permanent") else " (permanent ones aside)"
        lines.append(f"{what} answers its off variant{aside}, until `rollout flag lift`")
    return "\n".join(lines)


def _environment(arguments: Namespace) -> str:
    return str(arguments.environment or DEFAULT_ENVIRONMENT)


# --- values -----------------------------------------------------------------------------------------------------------


def to_change(arguments: Namespace) -> Json:
    """What is to be set, as the API takes it. Raises UsageError if that is nothing, or not a value."""
    if arguments.percentage is not None and not 0 <= arguments.percentage <= 100:
        raise UsageError(f"--percentage {arguments.percentage:g}: 0 to 100 is expected")
    wanted: Json = {
        "percentage": arguments.percentage,
        "state": arguments.state,
        "profile": arguments.profile,
        "parameters": dict(_parameter(given) for given in arguments.parameter) or None,
        "targets": dict(_target(given) for given in arguments.target) or None,
    }
    wanted = {name: value for name, value in wanted.items() if value is not None}
    if not wanted:
        raise UsageError("nothing to set: give --percentage, --state, --profile, --parameter or --target")
    return wanted


def _pair(given: str, option: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not equals or not name:
        raise UsageError(f"{option} {given!r}: NAME=VALUE is expected")
    return name, value


def _parameter(given: str) -> tuple[str, Any]:
    """A value that is no JSON is a text, so that words need no quotes."""
    name, value = _pair(given, "--parameter")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
    except RecursionError:
        raise UsageError(f"--parameter {name}: its value is nested too deeply") from None


def _target(given: str) -> tuple[str, list[str]]:
    attribute, values = _pair(given, "--target")
    return attribute, [value for value in values.split(",") if value]
