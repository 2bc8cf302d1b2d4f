"""Several controllers on one store: which runs this one acts for, and whether it may act at all.

Theory of operation. A controller holds a lease in the store and claims runs under it. Two loops keep that up. One
renews the lease; the other claims what is free and takes up whatever is ours and in nobody's hand, so that a run that
was dropped for any reason (a lapse, an append whose fate was not known) comes back by itself.

Who has clearly more than its share (of many runs; a few stay where they are) lays some idle ones down and gives its
claims on them up. They go to who has less than its share: others claim only what somebody had whose lease has lapsed.

The store judges leases by its own clock; we judge ours by a clock of this machine that counts sleep, from the moment at
which the renewal was *sent*, and give up three seconds before the store would: what is under way is cut short, with
time left for that, before anybody can take over. Whoever is about to act asks ``may_act``, which compares clocks and
lets every run go at once if too much time has passed. The event loop asks it too, after each wait and before anything
that became ready: a process that was frozen finds its runs dropped before it does anything else.

What a controller sends in the very moment in which it is frozen can't be called back. That is fenced by its effect:

    flag of our store       the run's epoch, looked at in the transaction that writes it
    objects of a cluster    the epoch among our annotations, and the resourceVersion that was read
    migration by SQL        the row with the effect's id, under the lock of the migration
    command, Alembic        its supervisor ends it when the lease lapses, before another controller may begin
    HTTP                    one call, with its idempotency key
    notice                  one call; it may arrive twice
"""

import asyncio
import math
from collections.abc import Callable, Collection, Coroutine
from contextlib import AbstractContextManager
from typing import Any, Protocol

import structlog

from orchestrator.errors import Fenced, NotFound, StoreError, Temporary
from orchestrator.failpoints import Point, reach
from orchestrator.ports import Clock, Journal, Member, Membership, Peers

log = structlog.get_logger()

LEASE_SECONDS = 9.0
RENEWED_WITHIN_SECONDS = 6.0
AGAIN_SECONDS = 1.5
FIND_SECONDS = 0.5  # between two looks for free runs: a lease of 9 s, this and the taking up are a takeover in 10.5 s
ANSWER_SECONDS = 3.0  # for the store to renew in; a connection that hangs must not keep the next try back
LEAVE_SECONDS = 1.0
SHORTEST_WATCH_SECONDS = 0.1
MOST_CLAIMED = 128  # at a time: of thousands that one left, others have their part, and all take theirs up at once
MOST_TOGETHER = 32  # runs that are taken up side by side: more than a store has connections, so that none is idle
SHARES_SECONDS = 1.0  # between two looks who has how many runs
GIVEN_SECONDS = 5.0  # between two times that runs are given away
MOST_GIVEN = 250  # at a time
UNEVEN_RUNS, UNEVEN_SHARE = 10, 0.05  # what is more than one's share must be so much of it before any run is moved
MOVES_SECONDS = 2.0  # after which a run whose controller went has another, mostly


class Hands(Protocol):
    """Who acts for runs."""

    def in_hand(self) -> Collection[str]: ...

    def standing_still(self) -> AbstractContextManager[None]:
        """While many are taken up: what only waits for its turn waits, but nothing that is on its way back."""
        ...

    async def see_to(self, run: str) -> None:
        """Takes it up, now or later. Raises ``Fenced``, ``NotFound``, ``StoreError``."""
        ...

    def let_go(self) -> None:
        """Of everything, at once: nothing that is not sent yet is sent any more."""
        ...

    def idle(self, most: int) -> list[str]:
        """Up to so many runs for which nothing is under way."""
        ...

    async def lay_down(self, runs: Collection[str]) -> None:
        """Ends the walk of these in peace, with all that is known of them written."""
        ...


