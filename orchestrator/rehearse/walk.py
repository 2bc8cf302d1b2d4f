"""One walk: the real service, runner and core on a store in memory, in a world in which one thing goes wrong.

A walk begins with the start of the run, or where an earlier one stood: a ``Fork`` is the store and the world as they
were then, and taking it up is what a controller does after ``kill -9``. It ends with the run, where the scenario says,
or where nothing moves without a person who has been waited for.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from orchestrator.core import events as ev
from orchestrator.core.commands import Actor, Command
from orchestrator.core.evidence import from_text, to_text
from orchestrator.core.moment import Moment
from orchestrator.core.phases import CommandName, Phase, Reason
from orchestrator.errors import RolloutError
from orchestrator.flag_board import FlagBoard
from orchestrator.ports import FlagWrite, Recorded
from orchestrator.rehearse import people
from orchestrator.rehearse.loop import START, Deadlock, Life, Livelock, OutOfTime, VirtualLoop, run_in
from orchestrator.rehearse.skipping import Around, seconds_to_skip, skipped
from orchestrator.rehearse.store import Door, RehearsalStore
from orchestrator.rehearse.trouble import NONE, PAUSE_SECONDS, Away, Trouble
from orchestrator.rehearse.world import RehearsedWorld
from orchestrator.service import Service
from orchestrator.submission import Submission
from stages.effects import flag_of
from stages.flag_spec import ABSENT, percentage_of, to_document, to_value
from stages.step import Program
from stages.values import Json

LONGEST_SECONDS = 3 * 366 * 86_400.0
MOST_STEPS = 400_000  # of one walk; more than that is called never
TICK_SECONDS = 5.0
AGAIN_SECONDS = 60.0  # until somebody asks once more
PATIENCE_SECONDS = 1800.0  # with a hold that only a person ends: by then the first rounds of an escalation are told
RESTART_SECONDS = 20.0  # until another controller is there
TOLD_ONLY = (ev.HoldSet, ev.HoldCleared, ev.NoticeRequested, ev.NoticeDelivered)
WAITS_FOR_ITSELF = frozenset({Reason.WINDOW})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run stood. *step* is "watch" in the watch; *effect* is set where one had just been asked for."""

    environment: str
    stage: str
    step: str
    percentage: float | None = None

    @property
    def words(self) -> str:
        return " / ".join(part for part in (self.stage, self.step) if part)


@dataclass(frozen=True, slots=True)
class Fork:
    """How everything stood at one moment of the way forward, when *event* had become durable, and nothing of what was
    written together with it and follows. *at* is virtual."""

    at: float
    place: Place
    event: ev.Event
    store: RehearsalStore
    values: dict[str, Json]
    levels: dict[tuple[str, str], float]
    before: dict[str, Json]  # target -> what the world had there before the run


@dataclass(frozen=True, slots=True)
class Plan:
    """What every walk of one rehearsal has in common."""

    program: Program
    submission: Submission
    seed: int


Until = Callable[["Walk"], bool]


