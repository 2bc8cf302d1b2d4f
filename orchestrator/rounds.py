"""Asking a round of checks, once: outside of any run, and with no consequence but its result."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.core.times import iso
from orchestrator.ports import Asker, CheckAnswer, Clock, Scene
from stages.checks import Check, Standing
from stages.load import LoadedPlan

MOST_AT_ONCE = 4
MOST_TRIES = 1000
Person = Callable[[Check], CheckAnswer]
"""Asks whoever is there what no machine can tell."""


@dataclass(frozen=True, slots=True)
class Checklist:
    """Checks that are asked together, in the place of one environment."""

    name: str
    environment: str
    checks: tuple[Check, ...]


def checklists_of(plan: LoadedPlan) -> tuple[Checklist, ...]:
    """A plan's own checks and those of its environments: what is asked before anything is touched."""
    found = []
    for name, document in plan.documents:
        section = next((one for one in document.spec.environments if one.name == name), None)
        checks = (*document.spec.checks, *(section.checks if section is not None else ()))
        meant = tuple(one for one in checks if not one.environments or name in one.environments)
        found.append(Checklist(name, name, meant))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Answer:
    """*seconds*: how long it took, with all tries."""

    check: Check
    standing: Standing
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """Of one round. *begun* and *ended* in seconds since the epoch."""

    name: str
    begun: float
    ended: float
    answers: tuple[Answer, ...]

    @property
    def standing(self) -> Standing:
        """The worst answer of what is required: a plain no before a question that could not be asked."""
        found = {one.standing for one in self.answers if one.check.required}
        return next((one for one in (Standing.NO, Standing.UNKNOWN) if one in found), Standing.YES)

    @property
    def bad(self) -> Iterator[Answer]:
        return (one for one in self.answers if one.check.required and one.standing is not Standing.YES)

    def to_json(self) -> dict[str, Any]:
        return {
            "round": self.name,
            "standing": self.standing.value,
            "begun": iso(self.begun),
            "ended": iso(self.ended),
            "checks": [
                {
                    "name": one.check.name,
                    "standing": one.standing.value,
                    "detail": one.detail,
                    "required": one.check.required,
                    "seconds": round(one.seconds, 3),
                }
                for one in self.answers
            ],
        }


@dataclass(frozen=True, slots=True)
class Asking:
    """*person* is None where nobody is there: what only a person can tell is then unknown."""

    asker: Asker
    clock: Clock
    person: Person | None = None

    async def ask(self, name: str, checks: Sequence[Check], scene: Scene) -> Result:
        """All at once, a few at a time; what a person must answer comes last, one after the other."""
        begun, limit = self.clock.now(), asyncio.Semaphore(MOST_AT_ONCE)
        machine = [check for check in checks if check.manual is None]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._within(limit, check, scene)) for check in machine]
        answers = {check.name: task.result() for check, task in zip(machine, tasks, strict=True)}
        for check in checks:
            if check.manual is not None:
                answers[check.name] = await self._by_person(check)
        return Result(name, begun, self.clock.now(), tuple(answers[check.name] for check in checks))

    async def _within(self, limit: asyncio.Semaphore, check: Check, scene: Scene) -> Answer:
        async with limit:
            return await self._with_tries(check, scene)

    async def _with_tries(self, check: Check, scene: Scene) -> Answer:
        begun = self.clock.monotonic()
        found = await self.asker.ask(check, scene)
        retries = check.retries
        for _ in range(MOST_TRIES if retries is not None else 0):
            assert retries is not None
            if found.standing is Standing.YES or self.clock.monotonic() - begun + retries.every > retries.for_:
                break
            await self.clock.sleep(retries.every)
            found = await self.asker.ask(check, scene)
        return Answer(check, found.standing, found.detail, self.clock.monotonic() - begun)

    async def _by_person(self, check: Check) -> Answer:
        begun = self.clock.monotonic()
        if self.person is None:
            who = f" ({', '.join(check.by)})" if check.by else ""
            return Answer(check, Standing.UNKNOWN, f"a person{who} is to say: {check.manual}", 0.0)
        found = await asyncio.to_thread(self.person, check)
        return Answer(check, found.standing, found.detail, self.clock.monotonic() - begun)