class Sharing:
    """Keeps the lease of one controller from ``open`` to ``close``. *time* is a clock that counts sleep, in seconds."""

    def __init__(
        self,
        membership: Membership,
        journal: Journal,
        clock: Clock,
        time: Callable[[], float],
        peers: Peers | None = None,
        *,
        uneven_runs: int = UNEVEN_RUNS,
    ) -> None:
        """*uneven_runs*: by so many this controller must have more than its share before it gives any away."""
        self.membership = membership
        self.me = membership.me
        self.peers = peers
        self._journal = journal
        self._clock = clock
        self._time = time
        self._hands: Hands | None = None
        self._until = time()  # from then on we must not act
        self._acts = False
        self._mine: set[str] = set()
        self._uneven_runs = uneven_runs
        self._has_share = False  # and others are there, who may have less
        self._shares_at = time()
        self._gives_at = time() + GIVEN_SECONDS
        self._loops: list[asyncio.Task[None]] = []
        self._finding: asyncio.Task[None] | None = None

    # --- life -----------------------------------------------------------------------------------------------------

    async def open(self, hands: Hands) -> None:
        """With the first free runs taken up, and the others soon. Raises ``StoreError``."""
        self._hands = hands
        try:
            await self._renew()
        except TimeoutError:
            raise StoreError(
                f"The store took no lease of this controller within {ANSWER_SECONDS:g} s: look at the load of its "
                "server, and whether a commit waits for a standby that is away."
            ) from None
        self._loops = [
            self._kept_up(self._renew, "lease", AGAIN_SECONDS),
            asyncio.create_task(self._watch(), name="lapse"),
        ]
        await self._find()
        self._finding = self._kept_up(self._find_all, "claims", FIND_SECONDS)

    async def stop_finding(self) -> None:
        """On the way down: nothing new is taken up, and the lease is kept until ``close``."""
        await _ended(self._finding)

    async def close(self) -> None:
        """To be called when nothing is in hand any more: others have it at once."""
        await _ended(self._finding, *self._loops)
        self._acts = False
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                reach(Point.LEASE_LEAVING)
                await self.membership.leave()
        except (StoreError, TimeoutError) as error:
            log.warning("lease.left", error=str(error), why="others wait until it has lapsed")

    def _kept_up(
        self, turn: Callable[[], Coroutine[Any, Any, None]], name: str, every_seconds: float
    ) -> "asyncio.Task[None]":
        async def loop() -> None:
            while True:
                began = self._time()
                try:
                    await turn()
                except (StoreError, TimeoutError) as error:
                    log.warning("sharing.store_away", what=name, error=str(error))
                except Exception:  # a bug here must not end the runs of this process in silence
                    log.exception("sharing.crashed", what=name)
                await self._clock.sleep(max(every_seconds - (self._time() - began), 0.0))

        return asyncio.create_task(loop(), name=name)

    def until(self) -> float:
        """When our right to act ends, unless the lease is renewed before; by *time*."""
        return self._until

    # --- the lease ------------------------------------------------------------------------------------------------

    def may_act(self) -> bool:
        """Whether nobody else can act for our runs. The first look that finds the lease lapsed lets them go."""
        if self._time() < self._until:
            return True
        self._stop_acting("it was not renewed in time")
        return False

    def _stop_acting(self, why: str) -> None:
        if self._acts:
            self._acts = False
            log.warning("lease.lapsed", controller=self.me.name, why=why)
            if self._hands is not None:
                self._hands.let_go()

    async def _watch(self) -> None:
        while True:
            await self._clock.sleep(max(self._until - self._time(), SHORTEST_WATCH_SECONDS))
            self.may_act()

    async def _renew(self) -> None:
        sent = self._time()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reach(Point.LEASE_RENEWING)
                await self.membership.renew(LEASE_SECONDS)
                reach(Point.LEASE_RENEWED)
        except Fenced as error:
            self._until = sent
            self._stop_acting(str(error))
            self._mine.clear()
            sent = self._time()
            async with asyncio.timeout(ANSWER_SECONDS):
                await self.membership.leave()
                await self.membership.renew(LEASE_SECONDS)
        self._until = sent + RENEWED_WITHIN_SECONDS
        self._acts = self._time() < self._until

    # --- runs -----------------------------------------------------------------------------------------------------

    def note_started(self, run: str) -> None:
        """It was started here, so it is ours."""
        self._mine.add(run)

    def must_act(self) -> None:
        """Raises ``Temporary`` while this controller may begin nothing."""
        if not self.may_act():
            raise Temporary("this controller has no lease in the store now; ask again in a moment", MOVES_SECONDS)

    async def owner(self, run: str) -> Member | None:
        return await self.membership.owner(run)

    async def elsewhere(self, run: str) -> Member | None:
        """Another one who acts for a run; None if we do, or nobody."""
        owner = await self.membership.owner(run)
        return None if owner is None or owner.name == self.me.name else owner

    async def _find_all(self) -> None:
        while await self._find():
            pass

    async def _find(self) -> bool:
        """Claims what is free, and takes up what is ours and in nobody's hand. Whether more may be free."""
        if self._hands is None or not self.may_act():
            return False
        if self._time() >= self._shares_at:
            self._shares_at = self._time() + SHARES_SECONDS
            await self._even_out(self._hands)
        try:
            claimed = set(await self.membership.claim(MOST_CLAIMED, only_lapsed=self._has_share))
            self._mine |= claimed  # and never cut short: it may have been done
        except Fenced:
            return False  # the next renewal learns of it as well
        wanted = sorted(self._mine - set(self._hands.in_hand()))
        with self._hands.standing_still():
            for first in range(0, len(wanted), MOST_TOGETHER):
                if not self.may_act():
                    return False
                together = wanted[first : first + MOST_TOGETHER]
                seen_to = (self._see_to(self._hands, run, is_ours=run in claimed) for run in together)
                for problem in filter(None, await asyncio.gather(*seen_to, return_exceptions=True)):
                    raise problem
        return len(claimed) >= MOST_CLAIMED

    async def _even_out(self, hands: Hands) -> None:
        """Gives runs away that are more than this controller's share, where there are others."""
        shares, free = await self.membership.shares()
        fair = math.ceil((sum(shares.values()) + free) / max(len(shares), 1))
        mine = shares.get(self.me.name, 0)
        self._has_share = mine >= fair and len(shares) > 1  # never of all of them, as long as any run is free
        surplus, least = mine - fair, max(self._uneven_runs, UNEVEN_SHARE * fair)
        if not self._has_share or surplus < least or self._time() < self._gives_at:
            return
        self._gives_at = self._time() + GIVEN_SECONDS
        given = hands.idle(min(surplus, MOST_GIVEN))
        log.info("runs.given_away", controller=self.me.name, runs=len(given), of=mine)
        self._mine.difference_update(given)
        try:
            await hands.lay_down(given)
            await self.membership.release(given)
        except BaseException:
            self._mine.update(given)  # the next look finds out whether they still are
            raise

    async def _see_to(self, hands: Hands, run: str, *, is_ours: bool) -> None:
        """*is_ours*: it was claimed a moment ago, and need not be asked about again."""
        if not self.may_act():
            return
        if is_ours or await self._is_ours(run):
            try:
                await hands.see_to(run)
            except (Fenced, NotFound):
                self._mine.discard(run)  # lost between two looks
        else:
            self._mine.discard(run)

    async def _is_ours(self, run: str) -> bool:
        row = await self._journal.row(run)
        is_wanted = row is not None and (row.active or not row.summary.get("settled", True))
        owner = await self.membership.owner(run) if is_wanted else None
        return owner is not None and owner.name == self.me.name


async def _ended(*loops: "asyncio.Task[None] | None") -> None:
    running = [loop for loop in loops if loop is not None]
    for loop in running:
        loop.cancel()
    await asyncio.gather(*running, return_exceptions=True)
