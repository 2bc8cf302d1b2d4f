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
    """``--reason``, asked for where it is wanted and missing. Raises UsageError where nobody can be asked."""
    given = str(arguments.reason).strip()
    if given or not arguments.wants_reason:
        return given
    if on_terminal():
        given = line(f"Why {what}? ")
    if not given:
        raise UsageError(f"--reason TEXT is needed to {what}: it is kept in the journal")
    return given


def confirmed(question: str, *, yes: bool, remedy: str) -> bool:
    """True with ``--yes`` or a typed yes. Raises UsageError, with *remedy*, where nobody can be asked."""
    if yes:
        return True
    if not on_terminal():
        raise UsageError(remedy)
    return line(f"{question} [y/N] ").lower() in ("y", "yes")
