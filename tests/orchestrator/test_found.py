"""What the simulation found in the runner and the service, each as small as it could be made."""

import asyncio
from dataclasses import replace

from orchestrator.core.commands import Command
from orchestrator.core.effect import Effect, Outcome
from orchestrator.core.events import EffectRequested
from orchestrator.journal.memory import MemoryStore
from orchestrator.ports import Batch, FlagWrite, Recorded, Scene
from tests.orchestrator.house import ANN, House, Outside, eventually, submission

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
