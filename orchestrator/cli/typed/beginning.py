"""Before a run and at its begin: plans and checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.typed.parts import (
    OUTPUTS,
    command,
    with_cluster,
    with_output,
    with_reason,
    with_server,
    with_settings,
    with_variables,
)

if TYPE_CHECKING:
    from orchestrator.cli.typed.parts import Commands


def add(commands: Commands) -> None:
    _add_start(commands)
    _add_validate(commands)
    _add_rehearse(commands)
    _add_backtest(commands)
    _add_check(commands)
    _add_bundle(commands)
    command(commands, "schema", "plans.schema", "Print the JSON Schema of plans, which editors complete plans with.")


def _add_start(commands: Commands) -> None:
    start = command(
        commands, "start", "start.start", "Start a run of a plan and watch it.",
        """
        A run of the same plan that is under way is attached to, so repeating the command is harmless. If a controller
        runs, the plan is handed to it. Otherwise this process is the controller until the run has ended; Ctrl-C asks
        whether to detach (a controller in the background goes on), pause or roll back.
        """,
    )  # fmt: skip
    with_variables(start)
    with_server(start)
    with_cluster(start)
    start.add_argument("--detach", action="store_true", help="leave the run to a controller in the background")
    start.add_argument("--supersede", metavar="RUN", help="take over the targets of this run, which ends")
    start.add_argument("--listen", metavar="HOST:PORT", help="where this controller serves flags and commands")
    start.add_argument("--yes", action="store_true", help="do not ask before another run is superseded")
    with_reason(start, required=False)


def _add_validate(commands: Commands) -> None:
    validate = command(
        commands, "validate", "plans.validate", "Say everything that is wrong with a plan, at once.",
        """
        The document first (exit code 2). Then, without changing anything: flags are looked up, queries tried, and what
        would not come back is named (exit code 1 if something is in the way).
        """,
    )  # fmt: skip
    with_variables(validate)
    validate.add_argument("--offline", action="store_true", help="look at the document alone, ask nobody")
    with_output(validate)


def _add_rehearse(commands: Commands) -> None:
    rehearse = command(
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
    with_variables(rehearse)
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


def _add_backtest(commands: Commands) -> None:
    backtest = command(
        commands, "backtest", "backtest.backtest",
        "Say how often a plan's gates would have failed or held though nothing was released.",
        """
        It replays them over what Prometheus has kept: releases that did nothing, one after the other, each with the
        steps and bakes of its stage. Where a canary is compared with a control, the control is split into the two.
        Bounds that would have been quiet are tried as well. Nothing is changed, and the exit code is 0 whatever comes
        of it.
        """,
    )  # fmt: skip
    with_variables(backtest)
    backtest.add_argument("--last", metavar="TIME", default="7d", help="how far to go back (7d)")
    backtest.add_argument("--gate", metavar="NAME", help="only this gate")
    backtest.add_argument("--environment", metavar="NAME", help="where (the plan's last environment)")
    backtest.add_argument("--plot", metavar="FILE.svg", help="also draw it over time (needs matplotlib)")
    backtest.add_argument(
        "-o", "--output", choices=(*OUTPUTS, "html"), default="table", help="how to print (table)"
    )  # fmt: skip


def _add_check(commands: Commands) -> None:
    check = command(
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
    with_settings(check)
    with_output(check)


def _add_bundle(commands: Commands) -> None:
    bundle = command(
        commands, "bundle", "bundling.bundle", "Print a plan with its files as objects for `kubectl apply`.",
        """
        The StagedRollout, and before it a ConfigMap with the files and variables that the plan names, if it names any.
        `rollout start PLAN --context NAME` writes them to the cluster itself.
        """,
    )  # fmt: skip
    with_variables(bundle)
    bundle.add_argument("--namespace", metavar="NAME", help="where the objects are to be")
    bundle.add_argument("--created-by", metavar="USER", help="who applies them, as the cluster calls you")
    bundle.add_argument(
        "--group", dest="groups", action="append", default=[], metavar="GROUP",
        help="a group that gives you rights which the plan needs (more than once if several)",
    )  # fmt: skip
