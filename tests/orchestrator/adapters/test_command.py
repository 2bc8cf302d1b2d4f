import asyncio
import os
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.command import CommandPerformer
from orchestrator.adapters.process import ProcessRunner
from orchestrator.adapters.secrets import Secrets
from orchestrator.core.effect import Effect, EffectState
from orchestrator.errors import Permanent, Temporary
from orchestrator.ports import Scene
from stages.effects import ObserveCommand, ObserveProbe, RunCommand, TargetKind
from stages.values import SecretRef
from tests.support.process import Child, wait_until

CONTROLLER = """
    import asyncio, sys
    from pathlib import Path
    from orchestrator.adapters.command import CommandPerformer
    from orchestrator.adapters.process import ProcessRunner
    from orchestrator.adapters.secrets import Secrets
    from orchestrator.core.effect import Effect
    from orchestrator.ports import Scene

    folder, resumed, effect = Path(sys.argv[1]), sys.argv[2] == "resumed", Effect.model_validate_json(sys.argv[3])
    performer = CommandPerformer(ProcessRunner(folder / "state", Secrets(), grace_seconds=0.5))
    outcome = asyncio.run(performer.perform(effect, Scene("r1", "production", directory=str(folder)), resumed))
    print(outcome.model_dump_json())
"""


@pytest.fixture
def performer(tmp_path: Path) -> CommandPerformer:
    return CommandPerformer(ProcessRunner(tmp_path / "state", Secrets(environ={}), grace_seconds=0.5))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene("r1", "production", directory=str(tmp_path))


def program(folder: Path, name: str, text: str) -> str:
    file = folder / name
    file.write_text("#!/bin/sh\n" + text)
    file.chmod(0o755)
    return f"./{name}"


def effect(operation: RunCommand) -> Effect:
    return Effect(
        id="e1",
        target="command:production/backend",
        target_kind=TargetKind.COMMAND,
        label="deploy",
        operation=operation,
        environment="production",
        stage="deploy",
    )


async def test_exit_code_zero_is_done(performer: CommandPerformer, scene: Scene) -> None:
    outcome = await performer.perform(effect(RunCommand(argv=("echo", "deployed"))), scene, resumed=False)

    assert (outcome.state, outcome.observed) == (EffectState.DONE, {"ran": "e1"})
    assert "deployed" in outcome.detail


async def test_what_observe_prints_is_what_is_there(performer: CommandPerformer, scene: Scene, tmp_path: Path) -> None:
    operation = RunCommand(argv=("cp", "wanted", "version"), observe=("cat", "version"))
    (tmp_path / "wanted").write_text(" v2\n")
    (tmp_path / "version").write_text("v1\n")

    before = await performer.observe(ObserveCommand(argv=("cat", "version")), scene)
    outcome = await performer.perform(effect(operation), scene, resumed=False)

    assert before.value == {"text": "v1"}
    assert (outcome.state, outcome.observed) == (EffectState.DONE, {"text": "v2"})


async def test_a_done_command_that_cannot_be_read_back_is_done_all_the_same(
    performer: CommandPerformer, scene: Scene
) -> None:
    outcome = await performer.perform(effect(RunCommand(argv=("true",), observe=("false",))), scene, resumed=False)

    assert (outcome.state, outcome.observed) == (EffectState.DONE, None)
    assert "not read back" in outcome.detail


async def test_an_exit_code_other_than_zero_is_a_refusal_in_the_commands_own_words(
    performer: CommandPerformer, scene: Scene, tmp_path: Path
) -> None:
    argv = (program(tmp_path, "deploy.sh", "echo starting; echo no such image >&2; exit 4"),)

    outcome = await performer.perform(effect(RunCommand(argv=argv)), scene, resumed=False)

    assert outcome.state is EffectState.REFUSED
    assert outcome.detail == "./deploy.sh ended with exit code 4: no such image"


