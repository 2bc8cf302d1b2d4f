"""One simulated seed: the real ``Service`` on a store in memory, in a drawn world, dying and coming back as drawn.

A crash ends every task of a life at once, without grace, and nothing of that life may write or act any more: its door
to the store never answers again. After a downtime a new service opens on the same store. When the faults are over, a
dutiful operator answers whatever waits; every run must then end within a bound. In some seeds several controllers share
the store, see :mod:`tests.simulation.controllers`.
"""

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeVar
from unittest.mock import patch

import structlog

from flags.model import Version
from orchestrator import service as service_module
from orchestrator import submission as submission_module
from orchestrator.core.events import (
    EffectFinished,
    EffectRequested,
    Event,
    RunEnded,
    TargetObserved,
    TargetResolved,
)
from orchestrator.errors import RolloutError, StoreError, Temporary
from orchestrator.journal.memory import MemoryReplica, MemoryStore
from orchestrator.ports import Answer, Batch, FlagRecord, FlagWrite, Member, NewRun, Recorded, RunRow
from orchestrator.service import Service
from orchestrator.sharing import Sharing
from stages.flag_spec import to_document
from stages.values import Json
from tests.simulation import freezes
from tests.simulation.controllers import (
    FreezesAtEffects,
    MemberStore,
    Seat,
    Watch,
    controllers_of,
    freeze,
    is_fenced,
    member_of,
    store_is_away,
)
from tests.simulation.faults import Fault, Faults, draw_faults
from tests.simulation.freezes import LifeFreezes
from tests.simulation.loop import Deadlock, Life, Livelock, OutOfTime, StandsStill, simulate
from tests.simulation.plans import Drawn, draw
from tests.simulation.world import SimulatedWorld

T = TypeVar("T")
ENDS_WITHIN_SECONDS = 3 * 3600.0  # after the faults are over
STORE_RETRY_SECONDS = 1.0
REAL_NEW_NAME = submission_module.new_name


class Gone(Exception):
    """There is no controller, or it died before it answered."""


@dataclass(frozen=True)
class Sent:
    """A command that an operator sent, and its answer if there was one (a refusal is None)."""

    at: float
    run: str
    actor: str
    command: str
    key: str
    answer: Mapping[str, Any] | None
    refused: str = ""


@dataclass
class Result:
    """What became of a seed: *violations* is empty if everything held. *heads*: each run's newest hash."""

    seed: int
    violations: list[str]
    heads: dict[str, str]
    outcomes: dict[str, str | None]
    ended_at: float
    events: int
    simulation: "Simulation"


