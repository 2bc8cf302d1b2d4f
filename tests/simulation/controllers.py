"""Several controllers in one seed: they share the store in memory, die, freeze past their lease, and come back.

How many there are is drawn apart, so that all else of a seed is as it would be with one. A frozen one does nothing:
each of its doors (the store, the world, its clock) stays shut. When it goes on, it looks at its lease before anything
else, as the event loop of a real one does.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from orchestrator.errors import StoreError
from orchestrator.journal.memory import MemoryReplica
from orchestrator.ports import Member
from orchestrator.service import Service
from orchestrator.sharing import AGAIN_SECONDS, LEASE_SECONDS
from tests.simulation.faults import Fault
from tests.simulation.loop import LIFE, Life

if TYPE_CHECKING:
    from tests.simulation.run import Simulation

TAKEOVER_SECONDS = LEASE_SECONDS + AGAIN_SECONDS
LOOK_SECONDS = 0.25
SLACK_SECONDS = 2 * LOOK_SECONDS + 0.5  # the look's own, and for what is read on the way
FREEZES = (1.0, 4.0, 8.0, 9.5, 12.0, 30.0, 120.0)
MOST_FREEZES = 6


def controllers_of(seed: int) -> int:
    """One in most seeds."""
    return Random(f"controllers/{seed}").choice((1, 1, 1, 2, 3))


@dataclass
class Seat:
    """Where one controller lives, one life after the other."""

    number: int
    random: Random
    life: Life | None = None
    service: Service | None = None
    healthy_since: float | None = None

    @property
    def member(self) -> str | None:
        """What the newest controller here is called in the store."""
        return member_of(self.number, self.life) if self.life is not None else None

    @property
    def is_healthy(self) -> bool:
        return self.service is not None and self.life is not None and not (self.life.is_dead or self.life.is_frozen)


def member_of(seat: int, life: Life) -> str:
    return f"controller-{seat}-{life.number}"


class MemberStore:
    """The part of a life's door to a shared store that is its membership."""

    def __init__(self, replica: MemoryReplica, enter: Callable[[str], object], life: Life) -> None:
        self.me = replica.me
        self._replica = replica
        self._enter = enter
        self._life = life

    async def renew(self, lease_seconds: float) -> None:
        await self._pass("renew")
        await self._replica.renew(lease_seconds)

    async def claim(self, most: int, *, only_lapsed: bool = False) -> list[str]:
        await self._pass("claim")
        return await self._replica.claim(most, only_lapsed=only_lapsed)

    async def owner(self, run: str) -> Member | None:
        await self._pass("owner")
        return await self._replica.owner(run)

    async def members(self) -> list[Member]:
        await self._pass("members")
        return await self._replica.members()

    async def shares(self) -> tuple[Mapping[str, int], int]:
        await self._pass("shares")
        return await self._replica.shares()

    async def release(self, runs: Sequence[str]) -> None:
        await self._pass("release")
        await self._replica.release(runs)

    async def leave(self) -> None:
        await self._pass("leave")
        await self._replica.leave()

    async def switch(self) -> str | None:
        await self._pass("switch")
        return await self._replica.switch()

    async def put_switch(self, text: str, before: str | None) -> bool:
        await self._pass("put_switch")
        return await self._replica.put_switch(text, before)

    async def _pass(self, what: str) -> None:
        await asyncio.sleep(0.001)
        await self._life.thawed()
        if self._life.is_dead:
            await asyncio.get_running_loop().create_future()
        self._enter(what)


async def freeze(simulation: "Simulation") -> None:
    """Each controller at drawn times, for less or more than its lease."""
    random = Random(f"freezes/{simulation.seed}")
    moments = sorted(random.uniform(1.0, simulation.faults.heals_at) for _ in range(random.randint(0, MOST_FREEZES)))
    thawing: list[asyncio.Task[None]] = []
    for moment in moments:
        await asyncio.sleep(max(moment - simulation.now, 0.0))
        life = random.choice(simulation.seats).life
        seconds = random.choice(FREEZES)
        if life is not None and not life.is_dead and not life.is_frozen:
            life.freeze()
            simulation.lives.append(f"{simulation.now:.3f} s: {life.name} is frozen for {seconds:g} s")
            thawing.append(asyncio.create_task(_thaw(simulation, life, seconds)))
    await asyncio.gather(*thawing)


