"""A long run is one that the core and the store take for a run, and looking at it is measured whole."""

import asyncio
from pathlib import Path

import pytest

from benchmarks import long_run
from orchestrator.core.events import PlanDocument, RunStarted
from orchestrator.core.fold import fold, program_of
from orchestrator.journal import chain
from orchestrator.journal.sqlite import SqliteStore
from orchestrator.ports import NewRun
from tests.orchestrator.core.drive import plan_of

EVENTS = 1_204


def test_a_run_is_lengthened_by_what_a_person_may_do(tmp_path: Path) -> None:
    path = tmp_path / "rollout.db"
    asyncio.run(_begin(path))
    assert asyncio.run(long_run.lengthen(path, EVENTS)) == "change-1"
    asyncio.run(_check(path))


@pytest.mark.slow
def test_looking_at_a_long_run_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fewer in (("QUICK", 600), ("QUICK_ROUNDS", 1), ("REQUESTS", 8)):
        monkeypatch.setattr(long_run, name, fewer)
    result = long_run.run(quick=True)
    assert result["events"] == 600
    assert all(one["p50"] > 0 for one in result["requests_ms"].values())
    assert set(result["whole_ms"]) == {"all entries", "report"}
    assert "a run of 600 events" in long_run.table(result)


async def _begin(path: Path) -> None:
    stage = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [50], "bake": "1h"}
    document = PlanDocument(environment="production", plan=plan_of({"flags": {"beta": {}}, "stages": [stage]}))
    started = RunStarted(by="ann", run="change-1", plan="change", digest="d", documents=(document,))
    store = SqliteStore(path)
    await store.start(NewRun("change-1", "change", "d", program_of(started).claims()), 1, 1.0, [started], {})
    await store.close()


async def _check(path: Path) -> None:
    store = SqliteStore(path)
    records = await store.read("change-1")
    await store.close()
    assert len(records) == EVENTS
    assert chain.verify(records) is None
    state = fold((one.event, one.at) for one in records)
    assert [hold.reason for hold in state.holds.values()] == ["paused"]
