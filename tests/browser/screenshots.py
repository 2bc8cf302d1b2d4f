"""`python -m tests.browser.screenshots [FOLDER]` takes pictures of the pages in every state that looks different.

Each at 1280 and at 390 pixels, in light and in dark: an empty controller, a run that goes well, one that is held, one
that was rolled back, two hundred runs, a hundred stages, and names that are as long as names may be. Without FOLDER
those that the documentation shows are taken, into docs/images, as `page-NAME.png`. Needs Chromium; takes two minutes.
"""

import argparse
import json
import math
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.plans import baking, plan, rise, waiting
from tests.support.browser import PHONE, WIDE, Desk, provided_chromium
from tests.support.process import ROOT

IMAGES = ROOT / "docs" / "images"
SIZES = {"wide": WIDE, "phone": PHONE}
COLOURS = ("light", "dark")
RUNS, STAGES = 200, 100
LONGEST = "a-name-of-a-hundred-and-twenty-letters-" * 4
GROWING_SECONDS = 24.0  # until there is something to see in the curves
DOCUMENTED_BYTES = 150_000


def search_plan(name: str, url: str) -> str:
    """What the documentation shows: a search that is made faster."""
    criteria = [
        {
            "name": "errors",
            "http": {"url": f"{url}/{name}-errors", "value": "value"},
            "pass": "< 0.01",
            "fail": "> 0.05",
        },
        {"name": "p95", "http": {"url": f"{url}/{name}-p95", "value": "value"}, "pass": "< 0.8", "fail": "> 1.5"},
    ]
    flag = f"{name}.ranking"
    stages = [
        rise("staff", flag, 1, 5, bake="6s", gate="health"),
        rise("some users", flag, 10, 25, bake="10m", gate="health"),
        rise("everybody", flag, 50, 100, bake="1h", gate="health"),
    ]
    gates = {"health": {"every": "1s", "criteria": criteria}}
    return plan(name, *stages, flags=(flag,), gates=gates, owner="search-team", watch="24h")


