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


async def test_a_run_has_a_page_with_the_evidence_of_its_gate_as_it_grew(
    service: FakeService, stranger: httpx.AsyncClient
) -> None:
    trail = [{"at": f"2026-03-01T12:00:{second:02}.000Z", "against": 1.0 + second} for second in (0, 15, 30)]
    bounds = {"against": 31.0, "holds_at": 20, "fails_at": 100.0, "excluded": None, "excludes_at": 20}
    criterion = {"name": HURT, "verdict": "inconclusive", "sentence": "31 to 1", "evidence": bounds, "trail": trail}
    service.runs["search-a1b2c3"].gate = {"name": "health", "verdict": "inconclusive", "criteria": [criterion]}
    answer = await stranger.get("/runs/search-a1b2c3")
    assert answer.status_code == 200
    assert "<svg" in answer.text
    assert "31 to 1" in answer.text
    assert "<script" not in answer.text
    assert "style-src 'sha256-" in answer.headers["Content-Security-Policy"]
    assert 'href="/runs/search-a1b2c3"' in (await stranger.get("/")).text


async def test_a_run_that_is_named_by_its_plan_is_gone_on_to(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/runs/search")
    assert (answer.status_code, answer.headers["Location"]) == (307, "/runs/search-a1b2c3")


async def test_the_flags_and_what_waits_have_pages_too(service: FakeService, stranger: httpx.AsyncClient) -> None:
    flags = (await stranger.get("/flags")).text
    assert "team/share" in flags
    assert "Nothing waits." in (await stranger.get("/approvals")).text
    assert "rollout validate" in (await stranger.get("/check")).text
    assert 'href="/sign-in?page=%2Fflags"' in flags


async def test_the_page_of_a_run_that_is_not_there_is_not_found(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/runs/nobody-000000")
    assert (answer.status_code, answer.json()["error"]) == (404, "NotFound")
    browsers = await stranger.get("/runs/nobody-%3Cb%3E", headers={"Accept": "text/html,*/*;q=0.8"})
    assert browsers.status_code == 404
    assert '<p role="alert">there is no run nobody-&lt;b&gt;</p>' in browsers.text
    assert "default-src 'none'" in browsers.headers["Content-Security-Policy"]
    api = await stranger.get("/nothing", headers={"Accept": "text/html"})
    assert api.json()["error"] == "Unauthorized"
