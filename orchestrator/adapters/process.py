"""Commands: programs run without a shell, in a clean environment, each under a supervisor that dies with us.

What the supervisor promises is said in :mod:`orchestrator.adapters.supervisor`. An effect's command holds a lock named
after the effect's id while any process of it lives. So a later life of the controller knows whether the earlier one's
command is gone, and ends it first if it is not. That, and never running again what cannot be probed, is how a command
is run at most once per effect.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from orchestrator.adapters import supervisor
from orchestrator.adapters.bundle import Bundles, normal
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.errors import Permanent, RolloutError, Temporary
from orchestrator.ports import AnyObservation, Scene, Seen
from stages.effects import ObserveCommand, RunCommand
from stages.values import SecretRef, TextOrSecret

TAIL_BYTES = 16 * 1024
GRACE_SECONDS = 5.0
OBSERVE_SECONDS = 60.0
DETAIL_CHARACTERS = 2000
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INHERITED = ("PATH", "HOME", "LANG", "TZ")

Resolve = Callable[[TextOrSecret], str]


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended. *exit_code* is minus the signal's number if one ended it; the outputs are their tails."""

    exit_code: int
    stdout: str
    stderr: str
    duration_seconds: float
    timed_out: bool


class NotStartable(Permanent):
    """The command cannot be started."""


class CommandLost(Temporary):
    """What became of the command is not known: its supervisor was killed."""


class StillRunning(Temporary):
    """An earlier try of the same effect still runs."""


class CommandRunner(Protocol):
    async def run(
        self,
        argv: Sequence[str],
        scene: Scene,
        dir: str | None,  # noqa: A002 -- the plan's word
        vars: Mapping[str, TextOrSecret],  # noqa: A002 -- the plan's word
        timeout_seconds: float,
        script: str | None = None,
    ) -> CommandResult:
        """Run *argv*, or *script* by ``sh -eu`` (then *argv* are its arguments).

        Raises ``NotStartable`` or ``CommandLost``, and what resolving a secret raises. Cancelling it ends the command.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Order:
    """What the supervisor is told; *secrets* are taken out of what it tells us."""

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    timeout_seconds: float
    secrets: tuple[str, ...] = ()
    lock: Path | None = None
    margin_bytes: int = field(default=0)


class ProcessRunner:
    """Runs commands as processes. *state_dir* is where the plan's files, scripts and locks are laid out."""

    def __init__(
        self,
        state_dir: Path,
        resolve: Resolve,
        own: Mapping[str, str] | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """*own* is the controller's environment, of which only ``INHERITED`` is passed on."""
        self._locks = state_dir / "locks"
        self._scripts = state_dir / "scripts"
        self._bundles = Bundles(state_dir / "bundles")
        self._resolve = resolve
        self._own = os.environ if own is None else own
        self._grace_seconds = grace_seconds

    async def run(
        self,
        argv: Sequence[str],
        scene: Scene,
        dir: str | None,  # noqa: A002 -- the plan's word
        vars: Mapping[str, TextOrSecret],  # noqa: A002 -- the plan's word
        timeout_seconds: float,
        script: str | None = None,
    ) -> CommandResult:
        operation = RunCommand(argv=tuple(argv), dir=dir, vars=dict(vars), timeout_seconds=timeout_seconds)
        return await self._supervise(await asyncio.to_thread(self._prepare, operation, scene, script))

    async def run_once(self, operation: RunCommand, scene: Scene) -> CommandResult:
        """Run an effect's command under the lock of ``scene.effect_id``; raises ``StillRunning`` if that is held."""
        order = await asyncio.to_thread(self._prepare, operation, scene)
        return await self._supervise(replace(order, lock=self._lock(scene)))

    async def end_earlier(self, scene: Scene) -> bool:
        """Wait for the end of what an earlier try of ``scene.effect_id`` left running; end it if it goes on.

        Its own supervisor ends it when its controller is gone. Whether it is gone for sure.
        """
        lock = self._lock(scene)
        if await self._is_free(lock, self._grace_seconds + supervisor.KILL_SECONDS):
            return True
        for number, patience_seconds in (
            (signal.SIGTERM, self._grace_seconds),
            (signal.SIGKILL, supervisor.KILL_SECONDS),
        ):
            for pid in await asyncio.to_thread(supervisor.lock_holders, lock):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            if await self._is_free(lock, patience_seconds):
                return True
        return False

    def _lock(self, scene: Scene) -> Path:
        name = hashlib.sha256(f"{scene.run}\n{scene.effect_id}".encode()).hexdigest()[:32]
        self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._locks / f"{name}.lock"

    async def _is_free(self, lock: Path, within_seconds: float) -> bool:
        for _ in range(max(int(within_seconds / supervisor.POLL_SECONDS), 1)):
            held = supervisor.take_lock(lock)
            if held is not None:
                lock.unlink(missing_ok=True)
                os.close(held)
                return True
            await asyncio.sleep(supervisor.POLL_SECONDS)
        return False

    # --- what is run, and where ---------------------------------------------------------------------------------------

    def _prepare(self, operation: RunCommand, scene: Scene, script: str | None = None) -> _Order:
        given = {**scene.command_vars, **operation.vars}
        plain = {name: self._resolve(value) for name, value in given.items()}
        secrets = tuple(plain[name] for name, value in given.items() if isinstance(value, SecretRef) and plain[name])
        bundle = self._bundles.place(scene.files)
        env = {**self._inherited(), **plain, **_words_about(scene)}
        argv = (
            ("sh", "-eu", str(self._script(script)), *operation.argv)
            if script is not None
            else (_program(operation.argv, scene, bundle, env["PATH"]), *operation.argv[1:])
        )
        return _Order(
            argv=argv,
            cwd=str(_folder(operation.dir or scene.command_dir, scene, bundle)),
            env=env,
            timeout_seconds=operation.timeout_seconds,
            secrets=tuple(sorted(secrets, key=len, reverse=True)),
            margin_bytes=max((len(secret.encode()) for secret in secrets), default=0),
        )

    def _inherited(self) -> dict[str, str]:
        return {"PATH": DEFAULT_PATH} | {name: self._own[name] for name in INHERITED if name in self._own}

    def _script(self, text: str) -> Path:
        files = self._scripts / hashlib.sha256(text.encode()).hexdigest()[:32]
        return Bundles(files).place({"script": text}) / "script"

    # --- the supervisor -----------------------------------------------------------------------------------------------

    async def _supervise(self, order: _Order) -> CommandResult:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            supervisor.__file__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"LANG": "C.UTF-8"},
            start_new_session=True,
        )
        try:
            answer = await asyncio.wait_for(self._ask(process, order), self._patience_seconds(order))
        except TimeoutError:
            answer = {}
        finally:
            await self._release(process)
        return _result(answer, order)

    def _patience_seconds(self, order: _Order) -> float:
        ending = self._grace_seconds + supervisor.KILL_SECONDS + supervisor.DRAIN_SECONDS
        return order.timeout_seconds + ending + 10.0

    async def _ask(self, process: asyncio.subprocess.Process, order: _Order) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        words = {
            "argv": order.argv,
            "cwd": order.cwd,
            "env": dict(order.env),
            "timeout_seconds": order.timeout_seconds,
            "grace_seconds": self._grace_seconds,
            "keep_bytes": TAIL_BYTES + order.margin_bytes,
            "lock": str(order.lock) if order.lock else None,
        }
        with contextlib.suppress(ConnectionError):  # then it says nothing, which is an answer too
            process.stdin.write(json.dumps(words).encode() + b"\n")
            await process.stdin.drain()
        said = await process.stdout.read()
        try:
            answer = json.loads(said)
        except ValueError:
            return {}
        return answer if isinstance(answer, dict) else {}

    async def _release(self, process: asyncio.subprocess.Process) -> None:
        """Let the supervisor go: it ends the command if that still runs. Waits for that, within bounds."""
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), self._grace_seconds + supervisor.KILL_SECONDS + 2.0)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _words_about(scene: Scene) -> dict[str, str]:
    return {
        "ROLLOUT_RUN": scene.run,
        "ROLLOUT_ENVIRONMENT": scene.environment,
        "ROLLOUT_STAGE": scene.stage,
        "ROLLOUT_EFFECT_ID": scene.effect_id,
    }


