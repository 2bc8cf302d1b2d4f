"""``set_flag`` and ``observe_flag`` wherever a flag is: our own store, or a system that the plan names.

In another system: look; as wanted is done, by whoever; as it was when the core last saw it, or between the two by our
own writes, is written, one write at a time, with a look before each and after the last; anything else was changed by
somebody else, and is refused. A lost answer is no reason to write again: the next try begins with a look.

Where a write of ours fences off what was sent before it, every way back and whatever an earlier life of the controller
may have begun write at least once, also where all is as wanted: nothing that is still on its way can undo it later.
"""

from dataclasses import dataclass

from orchestrator.adapters.flag_systems.port import FlagSystem, Moved, Sight, Wish
from orchestrator.adapters.flag_systems.systems import FlagSystems
from orchestrator.adapters.kubernetes.marks import Author
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.errors import Permanent, RolloutError, Temporary
from orchestrator.ports import Performer, Scene, Seen
from stages.effects import AnyObservation, ObserveFlag, SetFlag
from stages.flag_systems import place_of
from stages.values import Json

LOOKS = 6  # the most writes that a change takes, twice


class PlacedFlagPerformer:
    """Implements ``Performer`` for all flags: *own* for those of our store, *systems* for the others."""

    def __init__(self, own: Performer, systems: FlagSystems) -> None:
        self._own = own
        self._systems = systems
        self._redactor = systems.http.secrets.redactor

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        operation = effect.operation
        assert isinstance(operation, SetFlag), f"{operation.op} is not for the flag adapter"
        place = place_of(scene.flags, operation.key)
        if place is None:
            return await self._own.perform(effect, scene, resumed)
        try:
            system = self._systems.open(place.system, scene)
        except RolloutError as problem:
            return Outcome(state=EffectState.REFUSED, detail=str(problem))
        author = Author(effect.id, scene.run, scene.epoch)
        has_to_write = system.is_fenced and (resumed or effect.node is not None)
        async with self._systems.turn(place.system):
            outcome = await _bring_about(system, operation, _Attempt(effect.before, author, has_to_write))
        return outcome.model_copy(update={"detail": self._redactor.redact(outcome.detail)})

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        assert isinstance(observation, ObserveFlag), f"{observation.op} is not for the flag adapter"
        place = place_of(scene.flags, observation.key)
        if place is None:
            return await self._own.observe(observation, scene)
        system = self._systems.open(place.system, scene)
        try:
            sight = await system.look(observation.key)
        except Temporary as problem:
            raise Temporary(self._redactor.redact(str(problem)), problem.retry_after_seconds) from None
        except RolloutError as problem:
            raise Permanent(self._redactor.redact(str(problem))) from None
        return Seen(value=sight.value, changed_by=await system.changed_by(observation.key))


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One try of an effect. *before*: as the core last saw the flag."""

    before: Json
    author: Author
    has_to_write: bool


async def _bring_about(system: FlagSystem, operation: SetFlag, attempt: _Attempt) -> Outcome:
    written = 0
    try:
        wish = Wish.of(operation.value, system.kind)
        for _ in range(LOOKS):
            sight = await system.look(operation.key)
            is_reached = system.is_reached(sight, wish)
            if is_reached and (written or not attempt.has_to_write):
                return _done(operation, system, sight, written)
            if not is_reached:
                _check_origin(operation, system, wish)
                if not _is_as_left(system, sight, wish, attempt.before):
                    return await _changed(operation, system, sight)
            try:
                await system.step(operation.key, sight, wish, attempt.author)
                written += 1
            except Moved:
                continue
    except Temporary as problem:
        return Outcome(
            state=EffectState.TEMPORARY, detail=str(problem), retry_after_seconds=problem.retry_after_seconds
        )
    except RolloutError as problem:
        return Outcome(state=EffectState.REFUSED, detail=f"{problem}{_in_part(written)}")
    detail = f"others keep writing flag {operation.key} in {system.kind}{_in_part(written)}"
    return Outcome(state=EffectState.TEMPORARY, detail=detail)


def _is_as_left(system: FlagSystem, sight: Sight, wish: Wish, before: Json) -> bool:
    return before is None or sight.stands_at(before) or system.is_between(sight, before, wish)


def _check_origin(operation: SetFlag, system: FlagSystem, wish: Wish) -> None:
    """A run that took over from one with another system knows only where the flag stood there."""
    if system.mark not in wish.parameters:
        raise Permanent(
            f"where flag {operation.key} stood was not seen in {system.kind}, so it is not put there; "
            f"set it by hand to {wish.percentage:g} %, or off"
        )


def _in_part(written: int) -> str:
    return "; what came before this was carried out" if written else ""


def _done(operation: SetFlag, system: FlagSystem, sight: Sight, written: int) -> Outcome:
    how = "is set, and was read back" if written else "is as wanted"
    detail = f"flag {operation.key} in {system.kind} {how}"
    return Outcome(state=EffectState.DONE, detail=detail, observed=sight.value)


async def _changed(operation: SetFlag, system: FlagSystem, sight: Sight) -> Outcome:
    who = await system.changed_by(operation.key)
    detail = (
        f"flag {operation.key} in {operation.environment} was changed in {system.kind} "
        f"by {who or 'somebody else'} meanwhile; it was left as it stands"
    )
    return Outcome(state=EffectState.REFUSED, detail=detail, observed=sight.value, changed_by=who)
