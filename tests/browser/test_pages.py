"""The pages beside those of runs: what waits for people, flags and their kill switch, reports, and plans to check."""

import json

from playwright.sync_api import FilePayload, expect

from tests.browser.plans import baking, measured, waiting
from tests.support.browser import REASON, Desk

# --- approvals --------------------------------------------------------------------------------------------------------


def test_what_waits_for_me_comes_before_what_waits_for_others_who_are_named(desk: Desk) -> None:
    mine = desk.start(waiting("mine", by="sre"), "olga")
    theirs = desk.start(waiting("theirs", by="dba"), "olga")
    for run in (mine, theirs):
        desk.wait_for(run, hold="approval")
    with desk.looking("anna", "/approvals") as page:
        mine_here = page.get_by_role("article").filter(has_text=mine)
        expect(mine_here).to_contain_text("started by olga")
        expect(mine_here.get_by_role("link", name="See the run and its evidence")).to_have_attribute(
            "href", f"/runs/{mine}"
        )
        theirs_here = page.get_by_role("article").filter(has_text=theirs)
        expect(theirs_here).to_contain_text("approval:plan is for dba")
        expect(theirs_here.get_by_role("button")).to_have_count(0)
        mine_here.get_by_role("button", name="Approve").click()
        page.get_by_role("dialog").get_by_label("Reason").fill("seen")
        page.get_by_role("dialog").get_by_role("button", name="Approve").click()
        expect(mine_here).to_have_count(0)
    with desk.looking("vera", "/approvals") as page:
        expect(page.get_by_text("Nothing waits for you")).to_be_visible()
        expect(page.get_by_text("You can't answer this: dba may")).to_be_visible()
        expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)
    assert desk.wait_for(mine, leg="baking")["outcome"] is None


def test_a_reject_needs_a_reason_which_everybody_sees_while_the_run_holds(desk: Desk) -> None:
    run = desk.start(waiting("unwanted"), "olga")
    desk.wait_for(run, hold="approval")
    with desk.looking("anna", "/approvals") as page:
        page.get_by_role("article").filter(has_text=run).get_by_role("button", name="Reject").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Reject").click()
        expect(dialog).to_be_visible()
        dialog.get_by_label("Reason").fill("not on a Friday")
        dialog.get_by_role("button", name="Reject").click()
        expect(page.get_by_role("article").filter(has_text=run)).to_contain_text("Rejected by anna: not on a Friday")
    assert desk.status(run)["outcome"] is None
    given = [one for one in desk.journal(run) if one["by"] == "anna"]
    assert "not on a Friday" in json.dumps(given)


# --- flags ------------------------------------------------------------------------------------------------------------


def test_a_flag_is_changed_with_a_reason_that_stands_in_its_history(desk: Desk) -> None:
    desk.ask("PATCH", "/api/v1/flags/by-hand", {"percentage": 10, "state": "enabled", "reason": "to begin with"})
    with desk.looking("olga", "/flags") as page:
        row = page.get_by_role("row").filter(has_text="by-hand")
        expect(row).to_contain_text("10 %")
        row.get_by_role("button", name="Change").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Percentage").fill("12.5")
        dialog.get_by_label("Reason").fill("a little more")
        dialog.get_by_role("button", name="Change").click()
        expect(row).to_contain_text("12.5 %")
        row.get_by_role("button", name="History").click()
        expect(page.get_by_role("dialog")).to_contain_text("a little more")
        expect(page.get_by_role("dialog")).to_contain_text("percentage 12.5")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    assert desk.ask("GET", "/api/v1/flags/by-hand")["percentage"] == 12.5


def test_who_changes_the_flag_of_a_run_is_told_that_it_will_hold(desk: Desk) -> None:
    run = desk.start(baking("moved"))
    desk.wait_for(run, leg="baking")
    with desk.looking("olga", "/flags") as page:
        page.get_by_role("button", name="Change production/moved").click()
        expect(page.get_by_role("dialog")).to_contain_text(f"{run} moves this flag")
    with desk.looking("vera", "/flags") as page:
        expect(page.get_by_role("row").filter(has_text="moved").get_by_role("link", name=run)).to_be_visible()
        expect(page.get_by_role("button", name="Change")).to_have_count(0)
        expect(page.get_by_role("button", name="Turn every flag off")).to_have_count(0)


