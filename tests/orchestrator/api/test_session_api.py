"""What the cookie of a session may ask of the API, and what a change must bring beside it."""

import asyncio
from typing import Any, cast
from urllib.parse import urlencode

import httpx
import pytest

from orchestrator.api.app import create_app
from orchestrator.api.auth import takes_session
from orchestrator.api.context import Timing
from orchestrator.api.credentials import Credentials
from orchestrator.api.server import bind, serving, url_of
from orchestrator.journal.memory_tokens import MemoryTokens
from orchestrator.service import Service
from tests.orchestrator.api.browser import Browser, fields_of
from tests.orchestrator.api.fake_service import SECRETS, TOKENS, FakeService
from tests.orchestrator.api.matrix import MATRIX
from tests.support.process import DEADLINE_SECONDS

ASKED = tuple((method, path, body) for method, _, path, body, _ in MATRIX if takes_session(path))
READING = tuple(path for method, path, _ in ASKED if method == "GET")
CHANGING = tuple(one for one in ASKED if one[0] != "GET")
PAUSE = {"command": "pause", "reason": "a look"}
COMMANDS = "/api/v1/runs/search/commands"


async def form_token(browser: Browser) -> str:
    token: str = (await browser.ask("GET", "/api/v1/me")).json()["csrf"]
    return token


def test_the_table_has_both_kinds() -> None:
    assert len(READING) > 5
    assert {method for method, _, _ in CHANGING} == {"POST", "PATCH", "DELETE"}


@pytest.mark.parametrize("path", READING)
async def test_a_session_reads_whatever_its_role_may(browser: Browser, path: str) -> None:
    await browser.sign_in(SECRETS["admin"])
    assert (await browser.ask("GET", path)).status_code not in (401, 403, 405, 500)


@pytest.mark.parametrize(("method", "path", "body"), CHANGING)
async def test_a_session_changes_nothing_without_the_token_that_our_pages_know(
    browser: Browser, service: FakeService, method: str, path: str, body: Any
) -> None:
    await browser.sign_in(SECRETS["admin"])
    right = await form_token(browser)
    for headers in (
        {},
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "0" * 64},
        {"X-CSRF-Token": right, "Sec-Fetch-Site": "cross-site"},
        {"X-CSRF-Token": right, "Sec-Fetch-Site": "same-site"},  # another port of this host, another name of the domain
    ):
        answer = await browser.ask(method, path, json=body, headers=headers)
        assert answer.status_code == 403, headers
        assert answer.json()["error"] == "Forbidden"
    assert (service.asked, service.kills, service.lifts) == ([], [], [])
    answer = await browser.ask(method, path, json=body, headers={"X-CSRF-Token": right})
    assert answer.status_code not in (401, 403, 405, 500), answer.text


async def test_what_is_done_in_a_session_has_its_person_s_name_on_it(browser: Browser, service: FakeService) -> None:
    await browser.sign_in(SECRETS["operator"])
    headers = {"X-CSRF-Token": await form_token(browser), "Sec-Fetch-Site": "same-origin"}
    assert (await browser.ask("POST", COMMANDS, json=PAUSE, headers=headers)).status_code == 200
    assert [(run, command.reason, actor.name) for run, command, actor in service.asked] == [
        ("search-a1b2c3", "a look", "operator-person")
    ]


async def test_a_session_may_no_more_than_its_role(browser: Browser, service: FakeService) -> None:
    await browser.sign_in(SECRETS["viewer"])
    headers = {"X-CSRF-Token": await form_token(browser)}
    answer = await browser.ask("POST", COMMANDS, json=PAUSE, headers=headers)
    assert answer.status_code == 403
    assert "needs the role operator" in answer.json()["message"]
    assert service.asked == []


async def test_the_token_of_another_session_is_none(browser: Browser) -> None:
    await browser.sign_in(SECRETS["operator"])
    before = await form_token(browser)
    await browser.sign_in(SECRETS["operator"], "/sign-in")
    answer = await browser.ask("POST", COMMANDS, json=PAUSE, headers={"X-CSRF-Token": before})
    assert answer.status_code == 403


async def test_a_token_that_is_sent_counts_and_not_the_cookie_beside_it(browser: Browser) -> None:
    await browser.sign_in(SECRETS["viewer"])
    for secret, status in ((SECRETS["operator"], 200), ("nonsense", 401)):
        headers = {"Authorization": f"Bearer {secret}"}
        assert (await browser.ask("POST", COMMANDS, json=PAUSE, headers=headers)).status_code == status


async def test_every_server_of_the_store_takes_the_session_and_its_token(browser: Browser) -> None:
    await browser.sign_in(SECRETS["operator"])
    headers = {"X-CSRF-Token": await form_token(browser)}
    assert (await browser.ask("POST", COMMANDS, server=1, json=PAUSE, headers=headers)).status_code == 200


async def test_a_session_that_is_over_asks_nothing(browser: Browser) -> None:
    made = await browser.token("operator")
    await browser.sign_in(made["secret"])
    headers = {"X-CSRF-Token": await form_token(browser)}
    admin = {"Authorization": f"Bearer {SECRETS['admin']}"}
    await browser.ask("DELETE", f"/api/v1/tokens/{made['id']}", json={"reason": "it leaked"}, headers=admin)
    assert (await browser.ask("GET", "/api/v1/runs")).status_code == 401
    assert (await browser.ask("POST", COMMANDS, json=PAUSE, headers=headers)).status_code == 401


async def test_who_asks_is_told_as_whom_and_a_token_has_no_form(browser: Browser) -> None:
    headers = {"Authorization": f"Bearer {SECRETS['approver']}"}
    told = (await browser.ask("GET", "/api/v1/me", headers=headers)).json()
    assert told == {"name": "approver-person", "role": "approver", "groups": ["sre"], "csrf": None}


async def test_a_refused_change_is_written_down(browser: Browser) -> None:
    await browser.sign_in(SECRETS["admin"])
    await browser.ask("POST", "/feature-flags/disable-all")
    await browser.credentials[0].close()
    [note] = await browser.storage.notes()
    assert (note.detail["path"], note.detail["status"]) == ("/feature-flags/disable-all", 403)


async def test_a_stream_of_a_session_ends_when_somebody_signs_out(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.api.guard.FRESH_SECONDS", 0.0)
    credentials = Credentials(TOKENS, MemoryTokens())
    timing, bound = Timing(heartbeat_seconds=0.02), bind("127.0.0.1", 0)
    app = create_app(cast(Service, service), credentials, listen_is_loopback=True, timing=timing)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with serving(app, bound), httpx.AsyncClient(base_url=url_of(bound), trust_env=False, timeout=20) as client:
        fields = fields_of((await client.get("/sign-in")).text)
        await client.post("/sign-in", content=urlencode({**fields, "token": SECRETS["viewer"]}), headers=form)
        csrf = (await client.get("/api/v1/me")).json()["csrf"]
        events = "/api/v1/runs/search/events"
        async with client.stream("GET", events, headers={"Accept": "text/event-stream"}) as stream:
            received = stream.aiter_bytes()
            assert await anext(received)
            await client.post("/sign-out", content=urlencode({"form": csrf}), headers=form)
            async with asyncio.timeout(DEADLINE_SECONDS):
                async for _ in received:  # to its end, which is a clean one
                    pass
    await credentials.close()
