"""What can be typed, and the help that says so. Which function performs a command is named here and imported late."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from orchestrator.cli.help import main_help

OUTPUTS = ("table", "json", "yaml")

_UNKNOWN = re.compile(r"argument (COMMAND|ACTION): invalid choice: '(.*?)' \(choose from (.*)\)", re.DOTALL)


def _suggest(found: re.Match[str]) -> str:
    """argparse lists everything that is known; the nearest word helps more."""
    from difflib import get_close_matches

    kind, word, known = found.groups()
    near = get_close_matches(word, re.findall(r"[\w-]+", known), 1)
    return f"there is no {kind.lower()} {word!r}" + (f"; did you mean {near[0]!r}?" if near else "")


class Parser(argparse.ArgumentParser):
    """argparse with errors as one sentence. No abbreviations: the next option would break those that people use."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        message = _UNKNOWN.sub(_suggest, message)
        self.exit(2, f"rollout: {message} (see `{self.prog} --help`)\n")


class MainParser(Parser):
    def format_help(self) -> str:
        return main_help()


def performer(where: str) -> Callable[[argparse.Namespace], int]:
    """Calls ``module.function`` of this package, imported when it is called."""

    def perform(arguments: argparse.Namespace) -> int:
        module, _, function = where.partition(".")
        code: int = getattr(import_module(f"orchestrator.cli.{module}"), function)(arguments)
        return code

    return perform


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001 - argparse has no public name for it


def make_parser(only: str | None = None) -> Parser:
    """All commands, or those needed to understand *only*: making them all takes longer than most of them take."""
    parser = MainParser(prog="rollout")
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.set_defaults(perform=performer("about.version_or_help"), command=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser, prog="rollout")
    chosen = [add for add, names in _GROUPS if only in names] or [add for add, _ in _GROUPS]
    for add in chosen:
        add(commands)
    return parser


def _command(commands: Commands, name: str, perform: str, what: str, details: str = "") -> Parser:
    description = what if not details else f"{what}\n\n{textwrap.dedent(details).strip()}"
    made = commands.add_parser(name, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    assert isinstance(made, Parser)
    made.set_defaults(perform=performer(perform))
    return made


def _with_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", metavar="URL", help="the controller (else ROLLOUT_SERVER, else your own)")
    parser.add_argument(
        "--cacert", metavar="FILE", help="whom to trust with its certificate (else ROLLOUT_CACERT, else the system)"
    )


def _with_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--context", metavar="NAME", help="a cluster of your kubeconfig in the controller's place: ask its API server"
    )
    parser.add_argument("--namespace", metavar="NAME", help="with --context: which one (else the context's)")


def _with_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=OUTPUTS, default="table", help="how to print (table)")


def _with_reason(parser: argparse.ArgumentParser, *, required: bool) -> None:
    what = "why; kept in the journal (asked for on a terminal)"
    parser.add_argument("--reason", metavar="TEXT", default="", help=what)
    parser.set_defaults(wants_reason=required)