def _plan_folder(scene: Scene) -> Path | None:
    folder = Path(scene.directory) if scene.directory else None
    return folder if folder is not None and folder.is_dir() else None


def _folder(wanted: str | None, scene: Scene, bundle: Path) -> Path:
    base = _plan_folder(scene) or bundle
    folder = base / wanted if wanted else base
    if not folder.is_dir():
        raise NotStartable(f"the folder {folder} is not there on this machine; name one that is in dir or commands.dir")
    return folder


def _program(argv: Sequence[str], scene: Scene, bundle: Path, search_path: str) -> str:
    """The first word: bundled or the plan's own if it is a relative path, looked up on PATH if it has no slash."""
    if not argv or not argv[0]:
        raise NotStartable("the command is empty; its first word is the program")
    word = argv[0]
    if word.startswith("/"):
        return word
    if "/" not in word:
        found = shutil.which(word, path=search_path)
        if found is None:
            raise NotStartable(
                f"{word} is not on the PATH of the controller ({search_path}); a file of the plan is ./{word}"
            )
        return found
    if normal(word) in {normal(path) for path in scene.files}:
        return os.path.normpath(bundle / normal(word))
    folder = _plan_folder(scene)
    if folder is None or not (folder / word).is_file():
        raise NotStartable(
            f"{word} did not travel with the plan and is not in its folder ({scene.directory or 'none'})"
        )
    return str(folder / word)


def _result(answer: Mapping[str, Any], order: _Order) -> CommandResult:
    if "not_started" in answer:
        raise NotStartable(_without(order.secrets, answer["not_started"]))
    if answer.get("busy"):
        raise StillRunning
    if not answer:
        raise CommandLost
    if not answer["gone"]:
        raise CommandLost(f"{order.argv[0]} could not be ended and may still run")
    return CommandResult(
        exit_code=answer["exit_code"],
        stdout=_tail(_without(order.secrets, answer["stdout"])),
        stderr=_tail(_without(order.secrets, answer["stderr"])),
        duration_seconds=answer["duration_seconds"],
        timed_out=answer["timed_out"],
    )


