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
from orchestrator.journal.memory import MemoryReplica, MemoryStore
from orchestrator.metrics import Meter
from orchestrator.metrics.metered import MeteredJournal, metered
from orchestrator.ports import CheckAnswer, Clock, Member, Messenger, Peers, Pulse, Scene, Seen, World
from orchestrator.service import Service
from orchestrator.sharing import Sharing
from orchestrator.submission import Submission
from stages.checks import Check, Source, Standing
from stages.criteria.base import NOTHING_WANTED, Measurement, MeasurementState, SeriesValue, Wanted
from stages.notify import Channel
from tests.orchestrator.core.drive import plan_of
from tests.support.process import DEADLINE_SECONDS

ANN = Actor("ann", "admin")
OPEN = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [50], "bake": "0s", "settle": "0s"}
QUICK: dict[str, Any] = {"stages": [OPEN]}


class Outside:
    """Everything but flags: commands that work, checks that say yes, series at zero."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.taken_away: list[str] = []

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        self.done.append(effect.label)
        return Outcome(state=EffectState.DONE, observed={"ran": effect.id})

    async def end(self, effect: Effect, scene: Scene) -> None:
        self.taken_away.append(effect.label)

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

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.store = MemoryStore()
        self.kill_switch = MemoryKillSwitch()
        self.outside = Outside()
        self.messenger: Messenger | None = None  # the one outside, if there is no other
        self.pulse: Pulse | None = None
        self.services: list[Service] = []

    async def move_in(self) -> Service:
        return await self._opened(self.store, self.kill_switch)

    async def join(self, name: str, door: type[MemoryReplica] = MemoryReplica, peers: Peers | None = None) -> Service:
        """One of several controllers, with a kill switch of its own."""
        store = door(self.store, Member(name, f"http://{name}:8040"), self.clock.monotonic)
        sharing = Sharing(store, store, self.clock, self.clock.monotonic, peers)
        return await self._opened(store, MemoryKillSwitch(), sharing)

    async def _opened(
        self, store: MemoryStore, kill_switch: MemoryKillSwitch, sharing: Sharing | None = None
    ) -> Service:
        board = FlagBoard(store, kill_switch)
        flags, outside = FlagPerformer(board, self.clock), self.outside
        world = World(
            clock=self.clock,
            performers={"set_flag": flags, "run_command": outside},
            observers={"observe_flag": flags, "observe_command": outside},
            asker=outside,
            measurer=outside,
            messenger=self.messenger or outside,
            pulse=self.pulse,
            flags=board,
            kill_switch=kill_switch,
            freezes=store.freezes,
            keeping=store.keeping,
            endings={"run_command": outside},
        )
        meter = Meter()
        journal = MeteredJournal(store, meter, world.clock)
        service = Service(journal, board, metered(world, meter), meter, sharing)
        await service.open()
        self.services.append(service)
        return service


def submission(name: str = "change", digest: str = "d1", flag: str = "beta", **spec: Any) -> Submission:
    stage = {"name": "open", "kind": "monitoring", "flag": flag, "percentages": [50, 100], "bake": "1h"}
    document = plan_of({"flags": {flag: {}}, "stages": [stage], **spec})
    document["metadata"]["name"] = name
    return Submission(name, digest, (PlanDocument(environment="production", plan=document),))


async def eventually(service: Service, run: str, **wanted: Any) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            shown = await service.status(run)
            if all(shown[key] == value for key, value in wanted.items()):
                return shown
            await asyncio.sleep(0.01)
