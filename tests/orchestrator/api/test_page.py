import base64
import hashlib
import re

import httpx

from tests.orchestrator.api.fake_service import FakeService

HURT = "<script>alert(1)</script>"


async def test_the_page_shows_runs_where_they_stand_and_what_holds_them(
    service: FakeService, stranger: httpx.AsyncClient
) -> None:
    service.runs["search-a1b2c3"].holds.append({"reason": "inconclusive", "detail": "no data for 3 m"})
    service.add("payments-1", "payments")
    await service.append("payments-1", "RunEnded", outcome="rolled_back")
    answer = await stranger.get("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    for text in ("search-a1b2c3", "running", "new-api 25 %", "inconclusive: no data for 3 m", "rolled_back"):
        assert text in answer.text


async def test_everything_on_the_page_is_escaped(service: FakeService, stranger: httpx.AsyncClient) -> None:
    run = service.add("payments-1", HURT)
    run.holds.append({"reason": HURT, "detail": '"><img src=x onerror=alert(1)>'})
    page = (await stranger.get("/")).text
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;") == 2


async def test_the_policy_of_the_page_allows_its_own_style_and_nothing_else(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/")
    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = answer.headers["Content-Security-Policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


async def test_an_empty_page_says_how_to_begin(service: FakeService, stranger: httpx.AsyncClient) -> None:
    service.runs.clear()
    assert "rollout start plan.yaml" in (await stranger.get("/")).text
