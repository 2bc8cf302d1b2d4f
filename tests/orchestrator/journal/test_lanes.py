import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from orchestrator.errors import StoreError
from orchestrator.journal.sqlite.lanes import Call, Lane, Result


def each(calls: Sequence[Call]) -> list[Result]:
    results: list[Result] = []
    for call in calls:
        try:
            results.append((call(), None))
        except ValueError as problem:
            results.append((None, problem))
    return results


def nothing() -> None:
    return


def failing() -> None:
    raise ValueError("no")


async def ended(lane: Lane) -> bool:
    lane.finish()
    return await asyncio.to_thread(lane.join, 5)


async def test_calls_are_made_in_order_and_each_gets_its_own_answer() -> None:
    lane = Lane("lane", each, nothing)
    order: list[int] = []

    def numbered(number: int) -> Callable[[], int]:
        def call() -> int:
            order.append(number)
            return number

        return call

    assert await asyncio.gather(*(lane.do(numbered(number)) for number in range(50))) == list(range(50))
    assert order == list(range(50))
    with pytest.raises(ValueError, match="no"):
        await lane.do(failing)
    assert await ended(lane)


async def test_work_that_breaks_down_is_told_to_everyone_in_the_group_and_the_lane_goes_on() -> None:
    broken = [True]

    def work(calls: Sequence[Call]) -> list[Result]:
        if broken.pop() if broken else False:
            raise RuntimeError("broke down")
        return each(calls)

    lane = Lane("lane", work, nothing)
    with pytest.raises(RuntimeError, match="broke down"):
        await lane.do(lambda: 1)
    assert await lane.do(lambda: 2) == 2
    assert await ended(lane)


async def test_a_full_lane_makes_callers_wait_and_loses_none() -> None:
    may_go = threading.Event()
    lane = Lane("lane", each, nothing, most_waiting=2)
    first = asyncio.create_task(lane.do(lambda: may_go.wait(5)))
    others = [asyncio.create_task(lane.do(lambda: 7)) for _ in range(20)]
    given_up = asyncio.create_task(lane.do(lambda: 8))
    await asyncio.sleep(0)
    assert lane._queue.qsize() <= 2
    given_up.cancel()
    may_go.set()
    assert await first
    assert await asyncio.gather(*others) == [7] * 20
    assert await asyncio.gather(*(lane.do(lambda: 9) for _ in range(5))) == [9] * 5  # no place was lost
    assert await ended(lane)


async def test_no_group_is_larger_than_allowed() -> None:
    sizes: list[int] = []

    def work(calls: Sequence[Call]) -> list[Result]:
        sizes.append(len(calls))
        return each(calls)

    lane = Lane("lane", work, nothing, most_together=3)
    await asyncio.gather(*(lane.do(lambda: 1) for _ in range(20)))
    assert sum(sizes) == 20
    assert max(sizes) <= 3
    assert await ended(lane)


async def test_finishing_lets_the_queue_run_empty_then_ends_the_thread() -> None:
    end: list[str] = []
    lane = Lane("lane", each, lambda: end.append("end"), most_together=2)
    waiting = [asyncio.create_task(lane.do(lambda: 1)) for _ in range(7)]
    await asyncio.sleep(0)
    assert await ended(lane)
    assert await asyncio.gather(*waiting) == [1] * 7
    assert end == ["end"]
    with pytest.raises(StoreError, match="lane is closed"):
        await lane.do(lambda: 1)


async def test_a_cancelled_caller_leaves_the_call_to_the_lane() -> None:
    may_go, done = threading.Event(), threading.Event()
    lane = Lane("lane", each, nothing)
    held = asyncio.create_task(lane.do(lambda: may_go.wait(5)))
    task = asyncio.create_task(lane.do(done.set))
    await asyncio.sleep(0)
    task.cancel()
    may_go.set()
    await held
    assert await ended(lane)
    assert done.is_set()


def test_a_loop_that_has_ended_meanwhile_does_not_stop_the_lane() -> None:
    may_go = threading.Event()
    lanes: list[Lane] = []

    async def abandon() -> None:
        lanes.append(Lane("lane", each, nothing))
        task = asyncio.create_task(lanes[0].do(lambda: may_go.wait(5)))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(abandon())
    may_go.set()
    assert asyncio.run(lanes[0].do(lambda: 3)) == 3
    lanes[0].finish()
    assert lanes[0].join(5)
