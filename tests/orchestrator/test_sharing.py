"""Several controllers on one store, in virtual time: who acts for a run, who takes it over and when, who sees what."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any

import pytest

from orchestrator.core.commands import Command
from orchestrator.errors import Refused, StoreError, Temporary
from orchestrator.journal.memory import MemoryReplica
from orchestrator.ports import Batch, Recorded
from orchestrator.reading import Kill
from orchestrator.runner import Runner
from orchestrator.service import Service
from orchestrator.sharing import LEASE_SECONDS, MOST_CLAIMED, RENEWED_WITHIN_SECONDS, UNEVEN_RUNS
from stages.flag_spec import FlagChange
from tests.orchestrator.house import ANN, QUICK, House, submission
from tests.simulation.loop import simulate
from tests.simulation.world import SimulatedClock

TAKEOVER_SECONDS = 10.5
Test = Callable[[House], Coroutine[Any, Any, None]]


def in_virtual_time(test: Test) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        async def main() -> None:
            house = House(SimulatedClock())
            await test(house)
            await asyncio.gather(*(service.close(0) for service in house.services))

        simulate(main, 1000.0)

    del run.__wrapped__  # its parameter is no fixture
    return run


class Door(MemoryReplica):
    """A controller's way to the store, which can be cut; what is done there never arrives then."""

    is_cut = False

    async def renew(self, lease_seconds: float) -> None:
        self._enter()
        await super().renew(lease_seconds)

    async def claim(self, most: int, *, only_lapsed: bool = False) -> list[str]:
        self._enter()
        return await super().claim(most, only_lapsed=only_lapsed)

    def _enter(self) -> None:
        if self.is_cut:
            raise StoreError("the store is away")


def cut(service: Service, is_cut: bool = True) -> None:
    assert service.sharing is not None
    assert isinstance(service.sharing.membership, Door)
    service.sharing.membership.is_cut = is_cut


def acts_for(service: Service, run: str) -> bool:
    return run in service.in_hand()


