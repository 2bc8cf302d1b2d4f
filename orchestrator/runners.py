"""The runs that one controller walks: each has a ``Runner`` in a task of its own, from when it is taken up.

A run that was lost to another controller (fenced) is let go. A bug or a broken adapter ends one life of a run, not the
run: it is taken up again after a while. So is a run that can't be read or made sense of, which keeps no other waiting.
Of many runs that a new controller finds, the first are taken up before it answers anybody, and the rest while it does.
What holds over environments, the kill switch and freezes, is spread from here.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from weakref import WeakValueDictionary

import structlog

from orchestrator.allowance import acting_for
from orchestrator.checkpoints import Checkpoints
from orchestrator.core.backward import backoff_seconds
from orchestrator.core.events import RunStarted
from orchestrator.core.freeze import Freeze
from orchestrator.core.moment import Moment
from orchestrator.core.phases import Phase
from orchestrator.core.state import State
from orchestrator.errors import Conflict, Fenced, NotFound, StoreError, Unreadable
from orchestrator.failpoints import Point, reach
from orchestrator.freezing import Freezing
from orchestrator.metrics import RunNow
from orchestrator.ports import Journal, Recorded, World
from orchestrator.reading import MOST_RUNS, is_unfinished
from orchestrator.runner import Runner
from orchestrator.sharing import Sharing
from orchestrator.submission import trust_in
from orchestrator.survey import secrets_of
from orchestrator.turns import Turns

log = structlog.get_logger()

TAKEN_UP_TOGETHER = 500

Publish = Callable[[str, Sequence[Recorded]], None]


class Runners:
    """``sharing.Hands``. *publish* is told of each run whose journal grew by what, or whose walk has ended."""

    def __init__(
        self, journal: Journal, world: World, freezing: Freezing, publish: Publish, sharing: Sharing | None
    ) -> None:
        self._journal = journal
        self._world = world
        self._freezing = freezing
        self._publish = publish
        self._sharing = sharing
        self._runners: dict[str, Runner] = {}
        self._work: dict[str, asyncio.Task[None]] = {}
        self._taking_up: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # of each run, while in use
        self._crashes: dict[str, int] = {}
        self._again: dict[str, asyncio.Task[None]] = {}
        self._coming: set[str] = set()
        self._rest: asyncio.Task[None] | None = None
        self._turns = Turns()
        self._checkpoints = Checkpoints(journal)
        self._idle = asyncio.Event()

    def __contains__(self, run: str) -> bool:
        return run in self._runners

    def __iter__(self) -> Iterator[Runner]:
        return iter(list(self._runners.values()))

    def get(self, run: str) -> Runner | None:
        return self._runners.get(run)

    def active(self) -> list[State]:
        return [runner.state for runner in self._runners.values() if not runner.state.ended]

    def now(self) -> Iterator[RunNow]:
        """Each as it stands now, with what was seen."""
        for runner in self:
            moment = Moment(runner.state, runner.evidence, runner.time.now())
            yield RunNow(moment, runner.unwritable is not None, runner.unseen_seconds)

    @property
    def unwalked(self) -> int:
        """How many crashed, or could not be taken up, and are tried again later."""
        return len(self._again)

    # --- taking up ------------------------------------------------------------------------------------------------

    async def take_all_up(self) -> None:
        """The first of them, and the rest soon; what is on its way back comes before all others. Side by side: one
        after the other, each would wait for the disk. Raises ``StoreError``."""
        rows = [row for row in await self._journal.rows(limit=MOST_RUNS) if is_unfinished(row)]
        runs = [row.run for row in sorted(rows, key=lambda row: row.summary.get("phase") != Phase.ROLLING_BACK)]
        first, rest = runs[:TAKEN_UP_TOGETHER], runs[TAKEN_UP_TOGETHER:]
        with self.standing_still():
            await asyncio.gather(*map(self.see_to, first))
            if rest:
                self._coming.update(rest)
                self._rest = asyncio.create_task(self._take_up_rest(rest), name="taking up")

    async def _take_up_rest(self, runs: Sequence[str]) -> None:
        with self.standing_still():
            for first in range(0, len(runs), TAKEN_UP_TOGETHER):
                together = runs[first : first + TAKEN_UP_TOGETHER]
                await asyncio.gather(*map(self._see_to_in_the_end, together))
                self._coming.difference_update(together)
        self._note_idle()

    async def all_taken_up(self) -> None:
        """Returns when no run is still to come."""
        if self._rest is not None:
            await asyncio.wait((self._rest,))

    async def see_to(self, run: str) -> None:
        """Takes it up, now or later. Raises what says that the store is away, or that the run is not ours."""
        try:
            await self.take_up(run)
        except Unreadable as error:
            log.warning("run.not_taken_up", run=run, error=str(error))
            self._come_back_to(run)
        except (Fenced, NotFound, StoreError):
            raise
        except Exception:  # its plan, say, which a newer version took
            log.exception("run.not_taken_up", run=run)
            self._come_back_to(run)

    async def take_up(self, run: str) -> Runner:
        """The run's runner, made if there is none. Once: two lives of a run would fence each other."""
        async with self._taking_up.setdefault(run, asyncio.Lock()):
            return self._runners.get(run) or await self._made(run)

    async def _made(self, run: str) -> Runner:
        epoch = await self._epoch_of(run)
        reach(Point.RUN_TAKEN)
        records = await self._journal.read(run)
        if self._world.secrets is not None and isinstance(first := records[0].event, RunStarted):
            await self._world.secrets.prepare(one for _, one in secrets_of(first.documents))
        await self._freezing.refresh()
        runner = Runner(self._journal, self._world, records, epoch, await self._journal.evidence(run))
        started = runner.state.started
        runner.listeners.append(lambda recorded: self._publish(run, recorded))
        runner.turns, runner.checkpoints = self._turns, self._checkpoints
        runner.set_killed(self._killed(runner.state))
        runner.set_freezes(self._freezes_over(runner.state))
        if self._sharing is not None:
            runner.may_act = self._sharing.may_act
        self._runners[run] = runner
        self._wait_no_more(run)
        with acting_for(trust_in(started.origin, is_owners=started.trusted)):
            self._work[run] = asyncio.create_task(self._run(runner), name=f"run {run}")
        self._note_idle()
        return runner

    async def _epoch_of(self, run: str) -> int:
        """A new one. Of a run that is over and that this controller has not claimed, the one that it has: all that
        anybody still writes there is the answer to a command, and of two who write at once one is refused."""
        try:
            return await self._journal.take(run)
        except Fenced:
            row = await self._journal.row(run)
            if row is None or is_unfinished(row):
                raise
            return row.epoch

    async def _run(self, runner: Runner) -> None:
        try:
            await runner.work()
            self._crashes.pop(runner.run, None)
        except (Fenced, Conflict) as error:
            log.warning("run.lost", run=runner.run, error=str(error))
            if self._sharing is None and not runner.is_closing:  # to whom? it is ahead of what its runner knew
                self._come_back_to(runner.run)
        except Exception as error:
            if runner.is_closing and isinstance(error, StoreError):
                log.warning("run.unwritten", run=runner.run, error=str(error))  # the next life looks what became of it
                return
            log.exception("run.crashed", run=runner.run)
            if not runner.is_closing:
                self._come_back_to(runner.run)
        finally:
            self._runners.pop(runner.run, None)
            self._work.pop(runner.run, None)
            self._publish(runner.run, [])
            self._note_idle()

    def _come_back_to(self, run: str) -> None:
        self._crashes[run] = self._crashes.get(run, 0) + 1
        seconds = backoff_seconds(self._crashes[run] + 1)
        self._again[run] = asyncio.create_task(self._see_to_again(run, seconds), name=f"again {run}")

    def _wait_no_more(self, run: str) -> None:
        waiting = self._again.pop(run, None)
        if waiting is not None and waiting is not asyncio.current_task():
            waiting.cancel()

    async def _see_to_again(self, run: str, seconds: float) -> None:
        await self._world.clock.sleep(seconds)
        try:
            await self._see_to_in_the_end(run)
        finally:
            if self._again.get(run) is asyncio.current_task():
                del self._again[run]
            self._note_idle()

    async def _see_to_in_the_end(self, run: str) -> None:
        """Where nobody waits for it who could be told that the store is away."""
        try:
            await self.see_to(run)
        except (Fenced, NotFound) as error:
            log.warning("run.lost", run=run, error=str(error))
        except StoreError as error:
            log.warning("run.not_taken_up", run=run, error=str(error))
            self._come_back_to(run)

    # --- laying down ----------------------------------------------------------------------------------------------

    def in_hand(self) -> frozenset[str]:
        return frozenset((*self._runners, *self._again, *self._coming))

    def is_in_hand(self, run: str) -> bool:
        return run in self._runners or run in self._again or run in self._coming

    def is_coming(self, run: str) -> bool:
        """Whether this controller has begun so lately that it has not taken it up yet."""
        return run in self._coming

    def standing_still(self) -> AbstractContextManager[None]:
        return self._turns.standing_still()

    def let_go(self) -> None:
        for runner in self._runners.values():
            runner.let_go()

    def idle(self, most: int) -> list[str]:
        return list(islice((run for run, runner in self._runners.items() if runner.is_idle), most))

    async def lay_down(self, runs: Collection[str]) -> None:
        runners = [self._runners[run] for run in runs if run in self._runners]
        work = [self._work[runner.run] for runner in runners]
        await asyncio.gather(*(runner.close() for runner in runners))
        await asyncio.gather(*work, return_exceptions=True)

    async def close(self, grace_seconds: float) -> None:
        if self._rest is not None:
            self._rest.cancel()
            await self.all_taken_up()
        for task in self._again.values():
            task.cancel()
        await asyncio.gather(*(runner.close(grace_seconds) for runner in self._runners.values()))
        await asyncio.gather(*self._work.values(), return_exceptions=True)

    async def until_idle(self) -> None:
        """Returns when no run is unfinished any more."""
        self._note_idle()
        await self._idle.wait()

    def _note_idle(self) -> None:
        if self._again or self._coming or any(not runner.state.ended for runner in self._runners.values()):
            self._idle.clear()
        else:
            self._idle.set()

    # --- what all of them hear of ---------------------------------------------------------------------------------

    def target_changed(self, target: str) -> None:
        for runner in self._runners.values():
            runner.target_changed(target)

    def spread_kill(self) -> None:
        for runner in self._runners.values():
            runner.set_killed(self._killed(runner.state))

    def spread_freezes(self) -> None:
        for runner in self._runners.values():
            runner.set_freezes(self._freezes_over(runner.state))

    def _killed(self, state: State) -> frozenset[str]:
        """Environments that are killed as a whole, or in which a flag of this run is."""
        switch = self._world.kill_switch
        return frozenset(
            entry.name
            for entry in state.program.environments
            if switch.is_killed(entry.name) or any(switch.is_killed(entry.name, key) for key in entry.flags)
        )

    def _freezes_over(self, state: State) -> tuple[Freeze, ...]:
        return self._freezing.over([entry.name for entry in state.program.environments])
