"""``apply_manifest`` and ``observe_manifest``: server-side apply under our field manager, there and back.

Forward, every object is looked at, and one that stands neither as the core last saw it nor as this run left it was
changed by somebody else: nothing is done. Then the whole manifest is tried (a dry run), so that what the cluster does
not take is mostly refused before anything was changed. Then object by object is applied, if it is still the one that
was looked at. A field that another manager has, with another value, is his: the apply is refused and names him. Only
our own earlier writes of the field are overwritten (a workload that the plan has scaled, for one).

On the way back objects go in reverse order. One that was not there is deleted, if it is ours; one that was gets its
fields back as ``fields.py`` says. One that does not bear the marks of a run of ours was never changed by us, or has
been replaced, and is left. An edit by somebody else is overwritten only where the core has seen it, and so a person
has been asked. An object that stands as it was is written all the same, there and back: that moves its
``resourceVersion``, so what was sent before, cut short, and arrives late, is refused.

All of it may be done again at any time: an object that bears the marks of this effect, in this life of the controller,
and is as the manifest says, is passed by.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.adapters.kubernetes.bringing import Attempt, Change, ChangedElsewhere, Unready, settle
from orchestrator.adapters.kubernetes.client import Cluster
from orchestrator.adapters.kubernetes.errors import Absent, Invalid, Stale
from orchestrator.adapters.kubernetes.fields import body_back, moved_path, says
from orchestrator.adapters.kubernetes.manifest_objects import Placed, marked, owners_in, placed_objects, value_of
from orchestrator.adapters.kubernetes.marks import owner_of
from orchestrator.adapters.kubernetes.sending import answered
from orchestrator.adapters.kubernetes.wishes import Wish
from orchestrator.adapters.kubernetes.workloads import Workload
from orchestrator.core.effect import EffectState, Outcome
from orchestrator.errors import Permanent, Temporary
from orchestrator.ports import Seen
from stages.cluster import FIELD_MANAGER, ApplyManifest, ObserveManifest
from stages.manifests import HOLDS_MORE
from stages.values import Json

LOOKS = 6  # at an object that others keep writing
AGAIN_SECONDS = 1.0  # until a try that only reported why it waits is followed by the next
LOOK_IF_GONE_SECONDS = 0.5
STRICT = {"fieldValidation": "Strict"}
DRY_RUN = {"dryRun": "All"}
FORCED = {"force": "true"}


async def observe(cluster: Cluster, observation: ObserveManifest) -> Seen:
    objects = await placed_objects(cluster, observation.text)
    return Seen(value=value_of(objects, observation.manifest))


async def perform(attempt: Attempt, operation: ApplyManifest, before: Json) -> Outcome:
    """Raises ``Temporary``."""
    objects = await placed_objects(attempt.cluster, operation.text)
    if operation.restore is not None:
        return await _restore(attempt, operation, objects, before)
    try:
        return await _apply(attempt, operation, objects, before)
    except ChangedElsewhere as error:
        return Outcome(state=EffectState.REFUSED, detail=str(error), changed_by=error.who)
    except Unready as error:
        return await _unready(attempt, operation, error)
    except Permanent as error:
        return Outcome(state=EffectState.REFUSED, detail=str(error), observed=await _half_done(attempt, operation))


async def _unready(attempt: Attempt, operation: ApplyManifest, error: Unready) -> Outcome:
    if not error.is_final:
        return Outcome(state=EffectState.TEMPORARY, detail=str(error), retry_after_seconds=AGAIN_SECONDS)
    return Outcome(state=EffectState.REFUSED, detail=str(error), observed=await _read_back(attempt, operation))


async def _half_done(attempt: Attempt, operation: ApplyManifest) -> Json:
    """What is there, if this effect has changed some of it."""
    objects = await placed_objects(attempt.cluster, operation.text)
    touched = any(attempt.author.has_marked(one.annotations) for one in objects)
    return value_of(objects, operation.manifest) if touched else None


async def _read_back(attempt: Attempt, operation: ApplyManifest) -> Json:
    return value_of(await placed_objects(attempt.cluster, operation.text), operation.manifest)


# --- forward ----------------------------------------------------------------------------------------------------------


async def _apply(attempt: Attempt, operation: ApplyManifest, objects: Sequence[Placed], before: Json) -> Outcome:
    made = {one.written.name for one in objects if one.written.kind == "Namespace" and one.live is None}
    pairs = list(zip(objects, _remembered(before, objects), strict=True))
    for one, was in pairs:
        _check_origin(attempt, one, was)
    for one, was in pairs:
        if one.cluster.namespace not in made:
            await _try(attempt, operation, one, was)
    applied = [await _put(attempt, operation, one, was) for one, was in pairs]
    for one in applied:
        await _roll_out(attempt, one)
    names = ", ".join(one.written.title for one in objects)
    return Outcome(
        state=EffectState.DONE,
        detail=f"{operation.manifest} is applied: {names}",
        observed=await _read_back(attempt, operation),
    )


def _remembered(value: Json, objects: Sequence[Placed]) -> list[Json]:
    """What *value* says of each object; None where nothing is known."""
    known = value.get("objects") if isinstance(value, dict) else None
    rows = known if isinstance(known, list) and len(known) == len(objects) else [None] * len(objects)
    return list(rows)


def _check_origin(attempt: Attempt, one: Placed, was: Json) -> None:
    """Raises if this is not ours to write: of a newer controller, on its way out, or changed by somebody else."""
    attempt.author.check(one.annotations, one.title)
    if one.metadata.get("deletionTimestamp"):
        raise Temporary(f"{one.title} is still being deleted")
    if was is None or one.run == attempt.author.run or one.seen == was:
        return
    if was["exists"] and one.live is not None and says(one.live, one.content):
        return
    moved = moved_path(was["fields"], one.seen["fields"])
    who = owner_of(one.metadata, moved) or owner_of(one.metadata, ()) or "somebody else"
    what = "changed" if was["exists"] and one.live is not None else "made" if one.live is not None else "deleted"
    raise ChangedElsewhere(f"{one.title} was {what} by {who} meanwhile; it is left as it is", who)


async def _try(attempt: Attempt, operation: ApplyManifest, one: Placed, was: Json) -> None:
    try:
        await _put(attempt, operation, one, was, DRY_RUN)
    except Invalid as error:
        if not can_not_be_tried(error):
            raise


def can_not_be_tried(error: Invalid) -> bool:
    """Whether an admission webhook with side effects is in the way of a dry run, and of nothing else."""
    return "does not support dry run" in str(error)


async def _put(
    attempt: Attempt, operation: ApplyManifest, one: Placed, was: Json, how: Mapping[str, str] | None = None
) -> Placed:
    """The object as the manifest has it, with the marks of this effect."""
    query = STRICT | dict(how or {})
    for _ in range(LOOKS):
        if one.live is not None and attempt.author.is_current(one.annotations) and says(one.live, one.content):
            return one
        body = one.body(marked(one.content, one, attempt.author, attempt.clock.now()))
        try:
            return await send(one, body, query, may_force=False)
        except Owned as owned:
            detail = f"{one.title}: {owned.sentence(operation.manifest)}"
            raise ChangedElsewhere(detail, owned.who) from None
        except Invalid as error:
            raise Invalid(f"{one.written.title} of {operation.manifest}: {error}") from None
        except Stale:
            one = await one.looked_at()
            _check_origin(attempt, one, was)
    raise Temporary(f"others keep writing {one.title}")


class Owned(Exception):
    """Fields belong to others."""

    def __init__(self, owners: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.owners = owners

    @property
    def who(self) -> str:
        return next(iter(self.owners))

    def sentence(self, manifest: str) -> str:
        said = "; ".join(f"{', '.join(fields)} belongs to {manager}" for manager, fields in self.owners.items())
        return f"{said}, with another value; take that out of {manifest}, or out of what {self.who} applies"


async def send(one: Placed, body: Mapping[str, Json], query: Mapping[str, str], *, may_force: bool) -> Placed:
    """Overwrites what we ourselves wrote by other means than an apply; others' fields only if it *may_force*.

    Raises ``Stale`` if the object was changed meanwhile, and ``Owned``.
    """
    try:
        return await one.apply(body, **query)
    except Stale as error:
        owners = owners_in(error)
        others = {manager: fields for manager, fields in owners.items() if manager != FIELD_MANAGER}
        if others and not may_force:
            raise Owned(others) from None
        if not owners:
            raise
    return await one.apply(body, **query, **FORCED)


async def _roll_out(attempt: Attempt, one: Placed) -> None:
    """Waits for it, if that is a workload. Raises ``Unready``."""
    title = one.workload
    if title is None or one.live is None:
        return
    within = replace(attempt, cluster=one.cluster)
    await settle(within, Change(title, Wish(), Wish()), Workload(title, one.live))


# --- back -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Return:
    """An object and what it was before the run; *known*: what the core last saw of it."""

    placed: Placed
    was: Json
    known: Json

    @property
    def is_ours(self) -> bool:
        return self.placed.run is not None and self.placed.seen == self.known

    @property
    def is_accepted_edit(self) -> bool:
        """Whether it stands otherwise than we applied it, and the core knows: then a person has decided."""
        one = self.placed
        return one.live is not None and one.seen == self.known and not says(one.live, one.content)


async def _restore(attempt: Attempt, operation: ApplyManifest, objects: Sequence[Placed], before: Json) -> Outcome:
    rows = zip(objects, _remembered(operation.restore, objects), _remembered(before, objects), strict=True)
    said, failed = [], []
    for one in reversed([_Return(*row) for row in rows]):
        try:
            said += await _return(attempt, one)
        except (Permanent, Unready) as error:
            failed.append(str(error))
    observed = await _read_back(attempt, operation)
    if failed:
        return Outcome(state=EffectState.REFUSED, detail="; ".join(failed), observed=observed)
    detail = "; ".join([f"what {operation.manifest} changed is back", *said])
    return Outcome(state=EffectState.DONE, detail=detail, observed=observed)


async def _return(attempt: Attempt, back: _Return) -> list[str]:
    """What there is to be said about it. Raises ``Permanent`` if it does not go back."""
    one, was = back.placed, back.was
    attempt.author.check(one.annotations, one.title)
    if was is None:
        raise Permanent(f"what {one.title} was before the run is not known")
    if one.seen == was:
        return await _put_back(attempt, await _moved(attempt, back)) if one.live is not None else []
    if one.live is None:
        raise Permanent(
            f"{one.title} was there before the run, and was deleted since; "
            "it can't be made anew from the fields that are known"
        )
    if one.run != attempt.author.run and not back.is_ours:
        return [f"{one.title} is left as it is: it bears no marks of this run"]
    if not was["exists"]:
        return await _delete(attempt, one)
    return await _put_back(attempt, back)


async def _moved(attempt: Attempt, back: _Return) -> _Return:
    """As it was, but for our marks, which go with the next write."""
    one = back.placed
    assert one.live is not None
    content = marked(body_back(back.was["fields"], one.live), one, attempt.author, attempt.clock.now())
    try:
        return replace(back, placed=await send(one, one.body(content), {}, may_force=False))
    except Stale:
        return replace(back, placed=await one.looked_at())  # somebody else moved it


async def _put_back(attempt: Attempt, back: _Return) -> list[str]:
    one = back.placed
    for _ in range(LOOKS):
        if one.live is None:
            raise Temporary(f"{one.title} was deleted meanwhile")
        body = one.body(body_back(back.was["fields"], one.live))
        try:
            restored = await send(one, body, {}, may_force=replace(back, placed=one).is_accepted_edit)
        except Owned as owned:
            said = "; ".join(f"{', '.join(fields)} belongs to {who} now" for who, fields in owned.owners.items())
            raise Permanent(f"{one.title} does not go back: {said}") from None
        except Stale:
            one = await one.looked_at()
            continue
        return await _ready_again(attempt, restored)
    raise Temporary(f"others keep writing {one.title}")


async def _ready_again(attempt: Attempt, one: Placed) -> list[str]:
    """On the way back what is not ready is told, and no failure: it may have been so before."""
    try:
        await _roll_out(attempt, one)
    except Unready as error:
        return [str(error)]
    return []


async def _delete(attempt: Attempt, one: Placed) -> list[str]:
    if one.written.kind in HOLDS_MORE:
        return [f"{one.title} stays: others may have put something into it"]
    uid = str(one.metadata["uid"])
    options = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
    try:
        if not one.metadata.get("deletionTimestamp"):
            await answered(one.cluster.send("DELETE", one.path, options))
    except Absent:
        return []
    except Stale:
        raise Temporary(f"{one.title} was replaced by another one meanwhile") from None
    await _gone(attempt, one, uid)
    return []


async def _gone(attempt: Attempt, one: Placed, uid: str) -> None:
    try:
        async with asyncio.timeout(attempt.timeout_seconds):
            while True:
                one = await one.looked_at()
                if one.metadata.get("uid") != uid:
                    return
                await asyncio.sleep(LOOK_IF_GONE_SECONDS)
    except TimeoutError:
        waiting = ", ".join(one.metadata.get("finalizers") or ()) or "what depends on it"
        raise Temporary(f"{one.title} is still being deleted; it waits for {waiting}") from None