class Weather:
    """Lets the numbers of plans move as numbers do; *errors* may be set."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.errors: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._blow, daemon=True)

    def begin(self, *names: str) -> None:
        self.errors |= dict.fromkeys(names, 0.004)
        self._turn(0)
        if not self._thread.is_alive():
            self._thread.start()

    def end(self) -> None:
        self._ended.set()

    def _blow(self) -> None:
        turn = 0
        while not self._ended.wait(0.5):
            turn += 1
            self._turn(turn)

    def _turn(self, turn: int) -> None:
        for name, errors in self.errors.items():
            self._desk.numbers.values[f"{name}-errors"] = round(errors * (1 + 0.3 * math.sin(turn / 3)), 5)
            self._desk.numbers.values[f"{name}-p95"] = round(0.41 + 0.06 * math.sin(turn / 5), 4)


@contextmanager
def desk_in(folder: Path) -> Iterator[Desk]:
    folder.mkdir(parents=True)
    with Desk(folder, provided_chromium()) as desk:
        yield desk


def shoot(desk: Desk, path: str, file: Path, *, whole: bool = True, size: tuple[int, int] = WIDE, colours: str) -> None:
    with desk.looking("anna", path, size=size, color_scheme=colours) as page:
        settle(page)
        page.screenshot(path=file, full_page=whole)


def settle(page: Page) -> None:
    """Until everything is there, and has been drawn."""
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_text("Loading…").locator("visible=true")).to_have_count(0)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def everywhere(desk: Desk, folder: Path, name: str, path: str) -> None:
    for size, pixels in SIZES.items():
        for colours in COLOURS:
            shoot(desk, path, folder / f"{name}-{size}-{colours}.png", size=pixels, colours=colours)
    print(f"{name}: {', '.join(SIZES)}, {', '.join(COLOURS)}", file=sys.stderr)


def all_states(folder: Path, world: Path) -> None:
    with desk_in(world / "states") as desk:
        for name, path in {"empty": "/", "no-approvals": "/approvals", "no-flags": "/flags", "check": "/check"}.items():
            everywhere(desk, folder, name, path)
        weather = Weather(desk)
        running, failing, back = grown(desk, weather)
        for name, run in {"running": running, "failing": failing, "rolled-back": back}.items():
            everywhere(desk, folder, name, f"/runs/{run}")
        everywhere(desk, folder, "report", f"/runs/{back}/report")
        asked = desk.start(waiting("asked"), "olga")
        desk.wait_for(asked, hold="approval")
        for name in ("approvals", "flags"):
            everywhere(desk, folder, name, f"/{name}")
        desk.ask("POST", "/feature-flags/disable-all", {"reason": "the basket is empty for everybody"})
        everywhere(desk, folder, "killed", "/flags")
        everywhere(desk, folder, "list", "/")
        weather.end()
    with desk_in(world / "many") as desk:
        many(desk)
        everywhere(desk, folder, "200-runs", "/")
        stages = [rise(f"stage-{number}", "long", number / 2) for number in range(1, STAGES + 1)]
        everywhere(desk, folder, "100-stages", f"/runs/{desk.start(plan('hundred', *stages, flags=('long',)))}")
        flag = LONGEST[:110]
        named = desk.start(plan(LONGEST[:60].strip("-"), rise(LONGEST[:120], flag), flags=(flag,)))
        desk.wait_for(named, leg="baking")
        desk.command(named, "pause", reason=f"{LONGEST} and so on")
        everywhere(desk, folder, "long-names", f"/runs/{named}")
        everywhere(desk, folder, "long-names-list", "/?text=a-name")
        everywhere(desk, folder, "long-names-flags", "/flags")


def grown(desk: Desk, weather: Weather) -> tuple[str, str, str]:
    """Three runs at whose curves one can look: one goes well, one is held, one has been rolled back."""
    names = ("faster-search", "new-basket", "image-resize")
    weather.begin(*names)
    running, failing, back = (desk.start(search_plan(name, desk.numbers.url), "olga") for name in names)
    time.sleep(GROWING_SECONDS)
    weather.errors |= {"new-basket": 0.025, "image-resize": 0.031}
    time.sleep(GROWING_SECONDS / 4)
    weather.errors["image-resize"] = 0.12
    desk.wait_for(failing, hold="inconclusive")
    desk.wait_for(back, phase="ended")
    return running, failing, back


def many(desk: Desk) -> None:
    """Two hundred, of which most have ended."""
    for number in range(RUNS):
        run = desk.start(baking(f"change-{number:03}"), ("olga", "anna")[number % 2])
        if number % 10:
            desk.command(run, ("stop", "rollback", "stop")[number % 3])
        elif number % 20:
            desk.command(run, "pause")


def documented(folder: Path, world: Path) -> None:
    with desk_in(world / "states") as desk:
        weather = Weather(desk)
        running, failing, back = grown(desk, weather)
        asked = desk.start(waiting("checkout"), "olga")
        desk.wait_for(asked, hold="approval")
        shoot(desk, "/", folder / "page-list.png", whole=False, colours="light")
        shoot(desk, f"/runs/{running}", folder / "page-running.png", whole=False, size=(1280, 1000), colours="light")
        shoot(desk, f"/runs/{failing}", folder / "page-held-dark.png", whole=False, size=(1280, 1000), colours="dark")
        shoot(desk, f"/runs/{back}", folder / "page-rolled-back.png", whole=False, size=(1280, 1000), colours="light")
        shoot(desk, f"/runs/{failing}", folder / "page-phone.png", whole=False, size=PHONE, colours="light")
        weather.end()
    for file in folder.glob("page-*.png"):
        assert file.stat().st_size < DOCUMENTED_BYTES, f"{file} has {file.stat().st_size:,} bytes"


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="where all states go (without it: docs/images, a few)")
    given = parser.parse_args()
    folder: Path = given.folder or IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as world:
        (all_states if given.folder else documented)(folder, Path(world))
    print(json.dumps({"folder": str(folder), "pictures": len(list(folder.glob("*.png")))}))


if __name__ == "__main__":
    main()
