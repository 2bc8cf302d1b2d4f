"""Finished runs are kept whole for a time, and then as their report."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchestrator import reading
from orchestrator.audit import Head, verify
from orchestrator.core.commands import Command
from orchestrator.errors import KeptAsReport, NotFound, StoreError, Tampered
from orchestrator.journal.memory import MemoryStore
from orchestrator.journal.memory_keeping import MemoryKeeping
from orchestrator.ports import Recorded, RunRow
from orchestrator.reading import Reading, is_unfinished
from orchestrator.retention import AT_ONCE, PASS_SECONDS, TURN_SECONDS, Keep, Retention, acts_alone
from orchestrator.service import Service
from tests.orchestrator.house import ANN, QUICK, House, eventually, submission
from tests.support.journals import batch, started
from tests.support.process import DEADLINE_SECONDS

DAY = 86_400.0
KEEP = Keep(30 * DAY)
ENDED = "2026-01-01T00:00:00.000Z"


@dataclass
class Later:
    """The wall's clock so many *days* on. Nothing waits."""

    house: House
    days: float = 31.0
    slept: float = 0.0

    def now(self) -> float:
        return self.house.clock.now() + self.days * DAY

    def monotonic(self) -> float:
        return self.house.clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        await asyncio.sleep(0)


def retention(house: House, days: float = 31.0, store: MemoryStore | None = None, keep: Keep = KEEP) -> Retention:
    store = store or house.store
    return Retention(store, store.keeping, Later(house, days), keep, acts_alone(None))


async def over(service: Service, name: str = "change", **spec: Any) -> str:
    """A run that went all the way."""
    run, _ = await service.start(submission(name, **{**QUICK, **spec}), ANN)
    await eventually(service, run, outcome="promoted")
    await settled(service, run)
    return run


async def settled(service: Service, run: str) -> RunRow:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            row = await service.journal.row(run)
            assert row is not None
            if not is_unfinished(row) and run not in service.in_hand():
                return row
            await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


async def is_whole(house: House, run: str) -> bool:
    row = await house.store.row(run)
    assert row is not None
    assert (row.kept is None) == bool(await house.store.read(run)) == (await house.store.keeping.kept(run) is None)
    return row.kept is None


def said(name: str, **given: Any) -> Command:
    return Command.model_validate({"command": name, "reason": "try", **given})


# --- when -------------------------------------------------------------------------------------------------------------


async def test_a_finished_run_is_whole_for_its_time_and_then_its_report(house: House) -> None:
    service = await house.move_in()
    run = await over(service)
    whole = await service.report(run)
    await retention(house, days=29.9).turn()
    assert await is_whole(house, run)
    with capture_logs() as logs:
        await retention(house, days=30.1).turn()
    assert not await is_whole(house, run)
    (told,) = [one for one in logs if one["event"] == "retention.cut"]
    assert (told["run"], told["head"]) == (run, f"{len(whole['history'])}:{whole['report']['chain']['head']}")
    assert told["setting"] == "--keep-finished 30d"


async def test_its_time_begins_at_its_end(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(), ANN)
    await eventually(service, run, leg="baking")
    await retention(house, days=400).turn()
    assert await is_whole(house, run)
    row = await house.store.row(run)
    assert row is not None
    long_ago = replace(row, created=row.created - 100 * DAY)
    house.store._runs[run].row = long_ago  # it took a hundred days
    await service.command(run, said("rollback"), ANN)
    await eventually(service, run, outcome="rolled_back")
    await settled(service, run)
    await retention(house, days=29).turn()
    assert await is_whole(house, run)
    await retention(house, days=31).turn()
    assert not await is_whole(house, run)


async def test_a_run_with_something_open_is_whole_until_that_is_answered(house: House) -> None:
    service = await house.move_in()
    todo = [{"name": "tidy", "manual": "Take the flag out", "due": "1h"}]
    run = await over(service, follow_up=todo)
    keeping = retention(house)
    with capture_logs() as logs:
        await keeping.turn()
        await keeping.turn()
    assert await is_whole(house, run)
    assert [one["why"] for one in logs if one["event"] == "retention.whole"] == ["follow_up:tidy waits for an answer"]
    await service.command(run, said("approve"), ANN)
    await settled(service, run)
    await keeping.turn()
    assert not await is_whole(house, run)


async def test_a_stopped_run_is_whole_while_the_one_that_superseded_it_is_active(house: House) -> None:
    service = await house.move_in()
    old, _ = await service.start(submission(), ANN)
    await eventually(service, old, leg="baking")
    new, _ = await service.start(replace(submission(digest="d2"), supersede=old), ANN)
    await settled(service, old)
    keeping = retention(house)
    await keeping.turn()
    assert await is_whole(house, old)
    await service.command(new, said("rollback"), ANN)
    await settled(service, new)
    await keeping.turn()
    assert not await is_whole(house, old)
    assert (await service.report(new))["report"]["supersedes"] == old
    assert (await service.status(old))["outcome"] == "stopped"


