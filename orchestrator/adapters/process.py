"""Commands: programs run without a shell, in a clean environment, each under a supervisor that dies with us.

What the supervisor promises is said in :mod:`orchestrator.adapters.supervisor`. An effect's command holds a lock named
after the effect's id while any process of it lives. So a later life of the controller knows whether the earlier one's
command is gone, and ends it first if it is not. A controller on another machine sees no such lock: for its sake the
supervisor is told how long our lease holds, and ends the command when it hears of no renewal.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from orchestrator.adapters import supervisor
from orchestrator.adapters.bundle import Bundles, normal
from orchestrator.adapters.secrets import Secrets
from orchestrator.allowance import refuse
from orchestrator.errors import Permanent, Temporary
from orchestrator.failpoints import Point, reach
from orchestrator.ports import Scene
from orchestrator.redaction import LONGEST_FORM, Redactor
from stages.effects import RunCommand
from stages.values import SecretRef, TextOrSecret

TAIL_BYTES = 16 * 1024
READ_BYTES = 4 * 1024 * 1024
GRACE_SECONDS = 5.0
LEASE_TOLD_SECONDS = 0.5  # between two looks at whether the lease was renewed
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INHERITED = ("PATH", "HOME", "LANG", "TZ")


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


class EffectRunner(CommandRunner, Protocol):
    def takes_up(self, scene: Scene) -> bool:
        """Whether ``run_once`` takes up what an earlier try began, so that it tells what became of it."""
        ...

    async def run_once(self, operation: RunCommand, scene: Scene) -> CommandResult:
        """Run the command of the effect ``scene.effect_id``. Raises also ``StillRunning``, or ``Temporary`` where what
        was begun goes on.
        """
        ...

    async def end_earlier(self, scene: Scene) -> bool:
        """End what an earlier try of ``scene.effect_id`` left running. Whether it is gone for sure."""
        ...


@dataclass(frozen=True, slots=True)
class PlacedRunner:
    """Implements ``EffectRunner``: by Jobs where the plan names an image, by processes where it does not."""

    processes: EffectRunner
    jobs: EffectRunner

    async def run(
        self,
        argv: Sequence[str],
        scene: Scene,
        dir: str | None,  # noqa: A002 -- the plan's word
        vars: Mapping[str, TextOrSecret],  # noqa: A002 -- the plan's word
        timeout_seconds: float,
        script: str | None = None,
    ) -> CommandResult:
        return await self._for(scene).run(argv, scene, dir, vars, timeout_seconds, script)

    def takes_up(self, scene: Scene) -> bool:
        return self._for(scene).takes_up(scene)

    async def run_once(self, operation: RunCommand, scene: Scene) -> CommandResult:
        return await self._for(scene).run_once(operation, scene)

    async def end_earlier(self, scene: Scene) -> bool:
        return await self._for(scene).end_earlier(scene)

    def _for(self, scene: Scene) -> EffectRunner:
        return self.processes if scene.command_pod is None else self.jobs


@dataclass(slots=True)
class Tether:
    """Until when this controller may act, by ``supervisor.boottime``. None: for as long as it lives, since nobody else
    can."""

    until: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True)
class _Order:
    """What the supervisor is told."""

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    timeout_seconds: float
    tail_bytes: int = TAIL_BYTES
    margin_bytes: int = 0  # more of the tail, so that no secret is cut where it begins and so escapes redaction
    lock: Path | None = None


class ProcessRunner:
    """Runs commands as processes. *state_dir* is where the plan's files, scripts and locks are laid out."""

    def __init__(
        self,
        state_dir: Path,
        secrets: Secrets,
        own: Mapping[str, str] | None = None,
        grace_seconds: float = GRACE_SECONDS,
        tether: Tether | None = None,
    ) -> None:
        """*own* is the controller's environment, of which only ``INHERITED`` is passed on."""
        self._locks = state_dir / "locks"
        self._scripts = state_dir / "scripts"
        self._bundles = Bundles(state_dir / "bundles")
        self._secrets = secrets
        self._own = os.environ if own is None else own
        self._grace_seconds = grace_seconds
        self._tether = tether or Tether()

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

    async def read(self, operation: RunCommand, scene: Scene) -> CommandResult:
        """As ``run``, for a program whose output is read: up to ``READ_BYTES`` of it are kept."""
        order = await asyncio.to_thread(self._prepare, operation, scene)
        return await self._supervise(replace(order, tail_bytes=READ_BYTES))

    async def run_once(self, operation: RunCommand, scene: Scene) -> CommandResult:
        """Run an effect's command under the lock of ``scene.effect_id``; raises ``StillRunning`` if that is held."""
        order = await asyncio.to_thread(self._prepare, operation, scene)
        return await self._supervise(replace(order, lock=self._lock(scene)))

    def takes_up(self, scene: Scene) -> bool:
        return False

    async def end_earlier(self, scene: Scene) -> bool:
        """Wait for the end of what an earlier try of ``scene.effect_id`` left running; end it if it goes on.

        Its own supervisor ends it when its controller is gone. Whether it is gone for sure.
        """
        reach(Point.PROCESS_ENDING_EARLIER)
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
        with contextlib.suppress(OSError):  # the supervisor says that it cannot make the lock
            self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._locks / f"{name}.lock"

    async def _is_free(self, lock: Path, within_seconds: float) -> bool:
        for _ in range(max(int(within_seconds / supervisor.POLL_SECONDS), 1)):
            if supervisor.is_free(lock):
                return True
            await asyncio.sleep(supervisor.POLL_SECONDS)
        return False

    # --- what is run, and where ---------------------------------------------------------------------------------------

    def _prepare(self, operation: RunCommand, scene: Scene, script: str | None = None) -> _Order:
        given = {**scene.command_vars, **operation.vars}
        self._check(operation.argv, given, script)
        plain = {name: self._secrets.resolve(value, scene.directory) for name, value in given.items()}
        secrets = [plain[name] for name, value in given.items() if isinstance(value, SecretRef)]
        bundle = self._bundles.place(scene.files)
        env = {**self._inherited(), **plain, **words_about(scene)}
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
            margin_bytes=max((len(secret.encode()) * LONGEST_FORM for secret in secrets), default=0),
        )

    def _check(self, argv: Sequence[str], given: Iterable[str], script: str | None) -> None:
        allowance = self._secrets.allowance
        if allowance is None:
            return
        refuse(allowance.script() if script is not None else allowance.command(argv[0]) if argv else None)
        for name in given:
            refuse(allowance.command_variable(name))

    def _inherited(self) -> dict[str, str]:
        return {"PATH": DEFAULT_PATH} | {name: self._own[name] for name in INHERITED if name in self._own}

    def _script(self, text: str) -> Path:
        files = self._scripts / hashlib.sha256(text.encode()).hexdigest()[:32]
        return Bundles(files).place({"script": text}) / "script"

    # --- the supervisor -----------------------------------------------------------------------------------------------

    async def _supervise(self, order: _Order) -> CommandResult:
        process = await _start_supervisor()
        try:
            reach(Point.PROCESS_STARTED)
            async with asyncio.timeout(self._patience_seconds(order)):
                answer = await self._ask(process, order)
        except TimeoutError:
            answer = {}
        finally:
            await self._release(process)
        reach(Point.PROCESS_ENDED)
        return _result(answer, order, self._secrets.redactor)

    def _patience_seconds(self, order: _Order) -> float:
        ending = self._grace_seconds + supervisor.KILL_SECONDS + supervisor.DRAIN_SECONDS
        return order.timeout_seconds + ending + 10.0

    async def _ask(self, process: asyncio.subprocess.Process, order: _Order) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        until = self._until()
        words = {
            "argv": order.argv,
            "cwd": order.cwd,
            "env": dict(order.env),
            "timeout_seconds": order.timeout_seconds,
            "grace_seconds": self._grace_seconds,
            "keep_bytes": order.tail_bytes + order.margin_bytes,
            "lock": str(order.lock) if order.lock else None,
            "until": until,
        }
        with contextlib.suppress(ConnectionError):  # then it says nothing, which is an answer too
            process.stdin.write(json.dumps(words).encode() + b"\n")
            await process.stdin.drain()
            reach(Point.PROCESS_ORDERED)
        telling = asyncio.create_task(self._tell_of_renewals(process.stdin, until))
        try:
            said = await process.stdout.read()
        finally:
            telling.cancel()
        try:
            answer = json.loads(said)
        except ValueError:
            return {}
        return answer if isinstance(answer, dict) else {}

    def _until(self) -> float | None:
        return self._tether.until() if self._tether.until is not None else None

    async def _tell_of_renewals(self, control: asyncio.StreamWriter, told: float | None) -> None:
        while told is not None:
            await asyncio.sleep(LEASE_TOLD_SECONDS)
            until = self._until()
            if until is not None and until != told:
                control.write(json.dumps({"until": until}).encode() + b"\n")
                told = until

    async def _release(self, process: asyncio.subprocess.Process) -> None:
        """Let the supervisor go: it ends the command if that still runs. Waits for that, within bounds."""
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(self._grace_seconds + supervisor.KILL_SECONDS + 2.0):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _start_supervisor() -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
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
    except OSError as problem:
        raise Temporary(f"no process can be started: {problem.strerror}; nothing was run") from problem


