"""Many runs on one store: starting, attaching, superseding, taking back, taking up again, in a world of memory."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from flags.model import FlagDocument
from orchestrator.core.commands import Actor, Command
from orchestrator.core.events import EffectFinished, Origin
from orchestrator.core.phases import CommandName
from orchestrator.errors import Conflict, Forbidden, NotFound, Refused, StoreError, TargetBusy
from orchestrator.ports import Batch, CheckAnswer, FlagRecord, FlagWrite, Recorded, Scene
from orchestrator.reading import Kill
from orchestrator.submission import Submission
from stages.checks import Check, Standing
from stages.flag_spec import FlagChange
from tests.orchestrator.house import ANN, OPEN, QUICK, House, eventually, submission
from tests.support.process import DEADLINE_SECONDS

BOB = Actor("bob", "operator")


async def test_a_run_is_started_once_and_the_same_plan_again_attaches_to_it(house: House) -> None:
    service = await house.move_in()
    first = await service.start(submission(), ANN)
    assert first[1]
    assert await service.start(submission(), BOB) == (first[0], False)


async def test_a_plan_with_a_key_has_one_run_of_that_key_however_often_and_by_which_life_it_is_started(
    house: House,
) -> None:
    origin = Origin(namespace="shop", name="change", uid="u1", generation=1)
    keyed = Submission(**{**_fields(submission(**QUICK)), "key": "u1/1", "origin": origin})
    first = await house.move_in()
    run, started = await first.start(keyed, ANN)
    assert started
    await eventually(first, run, outcome="promoted")
    assert await first.start(keyed, ANN) == (run, False)
    await first.close(0)
    second = await house.move_in()
    assert await second.start(keyed, ANN) == (run, False)
    other = Submission(**{**_fields(keyed), "key": "u1/2"})
    assert (await second.start(other, ANN))[1]


async def test_a_key_that_another_object_has_used_is_a_conflict_and_no_run_of_its(house: House) -> None:
    service = await house.move_in()
    ours, theirs = (Origin(namespace="shop", name="change", uid=uid, generation=1) for uid in ("u1", "u2"))
    await service.start(Submission(**{**_fields(submission()), "key": "k", "origin": ours}), ANN)
    with pytest.raises(Conflict, match="is the name of another run already"):
        await service.start(Submission(**{**_fields(submission()), "key": "k", "origin": theirs}), ANN)


async def test_another_plan_over_one_of_its_targets_is_refused_with_the_run_that_holds_it(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(), ANN)
    with pytest.raises(TargetBusy, match=run):
        await service.start(submission(name="other", digest="d2"), ANN)


async def test_a_viewer_can_start_nothing(house: House) -> None:
    service = await house.move_in()
    with pytest.raises(Forbidden, match="operator"):
        await service.start(submission(), Actor("eve", "viewer"))


async def test_a_new_life_of_the_controller_goes_on_where_the_old_one_was(house: House) -> None:
    first = await house.move_in()
    run, _ = await first.start(submission(), ANN)
    await eventually(first, run, percentages={"beta": 50.0})
    await first.close(0)
    second = await house.move_in()
    shown = await eventually(second, run, phase="running", leg="baking")
    assert shown["percentages"] == {"beta": 50.0}


async def test_a_corrected_plan_takes_over_the_targets_and_what_was_there_before(house: House) -> None:
    service = await house.move_in()
    await service.set_flag("production", "beta", FlagChange(percentage=5.0), "by hand", ANN)
    old, _ = await service.start(submission(), ANN)
    await eventually(service, old, percentages={"beta": 50.0})
    corrected = submission(digest="d2")
    new, started = await service.start(Submission(**{**_fields(corrected), "supersede": old}), ANN)
    assert started
    assert (await service.status(old))["outcome"] == "stopped"
    await service.command(new, Command(command="rollback", reason="all of it"), ANN)  # type: ignore[arg-type]
    await eventually(service, new, outcome="rolled_back")
    assert (await service.flag("production", "beta"))["percentage"] == 5.0


def _fields(one: Submission) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}


async def test_the_rollback_of_an_ended_run_is_a_run_of_its_own_and_is_started_once(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(**QUICK), ANN)
    await eventually(service, run, outcome="promoted")
    back = Command(command="rollback", reason="second thoughts", key="k1")  # type: ignore[arg-type]
    answer = await service.command(run, back, BOB)
    assert await service.command(run, back, BOB) == answer
    await eventually(service, answer["run_started"], outcome="rolled_back")
    assert (await service.flag("production", "beta"))["state"] == "disabled"
    assert (await service.status(run))["outcome"] == "promoted"


@pytest.mark.parametrize("turns", range(4))
async def test_a_rollback_that_comes_while_its_flag_is_looked_at_looks_again_at_once(house: House, turns: int) -> None:
    """The look under way is too old for the way back, and the next one begins when it is through."""
    service = await house.move_in()
    run, _ = await service.start(submission(stages=[{**OPEN, "bake": "1h"}]), ANN)
    await eventually(service, run, leg="baking")
    for _ in range(turns):
        await asyncio.sleep(0)
    await service.command(run, Command(command="rollback", reason="now"), ANN)  # type: ignore[arg-type]
    await eventually(service, run, outcome="rolled_back")


async def test_a_command_does_not_wait_for_what_a_full_store_does_not_take(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, append = await house.move_in(), house.store.append

    async def takes_no_outcome(batch: Batch) -> list[Recorded]:
        if any(isinstance(event, EffectFinished) for event in batch.events):
            raise StoreError("the disk is full")
        return await append(batch)

    monkeypatch.setattr(house.store, "append", takes_no_outcome)
    run, _ = await service.start(submission(), ANN)
    await eventually(service, run, store_error="the disk is full")
    async with asyncio.timeout(DEADLINE_SECONDS):
        with pytest.raises(StoreError, match="full"):
            await service.command(run, Command(command=CommandName.PAUSE, reason="look"), ANN)
    monkeypatch.setattr(house.store, "append", append)
    await eventually(service, run, leg="baking", store_error=None)


async def test_a_command_with_the_same_key_gets_the_same_answer(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(), ANN)
    pause = Command(command="pause", reason="lunch", key="k1")  # type: ignore[arg-type]
    answer = await service.command(run, pause, BOB)
    assert await service.command(run, pause, BOB) == answer
    with pytest.raises(Refused, match="paused already"):
        await service.command(run, Command(command="pause", reason="again"), BOB)  # type: ignore[arg-type]


async def test_a_follower_sees_everything_from_the_beginning_to_the_end(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(**QUICK), ANN)
    async with asyncio.timeout(DEADLINE_SECONDS):
        entries = [entry async for entry in service.follow(run)]
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    assert entries[-1]["type"] == "RunEnded"


async def test_names_may_be_short_as_long_as_they_are_clear(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(), ANN)
    assert await service.resolve_name("change") == run
    assert await service.resolve_name(run[:-2]) == run
    with pytest.raises(NotFound, match="nothing-like-it"):
        await service.resolve_name("nothing-like-it")


async def test_the_kill_switch_holds_what_runs_and_lifting_shows_first_what_returns(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(), ANN)
    await eventually(service, run, percentages={"beta": 50.0})
    await service.disable_all(Kill(reason="everything is red"), BOB)
    shown = await eventually(service, run, leg="baking")
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not shown["holds"]:
            await asyncio.sleep(0.01)
            shown = await service.status(run)
    assert [hold["reason"] for hold in shown["holds"]] == ["killed"]
    with pytest.raises(Forbidden, match="approver"):
        await service.lift(None, None, "no", BOB, confirm=True)
    preview = await service.lift(None, None, "look", ANN)
    assert preview["would_return"] == {"production/beta": 50.0}
    assert (await service.flag("production", "beta"))["killed"]
    await service.lift(None, None, "green again", ANN, confirm=True)
    assert not (await service.flag("production", "beta"))["killed"]


async def test_the_kill_switch_may_hold_the_flags_of_one_run_or_of_one_owner_alone(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(owner="search"), ANN)
    await eventually(service, run, percentages={"beta": 50.0})
    await service.set_flag("production", "other", FlagChange(percentage=30.0), "by hand", ANN)
    answer = await service.disable_all(Kill(run="change", reason="only this one"), BOB)
    assert [(one["environment"], one["flags"]) for one in answer["latches"]] == [("production", ["beta"])]
    assert (await service.flag("production", "beta"))["killed"]
    assert not (await service.flag("production", "other"))["killed"]
    await service.lift("production", None, "fine", ANN, confirm=True)
    await service.disable_all(Kill(owner="search", reason="all of theirs"), BOB)
    assert [latch["flags"] for latch in service.latches()] == [["beta"]]
    with pytest.raises(NotFound, match="no flags of any plan of owner nobody are known; nothing was disabled"):
        await service.disable_all(Kill(owner="nobody"), BOB)


async def test_a_flags_history_says_who_changed_what_and_why_newest_first(house: House) -> None:
    service = await house.move_in()
    await service.set_flag("production", "new", FlagChange(percentage=30.0), "a look", ANN)
    await service.set_flag("production", "new", FlagChange(percentage=50.0, targets={"team": ("a",)}), "more", BOB)
    newest, oldest = await service.flag_history("production", "new")
    assert (newest["by"], newest["reason"]) == (BOB.name, "more")
    assert newest["changed"] == {"percentage": 50.0, "targets": {"team": ["a"]}}
    assert (oldest["reason"], oldest["changed"]["percentage"]) == ("a look", 30.0)
    with pytest.raises(NotFound, match="there is no flag none"):
        await service.flag_history("production", "none")


WHOLE = FlagDocument("new", percentage=30.0, targets={"team": ("a",)})


async def test_a_whole_document_is_written_as_it_is_and_not_again(house: House) -> None:
    service = await house.move_in()
    assert await service.put_flag(WHOLE, "we move", BOB)
    record = await service.board.get("production", "new")
    assert record is not None
    assert replace(record.document, version=WHOLE.version) == WHOLE
    assert (record.by, record.reason) == (BOB.name, "we move")
    assert not await service.put_flag(WHOLE, "again", BOB)
    assert await service.board.get("production", "new") == record
    with pytest.raises(Forbidden, match="operator"):
        await service.put_flag(WHOLE, "no", Actor("eve", "viewer"))


async def test_who_writes_a_flag_first_wins_and_the_other_looks_at_it_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await house.move_in()
    await service.put_flag(WHOLE, "first", ANN)
    get, races = service.board.get, iter([True, False, True, False])

    async def raced(environment: str, key: str) -> FlagRecord | None:
        found = await get(environment, key)
        if found is not None and next(races):
            other = replace(found.document, percentage=50.0)
            await service.board.write(FlagWrite(other, found.document.version, "ann", "between"), 4.0)
        return found

    monkeypatch.setattr(service.board, "get", raced)
    changed = await service.set_flag("production", "new", FlagChange(targets={"team": ("b",)}), "mine", BOB)
    assert (changed["percentage"], changed["targets"]) == (50.0, {"team": ["b"]})
    assert await service.put_flag(replace(WHOLE, percentage=2.0), "mine", BOB)
    monkeypatch.undo()
    assert (await service.flag("production", "new"))["percentage"] == 2.0


async def test_others_who_never_stop_writing_a_flag_are_a_conflict(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await house.move_in()
    await service.put_flag(WHOLE, "first", ANN)
    stale = await service.board.get("production", "new")
    await service.put_flag(replace(WHOLE, percentage=2.0), "second", ANN)

    async def get(environment: str, key: str) -> FlagRecord | None:
        return stale

    monkeypatch.setattr(service.board, "get", get)
    with pytest.raises(Conflict, match="others keep writing flag new; nothing of it was changed"):
        await service.put_flag(replace(WHOLE, percentage=3.0), "mine", BOB)
    with pytest.raises(Conflict, match="others keep writing flag new; nothing of it was changed"):
        await service.set_flag("production", "new", FlagChange(percentage=3.0), "mine", BOB)


async def test_flags_that_have_stood_at_full_for_long_are_listed_and_permanent_or_new_ones_are_not(
    house: House,
) -> None:
    service = await house.move_in()
    now = service.clock.now()
    for key, days in (("old", 40), ("touched", 35), ("young", 3)):
        await written(house, key, now - days * 86400.0, percentage=100.0)
    await written(house, "touched", now - 2 * 86400.0, percentage=100.0, parameters={"size": 2})
    await written(house, "lowered", now - 50 * 86400.0, percentage=100.0)
    await written(house, "lowered", now - 49 * 86400.0, percentage=99.0)
    await written(house, "law", now - 90 * 86400.0, percentage=100.0, permanent=True)
    listed = await service.flags("production", full_for_seconds=30 * 86400.0)
    assert {one["key"] for one in listed} == {"old", "touched"}
    assert all(one["full_since"] for one in listed)


async def written(house: House, key: str, at: float, **fields: Any) -> None:
    known = await house.store.get("production", key)
    version = known.document.version if known is not None else None
    document = FlagDocument(key, **fields)
    await house.store.write(FlagWrite(document=document, expected=version, by="ann", reason="before"), at)


@pytest.mark.parametrize("function", ("judge", "wanted"))
async def test_a_judge_that_breaks_holds_the_run_and_says_so(
    house: House, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("no events")

    monkeypatch.setattr(f"orchestrator.answering.{function}", breaks)
    gate = {"every": "1s", "criteria": [{"name": "errors", "query": "errors", "fail": "> 0.1"}]}
    stage = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [50, 100], "bake": "1h"}
    service = await house.move_in()
    started = submission(gates={"health": gate}, stages=[{**stage, "gate": "health"}])
    run, _ = await service.start(started, ANN)
    await eventually(service, run, percentages={"beta": 50.0}, leg="baking")
    await asyncio.sleep(0)
    async for entry in service.follow(run):
        if entry["type"] == "HoldSet":
            break
    assert entry["data"]["hold"] == "inconclusive"
    assert "ZeroDivisionError: no events" in entry["data"]["detail"]


async def test_a_no_to_what_was_asked_before_a_resume_does_not_hold_the_run_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended, slow_answers = False, asyncio.Event()

    async def ask(check: Check, scene: Scene) -> CheckAnswer:
        answer = CheckAnswer(Standing.YES, "fine") if mended else CheckAnswer(Standing.NO, "broken")
        if check.name == "slow":
            await slow_answers.wait()
        return answer

    monkeypatch.setattr(house.outside, "ask", ask)
    service = await house.move_in()
    checks = [{"name": name, "command": ["./check", name]} for name in ("quick", "slow")]
    stage = {**OPEN, "percentages": [100], "on_fail": "pause", "verify": checks}
    run, _ = await service.start(submission(stages=[stage], watch="0s"), ANN)
    async for entry in service.follow(run):
        if entry["type"] == "OnFailPaused":
            break
    mended = True
    await service.command(run, Command.model_validate({"command": "resume", "reason": "mended"}), ANN)
    slow_answers.set()
    await eventually(service, run, outcome="promoted")
    assert [one["type"] for one in await service.history(run)].count("OnFailPaused") == 1
