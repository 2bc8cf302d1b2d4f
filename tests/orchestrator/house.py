"""Services in a world of memory: flags are real, commands, checks, series and messages always good."""

import asyncio
from typing import Any

from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.flag_store import FlagPerformer
from orchestrator.core.commands import Actor
from orchestrator.core.effect import Effect, EffectState, Notice, Outcome
from orchestrator.core.events import PlanDocument
from orchestrator.flag_board import FlagBoard
from orchestrator.journal.kill_switch import MemoryKillSwitch
from orchestrator.journal.memory import MemoryStore
from orchestrator.ports import CheckAnswer, Scene, Seen, World
from orchestrator.service import Service, Submission
from stages.checks import Check, Source, Standing
from stages.criteria.base import NOTHING_WANTED, Measurement, MeasurementState, SeriesValue, Wanted
from stages.notify import Channel
from tests.orchestrator.core.drive import plan_of

ANN = Actor("ann", "admin")
OPEN = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [50], "bake": "0s", "settle": "0s"}
QUICK: dict[str, Any] = {"stages": [OPEN]}


class Outside:
    """Everything but flags: commands that work, checks that say yes, series at zero."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        self.done.append(effect.label)
        return Outcome(state=EffectState.DONE, observed={"ran": effect.id})

    async def observe(self, observation: Any, scene: Scene) -> Seen:
        return Seen({"text": "old"})

    async def ask(self, check: Check, scene: Scene) -> CheckAnswer:
        return CheckAnswer(Standing.YES, "yes")

    async def measure(self, source: Source, scene: Scene, at: float, wanted: Wanted = NOTHING_WANTED) -> Measurement:
        return Measurement(MeasurementState.OK, at, (SeriesValue("", 0.0, at),))

    async def deliver(self, notice: Notice, channel: Channel, scene: Scene) -> None:
        return


class House:
    """A store and what lives on it; ``move_in`` is a new life of the controller."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.kill_switch = MemoryKillSwitch()
        self.outside = Outside()
        self.services: list[Service] = []

    async def move_in(self) -> Service:
        board = FlagBoard(self.store, self.kill_switch)
        flags, outside = FlagPerformer(board, SystemClock()), self.outside
        world = World(
            clock=SystemClock(),
            performers={"set_flag": flags, "run_command": outside},
            observers={"observe_flag": flags, "observe_command": outside},
            asker=outside,
            measurer=outside,
            messenger=outside,
            flags=board,
            kill_switch=self.kill_switch,
        )
        service = Service(self.store, board, world)
        await service.open()
        self.services.append(service)
        return service


def submission(name: str = "change", digest: str = "d1", flag: str = "beta", **spec: Any) -> Submission:
    stage = {"name": "open", "kind": "monitoring", "flag": flag, "percentages": [50, 100], "bake": "1h"}
    document = plan_of({"flags": {flag: {}}, "stages": [stage], **spec})
    document["metadata"]["name"] = name
    return Submission(name, digest, (PlanDocument(environment="production", plan=document),))


async def eventually(service: Service, run: str, **wanted: Any) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            shown = await service.status(run)
            if all(shown[key] == value for key, value in wanted.items()):
                return shown
            await asyncio.sleep(0.01)
