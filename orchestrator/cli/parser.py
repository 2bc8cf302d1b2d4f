"""What can be typed, and the help that says so. Which function performs a command is named here and imported late."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

OUTPUTS = ("table", "json", "yaml")

GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Begin",
        (
            ("start PLAN", "start a run, or attach to one that is under way, and watch it"),
            ("validate PLAN", "say everything that is wrong with a plan"),
            ("schema", "print the JSON Schema of plans, for editors"),
            ("serve", "run a controller for many runs"),
        ),
    ),
    (
        "Look",
        (
            ("list", "runs, newest first"),
            ("status RUN", "where a run stands, and why nothing moves"),
            ("watch RUN", "follow it to its end"),
            ("history RUN", "everything that happened, and who asked for it"),
            ("report RUN", "what was planned, what happened, on which evidence"),
        ),
    ),
    (
        "Act (with --reason TEXT)",
        (
            ("pause, resume RUN", "hold in place; go on"),
            ("approve, reject RUN", "answer what waits for a person"),
            ("advance RUN", "take the next step without waiting for the rest of the bake"),
            ("rollback RUN", "bring everything back to what was there before"),
            ("stop RUN", "end the run, and leave the world as it is"),
            ("resolve RUN [TARGET]", "take a target as it is, where something waits for a person"),
            ("fire RUN TRIGGER", "fire a trigger by hand"),
            ("ack RUN", "end an escalation"),
        ),
    ),
    (
        "Flags",
        (
            ("flag list, get, evaluate", "look at flags"),
            ("flag set KEY", "change one"),
            ("flag disable-all, lift", "the kill switch, and back"),
        ),
    ),
)

LATER = {
    "backtest": "Judging a plan's gates against the past",
    "bundle": "Packing a plan with its files",
    "runbook": "Writing the way back down as commands",
    "check": "Running the checks of a file once",
    "freeze": "Freezing all runs",
    "unfreeze": "Ending a freeze",
}

EPILOG = """\
RUN is a run's name, the beginning of one, or the name of a plan (its newest run).
Commands speak to --server URL or ROLLOUT_SERVER (token in ROLLOUT_TOKEN), else to your own controller on this machine.
Without one, `start` runs a controller itself, and what only looks reads the store (ROLLOUT_STORE).

Exit codes: 0 promoted or done, 1 error, 2 invalid plan or usage, 3 rolled back, 4 stopped, 5 rollback failed.
`rollout COMMAND --help` says more of each.
"""


class Parser(argparse.ArgumentParser):
    """argparse with errors as one sentence. No abbreviations: the next option would break those that people use."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"rollout: {message} (see `{self.prog} --help`)\n")


class MainParser(Parser):
    def format_help(self) -> str:
        lines = ["Usage: rollout COMMAND ...", ""]
        lines += textwrap.wrap(
            "Takes a change that is spread over several systems from 0 % to 100 %, one gate at a time, and brings it "
            "back by itself when the evidence turns bad.",
            100,
        )
        for title, commands in GROUPS:
            lines += ["", f"{title}:"]
            lines += [f"  {name:<26}{what}" for name, what in commands]
        return "\n".join([*lines, "", EPILOG])


def performer(where: str) -> Callable[[argparse.Namespace], int]:
    """Calls ``module.function`` of this package, imported when it is called."""

    def perform(arguments: argparse.Namespace) -> int:
        module, _, function = where.partition(".")
        code: int = getattr(import_module(f"orchestrator.cli.{module}"), function)(arguments)
        return code

    return perform


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001 - argparse has no public name for it


