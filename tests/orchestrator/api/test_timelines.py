from collections.abc import AsyncIterator

import httpx

from orchestrator.api.timelines import MOST_KEPT, Timelines
from orchestrator.reading import PIECE_ENTRIES
from tests.orchestrator.api.fake_service import Entries, FakeService

PATH = "/api/v1/runs/search/timeline"


async def test_the_newest_entries_come_first_and_earlier_ones_page_by_page(
    service: FakeService, admin: httpx.AsyncClient
) -> None:
    for _ in range(10):
        await service.append("search-a1b2c3", "Paused")
    found = (await admin.get(f"{PATH}?limit=5")).json()
    assert [entry["seq"] for entry in found["entries"]] == [13, 12, 11, 10, 9]
    assert found["entries"][0]["what"] == "paused"
    assert found["has_earlier"] is True
    earlier = (await admin.get(f"{PATH}?limit=500&before=9")).json()
    assert [entry["seq"] for entry in earlier["entries"]] == list(range(8, 0, -1))
    assert earlier["has_earlier"] is False
    newer = (await admin.get(f"{PATH}?after=11")).json()
    assert [entry["seq"] for entry in newer["entries"]] == [13, 12]
    assert (await admin.get(f"{PATH}?after=13")).json()["entries"] == []


async def test_what_grew_since_the_last_time_is_read_on(service: FakeService, admin: httpx.AsyncClient) -> None:
    assert (await admin.get(PATH)).json()["seq"] == 3
    await service.append("search-a1b2c3", "Paused")
    found = (await admin.get(PATH)).json()
    assert (found["seq"], [mark["seq"] for mark in found["marks"]]) == (4, [4])


async def test_only_what_is_new_is_read_of_a_long_journal(service: FakeService) -> None:
    long = service.add("long-1", "long", entries=3 * PIECE_ENTRIES)
    asked: list[int] = []
    read = service.pieces

    async def pieces(run: str, after: int = 0, limit: int | None = None) -> AsyncIterator[Entries]:
        asked.append(after)
        async for piece in read(run, after, limit):
            yield piece

    service.pieces = pieces  # type: ignore[method-assign]
    timelines = Timelines()
    await timelines.shown(service, "long-1", 0, None, 10)  # type: ignore[arg-type]
    assert min(asked) == 0
    asked.clear()
    shown = await timelines.shown(service, "long-1", 0, None, 10)  # type: ignore[arg-type]
    assert min(asked) >= 3 * PIECE_ENTRIES - 10
    assert shown["seq"] == len(long.entries)


async def test_the_courses_that_nobody_asked_for_longest_are_forgotten(service: FakeService) -> None:
    timelines = Timelines()
    for number in range(MOST_KEPT + 5):
        service.add(f"run-{number}", f"plan-{number}", entries=1)
        await timelines.shown(service, f"run-{number}", 0, None, 10)  # type: ignore[arg-type]
    assert len(timelines._kept) == MOST_KEPT


async def test_a_page_of_a_journal_has_bounds(admin: httpx.AsyncClient) -> None:
    for query in ("limit=501", "limit=0", "before=0", "after=-1", "what=1"):
        assert (await admin.get(f"{PATH}?{query}")).status_code == 422
    assert (await admin.get("/api/v1/runs/nobody/timeline")).status_code == 404
