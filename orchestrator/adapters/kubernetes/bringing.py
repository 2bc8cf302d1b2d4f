"""Bringing a workload to what is wanted: look, compare, write with a precondition, wait until it is rolled out, read.

Theory of operation. Each try of an effect begins with a look. A workload that is as wished, and rolled out, is done,
whoever did it. One that is as it was when the core last saw it is patched, with the ``resourceVersion`` that was read:
if anybody wrote in between, the API server refuses the patch, and we look again. One that is neither was changed by
somebody else and is left, unless the fields show that this very run wrote them, in an effect that was cut short.

Every write leaves the annotations of ``marks.py`` behind. An effect that an earlier life of the controller may have
begun, and every way back, writes them even where nothing else is to be changed: the write moves the
``resourceVersion``, so whatever was sent before and arrives late is refused. They also say since when an effect is
waited for, so that a crash does not start its time anew.

What is waited for is the rollout, as far as the plan's timeout. Pods that can't get their image, or crash again and
again, are reported after half a minute: the try ends, says why, and the next one goes on waiting. If the image is known
not to exist, the effect fails then. On the way back nothing waits for a workload to become well again, but for
capacity that was taken away.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from orchestrator.adapters.kubernetes.client import STRATEGIC_MERGE_PATCH, Cluster
from orchestrator.adapters.kubernetes.errors import Stale
from orchestrator.adapters.kubernetes.marks import SINCE, Author, written_at
from orchestrator.adapters.kubernetes.pods import Severity, is_ending, missing_of, pods_of, trouble_of
from orchestrator.adapters.kubernetes.sending import answered
from orchestrator.adapters.kubernetes.wishes import Wish
from orchestrator.adapters.kubernetes.workloads import (
    Progress,
    Workload,
    check_replaces_pods,
    find,
    looks,
    path_of,
    rollout_of,
)
from orchestrator.errors import Permanent, Temporary
from orchestrator.ports import Clock

LOOKS = 6  # at a workload that others keep writing
LOOK_AT_ENDING_SECONDS = 1.0
MOST_NAMED = 3


class ChangedElsewhere(Permanent):
    """Somebody else changed the workload."""

    def __init__(self, detail: str, who: str) -> None:
        super().__init__(detail)
        self.who = who


class Unready(Permanent):
    """The workload is written as wished, and not rolled out. *is_final*: there is nothing to wait for any more."""

    def __init__(self, detail: str, *, is_final: bool) -> None:
        super().__init__(detail)
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class Pace:
    """*stuck_seconds*: so long pods may be stuck before that is reported. *look_seconds*: so often they are looked at,
    and their workload while nothing is heard of it. *least_wait_seconds*: what is waited for gets so long in each life
    of the controller, even if its time was over while nobody could look. *again_seconds*: so long after a cluster could
    not be asked it is asked again, if it says nothing else: soon after it is back, and without flooding it.
    """

    stuck_seconds: float = 30.0
    look_seconds: float = 5.0
    least_wait_seconds: float = 20.0
    again_seconds: float = 5.0


USUAL_PACE = Pace()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of an effect. *is_resumed*: an earlier life of the controller may have begun it."""

    cluster: Cluster
    author: Author
    clock: Clock
    timeout_seconds: float
    is_resumed: bool = False
    is_undo: bool = False
    pace: Pace = USUAL_PACE


@dataclass(frozen=True, slots=True)
class Change:
    """What one workload shall be, and how it stood when the core last saw it."""

    title: str
    wish: Wish
    before: Wish


async def bring(attempt: Attempt, change: Change) -> Workload:
    """The workload as it is once the wish is met and rolled out. Raises ``ChangedElsewhere``, ``Unready`` and what the
    cluster answers.
    """
    return await settle(attempt, change, await write(attempt, change))


# --- writing ----------------------------------------------------------------------------------------------------------


async def write(attempt: Attempt, change: Change) -> Workload:
    """The workload with its fields as wished, in the name of this effect. It need not be rolled out."""
    for _ in range(LOOKS):
        workload = await find(attempt.cluster, change.title)
        if not _is_to_be_written(attempt, change.wish, workload):
            return workload
        check_origin(attempt, change, workload)
        try:
            return Workload(change.title, await _patch(attempt, change.wish, workload))
        except Stale:
            continue
    raise Temporary(f"others keep writing {change.title}")


def check_origin(attempt: Attempt, change: Change, workload: Workload) -> None:
    """Raises if this is not ours to write: of a newer controller, changed by somebody else, or without effect."""
    wish = change.wish
    attempt.author.check(workload.annotations, workload.title)
    if (elsewhere := changed_elsewhere(attempt, change, workload)) is not None:
        raise elsewhere
    if wish.is_of_template and not attempt.is_undo and not wish.is_met(workload):
        check_replaces_pods(workload)


def changed_elsewhere(attempt: Attempt, change: Change, workload: Workload) -> ChangedElsewhere | None:
    """Whether its fields stand as neither this run nor what was there before left them."""
    strangers = change.wish.strangers(workload, change.before, attempt.author.run)
    return _changed(workload, change.wish, strangers) if strangers else None


def _changed(workload: Workload, wish: Wish, fields: list[str]) -> ChangedElsewhere:
    who = next((author for field in fields if (author := wish.author(workload, field))), "somebody else")
    what = ", ".join(f"{field}: {wish.now(workload, field)}" for field in fields)
    return ChangedElsewhere(f"{workload.title} was changed by {who} meanwhile ({what}); it is left as it is", who)


