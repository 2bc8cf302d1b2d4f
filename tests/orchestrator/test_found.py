"""What the simulation found in the runner and the service, each as small as it could be made."""

import asyncio
from dataclasses import replace

from orchestrator.core.commands import Command
from orchestrator.core.events import EffectRequested
from orchestrator.ports import FlagWrite
from tests.orchestrator.test_service import ANN, House, eventually, house, submission

__all__ = ["house"]

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
