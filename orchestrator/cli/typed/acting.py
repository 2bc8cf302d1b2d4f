"""What is asked of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.typed.parts import Parser, command, with_cluster, with_output, with_reason, with_server

if TYPE_CHECKING:
    from orchestrator.cli.typed.parts import Commands


def add(commands: Commands) -> None:
    _acting(
        commands, "pause", "Hold a run in place.",
        details="Gates and triggers stay watched, and a failing one still rolls back.",
    )  # fmt: skip
    resume = _acting(commands, "resume", "Go on with a run, or decide about a pinned flag.")
    resume.add_argument("--flag", metavar="KEY", help="the pinned flag that is meant")
    either = resume.add_mutually_exclusive_group()
    either.add_argument("--keep", dest="pin", action="store_const", const="keep", help="the flag stays as it is")
    either.add_argument("--release", dest="pin", action="store_const", const="release", help="the plan's value again")
    for name, what in (("approve", "Say yes to what waits."), ("reject", "Say no to what waits; it goes on waiting.")):
        answer = _acting(commands, name, what)
        answer.add_argument("--item", metavar="NAME", help="which one, if several wait")
        if name == "approve":
            answer.add_argument("--not-applicable", action="store_true", help="for an item that is optional")
    withdraw = _acting(
        commands, "withdraw", "Take an approval back that you gave.", required=True,
        details="While others are still missing: once it was enough, pause and rollback are what works.",
    )  # fmt: skip
    withdraw.add_argument("--item", metavar="NAME", help="which one, if you approved several")
    _acting(
        commands, "advance", "Take the next step now, or end this phase of the watch.", required=True,
        details="Overrides a bake and a gate that can't be judged, never one that fails.",
    )  # fmt: skip
    rollback = _acting(
        commands, "rollback", "Bring every target back to what was there before.", required=True,
        details="Of a run that has ended this starts a run in reverse; on a terminal it first shows what that means.",
    )  # fmt: skip
    rollback.add_argument("--stage", metavar="NAME", help="only this stage and those after it; then the run is paused")
    rollback.add_argument("--with-schema", action="store_true", help="migrations too")
    _acting(commands, "stop", "End the run and leave the world as it is.", required=True)
    resolve = _acting(commands, "resolve", "Say what becomes of a target that waits for a person.", required=True)
    resolve.add_argument("target", metavar="TARGET", nargs="?", help="may be left out if only one waits")
    resolve.add_argument(
        "--as", dest="taken_as", choices=("as_is", "done", "not_done"), default="as_is",
        help="how it is taken (as_is); done and not_done are for an effect whose outcome is unknown",
    )  # fmt: skip
    fire = _acting(commands, "fire", "Fire a trigger by hand.", required=True)
    fire.add_argument("trigger", metavar="TRIGGER")
    _acting(commands, "ack", "End an escalation. What holds the run goes on holding it.")


def _acting(commands: Commands, name: str, what: str, *, required: bool = False, details: str = "") -> Parser:
    parser = command(commands, name, "acting.act", what, details)
    parser.add_argument("run", metavar="RUN")
    with_reason(parser, required=required)
    parser.add_argument("--yes", action="store_true", help="do not ask for anything")
    with_server(parser)
    with_cluster(parser)
    with_output(parser)
    return parser
