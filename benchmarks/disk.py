"""What runs take on disk: while they are looked at, from their start to their end, and once they are over.

A fleet of active runs, each with three criteria every 15 s, is left alone. What its journals have grown by then was
written for looks, and looks that change nothing should write nothing there. Their evidence is overwritten in its place
every 15 s: it wears a disk without filling it, which is told as what the process wrote. It grows for some minutes,
until it has as many points of each criterion as it keeps; how far, the same plan tells, walked for an hour of virtual
time. Then runs with five gated steps go all the way, and are cut to their reports: what one takes whole, and cut.

What is written counts only where the folder of temporary files is on a disk: ``TMPDIR`` names another one.

The day of 10,000 runs is these numbers times 10,000, as if each were looked at all day, and began and ended in it.
"""

import json
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from benchmarks._fleet import ASKED, EVERY_SECONDS, STARTS_AT_ONCE, Fleet, fleet_of, plan_of
from benchmarks._machine import load, machine, stated, versions
from benchmarks._stored_fleet import STORE, has_passed
from orchestrator.core.evidence import to_text
from stages.load import load_plan
from tests.faults.lives import Life
from tests.orchestrator.core.drive import Drive
from tests.support.process import isolated_environment, wait_until

RUNS = 10_000
TARGET_GB = 3.0
CRITERIA = len(ASKED)
LOOKS_A_DAY = CRITERIA * 86_400 / EVERY_SECONDS  # of one run
STEPS = (1, 5, 25, 50, 100)
DEADLINE_SECONDS = 170.0
HELD = {
    "runs": "length(run) + length(summary) + length(head)",
    "events": "length(run) + length(data) + length(hash)",
    "answers": "length(key) + length(body)",
    "claims": "length(claim) + length(words)",
    "flags": "length(key) + length(document)",
    "flag_history": "length(key) + length(document)",
    "kept": "length(document) + length(hashes)",
    "evidence": "length(text)",
}


@dataclass(frozen=True)
class Size:
    """In bytes. *used*: pages that hold something. *journals*: what all but evidence holds. *written*: by the process
    since it began. *entries*: of all journals, also those that were cut."""

    used: int
    journals: int
    evidence: int
    written: int
    entries: int
    rows: dict[str, int]


def run(quick: bool) -> dict[str, Any]:
    runs, seconds, finished = (20, 30.0, 10) if quick else (100, 60.0, 30)
    with tempfile.TemporaryDirectory(prefix="rollout-disk-") as folder:
        looks = _looked_at(Path(folder, "active"), runs, seconds)
        over = _over(Path(folder, "finished"), finished)
    by_looks = RUNS * LOOKS_A_DAY * looks["journal_bytes_per_look"]
    evidence = most_evidence_bytes()
    of_runs = RUNS * (over["whole_bytes"] + evidence)
    return {
        "runs": RUNS,
        "gb_a_day": round((by_looks + of_runs) / 1e9, 2),
        "gb_a_day_of_looks": round(by_looks / 1e9, 2),
        "written_gb_a_day_of_looks": round(RUNS * LOOKS_A_DAY * looks["written_per_look"] / 1e9, 1),
        "target_gb_a_day": TARGET_GB,
        "most_evidence_bytes_per_run": evidence,
        "active": looks,
        "finished": over,
        "load": load(),
        "machine": machine(),
        "versions": versions(sqlite=apsw.sqlite_lib_version()),
    }


def table(result: dict[str, Any]) -> str:
    active, over = result["active"], result["finished"]
    looks, meant = result["gb_a_day_of_looks"], result["target_gb_a_day"]
    evidence, most = active["evidence_bytes_per_run"], result["most_evidence_bytes_per_run"]
    lines = [
        f"{active['runs']} active runs left alone for {active['seconds']:.0f} s, {active['looks']} looks",
        f"  journals grew by     {active['journal_bytes']:>9,} bytes, {active['entries']} entries",
        f"  evidence             {evidence:>9,} bytes a run, {most:,} at most in an hour",
        f"  written to the disk  {active['written_bytes']:>9,} bytes, {active['written_per_look']:,.0f} a look",
        f"{over['runs']} runs of {len(STEPS)} steps, {over['entries']} entries each",
        f"  whole                {over['whole_bytes']:>9,} bytes each",
        f"  kept as their report {over['cut_bytes']:>9,} bytes each",
        f"a day of {result['runs']:,} runs  {result['gb_a_day']:.2f} GB, {looks:.2f} for looks (target: {meant:g})",
        f"  written to the disk  {result['written_gb_a_day_of_looks']:.1f} GB or so, over and over in the same place",
        stated(result),
    ]
    return "\n".join(lines)


# --- runs that are looked at ------------------------------------------------------------------------------------------


