"""The rehearsed world: any valid plan finds in it what it needs, and nothing outside is touched.

Flags are real: the project's own board and adapter over a store in memory. Everything else follows what the adapters
promise (``orchestrator.ports``), takes its time, and goes wrong as the scenario's trouble says.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from orchestrator.adapters.flag_store import FlagPerformer
from orchestrator.core.effect import Effect, EffectState, Notice, Outcome
from orchestrator.errors import Temporary
from orchestrator.flag_board import FlagBoard
from orchestrator.journal.kill_switch import MemoryKillSwitch
from orchestrator.ports import CheckAnswer, FlagStore, Scene, Seen, World
from orchestrator.rehearse.loop import LIFE, START
from orchestrator.rehearse.measuring import Look, Mood, flag_of, measured
from orchestrator.rehearse.targets import NOTHING, Targets
from orchestrator.rehearse.trouble import NONE, Away, Trouble
from stages.checks import Check, Source, Standing
from stages.criteria.base import NOTHING_WANTED, Criterion, Measurement, Wanted
from stages.criteria.load import LoadCriterion
from stages.effects import AnyObservation, CallHttp, ObserveAlembic, ObserveBackfill, ObserveSql, RunCommand, repeatable
from stages.notify import Channel
from stages.step import Program
from stages.triggers import Trigger
from stages.values import Json

TAKES_SECONDS: Final[Mapping[str, float]] = {
    "set_flag": 0.05,
    "run_sql": 2.0,
    "run_backfill": 15.0,
    "run_alembic": 5.0,
    "run_command": 10.0,
    "call_http": 0.5,
    "scale_workload": 30.0,
    "set_image": 60.0,
    "restart_workload": 60.0,
    "set_version": 60.0,
    "apply_manifest": 5.0,
    "run_job": 60.0,
}
"""What an effect of each kind is assumed to take; each try half as much to one and a half times."""

LOOK_SECONDS = 0.1  # a query, a check, a look at a target
DELIVERY_SECONDS = 0.3
_OF_DATABASES = ("run_sql", "run_backfill", "run_alembic")


class VirtualClock:
    def now(self) -> float:
        return START + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that changed, by the wall clock of the rehearsal."""

    at: float
    target: str
    before: Json
    after: Json
    effect: Effect


class RehearsedWorld:
    """*targets* and *levels* are what stands; *changes*, *ran* and *told* what was done and said in this scenario."""

    def __init__(self, program: Program, random: Random, trouble: Trouble = NONE) -> None:
        self.program = program
        self.clock = VirtualClock()
        self.targets = Targets(program)
        self.levels: dict[tuple[str, str], float] = {}  # (environment, flag) -> the percentage that it stands at
        self.kill_switch = MemoryKillSwitch()
        self.changes: list[Change] = []
        self.ran: Counter[str] = Counter()
        self.told: list[tuple[float, Notice]] = []
        self.on_death: Callable[[], None] = lambda: None
        self._random = random
        self._trouble = trouble
        self._began_at: float | None = None  # virtual; None while nothing goes wrong yet
        self._drains = {f"queue of {stage.name}" for entry in program.environments for stage in entry.stages}

    def begin(self) -> None:
        """From here on things go wrong."""
        self._began_at = self.clock.monotonic()

    @property
    def trouble(self) -> Trouble:
        return self._trouble if self._began_at is not None else NONE

    def is_away(self, what: Away) -> bool:
        return self.trouble.away is what and not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether what was away is back."""
        return self._began_at is not None and self.clock.monotonic() >= self._began_at + self._trouble.away_seconds

    async def take(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._random.uniform(0.5, 1.5))

    def open(self, flags: FlagStore) -> World:
        """As one life of a controller sees it; *flags* is that life's door to the flags of the store."""
        board = FlagBoard(flags, self.kill_switch)
        set_flag, others = _Flags(FlagPerformer(board, self.clock), self), _Others(self)
        observations = (
            "observe_sql", "observe_backfill", "observe_command", "observe_probe", "observe_alembic",
            "observe_replicas", "observe_image", "observe_version", "observe_manifest",
        )  # fmt: skip
        return World(
            clock=self.clock,
            performers={**dict.fromkeys(TAKES_SECONDS, others), "set_flag": set_flag},
            observers={**dict.fromkeys(observations, others), "observe_flag": set_flag},
            asker=self,
            measurer=self,
            messenger=self,
            flags=board,
            kill_switch=self.kill_switch,
            endings={"run_command": others, "run_job": others},
        )

    # --- questions ---

    async def measure(self, source: Source, scene: Scene, at: float, wanted: Wanted = NOTHING_WANTED) -> Measurement:
        await self.take(LOOK_SECONDS)
        environment = self.program.environment(scene.environment)
        flag = flag_of(wanted)
        level = self.levels.get((scene.environment, flag), 0.0) if flag is not None else 0.0
        return measured(source, wanted, Look(at, self._mood(source), environment.scrape_seconds(source.source), level))

    def _mood(self, source: Source) -> Mood:
        if self.is_away(Away.DATABASE) and source.kind in ("sql", "health"):
            return Mood.AWAY
        if self.is_away(Away.PROMETHEUS) and source.kind in ("query", ""):  # what counts has no source of its own
            return Mood.AWAY
        return Mood.BAD if self._is_bad(source) else Mood.GOOD

    def _is_bad(self, source: Source) -> bool:
        trouble = self.trouble
        if isinstance(source, Trigger):
            return source.name == trouble.trigger
        if isinstance(source, LoadCriterion):
            return False
        if isinstance(source, Criterion) and source.name in self._drains:
            return trouble.never_drains
        return trouble.gates_fail

    async def ask(self, check: Check, scene: Scene) -> CheckAnswer:
        await self.take(LOOK_SECONDS)
        away = Away.DATABASE if check.kind in ("sql", "health") else Away.PROMETHEUS
        if self.is_away(away) and check.kind in ("sql", "health", "query"):
            return CheckAnswer(Standing.UNKNOWN, f"{away} is away")
        return CheckAnswer(Standing.YES, "as expected")

    async def deliver(self, notice: Notice, channel: Channel, scene: Scene) -> None:
        await self.take(DELIVERY_SECONDS)
        self.told.append((self.clock.now(), notice))

    # --- effects ---

    def refusal(self, effect: Effect) -> Outcome | None:
        trouble = self.trouble
        is_back = effect.node is not None and effect.target == trouble.refuses_back
        if is_back or effect.id == trouble.refuses:
            return Outcome(state=EffectState.REFUSED, detail="it is refused for good")
        if self.is_away(Away.DATABASE) and effect.operation.op in _OF_DATABASES:
            return Outcome(state=EffectState.TEMPORARY, detail="the database is away")
        return None

    def note(self, effect: Effect, before: Json, after: Json) -> None:
        self.ran[effect.id] += 1
        self.changes.append(Change(self.clock.now(), effect.target, before, after, effect))

    async def perhaps_die(self, effect: Effect) -> None:
        if effect.id == self.trouble.dies_after:
            life = LIFE.get()
            assert life is not None, "effects are performed by a controller"
            if life.number == 1:
                self.on_death()
                await life.die_here(f"after {effect.id}")


