"""Scheduled checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.typed.parts import Parser, command, with_output, with_reason, with_server

if TYPE_CHECKING:
    from orchestrator.cli.typed.parts import Commands


def add(commands: Commands) -> None:
    schedule = command(
        commands, "schedule", "schedules.usage", "Look at scheduled checks, and end them.",
        "`rollout start FILE` has the rounds of a document of kind ScheduledChecks asked at their times.",
    )  # fmt: skip
    actions = schedule.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser, prog="rollout schedule")
    listed = command(actions, "list", "schedules.list_all", "Show each round: how it was answered, and when next.")
    shown = command(actions, "show", "schedules.show_one", "Show what the rounds of one document were answered.")
    shown.add_argument("--limit", metavar="N", type=int, default=20, help="how many turns, newest first (20)")
    stop = command(actions, "stop", "schedules.stop", "Ask its rounds no more; what they were answered stays.")
    for parser in (shown, stop):
        parser.add_argument("name", metavar="NAME")
    with_reason(stop, required=True)
    for parser in (listed, shown, stop):
        with_server(parser)
    for parser in (listed, shown):
        with_output(parser)
