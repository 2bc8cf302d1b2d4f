"""Freezes of a controller, alone and with others on one store, and the store away."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.adapters.flag_store import FlagPerformer
from orchestrator.core.commands import Actor, Command
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.core.freeze import EVERYWHERE, Freeze, Lift
from orchestrator.errors import Conflict, Forbidden, Refused, StoreError
from orchestrator.freezing import FreezeAsked, Freezing
from orchestrator.journal.memory import MemoryStore
from orchestrator.journal.memory_freezes import MemoryFreezes
from orchestrator.ports import Scene
from orchestrator.service import Service
from tests.orchestrator.house import ANN, House, eventually, submission
from tests.orchestrator.test_sharing import in_virtual_time
from tests.support.process import DEADLINE_SECONDS

BOB = Actor("bob", "operator")
ASKED = FreezeAsked(reason="quarter end")
STEPS = {"name": "go", "kind": "steps", "steps": [{"command": ["deploy"], "target": "api", "undo": "none"}]}


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)


async def held(service: Service, run: str) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            shown = await service.status(run)
            if shown["holds"]:
                return shown
            await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


# --- runs -------------------------------------------------------------------------------------------------------------


async def test_runs_that_are_under_way_hold_and_go_on(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(stages=[quick_stage()]), ANN)
    await eventually(service, run, leg="baking", percentages={"beta": 50.0})
    answer = await service.freeze(ASKED, BOB)
    assert answer["runs"] == [run]
    (hold,) = (await held(service, run))["holds"]
    assert (hold["reason"], hold["by"]) == ("window", "bob")
    assert hold["detail"] == "every environment is frozen by bob until somebody unfreezes it: quarter end"
    await asyncio.sleep(1.2)  # longer than the bake
    assert (await service.status(run))["percentages"] == {"beta": 50.0}
    await service.unfreeze(None, "all closed", ANN)
    await eventually(service, run, percentages={"beta": 100.0})
    entries = [one for one in await service.history(run) if one["type"] in ("HoldSet", "HoldCleared")]
    assert [(one["by"], one["reason"]) for one in entries] == [("bob", "quarter end"), ("ann", "all closed")]


def quick_stage() -> dict[str, Any]:
    fields = {"percentages": [50, 100], "bake": "1s", "settle": "0s"}
    return {"name": "open", "kind": "monitoring", "flag": "beta", **fields}


async def test_a_freeze_stands_for_the_next_life_of_the_controller_and_for_runs_that_begin_then(house: House) -> None:
    await (await house.move_in()).freeze(ASKED, BOB)
    again = await house.move_in()
    run, _ = await again.start(submission(), ANN)
    shown = await held(again, run)
    assert (shown["phase"], [hold["reason"] for hold in shown["holds"]]) == ("checking", ["window"])
    assert [one["environment"] for one in shown["frozen"]] == [EVERYWHERE]
    assert [one["by"] for entry in await again.list() for one in entry["frozen"]] == ["bob"]


async def test_no_further_try_of_an_effect_begins_while_a_freeze_stands(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    async def not_now(effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        tries.append(effect.id)
        return Outcome(state=EffectState.TEMPORARY, detail="not now", retry_after_seconds=0.05)

    monkeypatch.setattr(house.outside, "perform", not_now)
    service = await house.move_in()
    run, _ = await service.start(submission(flags={}, stages=[STEPS]), ANN)
    await until(lambda: len(tries) >= 3)
    await service.freeze(ASKED, BOB)
    await asyncio.sleep(0.1)  # what was under way comes back
    before = len(tries)
    await asyncio.sleep(0.5)
    assert len(tries) == before
    await service.unfreeze(None, "go on", ANN)
    await until(lambda: len(tries) > before)
    await service.command(run, Command.model_validate({"command": "rollback", "reason": "enough"}), ANN)


async def test_what_a_trigger_is_to_change_is_not_kept_from_it_by_an_effect_that_a_freeze_holds_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_away = True
    real = FlagPerformer.perform

    async def at_times_away(performer: FlagPerformer, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        if is_away:
            return Outcome(state=EffectState.TEMPORARY, detail="not now", retry_after_seconds=0.05)
        return await real(performer, effect, scene, resumed)

    monkeypatch.setattr(FlagPerformer, "perform", at_times_away)
    service = await house.move_in()
    trigger = {"name": "off", "by_hand": True, "actions": [{"disable": "beta"}], "then": "continue"}
    run, _ = await service.start(submission(triggers=[trigger]), ANN)
    await until(lambda: "EffectFailed" in [one.event.type_name for one in house.store._runs[run].events])
    await service.freeze(ASKED, BOB)
    is_away = False
    await asyncio.sleep(0.3)
    assert await service.flags() == []
    await service.command(run, Command.model_validate({"command": "fire", "trigger": "off", "reason": "red"}), ANN)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            found = await service.flags()
            if found and found[0]["state"] == "disabled":
                break
            await asyncio.sleep(0.01)
    assert await service.freezes() != []


async def test_an_operator_freezes_and_only_an_approver_unfreezes(house: House) -> None:
    service = await house.move_in()
    with pytest.raises(Forbidden, match="freezing needs the role operator; vic is viewer"):
        await service.freeze(ASKED, Actor("vic", "viewer"))
    await service.freeze(ASKED, BOB)
    with pytest.raises(Forbidden, match="unfreezing needs the role approver; bob is operator"):
        await service.unfreeze(None, "no", BOB)
    assert [one["reason"] for one in await service.freezes()] == ["quarter end"]


@in_virtual_time
async def test_all_controllers_of_a_store_hear_of_a_freeze_and_of_its_end_within_two_seconds(house: House) -> None:
    one, other = await house.join("one"), await house.join("other")
    run, _ = await one.start(submission(), ANN)
    await asyncio.sleep(10.0)
    await other.freeze(ASKED, BOB)
    await asyncio.sleep(2.0)
    assert [hold["by"] for hold in (await one.status(run))["holds"]] == ["bob"]
    await other.unfreeze(None, "fine", ANN)
    await asyncio.sleep(2.0)
    assert (await one.status(run))["holds"] == []


# --- what is known, and what is asked ---------------------------------------------------------------------------------


def freezing() -> tuple[Freezing, MemoryStore, Clock]:
    store, clock = MemoryStore(), Clock()
    return Freezing(store.freezes, clock), store, clock


async def test_each_freeze_and_its_end_is_a_line_in_the_log() -> None:
    made, store, _ = freezing()
    await made.freeze(replace(ASKED, environment="production", until="2h"), "bob")
    await made.lift("production", "ann", "all closed")
    ended, begun = await store.tokens.notes()
    until = "1970-01-01T02:16:40.000Z"
    assert (begun.what, begun.by) == ("frozen", "bob")
    assert begun.detail == {"environment": "production", "reason": "quarter end", "until": until}
    assert (ended.what, ended.by, ended.detail["reason"]) == ("unfrozen", "ann", "all closed")


async def test_a_freeze_may_be_made_longer_and_not_shorter() -> None:
    made, _, clock = freezing()
    await made.freeze(replace(ASKED, until="1h"), "bob")
    await made.freeze(replace(ASKED, until="2h"), "cid")
    with pytest.raises(Refused, match=r"every environment is frozen by cid until .* an approver unfreezes it first"):
        await made.freeze(replace(ASKED, until="1h"), "dan")
    await made.freeze(ASKED, "dan")
    assert [(one.by, one.until) for one in made.standing()] == [("dan", None)]
    clock.time += 1e9
    assert len(made.standing()) == 1


async def test_one_whose_time_is_over_may_be_followed_by_any_other() -> None:
    made, _, clock = freezing()
    await made.freeze(replace(ASKED, until="1h"), "bob")
    clock.time += 3600
    assert made.standing() == []
    await made.freeze(replace(ASKED, until="1m"), "bob")
    assert len(made.standing()) == 1


@pytest.mark.parametrize(
    ("until", "said"),
    (
        ("1970-01-01T00:00:00Z", "is over already; nothing was frozen"),
        ("0s", "is over already"),
        ("2999-01-01T00:00:00+01:00", "more than ten years away"),
    ),
)
async def test_an_end_that_makes_no_sense_is_refused(until: str, said: str) -> None:
    made, store, _ = freezing()
    with pytest.raises(Refused, match=said):
        await made.freeze(replace(ASKED, until=until), "bob")
    assert await store.freezes.newest() == []


async def test_lifting_ends_the_one_that_is_named_and_no_other() -> None:
    made, _, _ = freezing()
    with pytest.raises(Refused, match="nothing is frozen"):
        await made.lift(None, "ann", "why")
    await made.freeze(replace(ASKED, environment="production"), "bob")
    with pytest.raises(
        Refused, match=r"no freeze is over all environments: production is .*by its name \(production\)"
    ):
        await made.lift(None, "ann", "why")
    with pytest.raises(Refused, match="staging is not frozen: production is frozen by bob"):
        await made.lift("staging", "ann", "why")
    await made.freeze(ASKED, "bob")
    with pytest.raises(Refused, match=r"staging is not frozen by itself: every environment .* without naming"):
        await made.lift("staging", "ann", "why")
    await made.lift(None, "ann", "fine")
    assert [one.environment for one in made.standing()] == ["production"]


class Away(MemoryFreezes):
    """A store that can be taken away."""

    def __init__(self) -> None:
        super().__init__(MemoryStore().tokens)
        self.is_away = False

    async def newest(self) -> list[Freeze]:
        if self.is_away:
            raise StoreError("the store is away")
        return await super().newest()


async def test_a_freeze_that_is_known_stays_while_the_store_is_away() -> None:
    storage, clock = Away(), Clock()
    made = Freezing(storage, clock)
    await made.freeze(ASKED, "bob")
    storage.is_away = True
    told: list[int] = []
    watch = asyncio.create_task(made.watch(lambda: told.append(1)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(made.standing()) == 1
    storage.is_away = False
    (frozen,) = await storage.newest()
    ended = replace(frozen, revision=2, lifted=Lift(clock.now(), "ann", "fine"))
    assert await storage.put(ended, 1, made._note(ended, "unfrozen"))
    for _ in range(20):
        await asyncio.sleep(0)
    watch.cancel()
    assert made.standing() == []
    assert told == [1]


async def test_what_is_known_is_not_taken_back_by_an_older_look_or_a_store_that_was_restored() -> None:
    storage, clock = Away(), Clock()
    made = Freezing(storage, clock)
    await made.freeze(ASKED, "bob")
    frozen = await made.freeze(ASKED, "cid")
    storage._freezes[EVERYWHERE] = replace(frozen, revision=1, lifted=Lift(1.0, "ann", "an older copy"))
    await made.look()
    assert made.standing() == [frozen]
    await made.lift(None, "ann", "now it is over")
    assert (await storage.newest())[0].revision == 3


async def test_what_a_refused_request_found_out_by_the_way_is_told_to_the_runs_too() -> None:
    storage, clock = Away(), Clock()
    ours, others = Freezing(storage, clock), Freezing(storage, clock)
    await ours.freeze(ASKED, "bob")
    told: list[list[Freeze]] = []
    watch = asyncio.create_task(ours.watch(lambda: told.append(ours.standing())))
    await until(lambda: len(told) == 1)
    await others.lift(None, "ann", "it is over")
    with pytest.raises(Refused, match="nothing is frozen"):
        await ours.lift(None, "ann", "it is over, once more")
    await until(lambda: told[-1] == [])
    watch.cancel()


async def test_who_never_gets_to_write_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made, store, _ = freezing()

    async def too_late(*_: Any) -> bool:
        return False

    monkeypatch.setattr(store.freezes, "put", too_late)
    with pytest.raises(Conflict, match="others keep freezing and unfreezing"):
        await made.freeze(ASKED, "bob")
