"""A fleet that is written into the store is what as many starts would have left there."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from benchmarks import restart
from benchmarks._fleet import SHARED_BY, fleet_of
from benchmarks._stored_fleet import STORE, has_passed, read, write
from orchestrator.core import evidence as ev
from orchestrator.core.events import to_json
from orchestrator.journal import chain
from orchestrator.journal.sqlite import SqliteStore
from tests.support.process import wait_until

STARTED = SHARED_BY + 1  # so that the last of them asks for another service
TOLD = (1, STARTED - 1)
Json = dict[str, Any]


@pytest.mark.slow
def test_a_run_that_is_told_again_is_as_one_that_was_started(tmp_path: Path) -> None:
    with fleet_of(STARTED, tmp_path) as fleet:
        fleet.start_all()
        wait_until(lambda: has_passed(fleet), what="the gates of all runs to pass", every_seconds=0.2)
        fleet.life.send(signal.SIGTERM)
        wait_until(lambda: not fleet.life.running, what="the controller to end")
        real, again = fleet.life.state_dir / STORE, tmp_path / "again.db"
    asyncio.run(_tell_again(real, again))
    for number in TOLD:
        started, told = (asyncio.run(_all_of(path, f"run-{number}")) for path in (real, again))
        assert told == started


@pytest.mark.slow
def test_every_run_of_a_fleet_is_looked_at_again_after_the_controller_was_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restart, "QUICK", 6)
    result = restart.run(quick=True)
    assert result["runs"] == 6
    assert 0 < result["half_s"] <= result["seconds"]
    assert result["processor_to_http_s"] > 0
    assert result["held"] == 0
    assert "all seen" in restart.table(result)


async def _tell_again(real: Path, again: Path) -> None:
    source, store = SqliteStore(real), SqliteStore(again)
    told = await read(source)
    for number in TOLD:
        await write(store, told.as_number(number, number // SHARED_BY))
    await source.close()
    await store.close()


async def _all_of(path: Path, plan: str) -> Json:
    """What the store has of the run of *plan*, without what differs from start to start: times, and what is random."""
    store = SqliteStore(path)
    try:
        row = next(one for one in await store.rows() if one.plan == plan)
        records = await store.read(row.run)
        assert chain.verify(records) is None
        flags = [one for one in await store.all() if one.run == row.run]
        assert [one.document.key for one in flags] == [f"flag-{plan.removeprefix('run-')}"]
        evidence = ev.from_text(await store.evidence(row.run))
    finally:
        await store.close()
    found = {
        "row": {**row.summary, "started": "", "digest": "", "epoch": row.epoch, "rev": row.rev, "active": row.active},
        "events": [to_json(one.event) for one in records],
        "flag": [{**flags[0].document.to_json(), "version": ""}, flags[0].by, flags[0].reason, flags[0].effect],
        "looks": {key: [look.verdict, look.sentence] for key, look in evidence.looks.items()},
        "seen": {key: [seen.value, seen.exists] for key, seen in evidence.seen.items()},
    }
    return _without(found, row.run, row.digest)


def _without(told: Json, run: str, digest: str) -> Json:
    words = json.dumps(told).replace(run, "RUN").replace(digest, "DIGEST")
    told = json.loads(words)
    for document in told["events"][0]["documents"]:
        document["plan"]["spec"]["prometheus"]["url"] = "http://server"
    return told
