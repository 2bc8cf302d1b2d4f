"""What every journal does, whatever it is made of."""

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from orchestrator.core.events import GateFailed, Paused, Resumed, RunStarted, SuccessJudged
from orchestrator.errors import Conflict, Fenced, NotFound, TargetBusy
from orchestrator.journal import chain
from stages.checks import Standing
from tests.contract.conftest import Store
from tests.support.journals import answered, batch, began, flag_write, started

Reopen = Callable[[], Awaitable[Store]]


async def test_events_are_numbered_from_one_without_a_gap(store: Store) -> None:
    first = await started(store)
    second = await store.append(batch(after=1, events=[Paused(), Resumed(), Paused()]))
    third = await store.append(batch(after=4))
    assert [record.seq for record in first + second + third] == [1, 2, 3, 4, 5]
    row = await store.row("r")
    assert row is not None
    assert row.rev == 5


async def test_what_append_returned_is_what_is_read(store: Store) -> None:
    written = await started(store) + await store.append(batch(events=[Paused(by="bob", reason="größer ✓"), Resumed()]))
    read = await store.read("r")
    assert read == written
    assert [record.at for record in read] == [100.0, 200.0, 200.0]
    assert read[0].event == began("r")
    assert (read[1].event.by, read[1].event.reason) == ("bob", "größer ✓")


async def test_numbers_that_json_cannot_say_are_kept_as_words(store: Store) -> None:
    evidence = {"values": [math.nan, math.inf, -math.inf, 1.5]}
    failed = GateFailed(environment="p", stage="s", step=1, gate="g", on_fail="pause", evidence=evidence)
    judged = SuccessJudged(name="n", standing=Standing.NO, detail="", value=math.inf)
    await started(store)
    written = await store.append(batch(events=[failed, judged]))
    read = await store.read("r", after=1)
    assert read == written
    assert isinstance(read[0].event, GateFailed)
    assert read[0].event.evidence == {"values": ["NaN", "Infinity", "-Infinity", 1.5]}
    assert isinstance(read[1].event, SuccessJudged)
    assert read[1].event.value == math.inf
    assert chain.verify(await store.read("r")) is None


async def test_the_chain_of_what_is_read_verifies(store: Store) -> None:
    await started(store)
    for after in range(1, 6):
        await store.append(batch(after=after, at=200 + after))
    records = await store.read("r")
    assert chain.verify(records) is None
    assert chain.verify(records[3:], before=records[2].hash, after=3) is None


async def test_hashes_are_those_that_anybody_can_compute(store: Store) -> None:
    first, second = await started(store) + await store.append(batch())
    began = (
        '{"at":100.0,"data":{"by":"ann","digest":"digest","documents":[],"plan":"plan","reason":"release","run":"r",'
        '"type":"RunStarted"},"run":"r","schema_version":1,"seq":1,"type":"RunStarted"}'
    )
    paused = (
        '{"at":200.0,"data":{"by":"bob","reason":"look","type":"Paused"},"run":"r","schema_version":1,"seq":2,'
        '"type":"Paused"}'
    )
    assert first.hash == hashlib.sha256(("0" * 64 + began).encode()).hexdigest()
    assert second.hash == hashlib.sha256((first.hash + paused).encode()).hexdigest()


async def test_a_name_is_given_once(store: Store) -> None:
    await started(store)
    with pytest.raises(Conflict, match="run 'r' already"):
        await started(store)
    assert len(await store.read("r")) == 1


async def test_an_append_behind_another_event_than_the_newest_is_a_conflict_and_writes_nothing(store: Store) -> None:
    await started(store)
    await store.append(batch(after=1))
    for wrong in (0, 1, 3):
        with pytest.raises(Conflict, match=f"stands at event 2, not at {wrong}"):
            await store.append(batch(after=wrong, summary={"phase": "ended"}, active=False, answer=answered()))
    row = await store.row("r")
    assert row is not None
    assert (row.rev, row.active, row.summary) == (2, True, {"phase": "running"})
    assert len(await store.read("r")) == 2
    assert await store.answer("r", "k") is None


async def test_who_lost_the_run_to_another_controller_is_fenced_and_writes_nothing(store: Store) -> None:
    await started(store)
    assert await store.take("r") == 2
    with pytest.raises(Fenced, match="epoch 2, this one has 1"):
        await store.append(batch(epoch=1))
    assert len(await store.read("r")) == 1
    await store.append(batch(epoch=2))
    assert await store.take("r") == 3


