"""One run's loop: decide, append, perform what is outstanding, ask what is due, sleep.

Theory of operation. The loop owns the run's state; nothing else changes it. Everything that takes time (effects, asks,
deliveries) runs as a task beside it, so that a hung server delays nobody. What an ask brings back is noted in the
evidence at once, and wakes the loop if it is news; everything else is handed back through one inbox. Each round takes
what is in the inbox, writes down what there is to conclude from all that is known, starts what is wanted, and sleeps
until something arrives or time alone may change something.

Crashes need no code of their own. What is to be performed is ``state.outstanding``, which folding the journal brings
back; an effect that this life of the controller did not ask for itself is performed as *resumed*, so that its adapter
looks before it touches anything. An event is folded only after the journal has made it durable, and an outcome that
could not be written is kept and written again.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from orchestrator import failpoints
from orchestrator.answering import answered, unanswered
from orchestrator.checkpoints import Checkpoints
from orchestrator.core import asks as ask_rules
from orchestrator.core import evidence as ev
from orchestrator.core.afterwards import is_settled
from orchestrator.core.asks import Ask
from orchestrator.core.backward import backoff_seconds
from orchestrator.core.commands import Actor, Command, accept
from orchestrator.core.decide import conclude
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.core.events import Event
from orchestrator.core.fold import apply, fold
from orchestrator.core.freeze import Freeze, is_forward
from orchestrator.core.moment import Moment
from orchestrator.core.outcomes import outcome_events, was_changed_elsewhere
from orchestrator.core.questions import questions
from orchestrator.core.state import Outstanding, State
from orchestrator.core.timing import accumulate
from orchestrator.core.triggers import awaited_targets
from orchestrator.core.view import summary
from orchestrator.core.wanted import scopes
from orchestrator.errors import Conflict, Fenced, Permanent, RolloutError, StoreError, Temporary
from orchestrator.failpoints import Point, reach
from orchestrator.heart import Heart
from orchestrator.outbox import Outbox, Parcel
from orchestrator.ports import UNWANTED, Answer, Batch, Ending, Journal, Recorded, Scene, World, scene_of
from orchestrator.run_time import RunTime
from orchestrator.turns import Turns

log = structlog.get_logger()

CHECKPOINT_EVERY_SECONDS = 15.0
STORE_AGAIN_SECONDS = 1.0
LONGEST_SLEEP_SECONDS = 15.0
TOGETHER_SECONDS = 0.25  # for so long an answer that is no news waits for others
_NOT_WANTED = Outcome(state=EffectState.UNKNOWN, detail="not wanted any more")


@dataclass(frozen=True, slots=True)
class _Performed:
    effect: Effect
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Delivered:
    parcel: Parcel
    failure: RolloutError | None


@dataclass(slots=True)
class _Commanded:
    command: Command
    actor: Actor
    answer: "asyncio.Future[dict[str, Any]]"


@dataclass(slots=True)
class _Tasks:
    """What is under way, by key: effects by their id, asks by their key, notices by theirs."""

    running: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)

    def start(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=key)
        self.running[key] = task
        task.add_done_callback(lambda done: self.running.pop(key, None) if self.running.get(key) is done else None)

    def has(self, key: str) -> bool:
        return self.under_way(key) is not None

    def under_way(self, key: str) -> "asyncio.Task[None] | None":
        """None also of one that has handed its result in, though the loop did not drop it yet: what is to be done or
        asked anew after it must not wait for the next reason to look."""
        task = self.running.get(key)
        return task if task is not None and not task.done() else None

    async def cancel_all(self) -> None:
        tasks = list(self.running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Runner:
    """Walks one run. ``work`` returns when nothing is left to do for it; ``close`` ends it earlier."""

    def __init__(self, journal: Journal, world: World, records: Sequence[Recorded], epoch: int, evidence: str | None):
        self.journal = journal
        self.world = world
        self.epoch = epoch
        self.state: State = fold((record.event, record.at) for record in records)
        self._head = records[-1].hash  # of the newest event
        self.evidence = ev.from_text(evidence)
        self.time = RunTime(world.clock, max(self.state.at, ev.newest_at(self.evidence) or 0.0))
        self.evidence = ev.note_life(self.evidence, self.time.now(), self.time.ahead_seconds)
        self.listeners: list[Callable[[Sequence[Recorded]], None]] = []
        self.turns = Turns()  # its own, unless it shares them with others
        self.checkpoints = Checkpoints(journal)  # likewise
        self.may_act: Callable[[], bool] = lambda: True  # asked before anything is done in the world
        self._inbox: list[_Performed | _Delivered | _Commanded] = []  # read in turns, which ``_wake`` begins
        self._wake = asyncio.Event()
        self._tasks = _Tasks()
        self._asked_for: set[str] = set()  # ids of effects that this life asked for itself
        self._uncertain: set[str] = set()  # ids whose newest try may have happened
        self._unread: set[str] = set()  # ids whose try is over, and its outcome not taken yet
        self._asking = 0  # how many asks are under way
        self._together: asyncio.TimerHandle | None = None  # ends the wait for answers that come together
        self._outbox = Outbox()
        heartbeat = self.state.program.notify.heartbeat
        self._heart = Heart(heartbeat, world.pulse) if heartbeat is not None and world.pulse is not None else None
        self._saved_at = world.clock.monotonic()
        self.unwritable: str | None = None  # why the journal refuses what is to be written now
        self._saved: ev.Evidence = self.evidence
        self._wake_at: float | None = None  # what the newest decision that had nothing to say asked for
        self._ask_again_at: float | None = None  # when something is to be asked that was not due yet
        self._ask_beside: int | None = None  # the same for all who ask the same then
        self._decided_at = self._turned_at = 0.0
        self._turn_due_at = math.inf  # when time alone was to begin this turn; it may have stood in line since
        self._concluded_from: tuple[State | None, ev.Evidence] = (None, self.evidence)  # with nothing to say
        self._looked_at = world.clock.monotonic()
        self._closing = False

    # --- from outside ---------------------------------------------------------------------------------------------

    @property
    def run(self) -> str:
        return self.state.run

    async def command(self, command: Command, actor: Actor) -> dict[str, Any]:
        """Accepted: the answer, durable. Raises what ``accept`` raises."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._inbox.append(_Commanded(command, actor, answer))
        self._wake.set()
        return await answer

    def target_changed(self, target: str) -> None:
        """Somebody may have changed a target: what was seen of it counts no more."""
        if target in self.state.targets:
            seen = {key: value for key, value in self.evidence.seen.items() if key != target}
            self.evidence = replace(self.evidence, seen=seen)
            self._wake.set()

    def set_killed(self, environments: frozenset[str]) -> None:
        """The environments over which the kill latch stands now."""
        if environments != self.evidence.killed:
            self.evidence = ev.note_killed(self.evidence, environments)
            self._wake.set()

    def set_freezes(self, freezes: tuple[Freeze, ...]) -> None:
        """The newest of each place over environments of the plan, those that are over too."""
        if freezes != self.evidence.freezes:
            self.evidence = ev.note_freezes(self.evidence, freezes)
            self._wake.set()

    @property
    def unseen_seconds(self) -> float:
        """For how long nothing was decided: seconds, unless this loop or its store hangs. 0 of an ended run."""
        return 0.0 if self.state.ended else self.world.clock.monotonic() - self._looked_at

    @property
    def is_closing(self) -> bool:
        return self._closing

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way but looks: no effect, no command, no notice."""
        notices = any(key.startswith("notice:") for key in self._tasks.running)
        return not (self._closing or self.state.ended or self.state.outstanding or notices or self._inbox)

    async def close(self, grace_seconds: float = 0.0) -> None:
        """Stop acting. What is under way may finish within the grace; the rest is taken up by the next life."""
        self._closing = True
        self._wake.set()
        effects = [task for key, task in self._tasks.running.items() if key in self._effect_ids()]
        if effects and grace_seconds > 0:
            await asyncio.wait(effects, timeout=grace_seconds)
        await self._tasks.cancel_all()

    def let_go(self) -> None:
        """Stop acting at once, for another may have the run: nothing that is not sent yet is sent any more."""
        self._closing = True
        self._wake.set()
        for task in list(self._tasks.running.values()):
            task.cancel()

    def _goes_on(self) -> bool:
        return not self._closing and self.may_act()

    def _effect_ids(self) -> set[str]:
        return {entry.effect.id for entry in self.state.outstanding.values()}

    # --- the loop -------------------------------------------------------------------------------------------------

    async def work(self) -> None:
        try:
            await self.turns.wait(self._wake, comes_first=self.state.rollback is not None)
            while not self._closing:
                self._begin_turn()
                await self._take_inbox()
                await self._decide()
                self._looked_at = self.world.clock.monotonic()
                if is_settled(self.state) and not self._inbox:
                    break
                if not self._goes_on():
                    break
                self._start_effects()
                self._start_asks()
                self._start_deliveries()
                self._start_beat()
                self._checkpoint()
                await self._sleep()
            await self._take_outcomes()
            await self._last_checkpoint()
            await self._last_beat()
        finally:
            await self._tasks.cancel_all()
            self._refuse_commands(StoreError(f"the controller is going down; {self.run} goes on with the next one"))

    def _begin_turn(self) -> None:
        self._wake.clear()
        if self._together is not None:
            self._together.cancel()
            self._together = None

    def _refuse_commands(self, why: StoreError) -> None:
        """Those that wait. What else came in stays."""
        waiting, self._inbox = self._inbox, []
        for item in waiting:
            if not isinstance(item, _Commanded):
                self._inbox.append(item)
            elif not item.answer.done():
                item.answer.set_exception(why)

    async def _sleep(self) -> None:
        if self._inbox:
            self._turn_due_at = math.inf
            return
        times = [at for at in (self._wake_at, self._ask_again_at) if at is not None]
        times += [retry.due_at for key, retry in self.evidence.retries.items() if key in self._effect_ids()]
        times += self._outbox.due_times(self.state)
        times += [self._heart.due_at] if self._heart is not None and not self._heart.is_over else []
        now = self.time.now()
        later = [max(at - now, 0.0) for at in times if at > self._turned_at]  # what came since is not slept over
        delay = min([*later, LONGEST_SLEEP_SECONDS])
        self._turn_due_at = now + delay
        comes_first = self.state.rollback is not None
        await self.turns.wait(self._wake, comes_first=comes_first, after_seconds=delay, beside=self._ask_beside)

    async def _decide(self) -> None:
        """What comes in while it is written wakes the loop anew."""
        self._turned_at = self.time.now()
        if self._has_concluded():
            return
        moment = self._add_up()
        decision = conclude(moment)
        self._wake_at, self._decided_at, self._turned_at = decision.wake_at, moment.now, moment.now
        if not decision.events:
            self._concluded_from = (self.state, self.evidence)
            return
        try:
            await self._append(decision.events, keep=False)
        except StoreError:  # what is decided when the store is back is decided on what is known then
            self._wake_at = moment.now + STORE_AGAIN_SECONDS
        else:
            self._add_up()  # a bake that begins with these events begins now

    def _has_concluded(self) -> bool:
        """Whether there is still nothing to say: nothing was learnt, and no time came at which that may change. Who
        stood in line until a look was late decides once, upon its answers, as who found nobody in it."""
        state, evidence = self._concluded_from
        is_known = state is self.state and evidence is self.evidence
        was_due_at = min(self._turned_at, self._turn_due_at)
        is_soon = was_due_at < self._decided_at + LONGEST_SLEEP_SECONDS
        return is_known and is_soon and self._turned_at < (self._wake_at or math.inf)

    def _add_up(self) -> Moment:
        """This moment, with bake and watch as of now."""
        passed = self.time.passed()
        evidence = ev.note_ahead(self.evidence, self.time.ahead_seconds)
        evidence = ev.note_jump(evidence, ev.Jump(passed.now, passed.jumped_seconds))
        moment = accumulate(Moment(self.state, evidence, passed.now), passed.seconds)
        self.evidence = moment.evidence
        return moment

    async def _append(
        self, events: Sequence[Event], answer: Answer | None = None, *, keep: bool = True
    ) -> list[Recorded]:
        """Make events durable, then fold them. With *keep* a store that can't be written is tried until it can: what
        happened in the world must not be lost. Without, raises StoreError."""
        at = self.time.now()
        state = self.state
        for event in events:
            state = apply(state, event, at)
        batch = Batch(
            run=self.run,
            after=self.state.seq,
            epoch=self.epoch,
            at=at,
            events=events,
            summary={**summary(state), "settled": is_settled(state)},
            active=not state.ended,
            release=state.ended,
            answer=answer,
        )
        failpoints.before(events)
        recorded = await self._write(batch, keep)
        failpoints.after(events)
        before, self.state = self.state, state
        self._head = recorded[-1].hash if recorded else self._head
        self._end_resolved(before)
        self._asked_for |= self._effect_ids() - {entry.effect.id for entry in before.outstanding.values()}
        for listener in self.listeners:
            listener(recorded)
        return recorded

    def _end_resolved(self, before: State) -> None:
        """A person took a target as it is: what still works on it would change it behind the run's back."""
        wanted = self._effect_ids()
        for entry in before.outstanding.values():
            task = self._tasks.running.get(entry.effect.id)
            if task is not None and entry.effect.id not in wanted:
                task.cancel(UNWANTED)

    async def _write(self, batch: Batch, keep: bool) -> list[Recorded]:
        while True:
            try:
                recorded = await self.journal.append(batch)
            except StoreError as error:
                self.unwritable = str(error)
                log.warning("journal.unwritable", run=self.run, error=str(error))
                if self._closing or not keep:
                    raise
                self._refuse_commands(error)  # a person is not to wait for a store that is away
                await self.world.clock.sleep(STORE_AGAIN_SECONDS)
            else:
                self.unwritable = None
                return recorded

    # --- what comes back ------------------------------------------------------------------------------------------

    async def _take_inbox(self) -> None:
        while self._inbox:
            item = self._inbox.pop(0)
            match item:
                case _Performed():
                    await self._take_outcome(item.effect, item.outcome)
                case _Delivered():
                    await self._take_delivery(item)
                case _Commanded():
                    await self._take_command(item)

    async def _take_outcomes(self) -> None:
        """On the way down, outcomes that arrived are still written; everything else waits for the next life."""
        waiting: list[_Commanded] = []
        while self._inbox:
            item = self._inbox.pop(0)
            if isinstance(item, _Performed):
                await self._take_outcome(item.effect, item.outcome)
            elif isinstance(item, _Commanded):
                waiting.append(item)
        for item in waiting:
            self._inbox.append(item)

    async def _take_command(self, item: _Commanded) -> None:
        try:
            known = await self._known_answer(item.command)
            if known is None:
                known = await self._accept(item.command, item.actor)
        except RolloutError as error:
            lost = isinstance(error, Conflict | Fenced)  # the run is somebody else's now, or is ahead of what we know
            if not item.answer.done():
                again = Temporary(f"{error} Nothing was done: ask again.", STORE_AGAIN_SECONDS)
                item.answer.set_exception(again if lost else error)
            if lost:
                raise
            return
        if not item.answer.done():
            item.answer.set_result(known)
            reach(Point.COMMAND_ANSWERED)
        if known.get("seq", 0) > self.state.seq:
            raise Conflict(f"{self.run} was written without our knowing, by a store that fell over; read again")

    async def _known_answer(self, command: Command) -> dict[str, Any] | None:
        if command.key is None:
            return None
        answer = await self.journal.answer(self.run, command.key)
        return dict(answer.body) if answer is not None else None

    async def _accept(self, command: Command, actor: Actor) -> dict[str, Any]:
        events = accept(self._add_up(), command, actor)
        body = {
            "run": self.run,
            "command": command.command.value,
            "accepted": True,
            "seq": self.state.seq + len(events),
        }
        reach(Point.COMMAND_BEFORE)
        await self._append(events, Answer(command.key, body) if command.key is not None else None, keep=False)
        reach(Point.COMMAND_AFTER)
        return body

    async def _take_outcome(self, effect: Effect, outcome: Outcome) -> None:
        self._unread.discard(effect.id)
        entry = self.state.outstanding.get(effect.target)
        if entry is None or entry.effect.id != effect.id:
            return  # a person resolved it meanwhile
        if outcome.state is EffectState.UNKNOWN:
            self._uncertain.add(effect.id)
        else:
            self._uncertain.discard(effect.id)
        resumed = effect.id not in self._asked_for
        events, retry = outcome_events(entry, outcome, forward=self.state.forward, resumed=resumed)
        if retry:
            count = self.evidence.retries[effect.id].count if effect.id in self.evidence.retries else 0
            delay = outcome.retry_after_seconds or backoff_seconds(count + 1)
            self.evidence = ev.note_retry(self.evidence, effect.id, self.time.now() + delay)
        if was_changed_elsewhere(effect, outcome):
            seen = ev.SeenAt(self.time.now(), outcome.observed, changed_by=outcome.changed_by)
            self.evidence = ev.note_seen(self.evidence, effect.target, seen)
        if events:
            await self._append(events)

    async def _take_delivery(self, item: _Delivered) -> None:
        events = self._outbox.taken(self.state, item.parcel, item.failure, self.time.now())
        if events:
            await self._append(events)

    # --- what is started ------------------------------------------------------------------------------------------

    def scene(self, environment: str, stage: str = "", effect_id: str = "") -> Scene:
        program, run = self.state.program, self.run
        return scene_of(program, environment, run=run, stage=stage, effect_id=effect_id, epoch=self.epoch)

    def _start_effects(self) -> None:
        now = self.time.now()
        is_frozen = bool(Moment(self.state, self.evidence, now).freezes())
        in_the_way = awaited_targets(self.state) if is_frozen else frozenset()
        for entry in list(self.state.outstanding.values()):
            effect = entry.effect
            task = self._tasks.under_way(effect.id)
            if effect.id in self._unread:
                continue  # it came back while something else was written; to begin again would be to do it twice
            if entry.void:
                self._settle_void(entry, task)
                continue
            retry = self.evidence.retries.get(effect.id)
            if task is not None or entry.unknown or (retry is not None and retry.due_at > now):
                continue
            if is_frozen and is_forward(effect) and effect.target not in in_the_way:
                continue  # asked for before the freeze: what is under way goes on, and no further try begins
            resumed = effect.id not in self._asked_for or effect.id in self._uncertain
            self._tasks.start(effect.id, self._perform(effect, resumed))

    def _settle_void(self, entry: Outstanding, task: "asyncio.Task[None] | None") -> None:
        """Nobody wants it any more: what is under way is cut short (or, at a stop, awaited); the rest never begins."""
        if task is not None:
            if self.state.stop_requested is None and not task.cancelling():  # who is ending something is left to it
                task.cancel(UNWANTED)
            return
        ending, key = self.world.endings.get(entry.effect.operation.op), f"end:{entry.effect.id}"
        if key in self._tasks.running:
            return
        if ending is not None and self.state.stop_requested is None:
            self._tasks.start(key, self._end(entry.effect, ending))
            return
        self._inbox.append(_Performed(entry.effect, _NOT_WANTED))

    async def _end(self, effect: Effect, ending: Ending) -> None:
        """What an earlier try, or an earlier life, left running must not go on beneath the way back."""
        try:
            reach(Point.CALL_ENDING)
            await ending.end(effect, self.scene(effect.environment, effect.stage, effect.id))
        except RolloutError as error:
            log.warning("effect.not_ended", run=self.run, effect=effect.id, error=str(error))
        except Exception:  # an adapter's bug must not end the run
            log.exception("effect.crashed", run=self.run, effect=effect.id)
        self._unread.add(effect.id)
        self._hand_in(_Performed(effect, _NOT_WANTED))

    async def _perform(self, effect: Effect, resumed: bool) -> None:
        performer = self.world.performers[effect.operation.op]
        scene = self.scene(effect.environment, effect.stage, effect.id)
        if not self.may_act():
            return
        try:
            reach(Point.CALL_BEFORE)
            outcome = await performer.perform(effect, scene, resumed)
            reach(Point.CALL_AFTER)
        except asyncio.CancelledError:
            if self._closing:
                raise
            outcome = Outcome(state=EffectState.UNKNOWN, detail="cut short")
        except Exception as error:  # an adapter's bug must not end the run: its outcome is unknown
            log.exception("effect.crashed", run=self.run, effect=effect.id)
            outcome = Outcome(state=EffectState.UNKNOWN, detail=f"{type(error).__name__}: {error}")
        self._unread.add(effect.id)
        self._hand_in(_Performed(effect, outcome))

    def _hand_in(self, item: _Performed | _Delivered) -> None:
        self._inbox.append(item)
        self._wake.set()

    def _start_asks(self) -> None:
        due = ask_rules.due(Moment(self.state, self.evidence, self.time.now()), self._tasks.has)
        self._ask_again_at, self._ask_beside = due.next_at, due.next_beat
        for ask in due.now:
            self._asking += 1
            self._tasks.start(ask.key, self._ask(ask))

    async def _ask(self, ask: Ask) -> None:
        is_here = ask.environment == self.state.cursor.environment
        scene = self.scene(ask.environment, self.state.stage.name if is_here and self.state.stage else "")
        try:
            change = await answered(ask, self.world, scene, self.evidence, self.time)
        except RolloutError as error:
            change = unanswered(ask, error, self.time.now())
        except Exception as error:
            log.exception("ask.crashed", run=self.run, ask=ask.key)
            change = unanswered(ask, Temporary(f"{type(error).__name__}: {error}"), self.time.now())
        finally:
            self._asking -= 1
        before = self.evidence
        self.evidence = change(before, self.state)
        if self._asking == 0 or ask_rules.is_news(self.state, ask, before, self.evidence):
            self._wake.set()
        elif self._together is None:  # what was asked together is mostly answered together, and decided upon once
            self._together = asyncio.get_running_loop().call_later(TOGETHER_SECONDS, self._wake.set)

    def _start_deliveries(self) -> None:
        channels = self.state.program.notify.channels
        for parcel in self._outbox.parcels(self.state, self.time.now()):
            if parcel.channel in channels:
                self._tasks.start(f"notice:{parcel.channel}", self._deliver(parcel))
            else:
                self._hand_in(_Delivered(parcel, Permanent(f"the plan has no channel {parcel.channel}")))

    async def _deliver(self, parcel: Parcel) -> None:
        channel = self.state.program.notify.channels[parcel.channel]
        failure: RolloutError | None = None
        if not self.may_act():
            self._outbox.dropped(parcel)
            return
        try:
            reach(Point.MESSAGE_SENDING)
            scene = replace(self._scene_now(), head=f"{self.state.seq}:{self._head}")
            await self.world.messenger.deliver(parcel.message(self.run), channel, scene)
            reach(Point.MESSAGE_SENT)
        except RolloutError as error:
            failure = error
        except Exception as error:
            log.exception("notice.crashed", run=self.run, notice=parcel.notices[0].key)
            failure = Temporary(f"{type(error).__name__}: {error}")
        self._hand_in(_Delivered(parcel, failure))

    def _start_beat(self) -> None:
        ended = self.state.ended
        if self._heart is None or self._tasks.has("heartbeat") or not self._heart.wants(self.time.now(), ended=ended):
            return
        self._tasks.start("heartbeat", self._heart.beat(self._scene_now, ended=ended))

    async def _last_beat(self) -> None:
        if self._heart is not None and is_settled(self.state) and self._heart.wants(self.time.now(), ended=True):
            await self._heart.beat(self._scene_now, ended=True)

    def _scene_now(self) -> Scene:
        return self.scene(self.state.cursor.environment)

    # --- the checkpoint -------------------------------------------------------------------------------------------

    def _checkpoint(self) -> None:
        now = self.world.clock.monotonic()
        if self.evidence is not self._saved and now - self._saved_at >= CHECKPOINT_EVERY_SECONDS:
            self._saved_at = now
            self.checkpoints.keep(self.run, self.epoch, self._pruned())

    async def _last_checkpoint(self) -> None:
        await self.checkpoints.keep_last(self.run, self.epoch, self._pruned())

    def _pruned(self) -> str:
        """The evidence as a checkpoint has it: without what nobody asks for any more."""
        moment = Moment(self.state, self.evidence, self.time.now())
        asked = frozenset(one.key for scope in scopes(moment) for one in questions(scope))
        saved = ev.prune(self.evidence, asked, frozenset(self._effect_ids()))
        if self._concluded_from[1] is self.evidence:
            self._concluded_from = (self.state, saved)
        self.evidence = self._saved = saved
        return ev.to_text(saved)
