"""Scheduled checks under a virtual clock: when they are asked, by whom, and who is told what."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from orchestrator.core.effect import Notice
from orchestrator.errors import NotFound, StoreError, Temporary
from orchestrator.journal.memory import MemoryStore
from orchestrator.ports import CheckAnswer, Scene, World
from orchestrator.rehearse.loop import simulate
from orchestrator.schedule_port import ScheduleStorage, Turn
from orchestrator.scheduling import ABANDONED_SECONDS, Scheduling
from stages.checks import Check, Standing
from stages.load_schedule import load_schedule
from stages.notify import Channel
from tests.orchestrator.scheduled import schedule_of

DAY, HOUR = 86_400.0, 3600.0
BEGIN = datetime(2026, 6, 1, 8, 0, tzinfo=UTC).timestamp()  # a Monday
TEXT = """
apiVersion: stagedrollout.io/v1alpha1
kind: ScheduledChecks
metadata: {name: ops}
spec:
  notify: {channels: {team: {webhook: {url: "http://127.0.0.1:1/hook"}}}}
  rounds:
    - {name: morning, at: "09:00", checks: [{name: disk, env: HOME}, {name: spare, env: HOME, required: false}]}
    - {name: hourly, cron: "30 * * * *", checks: [{name: queue, env: HOME}]}
"""


@dataclass
class LoopClock:
    """The wall and what passes are the virtual loop's, but for what the wall was set ahead."""

    ahead: float = 0.0

    def now(self) -> float:
        return BEGIN + asyncio.get_running_loop().time() + self.ahead

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass
class Outside:
    """Answers as *standings* say, or yes; keeps what was asked and told, and when."""

    clock: LoopClock
    standings: dict[str, Standing] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    told: list[Notice] = field(default_factory=list)
    failures: int = 0
    takes: float = 0.0

    async def ask(self, check: Check, scene: Scene) -> CheckAnswer:
        self.asked.append((check.name, hour_of(self.clock.now())))
        await asyncio.sleep(self.takes)
        standing = self.standings.get(check.name, Standing.YES)
        return CheckAnswer(standing, f"{check.name} is {standing}")

    async def deliver(self, notice: Notice, channel: Channel, scene: Scene) -> None:
        if self.failures:
            self.failures -= 1
            raise Temporary("the hook is away")
        assert (scene.run, scene.shown_by) == ("ops", "rollout schedule show ops")
        self.told.append(notice)

    def names(self, name: str) -> list[str]:
        return [at for asked, at in self.asked if asked == name]