async def _thaw(simulation: "Simulation", life: Life, seconds: float) -> None:
    await asyncio.sleep(seconds)
    life.thaw()
    simulation.thawed_at = simulation.now


@dataclass
class FreezesAtEffects:
    """Now and then a controller is frozen in the moment before it sends something."""

    simulation: "Simulation"
    _left: int = MOST_FREEZES

    def __post_init__(self) -> None:
        self._random = Random(f"freezes at effects/{self.simulation.seed}")
        self._probability = self._random.choice((0.0, 0.05, 0.3))
        self._thawing: set[asyncio.Task[None]] = set()

    def strike(self) -> None:
        life = LIFE.get()
        is_struck = self._random.random() < self._probability and not self.simulation.faults.healed
        if life is None or life.is_frozen or life.is_dead or not is_struck or self._left <= 0:
            return
        self._left -= 1
        seconds = self._random.choice(FREEZES)
        life.freeze()
        self.simulation.lives.append(f"{self.simulation.now:.3f} s: {life.name} is frozen for {seconds:g} s at a call")
        task = asyncio.create_task(_thaw(self.simulation, life, seconds))
        self._thawing.add(task)
        task.add_done_callback(self._thawing.discard)


@dataclass
class Watch:
    """Looks whether each run is in somebody's hands, or soon is."""

    simulation: "Simulation"
    # whose it is in the store, whether that one is healthy, and since when that is so
    _orphaned: dict[str, tuple[str | None, bool, float]] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._look(self.simulation.now)

    def _look(self, now: float) -> None:
        is_away = self.simulation.faults.lasts(Fault.STORE)
        for seat in self.simulation.seats:
            if not seat.is_healthy or is_away:
                seat.healthy_since = None
            elif seat.healthy_since is None:
                seat.healthy_since = now
        for run in self.simulation.runs:
            if self.simulation.has_ended(run) or self._is_in_hand(run):
                self._orphaned.pop(run, None)
                continue
            # one who took it over, or came back to it, may die as well before it has it in hand
            owner = self.simulation.store._members.owners.get(run)
            now_so = owner, self._is_healthy(owner)
            if run not in self._orphaned or self._orphaned[run][:2] != now_so:
                self._orphaned[run] = *now_so, now
        self._complain(now)

    def _is_in_hand(self, run: str) -> bool:
        services = (seat.service for seat in self.simulation.seats if seat.is_healthy)
        return any(service is not None and run in service.in_hand() for service in services)

    def _is_healthy(self, member: str | None) -> bool:
        return any(seat.is_healthy and seat.member == member for seat in self.simulation.seats)

    def _complain(self, now: float) -> None:
        able = [seat.healthy_since for seat in self.simulation.seats if seat.healthy_since is not None]
        for run, (_, _, since) in self._orphaned.items():
            # who goes on after a freeze may have renewed its lease, and died at once
            waited = now - max(since, min(able), self.simulation.thawed_at) if able else 0.0
            if waited > TAKEOVER_SECONDS + SLACK_SECONDS and run not in self._told:
                self._told.add(run)
                self.simulation.violations.append(f"{run} was in nobody's hands for {waited:.1f} s at {now:.1f} s")


def is_fenced(simulation: "Simulation", run: str, epoch: int) -> bool:
    """Whether another controller has the run by now."""
    return simulation.store._runs[run].row.epoch != epoch


def store_is_away(simulation: "Simulation") -> Callable[[str], object]:
    def enter(what: str) -> None:
        if simulation.faults.lasts(Fault.STORE):
            raise StoreError(f"the store is away: {what}")

    return enter
