"""What the other controllers of a store do, as one of them notices it: by looking, about once a second.

Flags that they write reach this one's board and so its clients; the kill switch is merged with theirs, in both
directions; runs that they walk are read from the store. While the store is away each goes by what it has.
"""

import asyncio
from contextlib import suppress

import structlog

from orchestrator.core.fold import fold
from orchestrator.core.state import State
from orchestrator.errors import StoreError, Unreadable
from orchestrator.failpoints import Point, reach
from orchestrator.flag_board import FlagBoard
from orchestrator.ports import Clock, Journal, KillSwitch, Membership, RunRow

log = structlog.get_logger()

LOOK_SECONDS = 1.0
SWITCH_TRIES = 5  # when others put theirs between our look and our write
SWITCH_SECONDS = 2.0  # for the store; the switch itself waits for nobody


class Others:
    def __init__(
        self, membership: Membership, journal: Journal, board: FlagBoard, kill_switch: KillSwitch, clock: Clock
    ) -> None:
        self._membership = membership
        self._journal = journal
        self._board = board
        self._kill_switch = kill_switch
        self._clock = clock
        self._states: dict[str, tuple[int, State]] = {}  # of active runs elsewhere, by name: rev, state
        self._told = ""

    async def watch(self) -> None:
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            try:
                await self.look()
                self._tell("")
            except StoreError as error:
                self._tell(str(error))
            except Exception:  # a bug here must not make this controller blind in silence
                log.exception("others.crashed")

    async def look(self) -> None:
        await self.share_switch()
        await self._board.catch_up()

    async def share_switch(self) -> None:
        """Raises ``StoreError`` if the store, or this controller's own file, can't be written."""
        try:
            async with asyncio.timeout(SWITCH_SECONDS):
                await self._share_switch()
        except TimeoutError:
            raise StoreError("the store does not answer; the kill switch is this controller's own until then") from None

    async def _share_switch(self) -> None:
        for _ in range(SWITCH_TRIES):
            there = await self._membership.switch()
            merged = self._kill_switch.merge(there)
            if merged is None or merged == there:
                return
            reach(Point.SWITCH_SHARING)
            if await self._membership.put_switch(merged, there):
                reach(Point.SWITCH_SHARED)
                return
        raise StoreError("others keep moving the kill switch in the store; this one's is put there at the next look")

    async def share_switch_now(self) -> None:
        """After it was moved here: what can't be done is done at the next look."""
        try:
            await self.share_switch()
        except StoreError as error:
            self._tell(str(error))

    async def states(self, rows: list[RunRow]) -> list[State]:
        """Of all active runs that are not walked here, read again only if they went on; without those that can't be."""
        found = {}
        for row in rows:
            with suppress(Unreadable):  # whoever is to walk it says so
                found[row.run] = (row.rev, await self._state(row))
        self._states = found
        return [state for _, state in found.values()]

    async def _state(self, row: RunRow) -> State:
        known = self._states.get(row.run)
        if known is not None and known[0] == row.rev:
            return known[1]
        return fold((record.event, record.at) for record in await self._journal.read(row.run))

    def _tell(self, words: str) -> None:
        if words and words != self._told:
            log.warning("others.unseen", error=words)
        self._told = words
