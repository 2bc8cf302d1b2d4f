"""Signing in to the pages: what a browser is given, what it must bring, and who is kept out."""

from typing import cast

import httpx
import pytest

from orchestrator.api.app import create_app
from orchestrator.api.credentials import FAILURES_BURST, Clocks, Credentials
from orchestrator.api.issued import FRESH_SECONDS
from orchestrator.api.sessions import LONGEST_SECONDS
from orchestrator.service import Service
from tests.orchestrator.api.browser import START, Browser, fields_of
from tests.orchestrator.api.fake_service import SECRETS, TOKENS, FakeService


async def test_who_has_no_session_is_shown_a_form_and_no_prompt(browser: Browser) -> None:
    answer = await browser.ask("GET", "/runs/search")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert fields_of(answer.text)["page"] == "/runs/search"
    assert "<script" not in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert "script-src" not in policy
    assert await browser.storage.notes() == []  # nobody was refused anything yet


async def test_signing_in_gives_a_cookie_that_is_this_host_s_alone_and_no_script_s(browser: Browser) -> None:
    answer = await browser.sign_in(SECRETS["viewer"], "/runs/search-a1b2c3")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/runs/search-a1b2c3")
    given = [one for one in answer.headers.get_list("set-cookie") if one.startswith("__Host-rollout=")]
    assert len(given) == 1
    words = {word.strip().lower() for word in given[0].split(";")[1:]}
    assert words == {"httponly", "path=/", "samesite=strict", "secure"}  # no Max-Age: it goes with the browser
    assert SECRETS["viewer"] not in str(answer.headers)
    page = await browser.ask("GET", "/runs/search-a1b2c3")
    assert page.status_code == 200
    assert "Signed in as viewer-person, viewer" in page.text


async def test_every_server_of_the_store_knows_the_session(browser: Browser) -> None:
    await browser.sign_in(SECRETS["viewer"])
    assert (await browser.ask("GET", "/", server=1)).status_code == 200


async def test_a_session_is_good_for_pages_and_what_they_ask_and_for_nothing_else(browser: Browser) -> None:
    await browser.sign_in(SECRETS["admin"])
    assert (await browser.ask("GET", "/api/v1/runs")).status_code == 200
    for path in ("/metrics", "/flags/v1/feed", "/flagd/v1/flags.json", "/ofrep/v1/events"):
        assert (await browser.ask("GET", path)).status_code == 401
    assert (await browser.ask("POST", "/ofrep/v1/evaluate/flags", json={})).status_code == 401


async def test_signing_out_ends_it_everywhere(browser: Browser) -> None:
    await browser.sign_in(SECRETS["viewer"])
    page = await browser.ask("GET", "/")
    kept = dict(browser.cookies)
    out = await browser.send("/sign-out", fields_of(page.text))
    assert (out.status_code, out.headers["Location"]) == (303, "/sign-in")
    assert "__Host-rollout" not in dict(browser.cookies)
    browser.cookies = httpx.Cookies(kept)  # somebody has a copy
    assert (await browser.ask("GET", "/", server=1)).status_code == 401


async def test_signing_in_again_ends_the_session_before(browser: Browser) -> None:
    await browser.sign_in(SECRETS["viewer"])
    kept = dict(browser.cookies)
    form = await browser.ask("GET", "/sign-in")
    answer = await browser.send("/sign-in", {**fields_of(form.text), "token": SECRETS["operator"]})
    assert answer.status_code == 303
    assert dict(browser.cookies)["__Host-rollout"] != kept["__Host-rollout"]
    browser.cookies = httpx.Cookies(kept)
    assert (await browser.ask("GET", "/")).status_code == 401


async def test_a_session_ends_with_its_token(browser: Browser) -> None:
    made = await browser.token()
    await browser.sign_in(made["secret"])
    assert (await browser.ask("GET", "/")).status_code == 200
    headers = {"Authorization": f"Bearer {SECRETS['admin']}"}
    await browser.ask("DELETE", f"/api/v1/tokens/{made['id']}", json={"reason": "it leaked"}, headers=headers)
    assert (await browser.ask("GET", "/")).status_code == 401
    browser.seconds += FRESH_SECONDS + 1
    assert (await browser.ask("GET", "/", server=1)).status_code == 401


async def test_a_session_ends_when_its_token_expires_and_after_half_a_day_at_most(browser: Browser) -> None:
    made = await browser.token(expires="2026-03-01T13:00:00Z")
    await browser.sign_in(made["secret"])
    browser.seconds = 3599
    assert (await browser.ask("GET", "/")).status_code == 200
    browser.seconds = 3600
    assert (await browser.ask("GET", "/")).status_code == 401
    await browser.sign_in(SECRETS["viewer"])
    browser.seconds += LONGEST_SECONDS - 1
    assert (await browser.ask("GET", "/")).status_code == 200
    browser.seconds += 1
    assert (await browser.ask("GET", "/")).status_code == 401


