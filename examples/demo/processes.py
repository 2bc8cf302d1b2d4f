"""Child processes that are all ended again, and free ports for them."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent.parent
STOP_SECONDS = 10.0
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Processes:
    """Started in order, ended in reverse.

    Each is the leader of a session of its own: Ctrl-C reaches only the demonstration, which then ends them one by one.
    Output goes to `<name>.log` in the folder, unless the caller asks to read it.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._started: list[subprocess.Popen[str]] = []

    def start(self, name: str, command: Sequence[str | Path], *, read: bool = False) -> subprocess.Popen[str]:
        """With `read`, standard output is a pipe; standard error joins it."""
        with uninterrupted(), self.log(name).open("w") as log:
            output: IO[str] | int = subprocess.PIPE if read else log
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=self._environment,
                start_new_session=True,
                text=True,
            )
            self._started.append(process)
        return process

    def run(self, command: Sequence[str | Path], timeout_seconds: float = 30.0) -> str:
        """Standard output of a command that has to succeed; RuntimeError with what it said if it does not."""
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise RuntimeError(f"{' '.join(map(str, command))} ended with code {done.returncode}: {said}")
        return done.stdout

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def stop(self) -> None:
        for process in reversed(self._started):
            end(process)
        self._started.clear()


def end(process: subprocess.Popen[str]) -> None:
    """Asks it to end, waits, and kills it and its children if that takes too long."""
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A signal that comes meanwhile is answered afterwards, so that no process is started and then forgotten."""
    came: list[int] = []
    kept = {number: signal.signal(number, lambda got, _: came.append(got)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def free_ports(count: int) -> list[int]:
    """Different ports on loopback that nobody listens on now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in sockets]
