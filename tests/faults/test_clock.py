"""The wall clock of a real controller is set forward and back by hours and days while it works."""

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.journal import chain
from stages.load_schedule import load_schedule
from tests.faults.lives import Json
from tests.faults.world import World, submission, world_in
from tests.support.fake_time import Clock, provide_faketime, with_clock
from tests.support.process import wait_until
from tests.support.stores import PostgresSchema

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
HOUR, DAY = 3600.0, 86400.0
BAKE_SECONDS = 3.0
TRIES = 3  # a machine that is too busy loses a lease as well


@pytest.fixture(scope="module")
def faketime() -> Path:
    """libfaketime, fetched the first time. Skips where it can't be had; in continuous integration (CI=true) fails."""
    try:
        return provide_faketime()
    except RuntimeError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def one_world(faketime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("clock"), controllers=1, **with_clock(faketime)) as made:
        begin(made)
        yield made
        assert "Traceback" not in made.log


@pytest.fixture
def world(one_world: World) -> World:
    Clock(one_world.lives[0].folder).ahead(0.0)
    return one_world


def begin(world: World) -> None:
    world.forked = False  # the library comes with the start of a program
    for life in world.lives:
        Clock(life.folder).ahead(0.0)
    world.keep_alive()
    for life in world.lives:
        life.wait_until_ready()


def start(world: World, name: str, levels: tuple[int, ...] = (10, 100), **stage: object) -> str:
    steps = {"name": "open", "kind": "batch", "flag": name, "percentages": levels, "settle": "0s", **stage}
    document = {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": name},
        "spec": {"flags": {name: {}}, "stages": [steps], "watch": "0s"},
    }
    body = submission(json.dumps(document), world.folder)
    reply = wait_until(lambda: world.ask("POST", "/api/v1/runs", body), what="a run to be started", every_seconds=0.5)
    assert reply is not None
    assert reply.status in (200, 201), reply  # it was started, although the answer did not come in time
    return str(reply.body["run"])


def status(world: World, run: str) -> Json:
    reply = world.ask("GET", f"/api/v1/runs/{run}")
    return reply.body if reply is not None and reply.status == 200 else {"leg": None, "outcome": None, "holds": []}


def wait_for(world: World, run: str, **wanted: object) -> None:
    def is_so() -> bool:
        shown = status(world, run)
        return all(shown[name] == value for name, value in wanted.items())

    wait_until(is_so, what=f"{run} to be {wanted}", every_seconds=0.2)


def assert_in_order(world: World, run: str) -> None:
    records = world.records(run)
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert chain.verify(records) is None
    times = [record.at for record in records]
    assert times == sorted(times)


def test_a_bake_is_neither_skipped_nor_stretched_by_a_clock_that_is_set(world: World) -> None:
    clock, began = Clock(world.lives[0].folder), time.monotonic()
    run = start(world, "baked", levels=(10, 50, 100), bake=f"{BAKE_SECONDS:g}s")
    for number, (step, ahead) in enumerate({"10%": 3 * HOUR, "50%": -6 * HOUR, "100%": 0.0}.items()):
        wait_for(world, run, leg="baking", step=step)  # within minutes: what is stretched by hours is missed
        assert time.monotonic() - began >= number * BAKE_SECONDS
        clock.ahead(ahead)
    wait_for(world, run, outcome="promoted")
    assert time.monotonic() - began >= 3 * BAKE_SECONDS
    assert_in_order(world, run)


def test_windows_and_the_expiry_of_tokens_follow_the_wall_clock(world: World) -> None:
    clock, today = Clock(world.lives[0].folder), datetime.now(UTC)
    expires = (today + timedelta(days=1)).isoformat()
    token = world.ask("POST", "/api/v1/tokens", {"name": "kim", "role": "viewer", "expires": expires})
    assert token is not None
    freeze = {"from": f"{today - timedelta(days=2):%Y-%m-%d}", "to": f"{today + timedelta(days=1):%Y-%m-%d}"}
    run = start(world, "windowed", bake="0s", window={"timezone": "UTC", "deny": [{**freeze, "reason": "holidays"}]})
    wait_until(lambda: "window" in {hold["reason"] for hold in status(world, run)["holds"]}, what="the window to hold")
    assert is_known(world, token.body["secret"])

    clock.ahead(4 * DAY)
    wait_for(world, run, outcome="promoted")
    wait_until(lambda: not is_known(world, token.body["secret"]), what="the token to expire")
    assert_in_order(world, run)

    clock.ahead(-DAY)
    assert is_known(world, token.body["secret"])
    again = start(world, "later", bake="0s")
    wait_for(world, again, outcome="promoted")
    assert_in_order(world, again)


