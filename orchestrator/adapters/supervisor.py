"""Runs one command on behalf of a controller, and sees to it that the command does not outlive the controller.

Theory of operation. The controller starts this file as a program of its own (``python -I -S supervisor.py``: standard
library only, up in 50 ms) and writes one line of JSON, the order, to its standard input. That pipe then stays open: it
ends when the controller closes it (it cancels) or is gone (the kernel closes it, also after ``kill -9``). The command
is the leader of a session and process group of its own, with pipes that are always read and of which only the tail is
kept, so that it never blocks on its output. The supervisor ends the group (TERM, KILL after a grace) when

- the order's time is over,
- the control pipe ends, or the supervisor is told to end (on Linux also by the kernel, when the controller's thread
  that started it ends),
- the lease of its controller has lapsed: the order says until when it holds (``until``, by ``boottime``), and each
  line on the control pipe says so anew. So a controller that is frozen, with its end of the pipe open, leaves nothing
  running for another one to meet,
- the command itself has ended and left others of its group behind.

In the first three cases everything else that descends from the command is ended as well, also what left its group: on
Linux orphans are handed to the supervisor. In the last, what left the group (a daemon) is left alone. If the
supervisor is killed, the kernel kills the command.

An order may name a lock file. Its lock is held through a descriptor that the command and all that it starts inherit, so
it is free only when the last of them is gone, whatever happened to the supervisor. The file is removed at the end.

The answer, one JSON object on standard output, is one of ``{"exit_code", "stdout", "stderr", "duration_seconds",
"timed_out", "gone"}``, ``{"not_started": SENTENCE}`` and ``{"busy": true}``; none at all means that it is not known
what became of the command.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.05
DRAIN_SECONDS = 1.0  # for what a command left behind in its group to finish writing
KILL_SECONDS = 3.0  # for the kernel to end what was killed
LAPSE_GRACE_SECONDS = 1.5  # from the lapse of the lease to KILL; another controller may act three seconds after it
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_HINTS = {
    errno.ENOEXEC: "it needs a first line such as #!/bin/sh",
    errno.EACCES: "it must be executable, on a file system that allows it",
    errno.ENOENT: "it, or the interpreter that its first line names, is missing",
}


def boottime() -> float:
    """Seconds that also pass while the machine sleeps; where the system has no such clock, the monotonic one's. Leases
    are told by it as well."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def take_lock(path: Path, *, create: bool = True) -> int | None:
    """An open descriptor that holds the lock of *path*, or None if somebody else holds it. Close it to give it back."""
    while True:
        held = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            os.close(held)
            if problem.errno in (errno.EAGAIN, errno.EACCES):
                return None
            raise
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(held).st_ino:
                return held
        os.close(held)  # its last holder removed the file between our opening and locking it


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock of *path*; it leaves no file behind then."""
    try:
        held = take_lock(path, create=False)
    except FileNotFoundError:
        return True
    if held is None:
        return False
    path.unlink(missing_ok=True)
    os.close(held)
    return True


def lock_holders(path: Path) -> list[int]:
    """The processes that have the lock file *path* open, as far as this user may see them (Linux; else none)."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return []
    mark = (wanted.st_dev, wanted.st_ino)
    return [pid for pid in _all_processes() if pid != os.getpid() and _has_open(pid, mark)]


def _has_open(pid: int, mark: tuple[int, int]) -> bool:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found = entry.stat()
                if (found.st_dev, found.st_ino) == mark:
                    return True
    return False


def _all_processes() -> list[int]:
    try:
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return []


