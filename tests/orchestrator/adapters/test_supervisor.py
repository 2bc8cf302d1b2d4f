"""The supervisor as the program that it is, without our side of the pipe."""

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from orchestrator.adapters import supervisor
from orchestrator.adapters.supervisor import Tail, is_free, lock_holders, take_lock
from tests.support.process import wait_until


def order(folder: Path, *argv: str, lock: Path | None = None, lease_seconds: float | None = None) -> bytes:
    words = {
        "argv": argv,
        "cwd": str(folder),
        "env": {"PATH": os.environ["PATH"]},
        "timeout_seconds": 20.0,
        "grace_seconds": 0.5,
        "keep_bytes": 100,
        "lock": str(lock) if lock else None,
        "until": supervisor.boottime() + lease_seconds if lease_seconds is not None else None,
    }
    return json.dumps(words).encode() + b"\n"


def start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", supervisor.__file__]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={})


def ask(words: bytes, *, stay: bool = True) -> dict[str, Any] | None:
    """Its answer; with *stay* the pipe is open until then, without it the controller is gone at once."""
    with start() as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(words)
        program.stdin.flush()
        if not stay:
            program.stdin.close()
        said = program.stdout.read()
        return json.loads(said) if said else None


def test_it_needs_nothing_but_the_standard_library_and_says_how_the_command_ended(tmp_path: Path) -> None:
    answer = ask(order(tmp_path, "sh", "-c", "echo hello; exit 3"))

    assert answer is not None
    assert (answer["exit_code"], answer["stdout"], answer["timed_out"], answer["gone"]) == (3, "hello\n", False, True)


def test_a_controller_that_is_gone_before_the_command_started_has_nothing_started(tmp_path: Path) -> None:
    answer = ask(order(tmp_path, "touch", "mark", lock=tmp_path / "lock"), stay=False)

    assert answer == {"not_started": "the controller was gone"}
    assert not (tmp_path / "mark").exists()
    assert not (tmp_path / "lock").exists()


def test_an_order_that_was_cut_short_starts_nothing(tmp_path: Path) -> None:
    assert ask(order(tmp_path, "touch", "mark")[:-5], stay=False) is None
    assert not (tmp_path / "mark").exists()


def test_while_the_lock_is_held_nothing_is_started(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    held = take_lock(lock)
    assert held is not None
    try:
        assert ask(order(tmp_path, "touch", "mark", lock=lock)) == {"busy": True}
        assert not is_free(lock)
    finally:
        os.close(held)

    assert not (tmp_path / "mark").exists()
    assert is_free(lock)
    assert not lock.exists()


def test_a_lock_whose_file_was_removed_by_its_last_holder_is_taken_on_the_new_file(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    old = take_lock(lock)
    assert old is not None
    lock.unlink()

    new = take_lock(lock)

    assert new is not None
    assert os.fstat(new).st_ino == lock.stat().st_ino
    os.close(old)
    os.close(new)


def test_everything_below_the_command_holds_its_lock(tmp_path: Path) -> None:
    lock, pid = tmp_path / "lock", tmp_path / "pid"
    with start() as program:
        assert program.stdin is not None
        program.stdin.write(order(tmp_path, "sh", "-c", "sleep 30 & echo $$ > pid; wait", lock=lock))
        program.stdin.flush()
        top = wait_until(lambda: pid.exists() and pid.read_text().strip(), what="the command's start")

        holders = lock_holders(lock)

        program.stdin.close()
    assert {program.pid, int(top)} < set(holders)  # and the one below


def test_the_tail_is_the_end_and_no_more() -> None:
    tail = Tail(5)
    for piece in (b"ab", b"cdef", b"g"):
        tail.add(piece)

    assert tail.text() == "cdefg"


def test_a_lock_keeps_other_descriptors_of_this_process_out_too(tmp_path: Path) -> None:
    held = take_lock(tmp_path / "lock")
    assert held is not None

    assert take_lock(tmp_path / "lock") is None
    fcntl.flock(held, fcntl.LOCK_UN)
    again = take_lock(tmp_path / "lock")
    assert again is not None
    os.close(again)
    os.close(held)


def tell(program: subprocess.Popen[bytes], *parts: bytes) -> None:
    """As a pipe delivers it: in parts."""
    assert program.stdin is not None
    for part in parts:
        program.stdin.write(part)
        program.stdin.flush()


def lease(seconds: float) -> bytes:
    return json.dumps({"until": supervisor.boottime() + seconds}).encode() + b"\n"


def test_when_the_lease_lapses_the_whole_group_is_ended_though_the_controller_holds_its_end_of_the_pipe(
    tmp_path: Path,
) -> None:
    stubborn = "trap '' TERM; sleep 300 & echo begun > mark; wait; sleep 300"
    with start() as program:
        assert program.stdout is not None
        tell(program, order(tmp_path, "sh", "-c", stubborn, lock=tmp_path / "lock", lease_seconds=3600.0))
        wait_until((tmp_path / "mark").exists, what="the command to begin")
        tell(program, lease(0.0))
        answer = json.loads(program.stdout.read())
    assert (answer["exit_code"], answer["timed_out"], answer["gone"]) == (-9, False, True)
    assert is_free(tmp_path / "lock")


def test_a_lease_that_is_renewed_lets_the_command_go_on(tmp_path: Path) -> None:
    waits = "echo begun > mark; until test -e go; do sleep 0.1; done; echo done"
    with start() as program:
        assert program.stdout is not None
        tell(program, order(tmp_path, "sh", "-c", waits, lease_seconds=3600.0))
        wait_until((tmp_path / "mark").exists, what="the command to begin")
        renewed = lease(7200.0)
        tell(program, renewed[:7], renewed[7:], b"no lease\n" + lease(7300.0))
        (tmp_path / "go").touch()
        answer = json.loads(program.stdout.read())
    assert (answer["exit_code"], answer["stdout"]) == (0, "done\n")


def test_with_a_lease_that_has_lapsed_nothing_is_started(tmp_path: Path) -> None:
    assert ask(order(tmp_path, "touch", "mark", lease_seconds=-1.0)) == {"not_started": "the controller was gone"}
    assert not (tmp_path / "mark").exists()


def test_time_that_counts_sleep_goes_on() -> None:
    before = supervisor.boottime()
    time.sleep(0.01)
    assert supervisor.boottime() > before