@pytest.mark.parametrize(
    "operation",
    (
        RunCommand(argv=("./missing.sh",)),
        RunCommand(argv=("true",), dir="nowhere"),
        RunCommand(argv=("true",), vars={"TOKEN": SecretRef(env="TOKEN")}),
    ),
)
async def test_what_cannot_be_started_is_refused(
    performer: CommandPerformer, scene: Scene, operation: RunCommand
) -> None:
    outcome = await performer.perform(effect(operation), scene, resumed=False)

    assert outcome.state is EffectState.REFUSED
    assert outcome.detail


@pytest.mark.parametrize(("text", "said"), (("sleep 60", "time limit"), ("kill -9 $$", "SIGKILL")))
async def test_one_that_did_not_end_by_itself_is_unknown(
    performer: CommandPerformer, scene: Scene, tmp_path: Path, text: str, said: str
) -> None:
    operation = RunCommand(argv=(program(tmp_path, "deploy.sh", text),), timeout_seconds=1.0)

    outcome = await performer.perform(effect(operation), scene, resumed=False)

    assert outcome.state is EffectState.UNKNOWN
    assert said in outcome.detail


async def test_resumed_without_a_probe_it_is_not_run(performer: CommandPerformer, scene: Scene, tmp_path: Path) -> None:
    outcome = await performer.perform(effect(RunCommand(argv=("touch", "mark"))), scene, resumed=True)

    assert outcome.state is EffectState.UNKNOWN
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(("probe", "ran"), (("true", False), ("false", True)))
async def test_resumed_the_probe_decides_whether_it_is_run(
    performer: CommandPerformer, scene: Scene, tmp_path: Path, probe: str, ran: bool
) -> None:
    operation = RunCommand(argv=("touch", "mark"), probe=(probe,))

    outcome = await performer.perform(effect(operation), scene, resumed=True)

    assert outcome.state is EffectState.DONE
    assert (tmp_path / "mark").exists() is ran


@pytest.mark.parametrize("probe", (("./missing.sh",), ("sh", "-c", "kill -9 $$"), ("sleep", "60")))
async def test_a_probe_that_gives_no_answer_leaves_it_unknown_and_not_run(
    performer: CommandPerformer, scene: Scene, tmp_path: Path, probe: tuple[str, ...]
) -> None:
    operation = RunCommand(argv=("touch", "mark"), probe=probe, timeout_seconds=1.0)

    outcome = await performer.perform(effect(operation), scene, resumed=True)

    assert outcome.state is EffectState.UNKNOWN
    assert not (tmp_path / "mark").exists()


async def test_while_an_earlier_try_runs_another_is_not_started(
    performer: CommandPerformer, scene: Scene, tmp_path: Path
) -> None:
    slow = effect(RunCommand(argv=(program(tmp_path, "deploy.sh", "echo run >> runs; sleep 60"),)))
    first = asyncio.create_task(performer.perform(slow, scene, resumed=False))
    await asyncio.to_thread(wait_until, (tmp_path / "runs").exists, what="the first run")

    second = await performer.perform(slow, scene, resumed=False)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)

    assert second.state is EffectState.UNKNOWN
    assert "still runs" in second.detail
    assert (tmp_path / "runs").read_text() == "run\n"


async def test_the_same_effect_id_of_another_run_has_a_lock_of_its_own(
    performer: CommandPerformer, scene: Scene, tmp_path: Path
) -> None:
    slow = effect(RunCommand(argv=(program(tmp_path, "deploy.sh", "echo run >> runs; sleep 60"),)))
    first = asyncio.create_task(performer.perform(slow, scene, resumed=False))
    await asyncio.to_thread(wait_until, (tmp_path / "runs").exists, what="the first run")

    other = await performer.perform(effect(RunCommand(argv=("true",))), replace(scene, run="r2"), resumed=False)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)

    assert other.state is EffectState.DONE


def controller(folder: Path, asked: Effect, word: str) -> Child:
    code = textwrap.dedent(CONTROLLER)
    return Child([sys.executable, "-c", code, folder, word, asked.model_dump_json()], folder)


