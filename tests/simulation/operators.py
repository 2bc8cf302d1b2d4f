"""People, and other trouble with a time of its own: crashes, clock steps, edits, kills, commands at random.

After the faults are over a dutiful operator looks every half minute and answers whatever waits for a person.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from orchestrator.core.commands import Actor, Command
from orchestrator.core.phases import Phase, Reason
from orchestrator.core.state import State
from orchestrator.errors import RolloutError, StoreError
from orchestrator.ports import Latch
from orchestrator.service import Service
from stages.flag_spec import FlagChange
from tests.simulation import freezes
from tests.simulation.faults import Fault
from tests.simulation.loop import StandsStill
from tests.simulation.plans import OPS

if TYPE_CHECKING:
    from tests.simulation.run import Simulation

LOOK_EVERY_SECONDS = 30.0
PATIENCE_SECONDS = 600.0  # with a hold that does not go away by itself
MOST_RESUMES = 5  # then it goes back: what fails again and again will not be resumed away
MOST_LOOKS_AFTERWARDS = 150  # success that can't be measured is given up after an hour
STILL_SECONDS = 1200.0  # with nothing happening at all, though nothing holds
SOMEBODY = Actor("somebody", "operator")
AUTHOR = Actor("author", "admin", ("dev",))

Commands = Iterator[dict[str, Any]]


async def work(simulation: "Simulation") -> None:
    people = _People(simulation)
    await people.start()
    while not simulation.faults.healed and not simulation.all_ended:  # noqa: ASYNC110 - time is the simulation's
        await asyncio.sleep(min(LOOK_EVERY_SECONDS, simulation.faults.heals_at - simulation.now))
    await people.be_dutiful()
    if Fault.REVERSE in simulation.faults.kinds:
        await people.reverse()
        await people.be_dutiful()


class _People:
    def __init__(self, simulation: "Simulation") -> None:
        self.simulation = simulation
        self.random = Random(f"people/{simulation.seed}")
        self._holds: dict[tuple[str, Reason, str], float] = {}  # since when each was seen without a break
        self._resumes: dict[str, int] = {}
        self._last: dict[str, tuple[int, float]] = {}  # run -> seq, and since when it stands there

    async def start(self, **options: Any) -> None:
        """Hand the plan in until it is accepted; an active run of the same plan is attached to."""
        submission = self.simulation.drawn.submission(**options)
        while True:
            try:
                await self.simulation.call(lambda service: service.start(submission, AUTHOR))
            except (_gone(), StoreError):
                await asyncio.sleep(2.0)
                if self.simulation.runs and not options:
                    return  # it was durable before the controller died
            else:
                return

    async def reverse(self) -> None:
        """A rollback of the newest ended run; it may be refused."""
        command = {"command": "rollback", "with_schema": self.random.random() < 0.5}
        await send(self.simulation, self.simulation.runs[-1], command, f"reverser-{len(self.simulation.runs)}")

    async def be_dutiful(self) -> None:
        """Look, answer, wait; until every run has ended and nothing is left to do for it."""
        while True:
            states = await self._states()
            if states is not None and all(state.ended for state in states) and await self._afterwards():
                return
            for state in states or ():
                if not state.ended:
                    await self._attend(state)
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _afterwards(self) -> bool:
        """What comes after the end: success is judged, notes are sent, follow-ups are answered. False if somebody has
        begun another run meanwhile."""
        for _ in range(MOST_LOOKS_AFTERWARDS):
            left = [run for run in self.simulation.runs if not self.simulation.is_settled(run)]
            if not left or not self.simulation.all_ended:
                return not left
            for state in await self._states(left) or ():
                for item in state.waiting.values():
                    if item.open:
                        wish = {"command": "approve", "item": item.item}
                        await send(self.simulation, state.run, wish, f"afterwards-{len(self.simulation.sent)}")
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        self.simulation.violations.append("a run ended long ago, and something is left to do for it")
        return True

    async def _states(self, runs: Sequence[str] | None = None) -> list[State] | None:
        """Of *runs*, or of those that have not ended; None if no controller answers."""
        if runs is None:
            runs = [run for run in self.simulation.runs if not self.simulation.has_ended(run)]

        async def look(service: Service) -> list[State]:
            return [(await service._state(run))[0] for run in runs]

        try:
            return await self.simulation.call(look)
        except (_gone(), StoreError):
            return None

    async def _attend(self, state: State) -> None:
        self._note_standstill(state)
        for command in self._wanted(state):
            await send(self.simulation, state.run, command, f"dutiful-{len(self.simulation.sent)}")

    def _note_standstill(self, state: State) -> None:
        seq, since = self._last.get(state.run, (0, 0.0))
        if state.seq != seq:
            self._last[state.run] = (state.seq, self.simulation.now)
            return
        if self.simulation.now - since > STILL_SECONDS and not state.holds:
            where = f"{state.phase}.{state.leg} at {state.cursor}"
            raise StandsStill(f"{state.run} stands still in {where} though nothing holds it")

    def _wanted(self, state: State) -> Commands:
        yes = "approve" if self.random.random() < 0.8 else "reject"
        for item in state.waiting.values():
            if item.open:
                yield {"command": yes if item.kind == "question" else "approve", "item": item.item}
        reasons = {reason for reason, _ in state.holds}
        if state.undecided_pins() and reasons & {Reason.TRIGGER, Reason.CHANGED_ELSEWHERE}:
            pin = state.undecided_pins()[0]
            wish = self.random.choice(("keep", "release"))
            for choice in dict.fromkeys((wish, "keep")):
                yield {"command": "resume", "pin": choice, "flag": pin.flag.partition("/")[2]}
        if reasons & {Reason.PAUSED, Reason.TRIGGER}:
            self._resumes[state.run] = self._resumes.get(state.run, 0) + 1
            yield {"command": "resume" if self._resumes[state.run] % MOST_RESUMES else "rollback"}
        yield from self._impatient(state)

    def _impatient(self, state: State) -> Commands:
        """What can't be told is told; what takes too long is ended."""
        seen = {(state.run, hold.reason, hold.item): self.simulation.now for hold in state.holds.values()}
        self._holds = {
            **seen,
            **{key: since for key, since in self._holds.items() if key in seen or key[0] != state.run},
        }
        for hold in state.holds.values():
            late = self.simulation.now - self._holds[(state.run, hold.reason, hold.item)] > PATIENCE_SECONDS
            if hold.reason is Reason.UNKNOWN_OUTCOME or (hold.reason is Reason.CHANGED_ELSEWHERE and late):
                taken = self.random.choice(("as_is", "done", "not_done"))
                yield {"command": "resolve", "target": hold.item, "taken_as": taken}
            elif hold.reason is Reason.POINT_OF_NO_RETURN:
                yield {"command": "resolve", "target": "no_return"}
            elif late and state.phase is Phase.ROLLING_BACK:
                yield {"command": "resolve", "target": hold.item}
            elif late and hold.reason is not Reason.WINDOW:
                yield {"command": "rollback"}