class _Flags:
    """The real adapter, with trouble around it."""

    def __init__(self, inner: FlagPerformer, world: RehearsedWorld) -> None:
        self._inner = inner
        self._world = world

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        world = self._world
        refused = world.refusal(effect)
        await world.take(TAKES_SECONDS["set_flag"])
        if refused is not None:
            return refused
        outcome = await self._inner.perform(effect, scene, resumed)
        if outcome.state is EffectState.DONE:
            world.note(effect, effect.before, outcome.observed)
        await world.perhaps_die(effect)
        return outcome

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        await self._world.take(LOOK_SECONDS)
        return await self._inner.observe(observation, scene)


class _Others:
    """All that is not a flag: looked at first where that is possible, and never done twice where it is not."""

    def __init__(self, world: RehearsedWorld) -> None:
        self._world = world

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        world, seconds = self._world, TAKES_SECONDS[effect.operation.op]
        await world.take(LOOK_SECONDS)
        if (refused := world.refusal(effect)) is not None:
            return refused
        if resumed and not repeatable(effect.operation):
            return Outcome(state=EffectState.UNKNOWN, detail="it may have happened, and nothing can tell")
        if resumed and world.ran[effect.id] and not _again(effect):
            return Outcome(state=EffectState.DONE, detail="it is so already", observed=self._standing(effect))
        await world.take(seconds / 2)
        before = self._standing(effect)
        after = world.targets.change(effect)
        world.note(effect, before, after)
        await world.perhaps_die(effect)
        await world.take(seconds / 2)
        return Outcome(state=EffectState.DONE, observed=after)

    def _standing(self, effect: Effect) -> Json:
        place = self._world.targets.place_of(effect.target)
        return self._world.targets.values.get(place, effect.before if effect.before is not None else NOTHING)

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        await self._world.take(LOOK_SECONDS)
        of_database = isinstance(observation, ObserveSql | ObserveBackfill | ObserveAlembic)
        if of_database and self._world.is_away(Away.DATABASE):
            raise Temporary("the database is away")
        return Seen(value=self._world.targets.seen(scene.environment, observation))

    async def end(self, effect: Effect, scene: Scene) -> None:
        await self._world.take(LOOK_SECONDS)


def _again(effect: Effect) -> bool:
    """What simply is repeated when it is not known what became of it: without a probe, and idempotent."""
    operation = effect.operation
    return isinstance(operation, CallHttp) or (isinstance(operation, RunCommand) and operation.probe is None)