@pytest.mark.parametrize(
    ("probe", "state", "runs"),
    (
        (None, EffectState.UNKNOWN, 1),
        (("grep", "-q", "run", "runs"), EffectState.DONE, 1),
        (("test", "!", "-e", "runs"), EffectState.DONE, 2),
    ),
)
def test_after_kill_9_of_its_controller_a_command_runs_again_only_if_its_probe_says_so(
    tmp_path: Path, probe: tuple[str, ...] | None, state: EffectState, runs: int
) -> None:
    """The command resists being ended and would work on after 2 s; it must be gone before another try."""
    body = "trap '' TERM; echo run >> runs; [ -e second ] || { touch second; sleep 2; echo worked on >> runs; }"
    argv = (program(tmp_path, "deploy.sh", body),)
    asked = effect(RunCommand(argv=argv, probe=probe))
    with controller(tmp_path, asked, "first") as first:
        wait_until((tmp_path / "second").exists, what="the command's start")
        os.kill(first.pid, 9)
        first.wait()
    with controller(tmp_path, asked, "resumed") as resumed:
        assert resumed.wait() == 0, resumed.errors
        assert f'"state":"{state}"' in resumed.output

    lines = (tmp_path / "runs").read_text().splitlines()
    assert lines.count("run") == runs
    assert "worked on" not in lines
    assert not any((tmp_path / "state" / "locks").iterdir())


HOLDER = """
    import signal, sys, time
    from pathlib import Path
    from orchestrator.adapters.supervisor import take_lock

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert take_lock(Path(sys.argv[1])) is not None
    print("held", flush=True)
    time.sleep(300)
"""


async def test_what_an_earlier_try_left_running_is_ended_before_the_probe_is_asked(
    performer: CommandPerformer, scene: Scene, tmp_path: Path
) -> None:
    """As after ``kill -9`` of both controller and supervisor, with a process below the command that goes on."""
    runner = performer._runner
    assert isinstance(runner, ProcessRunner)
    lock = runner._lock(replace(scene, effect_id="e1"))
    with Child([sys.executable, "-c", textwrap.dedent(HOLDER), lock], tmp_path) as holder:
        await asyncio.to_thread(holder.wait_for, "held")
        asked = effect(RunCommand(argv=("touch", "mark"), probe=("false",)))

        outcome = await performer.perform(asked, scene, resumed=True)

        assert holder.exit_code == -9
    assert outcome.state is EffectState.DONE
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("folder", ("locks", "bundles"))
async def test_a_state_folder_that_cannot_be_written_runs_nothing(
    performer: CommandPerformer, scene: Scene, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / folder).write_text("a file where a folder should be")

    outcome = await performer.perform(effect(RunCommand(argv=("touch", "mark"))), scene, resumed=False)

    assert outcome.state in (EffectState.REFUSED, EffectState.TEMPORARY)
    assert folder in outcome.detail
    assert not (tmp_path / "mark").exists()


async def test_what_cannot_be_seen_says_why(performer: CommandPerformer, scene: Scene) -> None:
    with pytest.raises(Temporary, match="exit code 1"):
        await performer.observe(ObserveCommand(argv=("false",)), scene)
    with pytest.raises(Permanent, match="missing"):
        await performer.observe(ObserveCommand(argv=("./missing.sh",)), scene)


@pytest.mark.parametrize(("probe", "applied"), (("true", True), ("false", False)))
async def test_a_probe_says_whether_it_was_done_before(
    performer: CommandPerformer, scene: Scene, probe: str, applied: bool
) -> None:
    seen = await performer.observe(ObserveProbe(argv=(probe,)), scene)
    assert seen.value == {"applied": applied}


async def test_a_repeatable_command_is_run_again_if_nobody_knows_what_became_of_it(
    performer: CommandPerformer, scene: Scene, tmp_path: Path
) -> None:
    outcome = await performer.perform(effect(RunCommand(argv=("touch", "mark"), repeatable=True)), scene, resumed=True)
    assert outcome.state is EffectState.DONE
    assert (tmp_path / "mark").exists()
