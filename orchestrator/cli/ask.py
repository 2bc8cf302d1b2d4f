"""Asking the person at the terminal, if there is one."""

import sys
from argparse import Namespace

from orchestrator.errors import UsageError


def on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def line(question: str) -> str:
    """What was typed; nothing at the end of input. The question is a message, so it goes to standard error."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def reason(arguments: Namespace, what: str) -> str:
    """``--reason``, asked for where it is missing, on a terminal and without ``--yes``; Enter leaves out one that need
    not be there. Raises UsageError where one is wanted and there is none."""
    given = str(arguments.reason).strip()
    if not given and on_terminal() and not getattr(arguments, "yes", False):
        may_be_empty = "" if arguments.wants_reason else " (Enter for none)"
        given = line(f"Why {what}?{may_be_empty} ")
    if not given and arguments.wants_reason:
        raise UsageError(f"--reason TEXT is needed to {what}: it is kept in the journal")
    return given


def confirmed(question: str, *, yes: bool, remedy: str) -> bool:
    """True with ``--yes`` or a typed yes. Raises UsageError, with *remedy*, where nobody can be asked."""
    if yes:
        return True
    if not on_terminal():
        raise UsageError(remedy)
    return line(f"{question} [y/N] ").lower() in ("y", "yes")
