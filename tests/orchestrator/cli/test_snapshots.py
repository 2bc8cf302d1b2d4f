"""`status` without a controller: quick from a snapshot that is true, else from the events, and the same either way."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import snapshots
from orchestrator.cli.hosting import bind, hosted
from orchestrator.cli.sources import StoreSource
from tests.orchestrator.cli.conftest import Cli

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: tiny}
spec:
  flags: {beta: {}}
  checks: [{name: somebody says go, manual: "Go?"}]
  stages: [{name: raise, kind: monitoring, flag: beta, percentages: [5, 50], bake: 3s}]
"""
MOVING = ("holds", "next", "progress", "gate")


async def leave_a_run(cli: Cli, folder: Path, *commands: str) -> str:
    """A run of the plan that nobody watches any more; its name."""
    plan = folder / "plan.yaml"
    plan.write_text(PLAN)
    async with hosted(bind("127.0.0.1:0")):
        said = await asyncio.to_thread(cli, "start", str(plan), "--detach")
        assert said.code == 0, said.err
        for command in commands:
            answered = await asyncio.to_thread(cli, command, "tiny", "--reason", "because")
            assert answered.code == 0, answered.err
    return said.out.strip()


def folded(run: str) -> dict[str, Any]:
    return StoreSource()._folded(run)


async def test_a_snapshot_says_what_the_events_say(state: Path, cli: Cli, tmp_path: Path) -> None:
    run = await leave_a_run(cli, tmp_path, "pause")
    found = snapshots.find("tiny")
    assert found is not None
    events = await asyncio.to_thread(folded, run)
    assert {key: value for key, value in found.items() if key not in MOVING} == {
        key: value for key, value in events.items() if key not in MOVING
    }
    assert [(hold["reason"], hold["detail"]) for hold in found["holds"]] == [
        (hold["reason"], hold["detail"]) for hold in events["holds"]
    ]
    assert [hold["reason"] for hold in found["holds"]][-1] == "no_controller"


async def test_a_run_is_meant_by_its_name_its_beginning_or_its_plan(state: Path, cli: Cli, tmp_path: Path) -> None:
    run = await leave_a_run(cli, tmp_path)
    for text in (run, run[:6], "tiny"):
        found = snapshots.find(text)
        assert found is not None
        assert found["run"] == run
    assert snapshots.find("other") is None


@pytest.mark.parametrize("change", ({"seq": 1}, {"seq": 9999}, {"digest": "another"}))
async def test_a_snapshot_of_another_time_or_plan_is_not_believed(
    state: Path, cli: Cli, tmp_path: Path, change: dict[str, Any]
) -> None:
    run = await leave_a_run(cli, tmp_path)
    file = state / "status" / f"{run}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change | {"phase": "ended", "outcome": "promoted"}))
    assert snapshots.find(run) is None
    status = (await asyncio.to_thread(cli, "status", run, "--output", "json")).json
    assert status["phase"] == "checking"


@pytest.mark.parametrize("text", ("", "{", "[]", "null", "{}"))
async def test_a_damaged_snapshot_is_no_error(state: Path, cli: Cli, tmp_path: Path, text: str) -> None:
    run = await leave_a_run(cli, tmp_path)
    (state / "status" / f"{run}.json").write_text(text)
    said = await asyncio.to_thread(cli, "status", run)
    assert said.code == 0, said.err
    assert "no_controller" in said.out


async def test_an_ended_run_needs_no_controller(state: Path, cli: Cli, tmp_path: Path) -> None:
    run = await leave_a_run(cli, tmp_path, "stop")
    status = (await asyncio.to_thread(cli, "status", run, "--output", "json")).json
    assert (status["phase"], status["outcome"]) == ("ended", "stopped")
    assert "no_controller" not in {hold["reason"] for hold in status["holds"]}


async def test_a_status_from_a_snapshot_loads_nothing_that_is_slow(state: Path, cli: Cli, tmp_path: Path) -> None:
    run = await leave_a_run(cli, tmp_path)
    script = (
        f"import sys; from orchestrator.cli import main; main(['status', {run!r}]); "
        "print([name for name in ('asyncio', 'pydantic', 'stages', 'orchestrator.core') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[0].startswith(run)
    assert done.stdout.splitlines()[-1] == "[]"


def test_only_the_newest_snapshots_are_kept(state: Path) -> None:
    folder = state / "status"
    folder.mkdir(parents=True)
    for number in range(snapshots.MOST_KEPT + 5):
        (folder / f"run-{number}.json").write_text("{}")
    snapshots._make_folder()
    assert len(list(folder.iterdir())) == snapshots.MOST_KEPT
