"""The numbers of `python -m benchmarks disk`: what is counted, on a store of the test's own."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks import disk
from benchmarks._stored_fleet import STORE
from orchestrator.journal.sqlite import SqliteStore
from orchestrator.keeping_port import Cut
from stages.load import load_plan
from tests.faults.lives import Life
from tests.support.journals import batch, started

RESULT: dict[str, Any] = {
    "runs": 10_000,
    "gb_a_day": 0.55,
    "gb_a_day_of_looks": 0.0,
    "written_gb_a_day_of_looks": 460.0,
    "target_gb_a_day": 3.0,
    "most_evidence_bytes_per_run": 11_000,
    "active": {
        "runs": 100, "seconds": 60.2, "looks": 1204, "entries": 0, "journal_bytes": 0, "journal_bytes_per_look": 0.0,
        "evidence_bytes_per_run": 3000, "written_bytes": 3_200_000,
        "written_per_look": 2657.8, "bytes_per_run": 20_000,
    },
    "finished": {"runs": 60, "entries": 38, "whole_bytes": 52_019, "cut_bytes": 6_963},
    "load": [1.0, 1.0, 1.0],
    "machine": "a machine",
    "versions": {"python": "3.11"},
}  # fmt: skip


def life_at(folder: Path) -> Life:
    return cast(Life, SimpleNamespace(state_dir=folder, running=False))


async def test_what_evidence_takes_is_told_apart_from_what_journals_grow_by(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / STORE)
    await started(store)
    began = disk.size_of(life_at(tmp_path))
    await store.save_evidence({"r": (1, "seen" * 1000)})
    looked = disk.size_of(life_at(tmp_path))
    assert (looked.journals, looked.entries, looked.evidence) == (began.journals, 1, 4000)
    await store.append(batch())
    grown = disk.size_of(life_at(tmp_path))
    assert grown.entries == 2
    assert grown.journals > looked.journals
    assert grown.evidence == 4000
    await store.close()


async def test_room_that_a_cut_leaves_is_not_counted_as_used(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / STORE)
    await started(store)
    paused = batch().events[0].model_copy(update={"reason": "long " * 200})
    await store.append(batch(events=[paused] * 40, active=False))
    whole = disk.size_of(life_at(tmp_path))
    await store.keeping.cut(Cut("r", 41, 1, 900.0, {"report": "short"}))
    cut = disk.size_of(life_at(tmp_path))
    assert (whole.rows["kept"], cut.rows["kept"], cut.rows["events"]) == (0, 1, 0)
    assert whole.used - cut.used > 30_000
    await store.close()


def test_its_runs_have_plans_of_five_gated_steps() -> None:
    text = json.dumps(disk.stepped_plan(3, "http://127.0.0.1:9090"))
    plan = load_plan(text, "run-3.yaml", {}, read_file=lambda name: pytest.fail(f"it asks for {name}"))
    (stage,) = plan.to_program("/").environments[0].stages
    assert [step.name for step in stage.steps] == ["1%", "5%", "25%", "50%", "100%"]
    assert len(plan.to_program("/").environments[0].gates["health"].criteria) == disk.CRITERIA


def test_the_table_says_what_fills_the_disk_and_what_only_wears_it() -> None:
    shown = disk.table(RESULT)
    assert "52,019 bytes each" in shown
    assert "6,963 bytes each" in shown
    assert "0.55 GB, 0.00 for looks (target: 3)" in shown
    assert "3,000 bytes a run, 11,000 at most in an hour" in shown
    assert "460.0 GB or so, over and over in the same place" in shown


def test_evidence_does_not_grow_for_ever() -> None:
    assert 300 < disk.most_evidence_bytes() < 3_000
