"""What an operator asks of a run: one command to the controller."""

from argparse import Namespace

from orchestrator.cli import ask, show
from orchestrator.cli.client import Client, Json
from orchestrator.cli.output import note
from orchestrator.cli.output import show as show_value
from orchestrator.cli.settings import means_cluster
from orchestrator.cli.sources import open_client

_ARGUMENTS = ("item", "stage", "flag", "pin", "target", "taken_as", "trigger", "with_schema", "not_applicable")


def act(arguments: Namespace) -> int:
    if means_cluster(arguments):
        from orchestrator.cli import cluster

        return cluster.act(arguments)
    client = open_client(arguments.server)
    if arguments.command == "rollback" and not _may_take_back(client, arguments):
        note("nothing was changed")
        return 1
    reason = ask.reason(arguments, arguments.command)
    answer = client.command(arguments.run, to_command(arguments, reason))
    show_value(answer, arguments.output, show.accepted)
    return 0


def _may_take_back(client: Client, arguments: Namespace) -> bool:
    """Of a run that has ended it is shown first what that means. One that is under way goes back at once."""
    if arguments.yes or not ask.on_terminal():
        return True
    from orchestrator.cli.taking_back import told

    lines = told(client, arguments.run, with_schema=arguments.with_schema)
    if lines is None:
        return True
    note("\n".join(lines))
    return ask.confirmed("Take it back?", yes=False, remedy="")


def to_command(arguments: Namespace, reason: str) -> Json:
    """The command as the API takes it: what was not typed is left out."""
    typed = {name: getattr(arguments, name, None) for name in _ARGUMENTS}
    given = {name: value for name, value in typed.items() if value not in (None, False)}
    return {"command": arguments.command, "reason": reason, **given}
