"""Effects under way when a rollback begins, or the controller goes down: what their adapter is told."""

import asyncio

from orchestrator.core.commands import Command
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.errors import Temporary
from orchestrator.ports import UNWANTED, Scene
from tests.orchestrator.house import ANN, OPEN, House, Outside, eventually, submission

LONG = [{"command": ["./long.sh"], "target": "place", "undo": "none"}]


class Working(Outside):
    """Has no end by itself. *told*: with what it was cancelled; then it takes a while to tidy up."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.tidy = asyncio.Event(), asyncio.Event()
        self.told: list[str] = []
        self.was_left_alone = False

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        self.begun.set()
        try:
            await asyncio.Event().wait()
            raise AssertionError("it has no end")
        except asyncio.CancelledError as error:
            self.told += map(str, error.args)
            await self.tidy.wait()
            self.was_left_alone = True
            raise


async def test_what_a_rollback_makes_void_is_told_that_nobody_wants_it_and_may_tidy_up(house: House) -> None:
    house.outside = working = Working()
    service = await house.move_in()
    run, _ = await service.start(submission(stages=[{**OPEN, "before": LONG}]), ANN)
    await asyncio.wait_for(working.begun.wait(), 10)
    rollback = {"command": "rollback", "reason": "no"}
    await service.command(run, Command.model_validate(rollback), ANN)
    await eventually(service, run, phase="rolling_back")
    await service.command(run, Command.model_validate({"command": "pause", "reason": "look"}), ANN)
    await service.command(run, Command.model_validate({"command": "resume", "reason": "looked"}), ANN)

    working.tidy.set()

    await eventually(service, run, outcome="rolled_back")
    assert working.told == [UNWANTED]
    assert working.was_left_alone


async def test_what_is_under_way_when_the_controller_goes_down_is_not_told_so(house: House) -> None:
    house.outside = working = Working()
    working.tidy.set()
    service = await house.move_in()
    await service.start(submission(stages=[{**OPEN, "before": LONG}]), ANN)
    await asyncio.wait_for(working.begun.wait(), 10)

    await service.close(0)

    assert working.told == []


class Waiting(Outside):
    """Tells at each try that it goes on elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = asyncio.Event()

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        self.tried.set()
        return Outcome(state=EffectState.TEMPORARY, detail="it has no image yet", retry_after_seconds=600.0)

    async def end(self, effect: Effect, scene: Scene) -> None:
        await super().end(effect, scene)
        raise Temporary("the cluster is away")


ROLLBACK = Command.model_validate({"command": "rollback", "reason": "no"})


async def test_what_goes_on_between_two_tries_is_ended_when_nobody_wants_it_any_more(house: House) -> None:
    house.outside = waiting = Waiting()
    service = await house.move_in()
    run, _ = await service.start(submission(stages=[{**OPEN, "before": LONG}]), ANN)
    await asyncio.wait_for(waiting.tried.wait(), 10)

    await service.command(run, ROLLBACK, ANN)

    await eventually(service, run, outcome="rolled_back")
    assert waiting.taken_away == ["run ./long.sh"]


async def test_what_was_void_when_the_controller_went_down_is_ended_by_the_next_one(house: House) -> None:
    house.outside = working = Working()
    service = await house.move_in()
    run, _ = await service.start(submission(stages=[{**OPEN, "before": LONG}]), ANN)
    await asyncio.wait_for(working.begun.wait(), 10)
    await service.command(run, ROLLBACK, ANN)
    await eventually(service, run, phase="rolling_back")
    going_down = asyncio.create_task(service.close(0))
    await asyncio.sleep(0)
    working.tidy.set()
    await going_down

    house.outside = later = Outside()
    again = await house.move_in()

    await eventually(again, run, outcome="rolled_back")
    assert later.taken_away == ["run ./long.sh"]
    assert later.done == []
