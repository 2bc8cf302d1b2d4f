"""A SQLite store whose disk runs full, or which another program keeps busy, under a real controller."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from orchestrator.core.events import Paused
from orchestrator.journal import chain
from tests.faults.lives import Json, Reply
from tests.faults.world import World, submission, world_in
from tests.support.disk import NoSmallDisk, small_disk_at
from tests.support.process import DEADLINE_SECONDS, wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
REASON = {"reason": "because of the test"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """2 MiB, for the state directory alone."""
    try:
        with small_disk_at(tmp_path / "disk") as folder:
            yield folder
    except NoSmallDisk as reason:
        pytest.skip(f"no small file system can be mounted here: {reason}")


@contextmanager
def full(disk: Path) -> Iterator[None]:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def kept_busy(store: Path) -> Iterator[None]:
    with closing(sqlite3.connect(store, isolation_level=None, timeout=30.0)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def climbing(world: World) -> str:
    """A run that always has something to write, until it is at 100 %."""
    steps = {"name": "open", "kind": "batch", "flag": "climb", "percentages": list(range(1, 101))}
    document = {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": "climb"},
        "spec": {"flags": {"climb": {}}, "stages": [{**steps, "bake": "100ms", "settle": "0s"}], "watch": "0s"},
    }
    (life,) = world.lives
    world.keep_alive()
    life.wait_until_ready()
    reply = life.ask("POST", "/api/v1/runs", submission(json.dumps(document), world.folder))
    assert reply is not None
    assert reply.status == 201, reply
    run = str(reply.body["run"])
    wait_until(lambda: status(world, run)["percentages"].get("climb"), what="the flag to rise")
    return run


def status(world: World, run: str) -> Json:
    reply = world.lives[0].ask("GET", f"/api/v1/runs/{run}")
    assert reply is not None
    assert reply.status == 200, reply
    found: Json = reply.body
    return found


def command(world: World, run: str, name: str) -> Reply:
    path, body = f"/api/v1/runs/{run}/commands", {"command": name, **REASON}
    reply = world.lives[0].ask("POST", path, body, timeout_seconds=DEADLINE_SECONDS)  # behind what waits to be written
    assert reply is not None
    return reply


def assert_stands_still(world: World, run: str, why: str) -> None:
    """It says why, takes no command, and nothing moves."""
    wait_until(lambda: status(world, run)["store_error"], what="the run to say that nothing can be written")
    held = status(world, run)
    assert why in held["store_error"]
    refused = command(world, run, "pause")
    assert refused.status == 503
    assert why in refused.body["message"]
    assert [status(world, run)[name] for name in ("seq", "percentages", "phase")] == [
        held[name] for name in ("seq", "percentages", "phase")
    ]


def assert_kills_while_it_lives(world: World) -> None:
    """The kill switch is for bad days: it holds, and who moved it is told how long."""
    (life,) = world.lives
    moved = life.ask("POST", "/feature-flags/disable-all", REASON)
    assert moved is not None
    assert moved.status == 503, moved
    assert "What was killed by this process stays killed while it lives" in moved.body["message"], moved
    assert is_killed(world)


def lift(world: World) -> int:
    reply = world.lives[0].ask("DELETE", "/feature-flags/disable-all", {**REASON, "confirm": True})
    assert reply is not None
    return reply.status


def is_killed(world: World) -> object:
    reply = world.lives[0].ask("GET", "/api/v1/flags/climb")
    assert reply is not None
    return reply.body["killed"]


def assert_goes_on(world: World, run: str) -> None:
    before = status(world, run)["seq"]
    wait_until(lambda: status(world, run)["seq"] > before, what="the run to go on")
    assert command(world, run, "pause").status == 200
    assert command(world, run, "resume").status == 200
    assert command(world, run, "rollback").status == 200
    wait_until(lambda: status(world, run)["outcome"] == "rolled_back", what="the run to end")
    records = world.records(run)
    assert chain.verify(records) is None
    assert sum(isinstance(record.event, Paused) for record in records) == 1  # what was refused did not happen
    assert "Traceback" not in world.log


def test_a_disk_that_runs_full_stops_a_run_until_there_is_room_again(disk: Path, tmp_path: Path) -> None:
    with world_in(tmp_path / "world", XDG_STATE_HOME=str(disk), controllers=1) as world:
        world.store = f"sqlite:///{disk}/staged-rollout/rollout.db"
        run = climbing(world)
        with full(disk):
            assert_stands_still(world, run, "out of room")
            assert_kills_while_it_lives(world)
            assert lift(world) == 503
            assert is_killed(world)
        assert lift(world) == 200
        assert not is_killed(world)
        assert_goes_on(world, run)


def test_a_store_that_another_program_keeps_busy_stops_a_run_until_it_is_free(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        run = climbing(world)
        with kept_busy(Path(world.store.removeprefix("sqlite:///"))):
            assert_stands_still(world, run, "kept busy by another program")
        assert_goes_on(world, run)