def make_parser() -> Parser:
    parser = MainParser(prog="rollout")
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.set_defaults(perform=performer("about.version_or_help"), command=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    _add_beginning(commands)
    _add_reading(commands)
    _add_acting(commands)
    _add_flags(commands)
    for name in LATER:
        later = commands.add_parser(name, help=argparse.SUPPRESS, add_help=True)
        later.add_argument("rest", nargs=argparse.REMAINDER)
        later.set_defaults(perform=performer("about.later"))
    return parser


def _command(commands: Commands, name: str, perform: str, what: str, details: str = "") -> Parser:
    description = what if not details else f"{what}\n\n{textwrap.dedent(details).strip()}"
    made = commands.add_parser(name, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    assert isinstance(made, Parser)
    made.set_defaults(perform=performer(perform))
    return made


def _with_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", metavar="URL", help="the controller (else ROLLOUT_SERVER, else your own)")


def _with_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=OUTPUTS, default="table", help="how to print (table)")


def _with_reason(parser: argparse.ArgumentParser, *, required: bool) -> None:
    what = "why; kept in the journal" + (" (asked for on a terminal)" if required else "")
    parser.add_argument("--reason", metavar="TEXT", default="", help=what)
    parser.set_defaults(wants_reason=required)


def _with_variables(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", help="the file")
    parser.add_argument(
        "--set", dest="settings", metavar="a.b=c", action="append", default=[],
        help="replace a value of the plan, by its path (may be repeated)",
    )  # fmt: skip


# --- the commands -----------------------------------------------------------------------------------------------------


def _add_beginning(commands: Commands) -> None:
    start = _command(
        commands, "start", "start.start", "Start a run of a plan and watch it.",
        """
        A run of the same plan that is under way is attached to, so repeating the command is harmless. If a controller
        runs, the plan is handed to it. Otherwise this process is the controller until the run has ended; Ctrl-C asks
        whether to detach (a controller in the background goes on), pause or roll back.
        """,
    )  # fmt: skip
    _with_variables(start)
    _with_server(start)
    start.add_argument("--detach", action="store_true", help="leave the run to a controller in the background")
    start.add_argument("--supersede", metavar="RUN", help="take over the targets of this run, which ends")
    start.add_argument("--listen", metavar="HOST:PORT", help="where this controller serves flags and commands")
    start.add_argument("--yes", action="store_true", help="do not ask before another run is superseded")
    _with_reason(start, required=False)

    validate = _command(commands, "validate", "plans.validate", "Say everything that is wrong with a plan, at once.")
    _with_variables(validate)
    validate.add_argument("--offline", action="store_true", help="look at the document alone, ask nobody")
    _with_output(validate)
    _command(commands, "schema", "plans.schema", "Print the JSON Schema of plans, which editors complete plans with.")

    serve = _command(
        commands, "serve", "serve.serve", "Run a controller until it is told to end (Ctrl-C, SIGTERM).",
        """
        It takes up every run of the store that has not ended. On SIGTERM runs stay where they are, and the next
        controller goes on. Beyond loopback it listens only if a token file is given.
        """,
    )  # fmt: skip
    serve.add_argument("--listen", metavar="HOST:PORT", help="where to serve (127.0.0.1:8040)")
    serve.add_argument("--token-file", metavar="FILE", help="JSON list of {name, role, groups, sha256, expires}")
    serve.add_argument("--until-idle", action="store_true", help="end when no run is under way any more")


def _add_reading(commands: Commands) -> None:
    listed = _command(commands, "list", "reading.list_runs", "Show runs, newest first.")
    listed.add_argument("--active", action="store_true", help="only those that have not ended")
    _with_server(listed)
    _with_output(listed)
    words = {
        "status": "Show where a run stands, and why nothing moves.",
        "watch": "Follow a run to its end; the exit code says how it ended.",
        "history": "Show everything that happened in a run, and who or what asked for it.",
        "report": "Write a run's report: what was planned, what happened, the evidence, who did what, what stays.",
    }
    made = {name: _command(commands, name, f"reading.{name}", what) for name, what in words.items()}
    for name, parser in made.items():
        parser.add_argument("run", metavar="RUN")
        _with_server(parser)
        if name in ("status", "history"):
            _with_output(parser)
    made["history"].add_argument("--follow", action="store_true", help="go on until the run has ended")
    made["report"].add_argument("--format", choices=("md", "html", "json"), default="md", help="how to write it (md)")


def _acting(commands: Commands, name: str, what: str, *, required: bool = False, details: str = "") -> Parser:
    parser = _command(commands, name, "acting.act", what, details)
    parser.add_argument("run", metavar="RUN")
    _with_reason(parser, required=required)
    _with_server(parser)
    _with_output(parser)
    return parser


def _add_acting(commands: Commands) -> None:
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
        answer = _acting(commands, name, what, required=name == "reject")
        answer.add_argument("--item", metavar="NAME", help="which one, if several wait")
        if name == "approve":
            answer.add_argument("--not-applicable", action="store_true", help="for an item that is optional")
    _acting(
        commands, "advance", "Take the next step now, or end this phase of the watch.", required=True,
        details="Overrides a bake and a gate that can't be judged, never one that fails.",
    )  # fmt: skip
    rollback = _acting(
        commands, "rollback", "Bring every target back to what was there before.", required=True,
        details="Of a run that has ended this starts a run in reverse.",
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


def _add_flags(commands: Commands) -> None:
    flag = _command(commands, "flag", "flags.usage", "Look at flags and change them; the kill switch.")
    flag.add_argument("--environment", metavar="NAME", default=None, help="production, unless said otherwise")
    actions = flag.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser)
    listed = _command(actions, "list", "flags.list_flags", "Show the flags (of every environment unless one is named).")
    get = _command(actions, "get", "flags.get", "Show one flag.")
    change = _command(actions, "set", "flags.change", "Change a flag. If a run uses it, that run holds.")
    evaluate = _command(actions, "evaluate", "flags.evaluate", "Say what a flag answers to somebody, and why.")
    disable = _command(
        actions, "disable-all", "flags.disable_all",
        "The kill switch: every flag answers its off variant, in all environments unless one is named.",
    )  # fmt: skip
    lift = _command(
        actions, "lift", "flags.lift", "Lift the kill switch, having shown what returns to which percentage."
    )
    for parser in (get, change, evaluate):
        parser.add_argument("key", metavar="KEY")
    for parser in (listed, get, change, evaluate, disable, lift):
        parser.add_argument("--environment", metavar="NAME", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        _with_server(parser)
        _with_output(parser)
    _add_flag_values(change)
    evaluate.add_argument("--targeting-key", metavar="TEXT", help="who is asked about")
    evaluate.add_argument(
        "--context", metavar="k=v", action="append", default=[], help="an attribute (may be repeated)"
    )
    lift.add_argument("--flag", metavar="KEY", help="only for this flag")
    lift.add_argument("--yes", action="store_true", help="do not ask")
    for parser in (change, disable, lift):
        _with_reason(parser, required=True)


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
