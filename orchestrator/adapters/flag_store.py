"""Flags of our own store as targets: look, compare, write with the version that was looked at.

What stands may be as wanted (done, by whoever), as it was when the core last saw it (it is written), or neither: then
somebody else changed it, which is refused with what stands and who wrote it.
"""

from typing import Any

from flags.errors import InvalidFlag
from flags.model import FlagDocument
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.errors import Conflict, Fenced, StoreError, Temporary
from orchestrator.ports import Clock, FlagRecord, FlagStore, FlagWrite, Scene, Seen
from stages.effects import AnyObservation, ObserveFlag, SetFlag
from stages.flag_spec import ABSENT, to_document, to_value
from stages.values import Json

WRITES = 3  # tries, when others write between our look and our write


class FlagPerformer:
    def __init__(self, store: FlagStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        """*resumed* makes no difference: it always looks first."""
        operation = effect.operation
        assert isinstance(operation, SetFlag), f"{operation.op} is not for the flag adapter"
        try:
            wanted = to_document(operation.value, operation.key, operation.environment)
        except InvalidFlag as problem:
            return Outcome(state=EffectState.REFUSED, detail=str(problem))
        try:
            return await self._bring_about(wanted, effect, scene)
        except (StoreError, Temporary, Fenced) as problem:
            return Outcome(state=EffectState.TEMPORARY, detail=str(problem))

    async def _bring_about(self, wanted: FlagDocument, effect: Effect, scene: Scene) -> Outcome:
        for _ in range(WRITES):
            record = await self._store.get(wanted.environment, wanted.key)
            settled = _settled(record, wanted, effect.before)
            if settled is not None:
                return settled
            try:
                written = await self._store.write(_write(record, wanted, effect, scene), self._clock.now())
            except Conflict:
                continue
            return _done(written, f"flag {wanted.key} is set")
        return Outcome(
            state=EffectState.TEMPORARY, detail=f"others keep writing flag {wanted.key}; nothing was changed"
        )

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        assert isinstance(observation, ObserveFlag), f"{observation.op} is not for the flag adapter"
        try:
            record = await self._store.get(observation.environment, observation.key)
        except StoreError as problem:
            raise Temporary(str(problem)) from problem
        if record is None:
            return Seen(value=dict(ABSENT), exists=False)
        return Seen(value=to_value(record.document), changed_by=record.by)


def _settled(record: FlagRecord | None, wanted: FlagDocument, before: Json) -> Outcome | None:
    """None if it is to be written."""
    if record is None:
        return None if before is None or _same(ABSENT, before) else _changed(wanted, None)
    stands = to_value(record.document)
    if _same(stands, to_value(wanted)):
        return _done(record, f"flag {wanted.key} is as wanted")
    if before is not None and not _same(stands, before):
        return _changed(wanted, record)
    return None


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Compared as documents: types count, and what is not said has its default."""
    return to_document(one) == to_document(other)


def _done(record: FlagRecord, detail: str) -> Outcome:
    return Outcome(state=EffectState.DONE, detail=detail, observed=to_value(record.document))


def _changed(wanted: FlagDocument, record: FlagRecord | None) -> Outcome:
    if record is None:
        detail, stands = f"flag {wanted.key} in {wanted.environment} was removed meanwhile", dict(ABSENT)
    else:
        why = f" ({record.reason})" if record.reason else ""
        detail = f"flag {wanted.key} in {wanted.environment} was changed by {record.by}{why} meanwhile"
        stands = to_value(record.document)
    by = record.by if record is not None else None
    return Outcome(state=EffectState.REFUSED, detail=f"{detail}; nothing was changed", observed=stands, changed_by=by)


def _write(record: FlagRecord | None, wanted: FlagDocument, effect: Effect, scene: Scene) -> FlagWrite:
    return FlagWrite(
        document=wanted,
        expected=record.document.version if record is not None else None,
        by=f"run {scene.run}",
        reason=effect.label,
        run=scene.run,
        effect=effect.id,
        epoch=scene.epoch or None,
    )
