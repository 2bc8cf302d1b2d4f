"""What is drawn of a gate, whatever its criteria measured, and what is left when a view of ours breaks."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.plans import baking
from tests.support.browser import Desk

TIMES = [f"2026-03-01T12:{minute:02}:00.000Z" for minute in range(30)]
TESTED = {
    "evidence": {"against": 31.0, "holds_at": 20, "fails_at": 200.0, "excluded": 0.2, "excludes_at": 20},
    "trail": [{"at": at, "value": 0.02, "against": 1.2**index, "excluded": 0} for index, at in enumerate(TIMES)],
}
MEASURED = {
    "bounds": {"passes": {"op": "<", "at": 0.05}, "fails": {"op": ">", "at": 0.1}},
    "trail": [
        {"at": at, "value": "NaN" if index % 5 == 0 else index / 100, "against": None, "excluded": None}
        for index, at in enumerate(TIMES)
    ],
}
FLAT = {"trail": [{"at": at, "value": 0, "against": None, "excluded": None} for at in TIMES]}
BARE: dict[str, Any] = {"trail": []}
CRITERIA: dict[str, dict[str, Any]] = {"tested": TESTED, "measured": MEASURED, "flat": FLAT, "not measured": BARE}


@pytest.fixture(scope="module")
def run(desk: Desk) -> Iterator[str]:
    made = desk.start(baking("drawn"))
    desk.wait_for(made, leg="baking")
    yield made
    desk.end(made)


def gate() -> dict[str, Any]:
    common = {"verdict": "inconclusive", "value": 0.02, "sentence": "so it is", "at": TIMES[-1]}
    criteria = [{"name": name, **common, **more} for name, more in CRITERIA.items()]
    return {"name": "health", "verdict": "inconclusive", "on_fail": "rollback", "criteria": criteria}


def answering(page: Page, run: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The status of *run*, as *change* makes it, from the next time on."""

    def answer(route: Route) -> None:
        route.fulfill(json=change(route.fetch().json()))

    page.route(f"**/api/v1/runs/{run}", answer)


def test_each_criterion_is_drawn_against_its_bounds_and_told_to_who_sees_no_picture(desk: Desk, run: str) -> None:
    with desk.looking("vera") as page:
        answering(page, run, lambda status: {**status, "gate": gate()})
        page.goto(f"{desk.url}/runs/{run}")
        section = page.get_by_role("region", name="Gate health")
        expect(section.get_by_role("heading", name="not measured")).to_be_visible()
        tested = section.get_by_role("img", name="Evidence of tested over time: against the release 31")
        expect(tested.locator("canvas")).to_be_visible()
        expect(section.get_by_text("fails at 200")).to_be_visible()
        measured = section.get_by_role("img", name="measured over time: now 0.02; passes < 0.05; fails > 0.1")
        expect(measured.locator("canvas")).to_be_visible()
        expect(section.locator("canvas")).to_have_count(3)  # of what was not measured there is no picture
        section.get_by_text("As a table").first.click()
        expect(section.get_by_role("row").filter(has_text="12:29:00").first).to_contain_text("evidence")


def test_the_percentages_of_a_run_are_drawn_and_told(desk: Desk, run: str) -> None:
    with desk.looking("vera", f"/runs/{run}") as page:
        drawn = page.get_by_role("region", name="Percentages over time")
        expect(drawn.get_by_role("img", name="0 %, then 5 %").locator("canvas")).to_be_visible()


def test_a_view_that_breaks_says_so_and_leaves_the_way_to_others(desk: Desk, run: str) -> None:
    with desk.looking("vera") as page:
        answering(page, run, lambda status: {**status, "stages": 7})
        page.goto(f"{desk.url}/runs/{run}")
        expect(page.get_by_role("heading", name="This page broke")).to_be_visible()
        page.get_by_role("navigation").get_by_role("link", name="Flags").click()
        expect(page.get_by_role("heading", name="Flags", exact=True)).to_be_visible()
