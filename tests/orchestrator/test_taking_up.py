"""A new life of the controller takes up whatever runs there are, many at a time."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from orchestrator import runners
from orchestrator.core.commands import Command
from orchestrator.core.events import KillSwitched, RunStarted
from orchestrator.core.fold import program_of
from orchestrator.core.phases import CommandName
from orchestrator.errors import StoreError, Temporary, Unreadable
from orchestrator.ports import Batch, Latch, NewRun, Recorded
from orchestrator.runner import Runner
from tests.orchestrator.house import ANN, House, eventually, submission
from tests.orchestrator.test_sharing import in_virtual_time
from tests.support.process import DEADLINE_SECONDS

MORE_THAN_A_LIST_HAS = 1001


async def test_an_old_run_is_taken_up_however_many_newer_ones_have_ended(house: House) -> None:
    first = await house.move_in()
    run, _ = await first.start(submission(), ANN)
    await eventually(first, run, leg="baking")
    await first.close(0)
    for number in range(MORE_THAN_A_LIST_HAS):
        await _ended_run(house, f"newer-{number}")
    second = await house.move_in()
    assert second.in_hand() == {run}


async def test_runs_are_taken_up_side_by_side(house: House) -> None:
    first = await house.move_in()
    runs = {(await first.start(submission(name, name, name), ANN))[0] for name in ("one", "two", "three")}
    await first.close(0)
    all_are_being_taken, take, asked = asyncio.Event(), house.store.take, set[str]()

    async def take_with_the_others(run: str) -> int:
        asked.add(run)
        if asked == runs:
            all_are_being_taken.set()
        await all_are_being_taken.wait()
        return await take(run)

    house.store.take = take_with_the_others  # type: ignore[method-assign]
    async with asyncio.timeout(DEADLINE_SECONDS):
        second = await house.move_in()
    assert second.in_hand() == runs


async def test_what_is_on_its_way_back_is_taken_up_before_all_else(house: House) -> None:
    first = await house.move_in()
    old, *newer = [(await first.start(submission(name, name, name), ANN))[0] for name in ("one", "two", "three")]
    for run in (old, *newer):
        await eventually(first, run, leg="baking")
    asked = list[str]()
    await first.close(0)
    row = await house.store.row(old)
    assert row is not None
    back = {**row.summary, "phase": "rolling_back"}
    await house.store.append(Batch(old, row.rev, row.epoch, house.clock.now(), [], back, active=True))
    take = house.store.take

    async def noted(run: str) -> int:
        asked.append(run)
        return await take(run)

    house.store.take = noted  # type: ignore[method-assign]
    await house.move_in()
    assert asked[0] == old
    assert set(asked) == {old, *newer}


async def test_what_is_on_its_way_back_goes_on_while_others_are_taken_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await house.move_in()
    shut = {"command": ["./set.sh"], "target": "app", "observe": ["./show.sh"], "undo": ["./set.sh", "{before}"]}
    stage = {"name": "open", "kind": "queue", "flag": "one", "percentages": [50], "bake": "1h", "before": [shut]}
    back, _ = await first.start(submission("one", "one", "one", stages=[{**stage, "settle": "1h"}]), ANN)
    late, _ = await first.start(submission("two", "two", "two"), ANN)
    for run in (back, late):
        await eventually(first, run, leg="baking")
    await first.command(back, Command(command=CommandName.ROLLBACK, reason="enough"), ANN)
    await eventually(first, back, phase="rolling_back")
    await first.close(0)
    read, goes_on, walked = house.store.read, asyncio.Event(), list[str]()
    begin_turn = Runner._begin_turn

    async def read_late(run: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        if run == late:
            await goes_on.wait()
        return await read(run, after, limit)

    def begun(self: Runner) -> None:
        walked.append(self.run)
        begin_turn(self)

    house.store.read = read_late  # type: ignore[method-assign]
    monkeypatch.setattr(Runner, "_begin_turn", begun)
    moving_in = asyncio.create_task(house.move_in())
    await _until(lambda: back in walked)
    assert not moving_in.done()
    goes_on.set()
    await moving_in


async def test_runs_are_walked_when_all_are_taken_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first would otherwise look and look, and of thousands the last would wait for minutes to be taken up."""
    first = await house.move_in()
    runs = [(await first.start(submission(name, name, name), ANN))[0] for name in ("one", "two", "three")]
    for run in runs:
        await eventually(first, run, leg="baking")
    await first.close(0)
    done = list[str]()
    take, begin_turn = house.store.take, Runner._begin_turn

    async def taken(run: str) -> int:
        for _ in range(100 * runs.index(run)):  # rounds of the loop, in which the others would have their turns
            await asyncio.sleep(0)
        done.append("taken up")
        return await take(run)

    def begun(self: Runner) -> None:
        done.append("walked")
        begin_turn(self)

    house.store.take = taken  # type: ignore[method-assign]
    monkeypatch.setattr(Runner, "_begin_turn", begun)
    second = await house.move_in()
    for run in runs:
        await eventually(second, run, leg="baking")
    await _until(lambda: "walked" in done)
    assert done[:3] == ["taken up"] * 3


