"""Looking at runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.typed.parts import command, with_cluster, with_output, with_server

if TYPE_CHECKING:
    from orchestrator.cli.typed.parts import Commands


def add(commands: Commands) -> None:
    listed = command(commands, "list", "reading.list_runs", "Show runs, newest first.")
    listed.add_argument("--active", action="store_true", help="only those that have not ended")
    with_server(listed)
    with_cluster(listed)
    with_output(listed)
    words = {
        "status": "Show where a run stands, and why nothing moves.",
        "explain": "Tell in full sentences why a run stands where it stands, and who can do what about it.",
        "watch": "Follow a run to its end; the exit code says how it ended.",
        "history": "Show everything that happened in a run, and who or what asked for it.",
        "report": "Write a run's report: what was planned, what happened, the evidence, who did what, what stays.",
    }
    where = {"explain": "explaining.explain"}
    made = {name: command(commands, name, where.get(name, f"reading.{name}"), what) for name, what in words.items()}
    for name, parser in made.items():
        parser.add_argument("run", metavar="RUN")
        with_server(parser)
        if name in ("status", "watch"):
            with_cluster(parser)
        if name in ("status", "explain", "history"):
            with_output(parser)
    made["history"].add_argument("--follow", action="store_true", help="go on until the run has ended")
    formats = ("md", "html", "json", "junit")
    made["report"].add_argument("--format", choices=formats, default="md", help="how to write it (md)")
    _add_export(commands)
    _add_runbook(commands)
    _add_verify(commands)


def _add_export(commands: Commands) -> None:
    exported = command(
        commands, "export", "auditing.export", "Print a run's journal as it was written, a line of JSON an entry."
    )
    exported.add_argument("run", metavar="RUN")
    with_server(exported)


def _add_runbook(commands: Commands) -> None:
    runbook = command(
        commands, "runbook", "runbook.runbook", "Write the way back as commands that a person can run.",
        """
        It is made of the journal, so it is as true as that, and needs no controller: of a run in the store, or of a
        file that `rollout export` wrote. What belongs to the way back and is no command is a comment.
        """,
    )  # fmt: skip
    runbook.add_argument("run", metavar="RUN|FILE", help="a run, or a file with its journal (- is standard input)")
    runbook.add_argument("--format", choices=("md", "sh", "json"), default="md", help="how to write it (md)")
    with_server(runbook)


def _add_verify(commands: Commands) -> None:
    verified = command(
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
    with_server(verified)
    with_output(verified)