def hour_of(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d %H:%M")


class House:
    def __init__(self) -> None:
        self.clock = LoopClock()
        self.outside = Outside(self.clock)
        self.store = MemoryStore()
        self.lives: list[asyncio.Task[None]] = []

    async def put(self, text: str = TEXT, name: str = "one") -> None:
        def nothing(path: str) -> bytes:
            raise FileNotFoundError(path)

        loaded = load_schedule(text, "ops.yaml", {}, read_file=nothing)
        await self.life(name).put(schedule_of(loaded, by="kim", at=self.clock.now()), "from now on")

    def life(self, name: str = "one", storage: ScheduleStorage | None = None, *, is_alone: bool = True) -> Scheduling:
        world = cast("World", self._world())
        return Scheduling(storage or self.store.schedules, world, name, is_alone=is_alone)

    def _world(self) -> Any:
        @dataclass
        class Few:
            clock: Any
            asker: Any
            messenger: Any

        return Few(self.clock, self.outside, self.outside)

    def begin(self, life: Scheduling) -> asyncio.Task[None]:
        self.lives.append(asyncio.create_task(life.watch()))
        return self.lives[-1]

    async def end(self) -> None:
        for life in self.lives:
            life.cancel()
        await asyncio.gather(*self.lives, return_exceptions=True)


def lived(body: Callable[[House], Awaitable[None]]) -> None:
    async def whole() -> None:
        house = House()
        try:
            await body(house)
        finally:
            await house.end()

    simulate(whole, 400 * DAY)


def test_rounds_are_asked_when_they_are_due_and_what_was_answered_is_kept() -> None:
    async def body(house: House) -> None:
        await house.put()
        house.begin(house.life())
        await asyncio.sleep(26 * HOUR)
        assert house.outside.names("disk") == ["01 09:00", "02 09:00"]
        assert house.outside.names("queue")[:3] == ["01 08:30", "01 09:30", "01 10:30"]
        found = await house.life().show("ops")
        assert [one["name"] for one in found["rounds"]] == ["morning", "hourly"]
        assert found["rounds"][0]["next"] == "2026-06-03T09:00:00.000Z"
        assert found["rounds"][0]["last"]["standing"] == "yes"
        assert [one["name"] for one in found["rounds"][0]["last"]["checks"]] == ["disk", "spare"]
        assert {turn["round"] for turn in found["turns"]} == {"morning", "hourly"}
        assert house.outside.told == []

    lived(body)


def test_of_the_times_at_which_nobody_was_there_a_round_is_asked_once_and_says_since_when() -> None:
    async def body(house: House) -> None:
        await house.put()
        first = house.begin(house.life("one"))
        await asyncio.sleep(3 * HOUR)
        first.cancel()
        await asyncio.sleep(3 * DAY)
        house.outside.asked.clear()
        house.begin(house.life("two"))
        await asyncio.sleep(60.0)
        assert house.outside.names("disk") == ["04 11:00"]
        assert house.outside.names("queue") == ["04 11:00"]
        found = await house.life().show("ops")
        morning = found["rounds"][0]["last"]
        assert (morning["due"], morning["missed_since"]) == ("2026-06-04T09:00:00.000Z", "2026-06-02T09:00:00.000Z")
        assert morning["late_seconds"] == pytest.approx(7200, abs=30)
        hourly = found["rounds"][1]["last"]
        assert (hourly["due"], hourly["missed_since"]) == ("2026-06-04T10:30:00.000Z", "2026-06-01T11:30:00.000Z")

    lived(body)


def test_of_several_controllers_one_asks() -> None:
    async def body(house: House) -> None:
        await house.put()
        house.outside.takes = 5.0
        for name in ("one", "two", "three"):
            house.begin(house.life(name, is_alone=False))
        await asyncio.sleep(26 * HOUR)
        assert house.outside.names("disk") == ["01 09:00", "02 09:00"]
        assert len(house.outside.names("queue")) == 26

    lived(body)


@pytest.mark.parametrize("is_alone", (True, False))
def test_what_a_dead_controller_left_unanswered_is_asked_again(*, is_alone: bool) -> None:
    async def body(house: House) -> None:
        await house.put()
        house.outside.takes = 120.0
        first = house.begin(house.life("one", is_alone=is_alone))
        await asyncio.sleep(HOUR + 10.0)
        assert house.outside.names("disk") == ["01 09:00"]
        first.cancel()
        house.begin(house.life("two", is_alone=is_alone))
        await asyncio.sleep(60.0 if is_alone else ABANDONED_SECONDS + 60.0)
        assert len(house.outside.names("disk")) == 2
        await asyncio.sleep(300.0)
        assert (await house.life().show("ops"))["rounds"][0]["last"]["controller"] == "two"

    lived(body)


def test_everybody_is_told_of_what_is_not_well_each_time_and_once_that_it_is_again() -> None:
    async def body(house: House) -> None:
        await house.put()
        house.begin(house.life())
        house.outside.standings["disk"] = Standing.NO
        house.outside.standings["spare"] = Standing.NO
        await asyncio.sleep(2 * DAY)
        house.outside.standings.clear()
        await asyncio.sleep(2 * DAY)
        assert [one.title for one in house.outside.told] == [
            "ops: morning is not well: 1 of 2",
            "ops: morning is not well: 1 of 2",
            "ops: morning is well again",
        ]
        assert house.outside.told[0].text == "no: disk: disk is no"
        assert [one.severity.value for one in house.outside.told] == ["high", "high", "news"]
        assert len({one.key for one in house.outside.told}) == 3
        assert {one.subject for one in house.outside.told} == {"round:morning"}

    lived(body)


def test_a_channel_that_fails_is_tried_again_and_what_became_of_it_is_kept() -> None:
    async def body(house: House) -> None:
        await house.put()
        house.begin(house.life())
        house.outside.standings["disk"] = Standing.UNKNOWN
        house.outside.failures = 2
        await asyncio.sleep(1.5 * HOUR)
        assert len(house.outside.told) == 1
        turn = (await house.life().show("ops"))["rounds"][0]["last"]
        assert turn["told"] == [{"channel": "team", "delivered": True, "detail": ""}]
        house.outside.failures = 1000
        await asyncio.sleep(DAY)
        turn = (await house.life().show("ops"))["rounds"][0]["last"]
        assert turn["told"] == [{"channel": "team", "delivered": False, "detail": "the hook is away"}]

    lived(body)


def test_another_document_of_the_name_takes_its_place_and_one_that_is_dropped_is_asked_no_more() -> None:
    async def body(house: House) -> None:
        await house.put()
        life = house.life()
        house.begin(life)
        await asyncio.sleep(2 * HOUR)
        await house.put(TEXT.replace('"09:00"', '"12:00"'))
        await asyncio.sleep(DAY)
        assert house.outside.names("disk") == ["01 09:00", "01 12:00"]
        await life.drop("ops", "kim", "over")
        count = len(house.outside.asked)
        await asyncio.sleep(2 * DAY)
        assert len(house.outside.asked) == count
        with pytest.raises(NotFound, match="there are no scheduled checks ops; there are none"):
            await life.show("ops")
        assert [note.what for note in await house.store.tokens.notes()] == ["unscheduled", "scheduled", "scheduled"]

    lived(body)


class Away:
    """A storage that can be made to fail."""

    def __init__(self, storage: ScheduleStorage) -> None:
        self._storage = storage
        self.is_away = False

    def __getattr__(self, name: str) -> Any:
        if self.is_away:
            raise StoreError("the store is away")
        return getattr(self._storage, name)


def test_while_the_store_is_away_nothing_is_asked_and_afterwards_what_was_missed_is() -> None:
    async def body(house: House) -> None:
        await house.put()
        storage = Away(house.store.schedules)
        house.begin(house.life("one", cast("ScheduleStorage", storage)))
        await asyncio.sleep(0.75 * HOUR)
        storage.is_away = True
        await asyncio.sleep(2 * HOUR)
        assert house.outside.names("disk") == []
        storage.is_away = False
        await asyncio.sleep(60.0)
        assert house.outside.names("disk") == ["01 10:45"]

    lived(body)


def test_a_round_that_takes_for_ever_is_ended_and_unknown() -> None:
    async def body(house: House) -> None:
        await house.put()
        house.outside.takes = 10 * HOUR
        house.begin(house.life())
        await asyncio.sleep(2 * HOUR)
        turn = (await house.life().show("ops"))["rounds"][0]["last"]
        assert turn["standing"] == "unknown"
        assert turn["checks"][0]["detail"] == "not answered within 30m"

    lived(body)


def test_a_clock_that_is_set_ahead_asks_once_and_one_that_is_set_back_asks_nothing_twice() -> None:
    async def body(house: House) -> None:
        await house.put()
        house.begin(house.life())
        await asyncio.sleep(0.75 * HOUR)
        house.clock.ahead = 2 * DAY
        await asyncio.sleep(60.0)
        assert house.outside.names("disk") == ["03 08:45"]
        house.clock.ahead = 0.0
        await asyncio.sleep(HOUR)
        assert len(house.outside.names("disk")) == 1

    lived(body)


def test_a_turn_is_shown_before_it_is_answered() -> None:
    async def body(house: House) -> None:
        await house.put()
        turn = Turn("ops", "morning", BEGIN + HOUR, "one", BEGIN + HOUR)
        await house.store.schedules.claim_turn(turn, 0.0)
        found = await house.life().show("ops")
        assert found["rounds"][0]["last"]["standing"] is None

    lived(body)
