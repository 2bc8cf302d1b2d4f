"""An event loop whose time jumps to the next thing that is due instead of passing.

Everything that the controller does is driven by timers of this loop, so an hour of rollout takes as long as its
decisions take. Three things end a loop that would otherwise hang: nothing is due and nothing can happen any more
(``Deadlock``), time stands still while callbacks chase each other (``Livelock``), and the horizon or the bound of steps
(``OutOfTime``). Rehearsals of a user's plan run in it, and so does the simulation of the tests.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
MOST_ROUNDS_AT_ONE_TIME = 3_000
SHORTEST_SLEEP_SECONDS = 1e-4  # below that a wall clock in floating point would stand still
START = 1_780_311_600.0  # wall clock at virtual time 0: a Monday, 11:00 in UTC


class Deadlock(Exception):
    """Nothing is due and nobody waits for anything that can still happen."""


class Livelock(Exception):
    """Callbacks chase each other while no time passes."""


class OutOfTime(Exception):
    """The horizon was reached, or the bound of steps."""


class _Jumping(selectors.SelectSelector):
    """Never waits: a time-out moves the clock."""

    def __init__(self, passed: Callable[[float | None], None]) -> None:
        super().__init__()
        self._passed = passed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._passed(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """*steps* counts its rounds: what a walk costs, whatever the machine."""

    def __init__(self, horizon_seconds: float, begin: float = 0.0, most_steps: int | None = None) -> None:
        self._virtual = begin
        self._horizon = horizon_seconds
        self._still = 0
        self._most_steps = most_steps
        self.steps = 0
        super().__init__(_Jumping(self._pass))

    def time(self) -> float:
        return self._virtual

    def skip(self, seconds: float) -> None:
        """Let so much time pass at once. What was due meanwhile is late."""
        self._virtual += seconds

    def unbind(self) -> None:
        """For the end: what is cancelled may still take its rounds."""
        self._horizon, self._most_steps = float("inf"), None

    def _pass(self, timeout: float | None) -> None:
        self.steps += 1
        if self._most_steps is not None and self.steps > self._most_steps:
            raise OutOfTime(f"not over after {self._most_steps:,} steps, at {self._virtual:.0f} s")
        if timeout is None:
            raise Deadlock(f"at {self._virtual:.3f} s nothing is due any more")
        if timeout <= 0:
            self._still += 1
            if self._still > MOST_ROUNDS_AT_ONE_TIME:
                raise Livelock(f"time stands still at {self._virtual:.3f} s")
            return
        self._still = 0
        self._virtual += max(timeout, SHORTEST_SLEEP_SECONDS)
        if self._virtual > self._horizon:
            raise OutOfTime(f"not over after {self._virtual:.0f} s")


LIFE: ContextVar["Life | None"] = ContextVar("LIFE", default=None)


class Life:
    """One life of a controller: the tasks that are its own, and whether it still lives."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"life {number}"
        self.look: Callable[[], object] = lambda: None  # what it does first when it goes on after a freeze
        self._frozen: asyncio.Event | None = None
        self.dead = asyncio.Event()
        self.cause = ""
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def is_dead(self) -> bool:
        return self.dead.is_set()

    @property
    def is_frozen(self) -> bool:
        return self._frozen is not None

    def freeze(self) -> None:
        self._frozen = asyncio.Event()

    def thaw(self) -> None:
        if self._frozen is not None:
            if not self.is_dead:
                self.look()
            self._frozen.set()
            self._frozen = None

    async def thawed(self) -> None:
        """To be awaited at every door: a frozen life goes through none."""
        while self._frozen is not None:
            await self._frozen.wait()

    def die(self, cause: str) -> None:
        if not self.dead.is_set():
            self.cause = cause
            self.dead.set()

    async def die_here(self, cause: str) -> None:
        """The controller ends at this very point: whoever awaits this never comes back."""
        self.die(cause)
        await asyncio.get_running_loop().create_future()

    def start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """A task of this life; so are all that it starts."""
        token = LIFE.set(self)
        try:
            return asyncio.get_running_loop().create_task(work)
        finally:
            LIFE.reset(token)

    def note(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.append(task)
        if len(self._tasks) > 200:
            self._tasks = [one for one in self._tasks if not one.done()]

    async def bury(self) -> None:
        """Every task is ended, in the order in which they were started, without grace."""
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = []


def _make_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    life = LIFE.get()
    if life is not None:
        life.note(task)
    return task


def simulate(main: Callable[[], Coroutine[Any, Any, T]], horizon_seconds: float) -> T:
    """Run *main* under virtual time. Raises what ended the loop if *main* did not end by itself."""
    return run_in(VirtualLoop(horizon_seconds), main)


def run_in(loop: VirtualLoop, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """As ``simulate``, in a loop that was made before; it is closed."""
    loop.set_task_factory(_make_task)
    asyncio.set_event_loop(loop)
    task = loop.create_task(main())
    try:
        return loop.run_until_complete(task)
    finally:
        _close(loop)


def _close(loop: VirtualLoop) -> None:
    loop.unbind()
    left = asyncio.all_tasks(loop)
    for one in left:
        one.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    asyncio.set_event_loop(None)
    loop.close()