def _with_variables(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", help="the file")
    _with_settings(parser)


def _with_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", dest="settings", metavar="a.b=c", action="append", default=[],
        help="replace a value of the document, by its path (may be repeated)",
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
    _with_cluster(start)
    start.add_argument("--detach", action="store_true", help="leave the run to a controller in the background")
    start.add_argument("--supersede", metavar="RUN", help="take over the targets of this run, which ends")
    start.add_argument("--listen", metavar="HOST:PORT", help="where this controller serves flags and commands")
    start.add_argument("--yes", action="store_true", help="do not ask before another run is superseded")
    _with_reason(start, required=False)

    validate = _command(
        commands, "validate", "plans.validate", "Say everything that is wrong with a plan, at once.",
        """
        The document first (exit code 2). Then, without changing anything: flags are looked up, queries tried, and what
        would not come back is named (exit code 1 if something is in the way).
        """,
    )  # fmt: skip
    _with_variables(validate)
    validate.add_argument("--offline", action="store_true", help="look at the document alone, ask nobody")
    _with_output(validate)
    _add_rehearse(commands)
    _add_backtest(commands)
    _add_check(commands)
    bundle = _command(
        commands, "bundle", "bundling.bundle", "Print a plan with its files as objects for `kubectl apply`.",
        """
        The StagedRollout, and before it a ConfigMap with the files and variables that the plan names, if it names any.
        `rollout start PLAN --context NAME` writes them to the cluster itself.
        """,
    )  # fmt: skip
    _with_variables(bundle)
    bundle.add_argument("--namespace", metavar="NAME", help="where the objects are to be")
    bundle.add_argument("--created-by", metavar="USER", help="who applies them, as the cluster calls you")
    bundle.add_argument(
        "--group", dest="groups", action="append", default=[], metavar="GROUP",
        help="a group that gives you rights which the plan needs (more than once if several)",
    )  # fmt: skip
    _command(commands, "schema", "plans.schema", "Print the JSON Schema of plans, which editors complete plans with.")

    serve = _command(
        commands, "serve", "serve.serve", "Run a controller until it is told to end (Ctrl-C, SIGTERM).",
        """
        It takes up every run of the store that has not ended. On SIGTERM runs stay where they are, and the next
        controller goes on. Beyond loopback it listens only if somebody could have a token: one that was made before
        (`rollout token create`), of a file, or of a provider.
        """,
    )  # fmt: skip
    serve.add_argument("--listen", metavar="HOST:PORT", help="where to serve (127.0.0.1:8040)")
    serve.add_argument(
        "--flagd-listen",
        metavar="HOST:PORT",
        help="also serve flags to flagd's in-process providers (usual port: 8015)",
    )
    serve.add_argument("--token-file", metavar="FILE", help="JSON list of {name, role, groups, sha256, expires}")
    _add_oidc(serve)
    serve.add_argument(
        "--allow", metavar="FILE",
        help="what plans of others than yourself may name: hosts, variables, secrets, files, commands, images",
    )  # fmt: skip
    serve.add_argument(
        "--trust-proxy", metavar="ADDRESS", action="append", default=[],
        help="a proxy whose X-Forwarded-For and X-Forwarded-Proto are believed, or a network of them (may be repeated)",
    )  # fmt: skip
    serve.add_argument(
        "--requests-per-second", metavar="N", type=float, help="of one token, on average (50); flags are not counted"
    )
    serve.add_argument("--tls-cert", metavar="FILE", help="speak TLS: the certificate with its chain, PEM")
    serve.add_argument("--tls-key", metavar="FILE", help="and its key, PEM; both are read again when they change")
    serve.add_argument(
        "--advertise", metavar="URL",
        help="where other controllers of a shared store reach this one (else by the address that it listens on)",
    )  # fmt: skip
    serve.add_argument(
        "--in-cluster", action="store_true",
        help="be driven by the StagedRollouts of a namespace (kubeconfig, or the service account of the pod)",
    )  # fmt: skip
    serve.add_argument("--namespace", metavar="NAME", help="which one (else the context's, or the pod's own)")
    serve.add_argument("--until-idle", action="store_true", help="end when no run is under way any more")


def _add_oidc(serve: Parser) -> None:
    group = serve.add_argument_group(
        "sign-in by an OpenID Connect provider", "whose JSON Web Tokens are taken as tokens (docs/security.md)"
    )
    group.add_argument("--oidc-issuer", metavar="URL", help="the provider, exactly as it names itself")
    group.add_argument(
        "--oidc-audience", metavar="NAME", action="append", default=[],
        help="which of its tokens are meant for this server (may be repeated)",
    )  # fmt: skip
    group.add_argument(
        "--oidc-role", metavar="VALUE=ROLE", action="append", default=[],
        help="the role of whoever has VALUE in the claim; * is everybody (may be repeated)",
    )  # fmt: skip
    group.add_argument(
        "--oidc-client-id", metavar="ID", help="who this server is to the provider: people sign in there, at the pages"
    )
    group.add_argument("--oidc-client-secret-file", metavar="FILE", help="its secret, if it has one")
    group.add_argument(
        "--oidc-scope", metavar="NAME", action="append", default=[],
        help="what else is asked for then beside openid, such as groups (may be repeated)",
    )  # fmt: skip
    group.add_argument("--oidc-role-claim", metavar="CLAIM", help="where VALUE is looked for (groups)")
    group.add_argument("--oidc-name-claim", metavar="CLAIM", help="who it is, for the journal (sub)")
    group.add_argument("--oidc-groups-claim", metavar="CLAIM", help="groups, for approvals (groups)")


def _add_rehearse(commands: Commands) -> None:
    rehearse = _command(
        commands, "rehearse", "rehearse.rehearse",
        "Walk a plan in a simulated world, forward and back, with everything that can go wrong on the way.",
        """
        No system is touched and none is asked: only the document and its files are read. The way forward is walked
        once; then, from each of its steps, the way back, gates that fail, triggers, Prometheus, database and store
        away, the controller killed before and after each change, changes that are refused, and what people may say.
        Exit code 0 if every scenario ends as promised, 1 if one does not: something does not come back that nobody
        declared, a run never ends, or it needs a person and nobody is told. The same seed gives the same output.
        """,
    )  # fmt: skip
    _with_variables(rehearse)
    rehearse.add_argument(
        "--scenario", dest="scenarios", action="append", default=[], metavar="NAME",
        help="only this one (may be repeated): back, gate, trigger, prometheus, ... (docs/rehearse.md)",
    )  # fmt: skip
    rehearse.add_argument("--environment", metavar="NAME", help="only what begins in this environment of the plan")
    rehearse.add_argument("--seed", metavar="N", type=int, default=1, help="how long things take is drawn from it (1)")
    rehearse.add_argument(
        "--most", metavar="STEPS", type=int, default=1_500_000, help="virtual steps that are walked at most (1,500,000)"
    )
    rehearse.add_argument("-o", "--output", choices=(*OUTPUTS, "md"), default="table", help="how to print (table)")


def _add_check(commands: Commands) -> None:
    check = _command(
        commands, "check", "check.check", "Ask the checks of a file now: scheduled rounds, or those of a plan.",
        """
        Of a document of kind ScheduledChecks its rounds, all or those of --round; of a plan its own checks, a round for
        each environment. Nothing is changed, and no controller is needed. What only a person can tell is asked on a
        terminal. Exit code 0 if everything that is required is as it should be, 1 if something is not or could not be
        asked.
        """,
    )  # fmt: skip
    check.add_argument("file", metavar="FILE")
    check.add_argument(
        "--round", dest="rounds", metavar="NAME", action="append", default=[], help="only this one (may be repeated)"
    )
    _with_settings(check)
    _with_output(check)


def _add_backtest(commands: Commands) -> None:
    backtest = _command(
        commands, "backtest", "backtest.backtest",
        "Say how often a plan's gates would have failed or held though nothing was released.",
        """
        It replays them over what Prometheus has kept: releases that did nothing, one after the other, each with the
        steps and bakes of its stage. Where a canary is compared with a control, the control is split into the two.
        Bounds that would have been quiet are tried as well. Nothing is changed, and the exit code is 0 whatever comes
        of it.
        """,
    )  # fmt: skip
    _with_variables(backtest)
    backtest.add_argument("--last", metavar="TIME", default="7d", help="how far to go back (7d)")
    backtest.add_argument("--gate", metavar="NAME", help="only this gate")
    backtest.add_argument("--environment", metavar="NAME", help="where (the plan's last environment)")
    backtest.add_argument("--plot", metavar="FILE.svg", help="also draw it over time (needs matplotlib)")
    backtest.add_argument(
        "-o", "--output", choices=(*OUTPUTS, "html"), default="table", help="how to print (table)"
    )  # fmt: skip


def _add_reading(commands: Commands) -> None:
    listed = _command(commands, "list", "reading.list_runs", "Show runs, newest first.")
    listed.add_argument("--active", action="store_true", help="only those that have not ended")
    _with_server(listed)
    _with_cluster(listed)
    _with_output(listed)
    words = {
        "status": "Show where a run stands, and why nothing moves.",
        "explain": "Tell in full sentences why a run stands where it stands, and who can do what about it.",
        "watch": "Follow a run to its end; the exit code says how it ended.",
        "history": "Show everything that happened in a run, and who or what asked for it.",
        "report": "Write a run's report: what was planned, what happened, the evidence, who did what, what stays.",
    }
    where = {"explain": "explaining.explain"}
    made = {name: _command(commands, name, where.get(name, f"reading.{name}"), what) for name, what in words.items()}
    for name, parser in made.items():
        parser.add_argument("run", metavar="RUN")
        _with_server(parser)
        if name in ("status", "watch"):
            _with_cluster(parser)
        if name in ("status", "explain", "history"):
            _with_output(parser)
    exported = _command(
        commands, "export", "auditing.export", "Print a run's journal as it was written, a line of JSON an entry."
    )
    exported.add_argument("run", metavar="RUN")
    _with_server(exported)
    runbook = _command(
        commands, "runbook", "runbook.runbook", "Write the way back as commands that a person can run.",
        """
        It is made of the journal, so it is as true as that, and needs no controller: of a run in the store, or of a
        file that `rollout export` wrote. What belongs to the way back and is no command is a comment.
        """,
    )  # fmt: skip
    runbook.add_argument("run", metavar="RUN|FILE", help="a run, or a file with its journal (- is standard input)")
    runbook.add_argument("--format", choices=("md", "sh", "json"), default="md", help="how to write it (md)")
    _with_server(runbook)
    verified = _command(
        commands, "verify", "auditing.verify", "Say whether a run's journal is what was written.",
        """
        Every entry bears a hash over itself and the entry before it, so what was changed, left out or put elsewhere is
        found and named. That the end was cut off, or that all was written anew, is found by what left the house before:
        --head, or a report of the run.
        """,
    )  # fmt: skip
    verified.add_argument(
        "run", metavar="RUN|FILE", help="a run, or a file that `rollout export` wrote (- is standard input)"
    )
    verified.add_argument(
        "--head",
        metavar="SEQ:HASH",
        action="append",
        default=[],
        help="an entry as it is known elsewhere (may be repeated)",
    )
    verified.add_argument(
        "--report",
        metavar="FILE",
        action="append",
        default=[],
        help="a report of the run, of any format, or a message about it (may be repeated)",
    )
    verified.add_argument(
        "--public-key", metavar="FILE", help="take only messages that were signed with the other half of this key (PEM)"
    )
    _with_server(verified)
    _with_output(verified)
    made["history"].add_argument("--follow", action="store_true", help="go on until the run has ended")
    formats = ("md", "html", "json", "junit")
    made["report"].add_argument("--format", choices=formats, default="md", help="how to write it (md)")


def _acting(commands: Commands, name: str, what: str, *, required: bool = False, details: str = "") -> Parser:
    parser = _command(commands, name, "acting.act", what, details)
    parser.add_argument("run", metavar="RUN")
    _with_reason(parser, required=required)
    parser.add_argument("--yes", action="store_true", help="do not ask for anything")
    _with_server(parser)
    _with_cluster(parser)
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


def _add_flags(commands: Commands) -> None:
    flag = _command(commands, "flag", "flags.usage", "Look at flags and change them; the kill switch.")
    flag.add_argument("--environment", metavar="NAME", default=None, help="production, unless said otherwise")
    actions = flag.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser, prog="rollout flag")
    listed = _command(actions, "list", "flags.list_flags", "Show the flags (of every environment unless one is named).")
    get = _command(actions, "get", "flags.get", "Show one flag.")
    history = _command(actions, "history", "flags.history", "Show who changed what of a flag, and why; newest first.")
    change = _command(actions, "set", "flags.change", "Change a flag. If a run uses it, that run holds.")
    evaluate = _command(actions, "evaluate", "flags.evaluate", "Say what a flag answers to somebody, and why.")
    disable = _command(
        actions, "disable-all", "flags.disable_all",
        "The kill switch: every flag answers its off variant, in all environments unless one is named.",
    )  # fmt: skip
    lift = _command(
        actions, "lift", "flags.lift", "Lift the kill switch, having shown what returns to which percentage."
    )
    export = _command(
        actions, "export", "flagd.export", "Print the flags of an environment as a file that flagd reads."
    )
    taken = _command(actions, "import", "flagd.import_", "Take flags over from a file of flagd's, or from an export.")
    taken.add_argument("file", metavar="FILE", help="- is standard input")
    for parser in (get, history, change, evaluate):
        parser.add_argument("key", metavar="KEY")
    for parser in (listed, get, history, change, evaluate, export, taken, disable, lift):
        parser.add_argument("--environment", metavar="NAME", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        _with_server(parser)
        if parser is not export:
            _with_output(parser)
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
    _with_reason(disable, required=False)  # a kill switch must work in a hurry
    for parser in (change, taken, lift):
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


def _add_completion(commands: Commands) -> None:
    made = _command(
        commands, "completion", "completion.script", "Print what makes a shell complete commands, runs and flags.",
        """
        bash: `source <(rollout completion bash)` in ~/.bashrc. zsh: `source <(rollout completion zsh)` in ~/.zshrc,
        below `compinit`. fish: `rollout completion fish | source` in ~/.config/fish/config.fish.
        """,
    )  # fmt: skip
    made.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")


def _add_freezes(commands: Commands) -> None:
    frozen = _command(
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
    thawed = _command(
        commands, "unfreeze", "freeze.unfreeze", "End a freeze before its time; takes an approver.",
        """
        Without --environment, the freeze over all environments; those of single environments stay.
        """,
    )  # fmt: skip
    for parser in (frozen, thawed):
        parser.add_argument("--environment", metavar="NAME", help="only this environment")
        _with_reason(parser, required=True)
        _with_server(parser)
        _with_output(parser)


def _add_schedules(commands: Commands) -> None:
    schedule = _command(
        commands, "schedule", "schedules.usage", "Look at scheduled checks, and end them.",
        "`rollout start FILE` has the rounds of a document of kind ScheduledChecks asked at their times.",
    )  # fmt: skip
    actions = schedule.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser, prog="rollout schedule")
    listed = _command(actions, "list", "schedules.list_all", "Show each round: how it was answered, and when next.")
    shown = _command(actions, "show", "schedules.show_one", "Show what the rounds of one document were answered.")
    shown.add_argument("--limit", metavar="N", type=int, default=20, help="how many turns, newest first (20)")
    stop = _command(actions, "stop", "schedules.stop", "Ask its rounds no more; what they were answered stays.")
    for parser in (shown, stop):
        parser.add_argument("name", metavar="NAME")
    _with_reason(stop, required=True)
    for parser in (listed, shown, stop):
        _with_server(parser)
    for parser in (listed, shown):
        _with_output(parser)


def _add_tokens(commands: Commands) -> None:
    token = _command(commands, "token", "tokens.usage", "Say who may speak to the controller, and as what.")
    actions = token.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser, prog="rollout token")
    create = _command(
        actions, "create", "tokens.create", "Make a token, and print it as the last line: nobody can be told again.",
        """
        Its name goes into the journal with whatever is done by it. Roles include those before them: viewer reads,
        operator starts and commands runs and sets flags, approver advances and lifts the kill switch, admin makes
        tokens. Only an admin may.
        """,
    )  # fmt: skip
    create.add_argument("name", metavar="NAME")
    create.add_argument("--role", choices=("viewer", "operator", "approver", "admin"), required=True)
    create.add_argument(
        "--group", dest="groups", action="append", default=[], metavar="GROUP",
        help="for approvals (may be repeated)",
    )  # fmt: skip
    create.add_argument(
        "--expires", metavar="WHEN", default="90d",
        help="a time from now (90d, which is usual), a date in UTC (2027-01-31), an ISO time with its zone, or never",
    )  # fmt: skip
    create.add_argument("--environment", metavar="NAME", help="whose flags an application reads with it")
    listed = _command(actions, "list", "tokens.list_tokens", "Show the tokens that were made, newest first.")
    revoke = _command(
        actions, "revoke", "tokens.revoke", "Revoke a token: at once here, within two seconds on every controller."
    )
    revoke.add_argument("token", metavar="NAME|ID")
    _with_reason(revoke, required=True)
    block = _command(
        actions, "block", "tokens.block", "Take away what the OpenID Connect provider vouches for.",
        """
        Of a subject, all tokens and sessions; or one token, by its `jti`. At once here, within two seconds on every
        controller. It is listed among the tokens as `blocked`, and `rollout token revoke ID` ends it.
        """,
    )  # fmt: skip
    block.add_argument("subject", metavar="SUBJECT", nargs="?", help="`sub` of the provider's tokens")
    block.add_argument("--jti", metavar="ID", help="of one token, instead")
    block.add_argument("--expires", metavar="WHEN", default="never", help="as of `create` (never)")
    _with_reason(block, required=True)
    log = _command(actions, "log", "tokens.log", "Show who made and revoked tokens, and who was refused what.")
    log.add_argument("--limit", metavar="N", type=int, default=100, help="how many, newest first (100)")
    for parser in (create, listed, revoke, block, log):
        _with_server(parser)
    for parser in (listed, revoke, block, log):
        _with_output(parser)


_GROUPS: tuple[tuple[Callable[[Commands], None], tuple[str, ...]], ...] = (
    (_add_beginning, ("start", "validate", "rehearse", "backtest", "check", "bundle", "schema", "serve")),
    (_add_reading, ("list", "status", "explain", "watch", "history", "report", "export", "runbook", "verify")),
    (
        _add_acting,
        ("pause", "resume", "approve", "reject", "withdraw", "advance", "rollback", "stop", "resolve", "fire", "ack"),
    ),
    (_add_flags, ("flag",)),
    (_add_freezes, ("freeze", "unfreeze")),
    (_add_schedules, ("schedule",)),
    (_add_tokens, ("token",)),
    (_add_completion, ("completion",)),
)
