"""Flags and the kill switch."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from orchestrator.cli.typed.parts import Parser, command, with_output, with_reason, with_server

if TYPE_CHECKING:
    from orchestrator.cli.typed.parts import Commands


def add(commands: Commands) -> None:
    flag = command(commands, "flag", "flags.usage", "Look at flags and change them; the kill switch.")
    flag.add_argument("--environment", metavar="NAME", default=None, help="production, unless said otherwise")
    actions = flag.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser, prog="rollout flag")
    listed = command(actions, "list", "flags.list_flags", "Show the flags (of every environment unless one is named).")
    get = command(actions, "get", "flags.get", "Show one flag.")
    history = command(actions, "history", "flags.history", "Show who changed what of a flag, and why; newest first.")
    change = command(actions, "set", "flags.change", "Change a flag. If a run uses it, that run holds.")
    evaluate = command(actions, "evaluate", "flags.evaluate", "Say what a flag answers to somebody, and why.")
    disable = command(
        actions, "disable-all", "flags.disable_all",
        "The kill switch: every flag answers its off variant, in all environments unless one is named.",
    )  # fmt: skip
    lift = command(
        actions, "lift", "flags.lift", "Lift the kill switch, having shown what returns to which percentage."
    )
    export = command(actions, "export", "flagd.export", "Print the flags of an environment as a file that flagd reads.")
    taken = command(actions, "import", "flagd.import_", "Take flags over from a file of flagd's, or from an export.")
    taken.add_argument("file", metavar="FILE", help="- is standard input")
    for parser in (get, history, change, evaluate):
        parser.add_argument("key", metavar="KEY")
    for parser in (listed, get, history, change, evaluate, export, taken, disable, lift):
        parser.add_argument("--environment", metavar="NAME", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        with_server(parser)
        if parser is not export:
            with_output(parser)
    listed.add_argument(
        "--full-for", metavar="TIME", help="only those at 100 %% for so long (30d): the flag could go from the code"
    )
    listed.add_argument("--search", metavar="DIR", help="with --full-for: also show the lines of DIR that name them")
    _add_flag_values(change)
    evaluate.add_argument("--targeting-key", metavar="TEXT", help="who is asked about")
    evaluate.add_argument(
        "--context", metavar="k=v", action="append", default=[], help="an attribute (may be repeated)"
    )
    whose = disable.add_mutually_exclusive_group()
    whose.add_argument("--run", metavar="RUN", help="only the flags of this run's plan")
    whose.add_argument("--owner", metavar="NAME", help="only the flags of plans with this owner")
    disable.add_argument("--include-permanent", action="store_true", help="permanent flags too")
    lift.add_argument("--flag", metavar="KEY", help="only for this flag")
    lift.add_argument("--yes", action="store_true", help="do not ask")
    with_reason(disable, required=False)  # a kill switch must work in a hurry
    for parser in (change, taken, lift):
        with_reason(parser, required=True)


def _add_flag_values(change: Parser) -> None:
    change.add_argument("--percentage", metavar="N", type=float, help="0 to 100")
    change.add_argument("--state", choices=("enabled", "disabled"))
    change.add_argument("--profile", metavar="NAME", help="one of the flag's profiles of parameters")
    change.add_argument(
        "--parameter", metavar="k=JSON", action="append", default=[], help="a parameter (may be repeated)"
    )
    change.add_argument(
        "--target", metavar="ATTRIBUTE=a,b", action="append", default=[],
        help="who has the flag whatever the percentage (may be repeated)",
    )  # fmt: skip
