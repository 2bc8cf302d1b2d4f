"""What the simulation found in the runner and the service, each as small as it could be made."""

import asyncio
from dataclasses import replace

from orchestrator.core.commands import Command
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.core.events import EffectRequested
from orchestrator.journal.memory import MemoryStore
from orchestrator.ports import Batch, FlagWrite, Recorded, Scene
from tests.orchestrator.house import ANN, OPEN, House, Outside, eventually, submission

OFF = {"name": "off", "by_hand": True, "then": "hold", "actions": [{"disable": "beta"}]}


async def test_a_trigger_disables_a_flag_that_somebody_just_edited_and_asks_once(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(triggers=[OFF]), ANN)
    await eventually(service, run, percentages={"beta": 50.0}, leg="baking")
    record = await house.store.get("production", "beta")
    assert record is not None
    edited = replace(record.document, percentage=60.0)  # past the board: as another process would
    await house.store.write(FlagWrite(edited, record.document.version, "eve", "more"), 0.0)
    await service.command(run, Command.model_validate({"command": "fire", "trigger": "off", "reason": "now"}), ANN)
    await asyncio.sleep(0.3)
    asked = [one for one in await house.store.read(run) if isinstance(one.event, EffectRequested)]
    stands = await house.store.get("production", "beta")
    assert stands is not None
    assert (stands.document.state, stands.document.percentage) == ("disabled", 60.0)
    assert len(asked) <= 3
    shown = await service.status(run)
    assert {hold["reason"] for hold in shown["holds"]} == {"trigger", "changed_elsewhere"}


async def test_releasing_the_edit_keeps_what_the_trigger_did_to_the_flag(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(triggers=[OFF]), ANN)
    await eventually(service, run, percentages={"beta": 50.0}, leg="baking")
    record = await house.store.get("production", "beta")
    assert record is not None
    edited = replace(record.document, percentage=60.0)
    await house.store.write(FlagWrite(edited, record.document.version, "eve", "more"), 0.0)
    await service.command(run, Command.model_validate({"command": "fire", "trigger": "off", "reason": "now"}), ANN)
    await asyncio.sleep(0.3)
    release = {"command": "resume", "pin": "release", "reason": "ours again"}
    await service.command(run, Command.model_validate(release), ANN)
    await eventually(service, run, percentages={"beta": 50.0})


class Slow(MemoryStore):
    """Takes its time for whatever it writes, so that others come back meanwhile."""

    async def append(self, batch: Batch) -> list[Recorded]:
        await asyncio.sleep(0.02)
        return await super().append(batch)


class Unhurried(Outside):
    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        await asyncio.sleep(0.01)
        return await super().perform(effect, scene, resumed)


async def test_an_effect_that_comes_back_while_something_is_written_is_not_done_twice(house: House) -> None:
    house.store, house.outside = Slow(), Unhurried()
    service = await house.move_in()
    before = [{"command": ["./tell.sh"], "name": f"tell {number}", "undo": "none"} for number in range(2)]
    plan = submission(rollback={"before": before})
    run, _ = await service.start(plan, ANN)
    await eventually(service, run, percentages={"beta": 50.0}, leg="baking")
    await service.command(run, Command.model_validate({"command": "rollback", "reason": "no"}), ANN)
    await eventually(service, run, outcome="rolled_back")
    assert house.outside.done == ["tell 0", "tell 1"]


class Hanging(Outside):
    """Its first try fails. Its second has no end: *begun* is set when it begins, *ended* when it is cut short."""

    def __init__(self) -> None:
        super().__init__()
        self.is_first = True
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        if self.is_first:
            self.is_first = False
            return Outcome(state=EffectState.TEMPORARY, detail="it is busy", retry_after_seconds=1e-6)
        self.begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            self.ended.set()
        return Outcome(state=EffectState.DONE)


async def test_what_works_on_a_target_is_ended_when_a_person_takes_the_target_as_it_is(house: House) -> None:
    house.outside = hanging = Hanging()
    service = await house.move_in()
    before = [{"command": ["./slow.sh"], "target": "place", "probe": ["./is.sh"], "undo": "none"}]
    run, _ = await service.start(submission(stages=[{**OPEN, "bake": "1h", "before": before}]), ANN)
    await asyncio.wait_for(hanging.begun.wait(), 10)
    resolve = {"command": "resolve", "target": "command:production/place", "reason": "fine as it is"}
    await service.command(run, Command.model_validate(resolve), ANN)
    await asyncio.wait_for(hanging.ended.wait(), 10)
    await eventually(service, run, percentages={"beta": 50.0}, leg="baking")