async def test_a_stopped_run_that_nobody_took_on_stays_whole_until_it_is_taken_back(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(), ANN)
    await eventually(service, run, leg="baking")
    await service.command(run, said("stop"), ANN)
    await settled(service, run)
    keeping = retention(house)
    await keeping.turn()
    assert await is_whole(house, run)
    back = (await service.command(run, said("rollback"), ANN))["run_started"]
    await settled(service, back)
    await keeping.turn()
    assert not await is_whole(house, run)
    assert (await service.status(back))["reverses"] == run


# --- what is left -----------------------------------------------------------------------------------------------------


async def test_report_status_and_list_are_as_they_were(house: House) -> None:
    service = await house.move_in()
    run = await over(service)
    whole, listed = await service.report(run), await service.list()
    await retention(house).turn()
    left = await service.report(run)
    assert left["report"] == json.loads(json.dumps(whole["report"]))
    kept = left["status"].pop("kept")
    assert left["status"] == json.loads(json.dumps(whole["status"]))
    assert kept["entries"] == len(whole["history"])
    assert kept["head"] == f"{kept['entries']}:{whole['report']['chain']['head']}"
    (shown,) = await service.list()
    assert shown == {**listed[0], "kept_since": kept["since"]}
    assert await service.resolve_name("change") == run


async def test_the_history_is_one_entry_in_the_place_of_the_last_which_says_so(house: House) -> None:
    service = await house.move_in()
    run = await over(service)
    whole = await service.history(run)
    await retention(house).turn()
    (entry,) = await service.history(run)
    assert (entry["seq"], entry["hash"], entry["type"]) == (len(whole), whole[-1]["hash"], "KeptAsReport")
    sentence = f"{run} is kept as its report since "
    assert entry["data"]["sentence"].startswith(sentence)
    assert "(rollout serve --keep-finished 30d)" in entry["data"]["sentence"]
    assert await service.history(run, len(whole) - 1) == [entry]
    assert await service.history(run, len(whole)) == []
    assert [one async for one in service.follow(run)] == [entry]


async def test_a_head_that_left_the_house_at_any_time_is_still_compared(house: House) -> None:
    service = await house.move_in()
    run = await over(service)
    whole = await service.history(run)
    await retention(house).turn()
    lines = await service.journal_lines(run)
    assert await service.journal_lines(run, len(lines)) == []
    heads = [Head(entry["seq"], entry["hash"], "a message") for entry in whole]
    found = verify(lines, heads)
    assert (found.run, found.entries, found.head, found.heads) == (run, len(whole), whole[-1]["hash"], len(whole))
    assert found.kept_since is not None
    with pytest.raises(Tampered, match="entry 3 has another hash than a message knows of"):
        verify(lines, [replace(heads[2], hash=heads[3].hash)])
    with pytest.raises(Tampered, match="its end was cut off"):
        verify(lines, [replace(heads[-1], seq=len(whole) + 1)])


async def test_a_journal_that_was_cut_while_it_was_exported_is_not_taken_for_a_shorter_one(house: House) -> None:
    service = await house.move_in()
    run = await over(service)
    begun = await service.journal_lines(run, 0, 5)
    await retention(house).turn()
    with pytest.raises(KeptAsReport):
        await service.journal_lines(run, len(begun), 5)


