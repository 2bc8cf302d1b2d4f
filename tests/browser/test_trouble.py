"""Pages while something goes wrong: a controller that goes away, a token that ends, hostile names, no script."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.plans import baking, plan, rise
from tests.support.browser import PHONE, REASON, Desk

HTML = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
LONG = "a-name-that-never-ends-" * 11
LONGEST = LONG[:250]


def glance(page: Page) -> Any:
    return page.get_by_role("region", name="At a glance")


def test_a_page_whose_controller_goes_away_says_how_old_it_is_and_is_right_again_when_that_comes_back(
    desk: Desk,
) -> None:
    run = desk.start(baking("outage"))
    desk.wait_for(run, leg="baking")
    with desk.looking("olga", f"/runs/{run}") as page:
        expect(glance(page)).to_contain_text("5 %")
        desk.stop_controller()
        expect(page.get_by_role("status").filter(has_text="What you see is")).to_contain_text("old")
        expect(glance(page)).to_contain_text("5 %")
        desk.start_controller()
        desk.command(run, "pause")
        expect(glance(page)).to_contain_text(REASON)
        expect(page.get_by_text("What you see is")).to_have_count(0)
        assert page.url == f"{desk.url}/runs/{run}"


def test_the_list_says_so_too(desk: Desk) -> None:
    run = desk.start(baking("listed"))
    desk.wait_for(run, leg="baking")
    with desk.looking("vera") as page:
        expect(page.get_by_role("link", name=run)).to_be_visible()
        page.route("**/api/v1/**", lambda route: route.abort())
        expect(page.get_by_text("What you see is")).to_be_visible()
        expect(page.get_by_role("link", name=run)).to_be_visible()
        page.unroute_all()
        expect(page.get_by_text("What you see is")).to_have_count(0)


def test_who_has_a_token_no_more_is_told_so_and_where_to_sign_in(desk: Desk) -> None:
    made = desk.ask("POST", "/api/v1/tokens", {"name": "guest", "role": "operator"})
    run = desk.start(baking("left"))
    desk.wait_for(run, leg="baking")
    with desk.signed_in_with(made["secret"]) as context:
        page = desk.opened(context)
        page.goto(f"{desk.url}/runs/{run}")
        page.get_by_role("button", name="Pause", exact=True).click()
        desk.ask("DELETE", "/api/v1/tokens/guest", {"reason": "left the house"})
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Reason").fill(REASON)
        dialog.get_by_role("button", name="Pause").click()
        expect(dialog.get_by_role("alert")).not_to_be_empty()
        dialog.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("Your session is over")).to_be_visible()
        page.get_by_role("link", name="sign in again").click()
        expect(page.get_by_label("Token")).to_be_visible()
    assert desk.status(run)["holds"] == []


def test_html_in_names_and_reasons_is_text(desk: Desk) -> None:
    stage = rise(HTML, "hurt")
    text = plan("hurt", stage, flags=("hurt",), checks=[{"name": HTML, "manual": HTML}])
    run = desk.start(text)
    desk.wait_for(run, hold="manual")
    with desk.looking("anna", "/approvals") as page:
        expect(page.get_by_role("heading", name=HTML)).to_be_visible()
        page.goto(f"{desk.url}/runs/{run}")
        expect(page.get_by_text(HTML).first).to_be_visible()
        page.get_by_role("button", name="Pause", exact=True).click()
        page.get_by_role("dialog").get_by_label("Reason").fill(HTML)
        page.get_by_role("dialog").get_by_role("button", name="Pause").click()
        expect(page.get_by_role("list", name="Why nothing moves")).to_contain_text(HTML)
        for path in ("/", f"/runs/{run}/report"):
            page.goto(f"{desk.url}{path}")
            expect(page.get_by_text(HTML).first).to_be_visible()
            assert page.locator("img, main script").count() == 0
            assert "owned" not in page.title()


def renamed(route: Route, name_now: str) -> None:
    """What the controller says, with names that no plan of today may have."""
    answer = route.fetch()
    found = answer.json()
    for one in found if isinstance(found, list) else [found]:
        for name in ("run", "plan", "stage", "step", "environment", "owner", "author", "text", "item", "key", "by"):
            if isinstance(one.get(name), str):
                one[name] = name_now
        one["holds"] = [{"reason": "manual", "item": name_now, "since": None, "by": name_now, "detail": name_now}]
        one["percentages"] = {name_now: 5}
    route.fulfill(response=answer, body=json.dumps(found))


@pytest.mark.parametrize("name", (LONGEST, f"{HTML} plan"), ids=("of 250 characters", "of HTML"))
def test_strange_names_of_plans_runs_and_flags_are_all_there_and_push_nothing_out_of_a_phone(
    desk: Desk, name: str
) -> None:
    run = desk.start(baking(f"strange-{len(name)}"))
    desk.wait_for(run, leg="baking")
    with desk.looking("olga", "/check", size=PHONE) as page:
        for asked in ("runs?*", f"runs/{run}", "flags"):
            page.route(f"**/api/v1/{asked}", lambda route: renamed(route, name))
        for path in ("/", f"/runs/{run}", "/flags"):
            page.goto(f"{desk.url}{path}")
            expect(page.get_by_text(name).first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], path
            assert page.locator("img, main script").count() == 0
            assert page.title() != "owned"


def test_without_a_script_a_page_says_how_a_run_stands_and_takes_it_back(desk: Desk) -> None:
    run = desk.start(baking("plain"))
    desk.wait_for(run, leg="baking")
    with desk.looking("olga", java_script_enabled=False) as page:
        row = page.get_by_role("row").filter(has_text=run)
        expect(row).to_contain_text("running")
        row.get_by_role("link").click()
        expect(page.get_by_text("plain 5 %")).to_be_visible()
        page.get_by_role("link", name="Roll back").click()
        expect(page.get_by_text("flag plain in production", exact=True)).to_be_visible()
        page.get_by_label("Reason").fill("no script, and no patience")
        page.get_by_role("button", name="Roll back").click()
        page.wait_for_url(f"{desk.url}/runs/{run}")
    assert desk.wait_for(run, phase="ended")["outcome"] == "rolled_back"
    started = next(one for one in desk.journal(run) if one["type"] == "RollbackStarted")
    assert (started["by"], started["reason"]) == ("olga", "no script, and no patience")