def _looked_at(folder: Path, runs: int, seconds: float) -> dict[str, Any]:
    folder.mkdir()
    with fleet_of(runs, folder) as fleet:
        fleet.start_all()
        wait_until(lambda: has_passed(fleet), what="all gates to pass in their bakes", every_seconds=0.5)
        wait_until(lambda: size_of(fleet.life).rows["evidence"] == runs, what="all to have made a checkpoint")
        time.sleep(EVERY_SECONDS)  # and another one, with all its criteria in it
        before, began = size_of(fleet.life), time.monotonic()
        print(f"disk: {runs} runs are left alone for {seconds:.0f} s", file=sys.stderr)
        time.sleep(seconds)
        after, passed = size_of(fleet.life), time.monotonic() - began
    looks = round(runs * CRITERIA * passed / EVERY_SECONDS)
    grown, written = after.journals - before.journals, after.written - before.written
    return {
        "runs": runs,
        "seconds": round(passed, 1),
        "looks": looks,
        "entries": after.entries - before.entries,
        "journal_bytes": grown,
        "journal_bytes_per_look": max(grown, 0) / looks,
        "evidence_bytes_per_run": round(after.evidence / runs),
        "written_bytes": written,
        "written_per_look": written / looks,
        "bytes_per_run": round(after.used / runs),
    }


def most_evidence_bytes() -> int:
    """Of a run of the fleet, in an hour."""
    drive = Drive(plan_of(0, 0, "http://127.0.0.1:9090")["spec"])
    sizes = []
    for _ in range(60):
        drive.advance(60.0, step=EVERY_SECONDS)
        sizes.append(len(to_text(drive.evidence)))
    return max(sizes)


def size_of(life: Life) -> Size:
    """Of the store as whoever reads it now finds it. What the process wrote is 0 where it lives no more."""
    with closing(sqlite3.connect(f"file:{life.state_dir / STORE}?mode=ro", uri=True)) as store:
        page, pages, free = (_number(store, f"PRAGMA {name}") for name in ("page_size", "page_count", "freelist_count"))
        rows = {name: _number(store, f"SELECT count(*) FROM {name}") for name in HELD}  # noqa: S608
        held = {name: _number(store, f"SELECT total({what}) FROM {name}") for name, what in HELD.items()}  # noqa: S608
        entries = _number(store, "SELECT total(rev) FROM runs")
    evidence, written = held.pop("evidence"), _written(life) if life.running else 0
    return Size(page * (pages - free), sum(held.values()), evidence, written, entries, rows)


def _number(store: sqlite3.Connection, query: str) -> int:
    return int(store.execute(query).fetchone()[0])


def _written(life: Life) -> int:
    lines = Path(f"/proc/{life.pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


# --- runs that are over -----------------------------------------------------------------------------------------------


def _over(folder: Path, runs: int) -> dict[str, Any]:
    folder.mkdir()
    with fleet_of(runs, folder) as fleet:
        began = size_of(fleet.life)
        with ThreadPoolExecutor(STARTS_AT_ONCE) as pool:
            list(pool.map(lambda number: _start(fleet, number), range(runs)))
        print(f"disk: {runs} runs go all the way", file=sys.stderr)
        wait_until(lambda: _unsettled(fleet.life) == 0, what="all to be over", deadline_seconds=DEADLINE_SECONDS)
        whole = size_of(fleet.life)
        fleet.life.send(signal.SIGTERM)
        wait_until(lambda: not fleet.life.running, what="the controller to end")
        with _keeping(folder, "0s") as life:
            wait_until(lambda: size_of(life).rows["kept"] == runs, what="all to be cut", every_seconds=0.5)
            cut = size_of(life)
    assert cut.rows["events"] == 0
    return {
        "runs": runs,
        "entries": round(whole.entries / runs),
        "whole_bytes": round((whole.used - began.used) / runs),
        "cut_bytes": round((cut.used - began.used) / runs),
    }


def _start(fleet: Fleet, number: int) -> None:
    text = json.dumps(stepped_plan(number, fleet.prometheus))
    plan = load_plan(text, f"run-{number}.yaml", {}, read_file=Path.read_bytes)  # type: ignore[arg-type]
    documents = [{"environment": environment, "plan": document} for environment, document in plan.raw]
    answer = fleet.ask("POST", "/api/v1/runs", {
        "plan": plan.name, "digest": plan.digest, "documents": documents, "files": {},
    })  # fmt: skip
    assert answer.status_code == 201, answer.text


def stepped_plan(number: int, prometheus: str) -> dict[str, Any]:
    """A step's gate counts from when all that it looks at lies in the step, so its criteria look back for no longer
    than two scrapes, a second apart. All runs ask the same."""
    criteria = [{"name": name, "query": f"{name}_share", "pass": "< 0.05", "fail": "> 0.10"} for name in ASKED]
    stage = {"name": "open", "kind": "monitoring", "flag": f"flag-{number}", "percentages": list(STEPS),
             "gate": "health", "bake": "2s", "settle": "0s"}  # fmt: skip
    return {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": f"run-{number}"},
        "spec": {
            "prometheus": {"url": prometheus, "scrape_interval": "1s"},
            "flags": {f"flag-{number}": {}},
            "gates": {"health": {"every": "1s", "criteria": criteria}},
            "stages": [stage],
        },
    }


def _unsettled(life: Life) -> int:
    with closing(sqlite3.connect(f"file:{life.state_dir / STORE}?mode=ro", uri=True)) as store:
        return _number(store, "SELECT count(*) FROM runs WHERE active OR NOT json_extract(summary, '$.settled')")


@contextmanager
def _keeping(folder: Path, time_text: str) -> Iterator[Life]:
    arguments = ("--listen", "127.0.0.1:0", "--keep-finished", time_text)
    life = Life(folder, isolated_environment(folder), arguments)
    try:
        life.start(forked=False)
        life.wait_until_ready()
        yield life
    finally:
        life.end()
