"""How fast the pages are: from an entry in the journal to the screen, opening a long run, and what a browser fetches.

A real controller on a SQLite store, and a real Chromium that is signed in. *Entry to page*: a person pauses and resumes
a run by the API, again and again; the time runs from the time that the journal gives the entry to when the page that
follows the run shows the hold, or shows it no more (seen by the page itself, at each change of its document). Both
clocks are this machine's. *Opening*: from asking for the page of a run with that many entries until its status and the
newest entries of its journal are there, with an empty cache. *Bundle*: compressed, as it is sent.
"""

import gzip
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from benchmarks._machine import load, machine, stated, versions
from orchestrator.api.assets import FOLDER
from orchestrator.api.credentials import REQUESTS_PER_SECOND
from tests.browser.plans import baking
from tests.support.browser import Desk, provided_chromium

ENTRIES, QUICK_ENTRIES = 2000, 200
CHANGES, QUICK_CHANGES = 100, 10
OPENINGS, QUICK_OPENINGS = 10, 2
WATCH = """
() => {
  window.seen = [];
  let last = null;
  const look = () => {
    const isHeld = document.querySelector('ul[aria-label="Why nothing moves"]') !== null;
    if (isHeld !== last) window.seen.push([isHeld, Date.now() / 1000]);
    last = isHeld;
  };
  new MutationObserver(look).observe(document.getElementById("page"), { subtree: true, childList: true });
  look();
}
"""


def run(quick: bool) -> dict[str, Any]:
    changes, entries, openings = (
        (QUICK_CHANGES, QUICK_ENTRIES, QUICK_OPENINGS) if quick else (CHANGES, ENTRIES, OPENINGS)
    )
    with tempfile.TemporaryDirectory(prefix="bench-page-") as folder, Desk(Path(folder), provided_chromium()) as desk:
        run = desk.start(baking("measured"))
        desk.wait_for(run, leg="baking")
        to_page = _changes(desk, run, changes)
        _lengthen(desk, run, entries)
        opened = _openings(desk, run, openings)
        length = len(desk.journal(run))
        browser = desk.browser_version
    return {
        "to_page_ms": _spread(to_page),
        "open_ms": _spread(opened),
        "changes": len(to_page),
        "openings": len(opened),
        "entries": length,
        "bundle_bytes": _bundle(),
        "machine": machine(),
        "load": load(),
        "versions": versions("playwright", chromium=browser),
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"Pages: {result['changes']} changes; a run of {result['entries']:,} entries opened {result['openings']} times",
        stated(result),
        "",
        f"{'milliseconds':<44}{'p50':>8}{'p99':>8}{'most':>8}",
    ]
    for name, words in (("to_page_ms", "from the journal to the page"), ("open_ms", "opening the long run")):
        numbers = "".join(f"{result[name][which]:>8.0f}" for which in ("p50", "p99", "most"))
        lines.append(f"{words:<44}{numbers}")
    sizes = ", ".join(f"{name} {size / 1000:.1f} kB" for name, size in result["bundle_bytes"].items())
    lines.append(f"a browser fetches, gzipped: {sizes}")
    return "\n".join(lines)


def _changes(desk: Desk, run: str, count: int) -> list[float]:
    """Milliseconds of each."""
    found = []
    with desk.looking("vera", f"/runs/{run}") as page:
        page.get_by_role("region", name="At a glance").wait_for()
        page.evaluate(WATCH)
        for number in range(count):
            is_held = number % 2 == 0
            desk.command(run, "pause" if is_held else "resume")
            found.append(1000 * (_shown(page, number + 2, is_held=is_held) - _written(desk, run)))
            if number % 10 == 9:
                print(f"page: {number + 1} of {count} changes seen", file=sys.stderr)
    return found


def _shown(page: Page, turns: int, *, is_held: bool) -> float:
    page.wait_for_function("turns => window.seen.length >= turns", arg=turns)
    seen, at = page.evaluate("turns => window.seen[turns - 1]", turns)
    assert seen is is_held
    return float(at)


def _written(desk: Desk, run: str) -> float:
    """When the newest thing that a person did was written into the journal."""
    entry = next(one for one in reversed(desk.journal(run)) if one["type"] in ("Paused", "Resumed"))
    return datetime.fromisoformat(entry["time"]).timestamp()


def _lengthen(desk: Desk, run: str, entries: int) -> None:
    while len(desk.journal(run)) < entries:
        for _ in range(50):
            desk.command(run, "pause")
            desk.command(run, "resume")
            time.sleep(2 / REQUESTS_PER_SECOND)


def _openings(desk: Desk, run: str, count: int) -> list[float]:
    found = []
    for _ in range(count):
        with desk.context("vera") as context:
            page = desk.opened(context)
            began = time.perf_counter()
            page.goto(f"{desk.url}/runs/{run}", wait_until="commit")
            page.get_by_role("region", name="At a glance").wait_for()
            page.get_by_text("resumed").first.wait_for()
            found.append(1000 * (time.perf_counter() - began))
    return found


def _bundle() -> dict[str, int]:
    files = [*FOLDER.glob("page-*.js"), *FOLDER.glob("page-*.css")]
    return {file.suffix.removeprefix("."): len(gzip.compress(file.read_bytes(), mtime=0)) for file in files}


def _spread(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    p99 = ordered[min(round(0.99 * len(ordered)), len(ordered) - 1)]
    return {"p50": round(statistics.median(ordered), 1), "p99": round(p99, 1), "most": round(ordered[-1], 1)}