def words_about(scene: Scene) -> dict[str, str]:
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
            raise NotStartable(f"{word} is not on the controller's PATH ({search_path}); the plan's own is ./{word}")
        return found
    if normal(word) in {normal(path) for path in scene.files}:
        return os.path.normpath(bundle / normal(word))
    folder = _plan_folder(scene)
    if folder is None or not (folder / word).is_file():
        where = scene.directory or "no folder of this machine"
        raise NotStartable(f"{word} did not travel with the plan and is not in its folder ({where})")
    return str(folder / word)


def _result(answer: Mapping[str, Any], order: _Order, redactor: Redactor) -> CommandResult:
    if "not_started" in answer:
        raise NotStartable(redactor.redact(answer["not_started"]))
    if answer.get("busy"):
        raise StillRunning
    if not answer:
        raise CommandLost
    if not answer["gone"]:
        raise CommandLost(f"{order.argv[0]} could not be ended and may still run")
    return CommandResult(
        exit_code=answer["exit_code"],
        stdout=tail(redactor.redact(answer["stdout"]), order.tail_bytes),
        stderr=tail(redactor.redact(answer["stderr"]), order.tail_bytes),
        duration_seconds=answer["duration_seconds"],
        timed_out=answer["timed_out"],
    )


def tail(text: str, length: int) -> str:
    return text.encode()[-length:].decode("utf-8", "ignore")
