"""Real processes in tests: `Child` for any command, `Rollout` for the `rollout` command in a world of its own.

A child is the leader of a session of its own, so that `kill` reaches what it started too, unless that left the
session (a detached controller does). On Linux it is killed when the thread that started it ends, however that comes
about: a test run that is killed leaves nothing behind. Output goes to files, so no pipe fills up and what a child
said can be read while it runs and after it was killed.
"""

import contextlib
import errno
import itertools
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.support.forked import Beginning, Forked

ROOT = Path(__file__).resolve().parent.parent.parent
DEADLINE_SECONDS = 60.0  # for what takes a second or two on a quiet machine
_ROLLOUT = str(Path(sys.executable).with_name("rollout"))
_NUMBERS = itertools.count(1)  # names the files of children apart
T = TypeVar("T")
# util-linux, part of every Linux distribution; elsewhere a killed test run may leave children behind
_SETPRIV = shutil.which("setpriv")
_DIE_WITH_PARENT = [_SETPRIV, "--pdeathsig", "KILL", "--"] if _SETPRIV else []
_OWN_TERMINAL = [
    "setsid",
    "--ctty",
    "--",
]  # a session of its own whose controlling terminal is standard input: Ctrl-C reaches it


def wait_until(
    condition: Callable[[], T], *, what: str, deadline_seconds: float = DEADLINE_SECONDS, every_seconds: float = 0.05
) -> T:
    """Polls until the condition is true and returns what it said; AssertionError with `what` and its last answer at
    the deadline.
    """
    deadline = time.monotonic() + deadline_seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {deadline_seconds:g} s in vain for {what}; last seen: {answer!r}")
        time.sleep(every_seconds)


class Child:
    """One process. Start it with `with Child(...) as child:` or `start()`; it may be started again after it ended."""

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
        terminal: bool = False,
        fork: bool = True,
    ) -> None:
        """Runs `command` in `folder`, where its output is kept too. `terminal` gives it a real one, to which `type`
        can write. Without `fork` a `rollout` is started like any other program, and takes a second longer.
        """
        self.command = [str(part) for part in command]
        self.folder = folder
        self.environment = dict(os.environ if environment is None else environment)
        self.user = user
        self.terminal = _Terminal() if terminal else None
        self._name = f"{Path(self.command[0]).name}-{next(_NUMBERS)}"
        self._fork = fork and user is None and not terminal and self.command[0] == _ROLLOUT
        self._process: subprocess.Popen[bytes] | Forked | None = None

    def start(self) -> Self:
        assert not self.running, f"{self.command[0]} is running already"
        output, errors = (str(self._file(kind)) for kind in ("out", "err"))
        beginning = Beginning(tuple(self.command), str(self.folder), self.environment, output, errors)
        if self._fork and beginning.can_be_forked:
            self._process = Forked(beginning)
            return self
        with self._file("out").open("ab") as out, self._file("err").open("ab") as err:
            streams = self.terminal.open(self._file("out")) if self.terminal else (subprocess.DEVNULL, out, err)
            self._process = subprocess.Popen(
                [*_DIE_WITH_PARENT, *(_OWN_TERMINAL if self.terminal else []), *self.command],
                cwd=self.folder,
                env=self.environment,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                start_new_session=self.terminal is None,
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
            )
        if self.terminal:
            self.terminal.close_childs_end()
        return self

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number if one ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def output(self) -> str:
        """Its standard output so far (with a terminal: everything it showed), of every start."""
        return self._read("out")

    @property
    def errors(self) -> str:
        """Its standard error so far, of every start."""
        return self._read("err")

    def send(self, number: signal.Signals) -> None:
        """To the process alone, as `kill` of a shell does."""
        os.kill(self.pid, number)

    def freeze(self) -> None:
        """Stops it where it is: connections stay open and nothing answers."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def wait(self, deadline_seconds: float = DEADLINE_SECONDS) -> int:
        """Its exit code; AssertionError with what it said if it has not ended by then."""
        assert self._process is not None, "not started"
        try:
            code = self._process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} still runs after {deadline_seconds:g} s; {self._said()}") from None
        if self.terminal:
            self.terminal.finish()
        return code

    def wait_for(self, text: str, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """Until it has said `text`; AssertionError if it ended without."""

        def said() -> bool:
            ended = not self.running
            if text in self.output or text in self.errors:
                return True
            assert not ended, f"{self} ended with code {self.exit_code} before it said {text!r}; {self._said()}"
            return False

        wait_until(said, what=f"{text!r} from {self}", deadline_seconds=deadline_seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM, deadline_seconds: float = DEADLINE_SECONDS) -> int:
        """Asks it to end and waits for that."""
        self.send(number)
        return self.wait(deadline_seconds)

    def kill(self) -> None:
        """SIGKILL to it and everything in its session's process group; no error if it has ended."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        if self.terminal:
            self.terminal.finish()

    def type(self, text: str) -> None:
        assert self.terminal is not None, "only a child with terminal=True can be typed to"
        self.terminal.write(text)

    def __str__(self) -> str:
        return " ".join(Path(part).name if index == 0 else part for index, part in enumerate(self.command))

    def _file(self, kind: str) -> Path:
        return self.folder / f"{self._name}.{kind}"

    def _read(self, kind: str) -> str:
        file = self._file(kind)
        return file.read_text(errors="replace") if file.exists() else ""

    def _said(self) -> str:
        return f"output:\n{self.output}\nerrors:\n{self.errors}"


