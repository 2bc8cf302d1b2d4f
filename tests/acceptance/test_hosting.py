"""Where the controller lives: in `rollout start`, in the background, in `rollout serve`; and what forbids it."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from orchestrator.cli.live import ENTER, LEAVE
from tests.acceptance.worlds.host import Host, host_in, is_running, reasons
from tests.acceptance.worlds.journals import assert_sound
from tests.support.process import Child, command, wait_until

pytestmark = pytest.mark.acceptance
REASON = ("--reason", "because of the test")

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {{name: {name}}}
spec:
  flags: {{{name}: {{}}}}
  stages:
    - {{name: only, kind: monitoring, flag: {name}, percentages: [50, 100], bake: {bake}, settle: 0s}}
  watch: 100ms
"""


def plan(host: Host, name: str = "patient", bake: str = "10m") -> Path:
    return host.write(f"{name}.yaml", PLAN.format(name=name, bake=bake))


@contextlib.contextmanager
def serving(host: Host, *arguments: str) -> Iterator[Child]:
    with host.rollout.start("serve", *(arguments or ("--listen", "127.0.0.1:0"))) as child:
        wait_until(host.controller, what="a controller")
        yield child


# --- in the background ------------------------------------------------------------------------------------------------


def test_detach_prints_the_name_last_and_a_background_controller_ends_with_the_run(host: Host) -> None:
    started = host.ok("start", plan(host, bake="2s"), "--detach")
    run = started.last_line
    assert run.startswith("patient-")
    found = host.controller()
    assert found is not None
    assert oct((host.state_dir / "controller.json").stat().st_mode & 0o777) == "0o600"
    host.wait_for_end(run, "promoted")
    wait_until(lambda: not is_running(found["pid"]), what="the controller's end")
    assert not (host.state_dir / "controller.json").exists()
    assert host.json("status", run)["outcome"] == "promoted"


def test_a_second_start_hands_its_plan_to_the_running_controller(host: Host) -> None:
    first = host.detached(plan(host, "one"))
    second = host.detached(plan(host, "two"))
    third, name = host.started(plan(host, "three", bake="300ms"))
    assert third.wait() == 0
    assert {one["run"] for one in host.json("list")} == {first, second, name}
    assert {one["run"] for one in host.json("list", "--active")} == {first, second}
    pid = (host.controller() or {})["pid"]
    for run in (first, second):
        host.ok("stop", run, *REASON)
    wait_until(lambda: not is_running(pid), what="the one controller's end")


def test_detach_attaches_to_a_run_that_is_under_way(host: Host) -> None:
    assert host.detached(plan(host)) == host.detached(plan(host))
    assert len(host.json("list")) == 1


# --- ending -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGHUP, signal.SIGINT))
def test_told_to_end_without_a_terminal_it_leaves_the_run_resumable_and_says_how(
    host: Host, number: signal.Signals
) -> None:
    file = plan(host)
    child, run = host.started(file)
    host.wait_for(run, leg="baking")
    assert child.stop(number) == 128 + number
    assert child.errors.rstrip().splitlines()[-1] == (
        f"{run} stays where it is and nobody watches it now; go on with it: rollout start {file}"
    )
    assert reasons(host.json("status", run)) == {"no_controller"}
    again, name = host.started(file)
    assert name == run
    host.wait_for(run, leg="baking", holds=[])
    host.ok("stop", run, *REASON)
    assert again.wait() == 4
    assert_sound(host, run)


def test_without_a_controller_reading_commands_show_that_nobody_watches(host: Host) -> None:
    child, run = host.started(plan(host))
    host.wait_for(run, leg="baking")
    child.kill()
    status = host.json("status", run)
    (hold,) = status["holds"]
    assert hold["reason"] == "no_controller"
    assert "rollout serve" in hold["detail"]
    assert "no_controller" in host.ok("status", run).output
    assert "Nobody can command it now: no controller runs" in host.ok("explain", run).output
    assert status["percentages"] == {"patient": 50.0}
    assert host.json("flag", "get", "patient")["percentage"] == 50
    assert host.json("history", run)[0]["type"] == "RunStarted"
    assert host.json("list")[0]["run"] == run
    assert "patient" in host.ok("report", run).output
    exported = host.write("journal.jsonl", host.ok("export", run).output)
    report = host.write("report.md", host.ok("report", run).output)
    assert "fit the head" in host.ok("verify", exported, "--report", report).output
    assert "stands still" in host.refused("watch", run)
    assert "no controller runs" in host.refused("pause", run)


# --- Ctrl-C at a terminal ---------------------------------------------------------------------------------------------


