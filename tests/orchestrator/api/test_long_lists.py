"""Long journals go out a part at a time, and are the same JSON as if they went out at once."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi.responses import StreamingResponse

from orchestrator.api.encoding import AT_ONCE, encode, large_json, listed_json
from tests.orchestrator.api.fake_service import FakeService

ENTRIES = 2 * AT_ONCE + 1
API = "/api/v1/runs/search"


@pytest.fixture
def long(service: FakeService) -> FakeService:
    run = service.runs["search-a1b2c3"]
    while len(run.entries) < ENTRIES:
        service._append(run, "HoldSet", detail="ü", value=float("nan"))
    return service


@pytest.mark.parametrize(
    "content",
    (
        {},
        {"list": list(range(ENTRIES)), "empty": [], "none": None},
        {"a": {"b": [{"c": float("inf")}] * ENTRIES, "d": {}}, 'quoted"': "ü"},
        {"just": [1] * AT_ONCE, "more": [1] * (AT_ONCE + 1), "twice": [1] * 2 * AT_ONCE},
    ),
)
async def test_a_large_object_is_the_same_in_parts_as_at_once(content: dict[str, Any]) -> None:
    assert await _body(large_json(content)) == encode(content)


@pytest.mark.parametrize("pieces", ([], [[]], [[1, 2], [3]], [[], [{"a": float("nan")}], [], [2]]))
async def test_pieces_are_one_list(pieces: list[list[Any]]) -> None:
    async def each() -> AsyncIterator[list[Any]]:
        for piece in pieces:
            yield piece

    assert await _body(listed_json(each())) == encode([one for piece in pieces for one in piece])


async def test_between_two_parts_everybody_else_has_a_turn() -> None:
    parts, turns, others = large_json({"list": [0] * 10 * AT_ONCE}).body_iterator, 0, True

    async def somebody_else() -> None:
        nonlocal turns
        while others:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(somebody_else())
    sent = [part async for part in parts]
    others = False
    await other
    assert turns >= len(sent) > 10


@pytest.mark.parametrize("query", ("", "?after=1", f"?limit={AT_ONCE}", f"?limit={AT_ONCE + 1}", f"?after={ENTRIES}"))
async def test_a_long_journal_is_read_whole_or_in_parts(
    long: FakeService, admin: httpx.AsyncClient, query: str
) -> None:
    asked = dict(part.split("=") for part in query.removeprefix("?").split("&") if part)
    answer = await admin.get(f"{API}/events{query}")
    assert answer.headers["content-type"] == "application/json"
    wanted = await long.history("search-a1b2c3", int(asked.get("after", 0)), int(asked.get("limit", ENTRIES)))
    assert answer.content == encode(wanted)


async def test_the_report_of_a_long_run_has_every_entry(long: FakeService, admin: httpx.AsyncClient) -> None:
    report = json.loads((await admin.get(f"{API}/report")).content)
    assert [entry["seq"] for entry in report["history"]] == list(range(1, ENTRIES + 1))
    assert report["report"]["chain"]["entries"] == ENTRIES


async def _body(answer: StreamingResponse) -> bytes:
    return b"".join([bytes(part) async for part in answer.body_iterator])  # type: ignore[arg-type]
