"""Scheduled checks, asked when they are due: what a controller does beside walking runs.

A turn is claimed in the store before it is asked, so one of several controllers asks. Asking has no consequence but the
result, so what a dead controller left unanswered is asked again. **Of the times at which nobody was there, a round is
asked once**, as of the newest of them, as soon as somebody is; the result says since when it was missed. Times that lie
before the document was handed in do not count.

Everybody is told of a round that is not as it should be, each time, and of the first one that is again.
"""

import asyncio
import secrets
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from orchestrator.allowance import Trust, acting_for
from orchestrator.core.alarms import channels_of
from orchestrator.core.effect import Notice, NoticeSeverity
from orchestrator.core.times import iso
from orchestrator.errors import NotFound, Permanent, RolloutError, StoreError, Temporary
from orchestrator.ports import Scene, World, scene_of
from orchestrator.rounds import Answer, Asking, Result
from orchestrator.schedule_port import SCHEDULED, UNSCHEDULED, Schedule, ScheduleStorage, Turn
from orchestrator.token_port import Note
from stages.checks import Check, Standing
from stages.load_schedule import LoadedSchedule, from_raw_schedule
from stages.schedule import Round
from stages.values import format_duration

log = structlog.get_logger()

LOOK_SECONDS: Final = 15.0
LONGEST_ROUND_SECONDS: Final = 1800.0
ABANDONED_SECONDS: Final = LONGEST_ROUND_SECONDS + 300.0
MOST_AT_ONCE: Final = 4
LATE_SECONDS: Final = 60.0
TRIES: Final = 6
MOST_TOLD: Final = 10
SPANS: Final = (60.0, 3600.0, 86_400.0, 32 * 86_400.0, 367 * 86_400.0, 6 * 366 * 86_400.0)
Place = tuple[str, str]  # name of a document and of its round


@dataclass(frozen=True, slots=True)
class Due:
    """*missed_since*: the first time at which nobody asked; None if none was missed."""

    at: float
    missed_since: float | None = None


def due_now(entry: Round, timezone: str, last: float, now: float) -> Due | None:
    """The newest time after *last* that has come, if there is one."""
    first = entry.next_at(timezone, last)
    if first is None or first > now:
        return None
    newest = first
    for span in SPANS:
        at = entry.next_at(timezone, max(now - span, first))
        if at is not None and at <= now:
            newest = at
            while (later := entry.next_at(timezone, newest)) is not None and later <= now:
                newest = later
            break
    return Due(newest, first if newest > first else None)


