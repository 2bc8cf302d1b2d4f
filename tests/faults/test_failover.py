"""A PostgreSQL store whose primary restarts, is replaced, and comes back: a little of `make failover`."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from orchestrator.errors import StoreError
from orchestrator.journal.postgresql import PostgresStore
from orchestrator.ports import Member
from tests.faults.changes import Change, Parts
from tests.faults.failover import CONTROLLERS, Fault, bring
from tests.faults.world import Drive, broken_promises, world_in
from tests.support.journals import answered, batch, started
from tests.support.postgres_pair import Pair
from tests.support.process import DEADLINE_SECONDS

pytestmark = [pytest.mark.acceptance, pytest.mark.postgres, pytest.mark.slow]


T = TypeVar("T")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair() as made:
        yield made


async def test_what_only_the_primary_has_is_not_told_to_be_durable_when_it_is_asked_for_again(pair: Pair) -> None:
    """A commit that waits for a standby is there when the primary falls over, and everybody sees it from then on."""
    url = pair.url.replace("schema=store", "schema=alone")
    store = PostgresStore(url, Member("one", "http://one.invalid"), deadline_seconds=2.0)
    given = batch(answer=answered("key", seq=2))
    try:
        await started(store)
        assert pair.standby is not None
        pair.standby.crash()
        with pytest.raises(StoreError, match="whether it was written is not known"):
            await store.append(given)
        pair.restart()
        assert len(await when_it_answers(lambda: store.read("r"))) == 2
        with pytest.raises(StoreError):
            await store.answer("r", "key")
        pair.standby.start()
        pair.primary.wait_for_standby()
        assert await when_it_answers(lambda: store.answer("r", "key")) == given.answer
    finally:
        await store.close()


async def when_it_answers(call: Callable[[], Awaitable[T]]) -> T:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            with contextlib.suppress(StoreError):
                return await call()
            await asyncio.sleep(0.2)


def test_a_change_outlives_a_restart_and_a_failover_after_which_the_old_primary_comes_back(
    pair: Pair, tmp_path: Path
) -> None:
    place = tmp_path / "plan"
    place.mkdir()
    with world_in(tmp_path / "world", store=pair.url, controllers=CONTROLLERS) as world:
        parts = Parts(goes_back=True, counting=world.counting.url)
        drive = Drive(world, Change("falls", place, parts))
        world.keep_alive()
        for life in world.lives:
            life.wait_until_ready()
        drive.begin()
        drive.flag_set()
        drive.send("pause")
        pair.restart()
        drive.send("resume")
        drive.wait(lambda status: bool(status["waiting"]), "to be asked")
        written_to_the_old_one = bring(Fault.RETURN, pair, lambda: drive.send("approve"))
        drive.end()
        assert broken_promises(drive) == []
        assert written_to_the_old_one == []
        shown = drive.ensure("GET", f"/api/v1/runs/{drive.run}")
        assert len(world.records(drive.run)) == shown["seq"]  # who only looks asks both as well
        world.lives[0].kill()
        world.keep_alive()  # one that has never seen the new one asks both, and takes it
        world.lives[0].wait_until_ready()
        assert pair.old is not None
        (addresses,) = zip(*pair.ask(pair.primary, "SELECT address FROM store.controllers"), strict=True)
        assert (world.lives[0].note() or {})["url"] in addresses
        assert pair.ask(pair.primary, "SELECT generation FROM store.store") == [(2,)]