@pytest.fixture
def watched(host: Host) -> Iterator[tuple[Child, str]]:
    """A run that somebody watches at a terminal, asked with Ctrl-C what shall become of it."""
    host.rollout.environment["TERM"] = "xterm"
    with host.start(plan(host), terminal=True) as child:
        run = host.name_from(child)
        host.wait_for(run, leg="baking")
        child.type("\x03")
        child.wait_for("d, p, r or k?")
        yield child, run


def test_ctrl_c_and_detach_leaves_the_run_to_a_background_controller(host: Host, watched: tuple[Child, str]) -> None:
    child, run = watched
    child.type("d\n")
    assert child.wait() == 0
    assert "a controller in the background" in child.output
    assert host.wait_for(run, leg="baking", holds=[])["percentages"] == {"patient": 50.0}
    host.ok("stop", run, *REASON)


def test_ctrl_c_and_pause_holds_the_run_in_place(host: Host, watched: tuple[Child, str]) -> None:
    child, run = watched
    child.type("p\n")
    host.wait_for(run, hold="paused")
    assert child.running
    host.ok("resume", run, *REASON)
    host.wait_for(run, holds=[])


def test_ctrl_c_and_roll_back_brings_everything_back(host: Host, watched: tuple[Child, str]) -> None:
    child, run = watched
    child.type("r\n")
    assert child.wait() == 3
    assert host.json("flag", "get", "patient")["percentage"] == 0
    assert host.json("status", run)["outcome"] == "rolled_back"


def test_ctrl_c_and_keep_watching_changes_nothing_and_ctrl_c_asks_again(host: Host, watched: tuple[Child, str]) -> None:
    child, run = watched
    child.type("k\n")
    assert host.wait_for(run, leg="baking")["holds"] == []
    child.type("\x03")
    wait_until(lambda: child.output.count("d, p, r or k?") == 2, what="the question once more")
    assert child.running
    assert child.output.count(ENTER) == child.output.count(LEAVE) >= 1  # the picture is gone where something is asked
    assert f"{run}  running, baking" not in child.output.rpartition(LEAVE)[2]


# --- serve ------------------------------------------------------------------------------------------------------------


def test_serve_takes_up_what_is_unfinished_and_leaves_it_resumable_when_it_is_told_to_end(host: Host) -> None:
    child, run = host.started(plan(host))
    host.wait_for(run, leg="baking")
    child.kill()
    with serving(host) as server:
        host.wait_for(run, leg="baking", holds=[])
        url = (host.controller() or {})["url"]
        assert httpx.get(f"{url}/healthz", trust_env=False).is_success
        assert httpx.get(f"{url}/readyz", trust_env=False).is_success
        assert httpx.get(f"{url}/openapi.json", trust_env=False).json()["openapi"].startswith("3.")
        assert httpx.post(f"{url}/api/v1/runs/{run}/commands", json={}, trust_env=False).status_code == 401
        assert server.stop(signal.SIGTERM) == 0
        assert f"nobody watches {run}" in server.errors.rstrip().splitlines()[-1]
    assert not (host.state_dir / "controller.json").exists()
    assert reasons(host.json("status", run)) == {"no_controller"}


def test_a_run_that_cannot_be_read_is_said_and_keeps_no_other_waiting(host: Host) -> None:
    with serving(host) as server:
        damaged, other = host.detached(plan(host, "damaged")), host.detached(plan(host, "other"))
        for run in (damaged, other):
            host.wait_for(run, leg="baking")
        server.kill()
    with contextlib.closing(sqlite3.connect(host.store)) as connection, connection:
        connection.execute("""UPDATE events SET data = '{"type": "Invented"}' WHERE run = ? AND seq = 2""", (damaged,))
    with serving(host) as server:
        host.wait_for(other, leg="baking", holds=[])
        assert f"Event 2 of run '{damaged}' can't be read" in host.refused("status", damaged)
        assert {one["run"] for one in host.json("list", "--active")} == {damaged, other}
        host.ok("rollback", other, *REASON)
        host.wait_for_end(other, "rolled_back")
    assert "run.not_taken_up" in server.errors
    assert "Traceback" not in server.errors


def test_serve_beyond_loopback_without_tokens_is_refused(host: Host) -> None:
    said = host.refused("serve", "--listen", "0.0.0.0:0", code=2)
    assert "--token-file" in said


def test_a_second_controller_on_the_same_store_is_refused(host: Host, tmp_path: Path) -> None:
    with serving(host) as first:
        assert f"pid {first.pid}" in host.refused("serve", "--listen", "127.0.0.1:0")
        with host_in(tmp_path / "elsewhere", ROLLOUT_STORE=f"sqlite:///{host.store}") as other:
            said = other.refused("start", plan(other))
            assert "Another controller" in said
            assert str(host.store) in said
        assert first.running
    assert host.json("list") == []


