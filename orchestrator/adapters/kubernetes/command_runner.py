"""Commands as Jobs, for plans that name an image: what ``process.py`` does with processes.

Theory of operation. A command that is asked for what it says (a check, a measurement, ``observe``, ``probe``) is a Job
of its own with a name that nobody else has; it is deleted once its output was read, and whatever is left of it when the
controller dies goes by itself. The command of an effect is a Job named after the run and the effect, as in ``jobs.py``:
made if it is not there, never twice. So whoever asks later what became of it looks at the Job, and waits for its end.
It stays for a week after that.

Its exit code is its container's. The log of a pod holds what was printed to standard output and to standard error, in
the order in which it came, and does not tell them apart: all of it counts as output.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from orchestrator.adapters.kubernetes.bringing import USUAL_PACE, Attempt, Pace, Patience, Unready, remaining_seconds
from orchestrator.adapters.kubernetes.client import MERGE_PATCH, Cluster, Clusters
from orchestrator.adapters.kubernetes.command_jobs import CONTAINER, EFFECT_TTL_SECONDS, JOBS, PARTS, Task
from orchestrator.adapters.kubernetes.errors import Absent, Exists, Stale
from orchestrator.adapters.kubernetes.job_runs import (
    CANCEL_SECONDS,
    LONGEST_NAME,
    Job,
    delete,
    ended,
    log_of,
    looks,
    made,
    may_go,
    newest_pod,
)
from orchestrator.adapters.kubernetes.manifest_objects import Placed
from orchestrator.adapters.kubernetes.marks import Author
from orchestrator.adapters.kubernetes.pods import Severity
from orchestrator.adapters.kubernetes.sending import answered
from orchestrator.adapters.process import TAIL_BYTES, CommandLost, CommandResult, tail
from orchestrator.adapters.secrets import Secrets
from orchestrator.allowance import refuse
from orchestrator.errors import Permanent, RolloutError, Temporary
from orchestrator.ports import UNWANTED, Clock, Scene
from stages.effects import RunCommand
from stages.manifests import ManifestObject
from stages.values import SecretRef, TextOrSecret

CLUSTER_SECONDS = 30.0  # for the cluster to end what is late, and to say so
READ_LINES, READ_BYTES = 2000, 1024 * 1024
HASH_CHARACTERS = 12


class JobRunner:
    """Implements ``EffectRunner`` for scenes with a ``command_pod``."""

    def __init__(self, clusters: Clusters, secrets: Secrets, clock: Clock, pace: Pace = USUAL_PACE) -> None:
        self._clusters = clusters
        self._secrets = secrets
        self._clock = clock
        self._pace = pace

    # --- looks --------------------------------------------------------------------------------------------------------

    async def run(
        self,
        argv: Sequence[str],
        scene: Scene,
        dir: str | None,  # noqa: A002 -- the plan's word
        vars: Mapping[str, TextOrSecret],  # noqa: A002 -- the plan's word
        timeout_seconds: float,
        script: str | None = None,
    ) -> CommandResult:
        name = f"{_prefix(scene)}-{uuid.uuid4().hex[:HASH_CHARACTERS]}"
        operation = RunCommand(argv=tuple(argv), dir=dir, vars=dict(vars), timeout_seconds=timeout_seconds)
        task = replace(await self._task(operation, scene, name), script=script, is_look=True)
        attempt, placed = await self._attempt(task)
        try:
            return await self._result(attempt, placed, task)
        except Unready as error:
            raise Temporary(_told(error)) from error
        finally:
            with suppress(RolloutError, TimeoutError):
                async with asyncio.timeout(CANCEL_SECONDS):
                    await delete(placed)

    # --- effects ------------------------------------------------------------------------------------------------------

    def takes_up(self, scene: Scene) -> bool:
        return True

    async def run_once(self, operation: RunCommand, scene: Scene) -> CommandResult:
        task = await self._task(operation, scene, name_of(scene))
        attempt, placed = await self._attempt(task)
        try:
            return await self._result(attempt, placed, task)
        except Unready as error:
            if not error.is_final:
                raise Temporary(_told(error), retry_after_seconds=self._pace.again_seconds) from error
            await delete(placed)
            raise Permanent(f"{_told(error)}; it was deleted") from error
        except asyncio.CancelledError as error:
            if UNWANTED in error.args:
                await ended(placed)
            raise

    async def end_earlier(self, scene: Scene) -> bool:
        assert scene.command_pod is not None
        cluster = await self._clusters.open(scene.command_pod.place, scene.run)
        return await ended(_placed(cluster, name_of(scene), {}), may_come=False)

    # --- one Job ------------------------------------------------------------------------------------------------------

    async def _task(self, operation: RunCommand, scene: Scene, name: str) -> Task:
        assert scene.command_pod is not None
        if self._secrets.allowance is not None:
            refuse(self._secrets.allowance.image(scene.command_pod.image))
        given = {**scene.command_vars, **operation.vars}
        found = await asyncio.to_thread(
            lambda: {key: self._secrets.resolve(value, scene.directory) for key, value in given.items()}
        )
        secret = {key for key, value in given.items() if isinstance(value, SecretRef)}
        return Task(
            name=name,
            parts=f"{name[: LONGEST_NAME - 7]}-{uuid.uuid4().hex[:6]}",
            argv=operation.argv,
            pod=scene.command_pod,
            scene=scene,
            timeout_seconds=operation.timeout_seconds,
            dir=operation.dir,
            plain={key: value for key, value in found.items() if key not in secret},
            secret={key: value for key, value in found.items() if key in secret},
        )

    async def _attempt(self, task: Task) -> tuple[Attempt, Placed]:
        """Raises ``NotStartable``."""
        cluster = await self._clusters.open(task.pod.place, task.scene.run)
        author = Author(task.scene.effect_id, task.scene.run, task.scene.epoch)
        placed = _placed(cluster, task.name, task.job())
        return Attempt(cluster, author, self._clock, task.timeout_seconds, pace=self._pace), placed

    async def _result(self, attempt: Attempt, placed: Placed, task: Task) -> CommandResult:
        job = await _begun(attempt, placed, task)
        # what is deleted when it is told of must not be deleted while a node for it is on its way
        patience = Patience(attempt, bearable_below=Severity.STUCK if task.is_look else Severity.UNSCHEDULED)
        waiting_seconds = remaining_seconds(attempt, job.workload.annotations) + CLUSTER_SECONDS
        try:
            async with asyncio.timeout(waiting_seconds):
                job, said = await self._end(attempt, placed, patience)
        except TimeoutError:
            raise Temporary(f"{placed.title} is late, and the cluster does not end it") from None
        except Absent:
            raise CommandLost(f"{placed.title} was deleted by somebody else while it ran") from None
        except Unready:
            raise
        except Permanent:  # it can't be followed, and what is refused must not go on
            await ended(placed, may_come=False)
            raise
        if job.is_late:
            return _late(task, said or patience.words)
        result = await self._read(placed, job, task)
        if not task.is_look:
            with suppress(RolloutError):
                await may_go(placed, job, EFFECT_TTL_SECONDS)
        return result

    async def _end(self, attempt: Attempt, placed: Placed, patience: Patience) -> tuple[Job, str]:
        """The Job that has ended, and if it failed what could still be read of its log then."""
        said = ""
        async with aclosing(looks(placed, attempt.pace.look_seconds)) as found:
            async for job in found:
                attempt.author.check(job.workload.annotations, placed.title)
                if job.has_ended:
                    return job, said
                if job.is_failing:
                    said = said or await self._last_said(placed.cluster, job)
                    continue
                await patience.look(job.workload)
        raise AssertionError("looks have no end")

    async def _last_said(self, cluster: Cluster, job: Job) -> str:
        """Of a pod that is about to be removed; empty if it is too late for that."""
        try:
            pod = await newest_pod(cluster, job)
            return await self._log(cluster, pod) if pod is not None else ""
        except RolloutError:
            return ""

    async def _read(self, placed: Placed, job: Job, task: Task) -> CommandResult:
        """How the container of a Job that has ended did so, and what it printed. Raises ``CommandLost``."""
        try:
            pod, hidden = await newest_pod(placed.cluster, job), ""
        except Permanent as error:
            pod, hidden = None, str(error)
        state = _terminated(pod) if pod is not None else None
        if pod is None or state is None:
            if job.is_complete and not task.is_look:
                return CommandResult(0, "", "", 0.0, timed_out=False)
            reason = hidden or _reason(pod) or job.failure or "it is gone"
            raise CommandLost(f"what became of {placed.title} can't be told, for its pod was lost: {reason}")
        stderr = ""
        try:
            stdout = await self._log(placed.cluster, pod)
        except RolloutError as error:
            if task.is_look:
                raise
            stdout, stderr = "", f"its log can't be read: {error}"
        code = int(state["exitCode"])
        if code and not stdout and not stderr:
            stderr = str(state.get("message") or state.get("reason") or "")
        return CommandResult(code, stdout, stderr, _seconds(state), timed_out=False)

    async def _log(self, cluster: Cluster, pod: Mapping[str, Any]) -> str:
        text = await log_of(cluster, pod, CONTAINER, tailLines=str(READ_LINES), limitBytes=str(READ_BYTES))
        if len(text.encode()) >= READ_BYTES:  # it was cut off, and may end in a part of a secret
            text = text.rpartition("\n")[0]
        return tail(self._secrets.redactor.redact(text), TAIL_BYTES)


def name_of(scene: Scene) -> str:
    """Of the Job of an effect: ``faster-search-1a2b-1f3a5b7c9d0e``."""
    digest = hashlib.sha256(f"{scene.run}\n{scene.effect_id}".encode()).hexdigest()[:HASH_CHARACTERS]
    return f"{_prefix(scene)}-{digest}"


def _prefix(scene: Scene) -> str:
    return (scene.run or "rollout")[: LONGEST_NAME - HASH_CHARACTERS - 1].rstrip("-.")


def _placed(cluster: Cluster, name: str, content: Mapping[str, Any]) -> Placed:
    return Placed(ManifestObject(JOBS.api_version, JOBS.kind, name, None, content), cluster, JOBS)


async def _begun(attempt: Attempt, placed: Placed, task: Task) -> Job:
    """The Job with all that comes with it, in the name of this life of the controller. Raises ``Temporary``."""
    job = await made(attempt, placed, placed.content)
    patch: dict[str, Any] = {}
    if job.workload.spec.get("suspend"):
        task = replace(task, parts=job.workload.annotations.get(PARTS, task.parts))
        try:
            await _accompany(placed, task, job)
        except Permanent:  # it never ran, and never will
            await ended(placed, may_come=False)
            raise
        patch["spec"] = {"suspend": False}
    if not attempt.author.is_current(job.workload.annotations):
        patch["metadata"] = {"annotations": attempt.author.names}
    if not patch:
        return job
    return await _patched(placed, job, patch)


async def _patched(placed: Placed, job: Job, patch: Mapping[str, Any]) -> Job:
    body = {**patch, "metadata": {**patch.get("metadata", {}), "uid": job.workload.metadata["uid"]}}
    try:
        return Job(await answered(placed.cluster.send("PATCH", placed.path, body, MERGE_PATCH)))
    except (Absent, Stale):  # or there is another one by now
        raise CommandLost(f"{placed.title} was deleted by somebody else while it ran") from None


async def _accompany(placed: Placed, task: Task, job: Job) -> None:
    for one in task.companions(job.workload.metadata):
        plural = "secrets" if one["kind"] == "Secret" else "configmaps"
        path = f"/api/v1/namespaces/{placed.cluster.namespace}/{plural}"
        with suppress(Exists):  # made by an earlier try
            await answered(placed.cluster.send("POST", path, one))


def _told(error: Unready) -> str:
    is_root = "runAsNonRoot" in str(error)
    return f"{error}" + ("; name the number of another user (commands.user)" if is_root else "")


def _terminated(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """How the command's container has ended; None if nobody says that it has."""
    for one in (pod.get("status") or {}).get("containerStatuses") or ():
        if one.get("name") == CONTAINER:
            found = (one.get("state") or {}).get("terminated")
            return found if isinstance(found, dict) else None
    return None


def _reason(pod: Mapping[str, Any] | None) -> str:
    """Why a pod as a whole ended: it was evicted, or its node is gone."""
    status = (pod or {}).get("status") or {}
    return ": ".join(str(status[key]) for key in ("reason", "message") if status.get(key))


def _late(task: Task, said: str) -> CommandResult:
    return CommandResult(-9, "", said, task.timeout_seconds, timed_out=True)


def _seconds(state: Mapping[str, Any]) -> float:
    try:
        began, over = (datetime.fromisoformat(str(state[key])) for key in ("startedAt", "finishedAt"))
    except (KeyError, ValueError):
        return 0.0
    return max((over - began).total_seconds(), 0.0)
