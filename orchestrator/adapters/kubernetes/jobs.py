"""``run_job``: a Job from a manifest, run once for an effect, to its end.

The Job's name follows from the effect's id, so whoever looks for it finds it: it is made if it is not there, never
twice. What the manifest says of when an ended Job is removed counts from when its end was read: one that were removed
before would be made, and run, once more.

A Job that fails stays for people to look at, and its pod's last lines come along. One whose time is over, or that
nobody wants any more, is deleted with its pods. When the controller goes down it runs on, and the next one waits.
"""

import asyncio
import hashlib
from contextlib import aclosing
from dataclasses import replace

from orchestrator.adapters.kubernetes.bringing import Attempt, Patience, Unready, remaining_seconds
from orchestrator.adapters.kubernetes.errors import Absent
from orchestrator.adapters.kubernetes.job_runs import (
    LONGEST_NAME,
    TTL,
    Job,
    delete,
    ended,
    last_words,
    looks,
    made,
    may_go,
)
from orchestrator.adapters.kubernetes.manifest_objects import Placed
from orchestrator.core.effect import EffectState, Outcome
from orchestrator.ports import UNWANTED
from stages.cluster import RunJob
from stages.manifests import ManifestObject, job_of

AGAIN_SECONDS = 1.0  # until a try that only reported why it waits is followed by the next
HASH_CHARACTERS = 8


async def perform(attempt: Attempt, operation: RunJob) -> Outcome:
    """Raises ``Temporary``."""
    placed = await _placed(attempt, operation)
    attempt = replace(attempt, cluster=placed.cluster)
    try:
        return await _run(attempt, placed)
    except asyncio.CancelledError as error:
        if UNWANTED in error.args:
            await ended(placed)
        raise


async def end(attempt: Attempt, operation: RunJob) -> None:
    """Takes away what an earlier try has left running."""
    await ended(await _placed(attempt, operation), may_come=False)


async def _placed(attempt: Attempt, operation: RunJob) -> Placed:
    written = job_of(operation.text)
    cluster = attempt.cluster.within(written.namespace or attempt.cluster.namespace)
    named = replace(written, name=name_of(written, attempt.author.effect))
    return Placed(named, cluster, await cluster.resource(written.api_version, written.kind))


def name_of(written: ManifestObject, effect: str) -> str:
    """``fill-1f3a5b7c``"""
    digest = hashlib.sha256(effect.encode()).hexdigest()[:HASH_CHARACTERS]
    return f"{written.name[: LONGEST_NAME - HASH_CHARACTERS - 1].rstrip('-.')}-{digest}"


async def _run(attempt: Attempt, placed: Placed) -> Outcome:
    content = placed.content
    content["spec"] = {key: value for key, value in (content.get("spec") or {}).items() if key != TTL}
    job = await made(attempt, placed, content)
    try:
        async with asyncio.timeout(remaining_seconds(attempt, job.workload.annotations)):
            job = await _end(attempt, placed)
    except TimeoutError:
        return await _late(attempt, placed)
    except Unready as error:
        if error.is_final:
            await delete(placed)
            return Outcome(state=EffectState.REFUSED, detail=f"{error}; it was deleted")
        return Outcome(state=EffectState.TEMPORARY, detail=str(error), retry_after_seconds=AGAIN_SECONDS)
    except Absent:
        return Outcome(state=EffectState.REFUSED, detail=f"{placed.title} was deleted by somebody else while it ran")
    return await _outcome(attempt, placed, job)


async def _end(attempt: Attempt, placed: Placed) -> Job:
    """Raises ``Unready`` with the reason if its pods can't run, ``Absent`` if it was deleted."""
    patience = Patience(attempt)
    async with aclosing(looks(placed, attempt.pace.look_seconds)) as found:
        async for job in found:
            attempt.author.check(job.workload.annotations, placed.title)
            if job.has_ended:
                return job
            await patience.look(job.workload)
    raise AssertionError("looks have no end")


# --- how it ends ------------------------------------------------------------------------------------------------------


async def _outcome(attempt: Attempt, placed: Placed, job: Job) -> Outcome:
    """Of a Job that has ended."""
    said = await last_words(attempt.cluster, job) if job.failure else ""
    seconds = (placed.written.content.get("spec") or {}).get(TTL)
    if seconds is not None:
        await may_go(placed, job, seconds)
    if job.failure:
        return Outcome(state=EffectState.REFUSED, detail=f"{placed.title} failed ({job.failure}){said}")
    return Outcome(state=EffectState.DONE, detail=f"{placed.title} is complete", observed={"job": placed.written.name})


async def _late(attempt: Attempt, placed: Placed) -> Outcome:
    """Its time is over; it may have ended in the last moment."""
    now = await placed.looked_at()
    said = ""
    if now.live is not None:
        job = Job(now.live)
        if job.has_ended:
            return await _outcome(attempt, placed, job)
        said = await last_words(attempt.cluster, job)
    await delete(placed)
    detail = f"{placed.title} had not ended after {attempt.timeout_seconds:g} s and was deleted{said}"
    return Outcome(state=EffectState.REFUSED, detail=detail)