def _gone() -> type[Exception]:
    from tests.simulation.run import Gone

    return Gone


async def send(simulation: "Simulation", run: str, wish: dict[str, Any], name: str, who: str = "") -> None:
    """Send one command, again under its key while nobody answers; sometimes twice though it was answered. *name* is its
    key, and who sends it where nobody else is said to."""
    from tests.simulation.run import Sent

    command = Command.model_validate({**wish, "key": name, "reason": f"{name} wants it"})
    actor = Actor(who or name, "admin", (OPS,))
    answered = 0
    for _ in range(200):
        try:
            answer = await simulation.call(lambda service: service.command(run, command, actor))
        except (_gone(), StoreError):
            await asyncio.sleep(1.5)
            continue
        except RolloutError as refusal:
            simulation.sent.append(Sent(simulation.now, run, actor.name, command.command, name, None, str(refusal)))
            return
        simulation.sent.append(Sent(simulation.now, run, actor.name, command.command, name, answer))
        answered += 1
        if answered > 1 or not simulation.faults.strikes(Fault.DUPLICATES):
            return


# --- trouble --------------------------------------------------------------------------------------------------------


async def _at(simulation: "Simulation", kind: Fault) -> "Any":
    for moment in simulation.faults.moments[kind]:
        await asyncio.sleep(max(moment - simulation.now, 0.0))
        yield Random(f"{kind.name}/{simulation.seed}/{moment}")


async def _crashes(simulation: "Simulation") -> None:
    async for _ in _at(simulation, Fault.CRASH_TIME):
        simulation.crash("at a random time")


async def _clock_steps(simulation: "Simulation") -> None:
    async for random in _at(simulation, Fault.CLOCK):
        simulation.world.clock.offset += random.choice((-600.0, -40.0, -3.0, 3.0, 10.0, 25.0, 40.0, 600.0))


async def _edits(simulation: "Simulation") -> None:
    async for random in _at(simulation, Fault.EDITS):
        environment, key = (
            random.choice(sorted(simulation.drawn.environments)),
            random.choice(sorted(simulation.drawn.spec["flags"])),
        )
        changes: tuple[dict[str, Any], ...] = (
            {"percentage": random.choice((0.0, 3.0, 60.0))}, {"state": "disabled"}, {"parameters": {"z": 1}},
        )  # fmt: skip
        change = FlagChange.model_validate(random.choice(changes))

        async def edit(service: Service, where: str = environment, what: str = key, how: FlagChange = change) -> Any:
            return await service.set_flag(where, what, how, "by hand", SOMEBODY)

        try:
            await simulation.call(edit)
        except (_gone(), RolloutError):
            continue