class Scheduling:
    def __init__(self, storage: ScheduleStorage | None, world: World, me: str, *, is_alone: bool) -> None:
        """*me* names this life of this controller; *is_alone*: no other one has the store. Without *storage* nothing is
        ever scheduled."""
        self._storage = storage
        self._world = world
        self._me = me
        self._is_alone = is_alone
        self._loaded: dict[str, tuple[Schedule, LoadedSchedule]] = {}
        self._asking: dict[Place, asyncio.Task[None]] = {}
        self._limit = asyncio.Semaphore(MOST_AT_ONCE)
        self._wake = asyncio.Event()
        self._told = ""

    # --- what people ask ------------------------------------------------------------------------------------------

    async def put(self, schedule: Schedule, reason: str) -> None:
        await self._kept.put_schedule(schedule, self._note(SCHEDULED, schedule.name, schedule.by, reason))
        self._wake.set()

    async def drop(self, name: str, by: str, reason: str) -> None:
        """Raises NotFound."""
        if not await self._kept.drop_schedule(name, self._note(UNSCHEDULED, name, by, reason)):
            raise await self._unknown(name)
        self._wake.set()

    async def shown(self) -> list[dict[str, Any]]:
        return [await self._shown(schedule) for schedule in await self._kept.schedules()]

    async def show(self, name: str, limit: int = 100) -> dict[str, Any]:
        """With its newest turns. Raises NotFound."""
        found = {schedule.name: schedule for schedule in await self._kept.schedules()}.get(name)
        if found is None:
            raise await self._unknown(name)
        return {**await self._shown(found), "turns": [turn_shown(turn) for turn in await self._kept.turns(name, limit)]}

    async def of(self, name: str) -> Schedule | None:
        return next((schedule for schedule in await self._kept.schedules() if schedule.name == name), None)

    @property
    def _kept(self) -> ScheduleStorage:
        if self._storage is None:
            raise RolloutError("this controller's store keeps no scheduled checks")
        return self._storage

    async def _unknown(self, name: str) -> NotFound:
        names = ", ".join(schedule.name for schedule in await self._kept.schedules()) or "none"
        return NotFound(f"there are no scheduled checks {name}; there are {names}")

    async def _shown(self, schedule: Schedule) -> dict[str, Any]:
        loaded, newest = _load(schedule), await self._kept.newest_turns(schedule.name)
        timezone, now = loaded.document.spec.timezone, self._world.clock.now()
        rounds = []
        for entry in loaded.document.spec.rounds:
            turn = newest.get(entry.name)
            upcoming = entry.next_at(timezone, max(now, turn.due if turn is not None else now))
            rounds.append(
                {
                    "name": entry.name,
                    "checks": len(entry.checks),
                    "next": iso(upcoming),
                    "last": turn_shown(turn) if turn is not None else None,
                }
            )
        return {
            "name": schedule.name,
            "digest": schedule.digest,
            "by": schedule.by,
            "since": iso(schedule.at),
            "timezone": timezone,
            "rounds": rounds,
        }

    def _note(self, what: str, name: str, by: str, reason: str) -> Note:
        detail = {"schedule": name, "reason": reason}
        return Note(secrets.token_hex(8), self._world.clock.now(), what, by, detail)

    # --- life -----------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Until it is cancelled, and with it what is being asked."""
        try:
            while self._storage is not None:
                self._wake.clear()
                upcoming = await self._look_safely()
                await self._sleep(min(max(upcoming - self._world.clock.now(), 0.0), LOOK_SECONDS))
        finally:
            for task in self._asking.values():
                task.cancel()
            await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _sleep(self, seconds: float) -> None:
        """Or until somebody changes something here."""
        woken = asyncio.ensure_future(self._wake.wait())
        slept = asyncio.ensure_future(self._world.clock.sleep(seconds))
        try:
            await asyncio.wait((woken, slept), return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            slept.cancel()
            await asyncio.gather(woken, slept, return_exceptions=True)

    async def _look_safely(self) -> float:
        try:
            upcoming = await self.look()
        except StoreError as error:
            if str(error) != self._told:
                log.warning("schedules.unseen", error=str(error), why="rounds are asked when the store is back")
            self._told = str(error)
            return self._world.clock.now() + LOOK_SECONDS
        except Exception:  # a bug here must not end the asking for good in silence
            log.exception("schedules.crashed")
            return self._world.clock.now() + LOOK_SECONDS
        self._told = ""
        return upcoming

    async def look(self) -> float:
        """Begins to ask what is due. When something is due next. Raises StoreError."""
        schedules = await self._kept.schedules()
        self._loaded = {one.name: self._loaded_of(one) for one in schedules}
        now = self._world.clock.now()
        upcoming = now + LOOK_SECONDS
        for schedule, loaded in self._loaded.values():
            newest = await self._kept.newest_turns(schedule.name)
            for entry in loaded.document.spec.rounds:
                at = self._see_to(schedule, loaded, entry, newest.get(entry.name), now)
                upcoming = min(upcoming, at)
        return upcoming

    def _loaded_of(self, schedule: Schedule) -> tuple[Schedule, LoadedSchedule]:
        known = self._loaded.get(schedule.name)
        return known if known is not None and known[0] == schedule else (schedule, _load(schedule))

    def _see_to(
        self, schedule: Schedule, loaded: LoadedSchedule, entry: Round, newest: Turn | None, now: float
    ) -> float:
        """When it is due next."""
        place, timezone = (schedule.name, entry.name), loaded.document.spec.timezone
        last = max(newest.due, schedule.at) if newest is not None else schedule.at
        if place not in self._asking:
            due = due_now(entry, timezone, last, now)
            if due is None and newest is not None and self._is_abandoned(newest, now):
                due = Due(newest.due)
            if due is not None:
                self._begin(place, self._ask(schedule, loaded, entry, due, newest))
                return now + LOOK_SECONDS
        upcoming = entry.next_at(timezone, last)
        return upcoming if upcoming is not None else now + LOOK_SECONDS

    def _is_abandoned(self, turn: Turn, now: float) -> bool:
        return turn.result is None and turn.claimed < self._abandoned_before(turn, now)

    def _abandoned_before(self, turn: Turn | None, now: float) -> float:
        """Where no other controller has the store, who claimed it is an earlier life of this one, and over."""
        if self._is_alone and turn is not None and turn.by != self._me:
            return now
        return now - ABANDONED_SECONDS

    def _begin(self, place: Place, work: Coroutine[Any, Any, None]) -> None:
        task = self._asking[place] = asyncio.create_task(work, name=f"round {place[1]} of {place[0]}")
        task.add_done_callback(lambda _: self._asking.pop(place, None))

    # --- a turn ---------------------------------------------------------------------------------------------------

    async def _ask(
        self, schedule: Schedule, loaded: LoadedSchedule, entry: Round, due: Due, before: Turn | None
    ) -> None:
        now = self._world.clock.now()
        turn = Turn(schedule.name, entry.name, due.at, self._me, now)
        try:
            async with self._limit:
                if not await self._kept.claim_turn(turn, self._abandoned_before(before, now)):
                    return
                result = await self._result(schedule, loaded, entry)
                shown = {**result.to_json(), **_lateness(due, now)}
                await self._keep(replace(turn, result={**shown, "told": []}))
            told = await self._tell(schedule, loaded, result, before, due)
            if told:
                await self._keep(replace(turn, result={**shown, "told": told}))
        except StoreError as error:
            log.warning("round.unkept", schedule=schedule.name, round=entry.name, error=str(error))
        except Exception:
            log.exception("round.crashed", schedule=schedule.name, round=entry.name)

    async def _result(self, schedule: Schedule, loaded: LoadedSchedule, entry: Round) -> Result:
        world, begun = self._world, self._world.clock.now()
        asking, scene = Asking(world.asker, world.clock), _scene(schedule, loaded)
        with acting_for(_trust(schedule)):
            try:
                async with asyncio.timeout(LONGEST_ROUND_SECONDS):
                    return await asking.ask(entry.name, entry.checks, scene)
            except TimeoutError:
                why = f"not answered within {format_duration(LONGEST_ROUND_SECONDS)}"
                answers = tuple(_unanswered(check, why) for check in entry.checks)
                return Result(entry.name, begun, world.clock.now(), answers)

    async def _keep(self, turn: Turn) -> None:
        """Raises StoreError if the store is away for longer than somebody would wait."""
        for number in range(TRIES):
            try:
                return await self._kept.finish_turn(turn)
            except StoreError:
                if number == TRIES - 1:
                    raise
                await self._world.clock.sleep(2.0**number)
        return None

    # --- telling --------------------------------------------------------------------------------------------------

    async def _tell(
        self, schedule: Schedule, loaded: LoadedSchedule, result: Result, before: Turn | None, due: Due
    ) -> list[dict[str, Any]]:
        was = (before.result or {}).get("standing") if before is not None else None
        is_well = result.standing is Standing.YES
        if is_well and was in (None, Standing.YES.value):
            return []
        notify = loaded.document.spec.notify
        severity = NoticeSeverity.NEWS if is_well else NoticeSeverity.HIGH
        channels = channels_of(notify, NoticeSeverity.HIGH)
        told = []
        for name in channels:
            notice = Notice(
                key=f"{result.name}:{iso(due.at)}@{name}",
                channel=name,
                severity=severity,
                title=f"{schedule.name}: {result.name} {_standing_words(result)}",
                text=_text(result),
                subject=f"round:{result.name}",
            )
            failure = await self._deliver(schedule, loaded, notice)
            told.append({"channel": name, "delivered": failure is None, "detail": str(failure or "")})
        return told

    async def _deliver(self, schedule: Schedule, loaded: LoadedSchedule, notice: Notice) -> RolloutError | None:
        channel = loaded.document.spec.notify.channels[notice.channel]
        scene = replace(_scene(schedule, loaded), shown_by=f"rollout schedule show {schedule.name}")
        failure: RolloutError | None = None
        for number in range(TRIES):
            try:
                with acting_for(_trust(schedule)):
                    await self._world.messenger.deliver(notice, channel, scene)
            except Permanent as error:
                return error
            except Temporary as error:
                failure = error
                if number < TRIES - 1:
                    await self._world.clock.sleep(max(2.0**number, error.retry_after_seconds or 0.0))
            else:
                return None
        return failure


def turn_shown(turn: Turn) -> dict[str, Any]:
    """What everybody is shown of it; without an answer yet, ``standing`` is null."""
    result: Mapping[str, Any] = turn.result or {}
    return {
        "round": turn.round,
        "due": iso(turn.due),
        "standing": result.get("standing"),
        "begun": result.get("begun"),
        "ended": result.get("ended"),
        "late_seconds": result.get("late_seconds"),
        "missed_since": result.get("missed_since"),
        "checks": result.get("checks", []),
        "told": result.get("told", []),
        "controller": turn.by,
    }


def _load(schedule: Schedule) -> LoadedSchedule:
    return from_raw_schedule(dict(schedule.raw), schedule.files)


def _scene(schedule: Schedule, loaded: LoadedSchedule) -> Scene:
    program = loaded.plan.to_program(schedule.directory)
    return scene_of(program, program.environments[0].name, run=schedule.name)


def _trust(schedule: Schedule) -> Trust:
    return Trust.OWNER if schedule.is_owners else Trust.HANDED


def _lateness(due: Due, now: float) -> dict[str, Any]:
    late = now - due.at
    return {
        "due": iso(due.at),
        "late_seconds": round(late, 1) if late > LATE_SECONDS else None,
        "missed_since": iso(due.missed_since),
    }


def _unanswered(check: Check, why: str) -> Answer:
    return Answer(check, Standing.UNKNOWN, why, LONGEST_ROUND_SECONDS)


def _standing_words(result: Result) -> str:
    bad = sum(1 for _ in result.bad)
    return f"is not well: {bad} of {len(result.answers)}" if bad else "is well again"


def _text(result: Result) -> str:
    bad = list(result.bad)
    if not bad:
        return "everything that is required is as it should be"
    lines = [f"{one.standing.value}: {one.check.name}: {one.detail}" for one in bad[:MOST_TOLD]]
    if len(bad) > MOST_TOLD:
        lines.append(f"and {len(bad) - MOST_TOLD} more")
    return "\n".join(lines)
