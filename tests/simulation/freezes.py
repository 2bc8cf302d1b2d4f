"""People who freeze an environment, or all, for a while; and what must not happen meanwhile.

A freeze counts as known from a moment after it was acknowledged: then every controller has looked, unless the store was
away, or the controller itself was frozen. Whoever ends one keeps trying, else runs would hold for ever.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any

from orchestrator.core.commands import Actor
from orchestrator.core.events import EffectRequested
from orchestrator.errors import Refused, RolloutError, StoreError
from orchestrator.freeze_port import FreezeStorage
from orchestrator.freezing import FreezeAsked
from tests.simulation.faults import Fault
from tests.simulation.journal import Story, is_forward

if TYPE_CHECKING:
    from orchestrator.core.freeze import Freeze
    from orchestrator.token_port import Note
    from tests.simulation.run import LifeStore, Simulation

HEARD_SECONDS = 2.0  # everywhere
CLOCKS_APART_SECONDS = 2.0  # what a run's own time and the wall clock may differ by, unnoticed
AGAIN_SECONDS = 2.0
WHO = Actor("freezer", "approver")


@dataclass
class Frozen:
    """Times are virtual, but for ``until``, which is of the wall clock."""

    environment: str | None
    since: float
    until: float | None
    ended: float | None = None

    def stands(self, environment: str, at: float, wall: float) -> bool:
        if self.environment not in (None, environment) or (self.until is not None and wall >= self.until):
            return False
        return self.since <= at and (self.ended is None or at < self.ended)


class LifeFreezes:
    """One life's door to the freezes of the store."""

    def __init__(self, door: "LifeStore", storage: FreezeStorage) -> None:
        self._door = door
        self._storage = storage

    async def newest(self) -> "list[Freeze]":
        await self._door._enter("freezes")
        return await self._storage.newest()

    async def put(self, freeze: "Freeze", before: int | None, note: "Note") -> bool:
        place = await self._door._enter("a freeze", writes=True)
        is_there = await self._storage.put(freeze, before, note)
        await self._door._leave(place, "a freeze")
        return is_there


async def trouble(simulation: "Simulation") -> None:
    random = Random(f"freezes of people/{simulation.seed}")
    for begin, end in simulation.faults.spans[Fault.FREEZE]:
        await asyncio.sleep(max(begin - simulation.now, 0.0))
        environment = random.choice((None, *sorted(simulation.drawn.environments)))
        until = random.choice((None, None, f"{random.randint(5, 120)}s"))
        frozen = await _freeze(simulation, FreezeAsked(environment, until, "not now"), end)
        await asyncio.sleep(max(end - simulation.now, 0.0))
        await _unfreeze(simulation, environment, frozen)


async def _freeze(simulation: "Simulation", asked: FreezeAsked, end: float) -> Frozen | None:
    """None if no controller said yes in time; it may have been written all the same."""
    from tests.simulation.run import Gone

    while simulation.now < end:
        try:
            answer: dict[str, Any] = await simulation.call(lambda service: service.freeze(asked, WHO))
        except Refused:
            return None
        except (Gone, RolloutError):
            await asyncio.sleep(AGAIN_SECONDS)
            continue
        until = datetime.fromisoformat(answer["until"]).timestamp() if answer["until"] else None
        simulation.frozen.append(Frozen(asked.environment, simulation.now, until))
        return simulation.frozen[-1]
    return None


async def _unfreeze(simulation: "Simulation", environment: str | None, frozen: Frozen | None) -> None:
    from tests.simulation.run import Gone

    if frozen is not None:
        frozen.ended = simulation.now
    while True:
        try:
            await simulation.call(lambda service: service.unfreeze(environment, "go on", WHO))
        except Refused:
            return  # its time was over, or it was never there
        except (Gone, StoreError, RolloutError):
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            return


def rule(simulation: "Simulation", story: Story) -> Iterator[str]:
    """No forward effect is asked for while a freeze stands that the run's controller knows of."""
    for record in story.records:
        if not is_forward(record) or (record.run, record.seq) not in simulation.hearing:
            continue
        assert isinstance(record.event, EffectRequested)
        at, wall = simulation.hearing[(record.run, record.seq)]
        for frozen in simulation.frozen:
            was_heard = frozen.stands(record.event.effect.environment, at - HEARD_SECONDS, wall)
            if was_heard and frozen.stands(record.event.effect.environment, at, wall + CLOCKS_APART_SECONDS):
                yield f"an effect is asked for in frozen {record.event.effect.environment} (seq {record.seq})"


RULES = (rule,)


def hears(simulation: "Simulation") -> bool:
    """Whether every controller that acts now has looked at the store's freezes lately."""
    now = simulation.now
    was_away = any(simulation.faults.lasts(Fault.STORE, now - back) for back in (0.0, 0.5, 1.0, 1.5, 2.0))
    return not was_away and now - simulation.thawed_at > HEARD_SECONDS