class LifeStore:
    """One life's door to the store: slow, at times shut, and closed for good when the life ends."""

    def __init__(self, store: MemoryStore, life: Life, simulation: "Simulation") -> None:
        self._store = store
        self._life = life
        self._simulation = simulation
        self._faults = simulation.faults
        self.freezes = LifeFreezes(self, store.freezes)

    async def _enter(self, what: str, *, writes: bool = False) -> str | None:
        if writes:
            await asyncio.sleep(0.002)
        await self._life.thawed()
        if self._life.is_dead:
            await asyncio.get_running_loop().create_future()
        if self._faults.lasts(Fault.STORE) or (writes and self._faults.strikes(Fault.STORE)):
            raise StoreError(f"the store is away: {what}")
        if not writes:
            return None
        place = self._faults.crash(Fault.CRASH_WRITE, ("before", "after"))
        if place == "before":
            await self._life.die_here(f"before {what} was durable")
        return place

    async def _leave(self, place: str | None, what: str) -> None:
        if place is not None:
            await self._life.die_here(f"after {what} was durable")

    async def start(
        self, new: NewRun, epoch: int, at: float, events: Sequence[Event], summary: Mapping[str, Json]
    ) -> list[Recorded]:
        decided_at = self._simulation.now
        place = await self._enter("a start", writes=True)
        records = await self._store.start(new, epoch, at, events, summary)
        self._simulation.note_start(new)
        self._simulation.note_durable(records, decided_at)
        await self._leave(place, "a start")
        return records

    async def append(self, batch: Batch) -> list[Recorded]:
        what, decided_at = batch.events[-1].type_name if batch.events else "nothing", self._simulation.now
        hearing = (decided_at, self._simulation.world.clock.now()) if freezes.hears(self._simulation) else None
        place = await self._enter(what, writes=True)
        records = await self._store.append(batch)
        if hearing is not None:
            self._simulation.hearing |= {(record.run, record.seq): hearing for record in records}
        self._simulation.note_durable(records, decided_at)
        await self._leave(place, what)
        return records

    async def take(self, run: str) -> int:
        await self._enter("take")
        return await self._store.take(run)

    async def row(self, run: str) -> RunRow | None:
        await self._enter("row")
        return await self._store.row(run)

    async def rows(self, active: bool | None = None, limit: int = 1000, plan: str | None = None) -> list[RunRow]:
        await self._enter("rows")
        return await self._store.rows(active, limit, plan)

    async def holders(self, claims: Collection[str]) -> dict[str, str]:
        await self._enter("holders")
        return await self._store.holders(claims)

    async def by_phase(self) -> list[tuple[str, int, int]]:
        await self._enter("rows")
        return await self._store.by_phase()

    async def read(self, run: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        await self._enter("read")
        return await self._store.read(run, after, limit)

    async def answer(self, run: str, key: str) -> Answer | None:
        await self._enter("answer")
        return await self._store.answer(run, key)

    async def save_evidence(self, seen: Mapping[str, tuple[int, str]]) -> None:
        place = await self._enter("a checkpoint", writes=True)
        await self._store.save_evidence(seen)
        await self._leave(place, "a checkpoint")

    async def evidence(self, run: str) -> str | None:
        """A checkpoint may be lost at no risk: every third is, for good."""
        await self._enter("evidence")
        if self._life.number % 3 == 0:
            self._store._runs[run].evidence = None
        return await self._store.evidence(run)

    async def close(self) -> None:
        return None

    async def get(self, environment: str, key: str) -> FlagRecord | None:
        await self._enter("flag")
        return await self._store.get(environment, key)

    async def version(self) -> Version:
        await self._enter("version")
        return await self._store.version()

    async def new_generation(self) -> int:
        await self._enter("new_generation", writes=True)
        return await self._store.new_generation()

    async def all(self, environment: str | None = None) -> list[FlagRecord]:
        await self._enter("flags")
        return await self._store.all(environment)

    async def write(self, write: FlagWrite, at: float) -> FlagRecord:
        what = f"flag {write.document.key}"
        place = await self._enter(what, writes=True)
        before = await self._store.get(write.document.environment, write.document.key)
        record = await self._store.write(write, at)
        self._simulation.note_write(write.effect)
        self._simulation.world.note_flag(before, record)
        await self._leave(place, what)
        return record

    async def history(self, environment: str, key: str, limit: int = 50) -> list[FlagRecord]:
        return await self._store.history(environment, key, limit)


@dataclass
class Simulation:
    seed: int
    drawn: Drawn
    faults: Faults
    store: MemoryStore = field(default_factory=MemoryStore)
    sent: list[Sent] = field(default_factory=list)
    lives: list[str] = field(default_factory=list)  # how each ended
    deaths: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    durable_at: dict[tuple[str, int], float] = field(default_factory=dict)  # (run, seq) -> virtual time
    decided_at: dict[tuple[str, int], float] = field(default_factory=dict)  # the same, before it was written
    durable_wall: dict[tuple[str, int], float] = field(default_factory=dict)  # the same by the wall clock
    frozen: list[freezes.Frozen] = field(default_factory=list)  # by people, who were told that it is so
    hearing: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)
    """What was decided while freezes were heard of everywhere: (run, seq) -> when, by virtual time and wall clock."""
    over: bool = False

    def __post_init__(self) -> None:
        self.world = SimulatedWorld(self.drawn, self.faults, self.store)
        self.world.may_perform = self._may_perform
        self.world.note_write = self.note_write
        self.random = Random(f"simulation/{self.seed}")
        count = controllers_of(self.seed)
        draws = [self.random, *(Random(f"simulation/{self.seed}/{number}") for number in range(1, count))]
        self.seats = [Seat(number, draw) for number, draw in enumerate(draws)]
        self.thawed_at = 0.0  # the newest time at which a frozen controller went on
        self._whom = Random(f"whom/{self.seed}")  # of several controllers is asked, or dies
        if self.is_shared:
            self.world.before_call = FreezesAtEffects(self).strike
        self._observed: set[tuple[str, str]] = set()
        self._requested: set[str] = set()
        self._under_way: dict[tuple[str, str], str] = {}  # (run, target) -> effect
        self._over: set[str] = set()  # effects that have an outcome, or that a person resolved
        self._ended: set[str] = set()
        self._claims: dict[str, str] = {}
        self._names = 0

    # --- what is durable ---

    def new_name(self, plan: str, key: str | None = None) -> str:
        """As the service's own: from the key where there is one, else a new one (here counted, not drawn)."""
        if key is not None:
            return REAL_NEW_NAME(plan, key)
        self._names += 1
        return f"{plan}-{self._names}"

    def note_start(self, new: NewRun) -> None:
        self.runs.append(new.run)
        for claim in new.claims:
            holder = self._claims.get(claim)
            if holder is not None and holder not in self._ended:
                self.violations.append(f"{new.run} was started over {claim}, which active {holder} holds")
            self._claims[claim] = new.run

    def note_durable(self, records: Sequence[Recorded], decided_at: float) -> None:
        for record in records:
            self.decided_at[(record.run, record.seq)] = decided_at
            self.durable_at[(record.run, record.seq)] = self.now
            self.durable_wall[(record.run, record.seq)] = self.world.clock.now()
            match record.event:
                case TargetObserved():
                    self._observed.add((record.run, record.event.target))
                case EffectRequested():
                    self._note_request(record, record.event)
                case EffectFinished() | TargetResolved():
                    self._over.add(self._under_way.pop((record.run, record.event.target), ""))
                case RunEnded():
                    self._ended.add(record.run)
                case _:
                    pass

    def _note_request(self, record: Recorded, event: EffectRequested) -> None:
        effect = event.effect
        self._requested.add(effect.id)
        self._under_way[(record.run, effect.target)] = effect.id
        inherited = {one.id for one in self._started(record.run).inherited}
        if (record.run, effect.target) not in self._observed and effect.target not in inherited:
            self.violations.append(f"{effect.id} was asked for before {effect.target} was observed")
        if record.run in self._ended:
            self.violations.append(f"{effect.id} was asked for after the end of {record.run}")

    def _started(self, run: str) -> Any:
        return self.store._runs[run].events[0].event

    def _may_perform(self, effect: Any, scene: Any) -> str | None:
        if effect.id not in self._requested:
            return f"{effect.id} was performed though no intent of it is durable"
        if scene.run in self._ended:
            return f"{effect.id} was performed after the end of {scene.run}"
        if self.is_shared and is_fenced(self, scene.run, scene.epoch):
            return f"{effect.id} was performed by a controller that had lost {scene.run}"
        return None

    def note_write(self, effect: str | None) -> None:
        """Something is changed in the name of *effect*."""
        if effect in self._over:
            self.violations.append(f"{effect} changes something though it is over")

    @property
    def is_shared(self) -> bool:
        return len(self.seats) > 1

    @property
    def all_ended(self) -> bool:
        return bool(self.runs) and all(self.has_ended(run) for run in self.runs)

    def has_ended(self, run: str) -> bool:
        return run in self._ended

    def is_settled(self, run: str) -> bool:
        """Whether nothing is left to do for a run that ended."""
        return bool(self.store._runs[run].row.summary["settled"])

    # --- lives ---

    async def main(self) -> None:
        await self._furnish()
        keepers = [asyncio.create_task(self._keep(seat)) for seat in self.seats]
        others = [asyncio.create_task(work) for work in self._troubles()]
        try:
            await self._run_operators()
        finally:
            self.over = True
            for task in (*keepers, *others):
                task.cancel()
            await asyncio.gather(*keepers, *others, return_exceptions=True)
            for seat in self.seats:
                if seat.life is not None:
                    await seat.life.bury()

    async def _furnish(self) -> None:
        for (environment, key), value in self.drawn.flags.items():
            write = FlagWrite(to_document(value, key, environment), None, "team", "as it was")
            self.world.note_flag(None, await self.store.write(write, self.world.clock.now()))

    async def _keep(self, seat: Seat) -> None:
        """One life after the other."""
        number = 0
        while not self.over:
            number += 1
            seat.life = life = Life(number)
            life.name = f"life {number}" + (f" of controller {seat.number}" if self.is_shared else "")
            opening = life.start(self._open(life, seat))
            await self._done_or_dead(opening, life)
            if not life.is_dead and opening.done():
                if opening.exception() is not None:
                    self._note_failed_opening(opening.exception())
                    await life.bury()
                    await asyncio.sleep(STORE_RETRY_SECONDS)
                    continue
                seat.service = opening.result()
            await life.dead.wait()
            self.deaths.append(self.now)
            self.lives.append(f"{self.now:.3f} s: {life.name} ended {life.cause}")
            seat.service = None
            await life.bury()
            await asyncio.sleep(seat.random.choice((0.5, 3.0, 3.0, 40.0, 400.0)))

    def _note_failed_opening(self, problem: BaseException | None) -> None:
        if not isinstance(problem, StoreError):
            text = "".join(traceback.format_exception(problem)) if problem else ""
            self.violations.append(f"a controller could not open: {text}")

    async def _open(self, life: Life, seat: Seat) -> Service:
        me = Member(member_of(seat.number, life), "")
        replica = MemoryReplica(self.store, me, self.world.clock.monotonic) if self.is_shared else None
        door = LifeStore(replica or self.store, life, self)
        world = replace(self.world.open(door), freezes=door.freezes)
        sharing = None
        if replica is not None:
            member = MemberStore(replica, store_is_away(self), life)
            sharing = Sharing(member, door, world.clock, world.clock.monotonic, uneven_runs=1)
            life.look = sharing.may_act
        service = Service(door, world.flags, world, sharing=sharing)  # type: ignore[arg-type]  # the board, made there
        await service.open()
        return service

    @staticmethod
    async def _done_or_dead(task: "asyncio.Task[Any]", life: Life) -> None:
        dead = asyncio.create_task(life.dead.wait())
        await asyncio.wait((task, dead), return_when=asyncio.FIRST_COMPLETED)
        dead.cancel()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def call(self, work: Callable[[Service], Awaitable[T]]) -> T:
        """Ask the living controller; of several another one, if the first can't act. Raises ``Gone`` if there is none
        or it dies over it."""
        if not self.is_shared:
            return await self._ask(self.seats[0], work)
        for seat in self._whom.sample(self.seats, len(self.seats)):
            try:
                return await self._ask(seat, work)
            except (Gone, Temporary):
                continue
        raise Gone

    def crash(self, cause: str) -> None:
        life = (self._whom.choice(self.seats) if self.is_shared else self.seats[0]).life
        if life is not None:
            life.die(cause)

    async def _ask(self, seat: Seat, work: Callable[[Service], Awaitable[T]]) -> T:
        life, service = seat.life, seat.service
        if life is None or service is None or life.is_dead or life.is_frozen:
            raise Gone

        async def ask() -> T:
            return await work(service)

        task = life.start(ask())
        await self._done_or_dead(task, life)
        if task.done() and not task.cancelled():
            return task.result()
        raise Gone

    # --- troubles and people ---

    def _troubles(self) -> Iterator[Any]:
        from tests.simulation import operators

        for kind, work in operators.TROUBLES.items():
            if kind in self.faults.kinds:
                yield work(self)
        if self.is_shared:
            yield freeze(self)
            yield Watch(self).run()

    async def _run_operators(self) -> None:
        from tests.simulation import operators

        await operators.work(self)