async def test_being_fenced_is_said_before_the_conflict_that_comes_with_it(store: Store) -> None:
    await started(store)
    await store.append(batch(epoch=await store.take("r")))
    with pytest.raises(Fenced):
        await store.append(batch(after=1, epoch=1))


async def test_a_run_that_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="no run 'r'"):
        await store.append(batch())
    with pytest.raises(NotFound):
        await store.take("r")
    assert await store.row("r") is None
    assert await store.read("r") == []
    assert await store.answer("r", "k") is None
    assert await store.evidence("r") is None


async def test_two_active_runs_never_share_a_target(store: Store) -> None:
    await started(store, "a", claims={"flag:x": "flag x", "flag:y": "flag y"})
    with pytest.raises(TargetBusy, match=r"flag y belongs to the active run 'a'.*--supersede a"):
        await started(store, "b", claims={"flag:y": "flag y", "flag:z": "flag z"})
    assert await store.row("b") is None
    await started(store, "c", claims={"flag:z": "flag z"})  # what b asked for beside it was not kept either


async def test_released_targets_are_free(store: Store) -> None:
    await started(store, "a", claims={"flag:x": "flag x"})
    await store.append(batch("a", active=False, release=True))
    await started(store, "b", claims={"flag:x": "flag x"})
    await store.append(batch("a", after=2, active=False, release=True))
    with pytest.raises(TargetBusy, match="'b'"):
        await started(store, "c", claims={"flag:x": "flag x"})


async def test_a_run_that_is_no_longer_active_keeps_nobody_out(store: Store) -> None:
    await started(store, "a", claims={"flag:x": "flag x"})
    await store.append(batch("a", active=False))
    await started(store, "b", claims={"flag:x": "flag x"})
    await store.append(batch("a", after=2, active=False, release=True))
    with pytest.raises(TargetBusy, match="'b'"):
        await started(store, "c", claims={"flag:x": "flag x"})


async def test_a_superseding_run_inherits_all_targets_of_the_one_before(store: Store) -> None:
    await started(store, "old", claims={"flag:x": "flag x", "flag:y": "flag y"})
    await started(store, "new", claims={"flag:x": "flag x", "flag:z": "flag z"}, heir_of="old")
    await store.append(batch("old", active=False, release=True))
    for claim in ("flag:x", "flag:y", "flag:z"):
        with pytest.raises(TargetBusy, match="'new'"):
            await started(store, "third", claims={claim: claim})


async def test_superseding_that_fails_leaves_the_targets_where_they_were(store: Store) -> None:
    await started(store, "old", claims={"flag:x": "flag x"})
    await started(store, "other", claims={"flag:z": "flag z"})
    with pytest.raises(TargetBusy, match="'other'"):
        await started(store, "new", claims={"flag:z": "flag z"}, heir_of="old")
    with pytest.raises(NotFound):
        await started(store, "new", heir_of="nobody")
    with pytest.raises(TargetBusy, match="'old'"):
        await started(store, "third", claims={"flag:x": "flag x"})


async def test_the_same_idempotency_key_gives_the_same_answer(store: Store) -> None:
    await started(store)
    await store.append(batch(answer=answered("k", accepted=True, text="paused")))
    remembered = await store.answer("r", "k")
    assert remembered == answered("k", accepted=True, text="paused")
    assert await store.answer("r", "other") is None
    with pytest.raises(Conflict, match="idempotency key 'k'"):
        await store.append(batch(after=2, answer=answered("k", accepted=False)))
    assert await store.answer("r", "k") == remembered
    assert len(await store.read("r")) == 2


async def test_an_answer_alone_may_be_remembered(store: Store) -> None:
    await started(store)
    assert await store.append(batch(events=[], answer=answered("k", refused="no"))) == []
    assert await store.answer("r", "k") == answered("k", refused="no")
    await store.append(batch(after=1))


async def test_keys_of_different_runs_do_not_meet(store: Store) -> None:
    await started(store, "a")
    await started(store, "b")
    await store.append(batch("a", answer=answered("k", run="a")))
    await store.append(batch("b", answer=answered("k", run="b")))
    assert await store.answer("a", "k") == answered("k", run="a")


async def test_evidence_is_overwritten(store: Store) -> None:
    await started(store)
    assert await store.evidence("r") is None
    await store.save_evidence({"r": (1, "one")})
    await store.save_evidence({"r": (1, "two")})
    assert await store.evidence("r") == "two"