async def test_a_journal_that_was_cut_while_it_was_folded_has_no_state(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await house.move_in()
    run = await over(service)
    read = house.store.read

    async def cut_behind_the_first(run: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        if after == 2:
            monkeypatch.undo()
            await retention(house).turn()
        return await read(run, after, limit)

    monkeypatch.setattr(reading, "PIECE_FOLDED", 2)
    monkeypatch.setattr(house.store, "read", cut_behind_the_first)
    with pytest.raises(KeptAsReport):
        await Reading._state(service, run)


@pytest.mark.parametrize("command", ("rollback", "pause", "approve", "ack"))
async def test_commands_are_refused_with_the_reason_and_the_setting(house: House, command: str) -> None:
    service = await house.move_in()
    run = await over(service)
    await retention(house).turn()
    with pytest.raises(KeptAsReport, match=rf"{run} is kept as its report since .*--keep-finished 30d"):
        await service.command(run, said(command), ANN)
    assert await service.offers(run, ANN) == []
    with pytest.raises(NotFound):
        await service.command("nobody", said(command), ANN)


async def test_its_plan_can_be_started_again(house: House) -> None:
    service = await house.move_in()
    run = await over(service)
    await retention(house).turn()
    again = await over(service)
    assert again != run
    assert await service.resolve_name("change") == again


async def test_a_new_life_of_the_controller_does_not_take_it_up(house: House) -> None:
    first = await house.move_in()
    run = await over(first)
    await retention(house).turn()
    await first.close(0)
    second = await house.move_in()
    assert run not in second.in_hand()
    assert (await second.status(run))["kept"]["entries"] > 0


# --- how --------------------------------------------------------------------------------------------------------------


async def many(store: MemoryStore, count: int) -> None:
    """Finished runs whose journals say nothing that could be folded."""
    for number in range(count):
        name = f"r{number:03}"
        await started(store, name, at=100.0 + number)
        done = {"phase": "ended", "ended": ENDED, "settled": True}
        await store.append(batch(name, active=False, release=True, summary=done))


async def test_a_turn_looks_at_a_few_and_a_pass_at_all(house: House) -> None:
    await many(house.store, 2 * AT_ONCE + 1)
    keeping = retention(house)
    asked: list[str] = []
    keeping._see_to = lambda row: _noted(asked, row)  # type: ignore[method-assign]
    assert [await keeping.turn() for _ in range(4)] == [TURN_SECONDS, TURN_SECONDS, PASS_SECONDS, TURN_SECONDS]
    names = [f"r{number:03}" for number in range(2 * AT_ONCE + 1)]
    assert asked == [*names, *names[:AT_ONCE]]


async def _noted(asked: list[str], row: RunRow) -> None:
    asked.append(row.run)


async def test_it_takes_a_breath_after_each_run(house: House) -> None:
    service = await house.move_in()
    for name in ("one", "two", "three"):
        await over(service, name)
    clock = Later(house)
    await Retention(house.store, house.store.keeping, clock, KEEP, acts_alone(None)).turn()
    assert clock.slept == pytest.approx(0.15)


async def test_a_run_that_can_not_be_read_keeps_no_other_back(house: House) -> None:
    await many(house.store, 1)
    service = await house.move_in()
    run = await over(service)
    keeping = retention(house)
    with pytest.raises(Exception, match=r".") as caught:
        await keeping.turn()
    assert not isinstance(caught.value, StoreError)
    await keeping.turn()
    assert not await is_whole(house, run)
    assert len(await house.store.read("r000")) == 2


async def test_a_journal_whose_chain_is_broken_stays_and_is_told_once(house: House) -> None:
    service = await house.move_in()
    run = await over(service)
    records = house.store._runs[run].events
    records[3] = replace(records[3], event=records[4].event)
    keeping = retention(house)
    with capture_logs() as logs:
        await keeping.turn()
        await keeping.turn()
    assert await is_whole(house, run)
    assert [one["why"] for one in logs] == ["entry 4 of its journal is not what was written there"]


class Raced(MemoryStore):
    """Somebody takes a run up between the look at it and the cut."""

    async def read(self, run: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        found = await super().read(run, after, limit)
        if not found:
            await self.take(run)
        return found


async def test_a_run_that_somebody_took_up_meanwhile_stays_whole(house: House) -> None:
    service = await house.move_in()
    run = await over(service)
    raced = Raced()
    vars(raced).update(vars(house.store))
    await retention(house, store=raced).turn()
    assert await is_whole(house, run)
    await retention(house).turn()
    assert not await is_whole(house, run)


class Away(MemoryKeeping):
    """Until it is *back*."""

    is_back = False

    async def finished(self, before: float, after: RunRow | None = None, limit: int = 100) -> list[RunRow]:
        if not self.is_back:
            raise StoreError("the store is away")
        return await super().finished(before, after, limit)


async def test_a_store_that_is_away_is_told_once_and_asked_again(house: House) -> None:
    service = await house.move_in()
    run = await over(service)
    away = Away(lambda: house.store._runs)
    clock = Later(house)
    with capture_logs() as logs:
        watching = asyncio.create_task(Retention(house.store, away, clock, KEEP, acts_alone(None)).watch())
        await until(lambda: clock.slept > 10 * TURN_SECONDS)
        away.is_back = True
        await until(lambda: any(one["event"] == "retention.cut" for one in logs))
        watching.cancel()
    assert await house.store.read(run) == []
    assert [one["event"] for one in logs if one["log_level"] == "warning"] == ["retention.store_away"]


async def test_of_several_controllers_one_does_it(house: House) -> None:
    first, second = await house.join("one"), await house.join("two")
    one, two = acts_alone(first.sharing), acts_alone(second.sharing)
    assert (await one(), await two()) == (True, False)
    assert first.sharing is not None
    await first.close(0)
    assert (await one(), await two()) == (False, True)


async def test_one_that_is_not_to_do_it_does_nothing(house: House) -> None:
    service = await house.move_in()
    run = await over(service)

    async def never() -> bool:
        return False

    idle = Retention(house.store, house.store.keeping, Later(house), KEEP, never)
    assert await idle.turn() == PASS_SECONDS
    assert await is_whole(house, run)


async def test_two_that_do_it_at_once_cut_a_run_once(house: House) -> None:
    service = await house.move_in()
    run = await over(service)
    heard: list[str] = []
    both = [retention(house), retention(house)]
    for number, one in enumerate(both):
        one.listeners.append(lambda number=number: heard.append(str(number)))  # type: ignore[misc]
    await asyncio.gather(*(one.turn() for one in both))
    assert not await is_whole(house, run)
    assert len(heard) == 1
