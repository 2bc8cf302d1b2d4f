"""Who waits in line before a server is not late, as long as the line moves."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.prometheus import REQUESTS_PER_SERVER, PrometheusClient
from orchestrator.adapters.prometheus.line import Line, Patience, until
from orchestrator.adapters.secrets import Secrets
from stages.criteria.base import MeasurementState
from tests.support.http_server import Received, ScriptedServer, answer_json

LIMIT_SECONDS = 0.2
LONG_SECONDS = 4 * LIMIT_SECONDS
AT = 1_700_000_000.0


@pytest_asyncio.fixture
async def client() -> AsyncIterator[PrometheusClient]:
    client = PrometheusClient(HttpClient(Secrets()))
    yield client
    await client.close()


async def test_a_line_that_moves_is_waited_in_for_longer_than_an_answer_may_take() -> None:
    line = Line(1)
    async with line.place(LIMIT_SECONDS):
        second = asyncio.create_task(_stand_in(line))
        for _ in range(8):
            await asyncio.sleep(LIMIT_SECONDS / 2)
            line.moved()
        assert not second.done()
    assert await second


async def test_who_has_waited_for_long_is_not_overtaken_by_who_comes_later() -> None:
    line, served = Line(1), list[str]()

    async def stand_in(name: str) -> None:
        async with line.place(LIMIT_SECONDS):
            served.append(name)

    standing = []
    async with line.place(LIMIT_SECONDS):
        for name in ("first", "second", "third"):
            standing.append(asyncio.create_task(stand_in(name)))
            for _ in range(5):
                await asyncio.sleep(LIMIT_SECONDS / 3)
                line.moved()
    await asyncio.gather(*standing)
    assert served == ["first", "second", "third"]


async def test_a_place_that_is_given_to_somebody_who_leaves_is_given_on() -> None:
    line = Line(1)
    async with line.place(LIMIT_SECONDS):
        leaving = asyncio.create_task(_stand_in(line))
        await asyncio.sleep(0)
    leaving.cancel()  # it has been given its place, and does not know yet
    await asyncio.gather(leaving, return_exceptions=True)
    assert leaving.cancelled()
    assert await _stand_in(line)


async def test_a_line_in_which_nobody_is_answered_is_left_in_time() -> None:
    line = Line(1)
    line.moved()  # before anybody waited
    async with line.place(LIMIT_SECONDS):
        with pytest.raises(TimeoutError):
            await _stand_in(line)


async def test_a_place_is_free_again_after_an_error() -> None:
    line = Line(1)
    with pytest.raises(ValueError, match="broken"):
        async with line.place(LIMIT_SECONDS):
            raise ValueError("broken")
    assert await _stand_in(line)


async def test_a_look_may_take_what_it_may_take_beside_its_waits_in_line() -> None:
    begun = [asyncio.Event(), asyncio.Event()]
    for number, one in enumerate(begun, start=1):
        asyncio.get_running_loop().call_later(number * LONG_SECONDS, one.set)
    async with Patience(LIMIT_SECONDS):
        await asyncio.gather(*map(until, begun))
    with pytest.raises(TimeoutError):
        await _take_long()


async def test_a_look_that_is_cancelled_in_line_is_only_cancelled() -> None:
    async def look() -> None:
        async with Patience(LIMIT_SECONDS):
            await until(asyncio.Event())

    looking = asyncio.create_task(look())
    await asyncio.sleep(0)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking


async def test_of_a_server_that_answers_one_after_the_other_nobody_says_that_it_is_late(
    client: PrometheusClient,
) -> None:
    """All of them together take longer than the time limit of each."""
    one_at_a_time, questions, limit_seconds = asyncio.Lock(), 4 * REQUESTS_PER_SERVER, 3

    async def slowly(received: Received, writer: asyncio.StreamWriter) -> None:
        async with one_at_a_time:
            await asyncio.sleep(1.4 * limit_seconds / questions)
        await answer_json({"status": "success", "data": {"resultType": "scalar", "result": [AT, "1"]}})(
            received, writer
        )

    async with ScriptedServer() as server:
        server.behave(slowly)
        asked = {"url": server.url, "timeout": f"{limit_seconds}s", "scrape_interval": "15s"}
        looks = (client.measure(f"sum(up) + {number}", asked, AT) for number in range(questions))
        states = {one.state for one in await asyncio.gather(*looks)}
    assert states == {MeasurementState.OK}


async def _take_long() -> None:
    async with Patience(LIMIT_SECONDS):
        await asyncio.sleep(LONG_SECONDS)


async def _stand_in(line: Line) -> bool:
    async with line.place(LIMIT_SECONDS):
        return True