def _is_to_be_written(attempt: Attempt, wish: Wish, workload: Workload) -> bool:
    if not wish.is_met(workload):
        return True
    if attempt.author.is_current(workload.annotations):
        return False
    return attempt.is_resumed or attempt.is_undo or rollout_of(workload).progress is not Progress.DONE


async def _patch(attempt: Attempt, wish: Wish, workload: Workload) -> dict[str, Any]:
    marks = attempt.author.annotations(attempt.clock.now()) | wish.annotations()
    if attempt.author.has_marked(workload.annotations):
        del marks[SINCE]
    metadata = {"resourceVersion": workload.resource_version, "annotations": marks}
    body = {"metadata": metadata, **({} if wish.is_met(workload) else {"spec": wish.spec(workload)})}
    path = path_of(attempt.cluster, workload.title)
    return await answered(attempt.cluster.send("PATCH", path, body, STRATEGIC_MERGE_PATCH))


# --- waiting ----------------------------------------------------------------------------------------------------------


async def settle(attempt: Attempt, change: Change, workload: Workload) -> Workload:
    """The workload once it is rolled out, and pods that are too many are gone. Raises ``Unready`` with the reason."""
    try:
        async with asyncio.timeout(remaining_seconds(attempt, workload.annotations)):
            patience = Patience(attempt, is_overdue=_is_overdue(attempt, workload))
            rolled_out = await _rolled_out(attempt, change, patience)
            if change.wish.replicas is not None:
                await _until_gone(attempt, rolled_out)
            return rolled_out
    except TimeoutError:
        pass
    raise Unready(await _why_not(attempt, change), is_final=True)


def remaining_seconds(attempt: Attempt, annotations: Mapping[str, str]) -> float:
    """How long the effect is still waited for, by what its marks say of its begin."""
    least = min(attempt.pace.least_wait_seconds, attempt.timeout_seconds)
    return max(attempt.timeout_seconds - _passed_seconds(attempt, annotations), least)


def _is_overdue(attempt: Attempt, workload: Workload) -> bool:
    return _passed_seconds(attempt, workload.annotations) >= attempt.timeout_seconds


def _passed_seconds(attempt: Attempt, annotations: Mapping[str, str]) -> float:
    began_at = attempt.author.began_at(annotations)
    return max(attempt.clock.now() - began_at, 0.0) if began_at is not None else 0.0


async def _rolled_out(attempt: Attempt, change: Change, patience: "Patience") -> Workload:
    async with aclosing(looks(attempt.cluster, change.title, attempt.pace.look_seconds)) as found:
        async for workload in found:
            attempt.author.check(workload.annotations, workload.title)
            if not change.wish.is_met(workload):
                raise _changed(workload, change.wish, change.wish.unmet(workload))
            rollout = rollout_of(workload, written_at(workload.metadata))
            if rollout.progress is Progress.DONE and not await missing_of(attempt.cluster, workload):
                return workload
            if rollout.progress is Progress.FAILED:
                trouble = await trouble_of(attempt.cluster, workload)
                more = f"; {trouble.words}" if trouble is not None else ""
                raise Unready(f"{change.title} {rollout.reason}{more}", is_final=True)
            await patience.look(workload)
    raise AssertionError("looks have no end")


class Patience:
    """How long pods have been in trouble that waiting does not end. Looks at them now and then. *is_overdue*: the time
    was over before, so nobody waits once more. *bearable_below*: what is worse is told."""

    def __init__(self, attempt: Attempt, *, is_overdue: bool = False, bearable_below: Severity | None = None) -> None:
        self._attempt = attempt
        self._is_overdue = is_overdue
        usual = Severity.UNSCHEDULED if attempt.is_undo else Severity.STUCK
        self._bearable_below = usual if bearable_below is None else bearable_below
        self.words = ""
        """Why its pods were not ready when they were looked at last."""
        self._time = asyncio.get_running_loop().time
        self._looked_at: float | None = None
        self._stuck_since: float | None = None

    async def look(self, workload: Workload) -> None:
        """Raises ``Unready`` when it has lasted."""
        now, pace = self._time(), self._attempt.pace
        if self._looked_at is not None and now - self._looked_at < pace.look_seconds:
            return
        self._looked_at = now
        trouble = await trouble_of(self._attempt.cluster, workload)
        self.words = trouble.words if trouble is not None else ""
        if trouble is None or trouble.severity < self._bearable_below:
            self._stuck_since = None
            return
        self._stuck_since = now if self._stuck_since is None else self._stuck_since
        if now - self._stuck_since >= pace.stuck_seconds:
            raise Unready(trouble.words, is_final=self._is_overdue or trouble.severity is Severity.HOPELESS)


async def _until_gone(attempt: Attempt, workload: Workload) -> None:
    while await _ending(attempt, workload):  # noqa: ASYNC110 - that a pod is gone is heard from nobody
        await asyncio.sleep(LOOK_AT_ENDING_SECONDS)


async def _ending(attempt: Attempt, workload: Workload) -> list[str]:
    return [str(pod["metadata"]["name"]) for pod in await pods_of(attempt.cluster, workload) if is_ending(pod)]


async def _why_not(attempt: Attempt, change: Change) -> str:
    """Why it is not rolled out after all that time."""
    workload = await find(attempt.cluster, change.title)
    trouble = await trouble_of(attempt.cluster, workload)
    if trouble is not None:
        return trouble.words
    missing = rollout_of(workload).reason or await missing_of(attempt.cluster, workload)
    ending = await _ending(attempt, workload)
    if not missing and ending:
        return f"{change.title} still has pods that end: {', '.join(ending[:MOST_NAMED])}"
    return f"{change.title} is not rolled out after {attempt.timeout_seconds:g} s: {missing or 'it is only now'}"
