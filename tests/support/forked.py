"""`rollout` processes that begin with everything imported: forked off a process that did that, and nothing else.

Most of the processor time of a command goes into importing, and a test run starts many hundreds. Each of these is a
process of its own: own session, folder, environment, memory, threads and connections, killed and frozen as one. Only
`/proc/PID/cmdline` and `/proc/PID/environ` tell of the process before. Like every child of a test it ends with it.
"""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["tests.support.preloaded"])
_PR_SET_PDEATHSIG = 1
_READING = threading.Lock()  # an exit code can be read once, and whoever starts a process reads those of all others
_MOST_TEXT = 100_000  # what a kernel takes of a command's words is for the kernel to say
_OF_THE_INTERPRETER = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC", "OPENBLAS")


@dataclass(frozen=True, slots=True)
class Beginning:
    """A command, where it runs, and the files to whose ends it writes."""

    words: tuple[str, ...]
    folder: str
    environment: Mapping[str, str]
    output: str
    errors: str

    @property
    def can_be_forked(self) -> bool:
        """Whether a fork would not differ from a start: not so if the interpreter itself is told something else."""
        texts = (*self.words, *self.environment.values())
        if any("\0" in text for text in texts) or sum(map(len, texts)) > _MOST_TEXT:
            return False
        return _said_to_interpreter(self.environment) == _said_to_interpreter(os.environ)


def _said_to_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_OF_THE_INTERPRETER)}


class Forked:
    """What `subprocess.Popen` is for a process that was started."""

    def __init__(self, beginning: Beginning) -> None:
        self._process: BaseProcess = _FORKING.Process(target=_live, args=(beginning,), daemon=True)
        with _READING:
            self._process.start()
        self.args = beginning.words

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        with _READING:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        connection.wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def kill(self) -> None:
        self._process.kill()


def _live(beginning: Beginning) -> None:
    """As if it had been started from a shell. Never returns."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(beginning.environment)
    time.tzset()
    os.chdir(beginning.folder)
    _open(beginning.output, beginning.errors)
    from orchestrator.cli import main

    sys.argv = list(beginning.words)
    sys.exit(main())


def _open(output: str, errors: str) -> None:
    ways = ((os.devnull, os.O_RDONLY), *((file, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for file in (output, errors)))
    for number, (file, way) in enumerate(ways):
        opened = os.open(file, way, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open as long as the process lives