def _without(secrets: Sequence[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _tail(text: str) -> str:
    return text.encode()[-TAIL_BYTES:].decode("utf-8", "ignore")


def excerpt(result: CommandResult) -> str:
    """What a command said, for a sentence: the end of its standard error, or of its standard output."""
    said = (result.stderr.strip() or result.stdout.strip())[-DETAIL_CHARACTERS:]
    return f": {said}" if said else ", and said nothing"


class CommandPerformer:
    """``run_command`` and ``observe_command``.

    A command's exit code is its word: 0 is done, anything else is a refusal, also if it did something before it failed.
    One that was ended by a signal, ran out of time or was lost is unknown.
    """

    def __init__(self, runner: ProcessRunner) -> None:
        self._runner = runner

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        operation = effect.operation
        assert isinstance(operation, RunCommand), f"{operation.op} is not for the command adapter"
        scene = replace(scene, environment=effect.environment, stage=effect.stage, effect_id=effect.id)
        if resumed:
            settled = await self._look_first(operation, scene)
            if settled is not None:
                return settled
        try:
            result = await self._runner.run_once(operation, scene)
        except (StillRunning, CommandLost) as problem:
            return Outcome(state=EffectState.UNKNOWN, detail=str(problem))
        except Temporary as problem:
            return Outcome(
                state=EffectState.TEMPORARY, detail=str(problem), retry_after_seconds=problem.retry_after_seconds
            )
        except RolloutError as problem:
            return Outcome(state=EffectState.REFUSED, detail=str(problem))
        return await self._outcome(operation, scene, result)

    async def _look_first(self, operation: RunCommand, scene: Scene) -> Outcome | None:
        """None if it has not been done for sure, and may be run."""
        name = operation.argv[0]
        if not await self._runner.end_earlier(scene):
            return Outcome(state=EffectState.UNKNOWN, detail=f"an earlier try of {name} still runs and cannot be ended")
        if operation.probe is None:
            detail = f"{name} may have run before the controller was interrupted, and no probe can tell"
            return Outcome(state=EffectState.UNKNOWN, detail=detail)
        try:
            probed = await self._run(operation, scene, operation.probe)
        except RolloutError as problem:
            return Outcome(state=EffectState.UNKNOWN, detail=f"the probe could not be asked: {problem}")
        if probed.timed_out or probed.exit_code < 0:
            return Outcome(state=EffectState.UNKNOWN, detail=f"the probe of {name} {_how(probed)}{excerpt(probed)}")
        if probed.exit_code == 0:
            return await self._done(operation, scene, f"the probe of {name} says that it has been done")
        return None

    async def _outcome(self, operation: RunCommand, scene: Scene, result: CommandResult) -> Outcome:
        name = operation.argv[0]
        detail = f"{name} {_how(result)}{excerpt(result)}"
        if result.timed_out or result.exit_code < 0:
            return Outcome(state=EffectState.UNKNOWN, detail=detail)
        if result.exit_code != 0:
            return Outcome(state=EffectState.REFUSED, detail=detail)
        return await self._done(operation, scene, detail)

    async def _done(self, operation: RunCommand, scene: Scene, detail: str) -> Outcome:
        if operation.observe is None:
            return Outcome(state=EffectState.DONE, detail=detail, observed={"ran": scene.effect_id})
        try:
            seen = await self._see(operation.observe, operation, scene)
        except RolloutError as problem:
            return Outcome(state=EffectState.DONE, detail=f"{detail} (not read back: {problem})")
        return Outcome(state=EffectState.DONE, detail=detail, observed=seen.value)

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        assert isinstance(observation, ObserveCommand), f"{observation.op} is not for the command adapter"
        asked = RunCommand.model_validate(observation.model_dump(exclude={"op"}))
        return await self._see(observation.argv, asked, scene)

    async def _see(self, argv: tuple[str, ...], operation: RunCommand, scene: Scene) -> Seen:
        result = await self._run(operation, scene, argv)
        if result.timed_out or result.exit_code != 0:
            raise Temporary(f"{argv[0]}, which says what is there, {_how(result)}{excerpt(result)}")
        return Seen(value={"text": result.stdout.strip()})

    async def _run(self, operation: RunCommand, scene: Scene, argv: tuple[str, ...]) -> CommandResult:
        limit = min(operation.timeout_seconds, OBSERVE_SECONDS)
        return await self._runner.run(argv, scene, operation.dir, operation.vars, limit)


def _how(result: CommandResult) -> str:
    if result.timed_out:
        return f"was ended after {result.duration_seconds:.0f} s, its time limit"
    if result.exit_code < 0:
        return f"was ended by {signal.Signals(-result.exit_code).name}"
    return f"ended with exit code {result.exit_code}"