async def test_a_session_of_a_token_that_the_file_no_longer_has_is_over(service: FakeService, browser: Browser) -> None:
    await browser.sign_in(SECRETS["viewer"])
    other = create_app(cast(Service, service), Credentials(None, browser.storage), listen_is_loopback=False)
    browser.server(1)._transport = httpx.ASGITransport(app=other)
    assert (await browser.ask("GET", "/", server=1)).status_code == 401


async def test_a_wrong_token_is_said_written_down_and_counted(browser: Browser) -> None:
    answers = [await browser.sign_in("guess") for _ in range(FAILURES_BURST + 1)]
    assert [one.status_code for one in answers] == [*[401] * FAILURES_BURST, 429]
    assert '<p role="alert">This token is not known to this server.</p>' in answers[0].text
    assert answers[-1].headers["Retry-After"] == "2"
    assert "__Host-rollout" not in dict(browser.cookies)
    await browser.credentials[0].close()
    notes = await browser.storage.notes()
    assert {one.detail["path"] for one in notes} == {"/sign-in"}


async def test_a_form_of_another_site_changes_nothing(browser: Browser) -> None:
    form = fields_of((await browser.ask("GET", "/sign-in")).text)
    fields = {**form, "token": SECRETS["viewer"]}
    crossed = await browser.send("/sign-in", fields, headers={"Sec-Fetch-Site": "cross-site"})
    assert crossed.status_code == 403
    for wrong in ({"form": ""}, {"form": "0" * 64}, {"form": "\u20ac"}):
        assert (await browser.send("/sign-in", {**fields, **wrong})).status_code == 403
    browser.cookies = httpx.Cookies()  # SameSite: another site's request brings none
    assert (await browser.send("/sign-in", fields)).status_code == 403
    await browser.sign_in(SECRETS["viewer"])
    assert (await browser.send("/sign-out", {"form": form["form"]})).status_code == 403
    assert (await browser.send("/sign-out", {})).status_code == 403
    assert (await browser.ask("GET", "/")).status_code == 200


@pytest.mark.parametrize(
    "page",
    (
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/runs/../\\evil",
        "/api/v1/runs",
        "runs",
        "/runs/\r\nX: y",
    ),
)
async def test_after_signing_in_only_a_page_of_ours_is_gone_on_to(browser: Browser, page: str) -> None:
    form = fields_of((await browser.ask("GET", "/sign-in")).text)
    answer = await browser.send("/sign-in", {**form, "page": page, "token": SECRETS["viewer"]})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


async def test_what_is_typed_or_asked_for_is_escaped(browser: Browser) -> None:
    answer = await browser.ask("GET", "/runs/%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert answer.status_code == 401
    assert "<script" not in answer.text
    many = await browser.send("/sign-in", {f"f{number}": "x" for number in range(50)})
    assert many.status_code == 400


async def test_over_plain_http_the_cookie_has_a_name_that_is_no_promise(service: FakeService) -> None:
    browser = Browser(service, "http")
    await browser.sign_in(SECRETS["viewer"])
    assert "rollout" in dict(browser.cookies)
    assert (await browser.ask("GET", "/")).status_code == 200
    await browser.close()


@pytest.mark.parametrize("cookie", ("rollout=x", "__Host-rollout=", "__Host-rollout=\u00e9", "=;;=", "a" * 5000))
async def test_a_cookie_that_is_none_of_ours_is_nobody_s(browser: Browser, cookie: str) -> None:
    answer = await browser.ask("GET", "/", headers={"Cookie": cookie.encode("latin-1")})
    assert answer.status_code == 401


# --- how often --------------------------------------------------------------------------------------------------------


async def test_a_token_that_asks_too_often_waits_but_for_flags_and_the_kill_switch(service: FakeService) -> None:
    seconds = 0.0
    credentials = Credentials(TOKENS, requests_per_second=1, clocks=Clocks(lambda: START, lambda: seconds))
    app = create_app(cast(Service, service), credentials, listen_is_loopback=True)
    bearer = {"Authorization": f"Bearer {SECRETS['operator']}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://localhost", headers=bearer
    ) as client:
        answers = [(await client.get("/api/v1/runs")).status_code for _ in range(11)]
        assert answers == [*[200] * 10, 429]
        refused = await client.get("/api/v1/runs")
        assert refused.headers["Retry-After"] == "1"
        assert refused.json()["message"] == "operator-person asks too often; come again later."
        assert (await client.get("/flags/v1/feed")).status_code == 200
        assert (await client.post("/feature-flags/disable-all")).status_code == 200
        other = {"Authorization": f"Bearer {SECRETS['viewer']}"}
        assert (await client.get("/api/v1/runs", headers=other)).status_code == 200
        seconds += 1
        assert (await client.get("/api/v1/runs")).status_code == 200
