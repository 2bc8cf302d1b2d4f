"""Runs that wake at the same time have their turns one after the other; who has something to be told does not wait."""

import asyncio

import pytest

from orchestrator.core.commands import Command
from orchestrator.core.phases import CommandName
from orchestrator.turns import Turns
from tests.orchestrator.house import ANN, House, eventually, submission
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
