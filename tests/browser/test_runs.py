"""People before the list of runs and before one run: what they see while it moves, and what their buttons do."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.plans import baking, measured, waiting
from tests.support.browser import REASON, Desk
from tests.support.process import wait_until

ROLLBACK = "Roll back"


def press(page: Page, button: str, reason: str | None = REASON) -> None:
    """A command's button, then the same in the dialog that asks back."""
    page.get_by_role("button", name=button, exact=True).click()
    confirm(page, button, reason)


def confirm(page: Page, button: str, reason: str | None = REASON) -> None:
    dialog = page.get_by_role("dialog")
    if reason is not None:
        dialog.get_by_label("Reason").fill(reason)
    dialog.get_by_role("button", name=button, exact=True).click()


def buttons(page: Page) -> list[str]:
    return page.get_by_role("main").get_by_role("button").all_inner_texts()


def test_a_run_appears_in_an_open_list_and_moves_there(desk: Desk) -> None:
    with desk.looking("vera") as page:
        expect(page.get_by_role("heading", name="Runs")).to_be_visible()
        run = desk.start(baking("appearing"))
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=run))
        expect(row).to_contain_text("running")
        expect(row).to_contain_text("5 %")
        desk.command(run, "pause")
        expect(row).to_contain_text("held")
        desk.command(run, "rollback")
        expect(row).to_contain_text("rolled back")
        row.get_by_role("link").click()
        expect(page.get_by_role("heading", name=run)).to_be_visible()


def test_the_page_of_a_run_follows_it_and_its_evidence(desk: Desk) -> None:
    desk.numbers.values["followed"] = 1
    run = desk.start(measured("followed", desk.numbers.url))
    desk.wait_for(run, leg="baking")
    with desk.looking("vera", f"/runs/{run}") as page:
        glance = page.get_by_role("region", name="At a glance")
        expect(glance).to_contain_text("bakes")
        expect(page.get_by_text("errors is 1, < 5 holds")).to_be_visible()
        desk.numbers.values["followed"] = 10
        expect(glance).to_contain_text("between the target")
        desk.numbers.values["followed"] = 50
        expect(glance).to_contain_text("rolled back")
        expect(glance).to_contain_text("errors is 50, the alert level is > 20")
        assert buttons(page) == []


def test_a_pause_from_the_page_holds_the_run_with_name_and_reason_in_the_journal(desk: Desk) -> None:
    run = desk.start(baking("paused"))
    desk.wait_for(run, leg="baking")
    with desk.looking("olga", f"/runs/{run}") as page:
        press(page, "Pause", "the office is on fire")
        expect(page.get_by_role("list", name="Why nothing moves")).to_contain_text("the office is on fire")
        press(page, "Resume", "it is out")
        expect(page.get_by_role("list", name="Why nothing moves")).to_have_count(0)
    told = [(one["type"], one["by"], one["reason"]) for one in desk.journal(run) if one["by"] == "olga"]
    assert told == [("Paused", "olga", "the office is on fire"), ("Resumed", "olga", "it is out")]


def test_who_rolls_back_is_shown_before_what_comes_back_and_after_that_it_did(desk: Desk) -> None:
    run = desk.start(baking("back"))
    desk.wait_for(run, leg="baking")
    with desk.looking("olga", f"/runs/{run}") as page:
        page.get_by_role("button", name=ROLLBACK, exact=True).click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("flag back in production")
        expect(dialog).to_contain_text("it stays, disabled at 0 %")
        confirm(page, ROLLBACK, "errors in the support channel")
        expect(page.get_by_role("region", name="At a glance")).to_contain_text(
            "olga asked for it: errors in the support"
        )
        expect(page.get_by_role("heading", name=run)).to_be_visible()
    assert desk.wait_for(run, phase="ended")["outcome"] == "rolled_back"
    started = next(one for one in desk.journal(run) if one["type"] == "RollbackStarted")
    assert (started["by"], started["reason"]) == ("olga", "errors in the support channel")