async def _hands(simulation: "Simulation") -> None:
    """Somebody changes a workload: now, or in the very moment between a look at it and a write."""
    cluster = simulation.world.cluster
    places = sorted(simulation.drawn.workloads.found)
    async for random in _at(simulation, Fault.HANDS):
        if not places:
            continue
        if random.random() < 0.4:
            cluster.lurking += 1
        else:
            environment, name = random.choice(places)
            cluster.meddle(environment, name, random)


async def _kills(simulation: "Simulation") -> None:
    switch, clock = simulation.world.kill_switch, simulation.world.clock
    for begin, end in simulation.faults.spans[Fault.KILL]:
        await asyncio.sleep(max(begin - simulation.now, 0.0))
        switch.disable_all(Latch("*", "somebody", "stop it all", clock.now()))
        await asyncio.sleep(max(end - simulation.now, 0.0))
        switch.lift("*", "somebody", "fine again", clock.now())


async def _commands(simulation: "Simulation") -> None:
    number = 0
    sending: list[asyncio.Task[None]] = []
    async for random in _at(simulation, Fault.COMMANDS):
        number += 1
        if simulation.runs:
            wish = _random_command(simulation, random)
            sending.append(asyncio.create_task(send(simulation, simulation.runs[-1], wish, f"random-{number}")))
    await asyncio.gather(*sending)


def _random_command(simulation: "Simulation", random: Random) -> dict[str, Any]:
    stages = [stage["name"] for stage in simulation.drawn.spec["stages"]]
    triggers = [trigger["name"] for trigger in simulation.drawn.spec.get("triggers", [])] or ["none"]
    wishes: tuple[tuple[int, dict[str, Any]], ...] = (
        (5, {"command": "pause"}),
        (5, {"command": "resume"}),
        (4, {"command": "approve"}),
        (2, {"command": "reject"}),
        (4, {"command": "advance"}),
        (2, {"command": "rollback"}),
        (1, {"command": "rollback", "with_schema": True}),
        (3, {"command": "rollback", "stage": random.choice(stages)}),
        (1, {"command": "stop"}),
        (3, {"command": "resolve", "taken_as": random.choice(("as_is", "done", "not_done"))}),
        (3, {"command": "fire", "trigger": random.choice(triggers)}),
        (1, {"command": "ack"}),
        (2, {"command": "resume", "pin": random.choice(("keep", "release"))}),
    )
    return random.choices([wish for _, wish in wishes], [weight for weight, _ in wishes])[0]


async def _withdrawals(simulation: "Simulation") -> None:
    """Somebody approves what waits, and takes it back a little later, if it has not taken effect by then."""
    number = 0
    async for random in _at(simulation, Fault.WITHDRAW):
        number += 1
        if not simulation.runs:
            continue
        run, who = simulation.runs[-1], f"waverer-{number}"
        item = await _open_approval(simulation, run)
        wish = {"item": item} if item is not None else {}
        await send(simulation, run, {"command": "approve", **wish}, f"{who}-says-yes", who)
        await asyncio.sleep(random.choice((0.0, 1.0, 20.0)))
        await send(simulation, run, {"command": "withdraw", **wish}, f"{who}-says-no", who)


async def _open_approval(simulation: "Simulation", run: str) -> str | None:
    try:
        state, _ = await simulation.call(lambda service: service._state(run))
    except (_gone(), RolloutError):
        return None
    return next((one.item for one in state.waiting.values() if one.open and one.kind in ("approval", "sign_off")), None)


async def _supersede(simulation: "Simulation") -> None:
    async for _ in _at(simulation, Fault.SUPERSEDE):
        if not simulation.runs:
            continue
        submission = simulation.drawn.submission(corrected=True, supersede=simulation.runs[-1])
        try:
            await simulation.call(lambda service, s=submission: service.start(s, AUTHOR))  # type: ignore[misc]
        except (_gone(), RolloutError, TimeoutError):
            continue


TROUBLES: dict[Fault, Callable[["Simulation"], Coroutine[Any, Any, None]]] = {
    Fault.CRASH_TIME: _crashes,
    Fault.CLOCK: _clock_steps,
    Fault.EDITS: _edits,
    Fault.KILL: _kills,
    Fault.COMMANDS: _commands,
    Fault.SUPERSEDE: _supersede,
    Fault.HANDS: _hands,
    Fault.FREEZE: freezes.trouble,
    Fault.WITHDRAW: _withdrawals,
}
