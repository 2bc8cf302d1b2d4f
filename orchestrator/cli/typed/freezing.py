"""Freezes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.typed.parts import command, with_output, with_reason, with_server

if TYPE_CHECKING:
    from orchestrator.cli.typed.parts import Commands


def add(commands: Commands) -> None:
    frozen = command(
        commands, "freeze", "freeze.freeze",
        "Let no run go forward, in all environments unless one is named.",
        """
        Runs hold (window) and go on when it ends. Gates, bakes and triggers go on, and so does every way back: a
        failing gate, a trigger or a person still rolls back. Nobody's `advance` overrides it. Done again, it may last
        longer.
        """,
    )  # fmt: skip
    frozen.add_argument("--until", metavar="TIME|DURATION", help="2h, 2027-01-31T08:00:00Z (until it is unfrozen)")
    frozen.add_argument("--yes", action="store_true", help="do not ask")
    frozen.add_argument("--status", action="store_true", help="only show what is frozen now")
    thawed = command(
        commands, "unfreeze", "freeze.unfreeze", "End a freeze before its time; takes an approver.",
        """
        Without --environment, the freeze over all environments; those of single environments stay.
        """,
    )  # fmt: skip
    for parser in (frozen, thawed):
        parser.add_argument("--environment", metavar="NAME", help="only this environment")
        with_reason(parser, required=True)
        with_server(parser)
        with_output(parser)