def descendants() -> list[int]:
    """Every process below this one (Linux; else none)."""
    children: dict[int, list[int]] = {}
    for pid in _all_processes():
        with contextlib.suppress(OSError, IndexError, ValueError):
            # pid (name, which may hold anything) state ppid ...
            parent = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
    found: list[int] = []
    todo = [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


class Tail:
    """The last *keep* bytes of what was added."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._bytes = bytearray()

    def add(self, more: bytes) -> None:
        self._bytes += more
        del self._bytes[: -self._keep]

    def text(self) -> str:
        return self._bytes.decode("utf-8", "replace")


class Supervisor:
    """One command, from its start until the last of its group is gone."""

    def __init__(self, order: dict[str, Any], lock: int | None) -> None:
        self._order = order
        self._lock = lock
        self._tails = {"stdout": Tail(order["keep_bytes"]), "stderr": Tail(order["keep_bytes"])}
        self._selector = selectors.DefaultSelector()
        self._exit_code: int | None = None
        self._told_to_end = False
        self._until: float | None = order.get("until")
        self._said = bytearray()  # on the control pipe, since the last whole line
        self._duration_seconds = 0.0
        self.timed_out = False
        self._pid = 0
        self._listen()
        self._started = time.monotonic()
        self._child = self._start()
        self._pid = self._child.pid

    def run(self) -> dict[str, Any]:
        deadline = self._started + self._order["timeout_seconds"]
        while not (self._has_ended() or self._told_to_end or self.timed_out or self._has_lapsed()):
            self._look(min(max(deadline - time.monotonic(), 0.0), self._left_seconds()))
            self.timed_out = time.monotonic() >= deadline and not self._has_ended()
        forced = not self._has_ended()
        if not forced:
            self._wait_for_group(DRAIN_SECONDS)
        gone = self._end(everything=forced)
        self._read_the_rest()
        return {
            "exit_code": -signal.SIGKILL if self._exit_code is None else self._exit_code,
            "stdout": self._tails["stdout"].text(),
            "stderr": self._tails["stderr"].text(),
            "duration_seconds": self._duration_seconds or time.monotonic() - self._started,
            "timed_out": self.timed_out,
            "gone": gone,
        }

    def _start(self) -> subprocess.Popen[bytes]:
        order = self._order
        inherited = () if self._lock is None else (self._lock,)
        child = subprocess.Popen(  # noqa: S603 -- an argument vector, never a shell
            order["argv"],
            cwd=order["cwd"],
            env=order["env"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=inherited,
            preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 -- this process has one thread
        )
        assert child.stdout is not None
        assert child.stderr is not None
        for name, pipe in (("stdout", child.stdout), ("stderr", child.stderr)):
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ, self._tails[name])
        return child

    def _listen(self) -> None:
        read, write = os.pipe()
        for end in (read, write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self._selector.register(read, selectors.EVENT_READ, "signal")
        self._selector.register(0, selectors.EVENT_READ, "control")
        for number in _ENDING_SIGNALS:
            signal.signal(number, self._on_ending_signal)
        signal.signal(signal.SIGCHLD, _on_child_signal)

    def _on_ending_signal(self, *_: object) -> None:
        self._told_to_end = True

    def _look(self, wait_seconds: float) -> None:
        """Wait for something to happen, at most so long, and take note of it."""
        for key, _ in self._selector.select(min(wait_seconds, 60.0)):
            if isinstance(key.data, Tail):
                self._read(key.fileobj, key.data)
            elif key.data == "control":
                self._hear(key)
            else:
                _drain(key.fd)
        self._reap()

    def _hear(self, key: selectors.SelectorKey) -> None:
        """The controller is there, and may have renewed its lease; or its end of the pipe is closed."""
        said = os.read(key.fd, 4096)
        if not said:
            self._told_to_end = True
            self._selector.unregister(key.fileobj)
        *lines, rest = (self._said + said).split(b"\n")
        self._said = bytearray(rest)
        for line in lines:
            with contextlib.suppress(ValueError, KeyError):
                self._until = float(json.loads(line)["until"])

    def _left_seconds(self) -> float:
        """Of the lease; for ever where there is none."""
        return max(self._until - boottime(), 0.0) if self._until is not None else float("inf")

    def _has_lapsed(self) -> bool:
        return self._left_seconds() <= 0.0

    def _read(self, pipe: Any, tail: Tail) -> bool:
        """Whether there may be more."""
        try:
            more = os.read(pipe.fileno(), 65536)
        except BlockingIOError:
            return False
        tail.add(more)
        if not more:
            self._selector.unregister(pipe)
            pipe.close()
        return bool(more)

    def _read_the_rest(self) -> None:
        """What is in the pipes now, at most twice a pipe's size: a daemon may hold them open and write on for ever."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Tail):
                for _ in range(32):
                    if not self._read(key.fileobj, key.data):
                        break

    def _reap(self) -> None:
        """Take note of the command's end, and of that of orphans that were handed to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._exit_code = os.waitstatus_to_exitcode(status)
                self._duration_seconds = time.monotonic() - self._started

    def _wait_for_group(self, seconds: float) -> bool:
        """Whether the group is gone within that time; its output is read meanwhile."""
        until = time.monotonic() + seconds
        while self._group_lives():
            if time.monotonic() >= until or self._told_to_end:
                return False
            self._look(POLL_SECONDS)
        return True

    def _has_ended(self) -> bool:
        return self._exit_code is not None

    def _group_lives(self) -> bool:
        if not self._has_ended():
            return True
        try:
            os.killpg(self._pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def _end(self, *, everything: bool) -> bool:
        """End the group, and with *everything* all descendants. Whether they are gone."""
        grace_seconds = min(self._order["grace_seconds"], self._left_seconds() + LAPSE_GRACE_SECONDS)
        steps = ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, KILL_SECONDS))
        for number, patience_seconds in steps:
            until = time.monotonic() + patience_seconds
            first = True
            while self._group_lives() or (everything and descendants()):
                if time.monotonic() >= until:
                    break
                if first or number == signal.SIGKILL:  # what is forked meanwhile is killed with the next look
                    self._signal_all(number, everything=everything)
                first = False
                self._look(POLL_SECONDS)
                self._reap()
            else:
                return True
        return False

    def _signal_all(self, number: signal.Signals, *, everything: bool) -> None:
        if self._group_lives():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, number)
        for pid in descendants() if everything else ():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def _on_child_signal(*_: object) -> None:
    """It only has to wake the selector up."""


def _drain(descriptor: int) -> bool:
    """Read away what woke us up; False at the end of the stream."""
    try:
        return bool(os.read(descriptor, 4096))
    except BlockingIOError:
        return True


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _die_with(parent: int) -> Any:
    library = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def prepare() -> None:
        if library is not None:
            library.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() != parent:  # it was gone before we asked
                os._exit(127)

    return prepare


def _not_started(problem: OSError | ValueError, order: dict[str, Any]) -> str:
    name = order["argv"][0]
    if isinstance(problem, ValueError):
        return f"{name} cannot be started: an argument or variable holds a character that none may hold ({problem})"
    hint = _HINTS.get(problem.errno or 0)
    return f"{name} cannot be started: {problem.strerror}" + (f"; {hint}" if hint else "")


def _supervise(order: dict[str, Any]) -> dict[str, Any]:
    path = Path(order["lock"]) if order["lock"] else None
    try:
        lock = take_lock(path) if path else None
    except OSError as problem:
        return {"not_started": f"the lock file {path} cannot be made: {problem.strerror}"}
    if path and lock is None:
        return {"busy": True}
    is_gone = _control_has_ended() or (order.get("until") is not None and order["until"] <= boottime())
    answer: dict[str, Any] = {"not_started": "the controller was gone"} if is_gone else _run(order, lock)
    if path and answer.get("gone", True):
        path.unlink(missing_ok=True)
    return answer


def _run(order: dict[str, Any], lock: int | None) -> dict[str, Any]:
    try:
        supervisor = Supervisor(order, lock)
    except (OSError, ValueError) as problem:
        return {"not_started": _not_started(problem, order)}
    return supervisor.run()


def _control_has_ended() -> bool:
    """Asked under the lock: a controller that found it free before we took it came after ours was gone, so we see it
    here. Thus two controllers never run one effect's command side by side.
    """
    ready, _, _ = select.select([0], [], [], 0)
    return bool(ready) and not os.read(0, 4096)


def main() -> None:
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    line = bytearray()
    while not line.endswith(b"\n"):
        more = os.read(0, 65536)
        if not more:
            return  # the controller was gone before it could order anything
        line += more
    answer = json.dumps(_supervise(json.loads(line)))
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(answer)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
