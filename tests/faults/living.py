"""Where a forked controller begins."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def live(arguments: list[str], environment: dict[str, str], log: str) -> None:
    """`rollout` with these arguments, as if it had been started from a shell. Never returns."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(said, stream)
    from orchestrator.cli import main

    sys.exit(main(arguments))