async def test_a_run_that_walks_already_hears_of_the_kill_switch_while_others_are_taken_up(house: House) -> None:
    first = await house.move_in()
    walked, late = [(await first.start(submission(name, name, name), ANN))[0] for name in ("one", "two")]
    for run in (walked, late):
        await eventually(first, run, leg="baking")
    await first.close(0)
    read, goes_on = house.store.read, asyncio.Event()

    async def read_late(run: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        if run == late:
            await goes_on.wait()
        return await read(run, after, limit)

    house.store.read = read_late  # type: ignore[method-assign]
    moving_in = asyncio.create_task(house.move_in())
    await _until(lambda: any(task.get_name() == f"run {walked}" for task in asyncio.all_tasks()))
    house.kill_switch.disable_all(Latch("*", "ann", "another process set it", house.clock.now()))
    journal = house.store._runs[walked].events
    await _until(lambda: any(isinstance(one.event, KillSwitched) for one in journal))
    assert not moving_in.done()
    goes_on.set()
    await moving_in


@in_virtual_time
async def test_a_run_that_cannot_be_read_keeps_no_other_from_being_walked_and_is_tried_again(house: House) -> None:
    first = await house.move_in()
    names = ("one", "two", "three")
    damaged, older, nonsense = [(await first.start(submission(name, name, name), ANN))[0] for name in names]
    await first.close(0)
    read, events = house.store.read, house.store._runs[nonsense].events
    known = events[0]
    events[0] = replace(known, event=known.event.model_copy(update={"documents": ()}))
    is_mended = asyncio.Event()

    async def read_most(run: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        if run == damaged and not is_mended.is_set():
            raise Unreadable("Event 1 can't be read")
        return await read(run, after, limit)

    house.store.read = read_most  # type: ignore[method-assign]
    with capture_logs() as logs:
        second = await house.move_in()
    await eventually(second, older, leg="baking")
    assert {one["run"] for one in logs if one["event"] == "run.not_taken_up"} == {damaged, nonsense}
    assert second.unwalked() == 2
    assert second.in_hand() == {damaged, older, nonsense}

    is_mended.set()
    events[0] = known
    for run in (damaged, nonsense):
        await eventually(second, run, leg="baking")
    assert second.unwalked() == 0


@in_virtual_time
async def test_a_run_that_failed_often_is_tried_again_each_minute_though_the_store_was_away_meanwhile(
    house: House,
) -> None:
    first = await house.move_in()
    run, _ = await first.start(submission(), ANN)
    await first.close(0)
    read, tries = house.store.read, list[float]()

    async def fails(run: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        tries.append(house.clock.now())
        if len(tries) > 6:
            return await read(run, after, limit)
        raise StoreError("the database is away") if len(tries) % 2 == 0 else Unreadable("Event 1 can't be read")

    house.store.read = fails  # type: ignore[method-assign]
    second = await house.move_in()
    second.runners._crashes[run] = 2000
    await asyncio.sleep(10 * 60.0)
    assert run in second.runners
    assert tries[-1] - tries[-2] == pytest.approx(60.0)


async def test_a_store_that_is_away_is_no_fault_of_a_run(house: House) -> None:
    first = await house.move_in()
    await first.start(submission(), ANN)
    await first.close(0)

    async def away(run: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        raise StoreError("the database is away")

    house.store.read = away  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="away"):
        await house.move_in()


@in_virtual_time
async def test_a_run_that_is_ahead_of_its_runner_is_read_again(house: House) -> None:
    """Nobody else has a store that is this controller's alone, so nobody else would go on with it."""
    service = await house.move_in()
    run, _ = await service.start(submission(), ANN)
    await eventually(service, run, leg="baking")
    epoch = await house.store.take(run)
    with pytest.raises(Temporary, match="ask again"):
        await service.command(run, Command(command=CommandName.PAUSE, reason="look"), ANN)
    await _until(lambda: run not in service.runners)
    await _until(lambda: run in service.runners)
    walked = service.runners.get(run)
    assert walked is not None
    assert walked.epoch > epoch


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "TAKEN_UP_TOGETHER", 1)


@pytest.mark.usefixtures("one_by_one")
async def test_a_controller_answers_while_the_rest_of_many_runs_is_taken_up(house: House) -> None:
    runs = await _left_baking(house, "one", "two", "three")
    take, goes_on, asked = house.store.take, asyncio.Event(), list[str]()

    async def take_late(run: str) -> int:
        asked.append(run)
        if len(asked) > 1:
            await goes_on.wait()
        return await take(run)

    house.store.take = take_late  # type: ignore[method-assign]
    second = await house.move_in()
    is_idle = asyncio.create_task(second.until_idle())
    assert second.in_hand() == set(runs.values())
    assert [runner.run for runner in second.runners] == asked[:1]
    for flag, run in runs.items():
        assert (await second.flag("production", flag))["run"] == run
        assert (await second.status(run))["holds"] == []
    listing = asyncio.create_task(second.flags())
    await asyncio.sleep(0.01)
    assert not listing.done(), "it would say that nobody moves what a run that is still to come moves"
    goes_on.set()
    assert {one["key"]: one["run"] for one in await listing} == runs
    assert {runner.run for runner in second.runners} == set(runs.values())
    is_idle.cancel()


@pytest.mark.usefixtures("one_by_one")
async def test_a_run_is_taken_up_out_of_turn_for_a_command(house: House) -> None:
    runs = set((await _left_baking(house, "one", "two", "three")).values())
    take, asked = house.store.take, list[str]()

    async def second_never(run: str) -> int:
        asked.append(run)
        if len(asked) == 2:
            await asyncio.Event().wait()
        return await take(run)

    house.store.take = second_never  # type: ignore[method-assign]
    second = await house.move_in()
    await _until(lambda: len(asked) == 2)
    (last,) = runs - set(asked)
    answer = await second.command(last, Command(command=CommandName.ROLLBACK, reason="enough"), ANN)
    assert answer["run_started"] is None
    await eventually(second, last, outcome="rolled_back")
    await second.close(0)  # also while one is being taken up


@pytest.mark.usefixtures("one_by_one")
@in_virtual_time
async def test_a_store_that_is_away_while_the_rest_is_taken_up_loses_no_run(house: House) -> None:
    runs = set((await _left_baking(house, "one", "two")).values())
    take, asked = house.store.take, list[str]()

    async def second_fails(run: str) -> int:
        asked.append(run)
        if len(asked) == 2:
            raise StoreError("the database is away")
        return await take(run)

    house.store.take = second_fails  # type: ignore[method-assign]
    second = await house.move_in()
    await _until(lambda: {runner.run for runner in second.runners} == runs)


async def test_a_run_that_crashed_and_waits_to_be_tried_again_obeys_at_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(), ANN)
    await eventually(service, run, leg="baking")
    begin_turn = Runner._begin_turn

    def fails(self: Runner) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Runner, "_begin_turn", fails)
    with suppress(Exception):
        await service.command(run, Command(command=CommandName.PAUSE, reason="look"), ANN)
    await _until(lambda: service.unwalked() == 1)
    monkeypatch.setattr(Runner, "_begin_turn", begin_turn)
    answer = await service.command(run, Command(command=CommandName.ROLLBACK, reason="enough"), ANN)
    assert answer["run_started"] is None
    assert service.unwalked() == 0
    await eventually(service, run, outcome="rolled_back")


async def _left_baking(house: House, *names: str) -> dict[str, str]:
    """Flag -> run of each, after the controller that began them has gone."""
    first = await house.move_in()
    runs = {name: (await first.start(submission(name, name, name), ANN))[0] for name in names}
    for run in runs.values():
        await eventually(first, run, leg="baking")
    await first.close(0)
    return runs


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.01)


async def _ended_run(house: House, name: str) -> None:
    (document,) = submission(name, name, name).documents
    started = RunStarted(by="ann", run=name, plan=name, digest=name, documents=(document,))
    new, at = NewRun(name, name, name, program_of(started).claims()), house.clock.now()
    await house.store.start(new, 1, at, [started], {"settled": False})
    await house.store.append(Batch(name, 1, 1, at, [], {"settled": True}, active=False, release=True))