def test_nothing_is_done_without_a_reason_and_nothing_by_cancelling(desk: Desk) -> None:
    run = desk.start(baking("thought"))
    desk.wait_for(run, leg="baking")
    before = len(desk.journal(run))
    with desk.looking("olga", f"/runs/{run}") as page:
        press(page, ROLLBACK, None)
        expect(page.get_by_role("dialog")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
    assert len(desk.journal(run)) == before


def test_an_approval_on_the_page_lets_the_run_begin(desk: Desk) -> None:
    run = desk.start(waiting("approved"), "olga")
    desk.wait_for(run, hold="approval")
    with desk.looking("anna", f"/runs/{run}") as page:
        press(page, "Approve approval:plan", "looked at it")
        expect(page.get_by_role("region", name="At a glance")).to_contain_text("5 %")
    given = next(one for one in desk.journal(run) if one["by"] == "anna")
    assert given["reason"] == "looked at it" or given["data"].get("note") == "looked at it"


@pytest.mark.parametrize("path", ("", "/report"))
def test_who_may_only_look_has_no_button_that_changes_anything(desk: Desk, path: str) -> None:
    run = desk.start(waiting(f"looked{len(path)}"), "olga")
    desk.wait_for(run, hold="approval")
    with desk.looking("vera", f"/runs/{run}{path}") as page:
        expect(page.get_by_text("approval of plan").first).to_be_visible()
        assert set(buttons(page)) <= {"Print"}


def test_of_two_people_who_press_opposite_buttons_the_second_is_told_what_the_first_did(desk: Desk) -> None:
    run = desk.start(waiting("disputed"), "olga")
    desk.wait_for(run, hold="approval")
    with desk.looking("anna", f"/runs/{run}") as first, desk.looking("carl", f"/runs/{run}") as second:
        for page, answer in ((first, "Approve approval:plan"), (second, "Reject approval:plan")):
            page.get_by_role("button", name=answer, exact=True).click()
            page.get_by_role("dialog").get_by_label("Reason").fill("I know better")
        confirm(first, "Approve approval:plan", None)
        desk.wait_for(run, leg="baking")
        confirm(second, "Reject approval:plan", None)
        expect(second.get_by_role("dialog").get_by_role("alert")).to_contain_text("was approved already, by anna")
        expect(second.get_by_role("region", name="At a glance")).to_contain_text("5 %")
    assert desk.status(run)["outcome"] is None


def test_the_button_of_a_page_that_heard_nothing_since_is_refused_with_what_would_work(desk: Desk) -> None:
    run = desk.start(baking("stale"))
    desk.wait_for(run, leg="baking")
    with desk.looking("olga", f"/runs/{run}") as page:
        page.get_by_role("button", name="Pause", exact=True).click()
        page.route("**/api/v1/runs/*/events*", lambda route: route.abort())
        page.route("**/api/v1/runs/*", lambda route: route.abort())
        desk.command(run, "rollback")
        desk.wait_for(run, phase="ended")
        confirm(page, "Pause")
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("ended")


def test_a_command_that_is_sent_again_is_carried_out_once(desk: Desk) -> None:
    run = desk.start(baking("twice"))
    desk.wait_for(run, leg="baking")
    lost: list[str] = []
    with desk.looking("olga", f"/runs/{run}") as page:

        def lose_the_first_answer(route: object) -> None:
            if not lost:
                lost.append(route.fetch().text())  # type: ignore[attr-defined]
                route.abort()  # type: ignore[attr-defined]
            else:
                route.continue_()  # type: ignore[attr-defined]

        page.route(
            "**/commands",
            lambda route: lose_the_first_answer(route) if route.request.method == "POST" else route.continue_(),
        )
        press(page, "Pause")
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("can't be reached")
        confirm(page, "Pause", None)
        expect(page.get_by_role("dialog")).to_have_count(0)
    wait_until(lambda: desk.status(run)["holds"], what="the pause")
    assert [one["type"] for one in desk.journal(run)].count("Paused") == 1
