"""Who follows a run hears what its journal grows by, and notices if something was too much for its queue."""

import asyncio
from collections.abc import Sequence

from orchestrator.core.events import HoldCleared
from orchestrator.following import MOST_WAITING, Followers, News, entries_after
from orchestrator.ports import Recorded


def grown(first: int, last: int) -> list[Recorded]:
    event = HoldCleared(hold="paused", item="ann")
    return [Recorded("r", seq, 1.0, event, "hash") for seq in range(first, last + 1)]


async def seen(news: News, after: int) -> Sequence[int]:
    async with asyncio.timeout(5.0):
        return [entry["seq"] async for entry in entries_after(after, news)]


async def test_each_hears_of_its_run_and_not_of_what_it_knows() -> None:
    followers = Followers()
    with followers.following("r") as news, followers.following("other") as others:
        followers.tell("r", grown(1, 3))
        followers.tell("r", [])
        assert await seen(news, after=1) == [2, 3]
        assert others.empty()


async def test_who_reads_too_slowly_stops_at_what_is_missing_and_still_hears_that_it_is_over() -> None:
    followers = Followers()
    with followers.following("r") as news:
        followers.tell("r", grown(1, MOST_WAITING + 1))
        assert await seen(news, after=0) == []
        followers.tell("r", grown(MOST_WAITING + 2, 2 * MOST_WAITING + 2))
        followers.end()
        assert await seen(news, after=2 * MOST_WAITING + 2) == []


async def test_nobody_is_told_who_has_left() -> None:
    followers = Followers()
    with followers.following("r") as news:
        pass
    followers.tell("r", grown(1, 1))
    assert news.empty()
