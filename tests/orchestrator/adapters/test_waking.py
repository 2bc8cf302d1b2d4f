"""A loop that is looked at after each wait, before anything that became ready is run."""

import asyncio

from orchestrator.adapters.waking import WakingLoop, after_waits


def test_the_look_comes_before_what_became_ready_in_the_wait() -> None:
    done: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.01, done.append, "a timer")
        after_waits(lambda: done.append("a look"))
        await asyncio.sleep(0.02)

    with asyncio.Runner(loop_factory=WakingLoop) as runner:
        runner.run(main())
    assert done[done.index("a timer") - 1] == "a look"


def test_what_the_look_cancels_does_nothing_more_though_its_answer_is_there() -> None:
    done: list[str] = []

    async def main() -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def call() -> None:
            await answer
            done.append("the next call")

        task = asyncio.create_task(call())
        await asyncio.sleep(0)
        after_waits(task.cancel)
        answer.set_result(None)
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    with asyncio.Runner(loop_factory=WakingLoop) as runner:
        runner.run(main())
    assert done == []


async def test_another_loop_is_left_as_it_is() -> None:
    after_waits(lambda: None)