class Walk:
    """*name* is what chance in it hangs on, beside the seed. Without an *until* it goes to the end of the run."""

    def __init__(
        self, plan: Plan, name: str, trouble: Trouble = NONE, fork: Fork | None = None, until: Until | None = None
    ):
        self.plan = plan
        self.trouble = trouble
        self.fork = fork
        chance = Random(f"{plan.seed}/{name}")  # noqa: S311 - how long things take is no secret
        self.world = RehearsedWorld(plan.program, chance, trouble)
        self.store = fork.store.copied() if fork is not None else RehearsalStore()
        self.before: dict[str, Json] = dict(fork.before) if fork is not None else {}
        if fork is not None:
            self.world.targets.copy_from(fork.values)
            self.world.levels = dict(fork.levels)
        self.run = ""
        self.forks: list[Fork] = []
        self.began_at = 0.0  # by the wall clock: when things went wrong
        self.over_at = START  # by the wall clock: when the walk was over
        self.is_waiting = False  # whether it ended for want of a person
        self.crashes: tuple[str, ...] = ()
        self.failure = ""  # why it never ended
        self.steps = 0
        self.last: Moment | None = None
        self._until = until
        self._loop = VirtualLoop(LONGEST_SECONDS, fork.at if fork is not None else 0.0, MOST_STEPS)
        self._life = Life(0)
        self._service: Service | None = None
        self._sent: dict[tuple[str, ...], float] = {}
        self._news = asyncio.Event()
        self.world.on_death = self._news.set
        self._place = fork.place if fork is not None else Place("", "", "")
        self._has_resumed = False
        self._ended: ev.RunEnded | None = None
        self._changed_at = START + fork.at if fork is not None else START  # when something was written that matters

    def walked(self) -> "Walk":
        """All of it, from begin to end."""
        try:
            run_in(self._loop, self._main)
        except (OutOfTime, Deadlock, Livelock) as problem:
            self.failure = str(problem)
        self.steps = self._loop.steps
        self.over_at = START + self._loop.time()
        return self

    # --- what is known afterwards ---

    @property
    def records(self) -> Sequence[Recorded]:
        return self.store.records(self.run) if self.run else ()

    @property
    def new_records(self) -> Sequence[Recorded]:
        """What was written after the fork."""
        known = len(self.fork.store.records(self.run)) if self.fork is not None else 0
        return self.records[known:]

    @property
    def ended(self) -> ev.RunEnded | None:
        return self._ended

    @property
    def came_too_late(self) -> bool:
        """Whether the run was over before a person could say what the scenario is about."""
        asked = self.trouble.command is not None
        return asked and not any(one.event.by == people.ON_CALL.name for one in self.new_records)

    @property
    def back_at(self) -> float:
        """When what was away came back, by the wall clock."""
        return self.began_at + self.trouble.away_seconds

    def stands(self, target: str) -> Json:
        """What the world has there now."""
        if (flag := flag_of(target)) is not None:
            return self._flag(*flag)
        return self.world.targets.standing(target)

    def _flag(self, environment: str, key: str) -> Json:
        record = self.store.flag(environment, key)
        return to_value(record.document) if record is not None else dict(ABSENT)

    # --- lives ---

    async def _main(self) -> None:
        if self.fork is None:
            await self._furnish()
        else:
            (self.run,) = self.fork.store.runs
        if self.trouble.is_killed:
            self._begin()
            await asyncio.sleep(RESTART_SECONDS)
        try:
            await self._live()
            await self._drive()
        finally:
            await self._life.bury()

    async def _furnish(self) -> None:
        """A flag that no stage raises has to be there; it serves nobody yet."""
        for entry in self.plan.program.environments:
            raised = {flag for stage in entry.stages for flag in stage.exposure_flags}
            for key in entry.flags:
                if key not in raised:
                    value = {**ABSENT, "state": "enabled"}
                    write = FlagWrite(to_document(value, key, entry.name), None, "team", "as it was")
                    await self.store.write(write, START)

    async def _live(self) -> None:
        """A new life, with every run taken up."""
        self._life = Life(self._life.number + 1)
        door = Door(self.store, self._life, lambda: self.world.is_away(Away.STORE), self._heard)
        world = self.world.open(door)
        assert isinstance(world.flags, FlagBoard)
        service = _Undisturbed(door, world.flags, world)
        await self._life.start(service.open())
        self._service = service

    async def _drive(self) -> None:
        if self.fork is None:
            await self._ask(lambda service: service.start(self.plan.submission, people.AUTHOR))
        if not self.trouble.is_killed:
            self._begin()
        if self.trouble.command is not None:
            await self._send(self.trouble.command, people.ON_CALL)
        held_since: float | None = None
        while True:
            if self._life.is_dead:
                held_since = None
                await self._revive()
            moment = self._moment()
            if self._is_over():
                return
            if moment is not None:
                held_since = self._held_since(moment, held_since)
                if held_since is not None and moment.now - held_since >= PATIENCE_SECONDS:
                    self.is_waiting = True
                    return
                if await self._people(moment) or await self._skip(moment, held_since):
                    continue
            await self._rest()

    def _is_over(self) -> bool:
        if self.ended is not None:
            return True
        return self._until is not None and self._until(self)

    async def _rest(self) -> None:
        self._news.clear()
        try:
            async with asyncio.timeout(TICK_SECONDS):
                await self._news.wait()
        except TimeoutError:
            return

    async def _revive(self) -> None:
        await self._life.bury()
        self._service = None
        await asyncio.sleep(RESTART_SECONDS)
        await self._live()

    def _begin(self) -> None:
        self.world.begin()
        self.began_at = self.world.clock.now()

    def _moment(self) -> Moment | None:
        walked = list(self._service.walked()) if self._service is not None else []
        if walked:
            self.last = walked[0].moment
        return walked[0].moment if walked else None

    def _held_since(self, m: Moment, since: float | None) -> float | None:
        """Since when nothing moves without a person; None if it does, or what holds will go away by itself."""
        reasons = {reason for reason, _ in m.state.holds} - WAITS_FOR_ITSELF
        is_back = m.state.rollback is not None and not m.is_paused
        if not reasons or is_back or (self.trouble.away is not None and not self.world.is_over):
            return None
        asked = any(item.open for item in m.state.waiting.values())
        if asked and self.trouble.rejects is None and not self.trouble.nobody_answers:
            return None
        return m.now if since is None else since

    # --- people ---

    async def _people(self, m: Moment) -> bool:
        """Whether somebody did something."""
        for command, actor in people.due(m, self.trouble):
            key = (command.command.value, command.item or command.target or "", actor.name)
            if m.now - self._sent.get(key, -AGAIN_SECONDS) >= AGAIN_SECONDS:
                self._sent[key] = m.now
                await self._send(command, actor)
                return True
        if self.trouble.resumes and not self._has_resumed and m.now - self.began_at >= PAUSE_SECONDS:
            self._has_resumed = True
            await self._send(Command(command=CommandName.RESUME, reason="go on"), people.ON_CALL)
            return True
        return False

    async def _send(self, command: Command, actor: Actor) -> None:
        if self.ended is not None:
            return
        try:
            await self._ask(lambda service: service.command(self.run, command, actor))
        except RolloutError:
            return

    async def _ask(self, work: Callable[[Service], Any]) -> Any:
        service = self._service
        assert service is not None

        async def ask() -> Any:
            return await work(service)

        task = self._life.start(ask())
        dead = asyncio.create_task(self._life.dead.wait())
        await asyncio.wait((task, dead), return_when=asyncio.FIRST_COMPLETED)
        dead.cancel()
        return task.result() if task.done() and not task.cancelled() else None

    # --- time ---

    async def _skip(self, m: Moment, held_since: float | None) -> bool:
        seconds = seconds_to_skip(m, self._around(m, held_since))
        if not seconds or self._service is None or self.world.is_away(Away.STORE):
            return False
        await self._life.start(self._service.close(0.0))
        await self._life.bury()
        evidence = from_text(self.store.evidence_now(self.run))
        self.store.keep_evidence(self.run, to_text(skipped(m, evidence, seconds)))
        self._loop.skip(seconds)
        await self._live()
        return True

    def _around(self, m: Moment, held_since: float | None) -> Around:
        """What is away comes back, somebody answers, goes on, or gives up."""
        times = [self.back_at] if self.trouble.away is not None else []
        times += [self.began_at + PAUSE_SECONDS] if self.trouble.resumes else []
        times += [held_since + PATIENCE_SECONDS] if held_since is not None else []
        times += [people.answered_at(item) for item in m.state.waiting.values() if item.open]
        next_at = min((at for at in times if at > m.now), default=float("inf"))
        past = [at for at in (*times, self.began_at) if at <= m.now]
        same_since = max(*past, self._changed_at)
        is_away = self.trouble.away is not None and not self.world.is_over
        return Around(next_at, max(same_since, self.records[-1].at), same_since, is_away)

    # --- what becomes durable ---

    def _heard(self, records: Sequence[Recorded]) -> None:
        for record in records:
            self.run = record.run
            self._note(record)
            if self.fork is None and _is_a_fork(record.event):
                self.forks.append(self._fork(record))
        self._news.set()

    def _note(self, record: Recorded) -> None:
        event = record.event
        if not isinstance(event, TOLD_ONLY):
            self._changed_at = record.at
        match event:
            case ev.RunEnded():
                self._ended = event
            case ev.LegEntered():
                self._place = self._place_of(event)
            case ev.TargetObserved():
                self.before.setdefault(event.target, event.value)
            case ev.EffectFinished() if event.observed is not None and (flag := flag_of(event.target)) is not None:
                self.world.levels[flag] = percentage_of(event.observed)
            case _:
                pass

    def _place_of(self, event: ev.LegEntered) -> Place:
        entry = self.plan.program.environment(event.environment)
        if event.phase == Phase.WATCHING:
            return Place(event.environment, "watch", "")
        stage = entry.stages[event.stage]
        step = stage.steps[event.step] if event.step < len(stage.steps) else None
        return Place(event.environment, stage.name, step.name if step else "", step.percentage if step else None)

    def _fork(self, record: Recorded) -> Fork:
        store, values, levels = self.store.copied(record.seq), dict(self.world.targets.values), dict(self.world.levels)
        return Fork(self._loop.time(), self._place, record.event, store, values, levels, dict(self.before))


class _Undisturbed(Service):
    """Nobody else moves the kill switch of a rehearsal, so nobody has to look after it every second."""

    async def _watch_kill_switch(self) -> None:
        return None


def _is_a_fork(event: ev.Event) -> bool:
    match event:
        case ev.LegEntered():
            return event.leg == "baking" or event.phase == Phase.WATCHING
        case ev.EffectRequested():
            return True
        case ev.WaitingOpened():
            return event.kind in ("approval", "sign_off", "manual")
        case _:
            return False


# --- when a scenario is over ------------------------------------------------------------------------------------------


def goes_on(walk: Walk) -> bool:
    """What was wrong is over and the run stands as before: nothing holds, and what it waits for adds up again."""
    if walk.trouble.away is not None and not walk.world.is_over:
        return False
    m = walk.last
    if m is None or m.state.rollback is not None or m.state.holds or m.state.outstanding:
        return False
    if m.now <= walk.began_at + (PAUSE_SECONDS if walk.trouble.resumes else 0.0):
        return False
    counts = m.evidence.bake.counting or m.evidence.watch.counting
    moved = any(isinstance(one.event, ev.LegEntered | ev.StageEnded) for one in walk.new_records)
    return counts or moved
