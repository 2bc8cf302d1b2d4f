"""One controller for a namespace: who has the lease, who waits, and how it changes hands."""

from typing import Any

import structlog

from orchestrator.cluster.lease import (
    AGAIN_SECONDS,
    DURATION_SECONDS,
    NAME,
    RENEW_SECONDS,
    Holder,
    LeaseKeeper,
    is_alive,
)
from orchestrator.cluster_port import Kind
from tests.orchestrator.cluster.fake_api import FakeApi

ONE, TWO = Holder("one/1", "store-a"), Holder("two/2", "store-b")
NEXT_LIFE = Holder("one/9", "store-a")


class HandClock:
    def __init__(self) -> None:
        self.at = 1_770_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


class Table:
    """An API server and a clock with any number of controllers."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.clock = HandClock()
        self.changes: list[str] = []

    def keeper(self, me: Holder) -> LeaseKeeper:
        return LeaseKeeper(self.api, me, self.clock, lambda: self.changes.append(me.name))

    def holder(self) -> Any:
        return self.api.body(Kind.LEASE, NAME)["spec"]["holderIdentity"]


async def test_the_first_one_takes_it_and_renews_it_without_asking() -> None:
    table = Table()
    one = table.keeper(ONE)
    looks = [await one.look()]
    held = [one.is_held]
    table.clock.at += DURATION_SECONDS
    held.append(one.is_held)
    looks.append(await one.look())
    assert [*held, one.is_held] == [True, False, True]
    assert looks == [RENEW_SECONDS, RENEW_SECONDS]
    assert table.changes == ["one/1"]


async def test_a_second_one_waits_says_so_once_and_takes_over_when_the_first_is_silent_for_long() -> None:
    table = Table()
    one, two = table.keeper(ONE), table.keeper(TWO)
    await one.look()
    with structlog.testing.capture_logs() as logs:
        assert await two.look() == AGAIN_SECONDS
        table.clock.at += DURATION_SECONDS - 1.0
        await two.look()
    assert not two.is_held
    (said,) = (one["words"] for one in logs)
    assert said == (
        "another controller (one/1, with another store) drives namespace shop; this one waits until that one has "
        "ended, and starts nothing meanwhile"
    )
    table.clock.at += 1.0
    assert await two.look() == RENEW_SECONDS
    assert table.holder() == "two/2"
    await one.look()
    assert not one.is_ours
    assert table.changes == ["one/1", "two/2", "one/1"]


async def test_one_that_goes_on_renewing_is_never_thrown_out() -> None:
    table = Table()
    one, two = table.keeper(ONE), table.keeper(TWO)
    for _ in range(20):
        await one.look()
        await two.look()
        table.clock.at += RENEW_SECONDS
    assert not two.is_ours


async def test_the_next_life_on_the_same_store_takes_over_at_once_and_knows_that_it_was_here_before() -> None:
    table = Table()
    one, next_life = table.keeper(ONE), table.keeper(NEXT_LIFE)
    await one.look()
    assert not one.has_history
    await next_life.look()
    assert next_life.is_held
    assert next_life.has_history


async def test_one_that_is_let_go_is_free_at_once() -> None:
    table = Table()
    one, two = table.keeper(ONE), table.keeper(TWO)
    await one.look()
    await one.release()
    assert not is_alive(table.api.body(Kind.LEASE, NAME), table.clock.now())
    await two.look()
    assert two.is_held
    assert not two.has_history


async def test_while_the_server_is_away_it_runs_out_and_comes_back_with_it() -> None:
    table = Table()
    one = table.keeper(ONE)
    await one.look()
    table.api.away = True
    table.clock.at += DURATION_SECONDS
    assert await one.look() == AGAIN_SECONDS
    assert one.is_ours
    assert not one.is_held
    table.api.away = False
    await one.look()
    assert one.is_held


async def test_somebody_who_writes_another_field_of_it_does_not_take_it_away() -> None:
    table = Table()
    one = table.keeper(ONE)
    await one.look()
    await table.api.patch(Kind.LEASE, NAME, {"metadata": {"labels": {"team": "search"}}})
    assert await one.look() == RENEW_SECONDS
    assert one.is_held
    assert table.changes == ["one/1"]


def test_a_reader_believes_in_one_that_was_renewed_lately() -> None:
    lease = {"spec": {"holderIdentity": "one/1", "renewTime": "2026-03-01T12:00:00.000000Z"}}
    noon = 1_772_366_400.0
    assert is_alive(lease, noon + DURATION_SECONDS)
    assert not is_alive(lease, noon + 2 * DURATION_SECONDS)
    assert not is_alive(None, noon)
    assert not is_alive({"spec": {**lease["spec"], "holderIdentity": ""}}, noon)