async def test_evidence_of_many_runs_at_the_same_moment_is_each_runs_own(store: Store) -> None:
    for run in ("a", "b", "c"):
        await started(store, run)
    await store.take("b")
    await store.save_evidence({run: (1, f"seen by {run}") for run in ("c", "nobody", "b", "a")})
    assert [await store.evidence(run) for run in ("a", "b", "c")] == ["seen by a", None, "seen by c"]


async def test_evidence_of_more_runs_than_are_written_together_is_kept(store: Store) -> None:
    runs = [f"r-{number}" for number in range(600)]
    await asyncio.gather(*(started(store, run) for run in runs))
    await store.save_evidence({run: (1, f"seen by {run}") for run in runs})
    assert [await store.evidence(run) for run in runs] == [f"seen by {run}" for run in runs]
    await store.save_evidence({})


async def test_evidence_of_a_run_that_is_wanted_last_is_what_stays(store: Store) -> None:
    await started(store)
    saving = [asyncio.create_task(store.save_evidence({"r": (1, text)})) for text in ("one", "two", "three")]
    await asyncio.sleep(0)
    saving[0].cancel()
    await asyncio.gather(*saving, return_exceptions=True)
    assert await store.evidence("r") == "three"


async def test_evidence_of_a_fenced_writer_is_dropped_in_silence(store: Store) -> None:
    await started(store)
    await store.save_evidence({"r": (1, "mine")})
    await store.take("r")
    await store.save_evidence({"r": (1, "late"), "nobody": (1, "lost")})
    assert await store.evidence("r") == "mine"


async def test_a_batch_writes_its_events_and_its_flags_or_neither(store: Store) -> None:
    await started(store)
    flag = await store.write(flag_write("f"), at=1.0)
    with pytest.raises(Conflict, match="'g' in 'production' does not exist"):
        await store.append(
            batch(flags=[flag_write("f", flag.document.version, 5), flag_write("g", flag.document.version)])
        )
    assert len(await store.read("r")) == 1
    assert await store.get("production", "f") == flag
    await store.append(batch(flags=[flag_write("f", flag.document.version, 5), flag_write("g")]))
    raised, made = await store.get("production", "f"), await store.get("production", "g")
    assert raised is not None
    assert made is not None
    assert (raised.document.percentage, raised.at, raised.run, raised.effect) == (5, 200.0, "r", "e1")
    assert made.document.version > raised.document.version > flag.document.version


async def test_a_conflict_of_the_run_writes_no_flag(store: Store) -> None:
    await started(store)
    with pytest.raises(Conflict):
        await store.append(batch(after=7, flags=[flag_write()]))
    with pytest.raises(Fenced):
        await store.append(batch(epoch=7, flags=[flag_write()]))
    assert await store.all() == []


async def test_runs_and_their_events_are_counted_by_phase(store: Store) -> None:
    assert await store.by_phase() == []
    for name in ("a", "b", "c", "d"):
        await started(store, name)
    await store.append(batch("a"))
    await store.append(batch("b", active=False, summary={"phase": "ended"}))
    await store.append(batch("c", summary={}))
    assert sorted(await store.by_phase()) == [("", 1, 2), ("checking", 1, 1), ("ended", 1, 2), ("running", 1, 2)]


async def test_who_holds_what_is_told_of_active_runs_alone(store: Store) -> None:
    assert await store.holders(["a", "b"]) == {}
    await started(store, "one", claims={"a": "flag a", "it's": "a quote"})
    await started(store, "two", claims={"b": "flag b"})
    await started(store, "gone", claims={"c": "flag c"})
    await store.append(batch("gone", active=False, release=True, summary={"outcome": "promoted"}))
    await started(store, "heir", claims={"d": "flag d"}, heir_of="two")
    assert await store.holders(["a", "it's", "b", "c", "d", "nobody's"]) == {
        "a": "one",
        "it's": "one",
        "b": "heir",
        "d": "heir",
    }
    assert await store.holders([]) == {}


async def test_rows_come_newest_first_and_are_filtered(store: Store) -> None:
    for name, at in (("a", 10), ("b", 30), ("c", 20), ("d", 30)):
        await started(store, name, at=at)
    await store.append(batch("b", active=False, summary={"outcome": "promoted"}))
    assert [row.run for row in await store.rows()] == ["d", "b", "c", "a"]
    assert [row.run for row in await store.rows(active=True)] == ["d", "c", "a"]
    assert [(row.run, row.summary) for row in await store.rows(active=False)] == [("b", {"outcome": "promoted"})]
    assert [row.run for row in await store.rows(limit=2)] == ["d", "b"]
    assert await store.rows(limit=0) == []
    assert [row.run for row in await store.rows(active=True, limit=2, plan="plan")] == ["d", "c"]
    assert await store.rows(plan="another") == []