OPS = """
apiVersion: stagedrollout.io/v1alpha1
kind: ScheduledChecks
metadata: {name: ops}
spec:
  rounds: [{name: hourly, cron: "30 * * * *", checks: [{name: size, script: "echo 17", expect: {number: "< 80"}}]}]
"""


def test_a_round_that_was_missed_is_asked_once_by_the_next_life_of_the_controller(world: World) -> None:
    (world.folder / "ops.yaml").write_text(OPS)
    loaded = load_schedule(OPS, "ops.yaml", {}, read_file=lambda path: (world.folder / path).read_bytes())
    reply = world.ask("POST", "/api/v1/schedules", {"digest": loaded.digest, "document": loaded.raw})
    assert reply is not None
    assert (reply.status, reply.body["scheduled"]) == (201, True)
    life = world.lives[0]
    life.send(signal.SIGKILL)
    wait_until(lambda: not life.running, what="the controller to be dead")
    Clock(life.folder).ahead(3.5 * HOUR)
    world.keep_alive()
    life.wait_until_ready()

    def turns() -> list[Json]:
        told = world.ask("GET", "/api/v1/schedules/ops")
        return [one for one in told.body["turns"] if one["standing"]] if told is not None else []

    wait_until(lambda: bool(turns()), what="the round to be answered")
    (turn,) = turns()
    assert (turn["standing"], turn["checks"][0]["name"]) == ("yes", "size")
    first, newest = (datetime.fromisoformat(turn[name]) for name in ("missed_since", "due"))
    assert newest - first in (timedelta(hours=2), timedelta(hours=3))
    ended = world.ask("DELETE", "/api/v1/schedules/ops", {"reason": "seen"})
    assert ended is not None
    assert ended.status == 200


def is_known(world: World, secret: str) -> bool:
    life = world.lives[0]
    known, life._token = life._token, secret
    try:
        reply = life.ask("GET", "/api/v1/runs")
    finally:
        life._token = known
    assert reply is not None
    return reply.status == 200


def test_a_lease_is_neither_lost_nor_kept_beyond_its_time_by_a_clock_that_is_set(
    faketime: Path, tmp_path: Path, postgres_schema: PostgresSchema
) -> None:
    def owner(run: str) -> str:
        query = "SELECT coalesce(address, '') FROM runs LEFT JOIN controllers ON name = owner WHERE run = %s"
        ((address,),) = postgres_schema.execute(query, run)
        return str(address)

    def lease(address: str) -> object:
        return postgres_schema.execute("SELECT lease_until FROM controllers WHERE address = %s", address)

    with world_in(tmp_path, store=postgres_schema.url, controllers=2, **with_clock(faketime)) as world:
        begin(world)
        run = start(world, "led", levels=tuple(range(1, 101)), bake="1s")
        before = wait_until(lambda: owner(run), what="one to act")
        one, two = sorted(world.lives, key=lambda life: (life.note() or {})["url"] != before)

        def outlives(ahead: float) -> bool:
            lapses = one.log.count("lease.lapsed")
            for seconds in (ahead, 0.0):
                Clock(one.folder).ahead(seconds)
                known = lease(before)
                wait_until(lambda known=known: lease(before) != known, what="the lease to be renewed")  # type: ignore[misc]
            return one.log.count("lease.lapsed") == lapses and owner(run) == before

        for ahead in (5 * HOUR, -5 * HOUR):
            assert any(outlives(ahead) for _ in range(TRIES)), one.log

        Clock(one.folder).ahead(-5 * HOUR)
        lapses = one.log.count("lease.lapsed")
        one.send(signal.SIGSTOP)
        wait_until(lambda: owner(run) == (two.note() or {})["url"], what="another one to act", every_seconds=0.2)
        one.send(signal.SIGCONT)
        wait_until(lambda: one.log.count("lease.lapsed") > lapses, what="the one that was frozen to notice")
        records = world.records(run)
        assert chain.verify(records) is None
        assert [record.at for record in records] == sorted(record.at for record in records)
