"""The world that the controller acts on, with a memory of its own: what it was asked, what it answered, what it became.

Flags are real (the project's own board and adapter over the store in memory). Databases, commands, HTTP endpoints,
checks, Prometheus and chat are drawn here, clusters in :mod:`tests.simulation.cluster`. Each follows what the real
adapters promise; each try can be struck by the seed's faults, and the controller can be made to die before, in and
after it.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flags.exposure_names import BAND_ENDS, BANDS
from orchestrator.adapters.flag_store import FlagPerformer
from orchestrator.core.effect import Effect, EffectState, Notice, Outcome
from orchestrator.errors import Permanent, Temporary
from orchestrator.flag_board import FlagBoard
from orchestrator.journal.kill_switch import MemoryKillSwitch
from orchestrator.ports import CheckAnswer, Clock, FlagRecord, Scene, Seen, World
from stages.checks import Check, Source, Standing
from stages.criteria import Compare
from stages.criteria.base import NOTHING_WANTED, Count, Counting, Measurement, MeasurementState, SeriesValue, Wanted
from stages.effects import AnyObservation, CallHttp, ObserveCommand, ObserveSql, RunCommand, RunSql, SetFlag
from stages.flag_spec import percentage_of, to_value
from stages.notify import Channel
from tests.simulation.cluster import Cluster, ClusterPerformer
from tests.simulation.faults import Fate, Fault, Faults
from tests.simulation.loop import LIFE, START
from tests.simulation.plans import Drawn, arms_of
from tests.simulation.workloads import LOAD_LASTS_SECONDS, worker_load

INITIAL = "v1"  # what every command's target stands at before anybody sets it
GOOD, BETWEEN, BAD = 0.01, 0.07, 0.5
SCRAPE_SECONDS = 15.0
EVENTS_PER_SECOND, ERROR_RATE = 2000.0, 0.02  # of a flag's users


class SimulatedClock:
    """Wall clock with steps; the monotonic one is the loop's."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        return START + self.monotonic() + self.offset

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await _thawed()


@dataclass(frozen=True)
class Asked:
    """One answer of Prometheus. *verdict* is what it says by the bounds that all criteria share: good, bad, none
    (nothing measured) or between. *at* is virtual time, when it was answered; *wall* the time it was asked for."""

    at: float
    wall: float
    environment: str
    query: str
    verdict: str


@dataclass(frozen=True)
class Change:
    """One thing that changed: *kind* is flag, command, http, sql or workload."""

    at: float
    wall: float
    kind: str
    target: str
    before: Any
    after: Any
    effect: str | None
    run: str | None


@dataclass
class Log:
    asked: list[Asked] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    tries: list[tuple[float, str, str]] = field(default_factory=list)  # at, effect, what became of it
    ran: dict[str, int] = field(default_factory=dict)  # effect -> how often it was really carried out
    delivered: list[str] = field(default_factory=list)
    by_hand: list[tuple[float, str, str]] = field(default_factory=list)  # at, environment, workload, though it stays
    ended: set[str] = field(default_factory=set)  # effects that were void, and what was left of them taken away
    violations: list[str] = field(default_factory=list)


