"""The parser of what is typed. Each group of commands has a module in ``typed``, imported when one of it is meant."""

from __future__ import annotations

from importlib import import_module

from orchestrator.cli.help import main_help
from orchestrator.cli.typed.parts import Parser, performer

GROUPS: dict[str, tuple[str, ...]] = {
    "beginning": ("start", "validate", "rehearse", "backtest", "check", "bundle", "schema"),
    "serving": ("serve",),
    "reading": ("list", "status", "explain", "watch", "history", "report", "export", "runbook", "verify"),
    "acting": (
        "pause", "resume", "approve", "reject", "withdraw", "advance", "rollback", "stop", "resolve", "fire", "ack",
    ),
    "flags": ("flag",),
    "freezing": ("freeze", "unfreeze"),
    "scheduling": ("schedule",),
    "access": ("token",),
    "shells": ("completion",),
}  # fmt: skip
"""Module of ``typed`` -> the commands that its ``add`` adds."""


class MainParser(Parser):
    def format_help(self) -> str:
        return main_help()


def make_parser(only: str | None = None) -> Parser:
    """All commands, or those needed to understand *only*: making them all takes longer than most of them take."""
    parser = MainParser(prog="rollout")
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.set_defaults(perform=performer("about.version_or_help"), command=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser, prog="rollout")
    for module in [name for name, typed in GROUPS.items() if only in typed] or GROUPS:
        import_module(f"orchestrator.cli.typed.{module}").add(commands)
    return parser