class _Terminal:
    """A pseudo-terminal whose child's end is given to a process, and a thread that writes what the process shows into
    a file.
    """

    def __init__(self) -> None:
        self._ours = self._childs = -1
        self._reader: threading.Thread | None = None

    def open(self, log: Path) -> tuple[int, int, int]:
        self._ours, self._childs = pty.openpty()
        self._reader = threading.Thread(target=self._copy, args=(log,), daemon=True)
        self._reader.start()
        return self._childs, self._childs, self._childs

    def close_childs_end(self) -> None:
        os.close(self._childs)

    def write(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def finish(self) -> None:
        """After the process ended: waits until everything it showed is in the file. May be called again."""
        if self._reader is not None:
            self._reader.join(DEADLINE_SECONDS)
            self._reader = None
            os.close(self._ours)

    def _copy(self, log: Path) -> None:
        with log.open("ab", buffering=0) as file:
            while True:
                try:
                    shown = os.read(self._ours, 65536)
                except OSError as error:
                    if error.errno == errno.EIO:  # how Linux says that nobody holds the child's end any more
                        return
                    raise
                if not shown:
                    return
                file.write(shown)


@dataclass(frozen=True, slots=True)
class Result:
    """What a command that ran to its end left."""

    code: int
    output: str
    errors: str

    def json(self) -> Any:
        return json.loads(self.output)

    @property
    def last_line(self) -> str:
        return self.output.rstrip().rpartition("\n")[2]


class Rollout:
    """The real `rollout` command with a state directory of its own: nothing of the user's is read or written.

    Kill what you started with `kill_all` (the fixture `rollout` does).
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        """`environment` is added to the isolated one; for example ROLLOUT_STORE for a PostgreSQL store."""
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(parents=True, exist_ok=True)
        self.environment = isolated_environment(folder) | environment
        self.children: list[Child] = []

    def child(self, *arguments: str | Path, terminal: bool = False) -> Child:
        """A `rollout` command that is not started yet."""
        child = Child([command(), *arguments], self.folder, environment=self.environment, terminal=terminal)
        self.children.append(child)
        return child

    def start(self, *arguments: str | Path, terminal: bool = False) -> Child:
        """A `rollout` command in the background: `rollout.start("serve", "--listen", "127.0.0.1:0")`."""
        return self.child(*arguments, terminal=terminal).start()

    def run(self, *arguments: str | Path, deadline_seconds: float = DEADLINE_SECONDS) -> Result:
        """A `rollout` command to its end, whatever its exit code."""
        with self.child(*arguments) as child:
            code = child.wait(deadline_seconds)
            return Result(code, child.output, child.errors)

    def json(self, *arguments: str | Path, deadline_seconds: float = DEADLINE_SECONDS) -> Any:
        """What `rollout ... --output json` prints; AssertionError if it fails."""
        result = self.run(*arguments, "--output", "json", deadline_seconds=deadline_seconds)
        assert result.code == 0, f"rollout {arguments} ended with {result.code}: {result.errors or result.output}"
        return result.json()

    def kill_all(self) -> None:
        for child in self.children:
            child.kill()


def command() -> Path:
    """The `rollout` of the environment that runs the tests."""
    return Path(_ROLLOUT)


def isolated_environment(folder: Path) -> dict[str, str]:
    """This process's environment with every folder of the user's inside `folder` and without settings of `rollout`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROLLOUT_")}
    homes = {
        "HOME": "home",
        "XDG_STATE_HOME": "state",
        "XDG_CONFIG_HOME": "config",
        "XDG_CACHE_HOME": "cache",
        "XDG_DATA_HOME": "data",
    }
    homes["XDG_RUNTIME_DIR"] = "runtime"
    for name in homes.values():
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return kept | {variable: str(folder / name) for variable, name in homes.items()} | {"NO_COLOR": "1"}


@contextlib.contextmanager
def rollout_in(folder: Path, **environment: str) -> Iterator[Rollout]:
    rollout = Rollout(folder, **environment)
    try:
        yield rollout
    finally:
        rollout.kill_all()