async def until(holds: Callable[[], bool]) -> float:
    """How long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not holds():  # noqa: ASYNC110 - time is the loop's own
        await asyncio.sleep(0.01)
    return loop.time() - began


def kill(service: Service) -> None:
    """As if its process had ended: none of its tasks does anything any more."""
    mine = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in mine:
        if task in service.runners._work.values() or task in _loops(service):
            task.cancel()
    for runner in service.runners:
        runner.let_go()


def walked(service: Service, run: str) -> Runner:
    found = service.runners.get(run)
    assert found is not None
    return found


def _loops(service: Service) -> list["asyncio.Task[None]"]:
    assert service.sharing is not None
    loops = [*service.sharing._loops, service.sharing._finding, *service._watches]
    return [loop for loop in loops if loop is not None]


# --- who acts ---


@in_virtual_time
async def test_a_run_is_walked_by_who_started_it_and_by_nobody_else(house: House) -> None:
    a, b = [await house.join(name) for name in "ab"]
    run, _ = await a.start(submission(), ANN)
    await asyncio.sleep(20.0)
    assert (acts_for(a, run), acts_for(b, run)) == (True, False)
    assert (await b.status(run))["controller"] == "a"
    assert (await b.status(run))["holds"] == []


@in_virtual_time
async def test_the_same_plan_started_with_another_controller_attaches_to_the_run(house: House) -> None:
    a, b = [await house.join(name) for name in "ab"]
    run, _ = await a.start(submission(), ANN)
    assert await b.start(submission(), ANN) == (run, False)


@in_virtual_time
async def test_when_a_controller_dies_another_takes_its_run_over_in_time_and_ends_it(house: House) -> None:
    a, b = [await house.join(name) for name in "ab"]
    run, _ = await a.start(submission(stages=[{**QUICK["stages"][0], "bake": "30s"}]), ANN)
    await asyncio.sleep(5.0)
    kill(a)
    assert await until(lambda: acts_for(b, run)) <= TAKEOVER_SECONDS
    await asyncio.sleep(120.0)
    assert (await b.status(run))["outcome"] == "promoted"


class Far(MemoryReplica):
    """A store that takes its time to give a journal out."""

    async def read(self, run: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        await asyncio.sleep(0.4)
        return await super().read(run, after, limit)


@in_virtual_time
async def test_many_runs_are_taken_over_in_time_though_each_journal_takes_its_time_to_be_read(house: House) -> None:
    a, b = await house.join("a"), await house.join("b", Far)
    runs = [(await a.start(submission(f"change-{n}", flag=f"f{n}"), ANN))[0] for n in range(12)]
    await asyncio.sleep(5.0)
    kill(a)
    assert await until(lambda: all(acts_for(b, run) for run in runs)) <= TAKEOVER_SECONDS


@in_virtual_time
async def test_what_one_left_is_taken_up_by_all_others_at_once(house: House) -> None:
    a = await house.join("a")
    runs = [(await a.start(submission(f"change-{n}", flag=f"f{n}"), ANN))[0] for n in range(4 * MOST_CLAIMED)]
    b, c = [await house.join(name, Far) for name in "bc"]
    kill(a)
    await until(lambda: all(acts_for(b, run) or acts_for(c, run) for run in runs))
    assert {len(one.in_hand()) for one in (b, c)} == {2 * MOST_CLAIMED}


async def started(service: Service, count: int) -> list[str]:
    return [(await service.start(submission(f"change-{n}", flag=f"f{n}"), ANN))[0] for n in range(count)]


def shares(*services: Service) -> list[int]:
    return [len(service.in_hand()) for service in services]


@in_virtual_time
async def test_of_many_runs_who_comes_later_is_given_a_share(house: House) -> None:
    a = await house.join("a")
    runs = await started(a, 60)
    b, c = [await house.join(name) for name in "bc"]
    took = await until(lambda: max(shares(a, b, c)) <= 30 and sum(shares(a, b, c)) == len(runs))
    assert took <= 30.0
    assert sorted((*a.in_hand(), *b.in_hand(), *c.in_hand())) == sorted(runs)
    await asyncio.sleep(60.0)
    now = shares(a, b, c)
    assert max(now) - min(now) < 2 * UNEVEN_RUNS
    await asyncio.sleep(60.0)
    assert shares(a, b, c) == now


@in_virtual_time
async def test_a_run_that_is_given_away_goes_on_where_it_was(house: House) -> None:
    a = await house.join("a")
    for n in range(40):
        stage = {"name": "open", "kind": "monitoring", "flag": f"f{n}", "percentages": [50, 100], "bake": "2m"}
        await a.start(submission(f"change-{n}", flag=f"f{n}", stages=[stage]), ANN)
    await asyncio.sleep(90.0)
    b = await house.join("b")
    await until(lambda: len(b.in_hand()) >= 10)
    moved = min(b.in_hand())

    await asyncio.sleep(150.0 - asyncio.get_running_loop().time())  # 120 are the bake: it did not start anew
    assert set((await b.status(moved))["percentages"].values()) == {100}


@in_virtual_time
async def test_what_one_of_three_gives_up_as_it_ends_goes_to_the_others_though_they_have_their_shares(
    house: House,
) -> None:
    a, b, c = [await house.join(name) for name in "abc"]
    for n, service in enumerate([a, b, c] * 4):
        await service.start(submission(f"change-{n}", flag=f"f{n}"), ANN)
    await asyncio.sleep(10.0)
    assert shares(a, b, c) == [4, 4, 4]
    await c.close(0)
    assert await until(lambda: sum(shares(a, b)) == 12) <= 2.0


@in_virtual_time
async def test_a_few_runs_stay_where_they_are(house: House) -> None:
    a, b = [await house.join(name) for name in "ab"]
    await started(a, UNEVEN_RUNS)
    await asyncio.sleep(60.0)
    assert shares(a, b) == [UNEVEN_RUNS, 0]


@in_virtual_time
async def test_a_run_that_could_not_be_released_is_taken_up_again(house: House) -> None:
    a = await house.join("a", Door)
    runs = await started(a, 40)
    b = await house.join("b")
    assert a.sharing is not None
    released = a.sharing.membership.release
    refused: list[int] = []

    async def refuse(runs: Sequence[str]) -> None:
        refused.append(len(runs))
        if len(refused) == 1:
            raise StoreError("the store is away")
        await released(runs)

    a.sharing.membership.release = refuse  # type: ignore[method-assign]
    await until(lambda: len(refused) == 1)
    await until(lambda: shares(a, b) == [len(runs), 0])
    await until(lambda: len(b.in_hand()) >= 10)
    await asyncio.sleep(5.0)
    assert sum(shares(a, b)) == len(runs)


class Silent(MemoryReplica):
    """A store that hangs, as one does whose synchronous standby is away."""

    async def renew(self, lease_seconds: float) -> None:
        await asyncio.Event().wait()


@in_virtual_time
async def test_a_store_that_hangs_when_a_controller_starts_is_said_in_a_sentence(house: House) -> None:
    with pytest.raises(StoreError, match="took no lease of this controller within 3 s"):
        await house.join("a", Silent)


@in_virtual_time
async def test_who_is_told_to_end_leaves_and_the_next_need_not_wait(house: House) -> None:
    a, b = [await house.join(name) for name in "ab"]
    run, _ = await a.start(submission(), ANN)
    await asyncio.sleep(1.0)
    await a.close(5.0)
    assert await until(lambda: acts_for(b, run)) <= 2.0


@in_virtual_time
async def test_who_cannot_renew_lets_everything_go_before_anybody_can_take_it(house: House) -> None:
    a, b = await house.join("a", Door), await house.join("b")
    run, _ = await a.start(submission(), ANN)
    await asyncio.sleep(2.0)
    cut(a)
    let_go = await until(lambda: not acts_for(a, run))
    assert RENEWED_WITHIN_SECONDS - 2.0 < let_go <= RENEWED_WITHIN_SECONDS + 0.2
    assert not acts_for(b, run)
    taken = let_go + await until(lambda: acts_for(b, run))
    assert LEASE_SECONDS - 2.0 < taken <= TAKEOVER_SECONDS
    with pytest.raises(Temporary, match="no lease"):
        await a.start(submission("another", flag="gamma"), ANN)


@in_virtual_time
async def test_who_comes_back_after_others_took_its_runs_begins_a_new_lease_without_them(house: House) -> None:
    a, b = await house.join("a", Door), await house.join("b")
    run, _ = await a.start(submission(), ANN)
    cut(a)
    await until(lambda: acts_for(b, run))
    cut(a, False)
    await asyncio.sleep(5.0)
    assert (acts_for(a, run), acts_for(b, run)) == (False, True)
    other, started = await a.start(submission("another", "d2", flag="gamma"), ANN)
    assert started
    assert acts_for(a, other)


@in_virtual_time
async def test_a_store_that_was_away_for_everybody_leaves_every_run_where_it_was(house: House) -> None:
    a, b = await house.join("a", Door), await house.join("b", Door)
    run, _ = await a.start(submission(), ANN)
    for one in (a, b):
        cut(one)
    await until(lambda: not acts_for(a, run))
    cut(a, False)
    assert await until(lambda: acts_for(a, run)) <= 3.0
    cut(b, False)
    await asyncio.sleep(20.0)
    assert (acts_for(a, run), acts_for(b, run)) == (True, False)


@in_virtual_time
async def test_a_controller_that_was_frozen_past_its_lease_does_nothing_before_its_runs_are_dropped(
    house: House,
) -> None:
    a = await house.join("a")
    assert a.sharing is not None
    run, _ = await a.start(submission(), ANN)
    await asyncio.sleep(1.0)
    runner, slept = walked(a, run), 0.0
    a.sharing._time = lambda: house.clock.monotonic() + slept
    slept = LEASE_SECONDS
    assert not runner.may_act()
    assert runner._closing
    await until(lambda: run not in a.runners)
    assert await until(lambda: acts_for(a, run)) <= 3.0
    assert walked(a, run) is not runner


@in_virtual_time
async def test_a_run_whose_append_nobody_knows_the_fate_of_is_taken_up_again(house: House) -> None:
    a = await house.join("a")
    run, _ = await a.start(submission(), ANN)
    await asyncio.sleep(1.0)
    epoch = walked(a, run).epoch
    await a.journal.take(run)  # what the runner has is old now
    with pytest.raises(Exception, match="another controller"):
        await a.command(run, pause("k1"), ANN)
    assert await until(lambda: acts_for(a, run)) <= 3.0
    assert walked(a, run).epoch > epoch + 1


class Forgetful(MemoryReplica):
    """A store that falls over when it has written, and does not know when it is asked again that it was this."""

    falls_over = False

    async def append(self, batch: Batch) -> list[Recorded]:
        records = await super().append(batch)
        if self.falls_over:
            self.falls_over = False
            raise StoreError("the store is away")
        return records


@in_virtual_time
async def test_a_command_after_one_that_was_written_without_our_knowing_is_asked_for_again_and_done(
    house: House,
) -> None:
    a = await house.join("a", Forgetful)
    run, _ = await a.start(submission(), ANN)
    await asyncio.sleep(1.0)
    assert a.sharing is not None
    assert isinstance(a.sharing.membership, Forgetful)
    a.sharing.membership.falls_over = True
    with pytest.raises(StoreError):
        await a.command(run, pause("k1"), ANN)
    assert (await a.command(run, pause("k1"), ANN))["accepted"]
    resume = Command(command="resume", reason="seen", key="k2")  # type: ignore[arg-type]
    with pytest.raises(Temporary, match="ask again"):  # and not: it is not paused
        await a.command(run, resume, ANN)
    await until(lambda: acts_for(a, run))
    assert (await a.command(run, resume, ANN))["accepted"]
    assert (await a.status(run))["holds"] == []


@in_virtual_time
async def test_a_command_that_finds_the_run_ahead_of_what_is_known_is_to_be_asked_again(house: House) -> None:
    a = await house.join("a", Forgetful)
    run, _ = await a.start(submission(), ANN)
    await asyncio.sleep(1.0)
    assert a.sharing is not None
    assert isinstance(a.sharing.membership, Forgetful)
    a.sharing.membership.falls_over = True
    with pytest.raises(StoreError):
        await a.command(run, pause("k1"), ANN)
    with pytest.raises(Temporary, match=r"somebody else wrote first.*ask again"):
        await a.command(run, pause("k2"), ANN)


# --- commands and reading ---


def pause(key: str) -> Command:
    return Command(command="pause", reason="look", key=key)  # type: ignore[arg-type]


@in_virtual_time
async def test_a_command_for_a_run_elsewhere_is_not_answered_here_and_says_where_it_is(house: House) -> None:
    a, b = [await house.join(name) for name in "ab"]
    run, _ = await a.start(submission(), ANN)
    owner = await b.elsewhere(run)
    assert owner is not None
    assert owner.name == "a"
    with pytest.raises(Temporary, match="does not act for"):
        await b.command(run, pause("k1"), ANN)
    assert await a.elsewhere(run) is None


@in_virtual_time
async def test_a_run_that_nobody_acts_for_yet_is_a_matter_of_seconds(house: House) -> None:
    a, b = [await house.join(name) for name in "ab"]
    run, _ = await a.start(submission(), ANN)
    kill(a)
    await asyncio.sleep(LEASE_SECONDS - 1.0)
    assert b.sharing is not None
    await b.sharing.stop_finding()
    await asyncio.sleep(3.0)
    with pytest.raises(Temporary, match="no controller acts for") as refused:
        await b.elsewhere(run)
    assert refused.value.retry_after_seconds
    assert [hold["reason"] for hold in (await b.status(run))["holds"]] == ["no_controller"]


@in_virtual_time
async def test_a_run_that_ended_is_answered_for_by_any_controller(house: House) -> None:
    a, b = [await house.join(name) for name in "ab"]
    run, _ = await a.start(submission(**QUICK), ANN)
    await asyncio.sleep(300.0)
    assert (await b.status(run))["outcome"] == "promoted"
    with pytest.raises(Refused, match="ended"):
        await b.command(run, pause("k1"), ANN)
    back = Command(command="rollback", reason="second thoughts", key="k2")  # type: ignore[arg-type]
    answer = await b.command(run, back, ANN)
    assert await a.command(run, back, ANN) == answer
    assert acts_for(b, answer["run_started"])


@in_virtual_time
async def test_a_follower_of_a_run_elsewhere_sees_everything_to_the_end_also_through_a_takeover(house: House) -> None:
    a, b, c = [await house.join(name) for name in "abc"]
    run, _ = await a.start(submission(stages=[{**QUICK["stages"][0], "bake": "30s"}]), ANN)
    seen: list[dict[str, Any]] = []

    async def follow() -> None:
        seen.extend([entry async for entry in c.follow(run)])

    following = asyncio.create_task(follow())
    await asyncio.sleep(10.0)
    kill(a)
    await following
    assert [entry["seq"] for entry in seen] == list(range(1, len(seen) + 1))
    assert seen[-1]["type"] == "RunEnded"
    assert await b.status(run) is not None


@in_virtual_time
async def test_what_runs_elsewhere_hold_is_known_here(house: House) -> None:
    a, b = [await house.join(name) for name in "ab"]
    run, _ = await a.start(submission(), ANN)
    await asyncio.sleep(5.0)
    assert (await b.flag("production", "beta"))["run"] == run
    assert [(one["key"], one["run"]) for one in await b.flags()] == [("beta", run)]


# --- flags and the kill switch ---


@in_virtual_time
async def test_a_flag_written_by_one_controller_is_served_by_all_and_noticed_by_the_run_that_moves_it(
    house: House,
) -> None:
    a, b = [await house.join(name) for name in "ab"]
    run, _ = await a.start(submission(), ANN)
    await asyncio.sleep(10.0)
    assert b.snapshot("production") is not None
    before = b.standing("production")
    woken = asyncio.create_task(a.changed("production", a.standing("production").feed.version))
    await b.set_flag("production", "beta", FlagChange(percentage=3.0), "by hand", ANN)
    assert (await woken).feed.documents[0].percentage == 3.0
    assert b.standing("production").feed.version == a.standing("production").feed.version > before.feed.version
    await asyncio.sleep(20.0)
    assert [hold["reason"] for hold in (await a.status(run))["holds"]] == ["changed_elsewhere"]


@in_virtual_time
async def test_the_kill_switch_of_one_controller_holds_in_all_and_for_one_that_comes_later(house: House) -> None:
    a, b = [await house.join(name) for name in "ab"]
    run, _ = await a.start(submission(), ANN)
    await asyncio.sleep(5.0)
    await b.disable_all(Kill(reason="stop it all"), ANN)
    await asyncio.sleep(2.5)
    assert [latch["reason"] for latch in a.latches()] == ["stop it all"]
    assert a.standing("production").feed.killed
    await asyncio.sleep(2.5)
    assert "killed" in [hold["reason"] for hold in (await a.status(run))["holds"]]
    late = await house.join("late")
    assert late.standing("production").feed.killed
    await late.lift(None, None, "fine again", ANN, confirm=True)
    await asyncio.sleep(2.5)
    assert a.latches() == b.latches() == []
    versions = {one.standing("production").feed.version for one in (a, b, late)}
    assert len(versions) == 1
