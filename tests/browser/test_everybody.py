"""The pages for people who see little, have a telephone, or no mouse; and how far it is from alert to rolled back."""

from dataclasses import dataclass
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.plans import baking, measured, plan, rise, waiting
from tests.support.browser import PHONE, Desk

MOST_TABS = 60
COLOURS: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@dataclass(frozen=True)
class Scene:
    """Runs in every state that looks different: the names of those that are looked at."""

    failing: str
    back: str
    asked: str


@pytest.fixture(scope="module")
def scene(desk: Desk) -> Scene:
    desk.numbers.values |= {"failing": 1, "back": 1}
    failing = desk.start(measured("failing", desk.numbers.url))
    back = desk.start(measured("back", desk.numbers.url))
    many = [rise(f"stage-{number}", "many", number) for number in range(1, 13)]
    desk.start(plan("many", *many, flags=("many",)))
    asked = desk.start(waiting("asked"), "olga")
    for run in (failing, back):
        desk.wait_for(run, leg="baking")
    desk.numbers.values |= {"failing": 10, "back": 50}
    desk.wait_for(failing, hold="inconclusive")
    desk.wait_for(back, phase="ended")
    desk.wait_for(asked, hold="approval")
    return Scene(failing, back, asked)


def pages_of(scene: Scene) -> list[str]:
    runs = (scene.failing, scene.back, scene.asked)
    return ["/", *(f"/runs/{run}" for run in runs), f"/runs/{scene.back}/report", "/approvals", "/flags", "/check"]


def shown(page: Page) -> None:
    """Until it has what it asked for."""
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator(".empty:visible", has_text="Loading…")).to_have_count(0)


def barriers(page: Page, axe: str, *, but: tuple[str, ...] = ()) -> list[str]:
    """What axe finds, without the rules that *but* names."""
    page.evaluate(axe)
    rules = {rule: {"enabled": False} for rule in but}
    found = page.evaluate("async (rules) => (await axe.run({ rules })).violations", rules)
    return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


def test_no_page_has_a_barrier_in_light_or_in_dark(desk: Desk, scene: Scene, axe: str) -> None:
    found: dict[str, list[str]] = {}

    def look(at: str) -> None:
        for colours in COLOURS:
            page.emulate_media(color_scheme=colours, reduced_motion="reduce")  # colours that turn are seen half-way
            found[f"{at}, {colours}"] = barriers(page, axe)

    with desk.looking("anna", f"/runs/{scene.failing}") as page:
        page.get_by_role("button", name="Roll back", exact=True).click()
        look("the dialog of a rollback")
        for path in pages_of(scene):
            page.goto(f"{desk.url}{path}")
            shown(page)
            look(path)
        page.goto(f"{desk.url}/flags")
        page.get_by_role("button", name="Change production/many").click()
        look("the dialog of a flag")
    assert {at: ones for at, ones in found.items() if ones} == {}


def test_the_form_to_sign_in_and_pages_without_a_script_have_none_either(desk: Desk, scene: Scene, axe: str) -> None:
    with desk.looking(None, "/sign-in") as page:
        assert barriers(page, axe) == []
        page.goto(f"{desk.url}/runs/{scene.failing}")
        # without a script, fetching it again is the only way to be told; nothing is typed on it
        assert barriers(page, axe, but=("meta-refresh",)) == []


def test_no_page_scrolls_sideways_on_a_telephone(desk: Desk, scene: Scene) -> None:
    wide = {}
    with desk.looking("anna", "/check", size=PHONE, has_touch=True) as page:
        for path in pages_of(scene):
            page.goto(f"{desk.url}{path}")
            shown(page)
            wide[path] = page.evaluate("document.documentElement.scrollWidth")
    assert {path: width for path, width in wide.items() if width > PHONE[0]} == {}


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.textContent") or "")


def test_a_run_is_rolled_back_with_nothing_but_a_keyboard(desk: Desk, scene: Scene) -> None:
    run = desk.start(baking("keyboard"))
    desk.wait_for(run, leg="baking")
    with desk.looking("olga", f"/runs/{run}") as page:
        button = page.get_by_role("button", name="Roll back", exact=True)
        expect(button).to_be_visible()
        for _ in range(MOST_TABS):
            page.keyboard.press("Tab")
            if focused(page) == "Roll back":
                break
        else:
            pytest.fail("the Tab key leads to no button that rolls back")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(button, "the focus comes back to where it was").to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog").get_by_label("Reason")).to_be_focused()
        page.keyboard.type("hands off the mouse")
        for _ in range(MOST_TABS):
            page.keyboard.press("Tab")
            if focused(page) == "Roll back":
                break
        else:
            pytest.fail("the Tab key leads to no button that confirms")
        page.keyboard.press("Enter")
        expect(page.get_by_role("region", name="At a glance")).to_contain_text("hands off the mouse")
    assert desk.wait_for(run, phase="ended")["outcome"] == "rolled_back"


def test_the_first_stop_of_the_keyboard_skips_to_the_content(desk: Desk, scene: Scene) -> None:
    with desk.looking("vera", f"/runs/{scene.back}") as page:
        shown(page)
        page.keyboard.press("Tab")
        assert focused(page) == "Skip to the content"
        page.keyboard.press("Enter")
        expect(page.locator("#content")).to_be_focused()


def test_from_an_alert_to_rolled_back_it_takes_three_clicks_and_a_reason(desk: Desk, scene: Scene) -> None:
    """From the list, in a browser that is signed in; docs/page.md says so. An alert that links to the run saves one."""
    run = desk.start(baking("alert"))
    desk.wait_for(run, leg="baking")
    with desk.looking("olga", size=PHONE, has_touch=True) as page:
        page.expose_function("clicked", lambda: clicks.append(1))
        clicks: list[int] = []
        page.add_init_script("addEventListener('click', () => clicked(), true)")
        page.reload()
        page.get_by_role("link", name=run).tap()
        page.get_by_role("button", name="Roll back", exact=True).tap()
        expect(page.get_by_role("dialog").get_by_label("Reason")).to_be_focused()
        page.keyboard.type("the pager went off")
        page.get_by_role("dialog").get_by_role("button", name="Roll back", exact=True).tap()
        expect(page.get_by_role("region", name="At a glance")).to_contain_text("the pager went off")
        assert len(clicks) == 3
    assert desk.wait_for(run, phase="ended")["outcome"] == "rolled_back"
