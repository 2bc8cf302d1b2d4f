"""Runs that wake at the same time have their turns one after the other; who has something to be told does not wait."""

import asyncio
import math
from unittest.mock import patch

import pytest

from orchestrator import runner
from orchestrator.core.commands import Command
from orchestrator.core.decide import Decision, conclude
from orchestrator.core.moment import Moment
from orchestrator.core.phases import CommandName
from orchestrator.ports import Scene
from orchestrator.turns import Turns
from stages.checks import Source
from stages.criteria.base import NOTHING_WANTED, Measurement, Wanted
from tests.orchestrator.house import ANN, House, eventually, submission
from tests.orchestrator.test_sharing import in_virtual_time
from tests.support.process import DEADLINE_SECONDS

MANY = 20


async def test_one_has_its_turn_in_each_round_of_the_loop_first_come_first_served() -> None:
    turns, rounds, came = Turns(), [0], list[tuple[int, int]]()

    async def take_a_turn(number: int) -> None:
        await turns.wait(asyncio.Event())
        came.append((rounds[0], number))

    waiting = [asyncio.create_task(take_a_turn(number)) for number in range(MANY)]
    while len(came) < MANY:
        rounds[0] += 1
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert [number for _, number in came] == list(range(MANY))
    at_once = [sum(one == number for one, _ in came) for number in range(rounds[0] + 1)]
    assert max(at_once) == 1


async def test_who_is_woken_otherwise_is_through_at_once_and_delays_nobody() -> None:
    turns, came = Turns(), list[int]()
    wakes = [asyncio.Event() for _ in range(MANY)]

    async def take_a_turn(number: int) -> None:
        await turns.wait(wakes[number])
        came.append(number)

    waiting = [asyncio.create_task(take_a_turn(number)) for number in range(MANY)]
    await asyncio.sleep(0)
    wakes[-1].set()
    await asyncio.gather(*waiting)
    assert came.index(MANY - 1) <= 1
    assert sorted(came) == list(range(MANY))


async def test_a_line_that_stands_still_lets_nobody_through_but_who_is_woken_otherwise() -> None:
    turns, wakes = Turns(), [asyncio.Event() for _ in range(3)]
    with turns.standing_still():
        first, second, third = (asyncio.create_task(turns.wait(wake)) for wake in wakes)
        wakes[1].set()
        await second
        for _ in range(MANY):
            await asyncio.sleep(0)
        assert not first.done()
        assert not third.done()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.gather(first, third)


async def test_who_comes_first_is_served_before_all_others_one_in_each_round_and_though_the_line_stands_still() -> None:
    turns, came = Turns(), list[str]()

    async def take_a_turn(name: str, *, comes_first: bool) -> None:
        await turns.wait(asyncio.Event(), comes_first=comes_first)
        came.append(name)

    with turns.standing_still():
        usual = [asyncio.create_task(take_a_turn(f"usual {number}", comes_first=False)) for number in range(2)]
        first = [asyncio.create_task(take_a_turn(f"first {number}", comes_first=True)) for number in range(2)]
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*first)
        assert came == ["first 0", "first 1"]
    later = asyncio.create_task(take_a_turn("first 2", comes_first=True))
    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.gather(*usual, later)
    assert came.index("first 2") < came.index("usual 1")


async def test_those_that_will_ask_the_same_have_their_turns_one_right_after_the_other() -> None:
    turns, came = Turns(), list[str]()

    async def take_a_turn(name: str) -> None:
        await turns.wait(asyncio.Event(), beside=name[0])
        came.append(name)

    waiting = [asyncio.create_task(take_a_turn(name)) for name in ("a1", "b1", "c1", "b2", "a2", "a3")]
    gone = asyncio.create_task(take_a_turn("a4"))
    await asyncio.sleep(0)
    gone.cancel()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.gather(*waiting)
    assert came == ["a1", "a2", "a3", "b1", "b2", "c1"]


async def test_who_comes_when_the_others_have_their_turn_keeps_nobody_waiting_who_was_there() -> None:
    turns, came = Turns(), list[str]()

    async def take_turns(name: str, most: int) -> None:
        for _ in range(most):
            await turns.wait(asyncio.Event(), beside=name[0])
            came.append(name)

    many = [asyncio.create_task(take_turns(f"a{number}", 100)) for number in range(3)]
    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.sleep(0)
        await take_turns("b", 1)
        assert len(came) <= 2 * len(many) + 1
        await asyncio.gather(*many)


@in_virtual_time
async def test_who_stood_in_line_until_a_look_was_late_asks_with_the_others_and_decides_once(house: House) -> None:
    asked, decided = list[float](), list[str]()
    gate = {"every": "15s", "criteria": [{"name": "errors", "query": "errors", "fail": "> 0.1"}]}
    measure = house.outside.measure

    async def measured(source: Source, scene: Scene, at: float, wanted: Wanted = NOTHING_WANTED) -> Measurement:
        asked.append(at)
        await asyncio.sleep(0.01)
        return await measure(source, scene, at, wanted)

    def concluded(moment: Moment) -> Decision:
        decided.append(moment.state.run)
        return conclude(moment)

    house.outside.measure = measured  # type: ignore[method-assign]
    stage = {"name": "open", "kind": "monitoring", "percentages": [50, 100], "bake": "1h", "gate": "health"}
    service = await house.move_in()
    names = ("one", "two", "three")
    for name in names:
        spec = {"gates": {"health": gate}, "stages": [{**stage, "flag": name}]}
        run, _ = await service.start(submission(name, name, name, **spec), ANN)
        await eventually(service, run, leg="baking")
        await asyncio.sleep(0.7)
    await asyncio.sleep(60.0)
    asked.clear()
    with patch.object(runner, "conclude", concluded):
        with service.runners.standing_still():
            await asyncio.sleep(20.0)
        assert asked == []
        await asyncio.sleep(1.0)
    assert len(asked) == len(names)
    assert len({math.floor(at) for at in asked}) == 1
    assert len(decided) == len(names)


async def test_who_leaves_the_line_leaves_it_to_the_others() -> None:
    turns = Turns()
    first, second = (asyncio.create_task(turns.wait(asyncio.Event())) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await second
    assert first.cancelled()


async def test_who_stands_in_line_only_later_keeps_nobody_waiting_and_has_its_turn_then() -> None:
    turns = Turns()
    much_later = asyncio.create_task(turns.wait(asyncio.Event(), after_seconds=3600.0))
    soon = asyncio.create_task(turns.wait(asyncio.Event(), after_seconds=0.001))
    async with asyncio.timeout(DEADLINE_SECONDS):
        await turns.wait(asyncio.Event())
        await soon
    assert not much_later.done()
    much_later.cancel()


async def test_a_command_is_carried_out_though_the_line_does_not_move(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(), ANN)
    await eventually(service, run, leg="baking")
    monkeypatch.setattr(Turns, "_wake_one", lambda self: None)
    await service.close(0)
    again = await house.move_in()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await again.command(run, Command(command=CommandName.PAUSE, reason="look"), ANN)
    assert [hold["reason"] for hold in (await again.status(run))["holds"]] == ["paused"]
