import asyncio
import contextlib
import os
import sys
import textwrap
from pathlib import Path

import pytest

from orchestrator.adapters import supervisor
from orchestrator.adapters.process import TAIL_BYTES, CommandResult, NotStartable, ProcessRunner, Tether
from orchestrator.adapters.secrets import Secrets
from orchestrator.errors import Permanent
from orchestrator.ports import Scene
from stages.values import SecretRef, TextOrSecret
from tests.support.process import Child, wait_until

PLAN_FILES = {"./show.sh": "#!/bin/sh\nprintf 'bundled %s' \"$1\"\n"}


@pytest.fixture
def runner(tmp_path: Path) -> ProcessRunner:
    secrets = Secrets(environ={"TOKEN": "s3cret-token"})
    own = {"PATH": os.environ["PATH"], "HOME": "/home/of/controller", "PRIVATE": "of the controller"}
    return ProcessRunner(tmp_path / "state", secrets, own, grace_seconds=0.5)


def scene(plan: Path | None = None, **more: object) -> Scene:
    fixed = Scene(run="r1", environment="production", stage="queue", effect_id="e1")
    values = {name: getattr(fixed, name) for name in ("run", "environment", "stage", "effect_id")}
    return Scene(**{**values, "directory": str(plan) if plan else None, **more})


async def sh(
    runner: ProcessRunner,
    text: str,
    timeout_seconds: float = 20.0,
    where: Scene | None = None,
    variables: dict[str, TextOrSecret] | None = None,
) -> CommandResult:
    return await runner.run((), where or scene(), None, variables or {}, timeout_seconds, script=text)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def pids_in(folder: Path, *names: str) -> list[int]:
    def read() -> list[int]:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return [int((folder / name).read_text()) for name in names]
        return []

    return wait_until(read, what=f"pids in {names}")


async def test_exit_code_and_both_outputs_are_told_apart(runner: ProcessRunner) -> None:
    result = await sh(runner, "echo out; echo err >&2; exit 3")

    assert (result.exit_code, result.stdout, result.stderr, result.timed_out) == (3, "out\n", "err\n", False)
    assert 0 < result.duration_seconds < 10


async def test_arguments_are_passed_as_they_are_and_no_shell_sees_them(runner: ProcessRunner) -> None:
    result = await runner.run(("printf", "%s|", "$HOME; echo x", "a  b", "*"), scene(), None, {}, 20.0)

    assert result.stdout == "$HOME; echo x|a  b|*|"


async def test_a_script_stops_at_its_first_failing_line_and_at_unset_variables(runner: ProcessRunner) -> None:
    assert (await sh(runner, "false\necho never")).stdout == ""
    assert (await sh(runner, 'echo "$UNSET"')).exit_code != 0


async def test_the_environment_holds_only_what_was_promised(runner: ProcessRunner) -> None:
    where = scene(command_vars={"APP_ENV": "production", "LEVEL": "plan"})
    variables: dict[str, TextOrSecret] = {"LEVEL": "action", "ROLLOUT_RUN": "forged"}

    result = await runner.run(("env",), where, None, variables, 20.0)

    found = dict(line.split("=", 1) for line in result.stdout.splitlines())
    assert found == {
        "PATH": os.environ["PATH"],
        "HOME": "/home/of/controller",
        "APP_ENV": "production",
        "LEVEL": "action",
        "ROLLOUT_RUN": "r1",
        "ROLLOUT_ENVIRONMENT": "production",
        "ROLLOUT_STAGE": "queue",
        "ROLLOUT_EFFECT_ID": "e1",
    }


async def test_a_secret_reaches_the_command_and_never_comes_back(runner: ProcessRunner) -> None:
    variables: dict[str, TextOrSecret] = {"TOKEN": SecretRef(env="TOKEN")}

    result = await sh(runner, 'printf "%s %s" "${#TOKEN}" "$TOKEN"; echo "$TOKEN" >&2', variables=variables)

    assert result.stdout == "12 ***"
    assert result.stderr == "***\n"


async def test_a_secret_at_the_very_beginning_of_the_tail_is_not_shown_in_part(runner: ProcessRunner) -> None:
    variables: dict[str, TextOrSecret] = {"TOKEN": SecretRef(env="TOKEN")}
    rest = TAIL_BYTES - 5

    result = await sh(runner, f'printf "%s" "$TOKEN"; head -c {rest} /dev/zero | tr "\\0" x', variables=variables)

    assert "oken" not in result.stdout
    assert result.stdout.endswith("x" * rest)


