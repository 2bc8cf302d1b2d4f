"""Finished runs are kept whole for a time, and then as their report: what a controller does beside walking runs.

Theory of operation. A pass goes over all whole runs that have ended, oldest first, a few a turn with a pause after
each: nothing else waits for it. What is to be kept of a run is made in a thread of its own, and the store puts it in
the place of the journal in one transaction, which fails if anybody had the run since. So a crash at any moment leaves
the run whole or cut, and the next pass goes on.

Of several controllers on a store the first by name does it. While they disagree about who that is two may; then one of
them finds done what it was about to do.

Nothing is cut that is not settled in every respect (``core/keeping.py``), that an active run refers to, or whose chain
of hashes is broken: who wants to know what was changed there needs all of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog

from orchestrator.core import evidence as ev
from orchestrator.core.fold import fold
from orchestrator.core.keeping import why_whole
from orchestrator.core.report import build
from orchestrator.core.view import status
from orchestrator.errors import Conflict, Fenced, StoreError, Tampered
from orchestrator.journal import chain
from orchestrator.keeping_port import Cut, KeepingStorage
from orchestrator.ports import Clock, Journal, Recorded, RunRow
from orchestrator.reading import is_unfinished, shown
from orchestrator.sharing import Sharing
from stages.values import format_duration

log = structlog.get_logger()

AT_ONCE: Final = 20
BREATH_SECONDS: Final = 0.05  # after each run that was looked at closely
TURN_SECONDS: Final = 5.0
PASS_SECONDS: Final = 600.0  # between two passes, at most
FIRST_SECONDS: Final = 60.0  # before the first one, at most: a controller that has just started has better things to do
PIECE_ENTRIES: Final = 500
MOST_REMEMBERED: Final = 100_000


@dataclass(frozen=True, slots=True)
class Keep:
    """How long finished runs are kept whole."""

    seconds: float

    @property
    def words(self) -> str:
        return f"--keep-finished {format_duration(self.seconds)}"


def acts_alone(sharing: Sharing | None) -> Callable[[], Awaitable[bool]]:
    """Whether this is the one of the controllers on a store that does what only one of them is to do."""

    async def acts() -> bool:
        if sharing is None:
            return True
        members = await sharing.membership.members() if sharing.may_act() else []
        return bool(members) and members[0].name == sharing.me.name

    return acts


class Retention:
    """*acts*: whether this is the controller that does it now."""

    def __init__(
        self,
        journal: Journal,
        storage: KeepingStorage,
        clock: Clock,
        keep: Keep,
        acts: Callable[[], Awaitable[bool]],
    ) -> None:
        self._journal = journal
        self._storage = storage
        self._clock = clock
        self._keep = keep
        self._acts = acts
        self.listeners: list[Callable[[], None]] = []  # told of each run that was cut
        self._after: RunRow | None = None  # how far this pass has come
        self._whole: dict[str, tuple[int, int]] = {}  # runs that have to stay: as of which entry, and how many heirs
        self._told = ""

    async def watch(self) -> None:
        await self._clock.sleep(min(FIRST_SECONDS, self._keep.seconds))
        while True:
            pause = TURN_SECONDS  # and behind the run that it failed at
            try:
                pause = await self.turn()
                self._tell("")
            except StoreError as error:
                self._tell(str(error))
            except Exception:  # a bug here must not fill the disk in silence
                log.exception("retention.crashed")
            await self._clock.sleep(pause)

    async def turn(self) -> float:
        """Looks at the next few. Seconds until there is more to do."""
        if not await self._acts():
            self._after = None
            return self._pass_seconds
        before = self._clock.now() - self._keep.seconds
        rows = await self._storage.finished(before, self._after, AT_ONCE)
        for row in rows:
            self._after = row
            if _ended_at(row) <= before and not is_unfinished(row):
                await self._see_to(row)
        if len(rows) == AT_ONCE:
            return TURN_SECONDS
        self._after = None
        return self._pass_seconds

    @property
    def _pass_seconds(self) -> float:
        return min(PASS_SECONDS, max(self._keep.seconds, 1.0))

    async def _see_to(self, row: RunRow) -> None:
        heirs = await self._storage.heirs(row.run)
        if any(map(is_unfinished, heirs)) or self._whole.get(row.run) == (row.rev, len(heirs)):
            return
        records = await self._records(row.run)
        evidence = await self._journal.evidence(row.run)
        try:
            made = await asyncio.to_thread(self._made, records, evidence, bool(heirs))
            if isinstance(made, str):
                self._leave(row, len(heirs), made)
            elif await self._storage.cut(Cut(row.run, row.rev, row.epoch, self._clock.now(), made)):
                for listener in self.listeners:
                    listener()
                head = f"{row.rev}:{records[-1].hash}"
                log.info("retention.cut", run=row.run, head=head, setting=self._keep.words)
        except Tampered as error:
            self._leave(row, len(heirs), str(error))
        except (Conflict, Fenced) as error:  # somebody has it at this moment: the next pass sees what became of that
            log.info("retention.later", run=row.run, why=str(error))
        await self._clock.sleep(BREATH_SECONDS)

    async def _records(self, run: str) -> list[Recorded]:
        records: list[Recorded] = []
        while piece := await self._journal.read(run, len(records), PIECE_ENTRIES):
            records += piece
        return records

    def _made(self, records: Sequence[Recorded], evidence: str | None, is_taken_on: bool) -> dict[str, Any] | str:
        """What is to be kept, or why everything is. Raises ``Tampered``."""
        broken = chain.verify(records)
        if broken is not None:
            raise Tampered(f"entry {broken} of its journal is not what was written there")
        state = fold((record.event, record.at) for record in records)
        why = why_whole(state, is_taken_on=is_taken_on)
        if why is not None:
            return why
        now = status(state, ev.from_text(evidence), self._clock.now())
        report = build(now, [shown(record) for record in records])
        return {"status": now, "report": report, "setting": self._keep.words}

    def _leave(self, row: RunRow, heirs: int, why: str) -> None:
        if len(self._whole) >= MOST_REMEMBERED:
            self._whole.clear()
        self._whole[row.run] = (row.rev, heirs)
        log.info("retention.whole", run=row.run, why=why)

    def _tell(self, words: str) -> None:
        if words and words != self._told:
            log.warning("retention.store_away", error=words)
        self._told = words


def _ended_at(row: RunRow) -> float:
    ended = row.summary.get("ended")
    return datetime.fromisoformat(ended).timestamp() if isinstance(ended, str) else float("inf")