async def test_a_row_says_what_lists_need(store: Store) -> None:
    await started(store, at=100)
    row = await store.row("r")
    assert row is not None
    assert (row.plan, row.digest, row.rev, row.epoch, row.active) == ("plan", "digest", 1, 1, True)
    assert (row.created, row.summary) == (100.0, {"phase": "checking"})
    assert [row] == await store.rows()


async def test_reading_begins_behind_a_number_and_ends_at_a_limit(store: Store) -> None:
    await started(store)
    await store.append(batch(events=[Paused()] * 5))
    assert [record.seq for record in await store.read("r", after=2)] == [3, 4, 5, 6]
    assert [record.seq for record in await store.read("r", after=2, limit=2)] == [3, 4]
    assert await store.read("r", after=6) == []
    assert await store.read("r", after=99) == []
    assert await store.read("r", limit=0) == []


async def test_fifty_runs_are_written_side_by_side(store: Store) -> None:
    async def one(run: str) -> None:
        await started(store, run)
        for after in range(1, 11):
            await store.append(batch(run, after=after))

    names = [f"run-{number}" for number in range(50)]
    await asyncio.gather(*(one(name) for name in names))
    for name in names:
        records = await store.read(name)
        assert [record.seq for record in records] == list(range(1, 12))
        assert chain.verify(records) is None


async def test_of_writers_that_race_for_one_place_one_wins_and_the_others_hear_it(store: Store) -> None:
    await started(store)
    results = await asyncio.gather(
        *(store.append(batch(events=[Paused(by=f"p{number}")])) for number in range(20)), return_exceptions=True
    )
    won = [result for result in results if isinstance(result, list)]
    assert len(won) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 19
    assert await store.read("r", after=1) == won[0]


async def test_a_refused_batch_takes_nothing_from_those_beside_it(store: Store) -> None:
    for number in range(20):
        await started(store, f"r{number}")
    afters = [1 if number % 2 else 9 for number in range(20)]
    results = await asyncio.gather(
        *(store.append(batch(f"r{number}", after=after)) for number, after in enumerate(afters)), return_exceptions=True
    )
    assert [isinstance(result, Conflict) for result in results] == [after == 9 for after in afters]
    assert [len(await store.read(f"r{number}")) for number in range(20)] == [2 if after == 1 else 1 for after in afters]


async def test_who_stops_waiting_does_not_undo_what_was_asked_for(store: Store) -> None:
    await started(store)
    waiting = asyncio.create_task(store.append(batch()))
    await asyncio.sleep(0)  # it has handed its batch in
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await store.append(batch(after=2))  # comes behind it
    records = await store.read("r")
    assert [record.seq for record in records] == [1, 2, 3]
    assert chain.verify(records) is None


async def test_a_store_that_is_opened_again_has_everything(store: Store, reopen: Reopen) -> None:
    await started(store, claims={"flag:x": "flag x"})
    await store.append(batch(flags=[flag_write()], answer=answered("k", accepted=True)))
    await store.save_evidence({"r": (1, "evidence")})
    await store.take("r")
    row, records, flag = await store.row("r"), await store.read("r"), await store.get("production", "f")
    again = await reopen()
    assert await again.row("r") == row
    assert await again.read("r") == records
    assert await again.get("production", "f") == flag
    assert await again.answer("r", "k") == answered("k", accepted=True)
    assert await again.evidence("r") == "evidence"
    with pytest.raises(TargetBusy):
        await started(again, "other", claims={"flag:x": "flag x"})
    await again.append(batch(after=2, epoch=2))
    assert chain.verify(await again.read("r")) is None


async def test_a_large_plan_travels_whole(store: Store) -> None:
    files = {f"sql/{number}.sql": "x" * 100_000 for number in range(10)}
    whole = RunStarted(run="r", plan="plan", digest="digest", documents=(), files=files)
    await started(store)
    await store.append(batch(events=[whole]))
    assert (await store.read("r", after=1))[0].event == whole


async def test_what_is_read_does_not_change_with_what_the_writer_does_to_his_own(store: Store) -> None:
    await started(store)
    summary = {"phase": "running"}
    await store.append(replace(batch(), summary=summary))
    summary["phase"] = "ended"
    row = await store.row("r")
    assert row is not None
    assert row.summary == {"phase": "running"}