async def test_a_missing_secret_is_named_and_nothing_is_started(runner: ProcessRunner, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    with pytest.raises(Permanent, match="OTHER"):
        await runner.run(("touch", str(mark)), scene(), None, {"X": SecretRef(env="OTHER")}, 20.0)
    assert not mark.exists()


async def test_a_bundled_file_wins_over_the_one_that_stands_beside_the_plan_now(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    (tmp_path / "show.sh").write_text("#!/bin/sh\necho changed since\n")
    (tmp_path / "show.sh").chmod(0o755)

    result = await runner.run(("./show.sh", "it"), scene(tmp_path, files=PLAN_FILES), None, {}, 20.0)

    assert result.stdout == "bundled it"


async def test_bundled_files_find_each_other_also_above_the_plan(runner: ProcessRunner) -> None:
    files = {"bin/run.sh": "#!/bin/sh\n. ../shared/words.sh\necho $WORD\n", "../shared/words.sh": "WORD=found\n"}

    result = await runner.run(("bin/run.sh",), scene(files=files), None, {}, 20.0)

    assert (result.stdout, result.stderr) == ("found\n", "")


async def test_a_bundle_that_was_tampered_with_is_laid_out_anew(runner: ProcessRunner, tmp_path: Path) -> None:
    where = scene(files=PLAN_FILES)
    await runner.run(("./show.sh", "1"), where, None, {}, 20.0)
    (placed,) = (tmp_path / "state" / "bundles").rglob("show.sh")
    placed.write_text("")

    result = await runner.run(("./show.sh", "2"), where, None, {}, 20.0)

    assert result.stdout == "bundled 2"


async def test_a_file_of_the_plans_folder_is_run_where_it_stands(runner: ProcessRunner, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "own.sh").write_text("#!/bin/sh\npwd\n")
    (tmp_path / "own.sh").chmod(0o755)

    here = await runner.run(("./own.sh",), scene(tmp_path), None, {}, 20.0)
    below = await runner.run(("./own.sh",), scene(tmp_path), "sub", {}, 20.0)
    by_default = await runner.run(("./own.sh",), scene(tmp_path, command_dir="sub"), None, {}, 20.0)

    assert here.stdout.strip() == str(tmp_path)
    assert below.stdout == by_default.stdout == f"{tmp_path}/sub\n"


@pytest.mark.parametrize(
    ("argv", "folder", "said"),
    (
        (("no-such-program-here",), None, "not on the controller's PATH"),
        (("./missing.sh",), None, "did not travel with the plan"),
        (("true",), "nowhere", "nowhere"),
        (("./plain.txt",), None, "executable"),
        (("./no-first-line",), None, "#!/bin/sh"),
        (("./bad-interpreter",), None, "interpreter"),
        (("true", "a\0b"), None, "character"),
        ((), None, "empty"),
    ),
)
async def test_what_cannot_be_started_is_refused_with_the_remedy(
    runner: ProcessRunner, tmp_path: Path, argv: tuple[str, ...], folder: str | None, said: str
) -> None:
    for name, text, mode in (
        ("plain.txt", "#!/bin/sh\n", 0o644),
        ("no-first-line", "\0\0\0\0", 0o755),
        ("bad-interpreter", "#!/no/such/interpreter\n", 0o755),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)

    with pytest.raises(NotStartable, match=said):
        await runner.run(argv, scene(tmp_path), folder, {}, 20.0)


async def test_however_much_is_printed_only_the_tail_is_kept_and_nothing_blocks(runner: ProcessRunner) -> None:
    result = await sh(runner, "head -c 30000000 /dev/zero | tr '\\0' x; echo end; head -c 3000000 /dev/zero >&2")

    assert result.exit_code == 0
    assert len(result.stdout) == TAIL_BYTES
    assert result.stdout.endswith("xxxend\n")
    assert len(result.stderr) == TAIL_BYTES


async def test_output_that_is_not_utf8_is_kept_readable(runner: ProcessRunner) -> None:
    result = await sh(runner, "printf 'caf\\303\\251 \\377 ok'")

    assert result.stdout == "café \N{REPLACEMENT CHARACTER} ok"


async def test_at_the_time_limit_the_whole_group_is_ended(runner: ProcessRunner, tmp_path: Path) -> None:
    script = (
        f"trap '' TERM; sleep 300 & echo $! > {tmp_path}/below; echo $$ > {tmp_path}/top; echo said; wait; sleep 300"
    )

    result = await sh(runner, script, timeout_seconds=0.7)

    assert result.timed_out
    assert result.stdout == "said\n"
    assert not any(map(alive, pids_in(tmp_path, "below", "top")))


async def test_what_left_the_group_is_ended_too_when_time_is_over(runner: ProcessRunner, tmp_path: Path) -> None:
    result = await sh(runner, f"setsid sh -c 'echo $$ > {tmp_path}/away; sleep 300' & wait", timeout_seconds=0.7)

    assert result.timed_out
    assert not any(map(alive, pids_in(tmp_path, "away")))


async def test_a_background_process_left_behind_neither_blocks_nor_survives(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    result = await sh(runner, f"sleep 300 & echo $! > {tmp_path}/left; echo done")

    assert (result.exit_code, result.stdout) == (0, "done\n")
    assert not any(map(alive, pids_in(tmp_path, "left")))


async def test_a_daemon_that_a_command_started_is_left_alone(runner: ProcessRunner, tmp_path: Path) -> None:
    script = (
        f"setsid sh -c 'echo $$ > {tmp_path}/daemon; exec sleep 300' & while [ ! -s {tmp_path}/daemon ]; do :; done"
    )

    result = await sh(runner, script)

    (daemon,) = pids_in(tmp_path, "daemon")
    try:
        assert result.exit_code == 0
        assert alive(daemon)
    finally:
        os.kill(daemon, 9)


async def test_one_that_is_ended_by_a_signal_says_which(runner: ProcessRunner) -> None:
    assert (await sh(runner, "kill -9 $$")).exit_code == -9


async def test_cancelling_ends_the_command_before_it_returns(runner: ProcessRunner, tmp_path: Path) -> None:
    task = asyncio.create_task(sh(runner, f"echo $$ > {tmp_path}/top; sleep 300", timeout_seconds=300))
    (pid,) = await asyncio.to_thread(pids_in, tmp_path, "top")

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not alive(pid)


CONTROLLER = """
    import asyncio, sys
    from pathlib import Path
    from orchestrator.adapters.process import ProcessRunner
    from orchestrator.adapters.secrets import Secrets
    from orchestrator.ports import Scene

    folder = Path(sys.argv[1])
    script = f"trap '' TERM; sleep 300 & echo $! > {folder}/below; echo $$ > {folder}/top; wait; sleep 300"
    runner = ProcessRunner(folder / "state", Secrets(), grace_seconds=0.3)
    asyncio.run(runner.run((), Scene("r", "e"), None, {}, 300, script=script))
"""


def test_a_command_and_all_below_it_die_with_a_killed_controller(tmp_path: Path) -> None:
    controller = Child([sys.executable, "-c", textwrap.dedent(CONTROLLER), tmp_path], tmp_path)
    with controller:
        pids = pids_in(tmp_path, "below", "top")
        assert all(map(alive, pids))

        os.kill(controller.pid, 9)

        wait_until(lambda: not any(map(alive, pids)), what="the command's end", deadline_seconds=10)


def test_a_command_dies_with_a_killed_supervisor(tmp_path: Path) -> None:
    with Child([sys.executable, "-c", textwrap.dedent(CONTROLLER), tmp_path], tmp_path) as controller:
        (top,) = pids_in(tmp_path, "top")
        parent = int(Path(f"/proc/{top}/stat").read_text().rpartition(")")[2].split()[1])
        assert parent != controller.pid

        os.kill(parent, 9)

        wait_until(lambda: not alive(top), what="the command's end", deadline_seconds=10)
        wait_until(lambda: "CommandLost" in controller.errors, what="the controller's word of it")
        (below,) = pids_in(tmp_path, "below")
        with contextlib.suppress(ProcessLookupError):
            os.kill(below, 9)


async def test_the_supervisor_hears_of_renewals_and_ends_the_command_when_the_lease_lapses(tmp_path: Path) -> None:
    until = [supervisor.boottime() + 3600.0]
    secrets = Secrets(environ={})
    runner = ProcessRunner(tmp_path / "state", secrets, grace_seconds=0.5, tether=Tether(lambda: until[0]))
    (plan := tmp_path / "plan").mkdir()
    running = asyncio.create_task(sh(runner, "echo $$ > pid; sleep 300", 600.0, scene(plan)))
    (pid,) = await asyncio.to_thread(pids_in, plan, "pid")

    until[0] = supervisor.boottime()

    assert (await running).exit_code == -15
    assert not alive(pid)