class SimulatedWorld:
    def __init__(self, drawn: Drawn, faults: Faults, store: Any) -> None:
        self.drawn = drawn
        self.faults = faults
        self.clock = SimulatedClock()
        self.store = store
        self.log = Log()
        self.texts: dict[tuple[str, str], str] = {}  # (environment, command target) -> what stands there
        self.applied: dict[tuple[str, str], str] = {}  # (environment, SQL file) -> checksum
        self.called: dict[tuple[str, str], int] = {}  # (environment, url) -> POSTs less DELETEs
        self.http_keys: set[str] = set()
        self.kill_switch = MemoryKillSwitch()
        self.may_perform: Callable[[Effect, Scene], str | None] = lambda effect, scene: None
        self.note_write: Callable[[str | None], None] = lambda effect: None
        self.before_call: Callable[[], None] = lambda: None  # at the last moment at which nothing is sent yet
        self._levels: dict[tuple[str, str], list[tuple[float, float]]] = {}  # flag -> (virtual time, percentage)
        self.cluster = Cluster(drawn.workloads, self)

    def open(self, flags: Any) -> World:
        """The world as one life of the controller sees it; *flags* is that life's door to the store's flags."""
        board = FlagBoard(flags, self.kill_switch)
        set_flag = _Dying(FlagPerformer(board, self.clock), self)
        sql, command, http = _Sql(self), _Command(self), _Http(self)
        cluster = ClusterPerformer(self.cluster)
        clock: Clock = self.clock
        changing = ("scale_workload", "set_image", "restart_workload", "set_version")
        looking = ("observe_replicas", "observe_image", "observe_version")
        return World(
            clock=clock,
            performers={
                "set_flag": set_flag,
                "run_sql": sql,
                "run_command": command,
                "call_http": http,
                **dict.fromkeys(changing, cluster),
            },
            observers={
                "observe_flag": set_flag,
                "observe_sql": sql,
                "observe_command": command,
                **dict.fromkeys(looking, cluster),
            },
            asker=self,
            measurer=self,
            messenger=self,
            flags=board,
            kill_switch=self.kill_switch,
            endings={"run_command": command},
        )

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def pass_time(self) -> None:
        await asyncio.sleep(self.faults.latency())
        await _thawed()

    def changed(self, kind: str, target: str, before: Any, after: Any, effect: str | None, run: str | None) -> None:
        self.log.changes.append(Change(self.now, self.clock.now(), kind, target, before, after, effect, run))

    # --- flags ---

    def note_flag(self, before: FlagRecord | None, after: FlagRecord) -> None:
        document = after.document
        old = to_value(before.document) if before is not None else None
        target = f"flag:{document.environment}/{document.key}"
        self.changed("flag", target, old, to_value(document), after.effect, after.run)
        self.note_level(document.environment, document.key, percentage_of(to_value(document)))

    def note_level(self, environment: str, key: str, percentage: float) -> None:
        """Of a flag; or of a version, by the name of its Deployment."""
        self._levels.setdefault((environment, key), []).append((self.now, percentage))

    def level_at(self, environment: str, key: str, at: float) -> float:
        found = 0.0
        for since, level in self._levels.get((environment, key), ()):
            if since <= at:
                found = level
        return found

    # --- Prometheus ---

    async def measure(self, source: Source, scene: Scene, at: float, wanted: Wanted = NOTHING_WANTED) -> Measurement:
        await self.pass_time()
        query = source.query or ""
        true_at = self.now - (self.clock.now() - at)
        if wanted.counting is not None:
            return self._counted(wanted.counting, scene.environment, at, true_at)
        if isinstance(source, Compare):
            return self._uncounted(source.name, scene.environment, at, true_at)
        measurement = self._measurement(query, scene.environment, at, true_at)
        if not query.startswith("load_"):  # which nobody judges
            self.log.asked.append(Asked(self.now, at, scene.environment, query, _verdict(measurement)))
        return measurement

    def _measurement(self, query: str, environment: str, at: float, true_at: float) -> Measurement:
        if self.faults.lasts(Fault.OUTAGE):
            return Measurement(MeasurementState.ERROR, at, detail="connection refused")
        value = self._value(query, environment, true_at)
        roll = _share(self.faults.seed, query, environment, round(true_at, 3))
        if self.faults.lasts(Fault.BAD_DATA, true_at) and roll < 0.7:
            return self._bad_data(roll / 0.7, value, at)
        if self.faults.lasts(Fault.SPIKES, true_at):
            value = BAD if roll < 0.6 else BETWEEN
        return Measurement(MeasurementState.OK, at, (SeriesValue("", value, at),), lookback_seconds=0.0)

    def _counted(self, counting: Counting, environment: str, at: float, true_at: float) -> Measurement:
        """Exposures of a flag by arm, band and outcome, without chance: what the rates of both arms come to."""
        (selector,) = counting.selectors.values()
        found = re.search('flag="([^"]*)"', selector)
        assert found is not None, selector
        metric = self.drawn.arms[found[1]]
        measurement = self._without_counts(metric.name, at, true_at)
        level = self.level_at(environment, metric.flag, counting.to + (true_at - at))
        is_bad = metric.regresses_at is not None and level >= metric.regresses_at
        verdict = "none"
        if measurement is None:
            events = EVENTS_PER_SECOND * (counting.to - counting.from_)
            rate = ERROR_RATE * (10 if is_bad else 1)
            counts = tuple(_exposures(next(iter(counting.selectors)), events, level, rate))
            back_seconds = at - counting.from_
            measurement = Measurement(MeasurementState.OK, at, counts=counts, lookback_seconds=back_seconds)
            verdict = "bad" if is_bad else "good"
        self.log.asked.append(Asked(self.now, at, environment, metric.name, verdict))
        return measurement

    def _uncounted(self, name: str, environment: str, at: float, true_at: float) -> Measurement:
        """Nothing new could be counted yet; or everybody has the flag, or nobody, and there is no one to compare."""
        if not 0 < self.level_at(environment, name.removeprefix(arms_of("")), true_at) < 100:
            self.log.asked.append(Asked(self.now, at, environment, name, "good"))
        return Measurement(MeasurementState.OK, at, lookback_seconds=SCRAPE_SECONDS)

    def _without_counts(self, name: str, at: float, true_at: float) -> Measurement | None:
        roll = _share(self.faults.seed, name, round(true_at, 3))
        if self.faults.lasts(Fault.OUTAGE):
            return Measurement(MeasurementState.ERROR, at, detail="connection refused")
        if self.faults.lasts(Fault.BAD_DATA, true_at) and roll < 0.7:
            states = (MeasurementState.MISSING, MeasurementState.STALE, MeasurementState.ERROR)
            return Measurement(states[int(roll / 0.7 * len(states))], at, detail="bad data")
        return None

    @staticmethod
    def _bad_data(roll: float, value: float, at: float) -> Measurement:
        nan = SeriesValue('{pod="b"}', float("nan"), at)
        choices = (
            Measurement(MeasurementState.MISSING, at),
            Measurement(MeasurementState.STALE, at, detail="10m old"),
            Measurement(MeasurementState.ERROR, at, detail="503 Service Unavailable"),
            Measurement(MeasurementState.INSUFFICIENT, at),
            Measurement(MeasurementState.OK, at, (nan,)),
            Measurement(MeasurementState.OK, at, (SeriesValue('{pod="a"}', value, at), nan)),
        )
        return choices[int(roll * len(choices))]

    def _value(self, query: str, environment: str, at: float) -> float:
        if query.startswith("load_"):
            return worker_load(_share(self.faults.seed, query, environment, at // LOAD_LASTS_SECONDS))
        if query.startswith("queue_"):
            return 5.0 if self.level_at(environment, query.removeprefix("queue_"), at - 20.0) > 0 else 0.0
        metric = self.drawn.metrics[query]
        if metric.regresses_at is None or metric.environment not in (None, environment):
            return GOOD
        return BAD if self.level_at(environment, metric.flag, at) >= metric.regresses_at else GOOD

    # --- checks ---

    async def ask(self, check: Check, scene: Scene) -> CheckAnswer:
        await self.pass_time()
        name = (check.command or ("check", check.name))[1]
        standing = self._standing(name, scene.environment)
        return CheckAnswer(standing, f"{name} says {standing.value}")

    def _standing(self, name: str, environment: str) -> Standing:
        if name in self.drawn.never:
            return Standing.NO
        roll = _share(self.faults.seed, name, environment, round(self.now / 30.0))
        if self.faults.lasts(Fault.CHECKS) and roll < 0.7:
            return Standing.NO if roll < 0.4 else Standing.UNKNOWN
        return Standing.YES

    # --- chat ---

    async def deliver(self, notice: Notice, channel: Channel, scene: Scene) -> None:
        await self.pass_time()
        if self.faults.strikes(Fault.TEMPORARY):
            raise Temporary("the chat is away")
        self.log.delivered.append(notice.key)

    # --- trying an effect ---

    async def tried(self, effect: Effect, scene: Scene, work: Callable[[], Any]) -> Outcome | None:
        """One try of *work* under the seed's fate. None: it was carried out and its outcome is known."""
        place = self.begin(effect, scene)
        self.before_call()
        await self.pass_time()
        fate = self.faults.fate()
        self.log.tries.append((self.now, effect.id, fate.value))
        if fate is Fate.TEMPORARY:
            return Outcome(state=EffectState.TEMPORARY, detail="it is busy")
        if fate is Fate.REFUSED:
            return Outcome(state=EffectState.REFUSED, detail="it said no")
        if place == "before":
            await self.die(f"before {effect.id}")
        if fate is not Fate.UNKNOWN_NOT_DONE:
            complaint = self.may_perform(effect, scene)
            if complaint is not None:
                self.log.violations.append(complaint)
            self.note_write(effect.id)
            work()
            self.log.ran[effect.id] = self.log.ran.get(effect.id, 0) + 1
        if place == "middle":
            await self.die(f"in {effect.id}")
        await self.pass_time()
        if place == "after":
            await self.die(f"after {effect.id}")
        if fate in (Fate.UNKNOWN_DONE, Fate.UNKNOWN_NOT_DONE):
            return Outcome(state=EffectState.UNKNOWN, detail="the connection was lost")
        return None

    def begin(self, effect: Effect, scene: Scene) -> str | None:
        """Asks the invariants whether this may be tried now; answers where in it the controller dies, if it does."""
        complaint = self.may_perform(effect, scene)
        if complaint is not None:
            self.log.violations.append(complaint)
        if effect.id in self.log.ended:
            self.log.violations.append(f"{effect.id} is performed after what was left of it was taken away")
        return self.faults.crash(Fault.CRASH_EFFECT, ("before", "middle", "after"))

    async def die(self, cause: str) -> None:
        life = LIFE.get()
        assert life is not None, "effects are performed by a controller"
        await life.die_here(cause)


async def _thawed() -> None:
    life = LIFE.get()
    if life is not None:
        await life.thawed()


def _exposures(name: str, events: float, level: float, canary_rate: float) -> Iterator[Count]:
    """Users are equal: a band has as many events as it is wide, and who is below the level is in the canary."""
    begin = 0.0
    for band, end in zip(BANDS, BAND_ENDS, strict=True):
        canary = min(max(level, begin), end) - begin
        for arm, width, rate in (("canary", canary, canary_rate), ("control", end - begin - canary, ERROR_RATE)):
            if width > 0:
                total = events * width / 100
                yield Count(name, (arm, band, "error"), total * rate)
                yield Count(name, (arm, band, "ok"), total * (1 - rate))
        begin = end


def _share(*parts: object) -> float:
    """A number from 0 to 1 that depends on nothing but *parts*."""
    return int.from_bytes(hashlib.md5(repr(parts).encode()).digest()[:4]) / 2**32


def _verdict(measurement: Measurement) -> str:
    """By the bounds of every criterion here: below 0.05 is good, above 0.10 bad. One series that is bad suffices."""
    values = [series.value for series in measurement.series]
    if any(value > 0.10 for value in values):
        return "bad"
    if measurement.state is not MeasurementState.OK or not values or any(value != value for value in values):  # noqa: PLR0124
        return "none"
    return "good" if all(value < 0.05 for value in values) else "between"


class _Dying:
    """The real flag adapter, with a controller that may die around it."""

    def __init__(self, inner: FlagPerformer, world: SimulatedWorld) -> None:
        self._inner = inner
        self._world = world

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        place = self._world.begin(effect, scene)
        if place == "before":
            await self._world.die(f"before {effect.id}")
        self._world.before_call()
        outcome = await self._inner.perform(effect, scene, resumed)
        self._world.log.tries.append((self._world.now, effect.id, outcome.state.value))
        if place is not None:
            await self._world.die(f"after {effect.id}")
        return outcome

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        await self._world.pass_time()
        return await self._inner.observe(observation, scene)


class _Sql:
    """Transactional: a row keyed by the file's name is written with it, and looked at first."""

    def __init__(self, world: SimulatedWorld) -> None:
        self._world = world

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        operation = effect.operation
        assert isinstance(operation, RunSql)
        place = (scene.environment, operation.name)
        up = operation.direction == "up"
        if (place in self._world.applied) == up:
            self._world.begin(effect, scene)
            return _done(self._value(place), "it is so already")
        lost = await self._world.tried(effect, scene, lambda: self._run(place, operation, effect, scene))
        return lost or _done(self._value(place))

    def _run(self, place: tuple[str, str], operation: RunSql, effect: Effect, scene: Scene) -> None:
        before = place in self._world.applied
        if operation.direction == "up":
            self._world.applied[place] = operation.checksum
        else:
            self._world.applied.pop(place, None)
        self._world.changed("sql", f"schema:{place[0]}/{place[1]}", before, not before, effect.id, scene.run)

    def _value(self, place: tuple[str, str]) -> Mapping[str, Any]:
        return {"applied": place in self._world.applied, "checksum": self._world.applied.get(place)}

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        assert isinstance(observation, ObserveSql)
        await self._world.pass_time()
        if self._world.faults.strikes(Fault.TEMPORARY):
            raise Temporary("the database is away")
        return Seen(value=self._value((scene.environment, observation.name)))


class _Command:
    """``set TARGET VALUE``, ``unset TARGET``, ``show TARGET``, ``is TARGET VALUE``.

    Run once, unless a probe says that it has not been done.
    """

    def __init__(self, world: SimulatedWorld) -> None:
        self._world = world

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        operation = effect.operation
        assert isinstance(operation, RunCommand)
        if resumed:
            settled = await self._look_first(operation, effect, scene)
            if settled is not None:
                return settled
        lost = await self._world.tried(effect, scene, lambda: self._run(operation, effect, scene))
        return lost or self._finished(operation, effect, scene)

    async def _look_first(self, operation: RunCommand, effect: Effect, scene: Scene) -> Outcome | None:
        await self._world.pass_time()
        if operation.probe is None:
            return Outcome(state=EffectState.UNKNOWN, detail="no probe can tell")
        if self._world.faults.strikes(Fault.TEMPORARY):
            return Outcome(state=EffectState.UNKNOWN, detail="the probe could not be asked")
        _, target, value = operation.probe
        is_done = self._world.texts.get((scene.environment, target), INITIAL) == value
        return self._finished(operation, effect, scene) if is_done else None

    def _finished(self, operation: RunCommand, effect: Effect, scene: Scene) -> Outcome:
        if operation.observe is None:
            return _done({"ran": effect.id})
        return _done({"text": self._world.texts.get((scene.environment, operation.observe[1]), INITIAL)})

    def _run(self, operation: RunCommand, effect: Effect, scene: Scene) -> None:
        word, target, *rest = operation.argv
        place = (scene.environment, target)
        before = self._world.texts.get(place, INITIAL)
        self._world.texts[place] = rest[0] if word == "set" and rest else INITIAL
        name = f"command:{scene.environment}/{target}"
        self._world.changed("command", name, before, self._world.texts[place], effect.id, scene.run)

    async def end(self, effect: Effect, scene: Scene) -> None:
        """As the Job of a command is taken away: the cluster may be, and the controller may die meanwhile."""
        self._world.log.ended.add(effect.id)
        if self._world.faults.crash(Fault.CRASH_EFFECT, ("end",)) is not None:
            await self._world.die(f"ending {effect.id}")
        await self._world.pass_time()
        if self._world.faults.strikes(Fault.TEMPORARY):
            raise Temporary("the cluster is away")

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        assert isinstance(observation, ObserveCommand)
        await self._world.pass_time()
        if self._world.faults.strikes(Fault.TEMPORARY):
            raise Temporary("the command timed out")
        return Seen(value={"text": self._world.texts.get((scene.environment, observation.argv[1]), INITIAL)})


class _Http:
    """A server that keeps idempotency keys: the same effect is carried out once, however often it is sent."""

    def __init__(self, world: SimulatedWorld) -> None:
        self._world = world

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        operation = effect.operation
        assert isinstance(operation, CallHttp)
        if resumed and not operation.idempotent:
            self._world.begin(effect, scene)
            return Outcome(state=EffectState.UNKNOWN, detail="it may have been sent, and is not idempotent")
        lost = await self._world.tried(effect, scene, lambda: self._run(operation, effect, scene))
        if lost is not None and lost.state is EffectState.UNKNOWN and operation.idempotent:
            return lost.model_copy(update={"state": EffectState.TEMPORARY})
        return lost or _done({"ran": effect.id})

    def _run(self, operation: CallHttp, effect: Effect, scene: Scene) -> None:
        if effect.id in self._world.http_keys:
            return
        self._world.http_keys.add(effect.id)
        place = (scene.environment, operation.request.url)
        before = self._world.called.get(place, 0)
        self._world.called[place] = before + (1 if operation.request.method == "POST" else -1)
        name = f"http:{scene.environment}/{operation.request.url}"
        self._world.changed("http", name, before, self._world.called[place], effect.id, scene.run)

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        raise Permanent("an HTTP call has nothing that can be seen")


def _done(observed: Any, detail: str = "") -> Outcome:
    return Outcome(state=EffectState.DONE, detail=detail, observed=observed)


__all__ = ["Asked", "Change", "SetFlag", "SimulatedWorld"]