@contextmanager
def _overheard(simulation: Simulation) -> Iterator[None]:
    """What the controller logs as a crash of its own is a violation."""

    def hear(_: Any, name: str, event: MutableMapping[str, Any]) -> str:
        what = event.get("event", "")
        if name == "exception" or what == "run.crashed" or (what == "run.lost" and not simulation.is_shared):
            trace = traceback.format_exc() if sys.exc_info()[0] is not None else str(event)
            simulation.violations.append(f"{what}: {trace}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[hear], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


def run_seed(seed: int) -> Result:
    from tests.simulation import invariants

    simulation = Simulation(seed, draw(seed), draw_faults(seed))
    horizon = simulation.faults.heals_at + ENDS_WITHIN_SECONDS
    with (
        patch.object(submission_module, "new_name", simulation.new_name),
        patch.object(service_module, "new_name", simulation.new_name),
        _overheard(simulation),
    ):
        ended_at = _simulated(simulation, horizon)
    violations = [*simulation.violations, *simulation.world.log.violations]
    try:
        violations += invariants.check(simulation)
    except Exception:  # noqa: BLE001 - a journal that breaks a rule's own assumptions is told like any other
        violations.append(f"the invariants could not be checked: {traceback.format_exc()}")
    runs = simulation.store._runs
    return Result(
        seed=seed,
        violations=list(dict.fromkeys(violations)),
        heads={name: run.head for name, run in runs.items()},
        outcomes={name: str(run.row.summary.get("outcome")) for name, run in runs.items()},
        ended_at=ended_at,
        events=sum(len(run.events) for run in runs.values()),
        simulation=simulation,
    )


def _simulated(simulation: Simulation, horizon: float) -> float:
    ended = 0.0

    async def main() -> None:
        nonlocal ended
        await simulation.main()
        ended = simulation.now

    try:
        simulate(main, horizon)
    except (OutOfTime, Deadlock, Livelock, StandsStill) as problem:
        simulation.violations.append(f"{type(problem).__name__}: {problem}")
        return horizon
    except RolloutError:
        simulation.violations.append(traceback.format_exc())
    return ended
