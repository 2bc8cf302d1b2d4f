"""A run's own time under a wall clock that is set, and what a run does while its store is away."""

import asyncio
from typing import cast

from orchestrator.core.commands import Command
from orchestrator.core.events import EffectRequested
from orchestrator.core.evidence import (
    MOST_JUMPS,
    Evidence,
    Gap,
    Jump,
    Progress,
    SeenAt,
    add_up,
    note_jump,
    note_seen,
    to_text,
)
from orchestrator.core.moment import Moment
from orchestrator.core.state import State
from orchestrator.errors import StoreError
from orchestrator.journal.memory import MemoryStore
from orchestrator.ports import Batch, Recorded
from orchestrator.run_time import Passed, RunTime
from tests.orchestrator.house import ANN, QUICK, House, eventually, submission
from tests.support.process import DEADLINE_SECONDS


class Hands:
    """A clock that tests move: the wall and what really passes."""

    def __init__(self) -> None:
        self.wall, self.passed = 1000.0, 0.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def move(self, wall: float, passed: float) -> None:
        self.wall += wall
        self.passed += passed


def test_a_clock_that_is_set_back_neither_stops_a_runs_time_nor_takes_it_back() -> None:
    hands = Hands()
    time = RunTime(hands, 0.0)
    hands.move(-590.0, 10.0)
    assert time.now() == 1010.0
    assert time.ahead_seconds == 600.0
    hands.move(10.0, 10.0)
    assert time.now() == 1020.0


def test_a_runs_time_follows_a_clock_that_is_set_ahead() -> None:
    hands = Hands()
    time = RunTime(hands, 0.0)
    hands.move(600.0, 10.0)
    assert time.now() == 1600.0
    assert time.ahead_seconds == 0.0


def test_what_a_clock_jumped_ahead_did_not_really_pass() -> None:
    hands = Hands()
    time = RunTime(hands, 0.0)
    hands.move(10.0, 10.0)
    assert time.passed() == Passed(1010.0, 10.0, 0.0)
    hands.move(600.0, 10.0)
    assert time.passed() == Passed(1610.0, 10.0, 590.0)
    hands.move(-590.0, 10.0)
    assert time.passed() == Passed(1620.0, 10.0, 0.0)


def test_of_what_lies_before_a_jump_it_is_taken_off_and_of_what_lies_after_it_is_not() -> None:
    evidence = note_jump(note_jump(Evidence(), Jump(50.0, 0.4)), Jump(100.0, 20.0))
    moment = Moment(cast("State", None), evidence, 130.0)
    assert (moment.passed_since(70.0), moment.passed_since(100.0)) == (40.0, 30.0)


def test_of_many_jumps_the_oldest_count_as_one() -> None:
    evidence = Evidence()
    for number in range(MOST_JUMPS + 5):
        evidence = note_jump(evidence, Jump(float(number), 2.0))
    assert len(evidence.jumps) == MOST_JUMPS
    assert sum(jump.seconds for jump in evidence.jumps) == 2.0 * (MOST_JUMPS + 5)


def test_a_new_life_begins_no_earlier_than_the_newest_event() -> None:
    time = RunTime(Hands(), 1700.0)
    assert time.now() == 1700.0
    assert time.ahead_seconds == 700.0


async def test_a_look_from_before_the_clock_was_set_back_is_not_newer_than_what_a_new_life_changes() -> None:
    house = House()
    looked_at = house.clock.now() + 100.0
    evidence = note_seen(Evidence(), "flag:production/beta", SeenAt(looked_at, {"state": "disabled"}))
    service = await house.move_in()
    run, _ = await service.start(submission(), ANN)
    await service.close(0.0)
    await house.store.save_evidence({run: (await house.store.take(run), to_text(evidence))})
    service = await house.move_in()
    runner = service.runners.get(run)
    assert runner is not None
    assert runner.time.now() >= looked_at
    await service.close(0.0)


def test_what_a_clock_jumps_ahead_is_no_bake() -> None:
    before = Progress("step", 40.0, 1000.0, counting=True)
    assert add_up(before, "step", True, 1025.0, Gap(35.0, 15.0)).seconds == 55.0


async def test_several_commands_at_once_to_a_run_that_is_over_are_all_answered(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(**QUICK), ANN)
    await eventually(service, run, outcome="promoted")
    await service.until_idle()
    await asyncio.sleep(0.05)
    answers = await asyncio.gather(
        *(service.command(run, Command.model_validate({"command": "ack", "key": key}), ANN) for key in "abc"),
        return_exceptions=True,
    )
    assert [answer for answer in answers if isinstance(answer, BaseException)] == []


class Shut(MemoryStore):
    """Takes no intents while it is *shut*."""

    def __init__(self) -> None:
        super().__init__()
        self.is_shut = True
        self.tried = asyncio.Event()

    async def append(self, batch: Batch) -> list[Recorded]:
        if self.is_shut and any(isinstance(event, EffectRequested) for event in batch.events):
            self.tried.set()
            raise StoreError("the disk is full")
        return await super().append(batch)


async def test_what_could_not_be_written_is_decided_anew_and_not_written_after_a_pause(house: House) -> None:
    store = house.store = Shut()
    service = await house.move_in()
    run, _ = await service.start(submission(**QUICK), ANN)
    async with asyncio.timeout(DEADLINE_SECONDS):
        await store.tried.wait()
    await service.command(run, Command.model_validate({"command": "pause", "reason": "the disk"}), ANN)
    store.is_shut = False
    await asyncio.sleep(1.2)  # longer than the store is left alone after it refused
    assert not any(isinstance(record.event, EffectRequested) for record in await store.read(run))
    await service.command(run, Command.model_validate({"command": "resume", "reason": "it is empty"}), ANN)
    await eventually(service, run, outcome="promoted")
