"""Ports with a meter before them: each call goes on as it is."""

from collections import OrderedDict
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from orchestrator.core.effect import Effect, Outcome
from orchestrator.core.events import Event
from orchestrator.errors import RolloutError
from orchestrator.metrics.meter import Meter
from orchestrator.ports import (
    Answer,
    Batch,
    Clock,
    Journal,
    Measurer,
    NewRun,
    Performer,
    Recorded,
    RunRow,
    Scene,
    Seen,
    World,
)
from stages.checks import Source
from stages.criteria.base import NOTHING_WANTED, Measurement, Wanted
from stages.effects import AnyObservation
from stages.values import Json

T = TypeVar("T")
MOST_REMEMBERED = 10_000
"""Effects of which it is known that they were tried before."""


def metered(world: World, meter: Meter) -> World:
    """The same world, counted."""
    tried: OrderedDict[str, None] = OrderedDict()
    return replace(
        world,
        performers={op: MeteredPerformer(one, meter, world.clock, tried) for op, one in world.performers.items()},
        measurer=MeteredMeasurer(world.measurer, meter, world.clock),
    )


@dataclass(frozen=True, slots=True)
class MeteredMeasurer:
    measurer: Measurer
    meter: Meter
    clock: Clock

    async def measure(self, source: Source, scene: Scene, at: float, wanted: Wanted = NOTHING_WANTED) -> Measurement:
        began = self.clock.monotonic()
        measurement = await self.measurer.measure(source, scene, at, wanted)
        self.meter.measured(measurement.state, self.clock.monotonic() - began)
        return measurement


@dataclass(frozen=True, slots=True)
class MeteredPerformer:
    performer: Performer
    meter: Meter
    clock: Clock
    tried: OrderedDict[str, None]

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        again, began = self._is_again(effect.id), self.clock.monotonic()
        outcome = await self.performer.perform(effect, scene, resumed)
        self.meter.tried(effect.operation.op, outcome.state, self.clock.monotonic() - began, again=again)
        return outcome

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        return await self.performer.observe(observation, scene)

    def _is_again(self, effect: str) -> bool:
        is_known = effect in self.tried
        self.tried[effect] = None
        if len(self.tried) > MOST_REMEMBERED:
            self.tried.popitem(last=False)
        return is_known


@dataclass(frozen=True, slots=True)
class MeteredJournal:
    journal: Journal
    meter: Meter
    clock: Clock

    async def start(
        self, new: NewRun, epoch: int, at: float, events: Sequence[Event], summary: Mapping[str, Json]
    ) -> list[Recorded]:
        return await self._counted("start", self.journal.start(new, epoch, at, events, summary))

    async def append(self, batch: Batch) -> list[Recorded]:
        return await self._counted("append", self.journal.append(batch))

    async def take(self, run: str) -> int:
        return await self._counted("take", self.journal.take(run))

    async def row(self, run: str) -> RunRow | None:
        return await self._counted("row", self.journal.row(run))

    async def rows(self, active: bool | None = None, limit: int = 1000, plan: str | None = None) -> list[RunRow]:
        return await self._counted("rows", self.journal.rows(active, limit, plan))

    async def holders(self, claims: Collection[str]) -> dict[str, str]:
        return await self._counted("rows", self.journal.holders(claims))

    async def by_phase(self) -> list[tuple[str, int, int]]:
        return await self._counted("rows", self.journal.by_phase())

    async def read(self, run: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        return await self._counted("read", self.journal.read(run, after, limit))

    async def answer(self, run: str, key: str) -> Answer | None:
        return await self._counted("answer", self.journal.answer(run, key))

    async def save_evidence(self, seen: Mapping[str, tuple[int, str]]) -> None:
        await self._counted("save_evidence", self.journal.save_evidence(seen))

    async def evidence(self, run: str) -> str | None:
        return await self._counted("evidence", self.journal.evidence(run))

    async def close(self) -> None:
        await self.journal.close()

    async def _counted(self, call: str, work: Awaitable[T]) -> T:
        began = self.clock.monotonic()
        error: RolloutError | None = None
        try:
            return await work
        except RolloutError as raised:
            error = raised
            raise
        finally:
            self.meter.stored(call, self.clock.monotonic() - began, error)