def test_a_port_that_is_taken_is_said_and_nothing_is_started(host: Host) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for arguments in (("serve", "--listen", address), ("start", plan(host), "--listen", address)):
            said = host.refused(*arguments)
            assert address.partition(":")[2] in said
            assert "in use" in said
    assert host.json("list") == []


# --- stores that can't be used ----------------------------------------------------------------------------------------


@pytest.fixture
def finished(host: Host) -> str:
    """A run in the store that is promoted."""
    child, run = host.started(plan(host, bake="100ms"))
    assert child.wait() == 0, child.output + child.errors
    with contextlib.closing(sqlite3.connect(host.store)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return run


def test_a_store_of_a_newer_version_is_left_alone(host: Host, finished: str) -> None:
    def set_version(version: str) -> None:
        with contextlib.closing(sqlite3.connect(host.store)) as connection, connection:
            connection.execute(f"UPDATE meta SET value = {version} WHERE name = 'schema_version'")

    set_version("value + 1")
    serve = ("serve", "--listen", "127.0.0.1:0")  # the usual port may be another test's
    for arguments in (("start", plan(host, "other")), serve, ("status", finished), ("list",)):
        assert "newer version" in host.refused(*arguments)
    set_version("value - 1")
    assert host.json("status", finished)["outcome"] == "promoted"


def test_a_corrupted_store_is_said_and_not_touched(host: Host, finished: str) -> None:
    content = bytearray(host.store.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    host.store.write_bytes(content)
    for suffix in ("-wal", "-shm"):
        host.store.with_name(host.store.name + suffix).unlink(missing_ok=True)
    said = host.refused("start", plan(host, "other"))
    assert str(host.store) in said
    assert host.store.read_bytes() == content
    assert str(host.store) in host.refused("list")


def test_a_file_that_is_no_store_is_said_and_not_touched(host: Host) -> None:
    host.state_dir.mkdir(mode=0o700)
    host.store.write_text("my diary\n" * 1000)
    assert str(host.store) in host.refused("start", plan(host))
    assert host.store.read_text() == "my diary\n" * 1000


def start_with_room_for(host: Host, most_bytes: int, file: Path) -> Child:
    """`rollout start` that may write no file beyond this size, which meets it as a full disk does."""
    prlimit = shutil.which("prlimit")
    if prlimit is None:
        pytest.skip("there is no prlimit, which limits the size of files")
    limited: list[str | Path] = [prlimit, f"--fsize={most_bytes}:unlimited", "--", command(), "start", file]
    child = Child(limited, host.folder, environment=host.rollout.environment)
    host.rollout.children.append(child)
    return child.start()


def test_on_a_full_disk_nothing_is_started_and_what_was_there_stays(host: Host, finished: str) -> None:
    child = start_with_room_for(host, 4096, plan(host, "other"))
    assert child.wait() == 1, child.output + child.errors
    said = child.errors.rstrip().splitlines()[-1]
    assert str(host.store) in said
    assert "room" in said
    assert "Traceback" not in child.errors
    assert [one["run"] for one in host.json("list")] == [finished]
    assert_sound(host, finished)
    after, _ = host.started(plan(host, "afterwards", bake="100ms"))
    assert after.wait() == 0, after.output + after.errors


def test_when_the_disk_runs_full_the_run_stands_still_says_so_and_goes_on_when_there_is_room(
    host: Host, finished: str
) -> None:
    child = start_with_room_for(host, host.store.stat().st_size, plan(host, "other", bake="100ms"))
    child.wait_for("stands still")
    assert "check the disk and the room on it" in child.errors
    run = host.name_from(child)
    assert "nothing can be written" in host.ok("status", run).output
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert child.wait() == 0, child.output + child.errors
    assert "its journal can be written again" in child.errors
    assert_sound(host, run)
    assert host.json("flag", "get", "other")["percentage"] == 100


def test_a_state_directory_that_cannot_be_used_is_said(host: Host) -> None:
    host.state_dir.mkdir()
    host.state_dir.chmod(0)
    result = host.as_plain_user("start", plan(host))
    host.state_dir.chmod(0o700)
    assert result.code == 1, result
    assert str(host.state_dir) in result.errors
    assert "something unexpected" not in result.errors
    assert list(host.state_dir.iterdir()) == []


def test_a_state_directory_that_is_a_file_is_said(host: Host) -> None:
    host.state_dir.write_text("in the way")
    said = host.refused("start", plan(host))
    assert str(host.state_dir) in said
    assert os.access(host.state_dir, os.R_OK)