def test_the_kill_switch_is_thrown_in_two_clicks_and_lifted_after_a_look_at_what_returns(desk: Desk) -> None:
    desk.ask("PATCH", "/api/v1/flags/killed", {"percentage": 40, "state": "enabled", "reason": "to begin with"})
    with desk.looking("olga", "/flags") as page:
        page.get_by_role("button", name="Turn every flag off").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("killed (production, 40 %)")
        dialog.get_by_role("button", name="Turn every flag off").click()
        expect(page.get_by_role("heading", name="The kill switch is on")).to_be_visible()
        expect(page.get_by_role("row").filter(has_text="killed").first).to_contain_text("killed: off")
        expect(page.get_by_role("button", name="Lift")).to_have_count(0)
    assert desk.ask("GET", "/api/v1/flags/killed")["killed"]
    with desk.looking("anna", "/flags") as page:
        page.get_by_role("button", name="Lift it in all environments").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("production/killed returns to 40 %")
        dialog.get_by_label("Reason").fill("it was something else")
        dialog.get_by_role("button", name="Lift it").click()
        expect(page.get_by_role("heading", name="The kill switch is on")).to_have_count(0)
    assert not desk.ask("GET", "/api/v1/flags/killed")["killed"]


# --- reports ----------------------------------------------------------------------------------------------------------


def test_a_report_tells_what_happened_on_which_evidence_and_who_did_what(desk: Desk) -> None:
    desk.numbers.values["told"] = 1
    run = desk.start(measured("told", desk.numbers.url), "olga")
    desk.wait_for(run, leg="baking")
    desk.command(run, "pause", "olga")
    desk.numbers.values["told"] = 50
    desk.wait_for(run, outcome="rolled_back")
    with desk.looking("vera", f"/runs/{run}") as page:
        page.get_by_role("link", name="Report").click()
        expect(page.get_by_role("heading", name=f"Report of {run}")).to_be_visible()
        for table, words in (
            ("What happened", "gate health fails"),
            ("The evidence of decisions", "errors is 50, the alert level is > 20"),
            ("Who did what", REASON),
        ):
            expect(page.get_by_role("table", name=table)).to_contain_text(words)
        expect(page.get_by_text("it stays, disabled at 0 %").first).to_be_visible()
        page.emulate_media(media="print")
        expect(page.get_by_role("button", name="Print")).to_be_hidden()
        expect(page.get_by_role("navigation")).to_be_hidden()
        assert len(page.pdf()) > 1000


# --- plans ------------------------------------------------------------------------------------------------------------


def test_every_mistake_of_a_plan_is_told_at_its_place_and_leads_there(desk: Desk) -> None:
    text = json.dumps(json.loads(baking("wrong")), indent=1).replace('"bake"', '"bakes"').replace("25,", "250,")
    line = next(number for number, words in enumerate(text.splitlines(), 1) if "bakes" in words)
    with desk.looking("vera", "/check") as page:
        page.get_by_label("The plan", exact=True).fill(text)
        page.get_by_role("button", name="Check", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="2 things are wrong")).to_be_visible()
        row = page.get_by_role("row").filter(has_text="did you mean 'bake'?")
        expect(row).to_contain_text("spec.stages[0].bakes")
        row.get_by_role("button", name=f"line {line}, column").click()
        chosen = page.evaluate("() => getSelection().toString()")
        assert chosen.startswith('"bakes"')
        expect(page.get_by_role("button", name="Check, and ask")).to_have_count(0)


def test_a_valid_plan_is_said_to_be_with_its_warnings_and_what_it_would_meet(desk: Desk) -> None:
    desk.numbers.values["fine"] = 1
    with desk.looking("olga", "/check") as page:
        page.get_by_label("The plan", exact=True).fill(measured("fine", desk.numbers.url))
        page.get_by_role("button", name="Check, and ask the systems that it names").click()
        expect(page.get_by_role("status").filter(has_text="Plan fine is valid for production")).to_be_visible()
        expect(page.get_by_text("it does not exist yet; its stage creates it")).to_be_visible()
        expect(page.get_by_text("gate health, errors").first).to_be_visible()
    assert "fine" not in {one["plan"] for one in desk.ask("GET", "/api/v1/runs")}


def test_files_and_variables_that_a_plan_needs_can_come_along(desk: Desk) -> None:
    there: FilePayload = {"name": "there.sh", "mimeType": "text/plain", "buffer": b"exit 0"}
    text = baking("needy", checks=[{"name": "${WHO} is there", "command": ["./there.sh"]}])
    with desk.looking("vera", "/check") as page:
        page.get_by_label("The plan", exact=True).fill(text)
        page.get_by_role("button", name="Check", exact=True).click()
        expect(page.get_by_text("${WHO} is not defined")).to_be_visible()
        page.get_by_text("Files and variables that it needs").click()
        page.get_by_label("Values of").fill("WHO=ann")
        page.get_by_label("Files that the plan names").set_input_files(there)
        page.get_by_label("Path of file 1").fill("./there.sh")
        page.get_by_role("button", name="Check", exact=True).click()
        expect(page.get_by_text("Plan needy is valid")).to_be_visible()
