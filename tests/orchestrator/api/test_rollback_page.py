"""Rolling back from a page without a script."""

from typing import Any

import httpx
import pytest

from orchestrator.core.commands import Actor
from orchestrator.errors import Refused
from tests.orchestrator.api.browser import Browser, fields_of
from tests.orchestrator.api.fake_service import SECRETS, FakeService

RUN = "/runs/search-a1b2c3"
PAGE = f"{RUN}/rollback"
OFFER = {
    "command": "rollback", "stage": None, "with_schema": False, "refused": None,
    "returns": ["flag new-api"], "stays": ["the <schema> stays"],
}  # fmt: skip


class Offering(FakeService):
    """What may be asked is set by tests."""

    def __init__(self) -> None:
        super().__init__()
        self.offered: list[dict[str, Any]] = [OFFER]

    async def offers(self, run: str, actor: Actor) -> list[dict[str, Any]]:
        return self.offered if actor.role != "viewer" else []


@pytest.fixture
def service() -> Offering:
    service = Offering()
    service.add(entries=3)
    return service


async def test_the_page_says_what_comes_back_and_what_stays_and_is_not_fetched_again_while_one_types(
    browser: Browser,
) -> None:
    await browser.sign_in(SECRETS["operator"])
    page = (await browser.ask("GET", PAGE)).text
    assert "flag new-api" in page
    assert "the &lt;schema&gt; stays" in page
    assert "http-equiv" not in page
    assert f'href="{PAGE}"' in (await browser.ask("GET", RUN)).text


async def test_a_reason_and_the_button_roll_the_run_back(browser: Browser, service: Offering) -> None:
    await browser.sign_in(SECRETS["operator"])
    form = fields_of((await browser.ask("GET", PAGE)).text)
    answer = await browser.send(PAGE, {**form, "reason": " it hurts "})
    assert (answer.status_code, answer.headers["Location"]) == (303, RUN)
    [(run, command, actor)] = service.asked
    assert (run, command.command, command.reason, actor.name) == (
        "search-a1b2c3", "rollback", "it hurts", "operator-person",
    )  # fmt: skip
    assert command.with_schema is False
    again = await browser.send(PAGE, {**form, "reason": "it hurts"})  # the button was pressed twice
    assert again.status_code == 303
    assert len(service.asked) == 1


async def test_the_schema_comes_along_when_it_is_asked_for(browser: Browser, service: Offering) -> None:
    service.offered = [OFFER, {**OFFER, "with_schema": True}]
    await browser.sign_in(SECRETS["operator"])
    page = (await browser.ask("GET", PAGE)).text
    assert 'type="checkbox" name="with_schema"' in page
    await browser.send(PAGE, {**fields_of(page), "reason": "all of it", "with_schema": "yes"})
    assert service.asked[0][1].with_schema is True


async def test_a_form_of_another_site_rolls_nothing_back(browser: Browser, service: Offering) -> None:
    await browser.sign_in(SECRETS["operator"])
    form = {**fields_of((await browser.ask("GET", PAGE)).text), "reason": "it hurts"}
    for wrong, headers in (
        ({"form": ""}, {}),
        ({"form": "0" * 64}, {}),
        ({}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        assert (await browser.send(PAGE, {**form, **wrong}, headers=headers)).status_code == 403
    assert service.asked == []


async def test_who_is_not_signed_in_is_asked_to(browser: Browser, stranger: httpx.AsyncClient) -> None:
    for answer in (await browser.ask("GET", PAGE), await browser.send(PAGE, {})):
        assert answer.status_code == 401
        assert fields_of(answer.text)["page"] == PAGE
    on_loopback = await stranger.get(PAGE)
    assert on_loopback.status_code == 303
    form = await stranger.get(on_loopback.headers["Location"])
    assert fields_of(form.text)["page"] == PAGE


async def test_a_report_is_for_who_has_a_token_as_the_journal_is(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get(f"{RUN}/report")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in?page=%2Fruns%2Fsearch-a1b2c3%2Freport")


async def test_a_role_that_may_not_is_told_so(browser: Browser) -> None:
    await browser.sign_in(SECRETS["viewer"])
    page = (await browser.ask("GET", PAGE)).text
    assert "your role may not" in page
    assert "<button>Roll back" not in page


async def test_what_would_be_refused_says_why_and_has_no_button(browser: Browser, service: Offering) -> None:
    service.offered = [{**OFFER, "refused": "it is rolling back already"}]
    await browser.sign_in(SECRETS["operator"])
    page = (await browser.ask("GET", PAGE)).text
    assert "it is rolling back already" in page
    assert "<button>Roll back" not in page


@pytest.mark.parametrize("reason", ("", "  ", "x" * 4001))
async def test_a_reason_that_is_none_is_asked_for_again(browser: Browser, service: Offering, reason: str) -> None:
    await browser.sign_in(SECRETS["operator"])
    form = fields_of((await browser.ask("GET", PAGE)).text)
    answer = await browser.send(PAGE, {**form, "reason": reason})
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert "<button>Roll back" in answer.text
    assert service.asked == []


async def test_a_refusal_stands_on_the_page(
    browser: Browser, service: Offering, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> None:
        raise Refused("search is <ended>, and rollback makes no sense there")

    await browser.sign_in(SECRETS["operator"])
    form = fields_of((await browser.ask("GET", PAGE)).text)
    monkeypatch.setattr(service, "command", refuse)
    answer = await browser.send(PAGE, {**form, "reason": "it hurts"})
    assert answer.status_code == 409
    assert '<p role="alert">search is &lt;ended&gt;, and rollback makes no sense there</p>' in answer.text
